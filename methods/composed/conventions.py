"""Conventions of published comparisons that change the ranking of methods, kept so that figures can be reproduced.

None of these is a way to build an index. They exist because a claim can only be checked under the rules it was made by.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from methods import topk
from methods.base import Array, Codec, Codes, Float32, MethodError, arrays_under, unit_rows


@dataclass(kw_only=True, eq=False)
class PerBatch(Codec):
    """Fit the codec anew on every batch of documents, so that codes of different batches mean different things.

    MTEB's CompressionWrapper does this (its search encodes the corpus `corpus_chunk_size` = 50,000 documents at a
    time), and so does CoRECT. On SciFact with all-MiniLM-L6-v2, MTEB's int8 scores nDCG@10 .64351, .64817 and .63917
    with chunks of 50,000, 1,000 and 200 documents, and its int4 .64198, .64883 and .63920: the size of a buffer moves
    the figure more than the difference between the two formats.

    Parameters
    ----------
    codec : Codec
        Used with its own scoring on both sides ("raw_codes" in the two comparisons).
    rows : int
        Documents of a batch.
    queries : {"own", "batch"}
        What queries are encoded with: a codec fitted on the *queries themselves*, as MTEB does (a query's score then
        depends on which other queries are asked), or each batch's codec, as CoRECT does.
    """

    codec: Codec
    rows: int = 50_000
    queries: Literal["own", "batch"] = "own"

    row_wise: ClassVar[bool] = False

    def _check_parameters(self) -> None:
        self._require_at_least(1, "rows")
        if self.scoring != "asymmetric" or self.renormalize:
            raise MethodError("PerBatch: scoring and renormalize belong on its codec")
        if self.codec.scoring == "asymmetric":
            raise MethodError("PerBatch: its codec needs scoring=symmetric or raw_codes, since queries are encoded too")

    def _fitted_on(self, vectors: Float32) -> Codec:
        """Return a copy of the codec, fitted on a batch (rows, d)."""
        return copy.deepcopy(self.codec).fit(vectors)

    def _encode(self, docs: Float32) -> Codes:
        batches: list[Codes] = []
        states: dict[str, Array] = {}
        for number, start in enumerate(range(0, len(docs), self.rows)):
            codec = self._fitted_on(docs[start : start + self.rows])
            batches.append(codec.encode(docs[start : start + self.rows]))
            states |= {f"{number}.{name}": array for name, array in codec.state().items()}
        return Codes(n=len(docs), rows=Codes.concatenate(batches).rows, shared=states)

    def _batches(self, codes: Codes) -> list[tuple[int, Codec, Codes]]:
        """Return (first row, the batch's codec, the batch's codes) of each batch."""
        batches = []
        for number, start in enumerate(range(0, codes.n, self.rows)):
            state = arrays_under(codes.shared, f"{number}.")
            rows = {name: array[start : start + self.rows] for name, array in codes.rows.items()}
            batch = Codes(n=len(next(iter(rows.values()))), rows=rows)
            batches.append((start, copy.deepcopy(self.codec).load_state(state), batch))
        return batches

    def _decode(self, codes: Codes) -> Float32:
        return np.concatenate([codec.decode(batch) for _, codec, batch in self._batches(codes)])

    def _doc_matrix(self, codes: Codes) -> Float32:
        return np.concatenate([unit_rows(codec.doc_matrix(batch)) for _, codec, batch in self._batches(codes)])

    def _project_queries(self, queries: Float32) -> Float32:
        if self.queries == "batch":
            raise MethodError("PerBatch: queries=batch has no one query matrix, it has one for each batch")
        return unit_rows(self._fitted_on(queries).query_matrix(queries))

    def score(self, queries: ArrayLike, codes: Codes) -> Float32:
        """Return all scores, float32 (m, n), batch by batch."""
        if self.queries == "own":
            return super().score(queries, codes)
        self._check_fitted()
        scores = [
            unit_rows(codec.query_matrix(queries)) @ unit_rows(codec.doc_matrix(batch)).T
            for _, codec, batch in self._batches(codes)
        ]
        return np.concatenate(scores, axis=1)

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        if self.queries == "own":
            return super()._search(queries, codes, k)
        scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for start, codec, batch in self._batches(codes):
            unit_queries, unit_docs = unit_rows(codec.query_matrix(queries)), unit_rows(codec.doc_matrix(batch))
            more_scores, more_rows = topk.search(unit_queries, [(0, unit_docs)], min(k, batch.n))
            scores, rows = topk.merge(scores, rows, more_scores, more_rows + start, min(k, start + batch.n))
        return scores, rows
