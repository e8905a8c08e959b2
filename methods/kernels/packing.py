"""Packing small integers into bytes.

Eight values of b bits fill exactly b bytes: they are joined in one 64-bit little-endian word, value j at bits
[b*j, b*j + b), and the word's first b bytes are kept. A row's last group is cut to the bytes that its bits need, so a
row of `d` values takes `ceil(d * b / 8)` bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from methods.base import row_blocks

UInt8 = NDArray[np.uint8]


def packed_size(d: int, bits: int) -> int:
    """Return the bytes of `d` values of `bits` bits."""
    return (d * bits + 7) // 8


def pack(values: NDArray[np.integer], bits: int) -> UInt8:
    """Pack values in [0, 2**bits), shape (n, d), 1 <= bits <= 8, into uint8 (n, ceil(d * bits / 8))."""
    n, d = values.shape
    if bits == 8:
        return np.ascontiguousarray(values, dtype=np.uint8)
    groups = -(-d // 8)
    out = np.empty((n, packed_size(d, bits)), dtype=np.uint8)
    for start, stop in row_blocks(n, groups * 64):
        padded = np.zeros((stop - start, groups * 8), dtype=np.uint64)
        padded[:, :d] = values[start:stop]
        lanes = padded.reshape(stop - start, groups, 8)
        words = lanes[:, :, 0].copy()
        for lane in range(1, 8):
            words |= lanes[:, :, lane] << np.uint64(bits * lane)
        octets = words.astype("<u8", copy=False).view(np.uint8).reshape(stop - start, groups, 8)
        out[start:stop] = octets[:, :, :bits].reshape(stop - start, groups * bits)[:, : out.shape[1]]
    return out


def unpack(packed: UInt8, bits: int, d: int) -> UInt8:
    """Return the values, uint8 (n, d), that `pack` packed."""
    n = len(packed)
    if bits == 8:
        return packed[:, :d]
    groups = -(-d // 8)
    out = np.empty((n, groups * 8), dtype=np.uint8)
    mask = np.uint64((1 << bits) - 1)
    for start, stop in row_blocks(n, groups * 64):
        padded = np.zeros((stop - start, groups * bits), dtype=np.uint8)
        padded[:, : packed.shape[1]] = packed[start:stop]
        octets = np.zeros((stop - start, groups, 8), dtype=np.uint8)
        octets[:, :, :bits] = padded.reshape(stop - start, groups, bits)
        words = octets.view("<u8")[:, :, 0].astype(np.uint64, copy=False)
        lanes = out[start:stop].reshape(stop - start, groups, 8)
        for lane in range(8):
            lanes[:, :, lane] = (words >> np.uint64(bits * lane)) & mask
    return out[:, :d]


def pack_varied(values: NDArray[np.integer], bits: NDArray[np.integer]) -> UInt8:
    """Pack values, shape (n, d), value j in [0, 2**bits[j]), 0 <= bits <= 8, into uint8 (n, ceil(sum(bits) / 8)).

    One stream of bits a row, each value's lowest bit first.
    """
    column, bit = _bit_places(bits)
    out = np.empty((len(values), -(-len(column) // 8)), dtype=np.uint8)
    for start, stop in row_blocks(len(values), len(column)):
        stream = values[start:stop].astype(np.uint8)[:, column] >> bit & 1
        out[start:stop] = np.packbits(stream, axis=1, bitorder="little")
    return out


def unpack_varied(packed: UInt8, bits: NDArray[np.integer]) -> UInt8:
    """Return the values, uint8 (n, d), that `pack_varied` packed with the same bits."""
    column, bit = _bit_places(bits)
    out = np.zeros((len(packed), len(bits)), dtype=np.uint8)
    used = np.flatnonzero(bits)
    starts = np.searchsorted(column, used)
    for start, stop in row_blocks(len(packed), len(column)):
        stream = np.unpackbits(packed[start:stop], axis=1, count=len(column), bitorder="little")
        out[start:stop, used] = np.add.reduceat(stream << bit, starts, axis=1, dtype=np.uint8)
    return out


def _bit_places(bits: NDArray[np.integer]) -> tuple[NDArray[np.int64], UInt8]:
    """Return the column of the value that each bit of the stream belongs to, and the bit's position in that value."""
    column = np.repeat(np.arange(len(bits)), bits)
    starts = np.cumsum(bits) - bits
    return column, (np.arange(len(column)) - starts[column]).astype(np.uint8)
