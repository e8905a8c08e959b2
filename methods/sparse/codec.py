"""The contract of codes for terms with weights: that of `methods.base.Codec`, with sparse vectors on both sides."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codes, Float32, MethodError, Part, arrays_under
from methods.representations import DOC_BLOCK, Kind, Postings, SparseVectors, search_blocks


@dataclass(kw_only=True, eq=False)
class SparseCodec(Part, ABC):
    """A lossy code for documents that are terms with weights; queries keep their float32 weights.

    Scores are inner products of queries and decoded documents, exact but for one rounding to float32
    (`methods.representations.exact_search`). What a search holds in memory, an inverted index of the decoded documents,
    is made from the codes; it is kept for as long as the same codes are searched.
    """

    takes: ClassVar[Kind] = "terms"

    row_wise: ClassVar[bool] = True
    """Whether each document is encoded on its own, so that codes can be sliced and appended."""

    by_distance: ClassVar[bool] = False
    """Scores are inner products."""

    searches_whole: ClassVar[bool] = False
    """Whether a search must see all codes at once: its answer over chunks would be another one."""

    makes_up_terms: ClassVar[bool] = False
    """Whether a decoded document may have terms that the document lacks."""

    def fit_rows(self, n: int) -> slice:
        """Return which of n documents `fit` looks at."""
        return slice(None)

    def on_disk(self, names: Iterable[str]) -> set[str]:
        """Return those of the codes' array names that a search reads for a short list only; the rest is resident."""
        return set()

    @property
    def structure(self) -> None:
        """None: a search looks at the postings of every term that is asked for."""
        return None

    def structure_codes(self, names: Iterable[str]) -> set[str]:
        """Return no names: there is no index structure."""
        return set()

    def structure_state(self, names: Iterable[str]) -> set[str]:
        """Return no names: there is no index structure."""
        return set()

    def bits_per_axis(self) -> Array | None:
        """Return None: a term is no axis of variance."""
        return None

    def fit(self, docs: Any, queries: Any = None, pairs: Any = None) -> Self:
        """Learn from documents, `SparseVectors` (n, V) or a scipy sparse matrix; no part here asks for queries."""
        vars(self).pop("_searched", None)
        return super().fit(docs, queries, pairs)

    @property
    def _parts(self) -> dict[str, Part]:
        """Parts with a state of their own, by name."""
        return {}

    def state(self) -> dict[str, Array]:
        """Return the codec's own state, and the parts' under their names."""
        own = super().state()
        for name, part in self._parts.items():
            own |= {f"{name}.{key}": array for key, array in part.state().items()}
        return own

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over the state that an object with the same parameters returned from `state`."""
        vars(self).pop("_searched", None)
        for name, part in self._parts.items():
            part.load_state(arrays_under(arrays, f"{name}."))
        return super().load_state({name: array for name, array in arrays.items() if "." not in name})

    def encode(self, docs: Any) -> Codes:
        """Return the bytes that are stored for documents (n, V)."""
        return self._encode(self._checked(docs, "docs", self._check_fitted()))

    def decode(self, codes: Codes) -> SparseVectors:
        """Return the documents that the bytes stand for: the terms kept, with the weights that their codes mean."""
        self._check_fitted()
        return self._decode(codes)

    def score(self, queries: Any, codes: Codes) -> Float32:
        """Return all scores, float32 (m, n)."""
        asked = self._checked(queries, "queries", self._query_width())
        return np.concatenate([postings.score(asked) for _, postings in self._postings(codes, asked)], axis=1)

    def search(self, queries: Any, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        """Return the best `min(k, n)` documents of each query, those that share no term with it included.

        Returns
        -------
        scores : float32 (m, min(k, n))
            In descending order.
        rows : int64 (m, min(k, n))
            Among equal scores the lower row comes first.
        """
        if k < 1:
            raise MethodError(f"k must be at least 1, got {k}")
        asked = self._checked(queries, "queries", self._query_width())
        return search_blocks(asked, self._postings(codes, asked), k)

    def _postings(self, codes: Codes, asked: SparseVectors) -> Iterator[tuple[int, Postings]]:
        """Yield (first row, postings) of the decoded documents; a single block is kept for the next search.

        Of terms that are not asked for, there need be none.
        """
        if codes.n > DOC_BLOCK and self.row_wise:
            for start in range(0, codes.n, DOC_BLOCK):
                yield start, Postings(self.decode(codes[start : start + DOC_BLOCK]))
            return
        kept = vars(self).get("_searched")
        if kept is None or kept[0]() is not codes:
            kept = (weakref.ref(codes), Postings(self.decode(codes)))
            self._searched = kept
        yield 0, kept[1]

    @abstractmethod
    def _encode(self, docs: SparseVectors) -> Codes: ...

    @abstractmethod
    def _decode(self, codes: Codes) -> SparseVectors: ...
