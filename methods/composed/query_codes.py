"""Queries rounded to a few bits before they meet the documents, as half of the vector stores do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from methods.base import Float32, Transform


@dataclass(kw_only=True, eq=False)
class QueryCode(Transform):
    """Leave documents as they are, and round each query to 2^bits equal steps over a range of its own.

    Last in a chain's transforms it rounds what the codec would have got. A codec that rounds around its own centre
    (`methods.OSQ`, `methods.ScaledLevels`, `methods.FaissRaBitQ`) does so itself, by its `query_bits`.

    Parameters
    ----------
    bits : int
        1 to 16. 0 leaves queries alone.
    span : {"range", "symmetric"}
        The range: from the query's smallest entry to its largest, or as far on both sides of zero as its largest
        magnitude.
    rounding : {"nearest", "dithered"}
        *dithered*: down, after adding a number between 0 and 1 that is fixed for each dimension, so that the error is
        zero on average whatever the query (Gao and Long, 2024, section 3.3.1; Weaviate keeps one such vector for good).
    seed : int
        Seed of the dither.

    Notes
    -----
    Qdrant's scalar queries: symmetric, 4 or 8 bits. VectorChord: range, 6 bits. Weaviate's RQ-1: symmetric, 5 bits,
    dithered; RQ-4: range, 8 bits.
    """

    bits: int = 8
    span: Literal["range", "symmetric"] = "range"
    rounding: Literal["nearest", "dithered"] = "nearest"
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require(0 <= self.bits <= 16, f"bits must be 0 to 16, got {self.bits}")

    def _transform_docs(self, docs: Float32) -> Float32:
        return docs

    def _transform_queries(self, queries: Float32) -> Float32:
        if self.bits == 0:
            return queries
        if self.rounding == "nearest":
            shift: Float32 = np.full(queries.shape[1], 0.5, dtype=np.float32)
        else:
            shift = np.random.default_rng(self.seed).random((queries.shape[1],), dtype=np.float32)
        return round_queries(queries, self.bits, self.span, shift)


def round_queries(queries: Float32, bits: int, span: Literal["range", "symmetric"], shift: Float32) -> Float32:
    """Return each query rounded to 2^bits values: low + step * floor((q - low) / step + shift), float32 (m, d).

    Parameters
    ----------
    queries : float32 (m, d)
    bits : int
    span : {"range", "symmetric"}
        See `QueryCode`.
    shift : float32 (d,)
        One half rounds to the nearest value.
    """
    if span == "range":
        low, high = queries.min(axis=1, keepdims=True), queries.max(axis=1, keepdims=True)
    else:
        high = np.abs(queries).max(axis=1, keepdims=True)
        low = -high
    top = np.float32((1 << bits) - 1)
    step = (high - low) / top
    in_steps = np.divide(queries - low, step, out=np.zeros_like(queries), where=step > 0)
    rounded: Float32 = low + step * np.clip(np.floor(in_steps + shift), 0, top)
    return rounded
