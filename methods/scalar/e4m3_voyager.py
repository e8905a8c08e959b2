"""Voyager's 8-bit floats, with what goes wrong among the small ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from methods.base import Array, Codec, Codes, Float32, row_blocks

UNIT = 1024
"""The smallest step between two codes is 1 / 1024."""

LARGEST_EXPONENT = 8
"""Doublings of the step up to the largest magnitudes, 8 to 15 times 2^8 / 1024."""

MAGNITUDES = np.concatenate(
    [np.arange(8), *(np.arange(8, 16) << exponent for exponent in range(1, LARGEST_EXPONENT + 1))]
)
"""What a code can be, in 1/1024: whole numbers below 8, then eight steps to each power of two from 16 on."""


@dataclass(kw_only=True, eq=False)
class VoyagerE4M3(Codec):
    """A sign, four bits of exponent and three of mantissa, rounded as Voyager 2.2 rounds (`E4M3.h`).

    Numbers of at least 1/64 are rounded to three bits of mantissa. Below, in units of 1/1024, a should become the
    nearest whole number; from 7.5 on it does not: 7.5 to 8 and 11.5 to 16 become 16, and 8 to 11.5 becomes 7 if its
    decimals are less than .5 and 16 otherwise. A quarter of a 384-dimensional unit vector's entries lie there.
    """

    def _encode(self, docs: Float32) -> Codes:
        codes = np.empty(docs.shape, dtype=np.uint8)
        for start, stop in row_blocks(len(docs), 48 * docs.shape[1]):
            block = docs[start:stop]
            numbers = np.searchsorted(MAGNITUDES, round_magnitudes(np.abs(block.astype(np.float64)) * UNIT))
            codes[start:stop] = np.where(block < 0, 128 + numbers, numbers)
        return Codes.packed(codes)

    def _decode(self, codes: Codes) -> Float32:
        signed = np.concatenate([np.pad(MAGNITUDES, (0, 128 - len(MAGNITUDES))), -MAGNITUDES])
        return (signed / UNIT).astype(np.float32)[codes.array]


def round_magnitudes(a: Array) -> Array:
    """Return what numbers a >= 0, in 1/1024, become: members of `MAGNITUDES`, float64."""
    _, exponent = np.frexp(np.maximum(a, 16))
    step = np.exp2(exponent - 4)
    normal = np.minimum(np.rint(a / step) * step, MAGNITUDES[-1])
    lost = np.where((a >= 8) & (a < 11.5) & (a % 1 < 0.5), 7.0, 16.0)
    rounded: Array = np.where(a < 7.5, np.rint(a), np.where(a < 16, lost, normal))
    return rounded
