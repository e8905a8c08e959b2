"""Several comparisons a dimension, each one bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, row_blocks
from methods.kernels import hamming


@dataclass(kw_only=True, eq=False)
class Thermometer(Codec):
    """Compare each number with `bits` thresholds; a document is +-1/sqrt(width), one entry for each comparison.

    The thresholds of dimension i are centre_i + t_j sigma_i, t_j = spread (2j / (bits + 1) - 1), j = 1..bits, evenly
    spaced; a bit says whether the number is greater. First come the bits of all dimensions at the lowest threshold,
    then those at the next. Two documents differ in as many bits as there are thresholds between their numbers, so
    that Hamming distance approximates the sum of absolute differences.

    With scoring="symmetric" the query is compared likewise, and the score is 1 - 2 * Hamming distance / width, searched
    by FAISS's binary index; otherwise it is the sum over the bits of +-1/sqrt(width) times what `query` says.

    Parameters
    ----------
    bits : int
        1 to 8 thresholds a dimension.
    pairs : bool
        Keep of the second bits only one for every two neighbouring dimensions, set if either is: 1.5 bits a dimension.
        Needs bits=2.
    spread : float
        Half the range that the thresholds divide, in sigmas.
    centre : {"zero", "mean"}
        0, or the mean of the dimension over the fitted documents. One bit and zero need nothing learned.
    deviation : {"population", "sample"}
        The root mean square distance from the centre, sigma, divides by n or by n - 1. A dimension without any is
        compared with 0 by its first bit, and its other bits are 0.
    query : {"float", "means", "exact"}
        What stands for number q of a query in the score: *float*, q itself at each of the dimension's bits, and the
        larger of the two at a bit that a pair shares. For one bit only, with A and B the means of the fitted documents'
        numbers above and below the threshold: *means*, (q - B) / (A - B), which is 1 and 0 for a query like these;
        *exact*, q (A - B), which orders documents as if their numbers were A and B.

    Notes
    -----
    ============================= ==== ====== ====== ============ ========== =====
    store                         bits spread centre deviation    scoring    query
    ============================= ==== ====== ====== ============ ========== =====
    Qdrant, one_bit               1           zero                either     float
    Qdrant, two_bits              2    2      mean   sample       either     float
    Qdrant, one_and_half_bits     2    2      mean   sample       either     float
    pgvectorscale SBQ             1..  2      mean   population   symmetric
    OpenSearch to 3.5, 32x        1           mean                symmetric
    the same with ADC             1           mean                asymmetric means
    the same, since               1           mean                asymmetric exact
    OpenSearch, 16x and 8x        2, 4 1      mean   population   symmetric
    ============================= ==== ====== ====== ============ ========== =====

    One and a half bits have pairs=true. Where the score of a store differs, by a factor or by a number that only
    depends on the query, the order is the same. OpenSearch learns from 25,000 documents, the others from all. At a
    threshold exactly a number counts as below; Qdrant's upper and SBQ's thresholds count it as above.
    """

    bits: int = 2
    pairs: bool = False
    spread: float = 2.0
    centre: Literal["zero", "mean"] = "mean"
    deviation: Literal["population", "sample"] = "population"
    query: Literal["float", "means", "exact"] = "float"

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")
        self._require_positive("spread")
        self._require(not self.pairs or self.bits == 2, f"pairs=true needs bits=2, got {self.bits}")
        self._require(
            self.query == "float" or self.bits == 1, f"query={self.query} needs bits=1, got {self.bits}: use float"
        )

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        if self.bits > 1 or self.centre == "mean":
            self.thresholds_ = self._learn_thresholds(docs)
        if self.query != "float":
            self.below_, self.gap_ = self._learn_means(docs)

    def _learn_thresholds(self, docs: Float32) -> Float32:
        """Return the thresholds, float32 (bits, d)."""
        n, d = docs.shape
        centre = docs.mean(axis=0, dtype=np.float64) if self.centre == "mean" else np.zeros(d)
        if self.bits == 1:
            return centre.astype(np.float32)[None]
        squares = np.zeros(d)
        for start, stop in row_blocks(n, 16 * d):
            squares += ((docs[start:stop] - centre) ** 2).sum(axis=0)
        sigma = np.sqrt(squares / max(n - (self.deviation == "sample"), 1))
        deviations = self.spread * (2 * np.arange(1, self.bits + 1) / (self.bits + 1) - 1)
        thresholds = centre + deviations[:, None] * sigma
        # what is left of a constant dimension is rounding
        constant = sigma <= np.finfo(np.float32).eps * np.maximum(np.abs(centre), 1)
        thresholds[:, constant] = np.inf
        thresholds[0, constant] = 0
        learned: Float32 = thresholds.astype(np.float32)
        return learned

    def _learn_means(self, docs: Float32) -> tuple[Float32, Float32]:
        """Return B and A - B, float32 (d,); the latter is 0 for a bit that all documents share."""
        n, d = docs.shape
        total, above, count = np.zeros(d), np.zeros(d), np.zeros(d)
        for start, stop in row_blocks(n, 16 * d):
            block = docs[start:stop]
            bits = self._compare(block)[:, 0]
            total += block.sum(axis=0, dtype=np.float64)
            above += np.where(bits, block, 0).sum(axis=0, dtype=np.float64)
            count += bits.sum(axis=0)
        below = (total - above) / np.maximum(n - count, 1)
        gap = np.where((count > 0) & (count < n), above / np.maximum(count, 1) - below, 0)
        return below.astype(np.float32), gap.astype(np.float32)

    def _compare(self, docs: Float32) -> NDArray[np.bool_]:
        """Return whether numbers are greater than the thresholds, bool (n, bits, d)."""
        if self.bits == 1 and self.centre == "zero":
            return (docs > 0)[:, None]
        greater: NDArray[np.bool_] = docs[:, None] > self.thresholds_
        return greater

    @property
    def _width(self) -> int:
        """Number of bits of a document."""
        d = self._check_fitted()
        return d + (d + 1) // 2 if self.pairs else self.bits * d

    def _encode(self, docs: Float32) -> Codes:
        n, d = docs.shape
        packed = np.empty((n, -(-self._width // 8)), dtype=np.uint8)
        for start, stop in row_blocks(n, 4 * self.bits * d):
            bits = self._compare(docs[start:stop])
            if self.pairs:
                rows = np.concatenate([bits[:, 0], _larger_of_pairs(bits[:, 1])], axis=1)
            else:
                rows = bits.reshape(stop - start, -1)
            packed[start:stop] = np.packbits(rows, axis=1)
        return Codes.packed(packed)

    def _decode(self, codes: Codes) -> Float32:
        return hamming.signs(codes.array, self._width) / np.float32(np.sqrt(self._width))

    def _levels(self, codes: Codes) -> Float32:
        return np.unpackbits(codes.array, axis=1, count=self._width).astype(np.float32)

    def _project_queries(self, queries: Float32) -> Float32:
        if self.query == "means":
            relative: Float32 = np.divide(
                queries - self.below_, self.gap_, out=np.zeros_like(queries), where=self.gap_ > 0
            )
            return relative
        if self.query == "exact":
            weighted: Float32 = queries * self.gap_
            return weighted
        if self.pairs:
            return np.concatenate([queries, _larger_of_pairs(queries)], axis=1)
        return np.tile(queries, (1, self.bits))

    def _searches_decoded(self, m: int) -> bool:
        return self.scoring != "symmetric"

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        if self._searches_decoded(len(queries)):
            return super()._search(queries, codes, k)
        return hamming.search(self._encode_queries(queries).array, codes.array, self._width, k)


def _larger_of_pairs(values: Array) -> Array:
    """Return the larger of columns 0 and 1, 2 and 3, ..., (n, ceil(d / 2)); an odd last one stands for itself."""
    return np.maximum.reduceat(values, np.arange(0, values.shape[1], 2), axis=1)
