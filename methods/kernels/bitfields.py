"""Integers of up to 16 bits: their parity, and packing as `methods.kernels.packing` does it for up to 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from methods.kernels.packing import UInt8, pack, packed_size, unpack


def index_bits(count: int) -> int:
    """Return the bits of a pointer to one of `count` things, at least 1."""
    return max(1, (count - 1).bit_length())


def parity(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return whether a number below 2^16 has an odd number of bits: 1 or 0."""
    for shift in (8, 4, 2, 1):
        values = values ^ (values >> shift)
    return values & 1


def pack_wide(values: NDArray[np.integer], bits: int) -> UInt8:
    """Pack values in [0, 2**bits), shape (n, d), 1 <= bits <= 16, into uint8 (n, ceil(d * bits / 8)).

    Above 8 bits the low bytes come first, then the high bits packed: no byte more than in one stream.
    """
    if bits <= 8:
        return pack(values, bits)
    return np.concatenate([pack(values & 255, 8), pack(values >> 8, bits - 8)], axis=1)


def unpack_wide(packed: UInt8, bits: int, d: int) -> NDArray[np.int64]:
    """Return the values, int64 (n, d), that `pack_wide` packed with the same bits."""
    if bits <= 8:
        return unpack(packed, bits, d).astype(np.int64)
    high = unpack(packed[:, d : d + packed_size(d, bits - 8)], bits - 8, d).astype(np.int64)
    return high << 8 | packed[:, :d]
