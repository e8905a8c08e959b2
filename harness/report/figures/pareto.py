"""Plots of a report: quality and error against bytes per vector, with labels that do not touch anything.

The first half draws, the second half finds room for the labels. Matplotlib is used without pyplot, and the
style is in force only while a figure is made or saved.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.analysis import pareto
from harness.analysis.representations import unit_of_page
from harness.analysis.settings import Page, setting_name

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

from harness.report.figures.labels import LEADER_FROM, Request, crosses, leader_lines, overlaps, place
from harness.report.figures.style import DPI, HEIGHT, INK, QUIET, STRONG, TALL, WEAK, WIDTH, family_looks, settle, style

Float = NDArray[np.float64]

Looks = Mapping[str, dict[str, Any]]

CROWD = 25

ARROW = 14.0
"""Length in points of an arrow that stands for a clipped point."""

ABOVE_FACTORS = 29.5
"""Points between the plot and what stands above the upper axis and its name."""

REACH = 9.0
"""How far the label of a dominated point may be from it. Beyond, it is left out: the table has them all."""

LINE = 26
"""Characters; a longer label takes two or three lines."""

PADDING = np.array([2.5, 0.5])
"""Kept free beside and above each label."""

UP_LEFT, UP, DOWN_RIGHT = 0.75 * np.pi, 0.5 * np.pi, -0.25 * np.pi
"""Where labels would rather be. Above and left of the frontier there is no point, by definition."""


class Point(NamedTuple):
    """A configuration as it is drawn."""

    cost: float
    quality: float
    low: float
    high: float
    name: str
    family: str
    on_frontier: bool


def can_draw(page: Page) -> bool:
    """Whether the page has a point to draw. A logarithmic axis has no place for zero bytes."""
    return bool(_points(page))


def draw(page: Page, looks: Looks | None = None) -> Figure:
    """Draw quality against bytes per vector.

    Parameters
    ----------
    page : Page
        At least one configuration must have a quality and a size (`can_draw`).
    looks : mapping, optional
        The report's `family_looks`; by default those of this page alone.
    """
    points = _points(page)
    looks = family_looks(page.settings["family"]) if looks is None else looks
    floor = visible_floor(points)
    shown = [point for point in points if point.quality >= floor]
    clipped = [point for point in points if point.quality < floor]

    def set_up(axes: Axes) -> None:
        set_limits(axes, points, shown, page, [page.float32_score] if np.isfinite(page.float32_score) else [])
        measure = "nDCG@10" if page.judged else "overlap@10 with float32"
        axes.set_ylabel(f"{measure}   (higher is better →)")
        of = unit_of_page(page).replace("/", " per ")
        axes.set_xlabel(f"{of}, its share of codebooks and matrices included   (← fewer is better)")
        draw_factors(axes, page)
        _draw_share(axes, page)

    with style():
        bars = "95 % interval over queries" if has_intervals(page) else "± between seeds"
        axes = prepared_axes(page, points, looks, "Pareto frontier", set_up, bars)
        _draw_frontier(axes, points)
        draw_points(axes, shown, looks)
        arrows = draw_clipped(axes, clipped, looks, "{:.3f}".format)
        reference = _draw_reference(axes, shown, page)
        draw_labels(axes, shown, arrows, reference, _segments(axes, shown, reference), UP_LEFT)
    return figure_of(axes)


def prepared_axes(
    page: Page,
    points: Sequence[Point],
    looks: Looks,
    line: str,
    set_up: Callable[[Axes], None],
    bars: str = "± between seeds",
) -> Axes:
    """Return the axes of a new figure with everything in its final place; what is measured against it may follow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(WIDTH, HEIGHT if len(points) <= CROWD else TALL),
        dpi=DPI,
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.07),
    )
    FigureCanvasAgg(figure)  # keeps one renderer, where a bare figure makes a new one for each measurement
    axes = figure.add_subplot()
    title = figure.suptitle(page.title, ha="left", fontsize=min(13, 900 / len(page.title)), fontweight="bold")
    axes.set_title(page.size, fontsize=9, color=QUIET, pad=ABOVE_FACTORS)
    set_up(axes)
    _draw_legend(figure, points, looks, line, bars)
    settle(figure)
    title.set_x(axes.get_position().x0)
    return axes


def visible_floor(points: Sequence[Point]) -> float:
    """Return the lowest quality that a plot should show in its place.

    Low outliers, at most a fifth of the points, are left out as long as the others then need only two thirds of the
    height: or only a quarter, if one of the outliers is on the frontier.
    """
    ranked = sorted(points, key=lambda point: point.quality)
    heights = [ranked[-1].quality - point.quality for point in ranked]
    start = 0
    for count in range(1, min(-(-len(ranked) // 5), len(ranked) - 2) + 1):
        share = 1 / 4 if any(point.on_frontier for point in ranked[start:count]) else 2 / 3
        if 0 < heights[count] <= share * heights[start]:
            start = count
    return ranked[start].quality


def _points(page: Page) -> list[Point]:
    found = []
    for row in page.settings.to_dict("records"):
        quality = float(row[page.quality])
        if np.isfinite(quality) and row[pareto.COST] > 0:
            low, high = _bar(page, row)
            found.append(
                Point(
                    cost=float(row[pareto.COST]),
                    quality=quality,
                    low=low,
                    high=high,
                    name=setting_name(row),
                    family=row["family"],
                    on_frontier=bool(row["on_frontier"]),
                )
            )
    return found


def has_intervals(page: Page) -> bool:
    """Whether it is known how certain the quality is."""
    return any(f"{name}_low" in page.settings for name in (page.quality, pareto.share_column(page.settings)))


def _bar(page: Page, row: Mapping[Any, Any]) -> tuple[float, float]:
    """Return the ends of a point's bar: the interval over queries, of the frontier alone, or else between seeds."""
    quality = float(row[page.quality])
    if has_intervals(page):
        share = pareto.share_column(page.settings)
        ends = [float(row[f"{share}_{end}"]) * page.float32_score for end in ("low", "high")]
        return (ends[0], ends[1]) if row["on_frontier"] and np.isfinite(ends).all() else (quality, quality)
    spread = float(row[f"{page.quality}_sd"])
    spread = spread if np.isfinite(spread) else 0.0
    return quality - spread, quality + spread


def set_limits(axes: Axes, points: Sequence[Point], shown: Sequence[Point], page: Page, marks: Sequence[float]) -> None:
    """Make room for the points that are shown, and for other heights that must be there."""
    from matplotlib.ticker import FixedLocator, NullLocator

    ends = [*marks, *(end for point in shown for end in (point.low, point.high))]
    top, low = max(ends), min(ends)
    height = max(top - low, 0.05 * abs(top), 1e-3)
    bottom = low - (0.18 if len(shown) < len(points) else 0.1) * height
    axes.set_ylim(max(bottom, -0.05 * height) if low >= 0 else bottom, top + 0.14 * height)

    first, last = np.log2([min(point.cost for point in points), max(point.cost for point in points)])
    margin = max(0.06 * (last - first), 0.4, 1.2 - (last - first) / 2)
    axes.set_xscale("log", base=2)
    axes.set_xlim(2 ** (first - margin), 2 ** (last + margin))
    # Ticks at float32's size over powers of two: whole factors on the upper axis, and sizes that codes have.
    whole = page.float32_bytes
    halvings = np.arange(np.ceil(np.log2(whole) - last - margin), np.floor(np.log2(whole) - first + margin) + 1)
    ticks = whole / 2.0 ** halvings[halvings % max(1, round(len(halvings) / 10)) == 0]
    axes.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())


def draw_factors(axes: Axes, page: Page) -> None:
    """Label sizes in bytes below, and in factors above."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    whole = page.float32_bytes
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: _tick(cost)))
    upper = axes.secondary_xaxis("top")
    upper.xaxis.set_major_locator(FixedLocator(axes.xaxis.get_majorticklocs().tolist()))
    upper.xaxis.set_minor_locator(NullLocator())
    upper.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{_tick(whole / cost)}×"))
    upper.set_xlabel("times smaller than float32", color=QUIET)
    upper.tick_params(labelcolor=QUIET)
    upper.spines["top"].set_visible(False)


def _draw_share(axes: Axes, page: Page) -> None:
    """Label nDCG@10 in per cent of float32's on the right."""
    from matplotlib.ticker import FuncFormatter

    score = page.float32_score
    if not page.judged or not score > 0:
        return
    right = axes.secondary_yaxis(
        "right",
        functions=(
            lambda quality: np.asarray(quality) * (100 / score),
            lambda share: np.asarray(share) * (score / 100),
        ),
    )
    right.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.4g} %"))
    right.set_ylabel("kept of float32", color=QUIET)
    right.tick_params(labelcolor=QUIET)
    right.spines["right"].set_visible(False)


def _draw_legend(figure: Figure, points: Sequence[Point], looks: Looks, line: str, bars: str) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=INK, linewidth=2.0, label=line)]
    for name in sorted({point.family for point in points}):
        handles.append(Line2D([], [], linestyle="none", markersize=6, label=name, **looks[name]))
    if any(point.high > point.low for point in points):
        handles.append(Line2D([], [], linestyle="none", marker="|", color=QUIET, label=bars))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=-(-len(handles) // -(-len(handles) // 8)),
        handletextpad=0.3,
        columnspacing=1.6,
    )


def _draw_frontier(axes: Axes, points: Sequence[Point]) -> None:
    on = _steps(points)
    axes.plot(*zip(*on, strict=True), drawstyle="steps-post", color=INK, linewidth=2.0, zorder=2)


def _steps(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return where the frontier's line has its steps: at the best of each budget, not at what stands beside it."""
    on = [point for point in points if point.on_frontier]
    best = pareto.frontier([point.cost for point in on], [point.quality for point in on])
    return sorted((point.cost, point.quality) for point, is_best in zip(on, best, strict=True) if is_best)


def draw_points(axes: Axes, points: Sequence[Point], looks: Looks) -> None:
    """Draw each setting's marker and interval, in its family's look."""
    from matplotlib.colors import to_rgb

    # a line for all points of a look: matplotlib takes as long over each as over a hundred markers
    alike: dict[tuple[bool, str], list[Point]] = {}
    for point in points:
        alike.setdefault((point.on_frontier, point.family), []).append(point)
    for (on_frontier, family), members in alike.items():
        size, look = STRONG, looks[family]
        if not on_frontier:  # paler, but opaque: what lies underneath would change the colour
            size, look = WEAK, look | {"color": tuple(0.5 + 0.5 * part for part in to_rgb(look["color"]))}
        barred = [(point.cost, point.low, point.high) for point in members if point.high > point.low]
        if barred:
            axes.vlines(*zip(*barred, strict=True), color=look["color"], linewidth=1.0, zorder=3)
        costs, qualities = zip(*((point.cost, point.quality) for point in members), strict=True)
        axes.plot(costs, qualities, linestyle="none", markeredgecolor="white", **size, **look)


def draw_clipped(axes: Axes, points: Sequence[Point], looks: Looks, show: Callable[[float], str]) -> list[Point]:
    """Draw an arrow at the lower edge for each point below it; return what is to be written there."""
    low, high = axes.get_ylim()
    per_point = (high - low) / _box_size(_extent(axes, axes.patch))[1]
    tip = low + 2 * per_point
    for point in points:
        axes.annotate(
            "",
            xy=(point.cost, tip),
            xytext=(0, ARROW),
            textcoords="offset points",
            arrowprops={
                "arrowstyle": "-|>",
                "color": looks[point.family]["color"],
                "linewidth": 1.3,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    middle = tip + ARROW / 2 * per_point
    return [point._replace(quality=middle, name=f"{point.name}  {show(point.quality)}") for point in points]


def _draw_reference(axes: Axes, points: Sequence[Point], page: Page) -> Annotation | None:
    """Draw float32's line, and its value where it covers the least, preferably at the left end."""
    score = page.float32_score
    if not np.isfinite(score):
        return None
    axes.axhline(score, color=QUIET, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
    label = axes.annotate(
        f"float32  {score:.4f}" if page.judged else "float32",
        xy=(0, score),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 0),
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontsize=8,
        color=QUIET,
        label="label",
    )
    start = np.array([_extent(axes, axes.patch)[0], _position(axes, points[0].cost, score)[1]])
    size = _box_size(_extent(axes, label))
    room = _box_size(_extent(axes, axes.patch))[0] - size[0]
    across, lift = np.meshgrid(np.linspace(3, room - 3, 25), (2, -2 - size[1]))
    offsets = np.column_stack([across.ravel(), lift.ravel()])
    boxes = np.hstack([start + offsets, start + offsets + size])
    markers = np.array([_marker_box(_request(axes, point, STRONG["markersize"], UP, 0.0)) for point in points])
    covered = 10 * overlaps(boxes, markers).sum(axis=1) + crosses(_segments(axes, points, None), boxes).sum(axis=0)
    label.set_position(tuple(offsets[int(np.argmin(covered))]))
    return label


def draw_labels(
    axes: Axes,
    shown: Sequence[Point],
    arrows: Sequence[Point],
    reference: Annotation | None,
    lines: Float,
    direction: float,
) -> None:
    """Label the frontier, the clipped points, and those dominated points that have room beside them.

    `lines` are segments (s, 4) in points that labels avoid; `direction` is where the frontier's would rather be.
    """
    best = sorted((point for point in shown if point.on_frontier), key=lambda point: point.cost)
    rest = sorted((point for point in shown if not point.on_frontier), key=lambda point: -point.quality)
    wanted = [(point, _request(axes, point, STRONG["markersize"], direction, np.inf)) for point in best]
    wanted += [(arrow, _request(axes, arrow, ARROW, UP, np.inf)) for arrow in arrows]
    wanted += [(point, _request(axes, point, WEAK["markersize"], DOWN_RIGHT, REACH)) for point in rest]
    obstacles = [_marker_box(request) for _, request in wanted]
    if reference is not None:  # it names float32, whose marker lies on the line
        obstacles.append(_extent(axes, reference))
        wanted = [(point, request) for point, request in wanted if point.name != "float32"]

    texts = [_label(axes, point, quiet=request.reach <= REACH) for point, request in wanted]
    requests = [
        request._replace(size=_box_size(_extent(axes, text)) + 2 * PADDING)
        for text, (_, request) in zip(texts, wanted, strict=True)
    ]
    bounds = _extent(axes, axes.patch) + np.array([2, 2, -2, -2])
    places = place(requests, bounds, np.array(obstacles), lines)
    for text, request, corner in zip(texts, requests, places, strict=True):
        if corner is None:
            text.remove()
        else:
            text.set_position(tuple(corner + PADDING - request.anchor))
            text.set_multialignment("left" if corner[0] + request.size[0] / 2 > request.anchor[0] else "right")
            _draw_leader(axes, text, request, corner)


def _label(axes: Axes, point: Point, quiet: bool) -> Annotation:
    from matplotlib.patheffects import withStroke

    return axes.annotate(
        "\n".join(textwrap.wrap(point.name, LINE, max_lines=3, placeholder=" …")),
        xy=(point.cost, point.quality),
        xytext=(0, 0),
        textcoords="offset points",
        ha="left",
        va="bottom",
        linespacing=1.15,
        fontsize=6.5 if quiet else 8.0,
        color=QUIET if quiet else INK,
        label="label",
        zorder=6,
        # Quiet labels cross no line and need no halo, which makes an SVG several times larger.
        path_effects=None if quiet else [withStroke(linewidth=1.5, foreground="white")],
    )


def _draw_leader(axes: Axes, text: Annotation, request: Request, corner: Float) -> None:
    start, end = np.split(leader_lines(request, np.hstack([corner, corner + request.size])[None])[0], 2)
    if np.hypot(*(end - start)) < LEADER_FROM:
        return
    axes.annotate(
        "",
        xy=text.xy,
        xytext=tuple(end - request.anchor),
        textcoords="offset points",
        arrowprops={
            "arrowstyle": "-",
            "color": QUIET,
            "linewidth": 0.5,
            "shrinkA": 0,
            "shrinkB": request.radius,
        },
    )


def _request(axes: Axes, point: Point, marker: float, direction: float, reach: float) -> Request:
    return Request(_position(axes, point.cost, point.quality), marker / 2, np.zeros(2), direction, reach)


def _segments(axes: Axes, points: Sequence[Point], reference: Annotation | None) -> Float:
    """Return the frontier's steps, float32's line and the bars of the seeds as segments (s, 4)."""
    steps = itertools.pairwise(_steps(points))
    corners: list[tuple[float, float]] = []
    for (x0, y0), (x1, y1) in steps:
        corners += [(x0, y0), (x1, y0), (x1, y0), (x1, y1)]
    for point in points:
        corners += [(point.cost, point.low), (point.cost, point.high)]
    if reference is not None:
        corners += [(cost, reference.xy[1]) for cost in axes.get_xlim()]
    return in_points(axes, np.array(corners, dtype=float).reshape(-1, 4))


def in_points(axes: Axes, segments: Float) -> Float:
    """Return segments (s, 4) of the data where they are drawn."""
    ends = axes.transData.transform(segments.reshape(-1, 2)) * _scale(axes)
    return np.asarray(ends.reshape(-1, 4))


def _position(axes: Axes, cost: float, quality: float) -> Float:
    return np.asarray(axes.transData.transform((cost, quality))) * _scale(axes)


def _marker_box(request: Request) -> Float:
    return np.hstack([request.anchor - request.radius, request.anchor + request.radius])


def _box_size(box: Float) -> Float:
    return box[2:] - box[:2]


def _extent(axes: Axes, artist: Artist) -> Float:
    """Return an artist's box x0, y0, x1, y1."""
    renderer = figure_of(axes).canvas.get_renderer()  # type: ignore[attr-defined]
    return np.array(artist.get_window_extent(renderer).extents, dtype=float) * _scale(axes)


def _scale(axes: Axes) -> float:
    return 72.0 / figure_of(axes).dpi


def _tick(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def figure_of(axes: Axes) -> Figure:
    """Return the figure that axes are on."""
    from matplotlib.figure import Figure

    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure
