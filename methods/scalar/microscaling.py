"""Block-scaled short floats: a few bits an entry, and one scale for every run of neighbouring entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from methods.base import Codec, Codes, Float32, row_blocks
from methods.kernels.packing import packed_size
from methods.scalar.cast import Format, bits_of, float_format, read_floats, store_floats


@dataclass(kw_only=True, eq=False)
class MicroScaled(Codec):
    """Entries in a float format of 4 to 8 bits, each block of entries with a scale of one byte.

    Parameters
    ----------
    element : name of the entries' format
    block : int
        Entries that share a scale; the last block of a document may be shorter.
    scale : {"e8m0", "e4m3"}
        *e8m0*: a power of two, 2**(floor(log2(largest magnitude)) - the format's largest exponent), with its exponent
        stored; magnitudes between the format's largest number and the next power of two saturate. That is the MX
        format. *e4m3*: the block's largest magnitude over the format's largest number, as float8_e4m3fn relative to
        one float32 that all documents share. That is NVFP4, whose blocks have 16 entries.

    Notes
    -----
    OCP Microscaling Formats (MX) Specification 1.0, section 6.3, and Rouhani et al., 2023.
    """

    element: Format = "float4_e2m1fn"
    block: int = 32
    scale: Literal["e8m0", "e4m3"] = "e8m0"

    def _check_parameters(self) -> None:
        self._require_at_least(1, "block")
        self._require(bits_of(self.element) <= 8, f"element must have at most 8 bits, got {self.element}")

    @property
    def _largest(self) -> float:
        """The largest number of the element format."""
        return float(ml_dtypes.finfo(float_format(self.element)).max)

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        if self.scale == "e4m3":
            largest = float(max(docs.max(), -docs.min()))
            top = float(ml_dtypes.finfo(ml_dtypes.float8_e4m3fn).max)
            self.factor_ = largest / (self._largest * top) if largest > 0 else 1.0

    def _block_scales(self, docs: Float32) -> NDArray[np.uint8]:
        """Return each block's scale byte, uint8 (n, blocks)."""
        largest = np.maximum.reduceat(np.abs(docs), np.arange(0, docs.shape[1], self.block), axis=1)
        if self.scale == "e4m3":
            relative = np.minimum(largest / np.float32(self._largest * self.factor_), 448)
            return relative.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
        # frexp's mantissa is in [1/2, 1), so its exponent is floor(log2) + 1
        exponent = np.frexp(largest)[1] - int(np.frexp(self._largest)[1])
        return np.where(largest > 0, np.clip(exponent, -127, 127) + 127, 0).astype(np.uint8)

    def _factors(self, scales: NDArray[np.uint8]) -> Float32:
        """Return what each entry is multiplied by, float32 (n, d)."""
        if self.scale == "e4m3":
            values = scales.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * np.float32(self.factor_)
        else:
            values = np.ldexp(np.float32(1), scales.astype(np.int32) - 127)
        wide: Float32 = np.repeat(values, self.block, axis=1)[:, : self.dim_]
        return wide

    def _encode(self, docs: Float32) -> Codes:
        n, d = docs.shape
        rows: dict[str, NDArray[Any]] = {
            "codes": np.empty((n, packed_size(d, bits_of(self.element))), dtype=np.uint8),
            "scales": self._block_scales(docs),
        }
        for start, stop in row_blocks(n, 4 * d):
            factors = self._factors(rows["scales"][start:stop])
            # a block of zeros may have scale 0; 1e-30 / 2**-127 and the like saturate below
            with np.errstate(over="ignore"):
                scaled = np.divide(docs[start:stop], factors, out=np.zeros_like(factors), where=factors > 0)
            rows["codes"][start:stop] = store_floats(scaled, self.element)
        return Codes(n=n, rows=rows)

    def _decode(self, codes: Codes) -> Float32:
        values = read_floats(codes.array, self.element, self.dim_)
        values *= self._factors(np.ascontiguousarray(codes.rows["scales"]))
        return values

    def _levels(self, codes: Codes) -> Float32:
        return read_floats(codes.array, self.element, self.dim_)
