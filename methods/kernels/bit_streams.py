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

from methods.compiling import guarded

Array = NDArray[Any]
Rows = tuple[Array, Array, Array]
Strings = tuple[Array, Array]

ID_BITS = 40
"""No code here takes more bits for an id, its share of the count included."""


@guarded
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


@guarded
def get(values: Array, at: int, bits: int) -> Any:
    """Return the number of `bits` bits at a bit position."""
    value: Any = 0
    done = 0
    while done < bits:
        offset = at & 7
        room = min(8 - offset, bits - done)
        value |= ((np.int64(values[at >> 3]) >> offset) & ((1 << room) - 1)) << done
        at += room
        done += room
    return value


@guarded
def put_vbyte(out: Array, at: int, value: int) -> int:
    """Write a number in bytes of 7 bits, the highest bit set where more follow; return the position after it."""
    while value > 127:
        at = put(out, at, (value & 127) | 128, 8)
        value >>= 7
    return put(out, at, value, 8)


@guarded
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


@guarded
def get_count(values: Array, at: int, width: int) -> tuple[int, int]:
    """Return (the count of a string's ids, the position after it)."""
    count, at = get_vbyte(values, at)
    if not 0 < count <= width:
        raise ValueError("a string of more ids than there are")
    return count, at


@guarded
def put_unary(out: Array, at: int, value: int) -> int:
    """Write so many ones and a zero; return the position after them."""
    for _ in range(value):
        at = put(out, at, 1, 1)
    return at + 1


@guarded
def get_unary(values: Array, at: int) -> tuple[int, int]:
    """Return (the number, the position after it)."""
    value = 0
    while (values[at >> 3] >> (at & 7)) & 1:
        value += 1
        at += 1
    return value, at + 1


@guarded
def width_of(value: int) -> int:
    """Return the bits of a number, 0 for 0."""
    bits = 0
    while value >> bits:
        bits += 1
    return bits


@guarded
def longer(array: Array, needed: int) -> Array:
    """Return an array that holds `needed` entries, with those it has."""
    if needed <= len(array):
        return array
    grown = np.empty(max(needed, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown


@guarded
def write_fixed(indptr: Array, terms: Array, symbols: Array, bits: int, id_bits: int) -> Strings:
    """Write ids of `id_bits` bits each, with the symbols' at least 8: a string's length then tells the count."""
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


@guarded
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


@guarded
def write_vbyte(indptr: Array, terms: Array, symbols: Array, bits: int) -> Strings:
    """Write the first id, then gaps less 1, in bytes of 7 bits; a string's length tells the count."""
    n = len(indptr) - 1
    lengths = np.zeros(n, np.int64)
    values = np.zeros((len(terms) * (ID_BITS + bits) >> 3) + n + 8, np.uint8)
    at = 0
    for row in range(n):
        start, after = at, 0
        for place in range(indptr[row], indptr[row + 1]):
            at = put_vbyte(values, at, terms[place] - after)
            after = terms[place] + 1
        for place in range(indptr[row], indptr[row + 1]):
            at = put(values, at, symbols[place], bits)
        at = (at + 7) & ~7
        lengths[row] = (at - start) >> 3
    return values[: at >> 3].copy(), lengths


@guarded
def read_vbyte(values: Array, starts: Array, bits: int) -> Rows:
    """Read what `write_vbyte` wrote."""
    n = len(starts) - 1
    indptr = np.zeros(n + 1, np.int64)
    terms, symbols = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    held = 0
    for row in range(n):
        at, end, after, first = starts[row] * 8, starts[row + 1] * 8, 0, held
        while ((at + (held - first) * bits + 7) & ~7) < end:
            gap, at = get_vbyte(values, at)
            terms[held] = after + gap
            after += gap + 1
            held += 1
        for place in range(first, held):
            symbols[place] = get(values, at, bits)
            at += bits
        indptr[row + 1] = held
    return indptr, terms[:held].copy(), symbols[:held].copy()


@guarded
def low_bits(width: int, count: int) -> int:
    """Return Elias and Fano's number of low bits, floor(log2(V / count)), at least 0."""
    low = 0
    while width >> (low + 1) >= count:
        low += 1
    return low


@guarded
def write_elias_fano(indptr: Array, terms: Array, symbols: Array, bits: int, width: int) -> Strings:
    """Write the count, the ids' low bits, and the gaps between their high parts as ones ended by a zero."""
    n = len(indptr) - 1
    lengths = np.zeros(n, np.int64)
    values = np.zeros((len(terms) * (ID_BITS + bits) >> 3) + n + 8, np.uint8)
    at = 0
    for row in range(n):
        start, count = at, indptr[row + 1] - indptr[row]
        if count == 0:
            continue
        at = put_vbyte(values, at, count)
        low = low_bits(width, count)
        for place in range(indptr[row], indptr[row + 1]):
            at = put(values, at, terms[place] & ((1 << low) - 1), low)
        before = 0
        for place in range(indptr[row], indptr[row + 1]):
            at = put_unary(values, at, (terms[place] >> low) - before)
            before = terms[place] >> low
        for place in range(indptr[row], indptr[row + 1]):
            at = put(values, at, symbols[place], bits)
        at = (at + 7) & ~7
        lengths[row] = (at - start) >> 3
    return values[: at >> 3].copy(), lengths


@guarded
def read_elias_fano(values: Array, starts: Array, bits: int, width: int) -> Rows:
    """Read what `write_elias_fano` wrote."""
    n = len(starts) - 1
    indptr = np.zeros(n + 1, np.int64)
    terms, symbols = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    held = 0
    for row in range(n):
        if starts[row + 1] > starts[row]:
            count, at = get_count(values, starts[row] * 8, width)
            terms, symbols = longer(terms, held + count), longer(symbols, held + count)
            low = low_bits(width, count)
            for place in range(held, held + count):
                terms[place] = get(values, at, low)
                at += low
            high = 0
            for place in range(held, held + count):
                gap, at = get_unary(values, at)
                high += gap
                terms[place] |= high << low
            for place in range(held, held + count):
                symbols[place] = get(values, at, bits)
                at += bits
            held += count
        indptr[row + 1] = held
    return indptr, terms[:held].copy(), symbols[:held].copy()


@guarded
def write_rice(indptr: Array, terms: Array, symbols: Array, bits: int) -> Strings:
    """Write the count, the string's best parameter in 5 bits, and each gap less 1: quotient in ones, rest in bits."""
    n = len(indptr) - 1
    lengths = np.zeros(n, np.int64)
    values = np.zeros((len(terms) * (ID_BITS + bits) >> 3) + 2 * n + 8, np.uint8)
    at = 0
    for row in range(n):
        start, count = at, indptr[row + 1] - indptr[row]
        if count == 0:
            continue
        at = put_vbyte(values, at, count)
        best, least = 0, np.int64(1) << 62
        for parameter in range(32):
            size, after = np.int64(0), 0
            for place in range(indptr[row], indptr[row + 1]):
                size += ((terms[place] - after) >> parameter) + 1 + parameter
                after = terms[place] + 1
            if size < least:
                best, least = parameter, size
        at = put(values, at, best, 5)
        after = 0
        for place in range(indptr[row], indptr[row + 1]):
            gap = terms[place] - after
            at = put_unary(values, at, gap >> best)
            at = put(values, at, gap & ((1 << best) - 1), best)
            after = terms[place] + 1
        for place in range(indptr[row], indptr[row + 1]):
            at = put(values, at, symbols[place], bits)
        at = (at + 7) & ~7
        lengths[row] = (at - start) >> 3
    return values[: at >> 3].copy(), lengths


@guarded
def read_rice(values: Array, starts: Array, bits: int, width: int) -> Rows:
    """Read what `write_rice` wrote."""
    n = len(starts) - 1
    indptr = np.zeros(n + 1, np.int64)
    terms, symbols = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    held = 0
    for row in range(n):
        if starts[row + 1] > starts[row]:
            count, at = get_count(values, starts[row] * 8, width)
            terms, symbols = longer(terms, held + count), longer(symbols, held + count)
            parameter = get(values, at, 5)
            at += 5
            after = 0
            for place in range(held, held + count):
                quotient, at = get_unary(values, at)
                terms[place] = after + ((quotient << parameter) | get(values, at, parameter))
                at += parameter
                after = terms[place] + 1
            for place in range(held, held + count):
                symbols[place] = get(values, at, bits)
                at += bits
            held += count
        indptr[row + 1] = held
    return indptr, terms[:held].copy(), symbols[:held].copy()


@guarded
def write_delta(indptr: Array, terms: Array, symbols: Array, bits: int) -> Strings:
    """Write the count and each gap by Elias's delta code: the length of its length in ones, its length, its bits."""
    n = len(indptr) - 1
    lengths = np.zeros(n, np.int64)
    values = np.zeros((len(terms) * (ID_BITS + bits) >> 3) + 2 * n + 8, np.uint8)
    at = 0
    for row in range(n):
        start, count, after = at, indptr[row + 1] - indptr[row], 0
        if count == 0:
            continue
        at = put_vbyte(values, at, count)
        for place in range(indptr[row], indptr[row + 1]):
            gap = terms[place] - after + 1
            # the highest bit of both numbers is known
            length = width_of(gap)
            size = width_of(length)
            at = put_unary(values, at, size - 1)
            at = put(values, at, length & ((1 << (size - 1)) - 1), size - 1)
            at = put(values, at, gap & ((1 << (length - 1)) - 1), length - 1)
            after = terms[place] + 1
        for place in range(indptr[row], indptr[row + 1]):
            at = put(values, at, symbols[place], bits)
        at = (at + 7) & ~7
        lengths[row] = (at - start) >> 3
    return values[: at >> 3].copy(), lengths


@guarded
def read_delta(values: Array, starts: Array, bits: int, width: int) -> Rows:
    """Read what `write_delta` wrote."""
    n = len(starts) - 1
    indptr = np.zeros(n + 1, np.int64)
    terms, symbols = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    held = 0
    for row in range(n):
        if starts[row + 1] > starts[row]:
            count, at = get_count(values, starts[row] * 8, width)
            terms, symbols = longer(terms, held + count), longer(symbols, held + count)
            after = 0
            for place in range(held, held + count):
                size, at = get_unary(values, at)
                if size > 5:
                    raise ValueError("a gap of more than 63 bits")
                length = (1 << size) | get(values, at, size)
                at += size
                terms[place] = after + ((1 << (length - 1)) | get(values, at, length - 1)) - 1
                at += length - 1
                after = terms[place] + 1
            for place in range(held, held + count):
                symbols[place] = get(values, at, bits)
                at += bits
            held += count
        indptr[row + 1] = held
    return indptr, terms[:held].copy(), symbols[:held].copy()


@guarded
def write_dot_vbyte(indptr: Array, terms: Array, symbols: Array) -> Strings:
    """Write DotVByte's words of 8 bytes: groups of 8 ids, the rest of them as its tail, symbols of 8 bits."""
    n = len(indptr) - 1
    lengths = np.zeros(n, np.int64)
    values = np.zeros(len(terms) * 4 + 16 * n + 8, np.uint8)
    at = 0
    for row in range(n):
        first, count = indptr[row], indptr[row + 1] - indptr[row]
        if count == 0:
            continue
        start, groups = at, count >> 3
        tail = first + 8 * groups
        at = put(values, at, count, 16)
        for place in range(tail, indptr[row + 1]):
            at = put(values, at, terms[place] - (terms[place - 1] if place > first else 0), 16)
        for place in range(tail, indptr[row + 1]):
            at = put(values, at, symbols[place], 8)
        control = at
        at += 8 * groups
        for place in range(first, tail):
            gap = terms[place] - (terms[place - 1] if place > first else 0)
            wide = gap > 255
            if wide:
                put(values, control + 8 * ((place - first) >> 3), 128 >> ((place - first) & 7), 8)
            at = put(values, at, gap, 16 if wide else 8)
        at = start + ((at - start + 63) & ~63)
        for place in range(first, tail):
            at = put(values, at, symbols[place], 8)
        lengths[row] = (at - start) >> 3
    return values[: at >> 3].copy(), lengths


@guarded
def read_dot_vbyte(values: Array, starts: Array) -> Rows:
    """Read what `write_dot_vbyte` wrote."""
    n = len(starts) - 1
    indptr = np.zeros(n + 1, np.int64)
    for row in range(n):
        count = get(values, starts[row] * 8, 16) if starts[row + 1] > starts[row] else 0
        indptr[row + 1] = indptr[row] + count
    terms, symbols = np.empty(indptr[n], np.int64), np.empty(indptr[n], np.int64)
    for row in range(n):
        first, count = indptr[row], indptr[row + 1] - indptr[row]
        groups = count >> 3
        tail = first + 8 * groups
        tail_ids = starts[row] * 8 + 16
        tail_symbols = tail_ids + 16 * (indptr[row + 1] - tail)
        control = tail_symbols + 8 * (indptr[row + 1] - tail)
        at, before = control + 8 * groups, 0
        for place in range(first, tail):
            octet = get(values, control + 8 * ((place - first) >> 3), 8)
            size = 16 if octet & (128 >> ((place - first) & 7)) else 8
            before += get(values, at, size)
            at += size
            terms[place] = before
        at = starts[row + 1] * 8 - 64 * groups
        for place in range(first, tail):
            symbols[place] = get(values, at + 8 * (place - first), 8)
        for place in range(tail, indptr[row + 1]):
            before += get(values, tail_ids + 16 * (place - tail), 16)
            terms[place] = before
            symbols[place] = get(values, tail_symbols + 8 * (place - tail), 8)
    return indptr, terms, symbols


@guarded
def write_blocks(
    indptr: Array, terms: Array, symbols: Array, bits: int, block: int, spare: int, pairs: bool, packed: bool
) -> Strings:
    """Write the count; whole blocks, gaps less 1 in the widest one's bits; and the rest, in `pairs` or as VByte does.

    A block begins with `spare` bytes of 0, a byte for the gaps' bits, and one for the symbols' if these are `packed`
    in the widest one's bits too. A pair is 4 bytes of an id and a symbol filled up to 4 bytes.
    """
    n = len(indptr) - 1
    lengths = np.zeros(n, np.int64)
    values = np.zeros(len(terms) * 12 + (spare + 3) * (len(terms) // block) + 12 * n + 8, np.uint8)
    at = 0
    for row in range(n):
        start, count = at, indptr[row + 1] - indptr[row]
        if count == 0:
            continue
        at = put_vbyte(values, at, count)
        after, first = 0, indptr[row]
        while indptr[row + 1] - first >= block:
            gap_bits, symbol_bits, before = 0, bits, after
            for place in range(first, first + block):
                gap_bits = max(gap_bits, width_of(terms[place] - before))
                before = terms[place] + 1
            at = put(values, at + 8 * spare, gap_bits, 8)
            if packed:
                symbol_bits = width_of(symbols[first : first + block].max())
                at = put(values, at, symbol_bits, 8)
            for place in range(first, first + block):
                at = put(values, at, terms[place] - after, gap_bits)
                after = terms[place] + 1
            at = (at + 7) & ~7
            for place in range(first, first + block):
                at = put(values, at, symbols[place], symbol_bits)
            at = (at + 7) & ~7
            first += block
        for place in range(first, indptr[row + 1]):
            if pairs:
                at = put(values, at, terms[place], 32)
                at = put(values, at, symbols[place], 32)
            else:
                at = put_vbyte(values, at, terms[place] - after)
                after = terms[place] + 1
                at = put_vbyte(values, at, symbols[place]) if packed else put(values, at, symbols[place], bits)
        at = (at + 7) & ~7
        lengths[row] = (at - start) >> 3
    return values[: at >> 3].copy(), lengths


@guarded
def read_blocks(
    values: Array, starts: Array, bits: int, width: int, block: int, spare: int, pairs: bool, packed: bool
) -> Rows:
    """Read what `write_blocks` wrote."""
    n = len(starts) - 1
    indptr = np.zeros(n + 1, np.int64)
    terms, symbols = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    held = 0
    for row in range(n):
        if starts[row + 1] > starts[row]:
            count, at = get_count(values, starts[row] * 8, width)
            terms, symbols = longer(terms, held + count), longer(symbols, held + count)
            after, first, end = 0, held, held + count
            while end - first >= block:
                gap_bits, symbol_bits = get(values, at + 8 * spare, 8), bits
                at += 8 * spare + 8
                if packed:
                    symbol_bits = get(values, at, 8)
                    at += 8
                for place in range(first, first + block):
                    terms[place] = after + get(values, at, gap_bits)
                    at += gap_bits
                    after = terms[place] + 1
                at = (at + 7) & ~7
                for place in range(first, first + block):
                    symbols[place] = get(values, at, symbol_bits)
                    at += symbol_bits
                at = (at + 7) & ~7
                first += block
            for place in range(first, end):
                if pairs:
                    terms[place], symbols[place] = get(values, at, 32), get(values, at + 32, 32)
                    at += 64
                else:
                    gap, at = get_vbyte(values, at)
                    terms[place] = after + gap
                    after = terms[place] + 1
                    if packed:
                        symbols[place], at = get_vbyte(values, at)
                    else:
                        symbols[place] = get(values, at, bits)
                        at += bits
            held = end
        indptr[row + 1] = held
    return indptr, terms[:held].copy(), symbols[:held].copy()
