"""TurboQuant with each rotated coordinate fitted to the grid, as Qdrant has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from methods.base import Array, Codec, Codes, Float32, row_blocks
from methods.kernels.packing import pack, packed_size, unpack
from methods.scalar.lloyd import gaussian_half_levels


@dataclass(kw_only=True, eq=False)
class TurboQuantPlus(Codec):
    """Round rotated vectors to the Lloyd-Max levels of N(0, 1), each coordinate shifted and scaled to it (Qdrant).

    A document x of d dimensions becomes z = sqrt(d) x / |x|, and number z_i becomes (z_i + shift_i) scale_i, which is
    rounded to the nearest level. Undone, the levels are z^, and the document decodes to z^ |x| / |z^|: of the length
    it had. That makes the score

        <q, x> ~ (sum_i q_i level_i / scale_i - <q, shift>) |x| / |z^|.

    With C the outermost level, lo and hi the quantiles of the fitted z_i at Phi(-C) and Phi(C), shift_i is
    -(lo + hi) / 2 and scale_i is 2 C / (hi - lo): these two quantiles fall on the outermost levels.

    Put a `methods.RandomRotation` before it, and for Qdrant's 1.5 bits a `methods.Pad` to 1.5 times
    the dimensions before that.

    Parameters
    ----------
    bits : int
        1 to 8 bits a dimension; Qdrant has 1, 2 and 4.
    sample : int
        Documents that the quantiles are taken of, at most, evenly spaced ones. Qdrant takes 2048 a bit.
    stored : {"factor", "both", "none"}
        *factor*: |x| / |z^|, float32. *both*: <z, -shift> too, float32, as Qdrant does. It is of use where this
        codec's own scoring is "symmetric" only: the score of two documents with levels l and l' is then

            (sum_i l_i l'_i / scale_i^2 + <z, -shift> + <z', -shift> - |shift|^2) |x| |x'| / (|z^| |z^'|)

        and not <x^, x^'>. (Qdrant builds its graph by it from 2 bits on; a search there is asymmetric.) *none*:
        nothing, for documents of unit length, where |x| / |z^| follows from the code.

    Notes
    -----
    Qdrant 1.19, `turboquant`; the method is Zandieh et al., 2025, whose random rotation it shares. Qdrant estimates
    the quantiles by the P-square algorithm (Jain and Chlamtac, 1985); here they are the sample's own.
    """

    bits: int = 4
    sample: int = 8192
    stored: Literal["factor", "both", "none"] = "factor"

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")
        self._require_at_least(1, "sample")
        self._require(
            not (self.renormalize and self._exact_shift),
            "renormalize=true cannot be had with stored=both and scoring=symmetric: what is exact is the score",
        )

    @property
    def _exact_shift(self) -> bool:
        return self.stored == "both" and self.scoring == "symmetric"

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        from scipy.special import ndtr

        half = gaussian_half_levels(self.bits)
        self.levels_ = np.concatenate([-half[::-1], half]).astype(np.float32)
        outermost = float(half[-1])
        step = -(-len(docs) // self.sample)
        low, high = np.quantile(_of_root_length(docs[::step]), [ndtr(-outermost), ndtr(outermost)], axis=0)
        self.shift_ = (-(low + high) / 2).astype(np.float32)
        # 1 / scale: a coordinate that is the same in all documents has none
        self.step_ = ((high - low) / (2 * outermost)).astype(np.float32)

    def _encode(self, docs: Float32) -> Codes:
        n, d = docs.shape
        edges = (self.levels_[1:].astype(np.float64) + self.levels_[:-1]) / 2
        shift, step = self.shift_.astype(np.float64), self.step_.astype(np.float64)
        rows: dict[str, Array] = {"codes": np.empty((n, packed_size(d, self.bits)), dtype=np.uint8)}
        if self.stored != "none":
            rows["factor"] = np.empty(n, dtype=np.float32)
        if self.stored == "both":
            rows["against_shift"] = np.empty(n, dtype=np.float32)
        for start, stop in row_blocks(n, 32 * d):
            z = _of_root_length(docs[start:stop])
            fitted = np.divide(z + shift, step, out=np.zeros_like(z), where=step > 0)
            numbers = np.searchsorted(edges, fitted).astype(np.uint8)
            rows["codes"][start:stop] = pack(numbers, self.bits)
            if self.stored != "none":
                rows["factor"][start:stop] = _ratio(_lengths(docs[start:stop]), _lengths(self._points(numbers)))
            if self.stored == "both":
                rows["against_shift"][start:stop] = np.einsum("ij,j->i", z, -shift)
        return Codes(n=n, rows=rows)

    def _points(self, numbers: Array) -> Float32:
        """Return decoded documents before they are rescaled, z^ of the class's formulas, float32 (n, d)."""
        points: Float32 = self.levels_[numbers]
        points *= self.step_
        points -= self.shift_
        return points

    def _decode(self, codes: Codes) -> Float32:
        points = self._points(unpack(codes.array, self.bits, self.dim_))
        points *= self._factors(codes, points)[:, None]
        return points

    def _factors(self, codes: Codes, points: Float32) -> Float32:
        """Return |x| / |z^|, float32 (n,)."""
        if self.stored == "none":
            return _ratio(np.ones(len(points)), _lengths(points)).astype(np.float32)
        return np.asarray(codes.rows["factor"])

    def _levels(self, codes: Codes) -> Float32:
        return self.levels_[unpack(codes.array, self.bits, self.dim_)]

    def _doc_matrix(self, codes: Codes) -> Float32:
        return self._with_shift(codes, queries=False) if self._exact_shift else super()._doc_matrix(codes)

    def _query_matrix(self, queries: Float32) -> Float32:
        if self._exact_shift:
            return self._with_shift(self._encode_queries(queries), queries=True)
        return super()._query_matrix(queries)

    def _with_shift(self, codes: Codes, queries: bool) -> Float32:
        """Return what makes the score of two documents a dot product, float32 (n, d + 2)."""
        against = codes.rows["against_shift"]
        ones = np.ones_like(against)
        if queries:
            last = [ones, against - np.float32(self.shift_.astype(np.float64) @ self.shift_)]
        else:
            last = [against, ones]
        scaled = self.levels_[unpack(codes.array, self.bits, self.dim_)] * self.step_
        joined: Float32 = np.column_stack([scaled, *last]) * codes.rows["factor"][:, None]
        return joined


def _of_root_length(docs: Float32) -> Array:
    """Return documents scaled to length sqrt(d), float64 (n, d); zero stays zero."""
    d = docs.shape[1]
    lengths = _lengths(docs)
    return np.asarray(docs * _ratio(np.full(len(docs), np.sqrt(d)), lengths)[:, None])


def _lengths(vectors: Array) -> Array:
    """Return each row's Euclidean length, float64 (n,), from float64 numbers."""
    wide = vectors.astype(np.float64)
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", wide, wide)))


def _ratio(above: Array, below: Array) -> Array:
    """Return above / below, float64 (n,), 0 where below is."""
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
