"""The plot of the mean squared error and its bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis import pareto
from harness.analysis.settings import Page, setting_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from harness.report.figures.pareto import (
    DOWN_RIGHT,
    Point,
    draw_clipped,
    draw_factors,
    draw_labels,
    draw_points,
    figure_of,
    in_points,
    prepared_axes,
    set_limits,
    visible_floor,
)
from harness.report.figures.style import INK, family_looks, style

Float = NDArray[np.float64]

Looks = Mapping[str, dict[str, Any]]

DECIBELS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
"""Ticks of the errors. The axis is logarithmic, so that the bound is nearly straight: 6.02 dB for each bit."""

DISTORTION = [f"vector_{name}" for name in ("db_over_bound", "distortion", "distortion_sd", "power", "bound")]
"""Columns that older records lack."""


def can_draw_distortion(page: Page) -> bool:
    """Whether errors are known at two sizes at least."""
    return len({point.cost for point in _distortion_points(page)}) > 1


def draw_distortion(page: Page, looks: Looks | None = None) -> Figure:
    """Draw the reconstructions' mean squared error against bytes per vector, with the Gaussian bound.

    Of methods whose scores are linear in the query; others have no reconstruction. Bytes are those of the codes, as
    they are for the bound. Frontier and dominated points are marked as in `draw`, the frontier's steps are left out.

    Parameters
    ----------
    page : Page
        `can_draw_distortion` must hold.
    looks : mapping, optional
        As in `draw`.
    """
    points = _distortion_points(page)
    looks = family_looks(page.settings["family"]) if looks is None else looks
    floor = visible_floor(points)
    shown = [point for point in points if point.quality >= floor]
    clipped = [point for point in points if point.quality < floor]

    def set_up(axes: Axes) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter

        set_limits(axes, points, shown, page, [])
        axes.yaxis.set_major_locator(FixedLocator(np.log2(DECIBELS).tolist()))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda quality, _: f"{2**quality:.3g}"))
        axes.set_ylabel("mean squared error, dB below the vectors' power   (higher is better →)")
        axes.set_xlabel("bytes of code per vector   (← fewer is better)")
        draw_factors(axes, page)

    with style():
        axes = prepared_axes(page, points, looks, "bound of a Gaussian source", set_up)
        bound = _bound(page)
        axes.plot(*bound.T, color=INK, linewidth=2.0, zorder=2)
        draw_points(axes, shown, looks)
        arrows = draw_clipped(axes, clipped, looks, lambda quality: f"{2**quality:.2g} dB")
        draw_labels(axes, shown, arrows, None, in_points(axes, np.hstack([bound[:-1], bound[1:]])), DOWN_RIGHT)
    return figure_of(axes)


def _distortion_points(page: Page) -> list[Point]:
    """Return errors as log2 of the dB that they are below the power, with the frontier among them."""
    rows = _with_distortion(page)
    decibels = _decibels(rows["vector_distortion"] / rows["vector_power"])
    spreads = (10 / np.log(10)) * rows["vector_distortion_sd"] / rows["vector_distortion"] / (np.log(2) * decibels)
    on_frontier = pareto.frontier(rows["code_bytes_per_vector"], decibels)
    return [
        Point(
            cost=float(row["code_bytes_per_vector"]),
            quality=float(np.log2(below)),
            low=float(np.log2(below)) - (float(spread) if np.isfinite(spread) else 0.0),
            high=float(np.log2(below)) + (float(spread) if np.isfinite(spread) else 0.0),
            name=setting_name(row),
            family=row["family"],
            on_frontier=bool(on),
        )
        for row, below, spread, on in zip(rows.to_dict("records"), decibels, spreads, on_frontier, strict=True)
    ]


def _with_distortion(page: Page) -> pd.DataFrame:
    """Return the configurations whose reconstruction has an error that can be drawn."""
    rows = page.settings.reindex(columns=list(dict.fromkeys([*page.settings, *DISTORTION])))
    rows = rows[rows["vector_db_over_bound"].notna() & (rows["code_bytes_per_vector"] > 0)]
    return rows[_decibels(rows["vector_distortion"] / rows["vector_power"]) >= min(DECIBELS)]


def _decibels(share: pd.Series[float]) -> Float:
    return -10 * np.log10(share.to_numpy(dtype=float))


def _bound(page: Page) -> Float:
    """Return points (g, 2) of the bound's curve, which the measured sizes' bounds determine well enough.

    In logarithms of bytes and dB it is nearly straight: between sizes a factor 4 apart, interpolation is off by about
    0.1 dB.
    """
    from scipy.interpolate import PchipInterpolator

    rows = _with_distortion(page)
    bounds = (rows["vector_bound"] / rows["vector_power"]).groupby(rows["code_bytes_per_vector"]).mean()
    sizes = np.log2(bounds.index.to_numpy(dtype=float))
    curve = PchipInterpolator(sizes, np.log2(_decibels(bounds)))
    at = np.linspace(sizes[0], sizes[-1], 200)
    return np.column_stack([2**at, curve(at)])
