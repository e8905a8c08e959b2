"""Vector stores' own switches: what each keeps, and what the same bytes would buy otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.analysis import pareto, statistics
from harness.analysis.budgets import within
from harness.analysis.describe_setting import Recipe, recipe
from harness.analysis.settings import ELSEWHERE
from harness.base import formatting
from harness.evaluation.reference import REFERENCE
from harness.runs.presets import Match, matches, own_name, presets
from harness.runs.record import Record

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page


Records = Callable[[str], Record]

Float64 = NDArray[np.float64]

CONVENTION = "convention"


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
        With intervals, see `harness.analysis.significance.with_intervals`.
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
    elsewhere = settings["params"].str.contains("|".join(ELSEWHERE), regex=True).to_numpy(dtype=bool)
    found: dict[tuple[str, str, bool], Switch] = {}
    own = np.zeros(len(settings), dtype=np.bool_)
    for place, ids in enumerate(settings["run_ids"]):
        if elsewhere[place]:
            continue
        record = records(ids.split()[0])
        own[place] = own_name(record) is not None and settings["family"].iloc[place] != CONVENTION
        for match in matches(record):
            key = (match.preset.name, match.params, match.current)
            found.setdefault(key, Switch(match, place, recipe(record.identity.method)))
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
    marked: NDArray[np.bool_] = REFERENCE.marks(settings["method"]).to_numpy(dtype=np.bool_)
    if column in settings:
        marked = marked | (settings[column].to_numpy(dtype=np.float64) >= 1 - formatting.TOLERANCE)
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
        no_larger = within(ram, ram - state, ram[place])
        fits = [other for other in places if no_larger[other] and known[other]]
        if fits and known[place]:
            pairs[store] = (place, max(fits, key=lambda other: (shares[other].mean(), -ram[other])))
    if not pairs:
        return {}
    first, second = (np.array([pair[side] for pair in pairs.values()]) for side in (0, 1))
    interval = statistics.compare(shares[first], shares[second]).difference
    return {
        store: Rival(pair[1], float(interval.estimate[row]), float(interval.low[row]), float(interval.high[row]))
        for row, (store, pair) in enumerate(pairs.items())
    }


def _shares(page: Page) -> Float64:
    """Return what each query adds to the share of float32's quality, float64 (r, m)."""
    assert page.scores is not None
    values, reference = page.scores.values[page.quality], page.scores.reference
    if not page.judged or reference is None or not values[reference].mean() > 0:
        return values
    return statistics.ratio_parts(values, values[reference])
