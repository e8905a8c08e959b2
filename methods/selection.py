"""Compiled selection of the best documents: rough scores nominate, float64 sums decide. And lengths of rows.

The reference is `methods.topk.ordered` on all scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled, loose

Array = NDArray[Any]

STRIDE = 64
"""Rough scores that are looked at together; most such runs hold no document that can win."""

GROUPS = 4
"""Runs of scores for each place of a heap, whose best say early what can win."""

LANES = 32
"""Partial sums of `dot`."""


@compiled
def dot(left: Array, right: Array) -> float:
    """Return the product of two float32 vectors, summed in float64 in an order that is the same on every machine."""
    width = len(left)
    sums = np.zeros(LANES)
    whole = width - width % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            sums[lane] += np.float64(left[start + lane]) * np.float64(right[start + lane])
    total = 0.0
    for lane in range(LANES):
        total += sums[lane]
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
def enter(
    queries: Array, docs: Array, rough: Array, margin: Array, first: int, scores: Array, rows: Array, exact: bool
) -> None:
    """Let documents enter the heaps of queries.

    Parameters
    ----------
    queries, docs : float32 (m, d), (n, d)
    rough : float32 (m, n)
        Scores with errors of at most `margin` / 2.
    margin : float64 (m,)
    first : int
        The first document's row number.
    scores, rows : float32 (m, k), int64 (m, k)
        Heaps, changed in place; an empty place has the score -inf and the highest row number there is.
    exact : bool
        Whether `rough` holds exact scores, so that no document need be looked at.
    """
    n = rough.shape[1]
    for query in range(len(rough)):
        heap, heap_rows, line = scores[query], rows[query], rough[query]
        limit = np.float32(np.float64(heap[0]) - margin[query])
        if heap[0] == -np.inf:
            # else whatever comes early enters, to be driven out by what comes late
            limit = np.float32(np.float64(reached(line, len(heap))) - margin[query])
        for start in range(0, n, STRIDE):
            run = line[start : start + STRIDE]
            near = np.int32(0)
            for value in run:
                near |= np.int32(1) if value >= limit else np.int32(0)
            if not near:
                continue
            for at in range(len(run)):
                if run[at] >= limit:
                    score = run[at] if exact else np.float32(dot(queries[query], docs[start + at]))
                    row = first + start + at
                    if score > heap[0] or (score == heap[0] and row < heap_rows[0]):
                        replace_worst(heap, heap_rows, score, row)
                        limit = max(limit, np.float32(np.float64(heap[0]) - margin[query]))


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
