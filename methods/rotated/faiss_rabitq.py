"""FAISS's RaBitQ, with its estimator written as a dot product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from methods.base import Array, Codec, Codes, Float32, MethodError, row_blocks
from methods.kernels.packing import UInt8, packed_size, unpack


@dataclass(kw_only=True, eq=False)
class FaissRaBitQ(Codec):
    """RaBitQ as FAISS stores and searches it (Gao and Long, 2024; Gao et al., 2025, for more than one bit).

    A document is coded around the fitted documents' mean c: the signs of x - c, with more bits also a uniform grid over
    its magnitudes, and float32 factors (8 bytes at 1 bit, 20 above). FAISS's search is not the dot product with its
    `sa_decode`, which knows the signs only. What it computes, for inner products, is

        <q, x> ~ <q, c> + f * <q - c, s> + a,    a = <x, c> - <c, c>  at 1 bit,

    with the code's levels s and the document's factors f and a. That is linear in the query, so that a document decodes
    to x^ = c + f * s and one number more, a - f * <c, s>, and a query gets a 1 there. The number is what remains of
    <x, c> beside <x^, c>: along the mean, RaBitQ is exact. Around c = 0 it is 0.

    FAISS rotates nothing here: put a random rotation in front, in a chain, for what the paper describes.

    Parameters
    ----------
    bits : int
        1 to 9 bits a dimension.
    query_bits : int
        0 is the float query. 1 to 8: q - c is rounded to that many bits between its own smallest and largest entry,
        as FAISS does for the 1-bit code (its default is 4); more-bit codes take the float query there and here.

    Notes
    -----
    With `renormalize` x^ is scaled to unit length and the extra number is 0. With `query_bits` the scores are FAISS's
    less a constant for each query, <q - q^, c>, which no ranking sees.
    """

    bits: int = 1
    query_bits: int = 0

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 9, f"bits must be 1 to 9, got {self.bits}")
        self._require(0 <= self.query_bits <= 8, f"query_bits must be 0 to 8, got {self.query_bits}")
        self._require(
            self.query_bits == 0 or self.bits == 1,
            f"query_bits={self.query_bits} is for bits=1: FAISS scores more-bit codes with the float query",
        )

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        import faiss

        index = faiss.IndexRaBitQ(docs.shape[1], faiss.METRIC_INNER_PRODUCT, self.bits)
        index.train(docs)
        self.centre_ = faiss.vector_to_array(index.center)
        self.__dict__.pop("_index", None)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over the fitted centre; FAISS's index is made of it at first use."""
        self.__dict__.pop("_index", None)
        super().load_state(arrays)
        centre, d = arrays.get("centre_"), self._check_fitted()
        if centre is None or centre.dtype != np.float32 or centre.shape != (d,) or not np.isfinite(centre).all():
            actual = "there is none" if centre is None else f"it is {centre.dtype} {centre.shape}"
            raise MethodError(f"FaissRaBitQ: the array 'centre_' must be {d} finite float32 numbers, but {actual}")
        return self

    @cached_property
    def _index(self) -> Any:
        """An empty index with the centre."""
        import faiss

        index = faiss.IndexRaBitQ(len(self.centre_), faiss.METRIC_INNER_PRODUCT, self.bits)
        faiss.copy_array_to_vector(np.ascontiguousarray(self.centre_), index.center)
        index.is_trained = True
        return index

    def _encode(self, docs: Float32) -> Codes:
        return Codes.packed(self._index.sa_encode(docs))

    def _decode(self, codes: Codes) -> Float32:
        d, centre = len(self.centre_), self.centre_.astype(np.float64)
        packed = np.ascontiguousarray(codes.array)
        width = self._index.sa_code_size()
        if packed.dtype != np.uint8 or packed.shape[1:] != (width,):
            raise MethodError(f"FaissRaBitQ: codes are uint8 (n, {width}), but they are {packed.dtype} {packed.shape}")
        out = np.empty((codes.n, d + 1), dtype=np.float32)
        for start, stop in row_blocks(codes.n, 8 * (d + 1)):
            levels, factor, along_centre = self._estimator(packed[start:stop])
            out[start:stop, :d] = centre + factor[:, None] * levels
            out[start:stop, d] = along_centre - factor * np.einsum("ij,j->i", levels, centre)
        if self.renormalizes:
            out[:, d] = 0
        return out

    def _estimator(self, packed: UInt8) -> tuple[Array, Array, Array]:
        """Return s (n, d), f (n,) and a (n,), float64, of the class's formula, read from FAISS's codes."""
        d, centre = len(self.centre_), self.centre_.astype(np.float64)
        extra = self.bits - 1
        # signs | float32 factors of the signs (2, or 3 with an error bound) | magnitudes | 2 float32 factors of both
        ends = np.cumsum([packed_size(d, 1), 8 if extra == 0 else 12, packed_size(d, extra)])
        signs = unpack(packed[:, : ends[0]], 1, d).astype(np.float64)
        if extra == 0:
            factors = _floats(packed[:, ends[0] : ends[1]])
            # FAISS keeps |x - c|^2 - |x|^2 = |c|^2 - 2 <x, c>
            return 2 * signs - 1, factors[:, 1] / np.sqrt(d), -(factors[:, 0] + centre @ centre) / 2
        magnitudes = unpack(packed[:, ends[1] : ends[2]], extra, d)
        factors = _floats(packed[:, ends[2] :])
        return signs * 2**extra + magnitudes - (2**extra - 0.5), factors[:, 1], factors[:, 0]

    def _project_queries(self, queries: Float32) -> Float32:
        projected = self._rounded(queries) if self.query_bits else queries
        return np.concatenate([projected, np.ones((len(queries), 1), np.float32)], axis=1)

    def _query_matrix(self, queries: Float32) -> Float32:
        if self.scoring == "asymmetric":
            return self._project_queries(queries)
        # a query's own extra number has no meaning in a product of two decoded vectors
        decoded = super()._query_matrix(queries)
        decoded[:, -1] = 1
        return decoded

    def _rounded(self, queries: Float32) -> Float32:
        """Return the queries after their residual to the centre has been through `query_bits` bits."""
        residual = queries - self.centre_
        low = residual.min(axis=1, keepdims=True)
        step = (residual.max(axis=1, keepdims=True) - low) / np.float32(2**self.query_bits - 1)
        cells = np.divide(residual - low, step, out=np.zeros_like(residual), where=step > 0)
        rounded: Float32 = self.centre_ + low + step * np.floor(cells + np.float32(0.5))
        return rounded


def _floats(octets: UInt8) -> Array:
    """Read little-endian float32 numbers from bytes (n, 4 j): float64 (n, j)."""
    return np.ascontiguousarray(octets).view("<f4").astype(np.float64)
