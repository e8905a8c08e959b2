"""What a file of terms with weights holds, before terms have the numbers of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.representations import SparseVectors

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StoredTerms:
    """Weights as (row, term, weight), in any order.

    Attributes
    ----------
    n : int
        Rows, those without terms included.
    rows, terms : int64 (nnz,)
        A term is its number, or where there are `names` the place of its name.
    weights : float32 (nnz,)
        As they stand in the file, not checked.
    names : sequence of str or None
        The terms, where they are words.
    ids : sequence of str or None
        Of the rows; None where their order says which they are.
    width : int or None
        Terms of the vocabulary, where the file says it.
    """

    n: int
    rows: Int64
    terms: Int64
    weights: NDArray[np.float32]
    names: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    width: int | None = None

    def numbered(self, number: Int64 | None, width: int) -> SparseVectors:
        """Return the rows with the terms by their numbers; `number` has that of each name, -1 for one that is dropped.

        A term that a row has twice stays there twice, for `as_sparse` to refuse.
        """
        terms = self.terms if number is None else number[self.terms]
        kept = np.flatnonzero(terms >= 0)
        order = kept[np.lexsort((terms[kept], self.rows[kept]))]
        counts = np.bincount(self.rows[order], minlength=self.n)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return SparseVectors(indptr, terms[order].astype(np.uint32), self.weights[order], width)
