"""Floating-point casts: the number format is the codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32
from methods.kernels.packing import pack, unpack

Format = Literal[
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float4_e2m1fn",
]


def float_format(name: Format) -> np.dtype[np.generic]:
    """Return the NumPy dtype of a format; those below 8 bits occupy the low bits of a byte."""
    dtype: np.dtype[np.generic] = np.dtype(getattr(np, name, None) or getattr(ml_dtypes, name))
    return dtype


def bits_of(name: Format) -> int:
    """Return the bits of one number."""
    return int(ml_dtypes.finfo(float_format(name)).bits)


def store_floats(values: Float32, name: Format) -> NDArray[np.uint8]:
    """Return numbers (n, d) in a format, saturating, as packed bytes (n, ceil(d * bits / 8))."""
    target = float_format(name)
    limit = np.float32(ml_dtypes.finfo(target).max)
    octets = np.clip(values, -limit, limit).astype(target).view(np.uint8)
    return pack(octets, bits_of(name)) if bits_of(name) < 8 else octets


def read_floats(stored: NDArray[np.uint8], name: Format, d: int) -> Float32:
    """Return the numbers, float32 (n, d), whose bytes `store_floats` returned."""
    octets = unpack(stored, bits_of(name), d) if bits_of(name) < 8 else stored
    return np.ascontiguousarray(octets).view(float_format(name)).astype(np.float32)


@dataclass(kw_only=True, eq=False)
class Cast(Codec):
    """Store each number in a shorter floating-point format, rounding to nearest even and saturating.

    Parameters
    ----------
    dtype : name of the format
    scale : {"none", "absmax", "power_of_two"}
        Numbers are multiplied by one global factor first. Entries of unit vectors are small (0.05 at 384 dimensions),
        and a quarter of them fall into float8_e4m3fn's subnormal range when cast as they are. *absmax* maps the
        largest entry of the fitted documents to the format's largest number; *power_of_two* is the largest power of
        two that does not overflow, so that the division is exact.

    Notes
    -----
    Formats: IEEE 754 (float16), bfloat16, OCP 8-bit floating point (Micikevicius et al., 2022), and the elements of OCP
    microscaling at 6 and 4 bits (Rouhani et al., 2023), here without their block scales.
    """

    dtype: Format = "float16"
    scale: Literal["none", "absmax", "power_of_two"] = "none"

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        if self.scale == "none":
            return
        largest = float(max(docs.max(), -docs.min()))
        factor = float(ml_dtypes.finfo(float_format(self.dtype)).max) / largest if largest > 0 else 1.0
        # a float32 holds the factor; float16 and wider formats would overflow it for tiny inputs
        factor = min(factor, float(np.finfo(np.float32).max))
        self.factor_ = float(2.0 ** np.floor(np.log2(factor))) if self.scale == "power_of_two" else factor

    def _bits_per_dimension(self) -> Array:
        return np.full(self._check_fitted(), float(bits_of(self.dtype)))

    def _encode(self, docs: Float32) -> Codes:
        if self.dtype == "float32":
            return Codes.packed(docs.view(np.uint8))
        return Codes.packed(store_floats(docs if self.scale == "none" else docs * np.float32(self.factor_), self.dtype))

    def _decode(self, codes: Codes) -> Float32:
        if self.dtype == "float32":
            return np.ascontiguousarray(codes.array).view(np.float32)
        values = read_floats(codes.array, self.dtype, self.dim_)
        return values if self.scale == "none" else values / np.float32(self.factor_)

    def _levels(self, codes: Codes) -> Float32:
        return read_floats(codes.array, self.dtype, self.dim_)
