"""Codes for the ids of a document's terms, which ascend. They write whole documents: the ids, then weights' symbols.

All are numbered by `methods.kernels.bit_streams`, which is imported when the first document is written: compiling
takes a second or two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Part, Ragged
from methods.representations import Kind, SparseVectors

Int64 = NDArray[np.int64]
Rows = tuple[Int64, Int64, Int64]
"""indptr int64 (n + 1,), ids int64 (nnz,), symbols int64 (nnz,)."""


def bits_for(count: int) -> int:
    """Return the bits of a number below `count`, at least 1."""
    return max(1, (count - 1).bit_length())


@dataclass(kw_only=True, eq=False)
class IdCode(Part, ABC):
    """A code for ascending ids."""

    takes: ClassVar[Kind] = "terms"

    def learn(self, docs: SparseVectors, symbols: Int64, bits: int) -> None:
        """Learn from documents whose weights have these symbols of `bits` bits; most codes ask for the width only."""
        self.dim_ = docs.width

    @abstractmethod
    def write(self, indptr: Int64, terms: Int64, symbols: Int64, bits: int) -> Ragged:
        """Return a byte string for each row of ids, with a symbol of `bits` bits for each."""

    @abstractmethod
    def read(self, strings: Ragged, bits: int) -> Rows:
        """Return what was written."""


@dataclass(kw_only=True, eq=False)
class FixedWidth(IdCode):
    """Each id in the same number of bits.

    Parameters
    ----------
    bits : {"least", "word", 16, 32}
        *least*: what the vocabulary needs, ceil(log2 V), in one stream of bits. (At least 8 with the weight's: the
        length of a document's string then says how many terms it has.) *word*: 16, or 32 where 16 are too few.
    """

    bits: Literal["least", "word", 16, 32] = "least"

    def learn(self, docs: SparseVectors, symbols: Int64, bits: int) -> None:
        """Refuse a vocabulary that the bits do not number."""
        needed = bits_for(docs.width)
        self._require(
            isinstance(self.bits, str) or needed <= self.bits,
            f"a vocabulary of {docs.width} terms needs {needed} bits, but bits={self.bits}: use bits=32 or bits=least",
        )
        super().learn(docs, symbols, bits)

    def _id_bits(self, bits: int) -> int:
        needed = bits_for(self._check_fitted())
        if self.bits == "least":
            return max(needed, 8 - bits)
        return int(self.bits) if self.bits != "word" else 16 if needed <= 16 else 32

    def write(self, indptr: Int64, terms: Int64, symbols: Int64, bits: int) -> Ragged:
        """Return a byte string for each row of ids."""
        from methods.kernels import bit_streams

        return Ragged.of(*bit_streams.write_fixed(indptr, terms, symbols, bits, self._id_bits(bits)))

    def read(self, strings: Ragged, bits: int) -> Rows:
        """Return what was written."""
        from methods.kernels import bit_streams

        rows: Rows = bit_streams.read_fixed(strings.values, strings.starts, bits, self._id_bits(bits))
        return rows
