"""Quality against bytes a document, a colour for what represents it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import cycle
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis import pareto
from harness.analysis.representations import NAMES, Representations, kind_of_page, kinds_of
from harness.analysis.settings import Page
from harness.evaluation.metric_registry import metric
from harness.report.figures.style import COLOURS, MARKERS, QUIET, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICKS = tuple(8 << doublings for doublings in range(15))


def kind_looks(kinds: Collection[str]) -> dict[str, dict[str, str]]:
    """Return each representation's colour and marker, the same ones whichever others there are."""
    known = (*NAMES, *sorted({*kinds} - {*NAMES}))
    looks = (
        {"color": colour, "marker": marker} for colour, marker in zip(cycle(COLOURS), cycle(MARKERS), strict=False)
    )
    return {kind: look for kind, look in zip(known, looks, strict=False) if kind in kinds}


def legend_entry(name: str, pages: list[Page]) -> str:
    """Return what a legend calls a representation: with its model, unless there are several."""
    models = {str(page.runs["model"].iloc[0]) for page in pages}
    return f"{name}: {shorten(models.pop(), 40, placeholder=' …')}" if len(models) == 1 else name


def draw_representations(found: Representations, pages: list[Page]) -> Figure:
    """Draw every setting of a collection, and for each representation what is best of those no larger.

    Parameters
    ----------
    found : Representations
    pages : list of Page
        Of this collection.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    label = metric(found.quality).label
    with style():
        figure = new_figure(9.0, 5.2)
        axes = figure.add_subplot()
        names = kinds_of(pages)
        looks = kind_looks(names)
        for kind, name in names.items():
            own = [page.settings for page in pages if kind_of_page(page) == kind]
            cost = np.concatenate([part[pareto.COST].to_numpy(dtype=float) for part in own])
            quality = np.concatenate([part[found.quality].to_numpy(dtype=float) for part in own])
            known = np.isfinite(cost) & np.isfinite(quality) & (cost > 0)
            order = np.lexsort((-quality[known], cost[known]))
            cost, quality = cost[known][order], quality[known][order]
            best = np.maximum.accumulate(quality)
            colour, marker = looks[kind]["color"], looks[kind]["marker"]
            dots: dict[str, Any] = {"color": colour, "linestyle": "none", "markeredgewidth": 0}
            axes.plot(cost, quality, marker, markersize=4, alpha=0.45, **dots)
            rises = np.concatenate([[True], best[1:] > best[:-1]])
            axes.plot(cost[rises], best[rises], marker, markersize=5.5, zorder=5, **dots)
            entry = legend_entry(name, [page for page in pages if kind_of_page(page) == kind])
            axes.step([*cost, cost[-1]], [*best, best[-1]], where="post", color=colour, linewidth=1.6, label=entry)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low <= tick <= high]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("bytes a document")
        axes.set_ylabel(label)
        title = f"{found.collection}: what one more byte buys"
        figure.suptitle(title, fontsize=12, fontweight="bold", ha="left", x=0.02)
        axes.set_title("lines: the best setting of that size or less, chosen on these queries", fontsize=9, color=QUIET)
        axes.legend(loc="lower right")
    return figure
