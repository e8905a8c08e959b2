"""Arrays that are larger than memory: read in blocks and given back after each, or grown in a temporary file.

Sparse vectors are held in memory; what takes rows or blocks of a collection takes them too, and token vectors.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError
from methods.base import row_blocks
from methods.representations import SparseVectors
from methods.token_vectors import TokenVectors, document_runs

Array = NDArray[Any]

HELD_BYTES = 1 << 31
"""A matrix that grows by blocks is held in memory up to so many bytes, then in a temporary file."""

SPARSE_ROWS = 1 << 16
"""Rows of a block of sparse vectors."""

BLOCK_TOKENS = 1 << 13
"""Vectors of a block of token vectors."""

TAKEN = 2048
"""Rows that `take` reads from a file at a time."""


def blocks(vectors: Any, rows: int | None = None) -> Iterator[tuple[int, Any]]:
    """Yield (first row, block) over vectors (n, d), in blocks of `rows` or of a few megabytes, as float32.

    No more than a block of a memory-mapped matrix is resident: its pages are given back when the next one is asked for,
    so that a block must not be kept. Sparse vectors come in blocks of their own.
    """
    if isinstance(vectors, SparseVectors):
        for start, stop in _runs(len(vectors), rows or SPARSE_ROWS):
            yield start, vectors[start:stop]
        return
    if isinstance(vectors, TokenVectors):
        runs = document_runs(vectors.counts, BLOCK_TOKENS) if rows is None else _runs(len(vectors), rows)
        for start, stop in runs:
            yield start, vectors[start:stop].float32()
            release(vectors.values)
        return
    width = 4 * int(np.prod(vectors.shape[1:]))
    runs = row_blocks(len(vectors), width) if rows is None else _runs(len(vectors), rows)
    for start, stop in runs:
        yield start, np.ascontiguousarray(vectors[start:stop], dtype=np.float32)
        release(vectors)


def take_vectors(vectors: Any, rows: NDArray[np.int64]) -> Any:
    """Return some vectors as `take` does, as float32."""
    return in_memory(take(vectors, rows))


def take(vectors: Any, rows: NDArray[np.int64]) -> Any:
    """Return some rows of a matrix as a copy in memory, of its own type.

    Every row that is touched in a memory-mapped file brings its neighbours along, 64 kB of them on Linux: rows spread
    over a file would make all of it resident, and so they are taken a few thousand at a time.
    """
    if isinstance(vectors, SparseVectors | TokenVectors):
        return vectors.take(rows)
    copy = np.empty((len(rows), *vectors.shape[1:]), dtype=vectors.dtype)
    step = TAKEN if mapping_of(vectors) is not None else max(1, len(rows))
    for start in range(0, len(rows), step):
        copy[start : start + step] = vectors[rows[start : start + step]]
        release(vectors)
    return copy


def in_memory(vectors: Any) -> Any:
    """Return vectors as a plain float32 array, read whole where they are mapped; sparse vectors as they are."""
    if isinstance(vectors, TokenVectors):
        return vectors.float32()
    return vectors if isinstance(vectors, SparseVectors) else np.asarray(vectors, dtype=np.float32)


def as_float32(vectors: Any) -> Any:
    """Return vectors (n, d) as float32, from a temporary file where another type is mapped; others as they are."""
    if isinstance(vectors, SparseVectors | TokenVectors):
        return vectors
    if vectors.dtype == np.float32 or mapping_of(vectors) is None:
        return vectors.astype(np.float32, copy=False)
    rows = Growing(vectors.shape[1], np.float32, held_bytes=0)
    for _, block in blocks(vectors):
        rows.append(block)
    return rows.matrix()


def _runs(n: int, rows: int) -> Iterable[tuple[int, int]]:
    """Return (start, stop) of runs of so many of n rows."""
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


class Growing:
    """A matrix that is made of blocks of rows: in memory while it is small, in a temporary file beyond `HELD_BYTES`.

    Parameters
    ----------
    width : int
        Columns.
    dtype : dtype
    held_bytes : int or None
        Another bound than `HELD_BYTES`.
    """

    def __init__(self, width: int, dtype: Any, held_bytes: int | None = None) -> None:
        self.width, self.dtype, self.n = width, np.dtype(dtype), 0
        self.held_bytes = HELD_BYTES if held_bytes is None else held_bytes
        self._held: list[Array] = []
        self._file: Any = None

    def append(self, rows: Array) -> None:
        """Add rows (r, width) at the end.

        Raises
        ------
        DatasetError
            If the temporary folder has no room for them.
        """
        block = np.ascontiguousarray(rows, dtype=self.dtype)
        self.n += len(block)
        self._held.append(block)
        if self._file is not None or self.n * self.width * self.dtype.itemsize > self.held_bytes:
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the matrix)
                for part in self._held:
                    self._file.write(part.data)
                self._file.flush()
            except OSError as error:
                raise DatasetError(
                    f"vectors of {self.n * self.width * self.dtype.itemsize:,} bytes cannot be written to "
                    f"{tempfile.gettempdir()} ({error.strerror}); choose another folder with the environment variable "
                    "TMPDIR"
                ) from None
            self._held = []

    def matrix(self) -> Array:
        """Return all rows, (n, width); read-only where they are in a file."""
        if self._file is not None:
            return np.memmap(self._file, dtype=self.dtype, mode="r", shape=(self.n, self.width))
        if not self._held:
            return np.empty((0, self.width), dtype=self.dtype)
        return self._held[0] if len(self._held) == 1 else np.concatenate(self._held)


@dataclass(frozen=True)
class FilePlace:
    """Where a memory-mapped array lies, so that another process can map the same bytes.

    Attributes
    ----------
    file : str
        Absolute path.
    dtype : str
        As `numpy.dtype.str` writes it.
    offset : int
        Of the first element, in bytes.
    shape, strides : tuple of int
        Strides in bytes; negative for rows in reverse.
    """

    file: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, array: Array) -> FilePlace | None:
        """Return the place of an array of numbers; None for one in memory, or mapped from a file without a name."""
        if array.dtype.kind not in "fiu":  # bfloat16 has no name that NumPy reads
            return None
        base: object = array
        while isinstance(base, np.ndarray) and isinstance(base.base, np.ndarray):
            base = base.base
        if not isinstance(base, np.memmap) or base.filename is None or mapping_of(base) is None:
            return None
        # the offset of a view is not kept by NumPy: only that of the array that made the map
        moved = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        file = str(Path(str(base.filename)).resolve())
        return cls(file, array.dtype.str, base.offset + moved, array.shape, array.strides)

    def open(self) -> Array:
        """Map the array, read-only.

        Raises
        ------
        DatasetError
            If the file is missing, or shorter than it was.
        """
        steps = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        first = self.offset + sum(step for step in steps if step < 0)
        after = self.offset + sum(step for step in steps if step > 0) + np.dtype(self.dtype).itemsize
        try:
            octets = np.memmap(self.file, dtype=np.uint8, mode="r", offset=first, shape=(after - first,))
        except (OSError, ValueError) as error:
            raise DatasetError(f"{self.file}: its vectors cannot be read again ({error})") from None
        return np.ndarray(self.shape, self.dtype, buffer=octets, offset=self.offset - first, strides=self.strides)
