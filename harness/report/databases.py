"""Your database's switches: what each setting of a vector store keeps and costs, and what else its bytes buy."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness import amounts, pareto, stats
from harness.recipe import Recipe, recipe
from harness.report import plots, tables
from harness.report.figures import new_figure
from harness.stores import DOCUMENTED, Match, matches, own_name, presets

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.report.tables import Page

Records = Callable[[str], Mapping[str, Any]]
Float64 = NDArray[np.float64]

CONVENTION = "convention"
AGAIN, ONCE = "some documents read again", "nothing read again"
LOOKS: dict[str, dict[str, Any]] = {
    AGAIN: {"color": plots.COLOURS[1], "marker": "^"},
    ONCE: {"color": plots.COLOURS[0], "marker": "o"},
}
POINT = 7.0
"""Size of a marker, in points."""


@dataclass(frozen=True)
class Switch:
    """A preset's setting, and the row of the page's settings that holds its figures."""

    match: Match
    place: int
    recipe: Recipe


@dataclass(frozen=True)
class Rival:
    """The best of the project's own methods that needs no more memory than a store's best.

    Attributes
    ----------
    place : int
        In the page's settings.
    difference, low, high : float
        What the store's setting keeps less what this one keeps, of float32's quality, with its 95 % interval.
    """

    place: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Switches:
    """The stores' settings that were measured on a page.

    Attributes
    ----------
    page : Page
    rows : list of Switch
        Store by store, those with the least memory first.
    best : mapping of str to int
        Each store's best, a place in `rows`.
    rivals : mapping of str to Rival
        What each store's best is compared with; a store is missing if nothing of the project's own is as small.
    frontier : int64 (f,)
        The project's own settings on its frontier of quality and memory, places in the page's settings.
    """

    page: Page
    rows: list[Switch]
    best: dict[str, int]
    rivals: dict[str, Rival]
    frontier: NDArray[np.int64]

    @property
    def memory(self) -> Float64:
        """Bytes per vector in memory of the page's settings."""
        return memory(self.page.settings)


def memory(settings: pd.DataFrame) -> Float64:
    """Return the bytes per vector that must be in memory, with their share of the state: float64 (r,)."""
    total: Float64 = settings[pareto.COST].to_numpy(dtype=np.float64) - beside(settings)
    return total


def beside(settings: pd.DataFrame) -> Float64:
    """Return the bytes per vector that may lie on disk: float64 (r,)."""
    codes = settings["code_bytes_per_vector"]
    resident = settings["resident_bytes_per_vector"].fillna(codes) if "resident_bytes_per_vector" in settings else codes
    on_disk: Float64 = (codes - resident).to_numpy(dtype=np.float64)
    return on_disk


def has_presets(page: Page) -> bool:
    """Whether a preset was run."""
    return bool(page.settings["method"].isin(list(presets())).any()) if len(page.settings) else False


def switches(page: Page, records: Records) -> Switches | None:
    """Find the stores' settings on a page, the best of each store, and what the project has for the same memory.

    The best setting of a store is the one with the least memory of those whose share of float32's quality is not
    significantly below 1: whose 95 % interval reaches it. If there is none, it is the one that keeps most.

    Parameters
    ----------
    page : Page
        With intervals, see `harness.report.significance.with_intervals`.
    records : callable
        Returns the record of a run id.

    Returns
    -------
    Switches or None
        None if no preset was run.
    """
    if not has_presets(page):
        return None
    settings = page.settings
    elsewhere = settings["params"].str.contains("|".join(tables.ELSEWHERE), regex=True).to_numpy(dtype=bool)
    found: dict[tuple[str, str, bool], Switch] = {}
    own = np.zeros(len(settings), dtype=np.bool_)
    for place, ids in enumerate(settings["run_ids"]):
        if elsewhere[place]:
            continue
        record = records(ids.split()[0])
        own[place] = own_name(record) is not None and settings["family"].iloc[place] != CONVENTION
        for match in matches(record):
            key = (match.preset.name, match.params, match.current)
            found.setdefault(key, Switch(match, place, recipe(record["identity"]["method"])))
    order = list(presets())
    ram, share = memory(settings), settings[pareto.share_column(settings)].to_numpy(dtype=np.float64)
    stores = {preset.store: place for place, preset in enumerate(presets().values())}
    rows = sorted(
        found.values(),
        key=lambda row: (
            stores[row.match.preset.store],
            ram[row.place],
            order.index(row.match.preset.name),
            row.match.params,
        ),
    )
    best = _best(page, rows, ram, share)
    places = np.flatnonzero(own & np.isfinite(ram) & np.isfinite(share))
    frontier = places[pareto.frontier(ram[places], share[places])]
    return Switches(page, rows, best, _rivals(page, rows, best, places), frontier[np.argsort(ram[frontier])])


def lossless(page: Page) -> NDArray[np.bool_]:
    """Mark the settings that lose nothing significant: the 95 % interval of what they keep reaches 1."""
    settings, column = page.settings, f"{pareto.share_column(page.settings)}_high"
    marked: NDArray[np.bool_] = (settings["method"] == "float32").to_numpy(dtype=np.bool_)
    if column in settings:
        marked = marked | (settings[column].to_numpy(dtype=np.float64) >= 1 - amounts.TOLERANCE)
    return marked


def _best(page: Page, rows: Sequence[Switch], ram: Float64, share: Float64) -> dict[str, int]:
    no_loss = lossless(page)
    best: dict[str, int] = {}
    for store in dict.fromkeys(row.match.preset.store for row in rows):
        members = [
            number
            for number, row in enumerate(rows)
            if row.match.preset.store == store and np.isfinite(share[row.place])
        ]
        good = [number for number in members if no_loss[rows[number].place]]
        if good:
            best[store] = min(good, key=lambda number: (ram[rows[number].place], -share[rows[number].place]))
        elif members:
            best[store] = min(members, key=lambda number: (-share[rows[number].place], ram[rows[number].place]))
    return best


def _rivals(page: Page, rows: Sequence[Switch], best: Mapping[str, int], places: NDArray[np.int64]) -> dict[str, Rival]:
    """Compare each store's best with the best of the project's own settings that is no larger in memory."""
    if page.scores is None:
        return {}
    settings, values = page.settings, page.scores.values[page.quality]
    shares = _shares(page)
    ram, known = memory(settings), np.isfinite(values).all(axis=1) & (values.shape[1] > 0)
    state = (settings[pareto.COST] - settings["code_bytes_per_vector"]).to_numpy(dtype=np.float64)
    pairs: dict[str, tuple[int, int]] = {}
    for store, number in best.items():
        place = rows[number].place
        within = pareto.within(ram, ram - state, ram[place], tables.SPARE_BYTE)
        fits = [other for other in places if within[other] and known[other]]
        if fits and known[place]:
            pairs[store] = (place, max(fits, key=lambda other: (shares[other].mean(), -ram[other])))
    if not pairs:
        return {}
    first, second = (np.array([pair[side] for pair in pairs.values()]) for side in (0, 1))
    interval = stats.compare(shares[first], shares[second]).difference
    return {
        store: Rival(pair[1], float(interval.estimate[row]), float(interval.low[row]), float(interval.high[row]))
        for row, (store, pair) in enumerate(pairs.items())
    }


def _shares(page: Page) -> Float64:
    """Return what each query adds to the share of float32's quality, float64 (r, m)."""
    assert page.scores is not None
    values, reference = page.scores.values[page.quality], page.scores.reference
    if page.quality != "ndcg_at_10" or reference is None or not values[reference].mean() > 0:
        return values
    return stats.ratio_parts(values, values[reference])


def frame(found: Switches) -> pd.DataFrame:
    """Return the settings with all their figures, one row each."""
    import pandas as pd

    settings, ram, disk = found.page.settings, found.memory, beside(found.page.settings)
    share = pareto.share_column(settings)
    rows = []
    for number, row in enumerate(found.rows):
        figures, preset = settings.iloc[row.place], row.match.preset
        rows.append(
            {
                "store": preset.store,
                "setting": row.match.name,
                "switch": preset.switch,
                "memory_bytes_per_vector": ram[row.place],
                "disk_bytes_per_vector": disk[row.place],
                "times_smaller_in_memory": 4 * figures["dim"] / ram[row.place],
                "kept": figures[share],
                "kept_low": figures.get(f"{share}_low", np.nan),
                "kept_high": figures.get(f"{share}_high", np.nan),
                "ndcg_at_10": figures["ndcg_at_10"],
                "overlap_at_10": figures["overlap_at_10"],
                "query": row.recipe.query,
                "read_again": row.recipe.rescoring,
                "best_of_store": found.best.get(preset.store) == number,
                "evidence": preset.evidence,
                "version": preset.version,
                "source": preset.source,
                "summary": preset.summary,
                "configuration": preset.setting,
                "measured_as": tables.setting_name(figures),
                "run_ids": figures["run_ids"],
            }
        )
    return pd.DataFrame(rows)


def markdown(found: Switches, figure: str | None, command: str) -> str:
    """Return the page of the stores' settings; `figure` is the name of its plot."""
    page = found.page
    blocks = [f"# Your database's switches: {tables.cell(page.title)}", _headline(found)]
    blocks += [f"![What settings keep, against their memory]({figure})"] if figure else []
    blocks += ["## Store by store", _table(found), _legend(found)]
    blocks += ["## The best of each store, and the project's best for the same memory", _rivals_table(found)]
    blocks += [_rivals_note(found), f"*{tables.provenance(page.runs, command)}*"]
    return "\n\n".join(blocks) + "\n"


def _measure(page: Page) -> str:
    return "nDCG@10" if page.quality == "ndcg_at_10" else "overlap@10"


def _headline(found: Switches) -> str:
    page = found.page
    stores = {row.match.preset.store for row in found.rows}
    behind = [store for store, rival in found.rivals.items() if rival.high < 0]
    level = [store for store, rival in found.rivals.items() if rival.low <= 0 <= rival.high]
    text = (
        f"{page.size}. {amounts.count(len(found.rows), 'setting')} of {amounts.count(len(stores), 'store')}, with what "
        "each does to documents and queries and what it reads again, in an exhaustive search: the graph or the lists "
        "that a store searches by can only find less."
    )
    if found.rivals:
        text += (
            f" Of {len(found.rivals)} stores' best settings, {len(level)} are at par with the best of the project's "
            f"own methods that needs no more memory, {len(behind)} keep significantly less, and "
            f"{len(found.rivals) - len(level) - len(behind)} significantly more."
        )
    return text


def _table(found: Switches) -> str:
    page, settings, ram, disk = found.page, found.page.settings, found.memory, beside(found.page.settings)
    share = pareto.share_column(settings)
    header = ["store", "", "setting", "what the user sets", "bytes in memory", "bytes on disk", "× smaller in memory"]
    header += [f"% of {_measure(page)} kept", "95 % interval", "overlap@10", "query", "read again", "made from"]
    rows, previous = [], ""
    for number, row in enumerate(found.rows):
        figures, preset = settings.iloc[row.place], row.match.preset
        best = found.best.get(preset.store) == number
        name = tables.cell(row.match.name)
        rows.append(
            [
                tables.cell(preset.store) if preset.store != previous else "",
                "●" if best else "",
                f"**{name}**" if best else name,
                tables.cell(preset.switch),
                amounts.size(ram[row.place]),
                amounts.size(disk[row.place]),
                amounts.ratio(4 * figures["dim"] / ram[row.place]),
                amounts.number(100 * figures[share], 1),
                amounts.interval(figures, share, 1, 100) if f"{share}_low" in settings else amounts.UNKNOWN,
                amounts.number(figures["overlap_at_10"], 3),
                tables.cell(row.recipe.query),
                tables.cell(row.recipe.rescoring),
                tables.cell(f"{preset.evidence}: {preset.version}"),
            ]
        )
        previous = preset.store
    return tables.table(header, rows, right={4, 5, 6, 7, 9})


def _legend(found: Switches) -> str:
    used = [name for name in DOCUMENTED if any(row.match.preset.evidence == name for row in found.rows)]
    shared: dict[int, list[str]] = {}
    for row in found.rows:
        shared.setdefault(row.place, []).append(row.match.preset.name)
    same = "; ".join(" = ".join(dict.fromkeys(names)) for names in shared.values() if len(set(names)) > 1)
    notes = [
        "**●** the best of its store: of the settings whose interval reaches 100 %, the one with the least memory; if "
        "there is none, the one that keeps most. With few queries intervals are wide, and more reach it.",
        f"**bytes in memory**: what a search reads of every vector, with its share of shared state "
        f"({tables.spread_over(found.page.settings)}) and with what the store adds to a row. **on disk**: what is read "
        "for the documents found only.",
        "**read again**: how many documents, where ten are asked for, and as what.",
        "**made from**: " + "; ".join(f"*{name}*: {DOCUMENTED[name]}" for name in used) + "; and the version followed.",
    ]
    if same:
        notes.append(f"The same parameters, and so the same figures: {tables.cell(same)}.")
    return "\n".join(f"- {note}" for note in notes)


def verdict(rival: Rival) -> str:
    """Return how a store's best compares with the project's, in words."""
    if rival.low <= 0 <= rival.high:
        return "at par"
    return "less" if rival.difference < 0 else "more"


def _rivals_table(found: Switches) -> str:
    settings, ram, disk = found.page.settings, found.memory, beside(found.page.settings)
    share = pareto.share_column(settings)
    header = ["store", "best setting", "bytes in memory", "on disk", "% kept", "chosen as"]
    header += ["the project's best", "bytes in memory", "on disk", "% kept", "store less project, points"]
    header += ["95 % interval", "the store keeps"]
    no_loss, rows = lossless(found.page), []
    for store, number in found.best.items():
        place, rival = found.rows[number].place, found.rivals.get(store)
        cells = [tables.cell(store), tables.cell(found.rows[number].match.name), amounts.size(ram[place])]
        cells += [amounts.size(disk[place]), amounts.number(100 * settings[share].iloc[place], 1)]
        cells.append("smallest at no significant loss" if no_loss[place] else "keeps most")
        if rival is None:
            cells += ["nothing as small"] + [amounts.UNKNOWN] * 6
        else:
            cells += [tables.cell(tables.setting_name(settings.iloc[rival.place])), amounts.size(ram[rival.place])]
            cells += [amounts.size(disk[rival.place]), amounts.number(100 * settings[share].iloc[rival.place], 1)]
            cells += [f"{100 * rival.difference:+.1f}", f"{100 * rival.low:+.1f} to {100 * rival.high:+.1f}"]
            cells.append(verdict(rival))
        rows.append(cells)
    return tables.table(header, rows, right={2, 3, 4, 7, 8, 9, 10})


def _rivals_note(found: Switches) -> str:
    return (
        "**the project's best**: the highest of all settings on record that are no presets and need at most as much "
        f"memory (to {tables.SPARE_BYTE:.0f} byte of shared state). It is the highest of many on these queries, and so "
        f"flattered. Differences are paired over the queries, in points of float32's {_measure(found.page)}; *at par*: "
        "the interval holds 0."
    )


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
    floor = plots.visible_floor(
        [
            plots.Point(ram[place], share[place], share[place], share[place], store, look, strong)
            for (place, store), (strong, look) in points.items()
        ]
    )
    shown = {key: point for key, point in points.items() if share[key[0]] >= floor}
    line = [place for place in found.frontier if share[place] >= floor]
    hidden = len(points) - len(shown)
    with plots.style():
        figure = new_figure(plots.WIDTH, plots.TALL + 0.6)
        axes = figure.add_subplot()
        figure.suptitle(f"{page.title}: vector stores' settings", ha="left", x=0.02, fontsize=13, fontweight="bold")
        words = f"; {amounts.count(hidden, 'setting')} below" if hidden else ""
        axes.set_title(f"{page.size}{words}", fontsize=9, color=plots.QUIET)
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
        axes.set_ylabel(f"{_measure(page)} kept of float32   (higher is better →)")
        axes.axhline(1.0, color=plots.QUIET, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
        steps = [*((ram[place], share[place]) for place in line)]
        steps += [(axes.get_xlim()[1], share[line[-1]])] if line else []
        axes.plot(
            *zip(*steps, strict=True), drawstyle="steps-post", color=plots.INK, linewidth=2.0, alpha=0.6, zorder=2
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
        handles = [Line2D([], [], color=plots.INK, alpha=0.6, linewidth=2.0, label="the project's own frontier")]
        looks = [look for look in LOOKS if any(look == found_look for _, found_look in shown.values())]
        handles += [Line2D([], [], linestyle="none", markersize=6, label=look, **LOOKS[look]) for look in looks]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
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
            "\n".join(textwrap.wrap(text, plots.LINE)),
            xy=(ram[place], share[place]),
            xytext=(0, 0),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=7.5 if strong else 6.0,
            color=plots.INK if strong else plots.QUIET,
            zorder=6,
        )
        box = np.array(note.get_window_extent(renderer).extents) * scale
        radius = POINT / 2 if strong else 0.35 * POINT
        size = box[2:] - box[:2] + 2 * plots.PADDING
        reach = np.inf if strong else plots.REACH
        requests.append(plots.Request(spot(ram[place], share[place]), radius, size, plots.UP_LEFT, reach))
        texts.append(note)
    obstacles = [np.hstack([spot(ram[p], share[p]) - POINT / 2, spot(ram[p], share[p]) + POINT / 2]) for p in markers]
    steps = [spot(*step) for step in frontier]
    segments = [np.hstack([spot(cost, 1.0) for cost in axes.get_xlim()])]
    for one, other in itertools.pairwise(steps):
        segments += [np.array([*one, other[0], one[1]]), np.array([other[0], one[1], *other])]
    bounds = np.array(axes.get_window_extent(renderer).extents) * scale + np.array([2, 2, -2, -2])
    corners = plots.place(requests, bounds, np.array(obstacles), np.array(segments))
    for note, request, corner in zip(texts, requests, corners, strict=True):
        if corner is None:
            note.remove()
            continue
        note.set_position(tuple(corner + plots.PADDING - request.anchor))
        nearest = np.clip(request.anchor, corner, corner + request.size)
        if np.hypot(*(nearest - request.anchor)) >= plots.LEADER_FROM:
            axes.annotate(
                "",
                xy=note.xy,
                xytext=tuple(nearest - request.anchor),
                textcoords="offset points",
                arrowprops={
                    "arrowstyle": "-",
                    "color": plots.QUIET,
                    "linewidth": 0.5,
                    "shrinkA": 0,
                    "shrinkB": request.radius,
                },
            )
