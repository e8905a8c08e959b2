"""Compiled reading of lattice points: see `methods.transform_coding.lattices`.

The reference is `_Codebook.points` in `methods.transform_coding.lattice_coded`, on `Classes.vectors`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

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
    ordered, negative, point = np.zeros(width, np.int64), np.zeros(width, np.int64), np.zeros(width, np.float32)
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
            if signed_by_word[kind]:
                for place in range(width):
                    # 1 mod 4 without the word's bit, 3 mod 4 with it
                    turned = (ordered[place] // 2 + words[word, place]) & 1
                    value = -ordered[place] if turned else ordered[place]
                    point[place] = np.float32(value * scale)
            else:
                odd = parity[member]
                for place in range(width):
                    negative[place] = 0
                    if weight and place == weight - 1:
                        # the last sign on the support follows from the others
                        negative[place] = odd & 1
                    elif ordered[place] > 0:
                        negative[place] = signs & 1
                        signs >>= 1
                        if place < weight:
                            odd += negative[place]
                on_place, off_place = 0, weight
                for place in range(width):
                    if weight == 0 or weight == width:
                        source = place
                    elif words[word, place]:
                        source = on_place
                        on_place += 1
                    else:
                        source = off_place
                        off_place += 1
                    value = -ordered[source] if negative[source] else ordered[source]
                    point[place] = np.float32(value * scale)
            for place in range(min(width, d - dim)):
                decoded[row, dim + place] = point[place] * deviation[dim + place] + mean[dim + place]
