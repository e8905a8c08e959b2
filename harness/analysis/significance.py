"""What in a report is more than the luck of the queries: see `harness.analysis.statistics` for the statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis import pareto, statistics
from harness.base.errors import StoreError
from harness.evaluation.metric_registry import headlines
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page

from harness.analysis.settings import Scores

Float64 = NDArray[np.float64]

PerQuery = Callable[[str], "pd.DataFrame"]


def load_scores(page: Page, per_query: PerQuery, metrics: Sequence[str] = ()) -> Scores:
    """Read the queries' scores of a page's settings, by default by the metrics that are compared query by query."""
    rows = [[_queries(per_query, run_id) for run_id in ids.split()] for ids in page.settings["run_ids"]]
    metrics = metrics or [entry.name for entry in headlines()]
    first = next((frame for runs in rows for frame in runs if frame is not None), None)
    if first is None:
        return Scores({metric: np.full((len(rows), 0), np.nan) for metric in metrics}, None)
    values = {metric: np.full((len(rows), len(first)), np.nan) for metric in metrics}
    for place, runs in enumerate(rows):
        alike = [frame for frame in runs if frame is not None and frame.index.equals(first.index)]
        for metric in metrics:
            if len(alike) == len(runs) and all(metric in frame for frame in alike):
                values[metric][place] = np.mean([frame[metric] for frame in alike], axis=0)
    plain = np.flatnonzero(REFERENCE.marks(page.settings["method"]))
    return Scores(values, int(plain[0]) if len(plain) else None)


def _queries(per_query: PerQuery, run_id: str) -> pd.DataFrame | None:
    try:
        return per_query(run_id).set_index("query_id").sort_index()
    except (OSError, KeyError, StoreError):
        return None


def with_intervals(page: Page, per_query: PerQuery) -> Page:
    """Return the page with its scores, and with columns that say how certain its figures are.

    `overlap_at_10_low`, `_high`; and where nDCG@10 and float32 were measured: `retention_low`, `_high`, `loss_bound`,
    `p`, `p_holm` (Holm's correction over the page's settings), `effect_size`, `queries_better`, `queries_worse` and
    `verdict`, each setting against float32; see `harness.analysis.statistics.Comparison`. NaN where unknown. On the
    frontier are now also the settings that are not told apart from the best of their budget.
    """
    if page.settings.empty:
        return page
    scores, settings = load_scores(page, per_query), page.settings.copy()
    known = scores.known(REFERENCE.unjudged_metric)
    if len(known):
        found = statistics.mean_interval(scores.values[REFERENCE.unjudged_metric][known])
        _fill(settings, known, {"overlap_at_10_low": found.low, "overlap_at_10_high": found.high})
    quality = pareto.quality_column(settings)
    apart = partial(told_apart, scores.values[quality])
    settings["on_frontier"] = pareto.frontier(settings[pareto.COST], settings[quality], apart)
    judged = scores.known(REFERENCE.judged_metric)
    if scores.reference in judged:
        reference = scores.values[REFERENCE.judged_metric][scores.reference]
        others = judged[judged != scores.reference]
        if len(others):
            compared = statistics.compare(scores.values[REFERENCE.judged_metric][others], reference)
            _fill(
                settings,
                others,
                {
                    "retention_low": compared.ratio.low,
                    "retention_high": compared.ratio.high,
                    "loss_bound": compared.loss_bound,
                    "p": compared.p,
                    "p_holm": compared.p_holm,
                    "effect_size": compared.effect,
                    "queries_better": compared.better,
                    "queries_worse": compared.worse,
                    "verdict": compared.verdicts(),
                },
            )
    return replace(page, settings=settings, scores=scores)


def told_apart(values: Float64, best: int, others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark which settings are told apart from the best of their budget: what has no scores of its queries, is.

    By the randomisation test of the paired differences at 5 %, with Holm's correction over the others.

    Parameters
    ----------
    values : float64 (r, m)
        The queries' scores of all settings; NaN where they are not known.
    best : int
    others : int64 (k,)

    Returns
    -------
    ndarray of bool (k,)
    """
    apart = np.ones(len(others), dtype=np.bool_)
    if values.shape[1] and np.isfinite(values[best]).all():
        known = np.isfinite(values[others]).all(axis=1)
        if known.any():
            p = statistics.holm(statistics.randomisation_test(values[best] - values[others[known]]))
            apart[known] = p < statistics.ALPHA
    return apart


def _fill(settings: pd.DataFrame, rows: NDArray[np.int64], columns: dict[str, Any]) -> None:
    for name, values in columns.items():
        settings[name] = "" if isinstance(values, list) else np.nan
        settings.loc[settings.index[rows], name] = values


@dataclass(frozen=True)
class Step:
    """A setting on the frontier, compared with the next smaller one: places in the page's settings and the figures."""

    row: int
    below: int
    difference: float
    low: float
    high: float
    p_holm: float


def frontier_steps(page: Page) -> list[Step]:
    """Compare the best of each budget on the frontier with that of the next smaller one, in the page's quality."""
    if page.scores is None:
        return []
    values = page.scores.values[page.quality]
    best = pareto.frontier(page.settings[pareto.COST], page.settings[page.quality])
    on = [row for row in np.flatnonzero(best) if np.isfinite(values[row]).all()]
    if len(on) < 2 or not values.shape[1]:
        return []
    found = statistics.compare(values[on[1:]], values[on[:-1]])
    figures = zip(found.difference.estimate, found.difference.low, found.difference.high, found.p_holm, strict=True)
    return [
        Step(int(row), int(below), *map(float, numbers))
        for row, below, numbers in zip(on[1:], on[:-1], figures, strict=True)
    ]


@dataclass(frozen=True)
class Equals:
    """Settings of equal code bytes that were measured on every page.

    Attributes
    ----------
    size : float
        Code bytes per vector.
    pages : list of str
        Titles.
    keys : list of tuple
        Method, params and scoring of each of the r settings.
    shares : float64 (r, pages)
        Of float32's quality.
    interval : Interval
        Mean share, by a hierarchical bootstrap.
    ranks, points : float64 (r,)
        Mean ranks and Borda counts.
    p, critical_difference : float
        Friedman's test, and Nemenyi's difference of mean ranks.
    groups : list of tuple of int
        Settings that cannot be told apart.
    """

    size: float
    pages: list[str]
    keys: list[tuple[str, str, str]]
    shares: Float64
    interval: statistics.Interval
    ranks: Float64
    points: Float64
    p: float
    critical_difference: float
    groups: list[tuple[int, ...]]


def at_equal_bytes(pages: Sequence[Page], least: int = 3) -> list[Equals]:
    """Compare settings of equal size over all pages, where at least so many were measured on every one.

    A setting counts if it was measured once a page. Sizes are equal that are the same to the tenth of a byte. Pages
    on which float32 was not measured are left out.
    """
    import pandas as pd

    pages = [page for page in pages if page.scores is not None and page.scores.reference is not None]
    if len(pages) < 2:
        return []
    parts = []
    for place, page in enumerate(pages):
        assert page.scores is not None
        scores = page.scores.values[page.quality]
        known = np.isfinite(scores).all(axis=1) if scores.shape[1] else np.zeros(len(scores), dtype=bool)
        names = page.settings[["method", "params", "scoring"]].copy()
        names["size"] = page.settings["code_bytes_per_vector"].round(1)
        parts.append(names.assign(page=place, row=np.arange(len(names)))[known])
    frame = pd.concat(parts)
    found = []
    for size in sorted(frame["size"].unique().tolist()):
        group = frame[frame["size"] == size]
        counts = group.groupby(["method", "params", "scoring"], sort=True)["page"].agg(["size", "nunique"])
        keys = list(counts.index[(counts["size"] == len(pages)) & (counts["nunique"] == len(pages))])
        if len(keys) >= least:
            found.append(_equals(size, keys, group, pages))
    return found


def _equals(size: float, keys: list[tuple[str, str, str]], group: pd.DataFrame, pages: Sequence[Page]) -> Equals:
    places = group.set_index(["method", "params", "scoring", "page"])["row"]
    contributions = []
    for number, page in enumerate(pages):
        assert page.scores is not None and page.scores.reference is not None
        values = page.scores.values[page.quality]
        reference = values[page.scores.reference]
        own = values[[int(places[(*key, number)]) for key in keys]]
        contributions.append(statistics.ratio_parts(own, reference))
    shares = np.stack([values.mean(axis=1) for values in contributions], axis=1)
    ranks = statistics.mean_ranks(shares)
    difference = statistics.critical_difference(len(keys), len(pages))
    return Equals(
        size=size,
        pages=[page.title for page in pages],
        keys=keys,
        shares=shares,
        interval=statistics.macro_interval(contributions),
        ranks=ranks,
        points=statistics.borda(shares),
        p=statistics.friedman_test(shares),
        critical_difference=difference,
        groups=statistics.groups(ranks, difference),
    )
