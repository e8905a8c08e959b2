"""Floating-point casts: the number format is the codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np

from methods.base import Codec, Codes, Float32

DType = Literal["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]

_DTYPES: dict[str, np.dtype] = {  # type: ignore[type-arg]
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
}


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
    Formats: IEEE 754 (float16), bfloat16, and OCP 8-bit floating point (Micikevicius et al., 2022).
    """

    dtype: DType = "float16"
    scale: Literal["none", "absmax", "power_of_two"] = "none"

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        if self.scale == "none":
            return
        largest = float(max(docs.max(), -docs.min()))
        factor = float(ml_dtypes.finfo(_DTYPES[self.dtype]).max) / largest if largest > 0 else 1.0
        # a float32 holds the factor; float16 and wider formats would overflow it for tiny inputs
        factor = min(factor, float(np.finfo(np.float32).max))
        self.factor_ = float(2.0 ** np.floor(np.log2(factor))) if self.scale == "power_of_two" else factor

    def _encode(self, docs: Float32) -> Codes:
        target = _DTYPES[self.dtype]
        if self.dtype == "float32":
            return Codes.packed(docs.view(np.uint8))
        values = docs if self.scale == "none" else (docs * np.float32(self.factor_))
        limit = np.float32(ml_dtypes.finfo(target).max)
        return Codes.packed(np.clip(values, -limit, limit).astype(target).view(np.uint8))

    def _decode(self, codes: Codes) -> Float32:
        values = np.ascontiguousarray(codes.array).view(_DTYPES[self.dtype]).astype(np.float32, copy=False)
        return values if self.scale == "none" else values / np.float32(self.factor_)

    def _levels(self, codes: Codes) -> Float32:
        return np.ascontiguousarray(codes.array).view(_DTYPES[self.dtype]).astype(np.float32)
