"""What a full disk does: to the embedding cache, an index, a record, a report and an export.

    python scripts/robustness/full_disk.py [--mount]

Each is written with less room than it needs, again and again with a little more, until it fits. On the way every
attempt must end in a named error that tells the path and the reason, and leave nothing that looks finished; the last
must be what is written where there is room. `--mount` fills a small tmpfs (Linux, root); otherwise a process limits the
size of its files (RLIMIT_FSIZE), which fails with another error in the same places. Exits with 1 where something else
happens.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

N, D = 3000, 64
DISK = 4 << 20
"""Bytes of the small file system."""
REASONS = ("No space left on device", "File too large")


@dataclass(frozen=True)
class Job:
    """Something that is written.

    Attributes
    ----------
    write : callable
        Writes into a folder.
    finished : callable
        What a reader finds in the folder: None where there is nothing.
    """

    write: Callable[[Path], None]
    finished: Callable[[Path], object]


# --- what is written ------------------------------------------------------------------------------------------------


def vectors() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


class Hashed:
    """An encoder that needs no model."""

    name = label = "hashed"

    def identity(self, role: str, task: str | None) -> dict[str, Any]:
        return {"name": self.name}

    def encode(self, texts: list[str], role: str, task: str | None) -> np.ndarray[Any, Any]:
        return np.stack([vectors()[int(text.split()[1]) % N] for text in texts[:1]] * len(texts))


def embed(place: Path) -> Any:
    from harness.data import embedding_cache
    from harness.data.datasets import Dataset

    ids = [f"d{i}" for i in range(N)]
    texts = [f"text {i}" for i in range(N)]
    dataset = Dataset.build(
        name="d", doc_ids=ids, query_ids=["q"], qrels={"q": {"d0": 1}}, doc_texts=texts, query_texts=["text 0"]
    )
    return embedding_cache.embed(dataset, Hashed(), place / "cache")


def cached(place: Path) -> object:
    # a file of that name is a finished one, and is read without writing
    if not (place / "cache").is_dir() or len(list((place / "cache").glob("*.npy"))) < 2:
        return None
    return embed(place).docs.tobytes()


def index(streamed: bool, place: Path) -> None:
    from harness.evaluation.index_files import write_index
    from methods.scalar.uniform import PerDimension

    docs = vectors()
    codec = PerDimension().fit(docs)
    (place / "index").mkdir(exist_ok=True)
    if streamed:
        write_index(place / "index", codec, (codec.encode(docs[i : i + 500]) for i in range(0, N, 500)), N)
    else:
        write_index(place / "index", codec, codec.encode(docs))


def indexed(place: Path) -> object:
    from harness.base.errors import StoreError
    from harness.evaluation.index_files import CHECKSUMS_FILE, read_index
    from methods.scalar.uniform import PerDimension

    try:
        codes = read_index(place / "index", PerDimension())[1]
    except StoreError:
        return None
    return codes.array.tobytes(), (place / "index" / CHECKSUMS_FILE).read_bytes()


RECORD: dict[str, Any] = {
    "run_id": "abc",
    "status": "ok",
    "model": {"name": "m"},
    "dataset": {"name": "d", "n_docs": 1000, "n_queries": N},
    "method": {"name": "int8", "params": "", "scoring": "asymmetric", "family": "scalar", "seed": None},
    "dim": 64,
    "metrics": {"ndcg_at_10": 0.5, "overlap_at_10": 0.9},
    "storage": {"code_bytes_per_vector": 64.0, "state_bytes": 500, "index_bytes": 64_500},
}


def commit(place: Path) -> None:
    from harness.runs.record import Record
    from harness.runs.store import Store

    rng, store = np.random.default_rng(0), Store(place / "results")
    values = {"ndcg_at_10": rng.random(N), "overlap_at_10": rng.random(N)}
    ranking = {"rows": np.zeros((N, 20), np.int32), "scores": rng.random((N, 20)).astype(np.float32)}
    store.commit(
        "abc", store.draft("abc"), Record.from_json(RECORD, "abc"), [f"q{i}" for i in range(N)], values, ranking
    )


def committed(place: Path) -> object:
    from harness.runs.store import Store

    store = Store(place / "results")
    if not store.runs.is_dir():
        return None
    left = [path.name for path in store.runs.iterdir() if path.name.startswith(".")]
    assert not left, f"a draft is left: {left}"
    if not store.has("abc"):
        return None
    store.verify("abc")
    return store.per_query("abc").to_csv(), store.ranking("abc")["scores"].tobytes()


def report(results: Path, place: Path) -> None:
    from harness.report.write import write_report
    from harness.runs.frame import load_runs
    from harness.runs.store import Store

    store = Store(results)
    write_report(load_runs(results), place / "report", per_query=store.per_query, records=store.read, site=False)


def reported(place: Path) -> object:
    from harness.analysis import saved
    from harness.base.errors import StoreError

    # the summary is written last
    if not (place / "report" / "summary.md").is_file():
        return None
    try:
        saved.load(place / "report")
    except StoreError:
        return None
    return sorted(path.name for path in (place / "report").iterdir())


def export(results: Path, place: Path) -> None:
    from harness.exchange.index_export import export as write

    write(next((results / "runs").iterdir()).name, place / "out", results=results, targets=["numpy"])


def exported(place: Path) -> object:
    from vecbudget import CompressedIndex

    left = [path.name for path in place.iterdir() if path.name.startswith(".out")]
    assert not left, f"a draft is left: {left}"
    if not (place / "out").is_dir():
        return None
    return CompressedIndex.load(place / "out").search(vectors()[:5], 10)[1].tolist()


def jobs(source: Path) -> dict[str, Job]:
    """Return what is written; records to report on and to export are made in `source`, where there is room."""
    run(source)
    commit(source / "reported")
    return {
        "embedding cache": Job(lambda place: (embed(place), None)[1], cached),
        "index, at once": Job(partial(index, False), indexed),
        "index, streamed": Job(partial(index, True), indexed),
        "record": Job(commit, committed),
        "report": Job(partial(report, source / "reported" / "results"), reported),
        "export": Job(partial(export, source / "results"), exported),
    }


def run(source: Path) -> None:
    """Record a run over vectors, and keep its index."""
    for name, array in (("docs", vectors()), ("queries", vectors()[:20])):
        np.save(source / f"{name}.npy", array)
    subprocess.run(
        [
            *(sys.executable, "-m", "harness.cli", "run", "dataset=vectors", "model=vectors", "method=int8"),
            *(
                f"dataset.docs={source}/docs.npy",
                f"dataset.queries={source}/queries.npy",
                "dataset.metric=dot",
                "keep_index=true",
            ),
            *(f"results_dir={source}/results", f"cache_dir={source}/cache"),
        ],
        check=True,
        capture_output=True,
        cwd=Path(__file__).resolve().parents[2],
    )


# --- room -----------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Mount a file system of a few MB."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def free(place: Path) -> int:
    return shutil.disk_usage(place).free


def fill(place: Path, room: int) -> None:
    """Leave so much room."""
    ballast = place / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb") as file:
        file.write(bytes(max(0, free(place) - room)))


def in_small_files(most: int, write: Callable[[Path], None], place: Path) -> str:
    """Write in a process whose files have no more than so many bytes; return its error, or ""."""
    context = multiprocessing.get_context("fork")
    pipe, other = context.Pipe()

    def work() -> None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        other.send(outcome(write, place))

    process = context.Process(target=work)
    process.start()
    other.close()
    try:
        told: str = pipe.recv()
    except EOFError:
        told = f"the process ended with {process.exitcode}"
    process.join()
    return told


def outcome(write: Callable[[Path], None], place: Path) -> str:
    """Write, and return the named error, or ""; what is no such error is returned with its type."""
    from harness.base.errors import VecbudgetError

    try:
        write(place)
    except VecbudgetError as error:
        return str(error)
    except BaseException as error:
        return f"{type(error).__name__}, which is no named error: {error}"
    return ""


@dataclass(frozen=True)
class Tally:
    """What came of a job's attempts."""

    attempts: int = 0
    refused: int = 0
    wrong: str = ""


def squeeze(job: Job, place: Path, expected: object, rooms: list[int], mounted: bool) -> Tally:
    """Write with ever more room, without cleaning up in between."""
    tally = Tally()
    for room in rooms:
        if mounted:
            fill(place, room)
            told = outcome(job.write, place)
        else:
            told = in_small_files(room, job.write, place)
        tally = replace(tally, attempts=tally.attempts + 1)
        try:
            found = job.finished(place)
        except Exception as error:
            return replace(tally, wrong=f"{room} bytes: {type(error).__name__}: {error}"[:200])
        if not told:
            same = found == expected
            return tally if same else replace(tally, wrong=f"{room} bytes: written, but not what it should be")
        named = str(place) in told and any(reason in told for reason in REASONS) and "\n" not in told
        if not named or "no named error" in told:
            return replace(tally, wrong=f"{room} bytes: {told}"[:300])
        if found is not None and found != expected:
            return replace(tally, wrong=f"{room} bytes: refused, but something is there")
        tally = replace(tally, refused=tally.refused + 1)
    return replace(tally, wrong="it never fitted")


def main() -> None:
    from harness.report.table import Table, numbers, words

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mount", action="store_true", help="fill a small file system rather than limit files")
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    options = parser.parse_args()
    tallies = {}
    with TemporaryDirectory(prefix="vecbudget-full-") as folder:
        (Path(folder) / "source").mkdir()
        for name, job in jobs(Path(folder) / "source").items():
            if options.only not in name:
                continue
            alone = Path(folder) / f"alone {name}"
            alone.mkdir()
            job.write(alone)
            expected = job.finished(alone)
            assert expected is not None
            if options.mount:
                with small_disk(Path(folder) / "disk") as place:
                    rooms = [0, *(4096 * step for step in (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 512)), DISK]
                    tallies[name] = squeeze(job, place, expected, rooms, True)
                (Path(folder) / "disk").rmdir()
            else:
                place = Path(folder) / f"small {name}"
                place.mkdir()
                rooms = [0, 100, 1000, 5000, 20_000, 60_000, 120_000, 190_000, 240_000, 500_000, 1 << 30]
                tallies[name] = squeeze(job, place, expected, rooms, False)
    columns = [
        words("written", 0),
        numbers("attempts", lambda row: row[1].attempts, 0),
        numbers("refused by name", lambda row: row[1].refused, 0),
        words("whole in the end", lambda row: row[1].wrong or "yes"),
    ]
    print(Table(columns, list(tallies.items())).markdown())
    sys.exit(1 if any(t.wrong for t in tallies.values()) else 0)


if __name__ == "__main__":
    main()
