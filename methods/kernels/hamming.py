"""Search by Hamming distance over packed bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import Float32, row_blocks

UInt8 = NDArray[np.uint8]


def signs(packed: UInt8, width: int) -> Float32:
    """Return rows of `np.packbits` as +1 where a bit is set and -1 elsewhere, float32 (n, width)."""
    values: Float32 = np.unpackbits(packed, axis=1, count=width).astype(np.float32)
    values *= 2
    values -= 1
    return values


def search(queries: UInt8, docs: UInt8, width: int, k: int) -> tuple[Float32, NDArray[np.int64]]:
    """Return the k nearest documents of each query, by FAISS's binary index.

    Parameters
    ----------
    queries : uint8 (m, ceil(width / 8))
        From `np.packbits`, zeros behind the last bit.
    docs : uint8 (n, ceil(width / 8))
    width : int
        Bits of a row.
    k : int
        Length of each query's list, at most the number of documents.

    Returns
    -------
    scores : float32 (m, k)
        1 - 2 * Hamming distance / width, in descending order.
    rows : int64 (m, k)
        Among equal scores the lower row comes first.
    """
    import faiss

    index = faiss.IndexBinaryFlat(8 * docs.shape[1])
    index.add(np.ascontiguousarray(docs))

    def similarity(agreements_less_differences: NDArray[Any]) -> Float32:
        shares: Float32 = (agreements_less_differences.astype(np.float64) / width).astype(np.float32)
        return shares

    def kernel(wanted: int) -> tuple[Float32, NDArray[np.int64]]:
        distances, rows = index.search(queries, wanted)
        return similarity(width - 2 * distances), rows

    def exhaustive(which: NDArray[np.int64]) -> tuple[Float32, NDArray[np.int64]]:
        blocks = ((start, signs(docs[start:stop], width)) for start, stop in row_blocks(len(docs), 4 * width))
        scores, rows = topk.search(signs(queries[which], width), blocks, k)
        return similarity(scores), rows

    return topk.search_kernel(kernel, exhaustive, len(docs), k)
