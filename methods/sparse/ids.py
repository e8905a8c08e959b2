"""Codes for ascending ids: the terms of a document, or the documents of a term. They write whole byte strings: ids,
then the symbols of weights, by the compiled loops of `methods.kernels`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Part, Ragged
from methods.representations import Kind, SparseVectors

Int64 = NDArray[np.int64]
Rows = tuple[Int64, Int64, Int64]
"""indptr int64 (n + 1,), ids int64 (nnz,), symbols int64 (nnz,)."""


def bits_for(count: int) -> int:
    """Return the bits of a number below `count`, at least 1."""
    return max(1, (count - 1).bit_length())


@dataclass(kw_only=True, eq=False)
class IdCode(Part, ABC):
    """A code for ids that ascend within a string."""

    takes: ClassVar[Kind] = "terms"

    adapts: ClassVar[bool] = False
    """Whether it learns how frequent each term is, and so is for the terms of documents only."""

    def learn(self, docs: SparseVectors, symbols: Int64, bits: int) -> None:
        """Learn from documents whose weights have these symbols of `bits` bits; most codes learn nothing."""
        self.dim_ = docs.width

    def check(self, width: int, bits: int) -> None:
        """Refuse ids below `width`, or symbols of `bits` bits, that it has no code for."""

    @abstractmethod
    def write(self, rows: Rows, width: int, bits: int) -> Ragged:
        """Return a byte string for each row of ids below `width`, with a symbol of `bits` bits for each id."""

    @abstractmethod
    def read(self, strings: Ragged, width: int, bits: int) -> Rows:
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

    def check(self, width: int, bits: int) -> None:
        """Refuse a vocabulary that the bits do not number."""
        needed = bits_for(width)
        self._require(
            isinstance(self.bits, str) or needed <= self.bits,
            f"a vocabulary of {width} terms needs {needed} bits, but bits={self.bits}: use bits=32 or bits=least",
        )

    def _id_bits(self, width: int, bits: int) -> int:
        needed = bits_for(width)
        if self.bits == "least":
            return max(needed, 8 - bits)
        return int(self.bits) if self.bits != "word" else 16 if needed <= 16 else 32

    def write(self, rows: Rows, width: int, bits: int) -> Ragged:
        """Return a byte string for each row of ids."""
        from methods.kernels import bit_streams

        return Ragged.of(*bit_streams.write_fixed(*rows, bits, self._id_bits(width, bits)))

    def read(self, strings: Ragged, width: int, bits: int) -> Rows:
        """Return what was written."""
        from methods.kernels import bit_streams

        return bit_streams.read_fixed(strings.values, strings.starts, bits, self._id_bits(width, bits))


@dataclass(kw_only=True, eq=False)
class VariableByte(IdCode):
    """Gaps between ids, 7 bits to a byte."""

    def write(self, rows: Rows, width: int, bits: int) -> Ragged:
        """Return a byte string for each row of ids."""
        from methods.kernels import bit_streams

        return Ragged.of(*bit_streams.write_vbyte(*rows, bits))

    def read(self, strings: Ragged, width: int, bits: int) -> Rows:
        """Return what was written."""
        from methods.kernels import bit_streams

        return bit_streams.read_vbyte(strings.values, strings.starts, bits)


@dataclass(kw_only=True, eq=False)
class DotVByte(IdCode):
    """Seismic's: ids in groups of 8, a gap in one byte or two, a control bit each; weights of 8 bits.

    With g = count // 8 groups and t = count % 8 ids left over, a document takes pad8(2 + 3 t + g + s) + 8 g bytes,
    where s is the bytes of the groups' gaps and pad8 fills words of 8 bytes. The ids left over are the last ones.

    Notes
    -----
    Bruch, Nardini, Rulli and Venturini, 2026 (arXiv 2602.05445); TusKANNy/vectorium, dotvbyte_fixedu8.rs.
    """

    def check(self, width: int, bits: int) -> None:
        """Refuse what 16 bits do not number, and weights that are not of 8 bits."""
        self._require(width < 1 << 16, f"it numbers fewer than 65536 terms, and the vocabulary has {width}")
        self._require(bits == 8, f"it writes weights of 8 bits, and these have {bits}")

    def write(self, rows: Rows, width: int, bits: int) -> Ragged:
        """Return a byte string for each row of ids."""
        from methods.kernels import bit_streams

        return Ragged.of(*bit_streams.write_dot_vbyte(*rows))

    def read(self, strings: Ragged, width: int, bits: int) -> Rows:
        """Return what was written."""
        from methods.kernels import bit_streams

        return bit_streams.read_dot_vbyte(strings.values, strings.starts)


@dataclass(kw_only=True, eq=False)
class EliasFano(IdCode):
    """Low bits as they are, high bits in unary: about k (2 + log2(V / k)) bits for k ids (Elias, 1974; Fano, 1971)."""

    def write(self, rows: Rows, width: int, bits: int) -> Ragged:
        """Return a byte string for each row of ids."""
        from methods.kernels import bit_streams

        return Ragged.of(*bit_streams.write_elias_fano(*rows, bits, width))

    def read(self, strings: Ragged, width: int, bits: int) -> Rows:
        """Return what was written."""
        from methods.kernels import bit_streams

        return bit_streams.read_elias_fano(strings.values, strings.starts, bits, width)


@dataclass(kw_only=True, eq=False)
class Rice(IdCode):
    """Gaps by Rice's code, with the best parameter for each string (Rice, 1979)."""

    def write(self, rows: Rows, width: int, bits: int) -> Ragged:
        """Return a byte string for each row of ids."""
        from methods.kernels import bit_streams

        return Ragged.of(*bit_streams.write_rice(*rows, bits))

    def read(self, strings: Ragged, width: int, bits: int) -> Rows:
        """Return what was written."""
        from methods.kernels import bit_streams

        return bit_streams.read_rice(strings.values, strings.starts, bits, width)


@dataclass(kw_only=True, eq=False)
class EliasDelta(IdCode):
    """Gaps by Elias's delta code (Elias, 1975): a gap costs by its own size, so that documents in a good order pay."""

    def write(self, rows: Rows, width: int, bits: int) -> Ragged:
        """Return a byte string for each row of ids."""
        from methods.kernels import bit_streams

        return Ragged.of(*bit_streams.write_delta(*rows, bits))

    def read(self, strings: Ragged, width: int, bits: int) -> Rows:
        """Return what was written."""
        from methods.kernels import bit_streams

        return bit_streams.read_delta(strings.values, strings.starts, bits, width)


@dataclass(kw_only=True, eq=False)
class PackedBlocks(IdCode):
    """Postings as search engines write them: blocks of ids, each with as many bits a gap as its widest one needs.

    Parameters
    ----------
    block : int
        Ids of a block.
    spare : int
        Bytes of each block beside the one for the bits: what an engine keeps there to skip blocks.
    rest : {"vbyte", "pairs"}
        How ids beyond the last whole block are written: as gaps in bytes of 7 bits, or 4 bytes each, and 4 more for the
        weight.
    packed_weights : bool
        Whether a block's weights too have only the bits that the largest number among their symbols needs.
    """

    block: int = 128
    spare: int = 0
    rest: Literal["vbyte", "pairs"] = "vbyte"
    packed_weights: bool = False

    def _check_parameters(self) -> None:
        self._require_at_least(1, "block")
        self._require_at_least(0, "spare")

    def write(self, rows: Rows, width: int, bits: int) -> Ragged:
        """Return a byte string for each row of ids."""
        from methods.kernels import bit_streams

        pairs = self.rest == "pairs"
        return Ragged.of(*bit_streams.write_blocks(*rows, bits, self.block, self.spare, pairs, self.packed_weights))

    def read(self, strings: Ragged, width: int, bits: int) -> Rows:
        """Return what was written."""
        from methods.kernels import bit_streams

        place, pairs = (strings.values, strings.starts), self.rest == "pairs"
        return bit_streams.read_blocks(*place, bits, width, self.block, self.spare, pairs, self.packed_weights)


@dataclass(kw_only=True, eq=False)
class RangeCoded(IdCode):
    """Ids, and symbols of up to 8 bits, at the bits that their frequencies are worth, by a range coder.

    A term that is in the share p of documents costs -log2 p bits where it is, and -log2 (1 - p) where it is not. State:
    a byte for each term, -8 log2 p, and two for each symbol.
    """

    adapts: ClassVar[bool] = True

    def learn(self, docs: SparseVectors, symbols: Int64, bits: int) -> None:
        """Learn how frequent terms and symbols are; a symbol that never came counts for one.

        The terms that never came have a probability of 1/8 together: all of them being absent then costs a document a
        fifth of a bit, and one of them log2(8 of them).
        """
        frequency: Int64 = np.bincount(docs.terms, minlength=docs.width)
        unseen = int(np.count_nonzero(frequency == 0))
        share = np.where(frequency > 0, frequency / len(docs), 1 / (8 * max(1, unseen)))
        self.rarity_ = np.clip(np.rint(-8 * np.log2(share)), 0, 255).astype(np.uint8)
        if bits <= 8:
            counts = np.bincount(symbols, minlength=1 << bits) + 1
            spare = (1 << 16) - len(counts)
            ends = np.cumsum(counts) * spare // counts.sum() + np.arange(1, len(counts) + 1)
            # the last is 2^16, and known
            self.ends_ = ends[:-1].astype(np.uint16)
        else:
            vars(self).pop("ends_", None)
        vars(self).pop("_hazards", None)
        super().learn(docs, symbols, bits)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over the state that an object with the same parameters returned from `state`."""
        vars(self).pop("_hazards", None)
        return super().load_state(arrays)

    @cached_property
    def _hazards(self) -> Int64:
        """Running sums of -log2(1 - p) in 2^-32 bits, int64 (V + 1,), of a table in exact arithmetic."""
        from methods.kernels import term_range_coder

        return np.concatenate([[0], np.cumsum(term_range_coder.hazard_of_rarity()[self.rarity_])])

    def _cumulative(self) -> Int64:
        if "ends_" not in vars(self):
            return np.empty(0, np.int64)
        return np.concatenate([[0], np.asarray(self.ends_, dtype=np.int64), [1 << 16]])

    def write(self, rows: Rows, width: int, bits: int) -> Ragged:
        """Return a byte string for each row of ids."""
        from methods.kernels import term_range_coder as coder

        return Ragged.of(*coder.write(*rows, bits, self._hazards, coder.powers(), self._cumulative()))

    def read(self, strings: Ragged, width: int, bits: int) -> Rows:
        """Return what was written."""
        from methods.kernels import term_range_coder as coder

        return coder.read(strings.values, strings.starts, bits, self._hazards, coder.powers(), self._cumulative())
