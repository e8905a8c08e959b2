"""Vectors whose numbers are all finite, as float32 has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError
from harness.base.memmap import blocks
from harness.data.vector_files.source import NamedFile

Array = NDArray[Any]


def refuse_non_finite(path: NamedFile, vectors: Array) -> None:
    """Refuse numbers of a file's vectors (n, d) that are no finite float32; rows are looked at in blocks.

    Raises
    ------
    DatasetError
        With the first such row, and its first such dimension.
    """
    if vectors.dtype.kind in "iu":
        return
    with np.errstate(over="ignore"):
        for start, block in blocks(vectors):
            if all_finite(block):
                continue
            row = int(np.argmin(np.isfinite(block).all(axis=1)))
            column = int(np.argmin(np.isfinite(block[row])))
            raise DatasetError(
                f"{path}: row {start + row} (from 0) has {vectors[start + row, column]} in dimension {column}, not a "
                "finite float32"
            )


def all_finite(block: Array) -> bool:
    """Return whether all numbers of some rows, float32 (b, d) in C order, are finite."""
    values = block.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        # one that is not finite makes the sum so; it can also be too large
        return bool(np.isfinite(values @ values) or np.isfinite(block).all())
