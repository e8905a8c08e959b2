"""What a document may be represented by, and the exact search of it: the reference that codes are compared with.

One vector a document is a float32 matrix, and needs no class. *Terms with weights* (BM25, SPLADE) are `SparseVectors`:
a document is some terms of a vocabulary, each with a weight, and a query too; the score is their inner product. A
vector for each token are `methods.token_vectors.TokenVectors`, scored by `methods.max_sim`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.errors import MethodError, VectorsError
from methods.token_vectors import TokenVectors

Kind = Literal["vectors", "terms", "tokens"]

IN_WORDS: dict[Kind, str] = {
    "vectors": "one vector a document",
    "terms": "terms with weights",
    "tokens": "a vector for each token",
}
INSTEAD: dict[Kind, str] = {
    "vectors": "a method for vectors, such as int8",
    "terms": "a sparse method, such as sparse_float32",
    "tokens": "a method for token vectors, such as tokens_float16",
}

DOC_BLOCK = 1 << 18
"""Documents whose postings are held at a time."""

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SparseVectors:
    """Documents or queries as terms with weights.

    Attributes
    ----------
    indptr : int64 (n + 1,)
        Row i has the terms from `indptr[i]` to `indptr[i + 1]`; it begins with 0.
    terms : uint32 (nnz,)
        Strictly ascending within a row.
    weights : float32 (nnz,)
        Positive.
    width : int
        Terms of the vocabulary, V.
    """

    indptr: Int64
    terms: NDArray[np.uint32]
    weights: Float32
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and terms of the vocabulary: (n, V)."""
        return len(self), self.width

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """The type of a weight."""
        return self.weights.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return self.indptr.nbytes + self.terms.nbytes + self.weights.nbytes

    @property
    def nnz(self) -> int:
        """Terms of all rows."""
        return len(self.terms)

    @property
    def counts(self) -> Int64:
        """Terms of each row, int64 (n,)."""
        return np.diff(self.indptr)

    @property
    def rows(self) -> Int64:
        """The row that each term belongs to, int64 (nnz,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, rows: slice) -> SparseVectors:
        """Return a run of rows; terms and weights are views."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise MethodError("sparse vectors are sliced in runs of rows (step 1)")
        stop = max(start, stop)
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        indptr = self.indptr[start : stop + 1]
        indptr = indptr - first if first else indptr
        return SparseVectors(indptr, self.terms[first:last], self.weights[first:last], self.width)

    def take(self, rows: NDArray[np.integer]) -> SparseVectors:
        """Return rows in the order given."""
        counts = self.counts[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.repeat(self.indptr[:-1][rows] - indptr[:-1], counts) + np.arange(indptr[-1])
        return SparseVectors(indptr, self.terms[places], self.weights[places], self.width)

    def kept(self, keep: NDArray[np.bool_]) -> SparseVectors:
        """Return the rows without the terms at which `keep`, bool (nnz,), is false."""
        if keep.all():
            return self
        before = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        return SparseVectors(before[self.indptr], self.terms[keep], self.weights[keep], self.width)

    def with_weights(self, weights: Float32) -> SparseVectors:
        """Return the same terms with other weights, float32 (nnz,)."""
        return dataclasses.replace(self, weights=weights)

    def transposed(self) -> SparseVectors:
        """Return the postings: a row for each term, with the rows of documents in place of terms."""
        order = np.argsort(self.terms, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(self.terms, minlength=self.width))]).astype(np.int64)
        return SparseVectors(indptr, self.rows[order].astype(np.uint32), self.weights[order], len(self))

    @classmethod
    def concatenate(cls, chunks: Sequence[SparseVectors]) -> SparseVectors:
        """Join rows of one vocabulary in order."""
        if len(chunks) == 1:
            return chunks[0]
        widths = {chunk.width for chunk in chunks}
        if len(widths) != 1:
            raise VectorsError(f"sparse vectors of vocabularies of {sorted(widths)} terms cannot be joined")
        counts = np.concatenate([chunk.counts for chunk in chunks])
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.concatenate([chunk.terms for chunk in chunks]),
            np.concatenate([chunk.weights for chunk in chunks]),
            widths.pop(),
        )

    @classmethod
    def from_csr(cls, matrix: Any) -> SparseVectors:
        """Return the rows of a scipy sparse matrix (n, V) as they are, in ascending order of terms; `as_sparse` checks.

        Explicit zeros stay until `as_sparse` drops them.
        """
        csr = matrix.tocsr()
        if not csr.has_sorted_indices:
            csr = csr.sorted_indices()
        return cls(
            csr.indptr.astype(np.int64),
            csr.indices.astype(np.uint32),
            csr.data.astype(np.float32),
            int(csr.shape[1]),
        )

    def to_csr(self) -> Any:
        """Return a scipy `csr_array` (n, V)."""
        from scipy.sparse import csr_array

        return csr_array((self.weights, self.terms.astype(np.int64), self.indptr), shape=self.shape)


def kind_of(values: Any) -> Kind:
    """Return what documents are represented by."""
    if isinstance(values, TokenVectors):
        return "tokens"
    return "terms" if isinstance(values, SparseVectors) or hasattr(values, "tocsr") else "vectors"


def refuse_kind(values: Any, takes: Kind, who: str) -> None:
    """Raise `VectorsError`, in a user's words, where documents or queries are not of the kind that a method takes."""
    given = kind_of(values)
    if given != takes:
        raise VectorsError(f"{who} takes {IN_WORDS[takes]}, but these are {IN_WORDS[given]}: choose {INSTEAD[given]}")


def as_sparse(values: Any, name: str, width: int | None = None) -> SparseVectors:
    """Return checked sparse vectors without explicit zeros: as they are, or from a scipy sparse matrix.

    Raises
    ------
    VectorsError
        For an empty collection, NaN, infinite or negative weights, terms that are not strictly ascending within a row
        or beyond the vocabulary, or a vocabulary that is not `width` terms wide. A row without terms is allowed.
    """
    if kind_of(values) != "terms":
        raise VectorsError(f"{name} must be SparseVectors or a scipy sparse matrix, got {type(values).__name__}")
    vectors = values if isinstance(values, SparseVectors) else SparseVectors.from_csr(values)
    indptr, terms, weights = vectors.indptr, vectors.terms, vectors.weights
    if len(vectors) < 1 or vectors.width < 1:
        raise VectorsError(f"{name} is empty: shape {vectors.shape}")
    if width is not None and vectors.width != width:
        raise VectorsError(f"{name} has a vocabulary of {vectors.width} terms, but the method was fitted on {width}")
    kinds = (indptr.dtype.name, terms.dtype.name, weights.dtype.name)
    if kinds != ("int64", "uint32", "float32"):
        raise VectorsError(f"{name} must have indptr int64, terms uint32 and weights float32, got {', '.join(kinds)}")
    sound = indptr[0] == 0 and indptr[-1] == len(terms) == len(weights) and bool((np.diff(indptr) >= 0).all())
    if not sound:
        raise VectorsError(f"{name}: indptr does not divide {len(terms)} terms and {len(weights)} weights into rows")

    def refuse(wrong: NDArray[np.bool_], what: str) -> None:
        if wrong.any():
            place = int(np.argmax(wrong))
            row = int(np.searchsorted(indptr, place, side="right")) - 1
            raise VectorsError(f"{name} has {what} in row {row} (term {terms[place]}, weight {weights[place]})")

    refuse(~np.isfinite(weights), "NaN or infinity")
    refuse(weights < 0, "a negative weight")
    refuse(terms >= vectors.width, f"a term beyond its vocabulary of {vectors.width}")
    if len(terms):
        falls = np.concatenate([[False], terms[1:] <= terms[:-1]])
        falls[indptr[:-1][indptr[:-1] < len(terms)]] = False
        refuse(falls, "terms that are not strictly ascending (unsorted, or twice)")
    return vectors.kept(weights > 0)


def _kernels() -> ModuleType:
    """Return the compiled loops; importing them takes a second, and the first call of each another."""
    from methods import postings

    return postings


class Postings:
    """Documents by term, in memory, for exhaustive search."""

    def __init__(self, docs: SparseVectors) -> None:
        self.n = len(docs)
        self.starts, self.rows, self.weights = _kernels().transpose(docs.indptr, docs.terms, docs.weights, docs.width)

    def search(self, queries: SparseVectors, k: int) -> tuple[Float32, Int64]:
        """Return the `k` best documents of each query, k at most n: scores float32 (m, k), rows int64 (m, k)."""
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        asked = (queries.indptr, queries.terms, queries.weights)
        _kernels().search(*asked, self.starts, self.rows, self.weights, self.n, scores, rows)
        return topk.ordered(scores, rows, k)

    def score(self, queries: SparseVectors) -> Float32:
        """Return all scores, float32 (m, n)."""
        scores = np.empty((len(queries), self.n), np.float32)
        _kernels().score(queries.indptr, queries.terms, queries.weights, self.starts, self.rows, self.weights, scores)
        return scores


def search_blocks(queries: SparseVectors, blocks: Iterator[tuple[int, Postings]], k: int) -> tuple[Float32, Int64]:
    """Return the best min(k, n) documents over blocks of (first row, postings), as `exact_search` does."""
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for first, postings in blocks:
        more_scores, more_rows = postings.search(queries, min(k, postings.n))
        scores, rows = topk.merge(scores, rows, more_scores, more_rows + first, k)
    return scores, rows


def exact_search(queries: SparseVectors, docs: SparseVectors, k: int) -> tuple[Float32, Int64]:
    """Return the best min(k, n) documents of each query by inner product.

    Scores are summed in float64 in ascending order of terms, and rounded once, so that equal documents tie. Documents
    that share no term with the query have the score 0, and are ranked too.

    Returns
    -------
    scores : float32 (m, min(k, n))
        In descending order.
    rows : int64 (m, min(k, n))
        Among equal scores the lower row comes first.
    """
    if k < 1:
        raise MethodError(f"k must be at least 1, got {k}")
    asked, stored = as_sparse(queries, "queries"), as_sparse(docs, "docs")
    as_sparse(asked, "queries", stored.width)
    starts = range(0, len(stored), DOC_BLOCK)
    return search_blocks(asked, ((start, Postings(stored[start : start + DOC_BLOCK])) for start in starts), k)


def pair_scores(queries: SparseVectors, docs: SparseVectors, query_rows: Int64, doc_rows: Int64) -> Float32:
    """Return the scores of pairs (row of a query, row of a document), float32 (p,), as in `exact_search`."""
    scores = np.empty(len(query_rows), np.float32)
    asked = (queries.indptr, queries.terms, queries.weights)
    stored = (docs.indptr, docs.terms, docs.weights)
    _kernels().pair_scores(*asked, *stored, np.asarray(query_rows, np.int64), np.asarray(doc_rows, np.int64), scores)
    return scores
