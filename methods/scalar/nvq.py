"""Non-uniform vector quantisation: each part of a document has its own S-shaped spacing of levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from methods.base import Array, Codec, Codes, Float32, MethodError, row_blocks
from methods.kernels.packing import pack, packed_size, unpack

COARSE = tuple(range(0, 200, 10))
"""Growth rates that are tried first, in tenths: 0 to 19. 0 is equal steps."""

NEIGHBOURHOOD = 10
"""Then all tenths up to 1 away from the best of these."""


@dataclass(kw_only=True, eq=False)
class NVQ(Codec):
    """Compress each part of a document by a logistic curve before rounding, and expand it after (NVQ, as in JVector).

    A document less the documents' mean is cut into `parts`. In a part with entries t from l to h and width w = h - l,

        code = round((2**bits - 1) (g(t) - g(l)) / (g(h) - g(l))),    g(t) = S(growth * t / w),

    where S is the logistic function, steepest at 0, or a cheap relative of it. The growth rate of each part is the one
    of least squared error on a line search: 0 (equal steps) to 19 by ones, then by tenths around the best.

    Parameters
    ----------
    bits : int
        1 to 8 bits a dimension. JVector has 8.
    parts : int
        Must divide the number of dimensions. Each part stores l and h as float16 and the growth rate in one byte.
        (JVector stores four float32 numbers, one of which, the curve's centre, is always 0.)
    curve : {"base2", "logistic"}
        *base2* is T / (1 + T), T the linear interpolation of 2**y between integers, which is a matter of a float's
        exponent and mantissa; *logistic* is 1 / (1 + exp(-y)).
    centre : {"mean", "none"}

    Notes
    -----
    Tepper and Willke, 2025, "NVQ: Non-uniform vector quantization" (arXiv 2509.18471).
    """

    bits: int = 8
    parts: int = 1
    curve: Literal["base2", "logistic"] = "base2"
    centre: Literal["mean", "none"] = "mean"

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")
        self._require_at_least(1, "parts")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        self._require(d % self.parts == 0, f"parts={self.parts} does not divide the {d} dimensions of the vectors")
        if self.centre == "mean":
            self.mean_ = docs.mean(axis=0, dtype=np.float64).astype(np.float32)

    def _encode(self, docs: Float32) -> Codes:
        n, d = docs.shape
        rows: dict[str, Array] = {
            "codes": np.empty((n, packed_size(d, self.bits)), dtype=np.uint8),
            "range": np.empty((n, 2 * self.parts), dtype=np.float16),
            "growth": np.empty((n, self.parts), dtype=np.uint8),
        }
        # small blocks: the search passes over each some forty times, and should find it in the cache
        for start, stop in row_blocks(n, 256 * d):
            u = docs[start:stop] - self.mean_ if self.centre == "mean" else docs[start:stop]
            u = u.reshape(stop - start, self.parts, d // self.parts)
            ends = np.stack([u.min(axis=2), u.max(axis=2)], axis=2)
            if float(np.abs(ends).max()) > float(np.finfo(np.float16).max):
                raise MethodError(f"NVQ: an entry of {np.abs(ends).max():.3g} does not fit the stored float16 range")
            ends = ends.astype(np.float16)
            growth = self._search_growth(u, ends)
            rows["range"][start:stop] = ends.reshape(stop - start, -1)
            rows["growth"][start:stop] = growth
            rows["codes"][start:stop] = pack(self._numbers(u, ends, growth).reshape(stop - start, d), self.bits)
        return Codes(n=n, rows=rows)

    def _search_growth(self, u: Float32, ends: Array) -> Array:
        """Return the growth rate of least squared error of each part, in tenths, uint8 (n, parts)."""
        best = np.full(u.shape[:2], np.inf)
        chosen = np.zeros(u.shape[:2], dtype=np.int64)

        def attempt(growth: Array) -> None:
            residual = (u - self._values(self._numbers(u, ends, growth), ends, growth)).astype(np.float64)
            squared_error = np.einsum("ijk,ijk->ij", residual, residual)
            # a curve that is flat over the whole part in float32 gives NaN, which is never less
            better = squared_error < best
            best[better] = squared_error[better]
            chosen[better] = growth[better]

        for tenths in COARSE:
            attempt(np.full(u.shape[:2], tenths))
        middle = chosen.copy()
        for offset in range(-NEIGHBOURHOOD, NEIGHBOURHOOD + 1):
            if offset:
                attempt(np.maximum(middle + offset, 0))
        return chosen.astype(np.uint8)

    def _curve_at(self, ends: Array, growth: Array) -> tuple[Float32, Float32, Float32]:
        """Return each part's scale (growth / width), g(l) and g(h) - g(l), float32 (n, parts, 1).

        Where the growth rate is 0, g is the identity.
        """
        low, high = ends[:, :, :1].astype(np.float32), ends[:, :, 1:].astype(np.float32)
        width = high - low
        rate = growth[:, :, None].astype(np.float32) / np.float32(10)
        scale = np.divide(rate, width, out=np.zeros_like(width), where=width > 0)
        curved = scale > 0
        first = np.where(curved, self._squash(low * scale), low)
        return scale, first, np.where(curved, self._squash(high * scale), high) - first

    def _numbers(self, u: Float32, ends: Array, growth: Array) -> Array:
        """Return the numbers of levels, uint8 (n, parts, d / parts), that the curve rounds entries to."""
        scale, first, rise = self._curve_at(ends, growth)
        squashed = u if not growth.any() else np.where(scale > 0, self._squash(u * scale), u)
        top = np.float32(2**self.bits - 1)
        shares = np.divide(squashed - first, rise, out=np.zeros_like(squashed), where=rise > 0)
        return np.rint(np.clip(shares, 0, 1) * top).astype(np.uint8)

    def _values(self, numbers: Array, ends: Array, growth: Array) -> Float32:
        """Return what numbers decode to, float32 (n, parts, d / parts)."""
        scale, first, rise = self._curve_at(ends, growth)
        squashed = first + numbers.astype(np.float32) * (rise / np.float32(2**self.bits - 1))
        if not growth.any():
            return squashed
        with np.errstate(all="ignore"):
            curved = self._expand(squashed) / scale
        return np.where(scale > 0, curved, squashed)

    def _squash(self, y: Float32) -> Float32:
        """Return the logistic function of y, by powers of 2 or of e."""
        bounded = np.clip(y, np.float32(-80), np.float32(80))
        if self.curve == "base2":
            powers = power_of_two(bounded)
            return np.asarray(powers / (1 + powers))
        return np.asarray(1 / (1 + np.exp(-bounded)), dtype=np.float32)

    def _expand(self, v: Float32) -> Float32:
        """Return the inverse of `_squash`."""
        odds = v / (1 - v)
        if self.curve == "base2":
            return log_of_two(odds)
        expanded: Float32 = np.log(odds)
        return expanded

    def _decode(self, codes: Codes) -> Float32:
        shape = (codes.n, self.parts, self.dim_ // self.parts)
        numbers = unpack(codes.array, self.bits, self.dim_).reshape(shape)
        ends = codes.rows["range"].reshape(codes.n, self.parts, 2)
        decoded = self._values(numbers, ends, codes.rows["growth"]).reshape(codes.n, self.dim_)
        return decoded + self.mean_ if self.centre == "mean" else decoded

    def _levels(self, codes: Codes) -> Float32:
        return unpack(codes.array, self.bits, self.dim_).astype(np.float32)


def power_of_two(y: Float32) -> Float32:
    """Return 2**y, interpolated linearly between integers; for -126 < y < 128.

    A float's exponent followed by its mantissa, read as one integer, is that interpolation of its logarithm.
    """
    powers: Float32 = ((y + np.float32(127)) * np.float32(1 << 23)).astype(np.int32).view(np.float32)
    return powers


def log_of_two(x: Float32) -> Float32:
    """Return the inverse of `power_of_two`: log2(x), interpolated linearly between powers of two."""
    # in float64: an int32 has more digits than a float32 keeps
    return (np.ascontiguousarray(x).view(np.int32) / (1 << 23) - 127).astype(np.float32)
