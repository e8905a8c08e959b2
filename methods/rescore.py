"""Two tiers: a small code that is scanned, and a better one that is read for a short list only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import Array, Codec, Codes, Float32, row_blocks

FIRST, SECOND = "first.", "second."


@dataclass(kw_only=True, eq=False)
class Rescore(Codec):
    """Scan the first codec, then score its best documents again with the second.

    Both codes are stored, side by side: arrays whose names begin with "first." must be in memory, those that begin
    with "second." can lie on disk, since a search reads max(k, factor * k) rows of them for each query. What counts as
    storage is both.

    The ranking is the second tier's order of the first tier's short list, so that `score`, `decode` and `query_matrix`
    are the second tier's, and `search` may miss a document that the first tier ranks too low. The short list is the
    best of all documents that `search` is given: given them in chunks, it would be longer.

    Parameters
    ----------
    first, second : Codec
        Each fitted on the documents as they are; the second is not a code of what the first leaves.
    factor : float
        Length of the short list, as a multiple of the number of documents wanted (often called oversampling). A run
        that wants 100 documents and has factor 3 rescores 300 for each query, and its nDCG@10 is one of 300 rescored
        documents, not of 30.
    """

    first: Codec
    second: Codec
    factor: float = 3.0

    searches_whole: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require(self.factor >= 1, f"factor must be at least 1, got {self.factor}")
        self._require(self.scoring != "raw_codes", "scoring=raw_codes belongs on one of its codecs")
        self._require(
            self.first.row_wise and self.second.row_wise, "both codecs must be row-wise, to be read row by row"
        )

    @property
    def wants_queries(self) -> bool:  # type: ignore[override]
        """Whether a tier makes use of queries."""
        return self.first.wants_queries or self.second.wants_queries

    def on_disk(self, names: Iterable[str]) -> set[str]:
        """Return those of the codes' array names that are read for a short list only."""
        return {name for name in names if name.startswith(SECOND)}

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        self.first.fit(docs, queries if self.first.wants_queries else None)
        self.second.fit(docs, queries if self.second.wants_queries else None)

    def _encode(self, docs: Float32) -> Codes:
        first, second = self.first.encode(docs), self.second.encode(docs)
        rows = {FIRST + name: array for name, array in first.rows.items()}
        return Codes(n=len(docs), rows=rows | {SECOND + name: array for name, array in second.rows.items()})

    def _decode(self, codes: Codes) -> Float32:
        return self.second.decode(_tier(codes, SECOND))

    def _levels(self, codes: Codes) -> Float32:
        return self.second._levels(_tier(codes, SECOND))

    def _project_queries(self, queries: Float32) -> Float32:
        return self.second._query_matrix(queries)

    def _doc_matrix(self, codes: Codes) -> Float32:
        if self.scoring == "asymmetric" and not self.renormalize:
            return self.second._doc_matrix(_tier(codes, SECOND))
        return super()._doc_matrix(codes)

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        wanted = min(codes.n, math.ceil(self.factor * k))
        _, listed = self.first._search(queries, _tier(codes, FIRST), wanted)
        projected = self._query_matrix(queries).astype(np.float64)
        scores = np.empty(listed.shape, dtype=np.float32)
        # a few queries at a time, so that no more than their short lists are decoded at once
        for start, stop in row_blocks(len(queries), 8 * wanted * projected.shape[1]):
            which, place = np.unique(listed[start:stop], return_inverse=True)
            picked = Codes(n=len(which), rows={name: array[which] for name, array in codes.rows.items()})
            docs = self._doc_matrix(picked)
            place = place.reshape(stop - start, wanted)
            for query in range(start, stop):
                # float64, rounded once: equal documents get equal scores
                scores[query] = np.einsum("ij,j->i", docs[place[query - start]].astype(np.float64), projected[query])
        return topk.ordered(scores, listed, k)

    def state(self) -> dict[str, Array]:
        """Return both states under the prefixes `first.` and `second.`."""
        arrays: dict[str, Array] = {"dim_": np.asarray(self._check_fitted())}
        for prefix, codec in ((FIRST, self.first), (SECOND, self.second)):
            arrays |= {prefix + name: array for name, array in codec.state().items()}
        return arrays

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand each tier its own arrays."""
        for prefix, codec in ((FIRST, self.first), (SECOND, self.second)):
            codec.load_state({name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)})
        self.dim_ = int(arrays["dim_"])
        return self


def _tier(codes: Codes, prefix: str) -> Codes:
    rows = {name[len(prefix) :]: array for name, array in codes.rows.items() if name.startswith(prefix)}
    return Codes(n=codes.n, rows=rows)
