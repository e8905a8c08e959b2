"""Which configurations are worth their bytes: the Pareto frontier, and the best for a budget or a quality.

The frontier is not drawn to the last tenth of a byte: sizes that are one budget (`harness.analysis.budgets.one_budget`)
count as equal, and of one budget only the best stands. As that relation does not carry on from one size to the next,
the frontier is walked down from the best point to the smallest: a point takes with it all that are of one budget with
it and no better, and the next is the best of those that are left and that nothing at most as large surpasses.

The frames here have one row a configuration. A frame of single runs works too, but then the luckiest seed
wins: `harness.analysis.settings.configurations` averages the seeds first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.analysis.budgets import one_budget, within
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

COST = "bytes_per_vector"

ToldApart = Callable[[int, NDArray[np.int64]], NDArray[np.bool_]]
"""Takes a point and others, and marks those of the others that are told apart from it."""


def frontier(cost: ArrayLike, quality: ArrayLike, told_apart: ToldApart | None = None) -> NDArray[np.bool_]:
    """Mark the best of each budget: cost is minimised, quality maximised.

    These are the `undominated` points, less those that are of one budget with a better one that stands. Between any
    two that stand there are at least 2 % of the smaller one's cost, and whatever does not stand is surpassed by one
    that does and that costs less than 2 % more. Points that are further apart than that are marked as by `undominated`.

    With `told_apart`, points also stand beside the best of their budget if they are not told apart from it, unless a
    point of a smaller budget is as good; and what is told apart from such a point, and of one budget with it, falls.

    Parameters
    ----------
    cost : array_like of float (n,)
        What is paid, such as bytes per vector.
    quality : array_like of float (n,)
        What it buys, such as nDCG@10.
    told_apart : callable or None
        Asked of each best point and of those of its budget. None tells all apart.

    Returns
    -------
    ndarray of bool (n,)

    Raises
    ------
    ValueError
        If the two are not vectors of one length.
    """
    costs, qualities = _paired(cost, quality)
    on = frontiers(costs, qualities[:, None])[:, 0]
    if told_apart is None or not on.any():
        return on
    best = best_of_budget(costs, qualities)
    best[on | _surpassed_by_less(costs, qualities)] = -1
    for place in np.unique(best[best >= 0]).tolist():
        beside = np.flatnonzero(best == place)
        on[beside] = ~told_apart(place, beside)
    # what stands beside a best of more bytes may be of one budget with, and better than, a best of fewer
    for place in np.flatnonzero(on & (best >= 0)).tolist():
        if not on[place]:
            continue
        less = (costs <= costs[place]) & one_budget(costs, costs[place]) & (qualities < qualities[place])
        worse = np.flatnonzero(on & less & (best != best[place]) & (np.arange(len(on)) != best[place]))
        if len(worse):
            on[worse] = ~told_apart(place, worse)
    return on


def best_of_budget(cost: ArrayLike, quality: ArrayLike) -> NDArray[np.int64]:
    """Return for each point which one is the best of its budget: the best on the `frontier` that is one budget with it.

    Parameters
    ----------
    cost, quality : array_like of float (n,)

    Returns
    -------
    ndarray of int64 (n,)
        Places; -1 where nothing on the frontier is of one budget with a point, or its cost or quality is NaN.
    """
    costs, qualities = _paired(cost, quality)
    found = np.full(len(costs), -1, dtype=np.int64)
    standing = np.flatnonzero(frontiers(costs, qualities[:, None])[:, 0])
    for place in standing[np.argsort(qualities[standing], kind="stable")].tolist():  # the best comes last, and stays
        found[one_budget(costs, costs[place]) & ~np.isnan(qualities)] = place
    found[standing] = standing
    return found


def _surpassed_by_less(costs: NDArray[np.float64], qualities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the points that one of a smaller budget is at least as good as: bool (n,)."""
    smaller = (costs < costs[:, None]) & ~one_budget(costs, costs[:, None])
    return np.asarray(np.any(smaller & (qualities >= qualities[:, None]), axis=1))


def frontiers(cost: ArrayLike, quality: ArrayLike) -> NDArray[np.bool_]:
    """Mark the best of each budget in many sets that share their costs, each as `frontier` does.

    Parameters
    ----------
    cost : array_like of float (n,)
    quality : array_like of float (n, b)
        One column a set, such as the means of a bootstrap resample.

    Returns
    -------
    ndarray of bool (n, b)

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    costs, qualities = _paired(cost, quality, dimensions=2)
    on = _undominated(costs, qualities)
    taken = np.full(qualities.shape[1], np.nan)  # what the last that stood costs
    for level in np.unique(costs[~np.isnan(costs)])[::-1].tolist():
        own = costs == level
        stands = on[own] & ~one_budget(level, taken)
        on[own] = stands
        taken[stands.any(axis=0)] = level
    return on


def undominated(cost: ArrayLike, quality: ArrayLike) -> NDArray[np.bool_]:
    """Mark the points that no other point dominates, to the last digit.

    A point is dominated if another one costs no more, is no worse, and is better in at least one of the two.
    Copies of a point do not dominate each other: all of them are marked, or none. A point whose cost or quality is NaN
    is not marked and dominates nothing. Infinities compare as numbers.

    Parameters
    ----------
    cost, quality : array_like of float (n,)

    Returns
    -------
    ndarray of bool (n,)

    Raises
    ------
    ValueError
        If the two are not vectors of one length.
    """
    costs, qualities = _paired(cost, quality)
    return _undominated(costs, qualities[:, None])[:, 0]


def _undominated(costs: NDArray[np.float64], qualities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the undominated points of each column: bool (n, b)."""
    on = np.zeros(qualities.shape, dtype=np.bool_)
    known = ~np.isnan(costs)
    if not known.any():
        return on
    _, level, best = _levels(costs[known], qualities[known])
    cheaper = np.full_like(best, np.nan)
    cheaper[1:] = np.fmax.accumulate(best, axis=0)[:-1]
    # NaN is where nothing is cheaper: even -inf is undominated then
    undominated = (best > cheaper) | np.isnan(cheaper)
    on[known] = (qualities[known] == best[level]) & undominated[level]
    return on


def hypervolume(cost: ArrayLike, quality: ArrayLike, worst_cost: float, worst_quality: float) -> float:
    """Return the area between the frontier's steps and the corner (`worst_cost`, `worst_quality`).

    Give log2 of the bytes as the cost to weigh each halving alike. Points beyond the corner add nothing.

    Source: the S-metric of Zitzler and Thiele, 1998, in two dimensions.
    """
    costs, qualities = _paired(cost, quality)
    return float(hypervolumes(costs, qualities[:, None], worst_cost, worst_quality)[0])


def hypervolumes(cost: ArrayLike, quality: ArrayLike, worst_cost: float, worst_quality: float) -> NDArray[np.float64]:
    """Return the hypervolumes of many sets that share their costs, each as `hypervolume` does.

    Parameters
    ----------
    cost : array_like of float (n,)
    quality : array_like of float (n, b)
        One column a set.
    worst_cost, worst_quality : float
        The corner.

    Returns
    -------
    ndarray of float64 (b,)
    """
    costs, qualities = _paired(cost, quality, dimensions=2)
    inside = costs < worst_cost
    if not inside.any():
        return np.zeros(qualities.shape[1])
    steps, _, best = _levels(costs[inside], qualities[inside])
    heights = np.fmax(np.fmax.accumulate(best, axis=0) - worst_quality, 0)
    widths = np.broadcast_to(np.diff(np.append(steps, worst_cost))[:, None], heights.shape)
    parts = np.multiply(widths, heights, out=np.zeros_like(heights), where=heights > 0)
    volumes: NDArray[np.float64] = parts.sum(axis=0)
    return volumes


def quality_column(frame: pd.DataFrame) -> str:
    """Return the column of the quality: nDCG@10, or overlap with float32 where there are no judgements."""
    return REFERENCE.judged_metric if frame[REFERENCE.judged_metric].notna().any() else REFERENCE.unjudged_metric


def share_column(frame: pd.DataFrame) -> str:
    """Return the column that says which share of float32's quality is left."""
    return "retention" if quality_column(frame) == REFERENCE.judged_metric else REFERENCE.unjudged_metric


def best_within(frame: pd.DataFrame, budget: float) -> pd.Series[Any] | None:
    """Return the row of the highest quality among those within a budget (`harness.analysis.budgets.within`), or None.

    Among equals the smaller row wins, then the earlier one.
    """
    quality = quality_column(frame)
    fits = within(frame[COST], frame["code_bytes_per_vector"], budget)
    return _first(frame[fits & frame[quality].notna()], by=[quality, COST], ascending=[False, True])


def best_of_methods(frame: pd.DataFrame, budget: float, *, above: float | None = None) -> NDArray[np.int64]:
    """Return the places of each method's best row within a budget, the best method first; float32 is none of them.

    Parameters
    ----------
    frame : DataFrame
    budget : float
        As in `best_within`.
    above : float or None
        Share of the budget that the codes must exceed: what is much smaller competes elsewhere. None is no limit.

    Returns
    -------
    ndarray of int64 (methods,)
        Among a method's equals the smaller row is chosen, then the earlier one.
    """
    quality, code = quality_column(frame), frame["code_bytes_per_vector"]
    fits = within(frame[COST], code, budget)
    fits &= True if above is None else code > above * budget
    fits &= frame[quality].notna() & ~REFERENCE.marks(frame["method"])
    ordered = frame.assign(place=np.arange(len(frame)))[fits]
    ordered = ordered.sort_values([quality, COST], ascending=[False, True], kind="stable")
    return ordered.drop_duplicates("method")["place"].to_numpy(dtype=np.int64)


def smallest_keeping(frame: pd.DataFrame, share: float) -> pd.Series[Any] | None:
    """Return the smallest row that keeps `share` of float32's quality (0.99 is 99 %), or None.

    Without judgements the share is that of float32's ten best results that are found. Of the rows that keep it and are
    one budget with the smallest, it is the one on the frontier; among equals the earlier one.

    Raises
    ------
    ValueError
        If `share` is not a fraction.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1 (99 % is 0.99), got {share}")
    kept = share_column(frame)
    enough = frame[(frame[kept] >= share) & frame[COST].notna()]
    return None if enough.empty else enough.iloc[smallest(enough[COST], enough[kept])]


def smallest(cost: ArrayLike, quality: ArrayLike) -> int:
    """Return the place of the smallest point on the frontier: the best of the smallest budget.

    Of copies it is the first. There must be a point whose cost and quality are known.
    """
    costs, qualities = _paired(cost, quality)
    standing = np.flatnonzero(frontier(costs, qualities))
    return int(standing[np.argmin(costs[standing])])


def _first(frame: pd.DataFrame, by: list[str], ascending: list[bool]) -> pd.Series[Any] | None:
    if frame.empty:
        return None
    row: pd.Series[Any] = frame.sort_values(by, ascending=ascending, kind="stable").iloc[0]
    return row


def _levels(
    costs: NDArray[np.float64], qualities: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the distinct costs, which of them each row has, and the best quality at each (NaN if unknown)."""
    steps, level = np.unique(costs, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(len(steps)))
    return steps, level, np.fmax.reduceat(qualities[order], starts, axis=0)


def _paired(
    cost: ArrayLike, quality: ArrayLike, dimensions: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    costs, qualities = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if costs.ndim != 1 or qualities.ndim != dimensions or len(costs) != len(qualities):
        raise ValueError(f"cost and quality must be equally long, got shapes {costs.shape} and {qualities.shape}")
    return costs, qualities
