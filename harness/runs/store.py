"""Run records: a folder for each run, written whole or not at all, and the tidy frame over all of them.

results/runs/<run_id>/run.json            what was run, with what, what came out; checksums of all of it
                      per_query.parquet   every metric of every query
                      ranking.safetensors the best rows of each query and their scores
                      index/              the compressed index, with keep_index=true
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import StoreError
from harness.base.files import file_checksum, sync, writing
from harness.evaluation.index_files import CHECKSUMS_FILE, verify_index
from harness.runs.record import CHECKSUM, FILES, Record, checksum

if TYPE_CHECKING:
    import pandas as pd

RECORD = "run.json"

PER_QUERY = "per_query.parquet"

RANKING = "ranking.safetensors"

INDEX = "index"

CHECKED = (PER_QUERY, RANKING, f"{INDEX}/{CHECKSUMS_FILE}")
"""Files that a record has checksums of; those of an index have their own, in the last of these."""

_OWNER = "@"
"""Between the parts of a draft's name: run id, machine, process."""


class Store:
    """The records under one results folder.

    Parameters
    ----------
    results_dir : Path
    """

    def __init__(self, results_dir: Path) -> None:
        self.runs = Path(results_dir) / "runs"

    def path(self, run_id: str) -> Path:
        """Return a run's folder, whether or not it exists."""
        return self.runs / run_id

    def has(self, run_id: str) -> bool:
        """Whether a finished, successful record exists; a failed run is due again."""
        path = self.path(run_id) / RECORD
        return path.is_file() and self.read(run_id).ok

    def read(self, run_id: str) -> Record:
        """Return a run's record, after comparing it with its checksum; older records have none.

        Raises
        ------
        StoreError
            If it is missing, not readable, or not what was written.
        """
        path = self.path(run_id) / RECORD
        try:
            record = Record.from_json(json.loads(path.read_text(encoding="utf-8")), run_id)
        except FileNotFoundError:
            raise StoreError(f"there is no run '{run_id}' under {self.runs}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise unreadable(path, str(error)) from error
        if not record.files.keys() <= set(CHECKED):
            raise unreadable(path, f"'{FILES}' does not list the files of a record")
        return record

    def verify(self, run_id: str) -> None:
        """Compare a record and the files that it has with their checksums.

        Raises
        ------
        StoreError
            If one of them is missing or damaged; a kept index may have been deleted.
        """
        record = self.read(run_id)
        for name in record.files:
            if (self.path(run_id) / name).parent.is_dir():
                self._check_file(record, name)
        if (self.path(run_id) / INDEX).is_dir():
            verify_index(self.path(run_id) / INDEX)

    def _check_file(self, record: Record, name: str) -> Path:
        """Return the path of a record's file once it is what was written."""
        path, expected = self.path(record.run_id) / name, record.files.get(name)
        if expected is not None:
            try:
                found = file_checksum(path)
            except OSError as error:
                raise unreadable(path, str(error)) from error
            if found != expected:
                raise unreadable(path, f"its checksum differs from the one in {RECORD}: it was damaged or changed")
        return path

    def draft(self, run_id: str) -> Path:
        """Return a new private folder to write a record into before `commit`; remove those that killed runs left."""
        with writing(self.runs):
            self.runs.mkdir(parents=True, exist_ok=True)
        # by process and not by age: clocks differ, and go backwards
        for left in self.runs.glob(f".*{_OWNER}{socket.gethostname()}{_OWNER}*"):
            process = left.name.split(_OWNER)[2]
            if process.isdecimal() and not _is_running(int(process)):
                shutil.rmtree(left, ignore_errors=True)
        owner = f"{socket.gethostname()}{_OWNER}{os.getpid()}"
        with writing(self.path(run_id)):
            return Path(tempfile.mkdtemp(prefix=f".{run_id}{_OWNER}{owner}{_OWNER}", dir=self.runs))

    def commit(
        self,
        run_id: str,
        draft: Path,
        record: Record,
        query_ids: list[str] | None = None,
        per_query: Mapping[str, NDArray[np.float64]] | None = None,
        ranking: Mapping[str, NDArray[Any]] | None = None,
    ) -> Path:
        """Write the record's files into the draft, then give the folder its name in one step.

        Raises
        ------
        StoreError
            If they cannot be written; nothing of them is left then.
        """
        target = self.path(run_id)
        try:
            with writing(target):
                self._write(draft, record, query_ids, per_query, ranking)
                if target.exists():
                    discarded = self.draft(run_id)
                    target.replace(discarded / "old")
                    draft.replace(target)
                    shutil.rmtree(discarded)
                else:
                    try:
                        draft.replace(target)
                    except OSError:
                        # another process finished the same run in between: its record is as good
                        if not self.has(run_id):
                            raise
                sync(self.runs)
        finally:
            # an interruption, or a full disk, leaves nothing
            shutil.rmtree(draft, ignore_errors=True)
        return target

    def _write(
        self,
        draft: Path,
        record: Record,
        query_ids: list[str] | None,
        per_query: Mapping[str, NDArray[np.float64]] | None,
        ranking: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        if per_query is not None:
            import pyarrow as pa
            import pyarrow.parquet as pq

            columns = {"query_id": pa.array(query_ids), **{name: pa.array(v) for name, v in per_query.items()}}
            pq.write_table(pa.table(columns), draft / PER_QUERY)
        if ranking is not None:
            from safetensors.numpy import save_file

            save_file({name: np.ascontiguousarray(array) for name, array in ranking.items()}, draft / RANKING)
        files = {name: file_checksum(draft / name) for name in CHECKED if (draft / name).is_file()}
        (draft / RECORD).write_text(_written(record, files), encoding="utf-8")
        draft.chmod(0o755)  # mkdtemp makes it private
        # the name says that the files are there; after a power cut too
        for path in (*sorted(path for path in draft.rglob("*") if path.is_file()), draft):
            sync(path)

    def rewrite(self, record: Record) -> None:
        """Replace what run.json says of a run that is on record, in one step; its other files stay as they are.

        Raises
        ------
        StoreError
            If it cannot be written; the record is then as it was.
        """
        path = self.path(record.run_id) / RECORD
        with writing(path):
            handle, name = tempfile.mkstemp(prefix=f".{RECORD}", dir=path.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    # a record of before the checksums gets one, and none of its files
                    file.write(_written(record, record.files))
                Path(name).chmod(0o644)  # mkstemp makes it private
                sync(Path(name))
                Path(name).replace(path)
                sync(path.parent)
            finally:
                Path(name).unlink(missing_ok=True)

    def records(self) -> Iterator[Record]:
        """Yield all records, in the order of their ids."""
        if not self.runs.is_dir():
            return
        for path in sorted(self.runs.iterdir()):
            if not path.name.startswith(".") and (path / RECORD).is_file():
                yield self.read(path.name)

    def per_query(self, run_id: str, record: Record | None = None) -> pd.DataFrame:
        """Return every metric of every query of a run, one row a query; raises `StoreError` if it is damaged.

        The record may be given where it was read before.
        """
        import pandas as pd

        path = self._check_file(record or self.read(run_id), PER_QUERY)
        try:
            frame = pd.read_parquet(path)
        except Exception as error:  # the readers of parquet fail in many ways
            raise unreadable(path, str(error)) from error
        numeric = frame.drop(columns="query_id", errors="ignore").select_dtypes("number")
        if "query_id" not in frame or numeric.shape[1] != frame.shape[1] - 1:
            raise unreadable(path, f"expected query_id and numbers, got {', '.join(map(repr, frame.columns))}")
        return frame

    def ranking(self, run_id: str) -> dict[str, NDArray[Any]]:
        """Return the best rows of each query, int32 (m, k), as "rows", and their "scores", float32 (m, k).

        Raises
        ------
        StoreError
            If the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self._check_file(self.read(run_id), RANKING)
        try:
            arrays = load_file(path)
            rows, scores = arrays["rows"], arrays["scores"]
        except (SafetensorError, OSError, KeyError, AttributeError, TypeError) as error:
            raise unreadable(path, str(error)) from error
        if rows.ndim != 2 or rows.shape != scores.shape or (rows.dtype.kind, scores.dtype.kind) != ("i", "f"):
            raise unreadable(path, f"rows are {rows.dtype} {rows.shape} and scores {scores.dtype} {scores.shape}")
        return {"rows": rows, "scores": scores}


def _written(record: Record, files: Mapping[str, str]) -> str:
    """Return the text of a run.json, with the checksums of the record's files and its own."""
    content = {**record.to_json(), FILES: dict(files)}
    content[CHECKSUM] = checksum(content)
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def unreadable(path: Path, reason: str) -> StoreError:
    """Return the error that names a record's file and says why it cannot be read."""
    reason = reason.strip().partition("\n")[0]
    return StoreError(f"{path}: not a readable record ({reason}); delete its folder and run again")


def _is_running(process: int) -> bool:
    """Whether a process of this machine exists; one of another user does."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
