"""Compiled reading of product codes: one table a byte, one row of it for each of 256 values.

`methods.kernels.k_means.codes` makes them. The reference is NumPy's indexing of each table by a column of codes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]

VALUES = 256
"""Rows of a table."""


class Layout(NamedTuple):
    """A product code's tables as arrays.

    Attributes
    ----------
    starts : int64 (bytes + 1,)
        Where each byte's dimensions begin in `dims`.
    dims : int64 (w,)
        The dimensions that bytes stand for, byte after byte.
    tables : float32 (256 * w,)
        The centroids of each byte, (256, its dimensions), one after another.
    columns : float32 (w, 256)
        The same by dimension.
    """

    starts: Array
    dims: Array
    tables: Array
    columns: Array


def layout(groups: list[Array], centroids: Array) -> Layout:
    """Return the layout of each byte's dimensions, int64 (w',), and centroids, float32 (256 w,), which are kept."""
    return Layout(
        starts=np.cumsum([0, *map(len, groups)]),
        dims=np.concatenate(groups).astype(np.int64),
        tables=centroids,
        columns=np.concatenate([table.T for table in tables_of(groups, centroids)]),
    )


def tables_of(groups: list[Array], centroids: Array) -> list[Array]:
    """Return each byte's centroids, float32 (256, w'), as views of all of them, one byte's after another's."""
    ends = np.cumsum([len(dims) * VALUES for dims in groups])[:-1]
    return [table.reshape(VALUES, -1) for table in np.split(centroids, ends)]


@compiled
def decode(packed: Array, layout: Layout, decoded: Array) -> None:
    """Fill the dimensions that bytes stand for, of float32 (n, d), from codes uint8 (n, bytes)."""
    starts, dims, tables, _ = layout
    for row in range(len(packed)):
        for byte in range(packed.shape[1]):
            first, last = starts[byte], starts[byte + 1]
            at = first * VALUES + np.int64(packed[row, byte]) * (last - first)
            for place in range(first, last):
                decoded[row, dims[place]] = tables[at]
                at += 1
