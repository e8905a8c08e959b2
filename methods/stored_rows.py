"""What a codec says of its codes, so that a search may score documents without decoding them.

A document as it enters the dot product is x = point + f g(bytes) + e direction, perhaps scaled to unit length, where g
is `step` times whole numbers packed in bytes, or a sum of one table's row for each byte. Few codes are neither.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from methods.kernels.code_scores import Levels, Own, Tables
    from methods.kernels.product_codes import Layout

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Stored = NDArray[np.float32] | NDArray[np.float16]

PACKED = (1, 2, 4, 8)
"""Bits of numbers that lie within bytes."""

PAIRED = 4
"""Bits of a number up to which a byte holds several, so that a table for each byte is worth it."""


@dataclass(frozen=True, eq=False)
class PackedNumbers:
    """Whole numbers c of so many bits in bytes, which stand for base + step c.

    Attributes
    ----------
    bits : int
        One of `PACKED`.
    step, base : float32 (d,)
    last_first : bool
        Whether a byte's first number is in its highest bits, as `np.packbits` has it.
    """

    bits: int
    step: Float32
    base: Float32
    last_first: bool = False

    def tables(self) -> Layout:
        """Return the same as a table of 256 rows for each byte: a byte's lookup for its 8 / bits products."""
        from methods.kernels import product_codes

        each, dims = 8 // self.bits, np.arange(len(self.step))
        shifts = self.bits * np.arange(each)
        numbers = np.arange(product_codes.VALUES)[:, None] >> (shifts[::-1] if self.last_first else shifts)
        numbers &= 2**self.bits - 1
        groups = [dims[start : start + each] for start in range(0, len(dims), each)]
        tables = [self.base[group] + self.step[group] * numbers[:, : len(group)] for group in groups]
        return product_codes.layout(groups, [table.astype(np.float32) for table in tables])


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Documents (n, width) as they enter the dot product, told by their bytes.

    Attributes
    ----------
    octets : uint8 (n, b)
    code : PackedNumbers or Layout
        What they stand for, in the first dimensions; a table's bytes name theirs.
    point : float32 (width,)
    factor : float32 or float16 (n,), or None for 1
    extra : float32 or float16 (n,), or None for 0
    direction : float32 (width,)
    unit : bool
        Whether x is scaled to unit length; only of tables, without factor and extra.
    """

    octets: UInt8
    code: PackedNumbers | Layout
    point: Float32
    factor: Stored | None = None
    extra: Stored | None = None
    direction: Float32 | None = None
    unit: bool = False

    def scaled_to_unit_length(self) -> StoredRows | None:
        """Return the rows scaled to unit length, or None where no table of a byte tells their lengths."""
        if self.factor is not None or self.extra is not None or self.unit:
            return None
        if not isinstance(self.code, PackedNumbers):
            return replace(self, unit=True)
        return replace(self, code=self.code.tables(), unit=True) if self.code.bits <= PAIRED else None

    def moved(self, point: Float32, lost: float | None) -> StoredRows | None:
        """Return x + point, and after that place one more coordinate, `lost`, if there is one.

        None where they were scaled to unit length before.
        """
        if self.unit:
            return None
        width, both = len(point), self.point.copy()
        both[:width] += point
        if lost is None:
            return replace(self, point=both)
        both = np.insert(both, width, np.float32(lost))
        along = None if self.direction is None else np.insert(self.direction, width, np.float32(0))
        return replace(self, point=both, direction=along)

    def form(self) -> Levels | Tables:
        """Return what compiled loops score."""
        from methods.kernels.code_scores import Levels, Rows, Tables  # numba takes a while to import

        octets = np.ascontiguousarray(self.octets)
        factor, extra = _own(self.factor), _own(self.extra)
        largest = 1.0 if self.factor is None else float(np.abs(self.factor).max())
        width = len(self.point)
        point = np.ascontiguousarray(self.point, dtype=np.float32)
        direction = np.zeros(width, np.float32) if self.direction is None else self.direction.astype(np.float32)
        # eight products are more than one lookup
        if isinstance(self.code, PackedNumbers) and self.code.bits > 1:
            code, each = self.code, 8 // self.code.bits
            dims = np.arange(octets.shape[1] * each)
            dims = np.where(dims < len(code.step), dims, -1).reshape(octets.shape[1], each).T
            shifts = np.arange(each, dtype=np.uint8) * np.uint8(code.bits)
            shifts = np.ascontiguousarray(shifts[::-1] if code.last_first else shifts)
            return Levels(
                Rows(octets, shifts, 2**code.bits - 1, factor, extra, -1.0),
                np.ascontiguousarray(dims),
                _filled(code.step, width),
                _filled(code.base, width),
                point,
                direction,
                largest,
            )
        layout = self.code.tables() if isinstance(self.code, PackedNumbers) else self.code
        wide = layout.columns.astype(np.float64)
        ends = layout.starts[:-1]
        lengths = np.add.reduceat(wide**2, ends, axis=0)
        cross = np.add.reduceat(wide * point[layout.dims][:, None].astype(np.float64), ends, axis=0)
        square = float(point.astype(np.float64) @ point)
        reach = float(np.sqrt(lengths.max(axis=1).sum()))
        return Tables(
            Rows(octets, np.empty(0, np.uint8), 0, factor, extra, square if self.unit else -1.0),
            layout.starts,
            layout.dims,
            layout.columns,
            point,
            direction,
            (lengths + 2 * cross).astype(np.float32).ravel() if self.unit else np.empty(0, np.float32),
            largest * reach + float(np.sqrt(square)),
        )


def byte_layout(bits: int, levels: Float32, d: int) -> Layout:
    """Return the layout of numbers of 1, 2 or 4 bits, each of which stands for one of `levels`, float32 (2^bits,)."""
    from methods.kernels import product_codes

    each, dims = 8 // bits, np.arange(d)
    groups = [dims[start : start + each] for start in range(0, d, each)]
    numbers = np.arange(product_codes.VALUES)[:, None] >> bits * np.arange(each) & (2**bits - 1)
    table = levels[numbers]
    return product_codes.layout(groups, [np.ascontiguousarray(table[:, : len(group)]) for group in groups])


def _filled(values: Float32, width: int) -> Float32:
    filled = np.zeros(width, np.float32)
    filled[: len(values)] = values
    return filled


def _own(numbers: Stored | None) -> Own:
    """Return numbers of documents as they are stored."""
    from methods.kernels.code_scores import Own

    whole, half = np.empty(0, np.float32), np.empty(0, np.uint16)
    if numbers is not None and numbers.dtype == np.float32:
        whole = np.ascontiguousarray(numbers)
    elif numbers is not None:
        half = np.ascontiguousarray(numbers).view(np.uint16)
    return Own(whole, half)
