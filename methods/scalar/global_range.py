"""Scalar quantisation with one interval for all dimensions, as most vector stores do it under the name of int8."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from methods.base import Array, Codec, Codes, Float32, row_blocks
from methods.kernels.packing import pack, unpack
from methods.scalar.ranges import Extremes, Range
from methods.stored_rows import PACKED, PackedNumbers, StoredRows


@dataclass(kw_only=True, eq=False)
class GlobalRange(Codec):
    """Equal steps over one interval [low, high] that all documents and dimensions share.

    With step = (high - low) / steps, a number is at the place p = (x - low) / step; its code is p rounded and clipped
    to [0, steps], and decodes to low + step (code + shift).

    Parameters
    ----------
    range : Range
        How low and high are chosen (`methods.scalar.ranges`).
    steps : int
        1 to 255. The bits of a code follow: 127 makes 7 bits, of a byte if `packed` is false.
    rounding : {"nearest", "floor", "to_zero"}
        *to_zero* cuts off the decimals of x / step, negative ones too, so that the cell around zero is twice as wide:
        a cast from float to int8. What is zero there is the code `zero`.
    zero : int
        Only for to_zero.
    shift : float
        What is added to each decoded number, in steps. One half undoes what floor rounds away.
    packed : bool
        Pack codes of less than 8 bits. Stores that keep a byte for 7 bits do not.
    corrected : bool
        Add Lucene's first-order correction to scores, o(x) = sum of low (x_i - low / 2) + (dx_i - dx^_i) dx^_i, for
        dx = x - low clipped to the interval and its decoded form dx^, and o(q) likewise. The first term makes the
        products with `low` exact, the second is right for queries like the document. What the interval clips, the
        first term counts and the second does not: with an interval that clips much, the correction does harm. o(x) is
        stored, 4 bytes. Needs scoring="symmetric".

    Notes
    -----
    Lucene 9.9 to 10.3 (`ScalarQuantizer`), Qdrant, Weaviate's SQ, LanceDB's SQ, usearch and others differ in the range,
    the steps and the rounding, and all of them round the query as well: scoring="symmetric".
    """

    range: Range = field(default_factory=Extremes)
    steps: int = 255
    rounding: Literal["nearest", "floor", "to_zero"] = "nearest"
    zero: int = 0
    shift: float = 0.0
    packed: bool = True
    corrected: bool = False

    def _check_parameters(self) -> None:
        self._require(1 <= self.steps <= 255, f"steps must be 1 to 255, got {self.steps}")
        self._require(self.rounding == "to_zero" or self.zero == 0, f"zero={self.zero} goes with rounding=to_zero only")
        self._require(
            not self.corrected or (self.scoring == "symmetric" and not self.renormalize),
            "corrected=true needs scoring=symmetric and renormalize=false: what is corrected is a score of two codes",
        )

    @property
    def _bits(self) -> int:
        return self.steps.bit_length() if self.packed else 8

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        low, high = self.range.ends(docs)
        self.low_, self.step_ = low, max(high - low, 0.0) / self.steps

    def _numbers(self, vectors: Float32) -> Array:
        """Return the codes before packing, uint8 (n, d)."""
        numbers = np.zeros(vectors.shape, dtype=np.uint8)
        if self.step_ == 0:
            return numbers
        for start, stop in row_blocks(len(vectors), 16 * vectors.shape[1]):
            in_steps = (vectors[start:stop].astype(np.float64) - self.low_) / self.step_
            if self.rounding == "nearest":
                # halves go up, as a cast of the number and a half does
                in_steps = np.floor(in_steps + 0.5)
            elif self.rounding == "floor":
                in_steps = np.floor(in_steps)
            else:
                in_steps = np.trunc(in_steps - self.zero) + self.zero
            numbers[start:stop] = np.clip(in_steps, 0, self.steps)
        return numbers

    def _encode(self, docs: Float32) -> Codes:
        numbers = self._numbers(docs)
        rows: dict[str, Array] = {"codes": pack(numbers, self._bits)}
        if self.corrected:
            rows["correction"] = self._corrections(docs, numbers).astype(np.float32)
        return Codes(n=len(docs), rows=rows)

    def _corrections(self, vectors: Float32, numbers: Array) -> Array:
        """Return the correction of each vector, o of the class's formulas, float64 (n,)."""
        out = np.empty(len(vectors))
        for start, stop in row_blocks(len(vectors), 16 * vectors.shape[1]):
            wide = vectors[start:stop].astype(np.float64)
            decoded = self.step_ * numbers[start:stop]
            along = self.low_ * (wide - self.low_ / 2)
            inside = np.clip(wide - self.low_, 0, self.steps * self.step_)
            out[start:stop] = (along + (inside - decoded) * decoded).sum(axis=1)
        return out

    def _levels(self, codes: Codes) -> Float32:
        return unpack(codes.array, self._bits, self.dim_).astype(np.float32)

    def _decode(self, codes: Codes) -> Float32:
        decoded = self._levels(codes)
        if self.corrected:
            decoded *= np.float32(self.step_)
            return np.column_stack([decoded, codes.rows["correction"], np.ones(codes.n, np.float32)])
        decoded += np.float32(self.shift)
        decoded *= np.float32(self.step_)
        decoded += np.float32(self.low_)
        return decoded

    def _plain_rows(self, codes: Codes) -> StoredRows | None:
        if self._bits not in PACKED:
            return None
        step = np.full(self.dim_, self.step_, np.float32)
        numbers = PackedNumbers(self._bits, step, np.zeros_like(step))
        if not self.corrected:
            point = np.float32(self.low_) + step * np.float32(self.shift)
            return StoredRows(codes.array, numbers, point)
        # the correction and 1 stand beside the numbers
        correction, one = np.eye(self.dim_ + 2, dtype=np.float32)[-2:]
        return StoredRows(codes.array, numbers, one, extra=codes.rows["correction"], direction=correction)

    def _query_matrix(self, queries: Float32) -> Float32:
        if not self.corrected:
            return super()._query_matrix(queries)
        numbers = self._numbers(queries)
        corrections = self._corrections(queries, numbers)
        return np.column_stack([self.step_ * numbers, np.ones(len(queries)), corrections]).astype(np.float32)
