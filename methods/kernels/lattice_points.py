"""Compiled reading of lattice points, and writing of E8's: see `methods.transform_coding.lattices`.

The references are `_Codebook.points` and `nearest` in `methods.transform_coding.lattice_coded`, on `Classes.vectors`
and `Classes.number`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled, loose
from methods.kernels.point_lanes import (
    EIGHT,
    eight_bytes,
    move_eight,
    next_symbols,
    place_eight,
    sign_by_words,
    sign_freely,
)

Array = NDArray[Any]


class Book(NamedTuple):
    """A codebook of K classes in F families, of d dimensions, as arrays; see `Classes` for what the names mean.

    Attributes
    ----------
    size : int
        Points.
    starts, family, parity, sign_bits, on_orders, off_orders : int64 (K,)
        Of each class: its first number, its family, the sign parity, free signs, and orders on and off the support.
    scales : float64 (K,)
    on, off : int64 (K, V), (K, W)
        How often each value occurs; zeros where a family has fewer values.
    on_values, off_values : int64 (F, V), (F, W)
    weight, first_word : int64 (F,)
        Places that `on` fills, and where the family's words begin.
    signed_by_word : bool (F,)
    words : uint8 (all words, d)
    word_bits : uint64 (all words,)
        The same as bits, the first place's lowest.
    found : uint8 (all words, d)
        Of the values of a point, those on the support first, the one that each place of a word has.
    table : float32 (2**bits, d)
        All points of a small codebook; empty for others.
    guide : int16 (2**bits >> guide_shift,)
        The class of the first number of each run of 2**guide_shift.
    guide_shift : int
    patterns : int8 (P, d)
        Absolute values of each class's points, in the order of their numbers without signs; empty where these are too
        many, and in families whose words have zeros and ones.
    first_pattern : int64 (K,)
        Where each class's begin.
    sign_row : int16 (P,)
        Each pattern's row of `SIGNS`.
    """

    size: int
    starts: Array
    family: Array
    parity: Array
    sign_bits: Array
    on_orders: Array
    off_orders: Array
    scales: Array
    on: Array
    off: Array
    on_values: Array
    off_values: Array
    weight: Array
    first_word: Array
    signed_by_word: Array
    words: Array
    word_bits: Array
    found: Array
    table: Array
    guide: Array
    guide_shift: int
    patterns: Array
    first_pattern: Array
    sign_row: Array


DIVISORS = 32
"""Above the dimensions of any block."""

SHIFTS = np.array([0, *((r & -r).bit_length() - 1 for r in range(1, DIVISORS))], dtype=np.uint64)

INVERSES = np.array([0, *(pow(r // (r & -r), -1, 1 << 64) for r in range(1, DIVISORS))], dtype=np.uint64)
"""Of the odd parts of divisors, modulo 2**64: what is known to divide evenly is divided by a shift and a product."""


ROWS = 256
"""Documents whose points are read together, those of one family eight at a time."""

CODE_BYTES = 8
"""A number is read from so many bytes at once: codes have them at least."""

EVEN, ODD = 256, 257


def sign_rows() -> Array:
    """Return what signs in a number mean, uint8 (258, 256): which of 8 dimensions are negative, the first lowest.

    Rows 0 to 255 are the dimensions that have a sign, as bits. In `EVEN` and `ODD` all have, and the last sign follows
    from the others: so many are negative.
    """
    signs = np.arange(256)
    rows = np.zeros((258, 256), np.uint8)
    for support in range(256):
        left = signs.copy()
        for dim in range(EIGHT):
            if support >> dim & 1:
                rows[support] |= ((left & 1) << dim).astype(np.uint8)
                left >>= 1
    seven = signs & 127
    odd = np.bitwise_count(seven) & 1
    rows[EVEN], rows[ODD] = seven | odd << 7, seven | (1 - odd) << 7
    return rows


SIGNS = sign_rows()


@compiled
def _read(octets: Array, at: int, shift: int, bits: int) -> Any:
    """Return the number that begins so many bits after a byte: within eight bytes, or nine."""
    number = eight_bytes(octets, at) >> np.uint64(shift)
    if shift + bits > 64:
        number |= np.uint64(octets[at + CODE_BYTES]) << np.uint64(64 - shift)
    return np.int64(number & ((np.uint64(1) << np.uint64(bits)) - np.uint64(1)))


@compiled
def _class_of(number: int, starts: Array, guide: Array, shift: int) -> Any:
    """Return the class of a number: mostly the one where the guide begins, which a processor foresees."""
    member = np.int64(guide[number >> shift])
    while member + 1 < len(starts) and number >= starts[member + 1]:
        member += 1
    return member


@compiled
def decode(
    packed: Array,
    first_bits: Array,
    bits: int,
    dims: Array,
    book: Book,
    deviation: Array,
    mean: Array,
    decoded: Array,
) -> None:
    """Fill the dimensions of blocks that share a codebook: their points, scaled and moved.

    Parameters
    ----------
    packed : uint8 (n, nbytes)
        Of `CODE_BYTES` bytes at least.
    first_bits, dims : int64 (blocks,)
        Where each block's number and its dimensions begin.
    bits : int
    book : Book
    deviation, mean : float32 (d,)
    decoded : float32 (n, d)
        Points are written here. A last block that is wider than what is left of the dimensions ends with them.
    """
    width, d, size = book.words.shape[1], decoded.shape[1], packed.shape[1]
    blocks = len(dims)
    # the blocks' own, so that a last one has them all
    own_deviation, own_mean = np.zeros(blocks * width, np.float32), np.zeros(blocks * width, np.float32)
    at, shifts, ends = np.zeros(blocks, np.int64), np.zeros(blocks, np.int64), np.zeros(blocks, np.int64)
    for block in range(blocks):
        ends[block] = min(width, d - dims[block])
        for place in range(ends[block]):
            own_deviation[block * width + place] = deviation[dims[block] + place]
            own_mean[block * width + place] = mean[dims[block] + place]
        at[block] = min(first_bits[block] >> 3, size - CODE_BYTES)
        shifts[block] = first_bits[block] - 8 * at[block]
    octets, flat = packed.reshape(packed.size), decoded.reshape(decoded.size)
    if len(book.table):
        table = book.table.reshape(book.table.size)
        _read_table(octets, size, at, shifts, bits, dims, ends, table, own_deviation, own_mean, flat, d)
    elif len(book.patterns):
        patterns = book.patterns.reshape(book.patterns.size)
        _read_patterns(
            *(size, bits, book.size, book.guide_shift, d),
            *(octets, at, shifts, dims, ends, book.starts, book.guide, book.sign_bits, book.scales),
            *(patterns, book.first_pattern, book.sign_row, own_deviation, own_mean, flat),
        )
    else:
        _read_lanes(
            *(size, bits, book.size, book.guide_shift, width, d),
            *(octets, at, shifts, dims, ends, book.starts, book.guide, book.sign_bits, book.scales, book.family),
            *(book.parity, book.on_orders, book.off_orders, book.on, book.off, book.on_values, book.off_values),
            *(book.weight, book.first_word, book.signed_by_word, book.word_bits, book.found),
            *(own_deviation, own_mean, flat),
        )


@compiled
def _read_table(
    octets: Array,
    size: int,
    at: Array,
    shifts: Array,
    bits: int,
    dims: Array,
    ends: Array,
    table: Array,
    deviation: Array,
    mean: Array,
    decoded: Array,
    d: int,
) -> None:
    """Do what `decode` does where all points are in a table, 8 dimensions wide."""
    spare = np.zeros(EIGHT, np.float32)
    for row in range(len(octets) // size):
        for block in range(len(dims)):
            number, to = _read(octets, row * size + at[block], shifts[block], bits), row * d + dims[block]
            if ends[block] == EIGHT:
                move_eight(table, number * EIGHT, deviation, mean, block * EIGHT, decoded, to)
                continue
            move_eight(table, number * EIGHT, deviation, mean, block * EIGHT, spare, 0)
            for place in range(ends[block]):
                decoded[to + place] = spare[place]


@compiled
def _read_patterns(
    size: int,
    bits: int,
    points: int,
    guide_shift: int,
    d: int,
    octets: Array,
    at: Array,
    shifts: Array,
    dims: Array,
    ends: Array,
    starts: Array,
    guide: Array,
    sign_bits: Array,
    scales: Array,
    patterns: Array,
    first_pattern: Array,
    sign_row: Array,
    deviation: Array,
    mean: Array,
    decoded: Array,
) -> None:
    """Do what `decode` does where absolute values are in a table, 8 dimensions wide."""
    spare = np.zeros(EIGHT, np.float32)
    for row in range(len(octets) // size):
        for block in range(len(dims)):
            number = min(_read(octets, row * size + at[block], shifts[block], bits), points - 1)
            member = _class_of(number, starts, guide, guide_shift)
            number -= starts[member]
            slot = first_pattern[member] + (number >> sign_bits[member])
            signs, scale = SIGNS[sign_row[slot], number & ((1 << sign_bits[member]) - 1)], scales[member]
            to, own = row * d + dims[block], block * EIGHT
            if ends[block] == EIGHT:
                place_eight(patterns, slot * EIGHT, signs, scale, deviation, mean, own, decoded, to)
                continue
            place_eight(patterns, slot * EIGHT, signs, scale, deviation, mean, own, spare, 0)
            for place in range(ends[block]):
                decoded[to + place] = spare[place]


@compiled
def _read_lanes(
    size: int,
    bits: int,
    points: int,
    guide_shift: int,
    width: int,
    d: int,
    octets: Array,
    at: Array,
    shifts: Array,
    dims: Array,
    ends: Array,
    starts: Array,
    guide: Array,
    sign_bits: Array,
    scales: Array,
    family: Array,
    parity: Array,
    on_orders: Array,
    off_orders: Array,
    on: Array,
    off: Array,
    on_values: Array,
    off_values: Array,
    weights: Array,
    first_word: Array,
    signed_by_word: Array,
    bits_of_words: Array,
    found: Array,
    deviation: Array,
    mean: Array,
    decoded: Array,
) -> None:
    """Do what `decode` does by telling apart the orders of values, of eight points of one family at once.

    In one piece, of arrays alone: to take an array out of a tuple, or to hand it on, counts its owners.
    """
    n, families = len(octets) // size, len(weights)
    members, within, order = np.zeros(ROWS, np.int64), np.zeros(ROWS, np.int64), np.zeros(ROWS, np.int64)
    begin = np.zeros(families + 1, np.int64)
    most_on, most_off = on.shape[1], off.shape[1]
    on_left, off_left = np.zeros(most_on * EIGHT, np.uint64), np.zeros(most_off * EIGHT, np.uint64)
    on_ranks, off_ranks = np.zeros(2 * EIGHT, np.uint64), np.zeros(2 * EIGHT, np.uint64)
    signs, word_bits, own_scales = np.zeros(2 * EIGHT, np.uint64), np.zeros(EIGHT, np.uint64), np.zeros(EIGHT)
    symbols, signed = np.zeros(width * EIGHT, np.int64), np.zeros(width * EIGHT, np.float32)
    point, moved, word_of = np.zeros(width, np.float32), np.zeros(width, np.float32), np.zeros(EIGHT, np.int64)
    for block in range(len(dims)):
        for first in range(0, n, ROWS):
            used = min(ROWS, n - first)
            begin[:] = 0
            for row in range(used):
                number = min(_read(octets, (first + row) * size + at[block], shifts[block], bits), points - 1)
                member = _class_of(number, starts, guide, guide_shift)
                members[row], within[row] = member, number - starts[member]
                begin[family[member] + 1] += 1
            for kind in range(families):
                begin[kind + 1] += begin[kind]
            for row in range(used):
                kind = family[members[row]]
                order[begin[kind]] = row
                begin[kind] += 1
            # each family's beginning is now its end
            start = np.int64(0)
            for kind in range(families):
                weight, by_word = weights[kind], signed_by_word[kind]
                for group in range(start, begin[kind], EIGHT):
                    lanes, top_on, top_off = min(EIGHT, begin[kind] - group), np.int64(0), np.int64(0)
                    for lane in range(EIGHT):
                        row = order[group + min(lane, lanes - 1)]
                        member = members[row]
                        own = sign_bits[member]
                        signs[lane], rest = within[row] & ((1 << own) - 1), np.uint64(within[row] >> own)
                        signs[EIGHT + lane], own_scales[lane] = parity[member], scales[member]
                        if weight < width:
                            orders = np.uint64(off_orders[member])
                            above = rest // orders
                            off_ranks[lane], off_ranks[EIGHT + lane], rest = rest - above * orders, orders, above
                            for symbol in range(most_off):
                                off_left[symbol * EIGHT + lane] = off[member, symbol]
                                top_off = max(top_off, symbol * np.int64(off[member, symbol] > 0))
                        if weight:
                            orders = np.uint64(on_orders[member])
                            above = rest // orders
                            on_ranks[lane], on_ranks[EIGHT + lane], rest = rest - above * orders, orders, above
                            for symbol in range(most_on):
                                on_left[symbol * EIGHT + lane] = on[member, symbol]
                                top_on = max(top_on, symbol * np.int64(on[member, symbol] > 0))
                        word_of[lane] = first_word[kind] + np.int64(rest)
                        word_bits[lane] = bits_of_words[word_of[lane]]
                    for place in range(weight):
                        left, to = weight - place, place * EIGHT
                        next_symbols(on_ranks, on_left, top_on + 1, left, SHIFTS[left], INVERSES[left], symbols, to)
                        low = on_values[kind, 0]
                        step = on_values[kind, min(1, most_on - 1)] - low
                        sign_freely(signs, symbols, to, low, step, np.int64(left == 1), own_scales, signed)
                    for place in range(weight, width):
                        left, to = width - place, place * EIGHT
                        next_symbols(off_ranks, off_left, top_off + 1, left, SHIFTS[left], INVERSES[left], symbols, to)
                        if by_word:
                            sign_by_words(word_bits, place, symbols, to, own_scales, signed)
                        else:
                            low = off_values[kind, 0]
                            step = off_values[kind, min(1, most_off - 1)] - low
                            sign_freely(signs, symbols, to, low, step, 0, own_scales, signed)
                    for lane in range(lanes):
                        row, word = first + order[group + lane], word_of[lane]
                        for place in range(width):
                            source = np.int64(place) if by_word else np.int64(found[word, place])
                            point[place] = signed[source * EIGHT + lane]
                        to, whole = row * d + dims[block], ends[block] == width
                        for place in range(0, width, EIGHT):
                            if whole:
                                move_eight(point, place, deviation, mean, block * width + place, decoded, to + place)
                            else:
                                move_eight(point, place, deviation, mean, block * width + place, moved, place)
                        for place in range(0 if whole else ends[block]):
                            decoded[to + place] = moved[place]
                start = begin[kind]


RUN = 64
"""Classes whose scores are compared together."""

CLIP = 32.0
"""Coordinates beyond so many deviations are moved there first."""

GRID = 2.0**20
"""Coordinates are multiples of the inverse, and scales of codebooks of another power of two: float64 sums of products
of the two are exact, in whatever order."""


class Search(NamedTuple):
    """An E8 codebook of K classes, ready to find nearest points.

    Attributes
    ----------
    weights : float64 (10, K)
        What a point's sizes in falling order are multiplied by for each class; of the least size where signs are free,
        and with its sign where their product is given; and what is added.
    parity : int64 (K,)
        Of the minus signs; -1 where signs are free.
    values, symbols : int64 (K, 8)
        Absolute values in falling order, and their places among the values of the family.
    counts : uint64 (K, V)
        How often each of those occurs.
    starts, sign_bits : int64 (K,)
    orders : uint64 (K,)
    """

    weights: Array
    parity: Array
    values: Array
    symbols: Array
    counts: Array
    starts: Array
    sign_bits: Array
    orders: Array


@loose
def _best_class(sizes: Array, weights: Array, scores: Array) -> Any:
    """Return the first class of the highest score; exact sums have no order."""
    # taken out once: for all that is known, scores might be written over them
    a, b, c, d, e = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    f, g, free, given = sizes[5], sizes[6], sizes[7], sizes[8]
    for number in range(len(scores)):
        score = a * weights[0, number] + b * weights[1, number] + c * weights[2, number] + d * weights[3, number]
        score += e * weights[4, number] + f * weights[5, number] + g * weights[6, number] + weights[9, number]
        scores[number] = score + free * weights[7, number] + given * weights[8, number]
    top, run = -np.inf, 0
    for start in range(0, len(scores), RUN):
        here = scores[start]
        for number in range(start, min(len(scores), start + RUN)):
            here = scores[number] if scores[number] > here else here
        if here > top:
            top, run = here, start
    best = run
    while scores[best] != top:
        best += 1
    return best


@compiled
def encode_eights(
    docs: Array,
    mean: Array,
    deviation: Array,
    first_bits: Array,
    bits: int,
    dims: Array,
    search: Search,
    packed: Array,
) -> None:
    """Write the numbers of the points of E8 that are nearest to blocks that share a codebook.

    Parameters
    ----------
    docs : float32 (n, d)
    mean, deviation : float64 (d,)
    first_bits, dims : int64 (blocks,)
        Where each block's number and its dimensions begin. Dimensions that a last block lacks are 0.
    bits : int
    search : Search
    packed : uint8 (n, nbytes)
        Zeros where the numbers go.
    """
    weights, parity, values, symbols, counts, starts, sign_bits, orders_of = search
    d, kinds = docs.shape[1], counts.shape[1]
    scores, sizes, absolute = np.empty(len(starts)), np.empty(EIGHT + 1), np.empty(EIGHT)
    negative, position, left = np.empty(EIGHT, np.int64), np.empty(EIGHT, np.int64), np.empty(kinds, np.uint64)
    for row in range(len(docs)):
        for block in range(len(dims)):
            dim = dims[block]
            odd = np.int64(0)
            for place in range(EIGHT):
                value = 0.0
                if dim + place < d:
                    value = (np.float64(docs[row, dim + place]) - mean[dim + place]) / deviation[dim + place]
                value = np.rint(min(max(value, -CLIP), CLIP) * GRID) / GRID
                negative[place] = np.int64(value < 0)
                odd ^= negative[place]
                absolute[place] = abs(value)
            for place in range(EIGHT):
                before = np.int64(0)
                for other in range(EIGHT):
                    before += np.int64(absolute[other] > absolute[place])
                for other in range(place):
                    before += np.int64(absolute[other] == absolute[place])
                position[place] = before
                sizes[before] = absolute[place]
            sizes[EIGHT] = -sizes[EIGHT - 1] if odd else sizes[EIGHT - 1]
            best = _best_class(sizes, weights, scores)
            # where the product of the signs is another than the class's, the smallest coordinate has the other sign
            wrong = np.int64(parity[best] == 1 - odd)
            for symbol in range(kinds):
                left[symbol] = counts[best, symbol]
            orders, rank = orders_of[best], np.uint64(0)
            signs, bit = np.int64(0), np.int64(0)
            for place in range(EIGHT):
                at = position[place]
                symbol, shift, inverse = symbols[best, at], SHIFTS[EIGHT - place], INVERSES[EIGHT - place]
                below = np.uint64(0)
                for lower in range(symbol):
                    below += left[lower]
                rank += ((orders * below) >> shift) * inverse
                orders = ((orders * left[symbol]) >> shift) * inverse
                left[symbol] -= np.uint64(1)
                if values[best, at] > 0:
                    signs |= (negative[place] ^ (wrong & np.int64(at == EIGHT - 1))) << bit
                    bit += 1
            # the last sign of those whose product is given follows from the others
            signs &= (1 << sign_bits[best]) - 1
            number = starts[best] + (np.int64(rank) << sign_bits[best]) + signs
            first = first_bits[block]
            number <<= first & 7
            for byte in range(first >> 3, (first + bits + 7) >> 3):
                packed[row, byte] |= np.uint8(number & 255)
                number >>= 8
