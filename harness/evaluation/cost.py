"""What a method costs: seconds of each stage with their spread, latency of single queries, memory, and larger corpora.

Every stage is warmed up and repeated. A figure is the median with the least and the greatest of its repeats: two
measurements of one configuration agree if these overlap. Runs that measure cost wait for each other, and a record says
how busy other processes kept the machine meanwhile. A peak of memory has no spread: it is the largest of the repeats.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.base.memmap import in_memory, take
from harness.base.resources import peak_memory_bytes, status_bytes
from harness.base.spread import Spread
from harness.evaluation.exact_search import search
from harness.evaluation.index_build import encode, teach
from harness.evaluation.index_files import read_index, write_index
from methods.base import Codec, Codes

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

log = logging.getLogger(__name__)

STAGES = ("fit", "encode", "load", "search")
PATIENCE_S = 60.0
"""A stage that has taken so long is not repeated further."""

FRACTIONS = (0.25, 0.5, 1.0)
"""Of the corpus, on which lines through time are fitted."""

SIZES = (1_000_000, 100_000_000, 10_000_000_000)
"""Documents to which costs are extrapolated."""

SINGLE_QUERIES = 200
DISTURBED_CORES = 0.1
"""Other processes' use of the processor, in cores, from which on a figure is marked."""

RESOLVED_S = 0.5
"""Load is told of stages that took so long: the system counts in hundredths of a second on each processor."""

SAMPLING_S = 0.005


@dataclass(frozen=True)
class Line:
    """Cost = fixed + slope * documents."""

    fixed: float
    slope: float

    @classmethod
    def through(cls, sizes: ArrayLike, costs: ArrayLike) -> Line:
        """Fit by least squares of relative errors; neither part is negative."""
        from scipy.optimize import nnls

        n, cost = np.asarray(sizes, dtype=np.float64), np.asarray(costs, dtype=np.float64)
        weights = 1 / np.maximum(cost, 1e-12)
        scale = n.max()
        (fixed, slope), _ = nnls(np.column_stack([weights, weights * n / scale]), weights * cost)
        return cls(float(fixed), float(slope / scale))

    def at(self, n: float) -> float:
        """Return the cost of n documents."""
        return self.fixed + self.slope * n

    def residual(self, sizes: ArrayLike, costs: ArrayLike) -> float:
        """Return the largest relative error of the line at what was measured."""
        n, cost = np.asarray(sizes, dtype=np.float64), np.asarray(costs, dtype=np.float64)
        return float(np.abs((self.fixed + self.slope * n) / np.maximum(cost, 1e-12) - 1).max())


@dataclass
class Memory:
    """Peak resident memory of a stage in bytes, and how it was found."""

    peak: int = 0
    before: int = 0
    method: str = ""


@dataclass
class Load:
    """Other processes' use of the processor during a stage, in cores; None where the system does not tell."""

    others: float | None = None


@dataclass
class Costs:
    """What a method costs.

    Attributes
    ----------
    seconds : mapping of stage (fit, encode, load, search) to Spread
    single_ms : mapping of percentile (p50, p95, p99) to Spread
        Milliseconds of single queries; the spread is that of repeated passes over them.
    single_queries : int
    memory : mapping of stage to Memory
    load : mapping of stage to Load
        Also `single` (queries), `sizes` (parts of the corpus) and `all`.
    loadavg : list of float or None
        Of the last 1, 5 and 15 minutes, as the measurement began.
    by_size : mapping of stage (encode, search) to a mapping of documents to Spread
    scored : mapping of documents to float
        Of lists or a graph: the mean number of documents that a search scored for a query; empty for exhaustive search.
    scored_by_logarithm : bool
        Whether that grows as the logarithm of the documents, as a walk along a graph does; otherwise as their number.
    """

    seconds: dict[str, Spread] = field(default_factory=dict)
    single_ms: dict[str, Spread] = field(default_factory=dict)
    single_queries: int = 0
    memory: dict[str, Memory] = field(default_factory=dict)
    load: dict[str, Load] = field(default_factory=dict)
    loadavg: list[float] | None = None
    by_size: dict[str, dict[int, Spread]] = field(default_factory=dict)
    scored: dict[int, float] = field(default_factory=dict)
    scored_by_logarithm: bool = False

    @property
    def disturbed(self) -> bool:
        """Whether other processes were busy during a stage."""
        return any((load.others or 0.0) > DISTURBED_CORES for load in self.load.values())

    def extrapolated(self, stage: str, n: int) -> Spread:
        """Return a stage's seconds for n documents: the line through the medians, and how far off it may be.

        The line is over documents, or where a search scores some of them only, over those that it scores.

        The ends are those of the flattest and the steepest line that the repeats leave room for (through the greatest
        at small sizes and the least at large ones, and the reverse), widened by the worst relative error of the line
        through the medians: times that do not lie on a line say little about others.
        """
        corpora = sorted(self.by_size[stage])
        found = [self.by_size[stage][size] for size in corpora]
        some = stage == "search" and bool(self.scored)
        sizes = [self.scored[size] for size in corpora] if some else corpora
        at = self.scored_of(n) if some else n
        median, low, high = ([getattr(spread, name) for spread in found] for name in ("median", "low", "high"))
        half = len(found) // 2
        centre = median[half : len(found) - half]
        line = Line.through(sizes, median)
        courses = (high[:half] + centre + low[-half:], low[:half] + centre + high[-half:]) if half else ()
        ends = [line.at(at), *(Line.through(sizes, course).at(at) for course in (low, high, *courses))]
        off = line.residual(sizes, median)
        return Spread(ends[0], max(0.0, min(ends) * (1 - off)), max(ends) * (1 + off), min(s.repeats for s in found))

    def scored_of(self, n: int) -> float:
        """Return how many of n documents a search would score for a query, by a line through what was counted.

        Over the documents for lists, over their logarithm for graphs (Malkov and Yashunin, 2020, section 4.2.1).
        """
        corpora = sorted(self.scored)
        scale = np.log if self.scored_by_logarithm else np.asarray
        counts = [self.scored[size] for size in corpora]
        # log 1 is 0, and a corpus of one document is no corpus
        line = Line.through(scale(np.maximum(corpora, 2)), counts)
        return min(float(n), line.at(float(scale(max(n, 2)))))

    def _how_extrapolated(self) -> str:
        """Return in words what figures for larger corpora come from."""
        sizes = ", ".join(f"{n:,}" for n in self.by_size["search"])
        if not self.scored:
            return (
                f"lines through {sizes} documents; exhaustive search on one machine like this one that has the memory"
            )
        counts = ", ".join(f"{self.scored[n]:,.0f}" for n in self.by_size["search"])
        growth = "the logarithm of the documents" if self.scored_by_logarithm else "the documents"
        return (
            f"lines through {sizes} documents; a search scores {counts} of them at its effort, its time is a line over "
            f"these, and these are a line over {growth}; on one machine like this one that has the memory"
        )

    def as_record(self, n_docs: int, n_queries: int, code_bytes: float, state_bytes: int) -> dict[str, Any]:
        """Return what a run record holds.

        Parameters
        ----------
        n_docs, n_queries : int
            That were measured.
        code_bytes : float
            Per document.
        state_bytes : int
        """
        return {
            "seconds": {stage: asdict(spread) for stage, spread in self.seconds.items()},
            "docs_per_second": asdict(self.seconds["encode"].per(n_docs)),
            "queries_per_second": asdict(self.seconds["search"].per(n_queries)),
            "single_query_ms": {name: asdict(spread) for name, spread in self.single_ms.items()},
            "single_queries": self.single_queries,
            "memory": {stage: asdict(memory) for stage, memory in self.memory.items()},
            "other_processes_cores": {stage: load.others for stage, load in self.load.items()},
            "loadavg": self.loadavg,
            "disturbed": self.disturbed,
            "threads": thread_counts(),
            "extrapolated": {
                "from": self._how_extrapolated(),
                "sizes": {
                    str(size): {
                        **({"scored_per_query": self.scored_of(size)} if self.scored else {}),
                        "encode_seconds": asdict(self.extrapolated("encode", size)),
                        "search_seconds_per_query": asdict(self.extrapolated("search", size).over(n_queries)),
                        "index_bytes": code_bytes * size + state_bytes,
                    }
                    for size in SIZES
                },
            },
        }


def measure_cost(
    make: Callable[[], Codec],
    docs: Float32,
    queries: Float32,
    *,
    fit_docs: Float32,
    fit_queries: Float32 | None = None,
    fit_pairs: NDArray[np.int64] | None = None,
    k: int = 100,
    chunk_rows: int | None = None,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Costs:
    """Measure one method, every stage apart.

    Parameters
    ----------
    make : callable
        Returns a new, unfitted codec each time.
    docs, queries : float32 (n, d), (m, d)
    fit_docs, fit_queries, fit_pairs : arrays or None
        What `fit` is given.
    k : int
        Depth of the ranking.
    chunk_rows : int or None
        Rows encoded and searched at a time.
    repeats : int
        Of each stage, after one that is not counted.
    clock : callable
        Seconds.
    """
    costs = Costs(loadavg=_loadavg())
    with noticed(costs, "all"):
        _measure_into(costs, make, docs, queries, fit_docs, fit_queries, fit_pairs, k, chunk_rows, repeats, clock)
    return costs


def _measure_into(
    costs: Costs,
    make: Callable[[], Codec],
    docs: Float32,
    queries: Float32,
    fit_docs: Float32,
    fit_queries: Float32 | None,
    fit_pairs: NDArray[np.int64] | None,
    k: int,
    chunk_rows: int | None,
    repeats: int,
    clock: Callable[[], float],
) -> None:
    # to make float32 of a float16 cache is no cost of the method's
    docs, queries, fit_docs = (in_memory(given) for given in (docs, queries, fit_docs))

    def fitted() -> Codec:
        return teach(make(), fit_docs, fit_queries, fit_pairs)

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        with watched(costs, stage):
            costs.seconds[stage], result = repeated(work, repeats, clock)
        return result

    codec: Codec = timed("fit", fitted)
    codes: Codes = timed("encode", lambda: encode(codec, docs, chunk_rows))
    with TemporaryDirectory(prefix="vecbudget-") as folder:
        write_index(Path(folder), codec, codes)
        # what was encoded would count as memory of loading
        del codec, codes
        codec, codes = timed("load", lambda: read_index(Path(folder), make()))
        timed("search", lambda: search(codec, queries, codes, k, chunk_rows))
        _count_scored(costs, codec, len(docs))
    some = take(queries, np.linspace(0, len(queries) - 1, min(len(queries), SINGLE_QUERIES)).astype(np.int64))
    with noticed(costs, "single"):
        costs.single_ms, costs.single_queries = single_queries(
            lambda row: search(codec, row, codes, k, chunk_rows), some, repeats, clock
        )
    with noticed(costs, "sizes"):
        for n in sorted({max(1, int(fraction * len(docs))) for fraction in FRACTIONS}):
            if n == len(docs):
                spreads = costs.seconds["encode"], costs.seconds["search"]
            else:
                encoding, part = repeated(partial(encode, codec, docs[:n], chunk_rows), repeats, clock)
                searching, _ = repeated(partial(search, codec, queries, part, k, chunk_rows), repeats, clock)
                spreads = encoding, searching
                _count_scored(costs, codec, n)
            for stage, spread in zip(("encode", "search"), spreads, strict=True):
                costs.by_size.setdefault(stage, {})[n] = spread


def _count_scored(costs: Costs, codec: Codec, n: int) -> None:
    """Note how many of n documents the last search scored, if it did not score all."""
    structure = codec.structure
    if structure is not None:
        costs.scored[n] = float(structure.visited.mean())
        costs.scored_by_logarithm = structure.walks


def single_queries(
    find: Callable[[Float32], Any],
    queries: Float32,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, Spread], int]:
    """Return milliseconds of one query at a time at the percentiles 50, 95 and 99, and of how many queries.

    The first query is asked once before, uncounted. A pass goes through all queries; slow methods are passed through
    once, and no further than patience lasts.

    Parameters
    ----------
    find : callable
        Searches for queries, float32 (1, d).
    queries : float32 (m, d)
    repeats : int
        Passes.
    clock : callable
        Seconds.
    """
    find(queries[:1])
    begin = clock()
    passes: list[list[float]] = []
    asked = len(queries)
    for _ in range(repeats):
        if passes and clock() - begin > PATIENCE_S:
            break
        found: list[float] = []
        for row in range(asked):
            query = queries[row : row + 1]
            start = clock()
            find(query)
            found.append(1000 * (clock() - start))
            if not passes and clock() - begin > PATIENCE_S:
                break
        passes.append(found)
        asked = len(passes[0])
    percentiles = np.array([np.percentile(found, [50, 95, 99]) for found in passes])
    spreads = (Spread.of(column) for column in percentiles.T)
    return dict(zip(("p50", "p95", "p99"), spreads, strict=True)), asked


def repeated(
    work: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.perf_counter, warmups: int = 1
) -> tuple[Spread, Any]:
    """Return the seconds of repeated work, and what it returned at last; slow work is repeated less often, but once."""
    result: Any = None
    found: list[float] = []
    begin = clock()
    for turn in range(warmups + repeats):
        start = clock()
        if found and start - begin > PATIENCE_S:
            break
        # two results at a time would count twice as the stage's memory
        result = None
        result = work()
        # work that takes long needs no warming up
        if turn >= warmups or clock() - begin > PATIENCE_S:
            found.append(clock() - start)
    return Spread.of(found), result


@contextmanager
def watched(costs: Costs, stage: str) -> Iterator[None]:
    """Note the peak of the resident memory during the body, and what other processes did."""
    memory = Memory()
    with noticed(costs, stage), peak_memory(memory):
        yield
    costs.memory[stage] = memory


@contextmanager
def noticed(costs: Costs, stage: str) -> Iterator[None]:
    """Note what other processes did during the body."""
    busy, own, start = _busy_seconds(), _own_seconds(), time.perf_counter()
    yield
    elapsed, after = time.perf_counter() - start, _busy_seconds()
    costs.load[stage] = Load()
    if busy is not None and after is not None and elapsed >= RESOLVED_S:
        others = (after - busy - (_own_seconds() - own)) / elapsed
        costs.load[stage] = Load(max(0.0, round(others, 3)))


@contextmanager
def peak_memory(memory: Memory) -> Iterator[None]:
    """Find the peak of the resident memory while the body runs.

    Linux lets a process reset its own high-water mark; elsewhere a thread looks every few milliseconds.
    """
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        clear.write_text("5", encoding="ascii")
        memory.before, memory.method = status_bytes(status, "VmRSS"), "high-water mark, reset before the stage"
    except OSError:
        with peak_while(memory):
            yield
        return
    try:
        yield
    finally:
        memory.peak = status_bytes(status, "VmHWM")


@contextmanager
def peak_while(memory: Memory) -> Iterator[None]:
    """Note the most memory that the process has meanwhile."""
    statm, done = Path("/proc/self/statm"), threading.Event()
    if not statm.is_file():
        memory.method = "largest since the process began"
        yield
        memory.peak = peak_memory_bytes()
        return

    def resident() -> int:
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def look() -> None:
        while not done.wait(SAMPLING_S):
            memory.peak = max(memory.peak, resident())

    memory.method = f"looked at every {1000 * SAMPLING_S:g} ms"
    memory.before = memory.peak = resident()
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        memory.peak = max(memory.peak, resident())


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a lock in a folder, so that of several processes only one measures cost at a time.

    A folder that machines share makes them wait for each other, too.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "cost.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another run measures its cost; waiting for it")
        start = time.perf_counter()
        lock.acquire()
        log.info("waited for %.0f s", time.perf_counter() - start)
    try:
        yield
    finally:
        lock.release()


def thread_counts() -> dict[str, int]:
    """Return how many threads each library uses that is loaded."""
    import sys

    from threadpoolctl import threadpool_info

    counts = {pool["internal_api"]: int(pool["num_threads"]) for pool in threadpool_info()}
    if "faiss" in sys.modules:
        counts["faiss"] = int(sys.modules["faiss"].omp_get_max_threads())
    if "torch" in sys.modules:
        counts["torch"] = int(sys.modules["torch"].get_num_threads())
    return counts


def _busy_seconds() -> float | None:
    """Return the seconds that all processors of the machine have worked, or None where nobody tells.

    What the host of a virtual machine took away counts too.
    """
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    except OSError:
        return None
    # see proc_stat(5)
    user, nice, system, _, _, irq, soft, steal = map(int, fields[:8])
    return (user + nice + system + irq + soft + steal) / float(os.sysconf("SC_CLK_TCK"))


def _own_seconds() -> float:
    import resource

    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _loadavg() -> list[float] | None:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return None
