"""Handing transform codes to FAISS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.base import Codes, Float32, MethodError
from methods.transform_coding.transform_code import TransformCode

Int64 = NDArray[np.int64]

ABSENT = -1
"""A column of zeros: groups of fewer dimensions are padded to the width of the widest."""


def index_pq(codec: TransformCode, codes: Codes | None = None) -> tuple[Any, Int64]:
    """Return a `faiss.IndexPQ` for inner products with the same codes, and the columns that it expects.

    A transform code is a product code, so FAISS can encode, decode and scan it. What it cannot do is to divide by
    the decoded documents' lengths: its ranking is that of `renormalize=False`. Dimensions without bits are left out,
    which shifts all scores of a query alike.

    Parameters
    ----------
    codec : TransformCode
        Fitted. Within a `Chain`: its codec, and FAISS gets what the chain's transforms return.
    codes : Codes or None
        Documents to add.

    Returns
    -------
    index : faiss.IndexPQ
        Trained, inner product; `arrange(vectors, columns)` is what it takes.
    columns : int64 (d',)
        Which dimension stands in each of FAISS's columns, -1 for padding.

    Raises
    ------
    MethodError
        For scoring other than asymmetric, which FAISS would not follow.
    """
    import faiss

    if codec.scoring != "asymmetric":
        raise MethodError(f"scoring={codec.scoring} cannot be handed to FAISS: it scores float queries")
    groups, tables = codec.byte_tables()
    width = max(len(dims) for dims in groups)
    columns = np.full((len(groups), width), ABSENT, dtype=np.int64)
    centroids = np.zeros((len(groups), 256, width), dtype=np.float32)
    for byte, (dims, table) in enumerate(zip(groups, tables, strict=True)):
        columns[byte, : len(dims)] = dims
        centroids[byte, :, : len(dims)] = table
    index = faiss.IndexPQ(columns.size, len(groups), 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(centroids.ravel(), index.pq.centroids)
    index.is_trained = True
    if codes is not None:
        index.add_sa_codes(np.ascontiguousarray(codes.array))
    return index, columns.ravel()


def arrange(vectors: Float32, columns: Int64) -> Float32:
    """Return documents or queries (n, d) in FAISS's columns, float32 (n, d')."""
    arranged: Float32 = np.where(columns == ABSENT, np.float32(0), vectors[:, columns])
    return np.ascontiguousarray(arranged)
