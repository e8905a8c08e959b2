"""What a codec says of its codes, so that a search may score documents without decoding them.

A document as it enters the dot product is x = point + f g(bytes) + e direction, perhaps scaled to unit length, where g
is `step` times whole numbers packed in bytes, or a sum of one table's row for each byte. Few codes are neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
Stored = NDArray[np.float32] | NDArray[np.float16]

PACKED = (1, 2, 4, 8)
"""Bits of numbers that lie within bytes."""

VALUES = 256
"""Rows of a byte's table."""

PAIRED = 4
"""Bits of a number up to which a byte holds several, so that a table for each byte is worth it."""


class ByteTables(NamedTuple):
    """A table of 256 rows for each byte, which it stands for in some dimensions.

    Attributes
    ----------
    starts : int64 (b + 1,)
        Where each byte's dimensions begin in `dims`.
    dims : int64 (w,)
        The dimensions that bytes stand for, byte after byte.
    columns : float32 (w, 256)
        What each value of the byte stands for there.
    """

    starts: Int64
    dims: Int64
    columns: Float32

    @classmethod
    def of(cls, groups: Sequence[Int64], tables: Sequence[Float32]) -> ByteTables:
        """Return the tables of bytes, float32 (256, w'), in the dimensions of each, int64 (w',)."""
        starts = np.cumsum([0, *map(len, groups)], dtype=np.int64)
        columns = np.concatenate([table.T for table in tables]).astype(np.float32)
        return cls(starts, np.concatenate(groups).astype(np.int64), np.ascontiguousarray(columns))


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

    def tables(self) -> ByteTables:
        """Return the same as a table for each byte: a lookup for 8 / bits products."""
        each, dims = 8 // self.bits, np.arange(len(self.step))
        shifts = self.bits * np.arange(each)
        numbers = np.arange(VALUES)[:, None] >> (shifts[::-1] if self.last_first else shifts)
        numbers &= 2**self.bits - 1
        groups = [dims[start : start + each] for start in range(0, len(dims), each)]
        tables = [self.base[group] + self.step[group] * numbers[:, : len(group)] for group in groups]
        return ByteTables.of(groups, [table.astype(np.float32) for table in tables])


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Documents (n, width) as they enter the dot product, told by their bytes.

    Attributes
    ----------
    octets : uint8 (n, b)
    code : PackedNumbers or ByteTables
        What they stand for, in the first dimensions; a table's bytes name theirs.
    point : float32 (width,)
    factor : float32 or float16 (n,), or None for 1
    extra : float32 or float16 (n,), or None for 0
    direction : float32 (width,)
    unit : bool
        Whether x is scaled to unit length; only of tables, without factor and extra.
    """

    octets: UInt8
    code: PackedNumbers | ByteTables
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


def byte_tables(bits: int, levels: Float32, d: int) -> ByteTables:
    """Return the tables of numbers of 1, 2 or 4 bits, each of which stands for one of `levels`, float32 (2^bits,)."""
    each, dims = 8 // bits, np.arange(d)
    groups = [dims[start : start + each] for start in range(0, d, each)]
    numbers = np.arange(VALUES)[:, None] >> bits * np.arange(each) & (2**bits - 1)
    table = levels[numbers]
    return ByteTables.of(groups, [table[:, : len(group)] for group in groups])
