"""Flat binary files of vectors: TEXMEX's .fvecs and its kin, and .fbin and its kin of the big-ann benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError
from harness.base.memmap import release
from harness.data.vector_files.source import StoredVectors, VectorSource

VECS: dict[str, str] = {".fvecs": "<f4", ".bvecs": "<u1", ".ivecs": "<i4"}
"""TEXMEX (Jégou et al., 2011): each row is its width as int32, then so many components."""

BINS: dict[str, str] = {".fbin": "<f4", ".u8bin": "<u1", ".i8bin": "<i1", ".ibin": "<i4"}
"""Big-ann-benchmarks (Simhadri et al., 2021): rows and columns as uint32, then the matrix."""

CHECKED_ROWS = 1 << 16
"""Rows whose widths are compared at a time."""


def read_vecs(path: Path, source: VectorSource) -> StoredVectors:
    """Read a .fvecs, .bvecs or .ivecs file, memory-mapped."""
    component = np.dtype(VECS[path.suffix.lower()])
    size = path.stat().st_size
    if size < 4:
        raise DatasetError(f"{path} is empty")
    width = int(np.fromfile(path, dtype="<i4", count=1)[0])
    stride = 4 + width * component.itemsize
    if width < 1 or size < stride:
        raise DatasetError(f"{path}: row 0 says that it has {width} dimensions, which the file of {size} bytes has not")
    n = size // stride
    row_type = np.dtype([("width", "<i4"), ("vector", component, (width,))])
    rows: NDArray[Any] = np.memmap(path, dtype=row_type, mode="r", shape=(n,))
    for start in range(0, n, CHECKED_ROWS):
        widths = np.asarray(rows["width"][start : start + CHECKED_ROWS])
        if (widths != width).any():
            place = int(np.argmax(widths != width))
            raise DatasetError(
                f"{path}: row {start + place} (from 0) says that it has {widths[place]} dimensions, "
                f"the first has {width}"
            )
        release(rows)
    if size % stride:
        raise DatasetError(f"{path} is cut off in row {n} (from 0): {size % stride} bytes instead of {stride}")
    return StoredVectors(rows["vector"], numbers=True)


def read_bin(path: Path, source: VectorSource) -> StoredVectors:
    """Read a .fbin, .u8bin, .i8bin or .ibin file, memory-mapped; of ground truth, the ids of neighbours."""
    component = np.dtype(BINS[path.suffix.lower()])
    size = path.stat().st_size
    if size < 8:
        raise DatasetError(f"{path} is empty")
    n, width = (int(number) for number in np.fromfile(path, dtype="<u4", count=2))
    needed = 8 + n * width * component.itemsize
    # ground truth has the neighbours' distances behind their ids
    if 0 in (n, width) or size not in (needed, needed + 4 * n * width):
        raise DatasetError(
            f"{path} says that it has {n} rows of {width} numbers, {needed} bytes, but it has {size}; is it cut off?"
        )
    return StoredVectors(np.memmap(path, dtype=component, mode="r", offset=8, shape=(n, width)), numbers=True)
