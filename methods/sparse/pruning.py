"""Which terms of a document are stored. All rules keep strong ones, and decide before any scale is computed.

A rule has one setting. Where it is null, a budget of bytes finds it (`TermWeights.nbytes`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from methods.base import Part
from methods.representations import Kind, SparseVectors

Int64 = NDArray[np.int64]


@dataclass(kw_only=True, eq=False)
class Pruning(Part, ABC):
    """A rule that keeps some terms of each document, whatever other documents it is encoded with."""

    takes: ClassVar[Kind] = "terms"

    def _check_share(self, share: float | None) -> None:
        """Refuse a share that is not in (0, 1]; None passes."""
        self._require(share is None or 0 < share <= 1, f"share must be in (0, 1], got {share}")

    @property
    @abstractmethod
    def setting(self) -> float | None:
        """The rule's parameter; None where a budget finds it."""

    @abstractmethod
    def settle(self, docs: SparseVectors, setting: float) -> None:
        """Learn from documents at this value of the parameter."""

    def full(self, docs: SparseVectors) -> float:
        """Return the setting at which all terms of these documents are kept."""
        return 1.0

    def _fit(self, docs: SparseVectors, queries: object) -> None:
        if self.setting is not None:
            self.settle(docs, self.setting)

    @abstractmethod
    def kept(self, docs: SparseVectors) -> SparseVectors:
        """Return documents without the terms that are not stored."""


@dataclass(kw_only=True, eq=False)
class StrongestTerms(Pruning):
    """The k strongest terms of each document, the lower term first among equals (`max_active_dims` of encoders).

    Parameters
    ----------
    k : float or None
        With 12.3, the documents whose 13th weight is largest, three in ten, keep 13 terms, and the others 12.
    """

    k: float | None = None

    def _check_parameters(self) -> None:
        self._require_positive("k")

    @property
    def setting(self) -> float | None:
        """Terms of a document."""
        return self.k

    def full(self, docs: SparseVectors) -> float:
        """Return the terms of the longest document."""
        return float(max(1, docs.counts.max()))

    def settle(self, docs: SparseVectors, setting: float) -> None:
        """Learn the weight from which one more term is kept, where k is no whole number."""
        self.whole_ = int(setting)
        more = round((setting - self.whole_) * len(docs))
        order, rank = ranks(docs)
        following = np.sort(docs.weights[order][rank == self.whole_])[::-1]
        # documents that are too short to keep one more do not count
        self.further_ = 0.0 if more > len(following) else float(following[more - 1]) if more else np.inf

    def kept(self, docs: SparseVectors) -> SparseVectors:
        """Return the strongest terms."""
        order, rank = ranks(docs)
        keep = np.empty(docs.nnz, bool)
        keep[order] = (rank < self.whole_) | ((rank == self.whole_) & (docs.weights[order] >= self.further_))
        return docs.kept(keep)


@dataclass(kw_only=True, eq=False)
class MassShare(Pruning):
    """The fewest strongest terms of each document that hold a share of the sum of its weights.

    Parameters
    ----------
    share : float or None
        In (0, 1].

    Notes
    -----
    The alpha-mass subvector of Bruch, Nardini, Rulli and Venturini, 2024 (Seismic).
    """

    share: float | None = None

    def _check_parameters(self) -> None:
        self._check_share(self.share)

    @property
    def setting(self) -> float | None:
        """Share of the sum."""
        return self.share

    def settle(self, docs: SparseVectors, setting: float) -> None:
        """Take over the share."""
        self.share_ = float(setting)

    def kept(self, docs: SparseVectors) -> SparseVectors:
        """Return the terms up to the one that completes the share."""
        if self.share_ >= 1:
            return docs
        from methods import postings

        order, rank = ranks(docs)
        counts = postings.needed_for_share(docs.indptr, docs.weights[order], self.share_)
        keep = np.empty(docs.nnz, bool)
        keep[order] = rank < counts[docs.rows]
        return docs.kept(keep)


@dataclass(kw_only=True, eq=False)
class PostingShare(Pruning):
    """The strongest weights of each term: a share of the documents that have it, and all that tie with the last.

    Parameters
    ----------
    share : float or None
        In (0, 1]. A term that any document has is kept somewhere.

    Notes
    -----
    Term-centric static pruning (Carmel et al., 2001; Lassance et al., 2023). The state has a float32 for each term of
    the vocabulary, which encoding needs, and no search.
    """

    share: float | None = None

    def _check_parameters(self) -> None:
        self._check_share(self.share)

    @property
    def setting(self) -> float | None:
        """Share of a posting list."""
        return self.share

    def settle(self, docs: SparseVectors, setting: float) -> None:
        """Learn the weight from which each term is kept; one that no document has is kept always."""
        postings = docs.transposed()
        order, _ = ranks(postings)
        filled = np.flatnonzero(postings.counts)
        wanted = np.ceil(setting * postings.counts[filled]).astype(np.int64)
        self.least_ = np.zeros(docs.width, np.float32)
        self.least_[filled] = postings.weights[order][postings.indptr[filled] + np.maximum(wanted, 1) - 1]

    def kept(self, docs: SparseVectors) -> SparseVectors:
        """Return the terms whose weight is not below their own threshold."""
        return docs.kept(docs.weights >= np.asarray(self.least_)[docs.terms])


@dataclass(kw_only=True, eq=False)
class Threshold(Pruning):
    """All weights from one threshold on, and all that tie with it: a share of all weights of the collection.

    Parameters
    ----------
    share : float or None
        In (0, 1].

    Notes
    -----
    Agnostic static pruning (Lassance et al., 2023). A document of weak terms may keep none.
    """

    share: float | None = None

    def _check_parameters(self) -> None:
        self._check_share(self.share)

    @property
    def setting(self) -> float | None:
        """Share of all weights."""
        return self.share

    def settle(self, docs: SparseVectors, setting: float) -> None:
        """Learn the threshold."""
        wanted = max(1, int(np.ceil(setting * docs.nnz)))
        self.least_ = float(np.partition(docs.weights, docs.nnz - wanted)[docs.nnz - wanted]) if docs.nnz else 0.0

    def kept(self, docs: SparseVectors) -> SparseVectors:
        """Return the terms from the threshold on."""
        return docs.kept(docs.weights >= np.float32(self.least_))


def ranks(docs: SparseVectors) -> tuple[Int64, Int64]:
    """Return the order of each row's terms by falling weight, the lower term first among equals, and the ranks in it.

    Both int64 (nnz,): `docs.weights[order]` falls within each row, and the ranks go from 0 within each row.
    """
    from methods import postings

    order = postings.falling(docs.indptr, docs.weights)
    return order, np.arange(docs.nnz) - docs.indptr[:-1][docs.rows]
