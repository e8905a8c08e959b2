"""Compiled search for paths of a trellis, and reading of its codes: see `methods.transform_coding.trellis`.

The reference, which gives the same bytes, is `Trellis.search` and `Trellis.levels_chosen` there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled
from methods.kernels.lanes import butterfly, closer, squared_error
from methods.kernels.point_lanes import eight_bytes
from methods.vector_instructions import LANES

Array = NDArray[Any]


class Layout(NamedTuple):
    """A trellis as arrays.

    Attributes
    ----------
    sizes : int64 (steps,)
        Coordinates of each step, 1 or 2.
    subsets : int64 (2, 2 * states)
        The subset of each window of the register, for a step's first coordinate and for its second one.
    coordinates : int64 (coordinates,)
        The dimension of each, in the order of coding.
    levels : float32 (all levels,)
        Those of all coordinates, one after another.
    first_level : int64 (coordinates,)
        Where each coordinate's levels begin.
    bits, first_bit : int64 (coordinates,)
        Bits of a level's number within its subset, and where they stand in a code.
    subset_count : int
    """

    sizes: Array
    subsets: Array
    coordinates: Array
    levels: Array
    first_level: Array
    bits: Array
    first_bit: Array
    subset_count: int


@compiled
def _nearest(
    columns: Array, value_at: int, levels: Array, first: int, choices: int, errors: Array, numbers: Array, to: int
) -> None:
    """Write each subset's least squared error of a coordinate, and the number of its level there."""
    count = len(errors) // LANES
    for subset in range(count):
        at, number_at = subset * LANES, to + subset * LANES
        squared_error(columns, value_at, levels[first + subset], errors, at, numbers, number_at)
        for choice in range(1, choices):
            level = levels[first + choice * count + subset]
            closer(columns, value_at, level, choice, errors, at, numbers, number_at)


@compiled
def _advance_one(metric: Array, errors: Array, starts: Array, after: Array, survivors: Array, to: int) -> None:
    """Take a step of one coordinate: two branches end in a state, which differ in the oldest bit of the register."""
    states = len(starts) // 2
    for state in range(states):
        one, other = starts[state], starts[state + states]
        butterfly(
            *(metric, (state >> 1) * LANES, ((state >> 1) + states // 2) * LANES, errors, one, other, None, 0, 0),
            *(after, state * LANES, survivors, to + state),
        )


@compiled
def _advance_two(
    metric: Array,
    errors: Array,
    starts: Array,
    second: Array,
    second_starts: Array,
    after: Array,
    survivors: Array,
    to: int,
) -> None:
    """Take a step of two coordinates."""
    states = len(starts) // 2
    for state in range(states):
        one, other = starts[state], starts[state + states]
        then_one, then_other = second_starts[state], second_starts[state + states]
        butterfly(
            *(metric, (state >> 1) * LANES, ((state >> 1) + states // 2) * LANES, errors, one, other),
            *(second, then_one, then_other, after, state * LANES, survivors, to + state),
        )


@compiled
def encode(docs: Array, layout: Layout, packed: Array) -> None:
    """Fill the codes, zeros uint8 (n, nbytes), of documents float32 (n, d), by Viterbi's algorithm."""
    # taken out once: to take an array out of the tuple counts its owners, which costs as much as an addition of vectors
    sizes, subsets, dims, levels, first_level, bits, first_bit, count = layout
    steps, coordinates, states = len(sizes), len(dims), subsets.shape[1] // 2
    starts, second_starts = subsets[0] * LANES, subsets[1] * LANES
    columns = np.empty(coordinates * LANES, np.float32)
    numbers = np.empty(coordinates * count * LANES, np.uint8)
    errors, second = np.empty(count * LANES, np.float32), np.empty(count * LANES, np.float32)
    metric, after = np.empty(states * LANES, np.float32), np.empty(states * LANES, np.float32)
    survivors = np.empty(steps * states, np.uint16)
    least, ends = np.empty(LANES, np.float32), np.empty(LANES, np.int64)
    for start in range(0, len(docs), LANES):
        used = min(LANES, len(docs) - start)
        for lane in range(LANES):
            doc = docs[start + min(lane, used - 1)]
            for coordinate in range(coordinates):
                columns[coordinate * LANES + lane] = doc[dims[coordinate]]
        metric[:] = np.inf
        metric[:LANES] = 0
        coordinate = 0
        for step in range(steps):
            for place in range(sizes[step]):
                first, choices, to = first_level[coordinate], 1 << bits[coordinate], coordinate * count * LANES
                into = errors if place == 0 else second
                _nearest(columns, coordinate * LANES, levels, first, choices, into, numbers, to)
                coordinate += 1
            if sizes[step] == 1:
                _advance_one(metric, errors, starts, after, survivors, step * states)
            else:
                _advance_two(metric, errors, starts, second, second_starts, after, survivors, step * states)
            metric, after = after, metric
        least[:], ends[:] = metric[:LANES], 0
        for state in range(1, states):
            for lane in range(LANES):
                if metric[state * LANES + lane] < least[lane]:
                    least[lane], ends[lane] = metric[state * LANES + lane], state
        # all documents side by side: each waits for the memory that says where its path came from
        coordinate = coordinates
        for step in range(steps - 1, -1, -1):
            coordinate -= sizes[step]
            for lane in range(used):
                state = ends[lane]
                window = ((np.int64(survivors[step * states + state]) >> lane) & 1) * states + state
                ends[lane] = window >> 1
                packed[start + lane, step >> 3] |= np.uint8((state & 1) << (step & 7))
                for place in range(sizes[step]):
                    if bits[coordinate + place] == 0:
                        continue
                    at = (coordinate + place) * count + subsets[place, window]
                    bit = first_bit[coordinate + place]
                    number = np.int64(numbers[at * LANES + lane]) << (bit & 7)
                    packed[start + lane, bit >> 3] |= np.uint8(number & 255)
                    if number > 255:
                        packed[start + lane, (bit >> 3) + 1] |= np.uint8(number >> 8)


@compiled
def decode(packed: Array, layout: Layout, decoded: Array) -> None:
    """Fill the coded dimensions of documents, float32 (n, d), from codes uint8 (n, nbytes).

    Levels and numbers lie one coordinate after the other. Indices have no sign, so that none need be looked at for
    being negative.
    """
    sizes, subsets, coordinates, levels, _, widths, _, count = layout
    windows, nbytes, d = subsets.shape[1], packed.shape[1], decoded.shape[1]
    steps, bits, dims = sizes.astype(np.uint64), widths.astype(np.uint64), coordinates.astype(np.uint64)
    subset_of = subsets.reshape(subsets.size).astype(np.uint8)
    flat, octets = decoded.reshape(decoded.size), np.zeros(nbytes + 8, np.uint8)
    one, three, seven = np.uint64(1), np.uint64(3), np.uint64(7)
    mask, second, choices = np.uint64(windows - 1), np.uint64(windows), np.uint64(count)
    for row in range(len(packed)):
        octets[:nbytes] = packed[row]
        to, window = np.uint64(row * d), np.uint64(0)
        coordinate, level, at = np.uint64(0), np.uint64(0), np.uint64(len(sizes))
        for step in range(np.uint64(len(sizes))):
            window = (window << one | np.uint64(octets[step >> three]) >> (step & seven) & one) & mask
            wide = bits[coordinate]
            number = eight_bytes(octets, at >> three) >> (at & seven) & ((one << wide) - one)
            flat[to + dims[coordinate]] = levels[level + number * choices + np.uint64(subset_of[window])]
            coordinate, level, at = coordinate + one, level + (choices << wide), at + wide
            if steps[step] > one:
                wide = bits[coordinate]
                number = eight_bytes(octets, at >> three) >> (at & seven) & ((one << wide) - one)
                flat[to + dims[coordinate]] = levels[level + number * choices + np.uint64(subset_of[second + window])]
                coordinate, level, at = coordinate + one, level + (choices << wide), at + wide
