"""Memory-mapped arrays that are larger than memory: read in blocks, and given back after each."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.base import row_blocks

Array = NDArray[Any]

TAKEN = 2048
"""Rows that `take` reads from a file at a time."""


def blocks(vectors: Array, rows: int | None = None) -> Iterator[tuple[int, Array]]:
    """Yield (first row, block) over vectors (n, d), in blocks of `rows` or of a few megabytes; of float16, as float32.

    Of a memory-mapped matrix no more than a block is resident: its pages are given back when the next one is asked for,
    so that a block must not be kept.
    """
    dtype = as_computed(vectors.dtype)
    width = dtype.itemsize * int(np.prod(vectors.shape[1:]))
    runs = row_blocks(len(vectors), width) if rows is None else _runs(len(vectors), rows)
    for start, stop in runs:
        yield start, np.ascontiguousarray(vectors[start:stop], dtype=dtype)
        release(vectors)


def as_computed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that vectors of a type are computed with: float32 for float16, which is only stored."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def take_vectors(vectors: Array, rows: NDArray[np.int64]) -> Array:
    """Return some vectors as `take` does; of float16, as float32."""
    taken = take(vectors, rows)
    return taken.astype(as_computed(vectors.dtype), copy=False)


def take(vectors: Array, rows: NDArray[np.int64]) -> Array:
    """Return some rows of a matrix as a copy in memory, of its own type.

    Every row that is touched in a memory-mapped file brings its neighbours along, 64 kB of them on Linux: rows spread
    over a file would make all of it resident, and so they are taken a few thousand at a time.
    """
    taken = np.empty((len(rows), *vectors.shape[1:]), dtype=vectors.dtype)
    step = TAKEN if mapping_of(vectors) is not None else max(1, len(rows))
    for start in range(0, len(rows), step):
        taken[start : start + step] = vectors[rows[start : start + step]]
        release(vectors)
    return taken


def _runs(n: int, rows: int) -> Iterable[tuple[int, int]]:
    return ((start, min(n, start + rows)) for start in range(0, n, rows))


def release(*arrays: Array) -> None:
    """Give back the resident pages of memory-mapped arrays; they are read from disk again when they are needed.

    Does nothing to arrays in memory, and on systems without `madvise`.
    """
    for array in arrays:
        mapping = mapping_of(array)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)


def mapping_of(array: Array) -> mmap.mmap | None:
    """Return the mapping that an array is a view of, or None if it is in memory."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None
