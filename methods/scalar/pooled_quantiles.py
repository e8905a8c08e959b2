"""A few bits a number between the quantiles of all numbers: what ColBERTv2 keeps of a token's residual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from methods.base import Array, Codec, Codes, Float32, MethodError
from methods.kernels.packing import packed_size


@dataclass(kw_only=True, eq=False)
class PooledQuantiles(Codec):
    """Equally probable buckets, the same for every dimension (Santhanam et al., 2022, section 3.3).

    A number's code is how many of the 2^bits - 1 quantiles are below it, so that one that is equal to a quantile
    belongs to the bucket below. Codes are packed as `methods.kernels.packing` does it, the first number in the lowest
    bits; ColBERT's own indexes have the same bits in the opposite order within a byte.

    Parameters
    ----------
    bits : {1, 2, 4, 8}
        Bits of a number.
    weights : {"midpoints", "means"}
        What a bucket decodes to: the quantile in the middle of it, as ColBERT has it, or the mean of its numbers, which
        has the least squared error.
    """

    bits: int = 2
    weights: Literal["midpoints", "means"] = "midpoints"

    def _check_parameters(self) -> None:
        self._require(self.bits in (1, 2, 4, 8), f"bits must be 1, 2, 4 or 8, got {self.bits}")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        numbers = np.sort(docs, axis=None)
        buckets = 1 << self.bits
        self.cutoffs_ = _quantiles(numbers, np.arange(1, buckets) / buckets)
        self.weights_ = _quantiles(numbers, (np.arange(buckets) + 0.5) / buckets)
        if self.weights == "means":
            ends = np.concatenate([[0], np.searchsorted(numbers, self.cutoffs_, side="right"), [len(numbers)]])
            sums = np.concatenate([[0], np.cumsum(numbers, dtype=np.float64)])
            counts = np.diff(ends)
            means = np.diff(sums[ends]) / np.maximum(counts, 1)
            self.weights_ = np.where(counts > 0, means, self.weights_).astype(np.float32)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over quantiles and weights.

        Raises
        ------
        MethodError
            If they are not as many as the bits ask for.
        """
        shapes = [getattr(arrays.get(name), "shape", None) for name in ("cutoffs_", "weights_")]
        buckets = 1 << self.bits
        if shapes != [(buckets - 1,), (buckets,)]:
            raise MethodError(f"PooledQuantiles: bits={self.bits} has {buckets} buckets, but the state has {shapes}")
        return super().load_state(arrays)

    def _encode(self, docs: Float32) -> Codes:
        from methods.kernels.buckets import pack_buckets

        packed = np.empty((len(docs), packed_size(docs.shape[1], self.bits)), np.uint8)
        pack_buckets(docs, self.cutoffs_, self.bits, packed)
        return Codes.packed(packed)

    def _decode(self, codes: Codes) -> Float32:
        from methods.kernels.buckets import unpack_buckets

        decoded = np.empty((codes.n, self.dim_), np.float32)
        unpack_buckets(codes.array, self.weights_, self.bits, decoded)
        return decoded


def _quantiles(ascending: Float32, shares: Array) -> Float32:
    """Return quantiles of sorted numbers, float32, linear between neighbours."""
    places = shares * (len(ascending) - 1)
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, len(ascending) - 1)
    low, high = ascending[below].astype(np.float64), ascending[above].astype(np.float64)
    quantiles: Float32 = (low + (high - low) * (places - below)).astype(np.float32)
    return quantiles
