"""Compiled reading of lattice points, and writing of E8's: see `methods.transform_coding.lattices`.

The references are `_Codebook.points` and `nearest` in `methods.transform_coding.lattice_coded`, on `Classes.vectors`
and `Classes.number`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled, loose

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
    table : float32 (2**bits, d)
        All points of a small codebook; empty for others.
    guide : int64 (2**bits >> guide_shift,)
        The class of the first number of each run of 2**guide_shift.
    guide_shift : int
    patterns : int8 (P, d)
        Absolute values of each class's points, in the order of their numbers without signs; empty where these are too
        many, and in families whose words have zeros and ones.
    first_pattern : int64 (K,)
        Where each class's begin.
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
    table: Array
    guide: Array
    guide_shift: int
    patterns: Array
    first_pattern: Array


DIVISORS = 32
"""Above the dimensions of any block."""

SHIFTS = np.array([0, *((r & -r).bit_length() - 1 for r in range(1, DIVISORS))], dtype=np.uint64)

INVERSES = np.array([0, *(pow(r // (r & -r), -1, 1 << 64) for r in range(1, DIVISORS))], dtype=np.uint64)
"""Of the odd parts of divisors, modulo 2**64: what is known to divide evenly is divided by a shift and a product."""


@compiled
def _unrank(
    rank: Any,
    counts: Array,
    member: int,
    left: Array,
    values: Array,
    kind: int,
    orders: Any,
    symbols: Array,
    first: int,
    last: int,
) -> None:
    """Fill values of the order of a class's multiset that has a rank, lexicographically; `left` is room for counts.

    Of the orders of what is left, those that begin with a symbol are the share that it has of the places: exactly.
    """
    for symbol in range(len(left)):
        left[symbol] = counts[member, symbol]
    for place in range(first, last):
        shift, inverse = SHIFTS[last - place], INVERSES[last - place]
        symbol = 0
        share = ((orders * left[symbol]) >> shift) * inverse
        while rank >= share:
            rank -= share
            symbol += 1
            share = ((orders * left[symbol]) >> shift) * inverse
        orders = share
        left[symbol] -= np.uint64(1)
        symbols[place] = values[kind, symbol]


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
    first_bits, dims : int64 (blocks,)
        Where each block's number and its dimensions begin.
    bits : int
    book : Book
    deviation, mean : float32 (d,)
    decoded : float32 (n, d)
        Points are written here. A last block that is wider than what is left of the dimensions ends with them.
    """
    size, starts, family, parity, sign_bits, on_orders, off_orders, scales = book[:8]
    on, off, on_values, off_values, weights, first_word, signed_by_word, words, table = book[8:17]
    guide, guide_shift, patterns, first_pattern = book[17:]
    width, d = words.shape[1], decoded.shape[1]
    ordered, point = np.zeros(width, np.int64), np.zeros(width, np.float32)
    on_left, off_left = np.zeros(on.shape[1], np.uint64), np.zeros(off.shape[1], np.uint64)
    for row in range(len(packed)):
        for block in range(len(dims)):
            # lowest bit first; what lies in a byte before the number falls out in the end
            first, dim = first_bits[block], dims[block]
            number, done, at = np.int64(packed[row, first >> 3]) >> (first & 7), 8 - (first & 7), (first >> 3) + 1
            while done < bits:
                number |= np.int64(packed[row, at]) << done
                done += 8
                at += 1
            number &= (1 << bits) - 1
            if len(table):
                for place in range(min(width, d - dim)):
                    decoded[row, dim + place] = table[number, place] * deviation[dim + place] + mean[dim + place]
                continue
            number = min(number, size - 1)
            member = guide[number >> guide_shift]
            while member + 1 < len(starts) and number >= starts[member + 1]:
                member += 1
            number -= starts[member]
            kind = family[member]
            weight, scale = weights[kind], scales[member]
            signs = number & ((1 << sign_bits[member]) - 1)
            if len(patterns):
                if weight:
                    # the last sign follows from the others
                    odd = signs ^ (signs >> 4)
                    odd ^= odd >> 2
                    odd ^= odd >> 1
                    signs |= ((parity[member] + odd) & 1) << (width - 1)
                slot = first_pattern[member] + (number >> sign_bits[member])
                for place in range(width):
                    value = np.int64(patterns[slot, place])
                    signed = np.int64(value > 0)
                    point[place] = np.float32((value - 2 * value * (signs & signed)) * scale)
                    signs >>= signed
                for place in range(min(width, d - dim)):
                    decoded[row, dim + place] = point[place] * deviation[dim + place] + mean[dim + place]
                continue
            rest = np.uint64(number >> sign_bits[member])
            if weight < width:
                orders = np.uint64(off_orders[member])
                above = rest // orders
                _unrank(rest - above * orders, off, member, off_left, off_values, kind, orders, ordered, weight, width)
                rest = above
            if weight:
                orders = np.uint64(on_orders[member])
                above = rest // orders
                _unrank(rest - above * orders, on, member, on_left, on_values, kind, orders, ordered, 0, weight)
                rest = above
            word = first_word[kind] + np.int64(rest)
            # without branches, which no processor foresees: what is turned, or stands off the support, is chance
            if signed_by_word[kind]:
                for place in range(width):
                    # 1 mod 4 without the word's bit, 3 mod 4 with it
                    turned = ((ordered[place] >> 1) + np.int64(words[word, place])) & 1
                    point[place] = np.float32((ordered[place] - 2 * turned * ordered[place]) * scale)
            else:
                odd = parity[member]
                for place in range(width):
                    free = np.int64(ordered[place] > 0)
                    negative = signs & free
                    if place + 1 == weight:
                        # the last sign on the support follows from the others
                        negative, free = odd & 1, np.int64(0)
                    signs >>= free
                    odd += negative
                    ordered[place] -= 2 * negative * ordered[place]
                on_place, off_place = np.int64(0), np.int64(weight)
                for place in range(width):
                    here = np.int64(words[word, place])
                    point[place] = np.float32(ordered[off_place + here * (on_place - off_place)] * scale)
                    on_place += here
                    off_place += 1 - here
            for place in range(min(width, d - dim)):
                decoded[row, dim + place] = point[place] * deviation[dim + place] + mean[dim + place]


EIGHT = 8

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
