"""A corpus in parts that any process can work at: what is to be done with each, and the files of those that are done.

    <folder>/plan.json            what is to be done: where the documents lie, how deep to search, checksums of the next
             queries.safetensors  `queries` float32 (m, d)
             state.safetensors    what the method learned; not there where the float32 vectors themselves are searched
             docs.npy             the documents, where these are in no file of their own
             part-3/              a part that is done; it gets its name in one step
                    codes.safetensors    its rows' codes
                    ranking.safetensors  `scores` float32 (m, k), `rows` int64 (m, k), counted from the corpus's first
                    part.json            its rows, seconds, peak memory, and checksums of the other two

The folder's name is a hash of all that determines these files (`harness.runs.parts`), so that a part that is there is
the part that is meant; its checksums say whether it is whole.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import StoreError
from harness.base.files import file_checksum, sync, whole, writing
from harness.base.memmap import FilePlace, blocks
from harness.base.resources import peak_memory_bytes
from harness.evaluation.exact_search import scan, search_uncompressed
from harness.evaluation.index_build import encoded_chunks
from harness.evaluation.index_files import CODES_FILE, STATE_FILE, read_codes, read_state, write_codes, write_state
from methods import topk
from methods.base import Codec, Codes

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

PLAN, QUERIES, DOCS, PART, RANKING = "plan.json", "queries.safetensors", "docs.npy", "part.json", "ranking.safetensors"

ENCODED_ROWS = 1 << 14
"""Documents encoded at a time where a run does not say how many."""


def boundaries(n: int, of: int) -> list[tuple[int, int]]:
    """Return the rows (start, stop) of each of `of` parts of n documents: equal up to one, the last ones perhaps empty.

    The first are the longer ones, so that no part before the last rows is empty.
    """
    each, longer = divmod(n, of)
    starts = [part * each + min(part, longer) for part in range(of + 1)]
    return list(itertools.pairwise(starts))


@dataclass(frozen=True)
class Plan:
    """What is to be done with each part of a corpus.

    Attributes
    ----------
    docs : FilePlace
        Documents (n, d).
    of : int
        Parts.
    depth : int
        Documents in each query's list: of two tiers, those that the first one lists.
    chunk_rows : int or None
        Documents encoded and searched at a time.
    searched : bool
        Whether a part's codes are scanned; a method that must see all codes at once is searched when they are joined.
    method : mapping or None
        Settings of the method; None searches the vectors themselves.
    queries, state : str
        Checksums of the two files; "" without a method.
    training, codebook_size : list, int
        What the fitted method tells of itself (`methods.base.Part`): a loaded one does not know it.
    fit_seconds : float
    """

    docs: FilePlace
    of: int
    depth: int
    chunk_rows: int | None
    searched: bool = True
    method: Mapping[str, Any] | None = None
    queries: str = ""
    state: str = ""
    training: list[dict[str, Any]] = field(default_factory=list)
    codebook_size: int = 0
    fit_seconds: float = 0.0

    @property
    def n(self) -> int:
        """Documents."""
        return self.docs.shape[0]

    def rows(self, number: int) -> tuple[int, int]:
        """Return the rows (start, stop) of a part, counted from 1."""
        return boundaries(self.n, self.of)[number - 1]


@dataclass(frozen=True)
class Done:
    """What a part took: seconds by stage, and the largest resident set of the process that made it, in bytes."""

    seconds: dict[str, float]
    peak_memory_bytes: int


@dataclass(frozen=True)
class PartsFolder:
    """The files of a corpus in parts."""

    path: Path

    def write_plan(self, plan: Plan, queries: Float32, codec: Codec | None) -> Plan:
        """Leave what workers need, and return the plan with the checksums of it.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        from safetensors.numpy import save_file

        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with whole(self.path / QUERIES) as draft:
                save_file({"queries": np.ascontiguousarray(queries)}, draft)
            state = ""
            if codec is not None:
                with whole(self.path / STATE_FILE) as draft:
                    write_state(draft, codec)
                state = file_checksum(self.path / STATE_FILE)
            queries_sum = file_checksum(self.path / QUERIES)
        # last: where it is, the others are
        return self._save(dataclasses.replace(plan, queries=queries_sum, state=state))

    def _save(self, plan: Plan) -> Plan:
        with writing(self.path / PLAN), whole(self.path / PLAN) as draft:
            draft.write_text(json.dumps(dataclasses.asdict(plan), indent=1) + "\n", encoding="utf-8")
        sync(self.path)
        return plan

    def resumed(self, plan: Plan, docs: NDArray[Any], chunk_rows: int | None) -> Plan:
        """Return a plan that another process left, with where the documents lie now, and in chunks of this process."""
        place = FilePlace.of(docs) or plan.docs
        if (place, chunk_rows) == (plan.docs, plan.chunk_rows):
            return plan
        return self._save(dataclasses.replace(plan, docs=place, chunk_rows=chunk_rows))

    def read_plan(self) -> Plan:
        """Return the plan; raises `StoreError` where there is none, or where it or a file that it names is damaged."""
        try:
            content = json.loads((self.path / PLAN).read_text(encoding="utf-8"))
            place = content.pop("docs")
            shape, strides = tuple(place["shape"]), tuple(place["strides"])
            plan = Plan(docs=FilePlace(place["file"], place["dtype"], place["offset"], shape, strides), **content)
            for name, expected in ((QUERIES, plan.queries), (STATE_FILE, plan.state)):
                if expected and file_checksum(self.path / name) != expected:
                    raise StoreError(f"{self.path / name} differs from its checksum; it is damaged")
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise StoreError(f"{self.path / PLAN}: not a readable plan of parts ({error})") from error
        return plan

    def place_of(self, docs: NDArray[Any]) -> FilePlace:
        """Return where documents (n, d) lie; those that are in no file of their own are written to one here."""
        place = FilePlace.of(docs)
        if place is not None:
            return place
        path = self.path / DOCS
        with writing(path):
            self.path.mkdir(parents=True, exist_ok=True)
            with whole(path) as draft:
                dtype = docs.dtype if docs.dtype.kind in "fiu" else np.float32
                copied = np.lib.format.open_memmap(draft, mode="w+", dtype=dtype, shape=docs.shape)
                for start, block in blocks(docs):
                    copied[start : start + len(block)] = block
                copied.flush()
        found = FilePlace.of(np.load(path, mmap_mode="r"))
        assert found is not None
        return found

    @cached_property
    def queries(self) -> Float32:
        """The queries, float32 (m, d)."""
        from safetensors.numpy import load_file

        return load_file(self.path / QUERIES)["queries"]

    def codec(self, fresh: Codec) -> Codec:
        """Return a fresh codec with what the method learned."""
        return read_state(self.path / STATE_FILE, fresh)

    def part(self, number: int) -> Path:
        """Return the folder of a part, whether or not it is there."""
        return self.path / f"part-{number}"

    def finished(self, number: int) -> bool:
        """Whether a part is done, by its name alone."""
        return (self.part(number) / PART).is_file()

    def verify(self, plan: Plan, number: int) -> Done:
        """Return what a part took, after comparing its files with their checksums.

        Raises
        ------
        StoreError
            Naming the file that is missing, cut off or damaged.
        """
        path = self.part(number)
        try:
            content = json.loads((path / PART).read_text(encoding="utf-8"))
            sums, rows = dict(content["files"]), tuple(content["rows"])
            done = Done(dict(content["seconds"]), int(content["peak_memory_bytes"]))
            if rows != plan.rows(number):
                raise StoreError(f"{path / PART} is of the rows {rows}, not of {plan.rows(number)}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path / PART}: not what a part was left with ({error})") from error
        for name, expected in sums.items():
            if not (path / name).is_file():
                raise StoreError(f"{path / name} is missing")
            if file_checksum(path / name) != expected:
                raise StoreError(f"{path / name} differs from its checksum; it is cut off or damaged")
        return done

    def write_part(
        self, plan: Plan, number: int, codes: Iterator[Codes] | None, rank: Callable[[Path], tuple[Float32, Int64]]
    ) -> None:
        """Write a part's files and give their folder its name in one step.

        Parameters
        ----------
        plan : Plan
        number : int
        codes : iterator of Codes, or None
            Chunk by chunk; None where the vectors themselves are searched.
        rank : callable
            From the file of codes to scores and rows; not called where parts are not searched.

        Raises
        ------
        StoreError
            If they cannot be written; nothing is left then.
        """
        from safetensors.numpy import save_file

        start, stop = plan.rows(number)
        with writing(self.part(number)):
            draft = Path(tempfile.mkdtemp(prefix=f".part-{number}-", dir=self.path))
            try:
                seconds: dict[str, float] = {}
                if codes is not None:
                    began = time.perf_counter()
                    write_codes(draft / CODES_FILE, codes, stop - start)
                    seconds["encode"] = time.perf_counter() - began
                if plan.searched:
                    began = time.perf_counter()
                    scores, rows = rank(draft / CODES_FILE)
                    save_file({"scores": scores, "rows": rows + start}, draft / RANKING)
                    seconds["search"] = time.perf_counter() - began
                files = {path.name: file_checksum(path) for path in sorted(draft.iterdir())}
                taken = {"seconds": seconds, "peak_memory_bytes": peak_memory_bytes()}
                content = {"rows": [start, stop], **taken, "files": files}
                (draft / PART).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
                draft.chmod(0o755)  # mkdtemp makes it private
                for path in (*draft.iterdir(), draft):
                    sync(path)
                shutil.rmtree(self.part(number), ignore_errors=True)
                try:
                    draft.replace(self.part(number))
                except OSError:
                    # a worker that was thought dead made it in between, of the same bytes
                    if not self.finished(number):
                        raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def codes(self, plan: Plan) -> Iterator[Codes]:
        """Yield the codes of all parts, memory-mapped, in the order of their rows."""
        for number in range(1, plan.of + 1):
            if plan.rows(number)[0] < plan.rows(number)[1]:
                yield read_codes(self.part(number) / CODES_FILE, mapped=True)

    def ranking(self, plan: Plan) -> tuple[Float32, Int64]:
        """Return the best rows of each query in all parts: score descending, then row ascending."""
        from safetensors.numpy import load_file

        m = len(self.queries)
        scores, rows = np.empty((m, 0), np.float32), np.empty((m, 0), np.int64)
        for number in range(1, plan.of + 1):
            if plan.rows(number)[0] == plan.rows(number)[1]:
                continue
            more = load_file(self.part(number) / RANKING)
            width = min(plan.depth, scores.shape[1] + more["scores"].shape[1])
            scores, rows = topk.merge(scores, rows, more["scores"], more["rows"], width)
        return scores, rows

    def remove(self) -> None:
        """Remove all files, once what they were for is on record."""
        shutil.rmtree(self.path, ignore_errors=True)


def work(folder: PartsFolder, number: int, make: Callable[[Mapping[str, Any]], Codec]) -> None:
    """Encode and search a part, unless it is done; an empty one has nothing to be done.

    Parameters
    ----------
    folder : PartsFolder
    number : int
        Counted from 1.
    make : callable
        From the settings of a method to a new codec.
    """
    plan = folder.read_plan()
    start, stop = plan.rows(number)
    if folder.finished(number) or start == stop:
        return
    docs, queries = plan.docs.open()[start:stop], folder.queries
    depth = min(plan.depth, stop - start)
    if plan.method is None:
        folder.write_part(plan, number, None, lambda _: search_uncompressed(queries, docs, depth))
        return
    codec = folder.codec(make(plan.method))

    def rank(path: Path) -> tuple[Float32, Int64]:
        return scan(codec, queries, read_codes(path, mapped=True), depth, plan.chunk_rows)

    # unlike a run's own, a part's chunks have a bound: workers share a machine's memory
    folder.write_part(plan, number, encoded_chunks(codec, docs, plan.chunk_rows or ENCODED_ROWS), rank)
