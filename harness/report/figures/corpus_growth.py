"""Curves of quality, and of what codes lose, over the number of documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.evaluation.metric_registry import metric
from harness.report.figures.style import COLOURS, INK, MARKERS, QUIET, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.analysis.corpus_growth import GrowthPage


MOST_SIZES = 4
"""Sizes that are named on the axis one by one."""


def draw_corpus_growth(page: GrowthPage) -> Figure:
    """Draw each setting's curve with its interval; what is extrapolated is dashed, without a marker, and so named.

    Parameters
    ----------
    page : GrowthPage
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    label = metric(page.metric).label
    panels = [("score", label)]
    if any(one.lost for one in page.curves):
        panels.append(("lost", f"{label} lost against float32"))
    beyond = sorted({size for one in page.curves for size in one.beyond})
    with style():
        figure = new_figure(5.6 * len(panels), 4.4)
        for axes, (name, title) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
            for place, one in enumerate(sorted(page.curves, key=lambda one: -one.bytes_per_vector)):
                values = np.array(getattr(one, name))
                if not len(values):
                    continue
                colour = INK if one.setting == "float32" else COLOURS[place % len(COLOURS)]
                marker = MARKERS[place % len(MARKERS)]
                axes.plot(one.sizes, values[:, 0], color=colour, marker=marker, markersize=4, label=one.setting)
                axes.fill_between(one.sizes, values[:, 1], values[:, 2], color=colour, alpha=0.12, linewidth=0)
                ahead = np.array(getattr(one, f"{name}_beyond"))
                if len(ahead):
                    sizes = [one.sizes[-1], *one.beyond]
                    ahead = np.vstack([values[-1:], ahead])
                    axes.plot(sizes, ahead[:, 0], color=colour, linestyle=":", linewidth=1)
                    axes.fill_between(sizes, ahead[:, 1], ahead[:, 2], color=colour, alpha=0.05, linewidth=0)
            axes.set_xscale("log")
            # searched sizes have their own marks; a decade has room for few
            sizes = sorted({size for one in page.curves for size in one.sizes})
            if len(sizes) <= MOST_SIZES:
                axes.xaxis.set_major_locator(FixedLocator([*sizes, *beyond]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("documents; dotted: extrapolated, not searched" if beyond else "documents")
            axes.set_title(title, fontsize=9, color=QUIET)
            axes.legend(fontsize=6.5)
        figure.suptitle(page.title, fontsize=12, fontweight="bold", ha="left", x=0.02)
    return figure
