"""Compiled readers and writers of documents' byte strings: ids of terms, and a symbol of `bits` bits for each weight.

A string is one stream of bits, each value's lowest bit first, filled up to whole bytes: the ids in a code of their own,
then the symbols. Writers get rows as (indptr int64, terms int64 ascending, symbols int64) and return (values uint8,
lengths int64); readers get (values, starts int64 (n + 1,)) and return (indptr, terms, symbols). A document without
terms is an empty string.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]
Rows = tuple[Array, Array, Array]
Strings = tuple[Array, Array]

ID_BITS = 40
"""No code here takes more bits for an id, its share of the count included."""


@compiled
def put(out: Array, at: int, value: int, bits: int) -> int:
    """Write a number of `bits` bits at a bit position of zeros; return the position after it."""
    while bits > 0:
        offset = at & 7
        room = min(8 - offset, bits)
        out[at >> 3] |= np.uint8((value & ((1 << room) - 1)) << offset)
        value >>= room
        at += room
        bits -= room
    return at


@compiled
def get(values: Array, at: int, bits: int) -> int:
    """Return the number of `bits` bits at a bit position."""
    value, done = 0, 0
    while done < bits:
        offset = at & 7
        room = min(8 - offset, bits - done)
        value |= ((np.int64(values[at >> 3]) >> offset) & ((1 << room) - 1)) << done
        at += room
        done += room
    return value


@compiled
def put_vbyte(out: Array, at: int, value: int) -> int:
    """Write a number in bytes of 7 bits, the highest bit set where more follow; return the position after it."""
    while value > 127:
        at = put(out, at, (value & 127) | 128, 8)
        value >>= 7
    return put(out, at, value, 8)


@compiled
def get_vbyte(values: Array, at: int) -> tuple[int, int]:
    """Return (the number, the position after it)."""
    value, shift = 0, 0
    while True:
        octet = get(values, at, 8)
        at += 8
        value |= (octet & 127) << shift
        shift += 7
        if octet < 128:
            return value, at


@compiled
def put_unary(out: Array, at: int, value: int) -> int:
    """Write so many ones and a zero; return the position after them."""
    for _ in range(value):
        at = put(out, at, 1, 1)
    return at + 1


@compiled
def get_unary(values: Array, at: int) -> tuple[int, int]:
    """Return (the number, the position after it)."""
    value = 0
    while (values[at >> 3] >> (at & 7)) & 1:
        value += 1
        at += 1
    return value, at + 1


@compiled
def longer(array: Array, needed: int) -> Array:
    """Return an array that holds `needed` entries, with those it has."""
    if needed <= len(array):
        return array
    grown = np.empty(max(needed, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown


@compiled
def write_fixed(indptr: Array, terms: Array, symbols: Array, bits: int, id_bits: int) -> Strings:
    """Ids of `id_bits` bits each; with the symbols' bits at least 8, so that a string's length tells the count."""
    n = len(indptr) - 1
    lengths = (np.diff(indptr) * (id_bits + bits) + 7) >> 3
    values = np.zeros(lengths.sum(), np.uint8)
    start = 0
    for row in range(n):
        at = start * 8
        for place in range(indptr[row], indptr[row + 1]):
            at = put(values, at, terms[place], id_bits)
        for place in range(indptr[row], indptr[row + 1]):
            at = put(values, at, symbols[place], bits)
        start += lengths[row]
    return values, lengths


@compiled
def read_fixed(values: Array, starts: Array, bits: int, id_bits: int) -> Rows:
    """Read what `write_fixed` wrote."""
    n = len(starts) - 1
    indptr = np.zeros(n + 1, np.int64)
    for row in range(n):
        indptr[row + 1] = indptr[row] + (starts[row + 1] - starts[row]) * 8 // (id_bits + bits)
    terms, symbols = np.empty(indptr[n], np.int64), np.empty(indptr[n], np.int64)
    for row in range(n):
        at = starts[row] * 8
        for place in range(indptr[row], indptr[row + 1]):
            terms[place] = get(values, at, id_bits)
            at += id_bits
        for place in range(indptr[row], indptr[row + 1]):
            symbols[place] = get(values, at, bits)
            at += bits
    return indptr, terms, symbols
