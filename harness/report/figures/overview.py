"""Figures over several pages, or beyond bytes: collections side by side, lost queries, time, methods by collections."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import pareto
from harness.analysis.budgets import BUDGETS
from harness.analysis.settings import Page, setting_name
from harness.evaluation.reference import REFERENCE
from harness.report.figures.style import FAINT, INK, QUIET, Looks, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from harness.report.figures.style import new_figure

PANELS = 3
"""Beside each other."""

LOST_COLOURS = ("#B2182B", "#EF8A62", "#F2F2F2", "#92C5DE", "#2166AC")
"""Diverging and safe for colour-blind readers (ColorBrewer's RdBu)."""

HALF = 0.5
"""Share of a budget above which a setting is in its heat map: the others are in that of a smaller one."""

MOST_BARS = 24

ALMOST = 0.005
"""Shares of float32's quality that are as good as the best of a row."""


def draw_side_by_side(pages: Sequence[Page], looks: Looks) -> Figure:
    """Draw each collection's share of float32's quality against bytes per vector: the best of each family.

    Parameters
    ----------
    pages : sequence of Page
        At least one, each with a configuration that has a quality.
    looks : mapping
        See `harness.report.figures.style.family_looks`.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    columns = min(PANELS, len(pages))
    rows = -(-len(pages) // columns)
    with style():
        figure = new_figure(3.3 * columns + 0.4, 2.7 * rows + 0.9)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        families: set[str] = set()
        lowest = 1.0
        for axes, page in zip(grid.flat, pages, strict=False):
            share = pareto.share_column(page.settings)
            known = page.settings[page.settings[share].notna() & (page.settings[pareto.COST] > 0)]
            for family, members in known.groupby("family"):
                best = _steps(members, share)
                axes.plot(*best, drawstyle="steps-post", linewidth=1.2, markersize=3.5, zorder=3, **looks[str(family)])
                families.add(str(family))
            cost, quality = _steps(known, share)
            axes.plot(cost, quality, drawstyle="steps-post", color=INK, linewidth=2.2, alpha=0.35, zorder=2)
            lowest = min(lowest, float(np.min(quality)) if len(quality) else 1.0)
            axes.axhline(1.0, color=QUIET, linewidth=0.8, linestyle=(0, (5, 3)), zorder=1)
            axes.set_title(textwrap.shorten(page.title, 44, placeholder=" …"), fontsize=9)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:,.0f}"))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        for axes in list(grid.flat)[len(pages) :]:
            axes.set_visible(False)
        grid.flat[0].set_ylim(max(0.0, min(0.9, lowest) - 0.03), 1.03)
        for column in range(columns):
            last = [axes for axes in grid[:, column] if axes.get_visible()][-1]
            last.set_xlabel("bytes per vector, with its share of state", fontsize=8)
            last.tick_params(labelbottom=True)
        for axes in grid[:, 0]:
            axes.set_ylabel("kept of float32")
        handles = [Line2D([], [], color=INK, linewidth=2.2, alpha=0.35, label="all methods")]
        handles += [Line2D([], [], linewidth=1.2, markersize=4, label=name, **looks[name]) for name in sorted(families)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)))
    return figure


def _steps(members: pd.DataFrame, share: str) -> tuple[list[float], list[float]]:
    on = pareto.frontier(members[pareto.COST], members[share])
    best = members[on].sort_values(pareto.COST)
    return best[pareto.COST].tolist(), best[share].tolist()


def can_draw_lost(page: Page) -> bool:
    """Whether it is known what queries lose: nDCG@10 of float32 and of another setting on the frontier."""
    return bool(len(_lost_rows(page)))


def draw_lost(page: Page) -> Figure:
    """Draw which share of the queries loses or gains how much nDCG@10, for the settings on the frontier.

    A mean hides whether a few queries lose everything or many a little.
    """
    from matplotlib.ticker import PercentFormatter

    assert page.scores is not None and page.scores.reference is not None
    values = page.scores.values[REFERENCE.judged_metric]
    places = _lost_rows(page)
    with style():
        figure = new_figure(8.0, 1.5 + 0.28 * len(places))
        axes = figure.add_subplot()
        names = []
        for height, place in enumerate(places):
            change = values[place] - values[page.scores.reference]
            shares = shares_by_change(change)
            left = 0.0
            for share, colour in zip(shares, LOST_COLOURS, strict=True):
                axes.barh(height, share, left=left, color=colour, height=0.72, edgecolor="white", linewidth=0.6)
                if share > 0.035:
                    dark = colour in (LOST_COLOURS[0], LOST_COLOURS[-1])
                    text = f"{100 * share:.0f} %"
                    colour_of_text = "white" if dark else INK
                    axes.text(
                        left + share / 2, height, text, ha="center", va="center", fontsize=7, color=colour_of_text
                    )
                left += share
            row = page.settings.iloc[place]
            names.append(f"{textwrap.shorten(setting_name(row), 40, placeholder=' …')}  {row[pareto.COST]:,.0f} B")
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xlim(0, 1)
        axes.grid(visible=False)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel(f"share of the {values.shape[1]:,} queries")
        title = f"{page.title}: nDCG@10 of each query against float32"
        figure.suptitle(title, fontsize=11, fontweight="bold", ha="left", x=0.02)
        _lost_legend(figure)
    return figure


def _lost_rows(page: Page) -> list[int]:
    if page.scores is None or page.scores.reference is None or not page.judged:
        return []
    known = set(page.scores.known(REFERENCE.judged_metric).tolist()) - {page.scores.reference}
    on = [place for place in np.flatnonzero(page.settings["on_frontier"]).tolist() if place in known]
    return on[-MOST_BARS:] if page.scores.reference in page.scores.known(REFERENCE.judged_metric) else []


def shares_by_change(change: np.ndarray) -> list[float]:
    """Return the shares of queries that lose half or more, lose less, stay, gain less, and gain half or more."""
    worse, better = change[change < 0], change[change > 0]
    counts = [
        (worse <= -0.5).sum(),
        (worse > -0.5).sum(),
        (change == 0).sum(),
        (better < 0.5).sum(),
        (better >= 0.5).sum(),
    ]
    return [float(count) / len(change) for count in counts]


def _lost_legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    names = ("loses 0.5 or more", "loses less", "the same", "gains less", "gains 0.5 or more")
    handles = [Patch(facecolor=colour, label=name) for colour, name in zip(LOST_COLOURS, names, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)


def can_draw_speed(page: Page) -> bool:
    """Whether there are search times, and shares of the reference's quality, which it may lack."""
    shares = page.settings[pareto.share_column(page.settings)]
    return bool(((page.settings["search_seconds"] > 0) & shares.notna()).sum() > 1)


def draw_speed(page: Page, looks: Looks) -> Figure:
    """Draw quality against queries a second of exhaustive search, and documents encoded a second beside it.

    Times are those of single runs on whatever machine they were made on, several at once or not.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, NullLocator

    settings = page.settings
    share = pareto.share_column(settings)
    with style():
        figure = new_figure(9.6, 4.6)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, speed, label in (
            (
                left,
                settings["n_queries"] / settings["search_seconds"],
                "queries a second, exhaustive search   (faster →)",
            ),
            (right, settings["n_docs"] / settings["encode_seconds"], "documents encoded a second   (faster →)"),
        ):
            _scatter(axes, speed, settings, share, looks)
            axes.set_xscale("log")
            axes.set_xlabel(label)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        left.set_ylabel("kept of float32" if share == "retention" else "overlap@10 with float32")
        good = settings[share].dropna()
        left.set_ylim(max(0, min(0.9, float(good.quantile(0.1))) - 0.03), float(good.max()) + 0.03)
        figure.suptitle(page.title, fontsize=12, fontweight="bold", ha="left", x=0.02)
        left.set_title(f"{page.size}; large: on the frontier of quality and bytes", fontsize=9, color=QUIET)
        names = sorted(set(settings["family"]))
        handles = [Line2D([], [], linestyle="none", markersize=6, label=name, **looks[name]) for name in names]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)))
    return figure


def _scatter(axes: Axes, speed: pd.Series[float], settings: pd.DataFrame, share: str, looks: Looks) -> None:
    drawn = settings.assign(speed=speed)[np.isfinite(speed) & np.isfinite(settings[share])]
    for (family, big), members in drawn.groupby(["family", "on_frontier"]):
        axes.plot(
            members["speed"],
            members[share],
            linestyle="none",
            markersize=7 if big else 4,
            alpha=1.0 if big else 0.45,
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=4 if big else 3,
            **looks[str(family)],
        )


def draw_heat_map(pages: Sequence[Page], budget: int) -> Figure:
    """Draw the share of float32's quality that each method's best setting within a budget keeps on each collection.

    Rows are sorted by their mean; a row that lacks a collection comes last. See `heat_map_budgets`.
    """
    from matplotlib.colors import LinearSegmentedColormap

    table = kept_within(pages, budget)
    colours = LinearSegmentedColormap.from_list("share", ["#D9E6F2", "#56A0D3", "#08306B"])
    with style():
        figure = new_figure(2.6 + 1.25 * len(pages), 1.6 + 0.25 * len(table))
        axes = figure.add_subplot()
        values = table.to_numpy(dtype=float)
        low = float(np.nanquantile(values, 0.05))
        axes.imshow(values, cmap=colours, vmin=low, vmax=max(1.0, low + 0.01), aspect="auto")
        best = np.nanmax(values, axis=0)
        for row, column in np.argwhere(np.isfinite(values)):
            value = values[row, column]
            dark = (value - low) / (1 - low + 1e-9) > 0.55
            weight = "bold" if value >= best[column] - ALMOST else "normal"
            text = f"{100 * value:.1f}"
            colour = "white" if dark else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour, fontweight=weight)
        titles = [
            "\n".join(textwrap.shorten(part, 18, placeholder="…") for part in page.title.split(" · ")) for page in pages
        ]
        axes.set_xticks(range(len(pages)), titles, fontsize=8)
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(table)), list(table.index), fontsize=8)
        axes.grid(visible=False)
        axes.set_facecolor(FAINT)
        axes.spines["bottom"].set_visible(False)
        figure.suptitle(
            f"% of float32 kept within {budget} bytes of codes per vector",
            fontsize=11,
            fontweight="bold",
            ha="left",
            x=0.02,
        )
    return figure


def kept_within(pages: Sequence[Page], budget: int) -> pd.DataFrame:
    """Return what each method's best setting within a budget keeps of float32's quality, one column a page.

    A setting that takes no more than half of the budget is left out: it competes elsewhere.
    """
    import pandas as pd

    columns = []
    for page in pages:
        best = pareto.best_of_methods(page.settings, budget, above=HALF)
        columns.append(page.settings.iloc[best].set_index("method")[pareto.share_column(page.settings)])
    table = pd.concat(columns, axis="columns").set_axis(range(len(pages)), axis="columns")
    order = table.mean(axis="columns", skipna=False).sort_values(ascending=False, na_position="last")
    ordered: pd.DataFrame = table.loc[order.index]
    return ordered.dropna(how="all")


def heat_map_budgets(pages: Sequence[Page]) -> list[int]:
    """Return the budgets that codes fill, with four methods at least that were measured on every collection."""
    if len(pages) < 2:
        return []
    sizes = [page.settings["code_bytes_per_vector"] for page in pages]
    filled = [budget for budget in BUDGETS if all(size.between(0.98 * budget, budget).any() for size in sizes)]
    return [budget for budget in filled if len(kept_within(pages, budget).dropna()) >= 4]
