"""Numbers as the bucket that they fall into, packed as `methods.kernels.packing` does it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]


@compiled
def pack_buckets(vectors: Array, cutoffs: Array, bits: int, packed: Array) -> None:
    """Fill `packed` uint8 (n, ceil(d bits / 8)) with how many cutoffs are below each number, for bits 1, 2, 4 or 8."""
    packed[:] = 0
    for row in range(len(vectors)):
        for column in range(vectors.shape[1]):
            value = vectors[row, column]
            below, above = 0, len(cutoffs)
            while below < above:
                middle = (below + above) // 2
                if cutoffs[middle] < value:
                    below = middle + 1
                else:
                    above = middle
            place = column * bits
            packed[row, place >> 3] |= np.uint8(below << (place & 7))


@compiled
def unpack_buckets(packed: Array, weights: Array, bits: int, vectors: Array) -> None:
    """Fill `vectors` float32 (n, d) with the weight of each number's bucket."""
    each, mask = 8 // bits, (1 << bits) - 1
    d = vectors.shape[1]
    for row in range(len(vectors)):
        for place in range(packed.shape[1]):
            octet = np.int64(packed[row, place])
            for column in range(place * each, min(d, (place + 1) * each)):
                vectors[row, column] = weights[octet & mask]
                octet >>= bits


@compiled
def add_rows(vectors: Array, rows: Array, which: Array) -> None:
    """Add to each vector (n, d) the row (k, d) that `which`, integers (n,), names."""
    for place in range(len(vectors)):
        for column in range(vectors.shape[1]):
            vectors[place, column] += rows[which[place], column]


@compiled
def sum_by_row(vectors: Array, which: Array, sums: Array, counts: Array) -> None:
    """Add vectors (n, d) to the row of `sums` float64 (k, d) that `which` names, in order, and count them."""
    for place in range(len(vectors)):
        counts[which[place]] += 1
        for column in range(vectors.shape[1]):
            sums[which[place], column] += vectors[place, column]


@compiled
def normalise_rows(vectors: Array) -> None:
    """Scale vectors float32 (n, d) to unit length, in place; a zero vector stays zero."""
    for row in range(len(vectors)):
        total = 0.0
        for column in range(vectors.shape[1]):
            total += np.float64(vectors[row, column]) * np.float64(vectors[row, column])
        if total > 0:
            scale = 1 / np.sqrt(total)
            for column in range(vectors.shape[1]):
                vectors[row, column] = np.float32(vectors[row, column] * scale)
