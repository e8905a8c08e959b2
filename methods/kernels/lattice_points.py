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


@compiled
def _unrank(
    rank: int,
    counts: Array,
    member: int,
    left: Array,
    values: Array,
    kind: int,
    orders: int,
    symbols: Array,
    first: int,
    last: int,
) -> None:
    """Fill values of the order of a class's multiset that has a rank, lexicographically; `left` is room for counts."""
    for symbol in range(len(left)):
        left[symbol] = counts[member, symbol]
    for place in range(first, last):
        remaining = last - place
        below, symbol = 0, 0
        while rank >= orders * (below + left[symbol]) // remaining:
            below += left[symbol]
            symbol += 1
        rank -= orders * below // remaining
        orders = orders * left[symbol] // remaining
        left[symbol] -= 1
        symbols[place] = values[kind, symbol]


@compiled
def decode(packed: Array, first_bits: Array, bits: int, dims: Array, book: Book, white: Array) -> None:
    """Fill the points of blocks that share a codebook.

    Parameters
    ----------
    packed : uint8 (n, nbytes)
    first_bits, dims : int64 (blocks,)
        Where each block's number and its dimensions begin.
    bits : int
    book : Book
    white : float32 (n, at least the last dimension)
        Points are written here.
    """
    size, starts, family, parity, sign_bits, on_orders, off_orders, scales = book[:8]
    on, off, on_values, off_values, weights, first_word, signed_by_word, words, table = book[8:]
    width = words.shape[1]
    ordered, negative = np.zeros(width, np.int64), np.zeros(width, np.int64)
    on_left, off_left = np.zeros(on.shape[1], np.int64), np.zeros(off.shape[1], np.int64)
    for row in range(len(packed)):
        for block in range(len(dims)):
            # lowest bit first; what lies in a byte before the number falls out in the end
            first = first_bits[block]
            number, done, at = np.int64(packed[row, first >> 3]) >> (first & 7), 8 - (first & 7), (first >> 3) + 1
            while done < bits:
                number |= np.int64(packed[row, at]) << done
                done += 8
                at += 1
            number &= (1 << bits) - 1
            if len(table):
                for place in range(width):
                    white[row, dims[block] + place] = table[number, place]
                continue
            number = min(number, size - 1)
            member = np.searchsorted(starts, number, side="right") - 1
            number -= starts[member]
            kind = family[member]
            weight, scale = weights[kind], scales[member]
            signs = number & ((1 << sign_bits[member]) - 1)
            number >>= sign_bits[member]
            number, rank = number // off_orders[member], number % off_orders[member]
            if weight < width:
                _unrank(rank, off, member, off_left, off_values, kind, off_orders[member], ordered, weight, width)
            number, rank = number // on_orders[member], number % on_orders[member]
            if weight:
                _unrank(rank, on, member, on_left, on_values, kind, on_orders[member], ordered, 0, weight)
            word = first_word[kind] + number
            if signed_by_word[kind]:
                for place in range(width):
                    # 1 mod 4 without the word's bit, 3 mod 4 with it
                    turned = (ordered[place] // 2 + words[word, place]) & 1
                    value = -ordered[place] if turned else ordered[place]
                    white[row, dims[block] + place] = np.float32(value * scale)
                continue
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
                white[row, dims[block] + place] = np.float32(value * scale)
