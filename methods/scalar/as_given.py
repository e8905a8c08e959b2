"""Vectors that are codes already: nothing is lost, and nothing kept that they do not hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from methods.base import Array, Codec, Codes, Float32, MethodError, row_blocks
from methods.kernels import hamming

Format = Literal["sign", "int8", "uint8", "float32"]


@dataclass(kw_only=True, eq=False)
class AsGiven(Codec):
    """Store the numbers as they are, in the fewest of 1, 8 and 32 bits that hold all of the fitted documents'.

    One bit where they are -1 and 1, a byte where they are whole and in the range of int8 or of uint8, and float32
    elsewhere. What a vendor gives as int8 or binary is measured so in the bytes that it was given in.

    What does not fit the format, which later documents or queries under scoring="symmetric" may not, is a
    `MethodError`: nothing is rounded.
    """

    FORMATS: ClassVar[tuple[Format, ...]] = ("sign", "int8", "uint8", "float32")
    BITS: ClassVar[dict[Format, int]] = {"sign": 1, "int8": 8, "uint8": 8, "float32": 32}

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        self.format_ = next(place for place, name in enumerate(self.FORMATS) if _misfit(docs, name) is None)

    @property
    def _format(self) -> Format:
        return self.FORMATS[self.format_]

    def _encode(self, docs: Float32) -> Codes:
        misfit = _misfit(docs, self._format)
        if misfit is not None:
            raise MethodError(
                f"AsGiven: the documents that it was fitted on are all {self._format}, which {misfit:g} is not; for "
                "queries of another kind than the documents, scoring must be asymmetric"
            )
        if self._format == "sign":
            return Codes.packed(np.packbits(docs > 0, axis=1))
        return Codes.packed(docs.astype(self._format).view(np.uint8))

    def _decode(self, codes: Codes) -> Float32:
        if self._format == "sign":
            return hamming.signs(codes.array, self.dim_)
        return np.ascontiguousarray(codes.array).view(self._format).astype(np.float32)

    def _levels(self, codes: Codes) -> Float32:
        return self._decode(codes)

    def _bits_per_dimension(self) -> Array:
        return np.full(self._check_fitted(), float(self.BITS[self._format]))


def _misfit(vectors: Float32, name: Format) -> float | None:
    """Return the first number of vectors (n, d) that a format does not hold, None where it holds all."""
    if name == "float32":
        return None
    low, high = (-1, 1) if name == "sign" else (np.iinfo(name).min, np.iinfo(name).max)
    for start, stop in row_blocks(len(vectors), 8 * vectors.shape[1]):
        block = vectors[start:stop]
        held = (block == np.rint(block)) & (low <= block) & (block <= high)
        if name == "sign":
            held &= block != 0
        if not held.all():
            return float(block[~held][0])
    return None
