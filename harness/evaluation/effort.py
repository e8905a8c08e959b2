"""Search effort as an axis: what lists or a graph find, how much they look at, and how fast, for one built index.

Two losses are told apart. *Of the codes*: against the exhaustive answer of the same codes, which is what the structure
lost. *Of float32*: against the exact ranking, which is what code and structure lost together.

Speed is of one thread that is given all queries at once, in seconds of its own processor time, so that what else the
machine does is no part of it: the median of some repeats, after a search that is not counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError
from harness.evaluation.exact_search import without_own
from harness.evaluation.fidelity import Comparison
from harness.evaluation.retrieval_metrics import Judgements, discounts
from methods.base import Codec, Codes, MethodError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

DEPTH = 10
"""Documents that a query asks for."""

REPEATS = 3


@dataclass(frozen=True)
class Point:
    """What a search with one effort finds and costs.

    Attributes
    ----------
    effort : int or None
        None: every document is looked at.
    recall_of_codes, recall_of_float32 : float
        Mean share of the best `DEPTH` documents of the same codes searched exhaustively, and of float32 vectors.
    recall_of_codes_error, recall_of_float32_error : float
        Standard errors of these means over the queries.
    ndcg_at_10 : float or None
        None without judgements.
    visited : float
        Mean number of documents that are scored for a query.
    queries_per_second : float
    """

    effort: int | None
    recall_of_codes: float
    recall_of_codes_error: float
    recall_of_float32: float
    recall_of_float32_error: float
    ndcg_at_10: float | None
    visited: float
    queries_per_second: float


@dataclass(frozen=True)
class EffortCurve:
    """Points of one index, by rising effort.

    Attributes
    ----------
    name : str
        The parameter that is the effort.
    asked : list of int
        Efforts that were asked for; the index may not allow all of them.
    exhaustive : Point
        Of every document.
    scored_as : str
        What the structure scores: codes as they lie, or float32 that they are decoded to.
    points : list of Point
    """

    name: str
    asked: list[int]
    exhaustive: Point
    scored_as: str = "float32"
    points: list[Point] = field(default_factory=list)

    def as_record(self) -> dict[str, Any]:
        """Return what a run record holds."""
        return {
            "effort": self.name,
            "asked": self.asked,
            "depth": DEPTH,
            "scored_as": self.scored_as,
            "speed": f"1 thread, all queries at once, processor seconds, median of {REPEATS}",
            "exhaustive": asdict(self.exhaustive),
            "points": [asdict(point) for point in self.points],
        }


def effort_curve(
    codec: Codec,
    queries: Float32,
    codes: Codes,
    exact: Int64,
    efforts: Sequence[int],
    judgements: Judgements | None = None,
    own: Int64 | None = None,
    clock: Callable[[], float] = time.process_time,
) -> EffortCurve:
    """Search the same index with one effort after another.

    Parameters
    ----------
    codec : fitted Codec with a structure
        Left with the effort that it had.
    queries : float32 (m, d)
    codes : Codes
    exact : int64 (m, k)
        The float32 ranking.
    efforts : sequence of int
        Those above what the index allows are left out.
    judgements : Judgements or None
    own : int64 (m,) or None
        See `harness.evaluation.exact_search.own_rows`.
    clock : callable
        Seconds.

    Raises
    ------
    ConfigError
        If none of the efforts is possible.
    """
    structure = codec.structure
    assert structure is not None
    depth = DEPTH if own is None else DEPTH + 1

    def find(repeats: int = REPEATS) -> tuple[Int64, float]:
        scores, rows = codec.search(queries, codes, depth)
        found = []
        for _ in range(repeats):
            start = clock()
            codec.search(queries, codes, depth)
            found.append(clock() - start)
        if own is not None:
            scores, rows = without_own(scores, rows, own, DEPTH)
        return rows, float(np.median(found))

    with one_thread():
        with structure.searching_all():
            everything, seconds = find(repeats=1)
        reference = everything[:, :DEPTH]

        def point(effort: int | None, rows: Int64, visited: float, seconds: float) -> Point:
            of_codes = Comparison.of(rows, reference).recall(DEPTH, DEPTH)
            of_float32 = Comparison.of(rows, exact[:, :DEPTH]).recall(DEPTH, DEPTH)
            return Point(
                effort,
                *_mean(of_codes),
                *_mean(of_float32),
                None if judgements is None else _ndcg(rows, judgements),
                visited,
                len(queries) / max(seconds, 1e-9),
            )

        exhaustive = point(None, everything, float(codes.n), seconds)
        before, points = structure.effort, []
        for effort in sorted(set(efforts)):
            try:
                structure.set_effort(effort)
            except MethodError as error:
                refusal = error
                continue
            rows, seconds = find()
            points.append(point(effort, rows, float(structure.visited.mean()), seconds))
        structure.set_effort(before)
    if efforts and not points:
        raise ConfigError(f"measure.efforts={list(efforts)}: none of them is possible ({refusal})")
    return EffortCurve(structure.effort_name, sorted(set(efforts)), exhaustive, structure.scored_as, points)


def _mean(values: Float64) -> tuple[float, float]:
    """Return the mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _ndcg(rows: Int64, judgements: Judgements) -> float:
    gains = judgements.gains(rows)
    return float((gains @ discounts(gains.shape[1]) / judgements.best(DEPTH)).mean())


@contextmanager
def one_thread() -> Iterator[None]:
    """Let compiled loops and matrix products of the body use one thread."""
    from threadpoolctl import threadpool_limits

    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with threadpool_limits(1):
            yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
