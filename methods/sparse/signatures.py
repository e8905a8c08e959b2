"""Signatures: one string of bits a document, in which each of its terms sets some; a term whose bits are all set is
taken for there, and some that are not are too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from methods.base import Codes, Part
from methods.representations import Kind, Postings, SparseVectors
from methods.sparse.codec import SparseCodec
from methods.sparse.pruning import ranks
from methods.sparse.weights import Presence

Int64 = NDArray[np.int64]

BLOCK = 1 << 14
"""Documents whose bits are unpacked at a time."""


@dataclass(kw_only=True, eq=False)
class WordCode(Part, ABC):
    """Which bits of a signature stand for a term."""

    takes: ClassVar[Kind] = "terms"

    @abstractmethod
    def places(self, bits: int) -> tuple[Int64, Int64]:
        """Return the bits of each term of the vocabulary: indptr int64 (V + 1,), and numbers below `bits` int64."""


@dataclass(kw_only=True, eq=False)
class HashedWords(WordCode):
    """Bits drawn by a hash of the term's number: superimposed coding (Mooers, 1951; Bloom, 1970).

    Parameters
    ----------
    hashes : int or None
        Bits of a term, some of which may coincide. None: the rarer, the more, so that at half of the bits set a term
        is taken for there, where it is not, in at most half as many documents as have it (BitFunnel; Goodwin et al.,
        2017); state: a byte for each term.
    seed : int
    """

    hashes: int | None = None
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require_at_least(1, "hashes")

    def _fit(self, docs: SparseVectors, queries: object) -> None:
        if self.hashes is None:
            share = np.maximum(np.bincount(docs.terms, minlength=docs.width), 1) / len(docs)
            self.counts_ = np.ceil(1 - np.log2(share)).astype(np.uint8)

    def places(self, bits: int) -> tuple[Int64, Int64]:
        """Return the bits of each term."""
        width = self._check_fitted()
        counts = np.full(width, self.hashes) if self.hashes is not None else np.asarray(self.counts_, np.int64)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        number = np.arange(indptr[-1]) - indptr[:-1].repeat(counts)
        terms = np.arange(width).repeat(counts)
        mixed = _mixed(_mixed(terms.astype(np.uint64) + np.uint64(self.seed << 32)) + number.astype(np.uint64))
        return indptr, (mixed % np.uint64(bits)).astype(np.int64)


@dataclass(kw_only=True, eq=False)
class BitCipher(WordCode):
    """Distinct codes of few bits: the most frequent terms have one bit, those after them two, and so on.

    State: the terms' order, a number each.

    Notes
    -----
    Zhao and Williams, 2023 (arXiv 2311.11012), as read in summaries: they add such ciphers of a word's neighbours to
    word vectors; here those of a document's terms are superimposed.
    """

    def _fit(self, docs: SparseVectors, queries: object) -> None:
        frequency = np.bincount(docs.terms, minlength=docs.width)
        self.order_ = np.argsort(-frequency, kind="stable").astype(np.min_scalar_type(docs.width - 1))

    def places(self, bits: int) -> tuple[Int64, Int64]:
        """Return the bits of each term."""
        width = self._check_fitted()
        self._require(bits >= 63 or width < 1 << bits, f"{bits} bits have fewer codes than the {width} terms")
        codes: list[Int64] = []
        left, size = width, 1
        while left:
            codes.append(_subsets(min(left, comb(bits, size)), size, bits))
            left -= len(codes[-1])
            size += 1
        counts = np.empty(width, np.int64)
        by_rank = np.concatenate([np.full(len(code), code.shape[1]) for code in codes])
        order = np.asarray(self.order_, np.int64)
        counts[order] = by_rank
        starts = np.concatenate([[0], np.cumsum(by_rank)])[:-1]
        rank = np.empty(width, np.int64)
        rank[order] = np.arange(width)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        flat = np.concatenate([code.ravel() for code in codes])
        places = starts[rank].repeat(counts) + np.arange(indptr[-1]) - indptr[:-1].repeat(counts)
        return indptr, flat[places]


@dataclass(kw_only=True, eq=False)
class TermSignature(SparseCodec):
    """One string of bits a document: its strongest terms' bits, superimposed.

    Parameters
    ----------
    words : WordCode
    weights : Presence
        What a term counts that is taken for there.
    nbytes : int
        Bytes of a document.
    fill : float
        Share of bits set, expected, up to which terms are taken in, from the strongest on. At a half, bits say most.
    """

    words: WordCode
    weights: Presence
    nbytes: int = 48
    fill: float = 0.5

    makes_up_terms: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(1, "nbytes")
        self._require(0 < self.fill < 1, f"fill must be between 0 and 1, got {self.fill}")

    @property
    def _parts(self) -> dict[str, Part]:
        return {"words": self.words, "weights": self.weights}

    def _fit(self, docs: SparseVectors, queries: Any) -> None:
        self.words.fit(docs)
        self.weights.fit(self._kept(docs))

    def _kept(self, docs: SparseVectors) -> SparseVectors:
        """Return the strongest terms of each document, as many as the fill allows, at least one."""
        indptr, _ = self.words.places(8 * self.nbytes)
        order, rank = ranks(docs)
        bits = np.diff(indptr)[docs.terms[order]]
        total = np.concatenate([[0], np.cumsum(bits)])
        taken = total[1:] - total[docs.indptr[:-1]].repeat(docs.counts)
        keep = np.zeros(docs.nnz, bool)
        # so many draws set a share `fill` of the bits
        keep[order] = (taken <= -np.log1p(-self.fill) * 8 * self.nbytes) | (rank == 0)
        return docs.kept(keep)

    def _encode(self, docs: SparseVectors) -> Codes:
        kept = self._kept(docs)
        indptr, places = self.words.places(8 * self.nbytes)
        signatures = np.empty((len(docs), self.nbytes), np.uint8)
        for start in range(0, len(docs), BLOCK):
            block = kept[start : start + BLOCK]
            counts = np.diff(indptr)[block.terms]
            ends = np.cumsum(counts)
            own = places[(indptr[:-1][block.terms] - ends + counts).repeat(counts) + np.arange(counts.sum())]
            bits = np.zeros((len(block), 8 * self.nbytes), bool)
            bits[block.rows.repeat(counts), own] = True
            signatures[start : start + BLOCK] = np.packbits(bits, axis=1)
        return Codes(n=len(docs), rows={"signatures": signatures})

    def _decode(self, codes: Codes) -> SparseVectors:
        """Return each document's terms whose bits are all set."""
        every = np.arange(self._check_fitted())
        starts = range(0, codes.n, BLOCK)
        return SparseVectors.concatenate([self._members(codes[start : start + BLOCK], every) for start in starts])

    def _postings(self, codes: Codes, asked: SparseVectors) -> Iterator[tuple[int, Postings]]:
        """Yield (first row, postings) of the terms that are asked for: the others are not looked up."""
        wanted = np.unique(asked.terms).astype(np.int64)
        for start in range(0, codes.n, BLOCK):
            yield start, Postings(self._members(codes[start : start + BLOCK], wanted))

    def _members(self, codes: Codes, terms: Int64) -> SparseVectors:
        """Return documents by those of these terms, ascending, whose bits are all set."""
        indptr, places = self.words.places(8 * self.nbytes)
        by_bit = np.ascontiguousarray(np.unpackbits(codes.rows["signatures"], axis=1).T).view(bool)
        found = [np.flatnonzero(by_bit[places[indptr[term] : indptr[term + 1]]].all(axis=0)) for term in terms]
        counts = np.zeros(self._check_fitted(), np.int64)
        counts[terms] = [len(rows) for rows in found]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.concatenate([*found, np.empty(0, np.int64)]).astype(np.uint32)
        members = SparseVectors(starts, rows, np.ones(len(rows), np.float32), codes.n).transposed()
        symbols = np.zeros(members.nnz, np.int64)
        return members.with_weights(self.weights.weights(symbols, members.terms.astype(np.int64), members.rows, {}))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the numbers by SplitMix64's finaliser (Steele, Lea and Flood, 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _subsets(count: int, size: int, bits: int) -> Int64:
    """Return the first `count` subsets of `size` of so many bits, int64 (count, size), in colexicographic order."""
    left, members = np.arange(count), np.empty((count, size), np.int64)
    for taken in range(size, 0, -1):
        # how many subsets of so many members there are below each largest member
        below = np.array([min(comb(bit, taken), 1 << 62) for bit in range(bits)], dtype=np.int64)
        members[:, taken - 1] = np.searchsorted(below, left, side="right") - 1
        left = left - below[members[:, taken - 1]]
    return members
