"""How all figures look: sizes, colours, markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches that makes room for its labels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.07))
    FigureCanvasAgg(figure)
    return figure


Float = NDArray[np.float64]

Bool = NDArray[np.bool_]

Looks = Mapping[str, dict[str, Any]]

DPI = 200

WIDTH, HEIGHT, TALL = 9.6, 6.4, 7.6
"""Inches; the greater height is for more than `CROWD` points."""

INK, QUIET, FAINT = "#222222", "#767676", "#E6E6E6"

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette for colour-blind readers, without yellow (too light on white) and black (the frontier)."""

MARKERS = ("o", "s", "^", "D", "v", "p", "X")
"""Their number has no factor in common with that of the colours: 42 families look different."""

STRONG: dict[str, Any] = {"markersize": 7.5, "markeredgewidth": 0.8, "zorder": 5}

WEAK: dict[str, Any] = {"markersize": 5.0, "markeredgewidth": 0.4, "zorder": 4}

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: a plot looks the same everywhere
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # else each drawing looks for it, by measuring every label of both axes anew
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.hinting": "none",  # half again as fast, and at this many dots an inch no less clear
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.fonttype": "path",
    "svg.hashsalt": "vecbudget",  # element ids are hashes, and unsalted ones differ from run to run
}


def style() -> AbstractContextManager[None]:
    """Return a context in which figures have the report's look; the global settings come back afterwards."""
    import matplotlib as mpl

    untouched = ("backend", "backend_fallback", "interactive", "toolbar")
    settings: dict[Any, Any] = {k: v for k, v in mpl.rcParamsDefault.items() if k not in untouched}
    return mpl.rc_context(settings | STYLE)


def family_looks(families: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return each family's colour and marker. One call for all pages keeps them the same on every page."""
    return {
        name: {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
        for index, name in enumerate(sorted(set(families)))
    }


def settle(figure: Figure) -> None:
    """Put everything of a figure that makes room for its labels in its final place, once and for all."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as `stem`.png and `stem`.svg, both laid out alike; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    title = {"Title": figure.get_suptitle()}
    with style():
        settle(figure)
        # Figure.savefig would draw each twice, once to lay it out anew. The canvas that the figure was laid out on
        # knows the sizes of its texts
        canvas: Any = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
        canvas.draw()
        _write_png(np.asarray(canvas.buffer_rgba()), png, figure.get_suptitle())
        vectors: Any = FigureCanvasSVG(figure)
        vectors.print_svg(svg, metadata=title | {"Date": None, "Creator": None})
        figure.set_dpi(DPI)
        figure.set_canvas(canvas)
    return [png, svg]


def _write_png(pixels: NDArray[np.uint8], path: Path, title: str) -> None:
    """Write pixels (h, w, 4) without their last channel: the paper is white, and nothing shines through it."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Title", title)
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, :3]))
    # half the time of level 6, for files that are no larger than those with the last channel were
    image.save(path, format="png", pnginfo=info, dpi=(DPI, DPI), compress_level=3)
