"""Which configurations are worth their bytes: the Pareto frontier, and the best for a budget or a quality.

The frames here have one row a configuration. A frame of single runs works too, but then the luckiest seed
wins: `harness.analysis.settings.configurations` averages the seeds first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

COST = "bytes_per_vector"


def frontier(cost: ArrayLike, quality: ArrayLike) -> NDArray[np.bool_]:
    """Mark the points that no other point dominates: cost is minimised, quality maximised.

    A point is dominated if another one costs no more, is no worse, and is better in at least one of the two.
    Copies of a point do not dominate each other: all of them are on the frontier, or none. A point whose cost
    or quality is NaN is not on the frontier and dominates nothing. Infinities compare as numbers.

    Parameters
    ----------
    cost : array_like of float (n,)
        What is paid, such as bytes per vector.
    quality : array_like of float (n,)
        What it buys, such as nDCG@10.

    Returns
    -------
    ndarray of bool (n,)

    Raises
    ------
    ValueError
        If the two are not vectors of one length.
    """
    costs, qualities = _paired(cost, quality)
    return frontiers(costs, qualities[:, None])[:, 0]


def frontiers(cost: ArrayLike, quality: ArrayLike) -> NDArray[np.bool_]:
    """Mark the undominated points of many sets that share their costs, each as `frontier` does.

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


def best_within(frame: pd.DataFrame, max_bytes: float, *, spare: float = 0.0) -> pd.Series[Any] | None:
    """Return the row of the highest quality among those of at most `max_bytes` bytes per vector, or None.

    Among equals the smaller row wins, then the earlier one. Codes that fit may cost `spare` bytes more in shared
    state: a code of 48 bytes costs 48.4 once its codebooks are shared out, and most people would call that 48.
    """
    quality = quality_column(frame)
    fits = within(frame[COST], frame["code_bytes_per_vector"], max_bytes, spare) if spare else frame[COST] <= max_bytes
    return _first(frame[fits & frame[quality].notna()], by=[quality, COST], ascending=[False, True])


def best_of_methods(
    frame: pd.DataFrame, max_bytes: float, *, spare: float = 0.0, above: float | None = None
) -> NDArray[np.int64]:
    """Return the places of each method's best row within a budget, the best method first; float32 is none of them.

    Parameters
    ----------
    frame : DataFrame
    max_bytes, spare : float
        As in `best_within`.
    above : float or None
        Share of the budget that the codes must exceed: what is much smaller competes elsewhere. None is no limit.

    Returns
    -------
    ndarray of int64 (methods,)
        Among a method's equals the smaller row is chosen, then the earlier one.
    """
    quality, code = quality_column(frame), frame["code_bytes_per_vector"]
    fits = within(frame[COST], code, max_bytes, spare)
    fits &= True if above is None else code > above * max_bytes
    fits &= frame[quality].notna() & (frame["method"] != REFERENCE.method)
    ordered = frame.assign(place=np.arange(len(frame)))[fits]
    ordered = ordered.sort_values([quality, COST], ascending=[False, True], kind="stable")
    return ordered.drop_duplicates("method")["place"].to_numpy(dtype=np.int64)


def within(cost: ArrayLike, code_bytes: ArrayLike, max_bytes: float, spare: float) -> NDArray[np.bool_]:
    """Mark what fits a budget: its cost does, or its codes do and shared state costs no more than `spare` on top.

    Parameters
    ----------
    cost, code_bytes : array_like of float (n,)
        Bytes per vector with and without the shared state.
    max_bytes, spare : float

    Returns
    -------
    ndarray of bool (n,)
    """
    costs, codes = _paired(cost, code_bytes)
    return (costs <= max_bytes) | ((codes <= max_bytes) & (costs <= max_bytes + spare))


def smallest_keeping(frame: pd.DataFrame, share: float) -> pd.Series[Any] | None:
    """Return the smallest row that keeps `share` of float32's quality (0.99 is 99 %), or None.

    Without judgements the share is that of float32's ten best results that are found. Among equals the better
    row wins, then the earlier one.

    Raises
    ------
    ValueError
        If `share` is not a fraction.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1 (99 % is 0.99), got {share}")
    kept = share_column(frame)
    enough = frame[(frame[kept] >= share) & frame[COST].notna()]
    return _first(enough, by=[COST, kept], ascending=[True, False])


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
