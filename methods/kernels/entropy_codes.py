"""Compiled range coding of quantised coordinates: see `methods.transform_coding.entropy_coded`.

The bytes are those of the package constriction (its queue of 32-bit words with a state of 64 bits and probabilities of
24), which is the reference: `tests.methods.kernels.range_coder` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]

PRECISION = 24
"""Bits of a probability."""

LOOKUP_BITS = 10
"""Leading bits of a place within all numbers' intervals, by which the number is looked up, or one a little below."""

SIDE_BY_SIDE = 4
"""Documents that are read in turns."""

INDEX, SCALE = -2, -1
"""What comes before a document's first coordinate: its centre, and its scale."""

ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
WORD = np.uint64(32)
NARROW = np.uint64(1 << 32)
"""An interval below this width is made wider by a word."""


class Models(NamedTuple):
    """Models of numbers 0, 1, ..., as arrays.

    Attributes
    ----------
    first : int64 (models,)
        Where each model begins in `below`.
    below : uint32 (all numbers + models,)
        What of 2**24 lies below each number, and at the end 2**24.
    lookup : uint16 (models, 2**LOOKUP_BITS)
        The number in which each part of the interval begins.
    """

    first: Array
    below: Array
    lookup: Array


class Walk(NamedTuple):
    """What is coded, coordinate after coordinate.

    Attributes
    ----------
    dims, classes : int64 (coordinates,)
        Dimensions and their classes with the common step, the largest classes first.
    smallest : int
        The least class that is coded, which is that of row 0 of `models` and `levels`.
    models, levels : int64 (classes, 2)
        The model of each quantiser of a class, and where its first level stands.
    reach : int64 (classes,)
        What is added to a number of a class before it is coded, which makes an odd one of 0 where it is odd.
    coupled : bool (classes,)
        Whether a class takes part in the trellis.
    quantisers : int64 (states,)
        The quantiser of each state.
    after : int64 (states, 2)
        The next states after an even number and after an odd one.
    """

    dims: Array
    classes: Array
    smallest: int
    models: Array
    levels: Array
    reach: Array
    coupled: Array
    quantisers: Array
    after: Array


def cumulative(probabilities: Array) -> Array:
    """Return what of 2**24 lies below each number, uint64 (numbers + 1,), as constriction does from float32.

    Each number gets at least 1; constriction leaves the last ones nothing where rounding
    has used everything up. A certainty is given a second number that never comes.
    """
    given = np.asarray(probabilities, dtype=np.float32)
    if len(given) == 1:
        given = np.append(given, np.float32(0))
    count = len(given)
    sums = np.cumsum(given, dtype=np.float32)
    scale = np.float32((1 << PRECISION) - count) / sums[-1]
    below = np.append(np.float32(0), sums[:-1]) * scale
    numbers = np.arange(count, dtype=np.uint64)
    most = np.uint64((1 << PRECISION) - count) + numbers
    return np.append(np.minimum(below.astype(np.uint64) + numbers, most), np.uint64(1 << PRECISION))


def models_of(probabilities: Sequence[Array]) -> Models:
    """Return models of given probabilities, float32 (numbers,) each."""
    below = [cumulative(each) for each in probabilities]
    edges = np.arange(1 << LOOKUP_BITS, dtype=np.uint64) << np.uint64(PRECISION - LOOKUP_BITS)
    lengths = [len(each) for each in below]
    return Models(
        first=np.cumsum([0, *lengths[:-1]]),
        below=np.concatenate(below).astype(np.uint32),
        lookup=np.stack([np.searchsorted(each, edges, side="right") - 1 for each in below]).astype(np.uint16),
    )


@compiled
def decode(
    packed: Array,
    stream: bool,
    scales: Array,
    models: Models,
    walk: Walk,
    index_model: int,
    scale_model: int,
    lowerings: Array,
    steps: Array,
    predictions: Array,
    levels: Array,
    decoded: Array,
) -> None:
    """Fill documents float32 (n, d).

    Parameters
    ----------
    packed : uint8 (n, nbytes)
        Or one row for all documents, where they form one stream.
    stream : bool
    scales : int64 (n,)
        Each document's place among the scales; written where there is a `scale_model`, of which -1 is none.
    models, walk
    index_model, scale_model : int
        The models of the centres' numbers and the scales'.
    lowerings, steps : int64 and float32 (scales,)
        By how many classes dimensions are lowered at each scale, and its step.
    predictions : float32 (centres, d)
    levels : float32 (all levels,)
        In steps.
    decoded
    """
    first, below, lookup = models
    dims, classes, smallest, model_of, levels_of, reach, coupled, quantisers, after = walk
    states = len(quantisers)
    # by class and state: the model, and the next states; classes outside the trellis leave a state as it is
    model_in = np.zeros(len(reach) * states, np.uint64)
    next_state = np.zeros(len(reach) * states * 2, np.uint64)
    # by number: its level and whether it is odd
    value, odd = np.zeros(len(below), np.float32), np.zeros(len(below), np.uint64)
    for kind in range(len(reach)):
        for state in range(states):
            quantiser = quantisers[state] if coupled[kind] else 0
            model = model_of[kind, quantiser]
            model_in[kind * states + state] = model
            for number in range(2):
                to = after[state, number] if coupled[kind] else state
                next_state[2 * (kind * states + state) + number] = to
            # no class has the model of the centres, which is that of classes without one
            for number in range(2 * reach[kind] + 1 if model != index_model else 0):
                value[first[model] + number] = levels[levels_of[kind, quantiser] + number]
                odd[first[model] + number] = (number ^ reach[kind]) & 1
    _decode(
        *(packed.shape[1], stream, index_model, scale_model, states),
        *(packed.reshape(packed.size), scales, first.astype(np.uint64), below, lookup.reshape(lookup.size), dims),
        *(classes - smallest, model_in, next_state, value, odd, lowerings, steps, predictions, decoded),
    )


@compiled
def _decode(
    size: int,
    stream: bool,
    index_model: int,
    scale_model: int,
    states: int,
    octets: Array,
    scales: Array,
    first: Array,
    below: Array,
    lookup: Array,
    dims: Array,
    kinds: Array,
    model_in: Array,
    next_state: Array,
    value: Array,
    odd: Array,
    lowerings: Array,
    steps: Array,
    predictions: Array,
    decoded: Array,
) -> None:
    """Do what `decode` does, of arrays alone, and in one piece.

    An array that is taken out of a tuple, cut, or handed on in the inner loop has its owners counted, which takes
    longer than reading a number. Indices without a sign need not be looked at for being negative.
    """
    # a number is read when the one before it is known; meanwhile other documents' are
    side_by_side = 1 if stream else SIDE_BY_SIDE
    code, span, at, state_of = np.zeros((4, side_by_side), np.uint64)
    lowering, count = np.zeros((2, side_by_side), np.int64)
    step = np.zeros(side_by_side, np.float32)
    one, most_place = np.uint64(1), np.uint64((1 << PRECISION) - 1)
    for begin in range(0, len(decoded), side_by_side):
        used = min(side_by_side, len(decoded) - begin)
        most, coordinate = 0, INDEX
        while coordinate < most:
            for lane in range(used):
                row, cell = begin + lane, np.uint64(0)
                if coordinate >= 0:
                    if coordinate >= count[lane]:
                        continue
                    cell = np.uint64((kinds[coordinate] - lowering[lane]) * states) + state_of[lane]
                    model = model_in[cell]
                elif coordinate == SCALE:
                    if scale_model < 0:
                        continue
                    model = np.uint64(scale_model)
                else:
                    model = np.uint64(index_model)
                    if row == 0 or not stream:
                        at[lane], code[lane], span[lane] = 8, 0, ALL_ONES
                        for place in range(8):
                            octet = octets[row * size + place] if place < size else 0
                            code[lane] = code[lane] << np.uint64(8) | np.uint64(octet)
                part = span[lane] >> np.uint64(PRECISION)
                # a damaged code may lie beyond all intervals
                inside = min(code[lane] // part, most_place)
                begun = lookup[model << np.uint64(LOOKUP_BITS) | inside >> np.uint64(PRECISION - LOOKUP_BITS)]
                entry = first[model] + np.uint64(begun)
                while np.uint64(below[entry + one]) <= inside:
                    entry += one
                low = np.uint64(below[entry])
                code[lane] -= part * low
                width = part * (np.uint64(below[entry + one]) - low)
                if width < NARROW:
                    start = 0 if stream else row * size
                    for place in range(np.int64(at[lane]), np.int64(at[lane]) + 4):
                        octet = octets[start + place] if place < size else 0
                        code[lane] = code[lane] << np.uint64(8) | np.uint64(octet)
                    width <<= np.uint64(32)
                    at[lane] += np.uint64(4)
                span[lane] = width
                if coordinate >= 0:
                    decoded[row, dims[coordinate]] += step[lane] * value[entry]
                    state_of[lane] = next_state[cell + cell + odd[entry]]
                elif coordinate == SCALE:
                    scales[row] = np.int64(entry - first[model])
                else:
                    number = np.int64(entry - first[model])
                    for dim in range(decoded.shape[1]):
                        decoded[row, dim] = predictions[number, dim]
            coordinate += 1
            if coordinate == 0:
                for lane in range(used):
                    scale = scales[begin + lane]
                    state_of[lane], lowering[lane], step[lane], count[lane] = 0, lowerings[scale], steps[scale], 0
                    while count[lane] < len(dims) and kinds[count[lane]] >= lowering[lane]:
                        count[lane] += 1
                    most = max(most, count[lane])


@compiled
def _carry(code: Array, at: int) -> None:
    """Add one to the number that the bytes before `at` are."""
    at -= 1
    while code[at] == 255:
        code[at] = 0
        at -= 1
    code[at] += 1


@compiled
def _put(code: Array, at: int, low: Any, octets: int) -> int:
    """Write the leading bytes of 64 bits; return the position after them."""
    for place in range(octets):
        code[at + place] = np.uint8((low >> np.uint64(56 - 8 * place)) & np.uint64(255))
    return at + octets


@compiled
def _narrow(code: Array, at: int, low: Any, span: Any, first: Any, after: Any) -> Any:
    """Narrow the interval to a part of 2**24 of it; return (position, lower end, width)."""
    part = span >> np.uint64(PRECISION)
    moved = low + part * np.uint64(first)
    if moved < low:
        _carry(code, at)
    low, span = moved, part * (np.uint64(after) - np.uint64(first))
    if span < NARROW:
        at = _put(code, at, low, 4)
        low <<= WORD
        span <<= WORD
    return at, low, span


@compiled
def finish(code: Array, at: int, low: Any, span: Any, size: int) -> int:
    """Write the point of the interval that has the fewest bytes, `size` of them if that is not -1.

    Return how many, or -1 where that is more than `size`.
    """
    end = _put(code, at, low, 8)
    for octets in range(max(0, at - 1), end + 1) if size < 0 else range(size, size + 1):
        if octets >= end:
            code[end:octets] = 0
            return octets
        # how far it is to the next number that ends in zeros
        dropped = end - octets
        zeros = True
        for place in range(octets, end):
            zeros = zeros and code[place] == 0
        if zeros:
            return octets
        reached = dropped <= 8
        gap = np.uint64(0) - low
        if dropped < 8:
            gap &= (np.uint64(1) << np.uint64(8 * dropped)) - np.uint64(1)
        elif dropped > 8:
            reached = low != 0
            for place in range(octets, end - 8):
                reached = reached and code[place] == 255
        if reached and gap < span and (gap != 0):
            _carry(code, octets)
            return octets
    return -1


@compiled
def encode_rows(
    numbers: Array,
    lowering: int,
    centres: Array,
    scales: Array,
    models: Models,
    walk: Walk,
    index_model: int,
    scale_model: int,
    packed: Array,
    fits: Array,
) -> None:
    """Fill codes uint8 (n, nbytes), and whether a document's numbers fit into its code; where not, nothing is written.

    Parameters
    ----------
    numbers : int16 (coordinates, n)
    lowering : int
        By how many classes dimensions are lowered.
    centres, scales : int64 (n,)
        Each document's centre, and its place among the scales, which is written where there is a `scale_model`.
    models, walk
    index_model, scale_model : int
    packed
    fits : bool (n,)
    """
    first, below, _ = models
    coordinates = len(numbers)
    size = packed.shape[1]
    code = np.empty(4 * (coordinates + 2) + 32 + size, np.uint8)
    for row in range(len(packed)):
        at, low, span = 0, np.uint64(0), ALL_ONES
        entry = first[index_model] + centres[row]
        at, low, span = _narrow(code, at, low, span, below[entry], below[entry + 1])
        if scale_model >= 0:
            entry = first[scale_model] + scales[row]
            at, low, span = _narrow(code, at, low, span, below[entry], below[entry + 1])
        at, low, span = _write(code, at, low, span, numbers, row, lowering, first, below, walk)
        fits[row] = finish(code, at, low, span, size) >= 0
        if fits[row]:
            packed[row] = code[:size]


@compiled
def append_rows(
    code: Array,
    at: int,
    low: Any,
    span: Any,
    numbers: Array,
    lowering: int,
    centres: Array,
    models: Models,
    walk: Walk,
    index_model: int,
) -> Any:
    """Write documents into a stream, uint8 with room for `longest`; return (position, lower end, width)."""
    first, below, _ = models
    for row in range(len(centres)):
        entry = first[index_model] + centres[row]
        at, low, span = _narrow(code, at, low, span, below[entry], below[entry + 1])
        at, low, span = _write(code, at, low, span, numbers, row, lowering, first, below, walk)
    return at, low, span


def longest(numbers: int) -> int:
    """Return the most bytes that so many numbers and the end of a code take."""
    return 4 * numbers + 32


@compiled
def _write(
    code: Array,
    at: int,
    low: Any,
    span: Any,
    numbers: Array,
    row: int,
    lowering: int,
    first: Array,
    below: Array,
    walk: Walk,
) -> Any:
    """Write a document's numbers; return (position, lower end, width)."""
    _, classes, smallest, model_of, _, reach, coupled, quantisers, after = walk
    state = 0
    for coordinate in range(len(numbers)):
        kind = classes[coordinate] - lowering - smallest
        number = np.int64(numbers[coordinate, row])
        entry = first[model_of[kind, quantisers[state] if coupled[kind] else 0]] + number + reach[kind]
        if coupled[kind]:
            state = after[state, number & 1]
        at, low, span = _narrow(code, at, low, span, below[entry], below[entry + 1])
    return at, low, span
