"""Compiled loops over documents by term.

A score is a float64 sum in ascending order of terms, rounded once to float32: whatever loop makes it, and whatever
documents are beside it, the same document gets the same score. Arrays are those of `representations.SparseVectors`;
postings are `starts` int64 (V + 1,), `rows` int32 (nnz,) ascending within a term, and `weights` float32 (nnz,).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled, guarded
from methods.selection import replace_worst

Array = NDArray[Any]

BLOCK = 1 << 15
"""Documents scored at a time: 256 KB of sums, which stay in the processor's own memory."""


@guarded
def transpose(indptr: Array, terms: Array, weights: Array, width: int) -> tuple[Array, Array, Array]:
    """Return the postings of rows."""
    starts = np.zeros(width + 1, np.int64)
    for term in terms:
        starts[term + 1] += 1
    for term in range(width):
        starts[term + 1] += starts[term]
    free = starts[:-1].copy()
    rows, values = np.empty(len(terms), np.int32), np.empty(len(terms), np.float32)
    for row in range(len(indptr) - 1):
        for place in range(indptr[row], indptr[row + 1]):
            to = free[terms[place]]
            free[terms[place]] = to + 1
            rows[to] = row
            values[to] = weights[place]
    return starts, rows, values


@compiled
def search(
    indptr: Array,
    terms: Array,
    weights: Array,
    starts: Array,
    rows: Array,
    values: Array,
    n: int,
    out_scores: Array,
    out_rows: Array,
) -> None:
    """Fill the best documents of each query, float32 and int64 (m, k), in no order; among equals the lower rows."""
    k = out_scores.shape[1]
    sums = np.empty(min(n, BLOCK), np.float64)
    for query in range(len(indptr) - 1):
        first, last = indptr[query], indptr[query + 1]
        at, end = np.empty(last - first, np.int64), np.empty(last - first, np.int64)
        for place in range(first, last):
            at[place - first] = starts[terms[place]]
            end[place - first] = starts[terms[place] + 1]
        # a heap whose root is the document to go next: the least score, and of these the highest row
        heap_scores, heap_rows = out_scores[query], out_rows[query]
        held = 0
        for base in range(0, n, BLOCK):
            stop = min(n, base + BLOCK)
            sums[: stop - base] = 0.0
            for place in range(first, last):
                weight = np.float64(weights[place])
                position, limit = at[place - first], end[place - first]
                while position < limit and rows[position] < stop:
                    sums[rows[position] - base] += weight * np.float64(values[position])
                    position += 1
                at[place - first] = position
            row = base
            while row < stop and held < k:
                score = np.float32(sums[row - base])
                child = held
                held += 1
                while child > 0:
                    parent = (child - 1) // 2
                    # the newcomer has the highest row, and so is the worse of equals
                    if heap_scores[parent] < score:
                        break
                    heap_scores[child], heap_rows[child] = heap_scores[parent], heap_rows[parent]
                    child = parent
                heap_scores[child], heap_rows[child] = score, row
                row += 1
            if held < k:
                continue
            worst = np.float64(heap_scores[0])
            while row < stop:
                # rounding keeps order: what is no more before it is no more after it
                if sums[row - base] > worst and np.float32(sums[row - base]) > heap_scores[0]:
                    replace_worst(heap_scores, heap_rows, np.float32(sums[row - base]), row)
                    worst = np.float64(heap_scores[0])
                row += 1


@compiled
def score(indptr: Array, terms: Array, weights: Array, starts: Array, rows: Array, values: Array, out: Array) -> None:
    """Fill all scores, float32 (m, n)."""
    sums = np.empty(out.shape[1], np.float64)
    for query in range(len(indptr) - 1):
        sums[:] = 0.0
        for place in range(indptr[query], indptr[query + 1]):
            weight = np.float64(weights[place])
            for position in range(starts[terms[place]], starts[terms[place] + 1]):
                sums[rows[position]] += weight * np.float64(values[position])
        for row in range(out.shape[1]):
            out[query, row] = np.float32(sums[row])


@compiled
def pair_scores(
    indptr: Array,
    terms: Array,
    weights: Array,
    doc_indptr: Array,
    doc_terms: Array,
    doc_weights: Array,
    query_rows: Array,
    doc_rows: Array,
    out: Array,
) -> None:
    """Fill the scores of pairs (row of a query, row of a document), float32 (p,)."""
    for pair in range(len(out)):
        one, one_end = indptr[query_rows[pair]], indptr[query_rows[pair] + 1]
        two, two_end = doc_indptr[doc_rows[pair]], doc_indptr[doc_rows[pair] + 1]
        total = 0.0
        while one < one_end and two < two_end:
            if terms[one] == doc_terms[two]:
                total += np.float64(weights[one]) * np.float64(doc_weights[two])
                one += 1
                two += 1
            elif terms[one] < doc_terms[two]:
                one += 1
            else:
                two += 1
        out[pair] = np.float32(total)


@compiled
def falling(indptr: Array, weights: Array) -> Array:
    """Return the order, int64 (nnz,), in which each row's weights fall; among equals the earlier comes first."""
    order = np.empty(len(weights), np.int64)
    for row in range(len(indptr) - 1):
        first, last = indptr[row], indptr[row + 1]
        order[first:last] = first + np.argsort(-weights[first:last], kind="mergesort")
    return order


@compiled
def needed_for_share(indptr: Array, weights: Array, share: float) -> Array:
    """Return how many of each row's weights, int64 (n,), it takes from the first on to reach a share of their sum."""
    counts = np.zeros(len(indptr) - 1, np.int64)
    for row in range(len(counts)):
        total = 0.0
        for place in range(indptr[row], indptr[row + 1]):
            total += np.float64(weights[place])
        reached = 0.0
        for place in range(indptr[row], indptr[row + 1]):
            if reached >= share * total:
                break
            reached += np.float64(weights[place])
            counts[row] += 1
    return counts
