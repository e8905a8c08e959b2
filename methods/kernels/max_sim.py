"""The compiled loops of late interaction: the largest similarity for each token of a query, summed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]


@compiled
def largest_of_each(values: Array, offsets: Array, largest: Array) -> None:
    """Raise `largest` (runs,) to the largest of each run of the values (n,), from one offset to the next."""
    for run in range(len(largest)):
        for place in range(offsets[run], offsets[run + 1]):
            largest[run] = max(largest[run], values[place])


@compiled
def sums_of_largest(
    largest: Array, counts: Array, query_offsets: Array, steps: Array, doc_steps: Array, scores: Array
) -> None:
    """Fill `scores` (documents, queries) from the largest products; a document without tokens scores 0.

    Parameters
    ----------
    largest : int32 (documents, query tokens or more)
    counts : int64 (documents,)
        Tokens of each document.
    query_offsets : int64 (queries + 1,)
        They begin with 0.
    steps, doc_steps : float64 (query tokens,), (documents,)
        What 1 stands for.
    scores : float64 (documents, queries)
    """
    for doc in range(len(counts)):
        for query in range(len(query_offsets) - 1):
            total = 0.0
            if counts[doc]:
                for place in range(query_offsets[query], query_offsets[query + 1]):
                    total += largest[doc, place] * steps[place]
            scores[doc, query] = total * doc_steps[doc]


@compiled
def sums_of_exact_largest(
    doc: Array, asked: Array, similarities: Array, query_offsets: Array, margin: Array, scores: Array
) -> None:
    """Fill `scores` float64 (queries,) with one document's, summed in float64 in the order of dimensions.

    Parameters
    ----------
    doc, asked : float32 (document tokens, d), (query tokens, d)
        The document has at least one token.
    similarities : float32 (document tokens, query tokens)
        Their products.
    query_offsets : int64 (queries + 1,)
        They begin with 0.
    margin : float64 (query tokens,)
        Similarities that are farther apart are in the right order.
    """
    top = np.full(len(asked), -np.inf)
    for token in range(len(doc)):
        for place in range(len(asked)):
            top[place] = max(top[place], similarities[token, place])
    best = np.full(len(asked), -np.inf)
    for token in range(len(doc)):
        for place in range(len(asked)):
            # where float32 overflowed, nothing is below
            if not similarities[token, place] < top[place] - margin[place]:
                total = 0.0
                for dimension in range(doc.shape[1]):
                    total += np.float64(doc[token, dimension]) * np.float64(asked[place, dimension])
                best[place] = max(best[place], total)
    for query in range(len(scores)):
        scores[query] = best[query_offsets[query] : query_offsets[query + 1]].sum()
