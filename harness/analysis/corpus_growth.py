"""Quality against the number of documents: what runs on nested subsets of a collection say of larger ones.

The subsets hold every judged document (`harness.data.datasets.subset`), so that only the number of others grows. Scores
of the same queries are averaged over the subsets of one size that were drawn with different seeds; intervals are over
queries. Beyond the collection a straight line over the logarithm of the number of documents is followed, which is an
assumption: its interval says how sure the line is of itself, and nothing of whether the scores will follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.analysis.settings import setting_name
from harness.analysis.statistics import mean_interval
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

Float64 = NDArray[np.float64]

BEYOND = (10.0, 100.0)
"""Times the collection's documents to which a line is followed."""

LEAST_SIZES = 3
"""Of subsets, the whole included, for a line."""


@dataclass(frozen=True)
class Growth:
    """What one setting scores as a collection grows.

    Attributes
    ----------
    setting : str
    bytes_per_vector : float
        Of the largest collection that was searched.
    sizes : tuple of int
        Documents, ascending.
    draws : tuple of int
        Subsets of each size.
    score, lost : tuple of (float, float, float)
        At each size the mean over queries, and the ends of its 95 % interval: of the metric, and of float32's less this
        one's, query by query; the latter is empty where float32 was not run on the same subsets.
    spread : tuple of float
        Standard deviation of the mean score over the subsets of a size; NaN for one subset.
    beyond : tuple of float
        Documents of collections that nobody searched; empty with fewer than `LEAST_SIZES` sizes.
    score_beyond, lost_beyond : tuple of (float, float, float)
        What a line leads to there.
    """

    setting: str
    bytes_per_vector: float
    sizes: tuple[int, ...]
    draws: tuple[int, ...]
    score: tuple[tuple[float, float, float], ...]
    lost: tuple[tuple[float, float, float], ...]
    spread: tuple[float, ...]
    beyond: tuple[float, ...]
    score_beyond: tuple[tuple[float, float, float], ...]
    lost_beyond: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class GrowthPage:
    """A collection under a model: its title, the metric, the runs, and the curves of all settings."""

    title: str
    metric: str
    runs: pd.DataFrame
    curves: tuple[Growth, ...]


def growth_pages(frame: pd.DataFrame, per_query: Callable[[str], pd.DataFrame]) -> list[GrowthPage]:
    """Return the curves of every collection and model of which subsets were searched.

    Parameters
    ----------
    frame : DataFrame
        Of `harness.runs.frame.load_runs` with `subsets`.
    per_query : callable
        Returns the queries' scores of a run id.
    """
    done = frame[frame["status"] == "ok"]
    done = done.assign(collection=done["subset_of"].where(done["subset_of"] != "", done["dataset"]))
    found = []
    for (collection, model), runs in done.groupby(["collection", "model"], sort=True):
        if not (runs["subset_of"] != "").any():
            continue
        judged = runs[REFERENCE.judged_metric].notna().all()
        metric = REFERENCE.judged_metric if judged else REFERENCE.unjudged_metric
        curves = _curves(runs, metric, per_query)
        if curves:
            found.append(GrowthPage(f"{collection} · {model}", metric, runs, tuple(curves)))
    return found


def _curves(runs: pd.DataFrame, metric: str, per_query: Callable[[str], pd.DataFrame]) -> list[Growth]:
    plain: dict[int, Float64] = {}
    scored: list[tuple[pd.DataFrame, dict[int, Float64], dict[int, Float64]]] = []
    for _, own in runs.groupby(["method", "params", "scoring"], sort=True):
        # by size: a mean for each query, and for each subset
        of_queries, of_subsets = {}, {}
        for size in sorted({int(count) for count in own["n_docs"]}):
            run_ids = own.loc[own["n_docs"] == size, "run_id"]
            frames = [per_query(run_id).set_index("query_id").sort_index()[metric] for run_id in run_ids]
            if all(one.index.equals(frames[0].index) for one in frames):
                values = np.array([one.to_numpy(dtype=np.float64) for one in frames])
                of_queries[size] = values.mean(axis=0)
                of_subsets[size] = values.mean(axis=1)
        scored.append((own, of_queries, of_subsets))
        if bool(REFERENCE.marks(own["method"]).all()):
            plain = of_queries
    return [
        _growth(own, of_queries, of_subsets, plain) for own, of_queries, of_subsets in scored if len(of_queries) > 1
    ]


def _growth(
    own: pd.DataFrame, scores: dict[int, Float64], of_subsets: dict[int, Float64], plain: dict[int, Float64]
) -> Growth:
    sizes = sorted(scores)
    rows = np.array([scores[size] for size in sizes])
    comparable = all(size in plain and len(plain[size]) == rows.shape[1] for size in sizes) and plain is not scores
    lost = np.array([plain[size] for size in sizes]) - rows if comparable else np.empty((0, rows.shape[1]))
    beyond = tuple(times * sizes[-1] for times in BEYOND) if len(sizes) >= LEAST_SIZES else ()
    weights = line_weights(sizes, beyond)
    largest = own[own["n_docs"] == sizes[-1]].iloc[0]
    return Growth(
        setting=setting_name(largest),
        bytes_per_vector=float(largest["bytes_per_vector"]),
        sizes=tuple(sizes),
        draws=tuple(len(of_subsets[size]) for size in sizes),
        score=_intervals(rows),
        lost=_intervals(lost),
        spread=tuple(
            float(of_subsets[size].std(ddof=1)) if len(of_subsets[size]) > 1 else float("nan") for size in sizes
        ),
        beyond=beyond,
        score_beyond=_intervals(weights @ rows),
        lost_beyond=_intervals(weights @ lost) if comparable else (),
    )


def line_weights(sizes: Sequence[float], beyond: Sequence[float]) -> Float64:
    """Return what turns scores at some sizes into a line's values at others, float64 (len(beyond), len(sizes)).

    The line is that of least squares over the logarithm of the size: its value is a weighted sum of the scores, so that
    an interval over queries of the sum is one of the value.
    """
    design = np.column_stack([np.ones(len(sizes)), np.log(np.asarray(sizes, dtype=np.float64))])
    wanted = np.column_stack([np.ones(len(beyond)), np.log(np.asarray(beyond, dtype=np.float64))])
    weights: Float64 = wanted @ np.linalg.pinv(design)
    return weights


def _intervals(rows: Float64) -> tuple[tuple[float, float, float], ...]:
    """Return the mean of each row over its queries and the ends of its 95 % interval."""
    if not len(rows):
        return ()
    found = mean_interval(rows)
    return tuple(
        (float(mean), float(low), float(high))
        for mean, low, high in zip(found.estimate, found.low, found.high, strict=True)
    )
