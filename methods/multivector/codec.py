"""The contract of codes for token vectors: that of `methods.base.Codec`, with many vectors on both sides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from methods import max_sim
from methods.base import Codec, Codes, Float32, has_unit_rows, unit_rows
from methods.representations import Kind
from methods.token_vectors import TOKEN_BLOCK, TokenVectors, document_runs

Int64 = NDArray[np.int64]

TOKENS = "tokens"
"""The name of the codes' array that has some bytes for each vector of a document."""

FIT_TOKENS = 1 << 18
"""Vectors that parts are fitted on where no more is asked for, of documents evenly spaced over the collection."""


@dataclass(kw_only=True, eq=False)
class TokenCodec(Codec, ABC):
    """A lossy code for documents that are a vector for each token.

    Scores are MaxSim of the query's vectors and the decoded ones, exact but for one rounding to float32
    (`methods.max_sim`). The count of a document's vectors is stored as the length of its rows of bytes, and counts.

    Parameters
    ----------
    renormalize : bool or "auto"
        Scale each decoded vector to unit length.
    scoring : {"asymmetric", "symmetric"}
        *symmetric*: the query's vectors are encoded and decoded too.
    """

    takes: ClassVar[Kind] = "tokens"

    def _learn_lengths(self, docs: TokenVectors) -> None:
        if self.renormalize == "auto":
            self.unit_length_ = all(has_unit_rows(block.float32().values) for _, block in docs.blocks())

    def decode(self, codes: Codes) -> TokenVectors:  # type: ignore[override]
        """Return the vectors that the bytes stand for, float32."""
        self._check_fitted()
        decoded = self._decode(codes)
        return TokenVectors(unit_rows(decoded.values), decoded.offsets) if self.renormalizes else decoded

    def score(self, queries: Any, codes: Codes) -> Float32:
        """Return all scores, float32 (m, n)."""
        asked = self._query_matrix(self._checked(queries, "queries", self._query_width()))
        pairs = np.indices((len(asked), codes.n)).reshape(2, -1)
        return self._score_pairs(asked, codes, pairs[0], pairs[1]).reshape(len(asked), codes.n)

    def _score_listed(self, queries: TokenVectors, codes: Codes, listed: Int64) -> Float32:
        owner = np.repeat(np.arange(len(listed)), listed.shape[1])
        return self._score_pairs(self._query_matrix(queries), codes, owner, listed.ravel()).reshape(listed.shape)

    def _score_pairs(self, asked: TokenVectors, codes: Codes, owner: Int64, rows: Int64) -> Float32:
        return max_sim.listed_scores(asked, lambda wanted: self._doc_matrix(codes.take(wanted)), owner, rows)

    def _query_matrix(self, queries: TokenVectors) -> TokenVectors:  # type: ignore[override]
        if self.scoring == "asymmetric":
            return queries
        self._require(self.scoring == "symmetric", "scoring=raw_codes is not for token vectors")
        return self.decode(self._encode(queries))

    def _doc_matrix(self, codes: Codes) -> TokenVectors:  # type: ignore[override]
        return self.decode(codes)

    def _search(self, queries: TokenVectors, codes: Codes, k: int) -> tuple[Float32, Int64]:
        blocks = ((start, self._doc_matrix(codes[start:stop])) for start, stop in self._runs(codes))
        return max_sim.search_blocks(
            self._query_matrix(queries), codes.n, blocks, lambda rows: self._doc_matrix(codes.take(rows)), k
        )

    def _runs(self, codes: Codes) -> Iterator[tuple[int, int]]:
        """Yield runs of documents that are decoded at a time."""
        return document_runs(self.token_counts(codes), TOKEN_BLOCK)

    def token_counts(self, codes: Codes) -> Int64:
        """Return how many vectors each document has, int64 (n,)."""
        return codes.ragged[TOKENS].lengths.astype(np.int64)

    def stored_vectors(self, codes: Codes) -> int:
        """Return of how many vectors the codes have bytes."""
        return int(self.token_counts(codes).sum())

    @abstractmethod
    def _encode(self, docs: TokenVectors) -> Codes: ...

    @abstractmethod
    def _decode(self, codes: Codes) -> TokenVectors: ...  # type: ignore[override]


def evenly_spaced(docs: TokenVectors, tokens: int | None) -> TokenVectors:
    """Return documents, evenly spaced, that have about so many vectors; all where there are no more."""
    if tokens is None or docs.tokens <= tokens:
        return docs
    count = max(1, len(docs) * tokens // docs.tokens)
    return docs.take(np.linspace(0, len(docs) - 1, count).astype(np.int64))
