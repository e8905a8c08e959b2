"""The plot of vector stores' switches."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis import pareto
from harness.base import formatting
from harness.report.figures import labels as labels_module
from harness.report.figures import style
from harness.report.figures.pareto import LINE, PADDING, REACH, UP_LEFT, Point, visible_floor
from harness.report.figures.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


from harness.analysis.store_settings import Switches

Float64 = NDArray[np.float64]

AGAIN, ONCE = "some documents read again", "nothing read again"

LOOKS: dict[str, dict[str, Any]] = {
    AGAIN: {"color": style.COLOURS[1], "marker": "^"},
    ONCE: {"color": style.COLOURS[0], "marker": "o"},
}

POINT = 7.0
"""Size of a marker, in points."""


def can_draw(found: Switches) -> bool:
    """Whether a setting has both a quality and a size."""
    share = found.page.settings[pareto.share_column(found.page.settings)].to_numpy(dtype=np.float64)
    return any(np.isfinite(share[row.place]) and found.memory[row.place] > 0 for row in found.rows)


def draw(found: Switches) -> Figure:
    """Draw what the stores' settings keep against their bytes in memory, and the project's frontier as a line.

    The best of each store is large and bears its name; others do where there is room. What keeps so little that the
    rest would be squeezed together is left out, and the page says how many are (`can_draw` must hold).
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    page, ram = found.page, found.memory
    share = page.settings[pareto.share_column(page.settings)].to_numpy(dtype=np.float64)
    points: dict[tuple[int, str], tuple[bool, str]] = {}
    for number, row in enumerate(found.rows):
        if np.isfinite(share[row.place]) and ram[row.place] > 0:
            store = row.match.preset.store
            strong = found.best.get(store) == number
            look = AGAIN if row.recipe.rescored else ONCE
            points[row.place, store] = (strong or points.get((row.place, store), (False, ""))[0], look)
    floor = visible_floor(
        [
            Point(ram[place], share[place], share[place], share[place], store, look, strong)
            for (place, store), (strong, look) in points.items()
        ]
    )
    shown = {key: point for key, point in points.items() if share[key[0]] >= floor}
    line = [place for place in found.frontier if share[place] >= floor]
    hidden = len(points) - len(shown)
    with style.style():
        figure = new_figure(style.WIDTH, style.TALL + 0.6)
        axes = figure.add_subplot()
        figure.suptitle(f"{page.title}: vector stores' settings", ha="left", x=0.02, fontsize=13, fontweight="bold")
        words = f"; {formatting.count(hidden, 'setting')} below" if hidden else ""
        axes.set_title(f"{page.size}{words}", fontsize=9, color=style.QUIET)
        everything = [*(place for place, _ in shown), *line]
        sizes, heights = ram[everything], share[everything]
        room = 0.12 * max(float(np.ptp(heights)), 0.02)
        axes.set_ylim(float(heights.min()) - room, max(float(heights.max()), 1.0) + room)
        axes.set_xscale("log", base=2)
        axes.set_xlim(float(sizes.min()) / 1.5, float(sizes.max()) * 1.7)
        whole = 4.0 * float(page.settings["dim"].iloc[0])
        ticks = whole / 2.0 ** np.arange(0, 12)
        axes.xaxis.set_major_locator(FixedLocator(ticks[ticks >= axes.get_xlim()[0]].tolist()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:.3g}" if cost < 100 else f"{cost:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda kept, _: f"{100 * kept:.4g} %"))
        axes.set_xlabel("bytes per vector in memory, with their share of state   (← fewer is better)")
        axes.set_ylabel(f"{page.quality_label} kept of float32   (higher is better →)")
        axes.axhline(1.0, color=style.QUIET, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
        steps = [*((ram[place], share[place]) for place in line)]
        steps += [(axes.get_xlim()[1], share[line[-1]])] if line else []
        axes.plot(
            *zip(*steps, strict=True), drawstyle="steps-post", color=style.INK, linewidth=2.0, alpha=0.6, zorder=2
        )
        for (place, _), (strong, look) in sorted(shown.items(), key=lambda item: item[1][0]):
            axes.plot(
                ram[place],
                share[place],
                linestyle="none",
                markersize=POINT if strong else 0.7 * POINT,
                alpha=1.0 if strong else 0.45,
                markeredgecolor="white",
                markeredgewidth=0.6,
                zorder=5 if strong else 4,
                **LOOKS[look],
            )
        handles = [Line2D([], [], color=style.INK, alpha=0.6, linewidth=2.0, label="the project's own frontier")]
        looks = [look for look in LOOKS if any(look == found_look for _, found_look in shown.values())]
        handles += [Line2D([], [], linestyle="none", markersize=6, label=look, **LOOKS[look]) for look in looks]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        style.settle(figure)
        labels = _labels([(place, store, strong) for (place, store), (strong, _) in shown.items()])
        _write_labels(axes, labels, ram, share, steps, [place for place, _ in shown])
    return figure


def _labels(points: Sequence[tuple[int, str, bool]]) -> list[tuple[int, str, bool]]:
    """Return place, text and whether it must be there; stores whose settings share a record share a label."""
    joined: dict[tuple[int, bool], list[str]] = {}
    for place, store, strong in points:
        joined.setdefault((place, strong), []).append(store.partition(" (")[0])
    return [(place, ", ".join(dict.fromkeys(stores)), strong) for (place, strong), stores in joined.items()]


def _write_labels(
    axes: Axes,
    labels: Sequence[tuple[int, str, bool]],
    ram: Float64,
    share: Float64,
    frontier: Sequence[tuple[float, float]],
    markers: Sequence[int],
) -> None:
    """Write labels where they touch neither markers nor each other: the best of each store first."""
    figure = axes.get_figure()
    assert figure is not None
    scale = 72.0 / figure.dpi
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]

    def spot(cost: float, quality: float) -> Float64:
        return np.asarray(axes.transData.transform((cost, quality))) * scale

    ordered = sorted(labels, key=lambda label: (not label[2], -share[label[0]]))
    requests, texts = [], []
    for place, text, strong in ordered:
        note = axes.annotate(
            "\n".join(textwrap.wrap(text, LINE)),
            xy=(ram[place], share[place]),
            xytext=(0, 0),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=7.5 if strong else 6.0,
            color=style.INK if strong else style.QUIET,
            zorder=6,
        )
        box = np.array(note.get_window_extent(renderer).extents) * scale
        radius = POINT / 2 if strong else 0.35 * POINT
        size = box[2:] - box[:2] + 2 * PADDING
        reach = np.inf if strong else REACH
        requests.append(labels_module.Request(spot(ram[place], share[place]), radius, size, UP_LEFT, reach))
        texts.append(note)
    obstacles = [np.hstack([spot(ram[p], share[p]) - POINT / 2, spot(ram[p], share[p]) + POINT / 2]) for p in markers]
    steps = [spot(*step) for step in frontier]
    segments = [np.hstack([spot(cost, 1.0) for cost in axes.get_xlim()])]
    for one, other in itertools.pairwise(steps):
        segments += [np.array([*one, other[0], one[1]]), np.array([other[0], one[1], *other])]
    bounds = np.array(axes.get_window_extent(renderer).extents) * scale + np.array([2, 2, -2, -2])
    corners = labels_module.place(requests, bounds, np.array(obstacles), np.array(segments))
    for note, request, corner in zip(texts, requests, corners, strict=True):
        if corner is None:
            note.remove()
            continue
        note.set_position(tuple(corner + PADDING - request.anchor))
        nearest = np.clip(request.anchor, corner, corner + request.size)
        if np.hypot(*(nearest - request.anchor)) >= labels_module.LEADER_FROM:
            axes.annotate(
                "",
                xy=note.xy,
                xytext=tuple(nearest - request.anchor),
                textcoords="offset points",
                arrowprops={
                    "arrowstyle": "-",
                    "color": style.QUIET,
                    "linewidth": 0.5,
                    "shrinkA": 0,
                    "shrinkB": request.radius,
                },
            )
