"""What is found against speed, a panel for each size of the whole index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.search_effort import FLAT, Searched
from harness.report.figures.style import COLOURS, INK, MARKERS, QUIET, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.analysis.settings import Page

MOST_PANELS = 6


def classes(points: Sequence[Searched]) -> dict[int, list[Searched]]:
    """Return points by the doubling of bytes that holds them: 64 stands for more than 32, and 64 at most."""
    found: dict[int, list[Searched]] = {}
    for one in sorted(points, key=lambda one: one.total_bytes):
        found.setdefault(1 << int(np.ceil(np.log2(one.total_bytes))), []).append(one)
    return found


def draw_search_effort(page: Page, points: Sequence[Searched]) -> Figure:
    """Draw each setting's curve of efforts; flat codes are single points.

    Parameters
    ----------
    page : Page
    points : sequence of Searched
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    by_size = dict(list(classes(points).items())[:MOST_PANELS])
    columns = min(2, len(by_size))
    rows = -(-len(by_size) // columns)
    with style():
        figure = new_figure(5.2 * columns, 0.6 + 3.5 * rows)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axes, (size, own) in zip(panels, by_size.items(), strict=False):
            for place, setting in enumerate(dict.fromkeys(one.setting for one in own)):
                curve = sorted((one for one in own if one.setting == setting), key=lambda one: one.visited)
                flat = curve[0].structure == FLAT
                axes.plot(
                    [one.queries_per_second for one in curve],
                    [100 * one.found for one in curve],
                    marker="*" if flat else MARKERS[place % len(MARKERS)],
                    color=INK if flat else COLOURS[place % len(COLOURS)],
                    markersize=11 if flat else 5,
                    linestyle="none" if flat else "-",
                    linewidth=1.3,
                    label=f"{setting} ({curve[0].total_bytes:.0f} B)",
                )
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(f"more than {size // 2:,} and at most {size:,} bytes in all", fontsize=9, color=QUIET)
            axes.legend(fontsize=6.5, loc="lower left")
        for axes in panels[len(by_size) :]:
            axes.set_visible(False)
        for place, axes in enumerate(panels):
            if place % columns == 0:
                axes.set_ylabel("float32's ten best found, %")
            if place >= len(by_size) - columns:
                axes.set_xlabel("queries a second, one thread")
                axes.tick_params(labelbottom=True)
        title = f"{page.title}: what lists and graphs find, and how fast"
        figure.suptitle(title, fontsize=12, fontweight="bold", ha="left", x=0.02)
    return figure
