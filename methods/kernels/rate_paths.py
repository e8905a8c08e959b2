"""Compiled search for numbers of least squared error plus lambda times bits.

The reference, which chooses the same numbers, is `Search.choose`, `Search.paths` and `Search.within` in
`methods.transform_coding.rate_search`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled
from methods.kernels.lanes import butterfly, cheapest
from methods.vector_instructions import LANES

Array = NDArray[Any]


class Tables(NamedTuple):
    """The quantisers of a document's coordinates as arrays.

    Attributes
    ----------
    kind : int64 (coordinates,)
        Which quantiser each coordinate has.
    first, groups, width : int64 (quantisers,)
        Where each one's entries begin, in groups of so many.
    levels, bits : float32 (entries,)
    numbers : int16 (entries,)
    windows : int64 (2 * states,)
        The group of each window of the register.
    coupled : int
        Coordinates, the first ones, that take part in the trellis.
    """

    kind: Array
    first: Array
    groups: Array
    width: Array
    levels: Array
    bits: Array
    numbers: Array
    windows: Array
    coupled: int


class Work(NamedTuple):
    """Memory for `LANES` documents side by side."""

    columns: Array
    slopes: Array
    costs: Array
    numbers: Array
    metric: Array
    after: Array
    survivors: Array
    groups: Array
    chosen: Array
    bits: Array


@compiled
def _work(coordinates: int, coupled: int, states: int) -> Work:
    """Return memory for the documents of one search."""
    return Work(
        np.zeros(coordinates * LANES, np.float32),
        np.ones(LANES, np.float32),
        np.empty(4 * LANES, np.float32),
        np.empty(coordinates * 4 * LANES, np.uint16),
        np.empty(states * LANES, np.float32),
        np.empty(states * LANES, np.float32),
        np.empty(coupled * states, np.uint16),
        np.zeros(coordinates * LANES, np.uint8),
        np.zeros(coordinates * LANES, np.int64),
        np.zeros(LANES, np.float64),
    )


@compiled
def _search(tables: Tables, work: Work, search_paths: bool) -> None:
    """Choose each document's entries, and with `search_paths` the groups that they come from before that."""
    kind, first, groups_of, width_of, levels, bits, _, windows, coupled = tables
    columns, slopes, costs, best, metric, after, survivors, groups, chosen, total = work
    coordinates, states = len(kind), len(windows) // 2
    starts = windows * LANES
    metric[:] = np.inf
    metric[:LANES] = 0
    for coordinate in range(coordinates):
        quantiser = kind[coordinate]
        entry, width = first[quantiser], width_of[quantiser]
        for group in range(groups_of[quantiser]):
            cost_at, number_at = group * LANES, (coordinate * 4 + group) * LANES
            cheapest(
                *(columns, coordinate * LANES, levels, bits, entry + group * width, width, slopes),
                *(costs, cost_at, best, number_at),
            )
        if search_paths and coordinate < coupled:
            for state in range(states):
                one, other = starts[state], starts[state + states]
                butterfly(
                    *(
                        metric,
                        (state >> 1) * LANES,
                        ((state >> 1) + states // 2) * LANES,
                        costs,
                        one,
                        other,
                        None,
                        0,
                        0,
                    ),
                    *(after, state * LANES, survivors, coordinate * states + state),
                )
            metric, after = after, metric
    if search_paths:
        for lane in range(LANES):
            end: Any = 0
            for candidate in range(1, states):
                if metric[candidate * LANES + lane] < metric[end * LANES + lane]:
                    end = candidate
            for coordinate in range(coupled - 1, -1, -1):
                window = ((np.int64(survivors[coordinate * states + end]) >> lane) & 1) * states + end
                groups[coordinate * LANES + lane] = windows[window]
                end = window >> 1
    total[:] = 0
    for coordinate in range(coordinates):
        quantiser = kind[coordinate]
        for lane in range(LANES):
            taken = np.int64(groups[coordinate * LANES + lane])
            number = np.int64(best[(coordinate * 4 + taken) * LANES + lane])
            entry = first[quantiser] + taken * width_of[quantiser] + number
            chosen[coordinate * LANES + lane] = entry
            total[lane] += np.float64(bits[entry])


@compiled
def choose(
    columns: Array,
    begin: int,
    end: int,
    slope: Array,
    tables: Tables,
    search_paths: bool,
    groups: Array,
    numbers: Array,
    levels: Array,
    bits: Array,
) -> None:
    """Fill the best numbers for a slope of each document.

    Parameters
    ----------
    columns : float32 (coordinates, n)
        In steps.
    begin, end : int
        The documents to look at.
    slope : float32 (n,)
        Squared steps that a bit is worth.
    tables
    search_paths : bool
        Whether to search for the groups; otherwise they are given.
    groups : uint8 (coordinates, n)
    numbers, levels : int16 and float32 (coordinates, n)
    bits : float64 (n,)
    """
    coordinates = len(columns)
    work = _work(coordinates, tables.coupled, len(tables.windows) // 2)
    entry_levels, entry_numbers = tables.levels, tables.numbers
    tile, slopes, tile_groups, chosen, total = work.columns, work.slopes, work.groups, work.chosen, work.bits
    for start in range(begin, end, LANES):
        used = min(LANES, end - start)
        slopes[:used] = slope[start : start + used]
        for coordinate in range(coordinates):
            for lane in range(used):
                tile[coordinate * LANES + lane] = columns[coordinate, start + lane]
                tile_groups[coordinate * LANES + lane] = groups[coordinate, start + lane]
        _search(tables, work, search_paths)
        for coordinate in range(coordinates):
            for lane in range(used):
                entry = chosen[coordinate * LANES + lane]
                groups[coordinate, start + lane] = tile_groups[coordinate * LANES + lane]
                numbers[coordinate, start + lane] = entry_numbers[entry]
                levels[coordinate, start + lane] = entry_levels[entry]
        for lane in range(used):
            bits[start + lane] = total[lane]


@compiled
def within(
    columns: Array,
    begin: int,
    end: int,
    slope: float,
    free: float,
    budget: Array,
    passes: int,
    refinements: int,
    tables: Tables,
    numbers: Array,
    levels: Array,
    bits: Array,
) -> None:
    """Fill numbers of the least squared error whose bits stay within the budget, document by document.

    A lane whose document is done takes the next one: some need two searches, others `passes`.

    Parameters
    ----------
    columns : float32 (coordinates, n)
    begin, end : int
        The documents to look at.
    slope, free : float
        The slope to start from, and one at which the error counts for nothing.
    budget : float64 (n,)
        Bits of each document.
    passes, refinements : int
    tables
    numbers, levels : int16 and float32 (coordinates, n)
    bits : float64 (n,)
    """
    coordinates, n = len(columns), end - begin
    work = _work(coordinates, tables.coupled, len(tables.windows) // 2)
    tile, slopes, groups, chosen, total = work.columns, work.slopes, work.groups, work.chosen, work.bits
    rows = np.empty((n, coordinates), np.float32)
    for start in range(0, n, LANES):
        for coordinate in range(coordinates):
            for doc in range(start, min(n, start + LANES)):
                rows[doc, coordinate] = columns[coordinate, begin + doc]
    entries = np.zeros((n, coordinates), np.int32)
    paths = np.zeros((n, coordinates), np.uint8)
    high = np.full(n, np.inf)
    # of each lane: its document (-1: none), the search that comes next, and what the searches so far have told
    doc_of, turn = np.full(LANES, -1), np.zeros(LANES, np.int64)
    now, step, low, low_bits, high_bits = np.empty((5, LANES), np.float64)
    following, left = 0, n
    while left:
        for lane in range(LANES):
            if doc_of[lane] < 0 and following < n:
                doc_of[lane], turn[lane], slopes[lane] = following, -1, free
                for coordinate in range(coordinates):
                    tile[coordinate * LANES + lane] = rows[following, coordinate]
                following += 1
        _search(tables, work, True)
        for lane in range(LANES):
            doc = doc_of[lane]
            if doc < 0:
                continue
            spent, limit = total[lane], budget[begin + doc]
            fits = turn[lane] < 0 or spent <= limit
            if fits:
                bits[begin + doc] = spent
                for coordinate in range(coordinates):
                    entries[doc, coordinate] = chosen[coordinate * LANES + lane]
                    paths[doc, coordinate] = groups[coordinate * LANES + lane]
            if turn[lane] < 0:
                now[lane], step[lane], low[lane], low_bits[lane], high_bits[lane] = slope, 1.1, 0.0, np.inf, spent
            else:
                if fits:
                    high[doc], high_bits[lane] = now[lane], spent
                else:
                    low[lane], low_bits[lane] = now[lane], spent
                # bits fall by about a sixth when the slope doubles: a first guess that lies beyond the budget
                ratio = min(max(spent / limit, 0.7), 1.4)
                square = ratio * ratio
                flatter = now[lane] * square * square * square
                now[lane] = 0.9 * flatter if fits else max(1.1 * flatter, step[lane] * now[lane])
                step[lane] *= 1.2
                if low[lane] > 0 and np.isfinite(high[doc]):
                    share = (low_bits[lane] - limit) / max(low_bits[lane] - high_bits[lane], 1e-9)
                    now[lane] = low[lane] + (high[doc] - low[lane]) * min(max(share, 0.1), 0.9)
            turn[lane] += 1
            slopes[lane] = now[lane]
            if (turn[lane] > 0 and not bits[begin + doc] < limit - 1) or turn[lane] == passes:
                doc_of[lane] = -1
                left -= 1
    for start in range(0, n, LANES):
        used = min(LANES, n - start)
        for lane in range(used):
            low[lane] = 0.0
            high[start + lane] = min(high[start + lane], slope * 64)
            for coordinate in range(coordinates):
                tile[coordinate * LANES + lane] = rows[start + lane, coordinate]
                groups[coordinate * LANES + lane] = paths[start + lane, coordinate]
        for _ in range(refinements):
            for lane in range(used):
                now[lane] = (low[lane] + high[start + lane]) / 2
                slopes[lane] = now[lane]
            _search(tables, work, False)
            for lane in range(used):
                doc = start + lane
                fits = total[lane] <= budget[begin + doc]
                if fits and total[lane] >= bits[begin + doc]:
                    bits[begin + doc] = total[lane]
                    for coordinate in range(coordinates):
                        entries[doc, coordinate] = chosen[coordinate * LANES + lane]
                if fits:
                    high[doc] = now[lane]
                else:
                    low[lane] = now[lane]
    entry_levels, entry_numbers = tables.levels, tables.numbers
    for start in range(0, n, LANES):
        for coordinate in range(coordinates):
            for doc in range(start, min(n, start + LANES)):
                numbers[coordinate, begin + doc] = entry_numbers[entries[doc, coordinate]]
                levels[coordinate, begin + doc] = entry_levels[entries[doc, coordinate]]
