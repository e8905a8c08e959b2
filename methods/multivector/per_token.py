"""Any code for one vector, used on each token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from methods.base import Array, Codec, Codes, Float32, Ragged, arrays_under
from methods.multivector.codec import FIT_TOKENS, TOKENS, TokenCodec, evenly_spaced
from methods.multivector.token_rows import TokenRows
from methods.token_vectors import TokenVectors, offsets_of


@dataclass(kw_only=True, eq=False)
class PerToken(TokenCodec):
    """A code for one vector a document, used on each token as if it were a document of its own.

    What the codec learns, all tokens share. Where tokens have a direction in common, as those of most models do, its
    `centre` counts more than with documents. Scores are the codec's: `scoring` and `renormalize` are set on it.

    Parameters
    ----------
    codec : Codec
        Row-wise, with as many bytes for each vector.
    fit_tokens : int or None
        Vectors that it is fitted on, of documents evenly spaced; None for all.
    """

    codec: Codec
    fit_tokens: int | None = FIT_TOKENS

    def _check_parameters(self) -> None:
        self._require_at_least(1, "fit_tokens")
        self._require(
            self.renormalize is False and self.scoring == "asymmetric",
            "set renormalize and scoring on its codec, which knows where its centre and its axes are",
        )
        self._require(self.codec.takes == "vectors", "codec must be one for one vector a document")
        self._require(
            self.codec.row_wise and not self.codec.searches_whole,
            f"codec must encode and score each vector on its own, which {type(self.codec).__name__} does not",
        )
        self._require(not self.codec.wants_queries, f"{type(self.codec).__name__} learns from queries, one vector each")

    def _fit(self, docs: TokenVectors, queries: Any) -> None:
        vars(self).pop("_rows", None)
        self.codec.fit(evenly_spaced(docs, self.fit_tokens).float32().values)

    def training(self) -> list[dict[str, Any]]:
        """Return what gradient descent did in the codec's last `fit`."""
        return self.codec.training()

    @cached_property
    def _rows(self) -> TokenRows:
        return TokenRows(self.codec, self._check_fitted())

    def _encode(self, docs: TokenVectors) -> Codes:
        packed = np.empty((docs.tokens, self._rows.nbytes), np.uint8)
        first = int(docs.offsets[0])
        for _, block in docs.blocks():
            if block.tokens:
                rows = slice(int(block.offsets[0]) - first, int(block.offsets[-1]) - first)
                packed[rows] = self._rows.pack(self.codec.encode(block.float32().values))
        return Codes(n=len(docs), rows={}, ragged={TOKENS: Ragged.of(packed, docs.counts)})

    def _token_codes(self, codes: Codes) -> Codes:
        """Return the codec's codes of all tokens."""
        return self._rows.unpack(codes.ragged[TOKENS].values)

    def _decode(self, codes: Codes) -> TokenVectors:
        return self._as_tokens(self.codec.decode(self._token_codes(codes)), codes)

    def _doc_matrix(self, codes: Codes) -> TokenVectors:  # type: ignore[override]
        return self._as_tokens(self.codec.doc_matrix(self._token_codes(codes)), codes)

    def _as_tokens(self, values: Float32, codes: Codes) -> TokenVectors:
        return TokenVectors(values, offsets_of(codes.ragged[TOKENS].lengths))

    def _query_matrix(self, queries: TokenVectors) -> TokenVectors:  # type: ignore[override]
        own = queries.float32()
        return TokenVectors(self.codec.query_matrix(own.values), own.offsets) if len(own.values) else own

    def state(self) -> dict[str, Array]:
        """Return the codec's state under the prefix `codec.`."""
        return super().state() | {f"codec.{name}": array for name, array in self.codec.state().items()}

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand the codec its own arrays."""
        vars(self).pop("_rows", None)
        self.codec.load_state(arrays_under(arrays, "codec."))
        return super().load_state({name: array for name, array in arrays.items() if "." not in name})
