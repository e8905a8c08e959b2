"""A compiled scan of some documents by some queries, as inverted lists ask for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled
from methods.selection import STRIDE, dot, replace_worst

Array = NDArray[Any]


@compiled
def enter_some(
    queries: Array,
    chosen: Array,
    docs: Array,
    ids: Array,
    rough: Array,
    margin: Array,
    scores: Array,
    rows: Array,
) -> None:
    """Let documents enter the heaps of the queries that look at them; see `methods.selection.enter`.

    Parameters
    ----------
    queries : float32 (m, d)
    chosen : int64 (c,)
        Which queries.
    docs, ids : float32 (n, d), int64 (n,)
    rough : float32 (c, n)
        Scores with errors of at most `margin` / 2.
    margin : float64 (c,)
    scores, rows : float32 (m, k), int64 (m, k)
        Heaps, changed in place; an empty place has the score -inf and the highest row number there is.
    """
    n = rough.shape[1]
    for place in range(len(chosen)):
        query = chosen[place]
        heap, heap_rows, line = scores[query], rows[query], rough[place]
        limit = np.float32(np.float64(heap[0]) - margin[place])
        for start in range(0, n, STRIDE):
            run = line[start : start + STRIDE]
            near = np.int32(0)
            for value in run:
                near |= np.int32(1) if value >= limit else np.int32(0)
            if not near:
                continue
            for at in range(len(run)):
                if run[at] >= limit:
                    score = np.float32(dot(queries[query], docs[start + at]))
                    row = ids[start + at]
                    if score > heap[0] or (score == heap[0] and row < heap_rows[0]):
                        replace_worst(heap, heap_rows, score, row)
                        limit = np.float32(np.float64(heap[0]) - margin[place])
