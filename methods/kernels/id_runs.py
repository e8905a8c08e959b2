"""Numbers of so many bits in byte strings, one string for each run of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def string_lengths(counts: Array, bits: int) -> NDArray[np.int64]:
    """Return the bytes of each run, int64."""
    lengths: NDArray[np.int64] = (counts.astype(np.int64) * bits + 7) // 8
    return lengths


def pack_runs(numbers: Array, counts: Array, bits: int) -> NDArray[np.uint8]:
    """Return runs of numbers in [0, 2**bits), one after another, as byte strings, the lowest bit of each number first.

    Whole bytes (bits 32 or 64) are those of a little-endian integer.
    """
    if bits in (32, 64):
        return numbers.astype(f"<i{bits // 8}").view(np.uint8)
    lengths = string_lengths(counts, bits)
    stream = np.zeros(8 * int(lengths.sum()), np.uint8)
    places = _bit_places(counts, lengths, bits)
    for bit in range(bits):
        stream[places + bit] = numbers >> bit & 1
    return np.packbits(stream, bitorder="little")


def unpack_runs(strings: NDArray[np.uint8], counts: Array, bits: int) -> NDArray[np.int64]:
    """Return the numbers, int64, that `pack_runs` packed."""
    if bits in (32, 64):
        return np.ascontiguousarray(strings).view(f"<i{bits // 8}").astype(np.int64)
    places = _bit_places(counts, string_lengths(counts, bits), bits)
    octets = np.concatenate([strings, np.zeros(8, np.uint8)])
    words = np.zeros(len(places), np.int64)
    for number in range(-(-bits // 8) + 1):
        words |= octets[(places >> 3) + number].astype(np.int64) << 8 * number
    return words >> (places & 7) & (1 << bits) - 1


def _bit_places(counts: Array, lengths: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return the bit of all strings at which each number begins, int64."""
    firsts = np.cumsum(counts, dtype=np.int64) - counts
    starts = 8 * (np.cumsum(lengths) - lengths)
    return np.repeat(starts - bits * firsts, counts) + bits * np.arange(int(counts.sum()))
