"""Compiled selection of the best documents: rough scores nominate, float64 sums decide. And lengths of rows.

The reference is `methods.topk.ordered` on all scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled, loose
from methods.vector_instructions import DOUBLES, STRIDE, any_reaches, wide_product

Array = NDArray[Any]

GROUPS = 4
"""Runs of scores for each place of a heap, whose best say early what can win."""

HEAP_ROUNDING = 2.0**-22
"""Several times the rounding of a heap's score, and of a limit, to float32."""


@compiled
def dot(left: Array, right: Array) -> float:
    """Return the product of two float32 vectors, summed in float64 in an order that is the same on every machine."""
    width = len(left)
    whole = width - width % DOUBLES
    total: float = wide_product(left, right, width // DOUBLES)
    for at in range(whole, width):
        total += np.float64(left[at]) * np.float64(right[at])
    return total


@compiled
def replace_worst(scores: Array, rows: Array, score: Any, row: int) -> None:
    """Put a document in the place of the worst of a heap, whose root that is: the least score, then the highest row."""
    k = len(scores)
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= k:
            break
        other = child + 1
        if other < k and (
            scores[other] < scores[child] or (scores[other] == scores[child] and rows[other] > rows[child])
        ):
            child = other
        if scores[child] > score or (scores[child] == score and rows[child] < row):
            break
        scores[parent], rows[parent] = scores[child], rows[child]
        parent = child
    scores[parent], rows[parent] = score, row


@compiled
def reached(line: Array, k: int) -> Any:
    """Return a score that `k` of a row's reach at least, near the highest such one; -inf where that is not worth while.

    Scores are taken in `GROUPS` k runs: the best of k runs are k scores.
    """
    width = len(line) // (GROUPS * k)
    if width < 2:
        return np.float32(-np.inf)
    best = line[: GROUPS * k].copy()
    # the scores of a run are not neighbours, so that all runs advance together
    for at in range(1, width):
        more = line[at * GROUPS * k : (at + 1) * GROUPS * k]
        for run in range(GROUPS * k):
            best[run] = more[run] if more[run] > best[run] else best[run]
    return np.partition(best, GROUPS * k - k)[GROUPS * k - k]


@compiled
def least(worst: Any, below: float) -> Any:
    """Return the least rough score of a document that may beat the worst of a heap, which is exact and rounded."""
    score = np.float64(worst)
    return np.float32(score - below - HEAP_ROUNDING * abs(score))


@compiled
def enter(
    queries: Array, docs: Array, rough: Array, above: Array, below: Array, first: int, scores: Array, rows: Array
) -> int:
    """Let documents enter the heaps of queries; return how many products this took.

    Parameters
    ----------
    queries, docs : float32 (m, d), (n, d)
    rough : float32, m rows and n columns at least
        Scores of a query that may be too high by `above`, and too low by `below`.
    above, below : float64 (m,)
    first : int
        The first document's row number.
    scores, rows : float32 (m, k), int64 (m, k)
        Heaps, changed in place; an empty place has the score -inf and the highest row number there is.
    """
    n, products = len(docs), 0
    for query in range(len(queries)):
        heap, heap_rows, line = scores[query], rows[query], rough[query][:n]
        limit = least(heap[0], below[query])
        if heap[0] == -np.inf:
            # else whatever comes early enters, to be driven out by what comes late
            limit = np.float32(np.float64(reached(line, len(heap))) - above[query] - below[query])
        for start in range(0, n, STRIDE):
            # most such runs hold no document that can win
            if start + STRIDE <= n and not any_reaches(line, start, limit):
                continue
            run = line[start : start + STRIDE]
            for at in range(len(run)):
                if run[at] >= limit:
                    products += 1
                    score = np.float32(dot(queries[query], docs[start + at]))
                    row = first + start + at
                    if score > heap[0] or (score == heap[0] and row < heap_rows[0]):
                        replace_worst(heap, heap_rows, score, row)
                        limit = max(limit, least(heap[0], below[query]))
    return products


@compiled
def pair_scores(left: Array, right: Array, scores: Array) -> None:
    """Fill the product of each row of one with the same row of the other, float32 (n,)."""
    for pair in range(len(scores)):
        scores[pair] = np.float32(dot(left[pair], right[pair]))


@loose
def longest(vectors: Array) -> Any:
    """Return a bound on the Euclidean lengths of float32 rows (n, d), above the longest by some d * 2^-24 of it."""
    n, width = vectors.shape
    most = np.float32(0)
    for row in range(n):
        square = np.float32(0)
        for at in range(width):
            square += vectors[row, at] * vectors[row, at]
        most = max(most, square)
    return np.sqrt(np.float64(most)) * (1.0 + width * 2.0**-23)


@compiled
def lengths(vectors: Array, out: Array) -> None:
    """Fill the Euclidean lengths, float64 (n,), of float32 rows."""
    for row in range(len(out)):
        out[row] = np.sqrt(dot(vectors[row], vectors[row]))


@compiled
def divide_rows(vectors: Array, divisors: Array, out: Array) -> None:
    """Fill float32 rows (n, d), divided by float64 numbers (n,)."""
    for row in range(len(out)):
        for at in range(out.shape[1]):
            out[row, at] = np.float32(np.float64(vectors[row, at]) / divisors[row])
