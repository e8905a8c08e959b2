"""Exact late interaction (MaxSim): for each vector of the query the best one of the document, summed.

score(q, p) = sum_i max_j <q_i, p_j> (Khattab and Zaharia, 2020, eq. 3). As in `methods.topk`, a float32 product only
nominates documents; those near the k-th best are scored again in float64 and rounded once, so that equal documents tie
and a ranking depends neither on blocks nor on threads. A document without vectors scores 0, as one without terms does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.errors import MethodError
from methods.kernels.threads import cores, one_thread
from methods.token_vectors import TOKEN_BLOCK, TokenVectors, as_token_vectors, document_runs

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

QUERY_TOKENS = 1024
"""Vectors of queries compared with a block of documents at a time: the product stays in the processor's cache."""

DOC_TOKENS = 1024

WAITING = 2
"""Blocks that are decoded before a core is free for them."""

RUN_DOCS = 64
"""Documents that are scored exactly at a time."""


class Asked:
    """Queries, ready to be compared with documents.

    Parameters
    ----------
    queries : TokenVectors (m, d)
        Checked. A query without vectors scores 0 with every document.
    """

    def __init__(self, queries: TokenVectors) -> None:
        self.queries = queries.float32()

    def __len__(self) -> int:
        return len(self.queries)

    @cached_property
    def parts(self) -> list[tuple[slice, TokenVectors]]:
        """Runs of queries of about `QUERY_TOKENS` vectors, and which queries they are."""
        runs = document_runs(self.queries.counts, QUERY_TOKENS)
        return [(slice(start, stop), self.queries[start:stop].float32()) for start, stop in runs]

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """The sum of each query's vectors' lengths, float64 (m,)."""
        values = self.queries.values
        own = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
        return np.add.reduceat(np.append(own, 0), self.queries.offsets[:-1]) * (self.queries.counts > 0)

    def margin(self, longest: float) -> NDArray[np.float64]:
        """Return twice the bound on the error of a score of float32 products, as `topk.rounding_margin` for one."""
        margin: NDArray[np.float64] = 2.0 * self.queries.width * 2.0**-24 * longest * self.lengths
        return margin

    def rough(self, docs: TokenVectors) -> Float32:
        """Return float32 scores (documents, m) of float32 documents, each off by less than half the margin."""
        scores = np.empty((len(docs), len(self)), np.float32)
        for part, own in self.parts:
            for first, some in docs.blocks(DOC_TOKENS):
                scores[first : first + len(some), part] = _compared(some.float32(), own)
        return scores


def _compared(docs: TokenVectors, queries: TokenVectors) -> NDArray[np.float64]:
    """Return all scores, float64 (documents, queries), of vectors of one type; offsets begin with 0."""
    from methods.kernels.max_sim import sums_of_largest  # numba takes a while to import

    similarities = docs.values @ queries.values.T
    scores = np.empty((len(docs), len(queries)))
    best = np.empty(similarities.shape[1], similarities.dtype)
    sums_of_largest(similarities, docs.offsets, queries.offsets, best, scores)
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

    scored = ((first, slice(0, len(asked)), rough) for first, rough in _rough_scores(asked, noted()))

    def exact(owner: Int64, rows: Int64) -> Float32:
        return listed_scores(queries, taken, owner, rows)

    return topk.search_scored(len(asked), scored, exact, margin, min(k, n))


def _rough_scores(asked: Asked, blocks: Iterable[tuple[int, TokenVectors]]) -> Iterator[tuple[int, Float32]]:
    """Yield (first row, rough scores) of blocks, several of them at a time on the processor's cores."""
    workers = cores()
    if workers == 1:
        for first, docs in blocks:
            yield first, asked.rough(docs)
        return
    with one_thread(), ThreadPoolExecutor(workers) as pool:
        waiting: list[tuple[int, Future[Float32]]] = []
        for first, docs in blocks:
            waiting.append((first, pool.submit(asked.rough, docs)))
            if len(waiting) > workers + WAITING:
                done, rough = waiting.pop(0)
                yield done, rough.result()
        for done, rough in waiting:
            yield done, rough.result()


def longest_vector(docs: TokenVectors) -> float:
    """Return the length of the longest vector."""
    values = docs.flat()
    return float(np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64).max(initial=0.0)))


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

    Documents are asked for by ascending rows, a few thousand vectors' worth at a time and once each.
    """
    scores = np.empty(len(rows), np.float32)
    order = np.argsort(rows, kind="stable")
    wanted, starts = np.unique(rows[order], return_index=True)
    starts = np.append(starts, len(rows))
    wide = TokenVectors(queries.flat().astype(np.float64), queries.offsets - queries.offsets[0])
    for first in range(0, len(wanted), RUN_DOCS):
        docs = taken(wanted[first : first + RUN_DOCS])
        for place, matrix in enumerate(docs.matrices()):
            pairs = order[starts[first + place] : starts[first + place + 1]]
            own = wide.take(owner[pairs])
            one = TokenVectors(matrix.astype(np.float64), np.array([0, len(matrix)]))
            scores[pairs] = _compared(one, own)[0].astype(np.float32)
    return scores


def pair_scores(queries: TokenVectors, docs: TokenVectors, query_rows: Int64, doc_rows: Int64) -> Float32:
    """Return the scores of pairs (row of a query, row of a document), float32 (p,), as in `exact_search`."""
    rows = np.asarray(doc_rows, np.int64)
    return listed_scores(queries, docs.take, np.asarray(query_rows, np.int64), rows)
