"""The figure of a collection's spectrum, with the bits that methods give to its axes beneath it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.analysis import pareto
from harness.analysis.budgets import BUDGETS
from harness.analysis.settings import Page
from harness.evaluation.rate_distortion import water_level
from harness.evaluation.spectrum_record import Steps
from harness.report.figures.style import COLOURS, INK, QUIET, WIDTH, new_figure, settle, style
from harness.runs.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SIZES, METHODS = 3, len(COLOURS)
"""At most so many panels of bits, and methods in all of them."""

NEAR = 0.05
"""Share by which codes may differ from the size at which a panel shows them."""

DASHES = ("-", (0, (4, 1.2)), (0, (1.2, 1)), (0, (6, 1, 1.2, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)))
"""Beside the colours: curves that lie on each other stay visible."""

GAP = 20.0
"""Pixels between names that would touch."""

FAINTEST = 1e-6
"""Shares of the power below this are rounding, or directions that no document has."""


class Allocation(NamedTuple):
    """The bits that a setting gives to the axes."""

    method: str
    size: int
    kept: float
    bits: Steps


@dataclass(frozen=True, eq=False)
class Spectra:
    """What the figure of a page shows.

    Attributes
    ----------
    title, collection : str
        Of the page, and its size in words.
    power : Steps
        Share of the documents' power in each principal axis.
    allocations : list of Allocation
        One a method and size.
    """

    title: str
    collection: str
    power: Steps
    allocations: list[Allocation]

    @property
    def sizes(self) -> list[int]:
        """Bytes of the panels, largest first."""
        return sorted({own.size for own in self.allocations}, reverse=True)

    @property
    def methods(self) -> list[str]:
        """The methods in all panels."""
        return sorted({own.method for own in self.allocations})

    @property
    def dim(self) -> int:
        """The number of axes."""
        return int(self.power.axes.sum())


def spectra(page: Page, records: Callable[[str], Record]) -> Spectra | None:
    """Return what the records of a page say of its spectrum and of the bits of its methods.

    Shown are the sizes at which the most methods have told their bits, of each method the setting with the best
    quality at a size, and if there are too many methods those whose allocations differ the most.

    Parameters
    ----------
    page : Page
    records : callable
        Returns the record of a run id, as `harness.runs.store.Store.read` does.

    Returns
    -------
    Spectra or None
        None if no record holds a spectrum.
    """
    power: Steps | None = None
    found: dict[tuple[str, int], Allocation] = {}
    share = pareto.share_column(page.settings)
    for row in page.settings.to_dict("records"):
        part = records(str(row["run_ids"]).split()[0]).spectrum
        if not part:
            continue
        power = power or Steps.read(part["power"])
        size = _size(float(row["code_bytes_per_vector"]))
        if part["bits"] is None or size is None:
            continue
        own = Allocation(str(row["method"]), size, float(row[share]), Steps.read(part["bits"]))
        key = (own.method, size)
        if key not in found or own.kept > found[key].kept:
            found[key] = own
    if power is None or not (power.values > 0).any():
        return None
    counts = {size: sum(own.size == size for own in found.values()) for size in {size for _, size in found}}
    sizes = sorted(counts, key=lambda size: (-counts[size], -size))[:SIZES]
    chosen = _most_different([own for own in found.values() if own.size in sizes])
    return Spectra(page.title, page.size, power, chosen)


def _size(code_bytes: float) -> int | None:
    nearest = min(BUDGETS, key=lambda budget: abs(budget - code_bytes))
    return nearest if abs(nearest - code_bytes) <= NEAR * nearest else None


def _most_different(found: Sequence[Allocation]) -> list[Allocation]:
    """Keep the methods that differ most: first the best one, then the one farthest from those that are kept, and so on.

    A distance is the share of the bits that are elsewhere, averaged over the sizes that two methods have in common.
    """
    by_method: dict[str, dict[int, Allocation]] = {}
    for own in found:
        by_method.setdefault(own.method, {})[own.size] = own
    if len(by_method) <= METHODS:
        return list(found)
    # a method with many panels and a high quality is what the others are compared with
    left = sorted(by_method, key=lambda name: (-len(by_method[name]), -_mean_kept(by_method[name]), name))
    kept = [left.pop(0)]
    while len(kept) < METHODS:
        apart = {name: min(_distance(by_method[name], by_method[other]) for other in kept) for name in left}
        kept.append(max(left, key=lambda name: apart[name]))
        left.remove(kept[-1])
    return [own for own in found if own.method in kept]


def _mean_kept(of_sizes: Mapping[int, Allocation]) -> float:
    return float(np.mean([own.kept for own in of_sizes.values()]))


def _distance(first: Mapping[int, Allocation], second: Mapping[int, Allocation]) -> float:
    common = first.keys() & second.keys()
    apart = [
        float(np.abs(first[size].bits.each - second[size].bits.each).sum()) / (2 * 8 * size) for size in sorted(common)
    ]
    return float(np.mean(apart)) if apart else 1.0


def draw_spectra(found: Spectra) -> Figure:
    """Draw the share of the power in each principal axis, and beneath it each method's bits, one panel a size.

    What a Gaussian source of this spectrum would need at that size is drawn too: reverse water-filling, whose level is
    a line across the spectrum (Cover and Thomas, 2006, section 10.3.3).
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    sizes, spectrum = found.sizes, found.power.each
    looks: dict[str, dict[str, Any]] = {
        name: {"color": colour, "linestyle": dashes}
        for name, colour, dashes in zip(found.methods, COLOURS, DASHES, strict=False)
    }
    with style():
        figure = new_figure(WIDTH, 3.2 + 1.65 * len(sizes) + (0.3 if sizes else 0))
        heights = [2.2, *[1.2] * len(sizes)]
        grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
        panels: list[Axes] = list(grid.flat)
        top = panels[0]
        middles = (found.power.edges[1:] + found.power.edges[:-1]) / 2
        shares = np.where(found.power.values >= FAINTEST * spectrum.max(), found.power.values, np.nan)
        top.plot(middles, shares, color=INK, linewidth=1.8)
        top.set_yscale("log")
        top.set_ylim(0.5 * float(np.nanmin(shares)), 1.6 * float(np.nanmax(shares)))
        top.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))
        top.yaxis.set_minor_locator(NullLocator())
        top.set_ylabel("share of the power")
        top.set_title(
            f"{found.collection}; half of the power in {_axes_of(spectrum, 0.5)}, 90 % in "
            f"{_axes_of(spectrum, 0.9)} axes",
            fontsize=9,
            color=QUIET,
        )
        levels = {size: water_level(spectrum, 8.0 * size) for size in sizes}
        names: list[Text] = []
        for size, axes in zip(sizes, panels[1:], strict=True):
            top.axhline(levels[size], color=QUIET, linewidth=0.8, linestyle=(0, (5, 3)), zorder=1)
            names.append(_level_name(top, levels[size], f"level at {size} bytes"))
            ideal = np.maximum(np.log2(np.maximum(found.power.values, 1e-300) / levels[size]) / 2, 0)
            axes.plot(middles, np.where(ideal > 0, ideal, np.nan), color=INK, linewidth=1.0, alpha=0.55, zorder=2)
            own = [allocation for allocation in found.allocations if allocation.size == size]
            for allocation in sorted(own, key=lambda allocation: allocation.method):
                bits = np.where(allocation.bits.values > 0, allocation.bits.values, np.nan)
                edges, look = allocation.bits.edges, looks[allocation.method]
                axes.stairs(bits, edges, baseline=None, linewidth=1.5, zorder=3, **look)
            highest = max(float(ideal.max()), *(float(allocation.bits.values.max()) for allocation in own))
            axes.set_ylim(0, 1.12 * highest)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            axes.set_ylabel("bits an axis")
            axes.set_title(f"{size} bytes", fontsize=9, fontweight="bold", loc="right")
        panels[-1].set_xlim(0, found.dim)
        panels[-1].set_xlabel("principal axis, the strongest first")
        handles = [Line2D([], [], linewidth=1.5, label=name, **looks[name]) for name in found.methods]
        if sizes:
            label = "reverse water-filling, for a Gaussian source"
            handles.append(Line2D([], [], color=INK, linewidth=1.0, alpha=0.55, label=label))
            figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
        title = f"{found.title}: where the power is" + (", and where the bits go" if sizes else "")
        figure.suptitle(title, fontsize=12, fontweight="bold", ha="left", x=0.02)
        _spread(figure, names)
    return figure


def _axes_of(spectrum: NDArray[np.float64], share: float) -> int:
    """Return how many of the strongest axes hold a share of the power."""
    held = np.cumsum(spectrum) / spectrum.sum()
    return int(np.searchsorted(held, share - 1e-9)) + 1


def _level_name(axes: Axes, level: float, text: str) -> Text:
    # at the left end the spectrum is far above
    return axes.annotate(
        text,
        xy=(0, level),
        xytext=(6, 2),
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontsize=7.5,
        color=QUIET,
        label="label",
    )


def _spread(figure: Figure, names: Sequence[Text]) -> None:
    """Move names of lines that lie close together to the right, until none touches another."""
    settle(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    taken = np.empty((0, 4))
    for name in names:
        x0, y0, x1, y1 = name.get_window_extent(renderer).extents
        near = taken[(taken[:, 1] < y1) & (y0 < taken[:, 3])]
        shift = float(near[:, 2].max()) - x0 + GAP if len(near) else 0.0
        across, lift = name.get_position()
        name.set_position((across + shift * 72 / figure.dpi, lift))
        taken = np.vstack([taken, [x0 + shift, y0, x1 + shift, y1]])
