"""Locally adaptive quantisation: each document has its own range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from methods.base import Array, Codec, Codes, Float32, MethodError, row_blocks
from methods.kernels.packing import pack, packed_size, unpack

CLIPS = (1.0, 0.9, 0.8, 0.7, 0.6)
"""Parts of the range that clip=true chooses from."""


@dataclass(kw_only=True, eq=False)
class LVQ(Codec):
    """Equal steps between a document's own smallest and largest entry, less the documents' mean (LVQ-B).

    With u = x - mean, l = min u and h = max u, stored as two float16: step = (h - l) / (2**bits - 1), code =
    round((u - l) / step), decoded as mean + l + step * code. A second level (LVQ-B1xB2) divides each step again:
    u less what is decoded lies within half a step, and `residual_bits` more bits say where, with no further side
    information. Together the two levels are what Intel's library ranks again with, after a search on the first alone.

    Parameters
    ----------
    bits : int
        1 to 8 bits a dimension.
    residual_bits : int
        0 is one level; 1 to 8 bits a dimension for the second.
    centre : {"mean", "none"}
    clip : bool
        Use that part of the range, 1 down to 0.6, whose decoded u has the largest cosine with u, and stretch it so that
        it is nearest to u. At 4 bits, after a rotation and without centring, that is Weaviate's RQ-4 (which judges the
        cosine on the first 512 entries). Without clipping, at 8 bits, it is Weaviate's RQ-8.
    ends : {"float16", "float32"}
        How l and h are stored.

    Notes
    -----
    Aguerrebere et al., 2023, "Similarity search in the blink of an eye with compressed indices", definitions 1 and 2.
    """

    bits: int = 8
    residual_bits: int = 0
    centre: Literal["mean", "none"] = "mean"
    clip: bool = False
    ends: Literal["float16", "float32"] = "float16"

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")
        self._require(0 <= self.residual_bits <= 8, f"residual_bits must be 0 to 8, got {self.residual_bits}")
        self._require(
            not (self.clip and self.residual_bits),
            f"clip=true needs residual_bits=0, got {self.residual_bits}: what is clipped lies beyond the second level",
        )

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        if self.centre == "mean":
            self.mean_ = docs.mean(axis=0, dtype=np.float64).astype(np.float32)

    def _encode(self, docs: Float32) -> Codes:
        n, d = docs.shape
        rows: dict[str, Array] = {
            "codes": np.empty((n, packed_size(d, self.bits)), dtype=np.uint8),
            "range": np.empty((n, 2), dtype=self.ends),
        }
        if self.residual_bits:
            rows["residual"] = np.empty((n, packed_size(d, self.residual_bits)), dtype=np.uint8)
        for start, stop in row_blocks(n, 32 * d):
            u = docs[start:stop] - self.mean_ if self.centre == "mean" else docs[start:stop]
            ends = np.stack([u.min(axis=1), u.max(axis=1)], axis=1)
            if float(np.abs(ends).max()) > float(np.finfo(self.ends).max):
                raise MethodError(f"LVQ: an entry of {np.abs(ends).max():.3g} does not fit ends={self.ends}")
            ends = (self._clipped(u, ends) if self.clip else ends).astype(self.ends)
            # what is stored is what decoding will use
            numbers = self._numbers(u, *self._grid(ends))
            rows["range"][start:stop], rows["codes"][start:stop] = ends, pack(numbers, self.bits)
            if self.residual_bits:
                low, step = self._grid(ends)
                residual = u - (low + step * numbers)
                top = np.float32(2**self.residual_bits - 1)
                shares = np.divide(residual, step, out=np.zeros_like(residual), where=step > 0) + np.float32(0.5)
                second_numbers = np.clip(np.rint(shares * top), 0, top).astype(np.uint8)
                rows["residual"][start:stop] = pack(second_numbers, self.residual_bits)
        return Codes(n=n, rows=rows)

    def _grid(self, ends: Array) -> tuple[Float32, Float32]:
        """Return the lowest level and the step of each document, float32 (n, 1)."""
        low, high = ends[:, :1].astype(np.float32), ends[:, 1:].astype(np.float32)
        return low, (high - low) / np.float32(2**self.bits - 1)

    def _numbers(self, u: Float32, low: Float32, step: Float32) -> Array:
        steps = np.divide(u - low, step, out=np.zeros_like(u), where=step > 0)
        numbers: Array = np.clip(np.rint(steps), 0, 2**self.bits - 1).astype(np.uint8)
        return numbers

    def _clipped(self, u: Float32, ends: Float32) -> Float32:
        """Return the ends of the range that decodes to the nearest multiple of the best clipped code."""
        wide = u.astype(np.float64)
        best, chosen = np.full(len(u), -np.inf), ends.astype(np.float64)
        for clip in CLIPS:
            narrowed = ends * np.float32(clip)
            low, step = self._grid(narrowed)
            decoded = low + step.astype(np.float64) * self._numbers(u, low, step)
            product, energy = np.einsum("ij,ij->i", wide, decoded), np.einsum("ij,ij->i", decoded, decoded)
            quality = np.divide(product * np.abs(product), energy, out=np.zeros(len(u)), where=energy > 0)
            stretch = np.divide(product, energy, out=np.ones(len(u)), where=energy > 0)
            better = quality > best
            best[better] = quality[better]
            chosen[better] = (narrowed * stretch[:, None])[better]
        return chosen.astype(np.float32)

    def _decode(self, codes: Codes) -> Float32:
        low, step = self._grid(codes.rows["range"])
        decoded = unpack(codes.array, self.bits, self.dim_).astype(np.float32)
        if self.residual_bits:
            seconds = unpack(codes.rows["residual"], self.residual_bits, self.dim_).astype(np.float32)
            decoded += seconds / np.float32(2**self.residual_bits - 1) - np.float32(0.5)
        decoded *= step
        decoded += low
        if self.centre == "mean":
            decoded += self.mean_
        return decoded

    def _levels(self, codes: Codes) -> Float32:
        return unpack(codes.array, self.bits, self.dim_).astype(np.float32)
