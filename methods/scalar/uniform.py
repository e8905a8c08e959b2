"""Scalar quantisation: every number on its own, at 1 to 8 bits, truly packed, or at 16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, MethodError, added_parameter, row_blocks
from methods.kernels.packing import pack, unpack
from methods.stored_rows import PACKED, PackedNumbers, StoredRows


@dataclass(kw_only=True, eq=False)
class PerDimension(Codec):
    """Uniform levels over each dimension's range.

    With b bits there are 2**b levels, the outermost on the ends of the range: code = round((x - low) / step), where
    step = (high - low) / (2**b - 1), clipped to the range; decoded as low + code * step.

    Parameters
    ----------
    bits : int
        1 to 8, or 16, bits a dimension.
    clip : float
        Percent of the documents' values to leave out at *each* end of the range. 0 is min-max, which collapses below
        4 bits because a few outliers stretch the steps; 2.5 keeps 2 bits usable. For Gaussian entries the best grid
        leaves out 21, 6.8, 2.0, 0.6, 0.18, 0.05, 0.015 and 0.004 percent at 1 to 8 bits.
    rounding : {"nearest", "floor"}
        *floor* is what MTEB's and sentence-transformers' quantisation do; decoded by the same formula it is off by
        half a step on average.
    overflow : {"clip", "wrap"}
        What becomes of values beyond the fitted range. *wrap* takes the code modulo 2**bits, as casting to uint8 does,
        so that the largest values become the smallest; sentence-transformers did this before it clipped, and it ruins
        codes whose ranges come from other data.
    signed_codes : bool
        Only for scoring="raw_codes": whether codes are read as signed (int8) or unsigned (uint8) numbers. The offset
        enters the cosine, so that the same bits give two rankings.
    about_zero : bool
        The range reaches as far below zero as above it, and zero is a level: of 2**b levels one is left over. Numbers
        of one sign then use half of the levels.
    """

    bits: int = 8
    clip: float = 0.0
    rounding: Literal["nearest", "floor"] = "nearest"
    overflow: Literal["clip", "wrap"] = "clip"
    signed_codes: bool = True
    about_zero: bool = added_parameter(False)

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8 or self.bits == 16, f"bits must be 1 to 8, or 16, got {self.bits}")
        self._require(0 <= self.clip < 50, f"clip must be in [0, 50) percent, got {self.clip}")
        self._require(self.bits > 1 or not self.about_zero, "about_zero=true needs 2 bits or more, got 1")

    @property
    def _top(self) -> int:
        """The highest code."""
        return (1 << self.bits) - (2 if self.about_zero else 1)

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        if self.clip == 0:
            low, high = docs.min(axis=0), docs.max(axis=0)
        else:
            low, high = np.percentile(docs, [self.clip, 100 - self.clip], axis=0).astype(np.float32)
        if self.about_zero:
            high = np.maximum(-low, high)
            low = -high
        # a constant dimension gets step 0: every code is 0 and decodes to the constant
        self.low_ = np.ascontiguousarray(low, dtype=np.float32)
        self.step_ = (np.asarray(high, dtype=np.float32) - self.low_) / np.float32(self._top)

    def _encode(self, docs: Float32) -> Codes:
        values = np.empty(docs.shape, dtype=np.uint8 if self.bits <= 8 else "<u2")
        step = np.where(self.step_ > 0, self.step_, np.float32(np.inf))
        for start, stop in row_blocks(len(docs), docs.shape[1] * 4):
            scaled = (docs[start:stop] - self.low_) / step
            rounded = np.rint(scaled) if self.rounding == "nearest" else np.floor(scaled)
            if self.overflow == "wrap":
                values[start:stop] = np.mod(rounded, 2**self.bits)
            else:
                values[start:stop] = np.clip(rounded, 0, self._top)
        return Codes.packed(pack(values, self.bits) if self.bits <= 8 else values.view(np.uint8))

    def _bits_per_dimension(self) -> Array:
        return np.full(self._check_fitted(), float(self.bits))

    def _numbers(self, codes: Codes) -> Float32:
        """Return the codes as they are, float32 (n, d)."""
        if self.bits <= 8:
            return unpack(codes.array, self.bits, self.dim_).astype(np.float32)
        return np.ascontiguousarray(codes.array).view("<u2").astype(np.float32)

    def _decode(self, codes: Codes) -> Float32:
        decoded = self._numbers(codes)
        decoded *= self.step_
        decoded += self.low_
        return decoded

    def _plain_rows(self, codes: Codes) -> StoredRows | None:
        if self.bits not in PACKED:
            return None
        return StoredRows(codes.array, PackedNumbers(self.bits, self.step_, np.zeros_like(self.low_)), self.low_)

    def _levels(self, codes: Codes) -> Float32:
        offset = (self._top + 1) // 2 if self.signed_codes else 0
        return self._numbers(codes) - np.float32(offset)


@dataclass(kw_only=True, eq=False)
class PerVector(Codec):
    """Symmetric uniform levels over each document's own largest magnitude.

    The levels are the odd multiples -(2**b - 1), ..., -1, 1, ..., 2**b - 1 of half a step for `levels="midrise"`
    (even in number, none at zero), or the integers -(2**(b-1) - 1), ..., 2**(b-1) - 1 for `levels="midtread"` (as
    int8 is commonly used; one code is left over).

    Parameters
    ----------
    bits : int
        1 to 8 bits a dimension (midtread needs 2).
    levels : {"midtread", "midrise"}
    store_scale : bool
        Keep the largest magnitude as a float16 beside each code (2 bytes). Without it the decoded document is scaled
        to unit length, which is what it was when the model normalises.
    """

    bits: int = 8
    levels: Literal["midtread", "midrise"] = "midtread"
    store_scale: bool = False

    def _check_parameters(self) -> None:
        lowest = 2 if self.levels == "midtread" else 1
        self._require(lowest <= self.bits <= 8, f"bits must be {lowest} to 8, got {self.bits}")

    @property
    def _top(self) -> int:
        """The largest level, in steps for midtread and in half steps for midrise."""
        return (1 << (self.bits - 1)) - 1 if self.levels == "midtread" else (1 << self.bits) - 1

    def _encode(self, docs: Float32) -> Codes:
        largest = np.maximum(docs.max(axis=1), -docs.min(axis=1))
        if self.store_scale and largest.max() > np.finfo(np.float16).max:
            raise MethodError(f"PerVector: an entry of {largest.max():.3g} does not fit the stored float16 scale")
        scaled = docs * (self._top / np.where(largest > 0, largest, 1))[:, None].astype(np.float32)
        if self.levels == "midtread":
            values = np.rint(scaled) + self._top
        else:
            values = np.clip(np.floor(scaled / 2) + 2 ** (self.bits - 1), 0, 2**self.bits - 1)
        rows: dict[str, NDArray[np.generic]] = {"codes": pack(values.astype(np.uint8), self.bits)}
        if self.store_scale:
            rows["scale"] = largest.astype(np.float16)
        return Codes(n=len(docs), rows=rows)

    def _levels(self, codes: Codes) -> Float32:
        values = unpack(codes.array, self.bits, self.dim_).astype(np.float32)
        return values - self._top if self.levels == "midtread" else 2 * values - self._top

    def _decode(self, codes: Codes) -> Float32:
        levels = self._levels(codes)
        if self.store_scale:
            levels *= (codes.rows["scale"].astype(np.float32) / self._top)[:, None]
            return levels
        # unit length whatever the scale was; sums of squares of integers are exact, so row by row it is the same
        norms = np.sqrt(np.einsum("ij,ij->i", levels, levels, dtype=np.float64))
        levels /= np.where(norms > 0, norms, 1)[:, None].astype(np.float32)
        return levels
