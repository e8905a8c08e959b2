"""Exact late interaction (MaxSim): for each vector of the query the best one of the document, summed.

score(q, p) = sum_i max_j <q_i, p_j> (Khattab and Zaharia, 2020, eq. 3). As in `methods.topk`, a rough product, here of
16-bit fixed point, only nominates documents; those near the k-th best are scored again in float64 and rounded once, so
that equal documents tie and a ranking depends neither on blocks nor on threads. A document without vectors scores 0, as
one without terms does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import row_lengths
from methods.errors import MethodError
from methods.parallel import on_cores
from methods.token_vectors import TOKEN_BLOCK, TokenVectors, as_token_vectors, document_runs

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

QUERY_TOKENS = 1 << 14
"""Vectors of queries compared with a block of documents at a time."""

RUN_DOCS = 64
"""Documents that are scored exactly at a time."""


def _kernels() -> ModuleType:
    """Return the products in fixed point; numba takes a while to import."""
    from methods.kernels import fixed_point

    return fixed_point


def _loops() -> ModuleType:
    """Return the compiled loops."""
    from methods.kernels import max_sim

    return max_sim


class Asked:
    """Queries, ready to be compared with documents.

    Parameters
    ----------
    queries : TokenVectors (m, d)
        Checked. A query without vectors scores 0 with every document.
    """

    def __init__(self, queries: TokenVectors) -> None:
        self.queries = queries.float32()
        self.lengths = row_lengths(self.queries.values)

    def __len__(self) -> int:
        return len(self.queries)

    @cached_property
    def parts(self) -> list[tuple[slice, Int64, NDArray[np.float64], NDArray[np.int32]]]:
        """Runs of queries of about `QUERY_TOKENS` vectors: which, their offsets, steps and panels of fixed point."""
        parts = []
        for start, stop in document_runs(self.queries.counts, QUERY_TOKENS):
            own = self.queries[start:stop]
            scales = _kernels().scales_of(self.lengths[own.offsets[0] : own.offsets[-1]])
            panels = _kernels().panels_of(_kernels().fixed_point(own.flat(), scales))
            parts.append((slice(start, stop), own.offsets - own.offsets[0], _kernels().steps_of(scales), panels))
        return parts

    def margin(self, longest: float) -> NDArray[np.float64]:
        """Return twice the bound on the error of a rough score with documents of no longer vectors, float64 (m,)."""
        sums = np.add.reduceat(np.append(self.lengths, 0), self.queries.offsets[:-1]) * (self.queries.counts > 0)
        # a score is rounded to float32 at the end, and so is the least one that is wanted
        error = _kernels().relative_error(self.queries.width) + 2.0**-22
        margin: NDArray[np.float64] = 2.0 * error * longest * sums
        return margin

    def rough(self, docs: TokenVectors) -> Float32:
        """Return scores (documents, m) of float32 documents, each off by less than half the margin."""
        docs = docs.float32()
        longest = np.zeros(len(docs))
        _loops().largest_of_each(row_lengths(docs.values), docs.offsets, longest)
        scales = _kernels().scales_of(longest)
        rows = _kernels().fixed_point(docs.values, np.repeat(scales, docs.counts))
        start = np.zeros(len(rows), np.int32)
        scores = np.empty((len(docs), len(self)), np.float32)
        for part, offsets, steps, panels in self.parts:
            best, place = np.empty((2, len(docs), panels.shape[0] * panels.shape[2]), np.int32)
            _kernels().largest_of_runs(rows, docs.offsets, start, panels, best, place)
            own = np.empty((len(docs), len(offsets) - 1))
            _loops().sums_of_largest(best, docs.counts, offsets, steps, _kernels().steps_of(scales), own)
            scores[:, part] = own
        return scores


def search_blocks(
    queries: TokenVectors,
    n: int,
    blocks: Iterable[tuple[int, TokenVectors]],
    taken: Callable[[Int64], TokenVectors],
    k: int,
) -> tuple[Float32, Int64]:
    """Return the best min(k, n) documents of each query.

    Parameters
    ----------
    queries : TokenVectors (m, d)
        Checked.
    n : int
        Documents in all blocks.
    blocks : iterable of (first row, TokenVectors of float32)
        Consumed once, by one thread, so that each block may be decoded just before use.
    taken : callable
        Returns documents by ascending row numbers, int64 (p,): those near the k-th best.
    k : int

    Returns
    -------
    scores : float32 (m, min(k, n))
        In descending order.
    rows : int64 (m, min(k, n))
        Among equal scores the lower row comes first.
    """
    asked = Asked(queries)
    margin = np.zeros(len(asked))

    def noted() -> Iterator[tuple[int, TokenVectors]]:
        for first, docs in blocks:
            # it grows with the longest vector so far, and what it has decided by then are shorter ones
            np.maximum(margin, asked.margin(longest_vector(docs)), out=margin)
            yield first, docs

    everyone = slice(0, len(asked))
    scored = on_cores(lambda first, docs: (first, everyone, asked.rough(docs)), noted())

    def exact(owner: Int64, rows: Int64) -> Float32:
        return listed_scores(queries, taken, owner, rows)

    return topk.search_scored(len(asked), scored, exact, margin, min(k, n))


def longest_vector(docs: TokenVectors) -> float:
    """Return the length of the longest vector."""
    return float(row_lengths(docs.flat()).max(initial=0.0))


def exact_search(queries: TokenVectors, docs: TokenVectors, k: int) -> tuple[Float32, Int64]:
    """Return the best min(k, n) documents of each query by MaxSim; see `search_blocks`.

    Documents may be memory-mapped, and of float16: no more than a few blocks of them are in memory.
    """
    if k < 1:
        raise MethodError(f"k must be at least 1, got {k}")
    stored = as_token_vectors(docs, "docs")
    asked = as_token_vectors(queries, "queries", stored.width)
    blocks = ((first, block.float32()) for first, block in stored.blocks(TOKEN_BLOCK))
    return search_blocks(asked, len(stored), blocks, stored.take, k)


def listed_scores(queries: TokenVectors, taken: Callable[[Int64], TokenVectors], owner: Int64, rows: Int64) -> Float32:
    """Return the scores of pairs (number of a query, row of a document), float32 (p,), rounded once from float64.

    Documents are asked for by ascending rows, a few thousand vectors' worth at a time and once each. A float32 product
    only finds the vectors of a document that can be the best for one of the query; those products are summed again in
    float64, dimension by dimension.
    """
    scores = np.empty(len(rows), np.float32)
    order = np.argsort(rows, kind="stable")
    wanted, starts = np.unique(rows[order], return_index=True)
    starts = np.append(starts, len(rows))
    asked = Asked(queries)

    def runs() -> Iterator[tuple[TokenVectors, list[Int64]]]:
        for first in range(0, len(wanted), RUN_DOCS):
            own = wanted[first : first + RUN_DOCS]
            places = range(first, first + len(own))
            yield taken(own), [order[starts[place] : starts[place + 1]] for place in places]

    def scored(docs: TokenVectors, pairs: list[Int64]) -> None:
        for matrix, own in zip(docs.matrices(), pairs, strict=True):
            scores[own] = _exact_scores(matrix.astype(np.float32, copy=False), asked, owner[own])

    for _ in on_cores(scored, runs()):
        pass
    return scores


def _exact_scores(doc: Float32, asked: Asked, which: Int64) -> NDArray[np.float64]:
    """Return the scores of a document's vectors, float32 (t, d), with some of the queries, float64."""
    scores = np.zeros(len(which))
    if len(doc):
        own = asked.queries.take(which)
        lengths = np.sqrt(np.einsum("ij,ij->i", own.values, own.values, dtype=np.float64))
        error = doc.shape[1] * 2.0**-24 * row_lengths(doc).max() * lengths  # Higham, 2002, section 3.1
        with np.errstate(over="ignore", invalid="ignore"):
            similarities = doc @ own.values.T
        _loops().sums_of_exact_largest(doc, own.values, similarities, own.offsets, 2 * error, scores)
    return scores


def pair_scores(queries: TokenVectors, docs: TokenVectors, query_rows: Int64, doc_rows: Int64) -> Float32:
    """Return the scores of pairs (row of a query, row of a document), float32 (p,), as in `exact_search`."""
    rows = np.asarray(doc_rows, np.int64)
    return listed_scores(queries, docs.take, np.asarray(query_rows, np.int64), rows)
