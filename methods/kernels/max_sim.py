"""The compiled loop of late interaction: the largest similarity for each token of a query, summed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]


@compiled
def sums_of_largest(similarities: Array, doc_offsets: Array, query_offsets: Array, best: Array, scores: Array) -> None:
    """Fill `scores` (documents, queries) from the similarities of all tokens; a document without tokens scores 0.

    Parameters
    ----------
    similarities : float32 or float64 (document tokens, query tokens)
    doc_offsets, query_offsets : int64 (documents + 1,), (queries + 1,)
        Both begin with 0.
    best : (query tokens,), of the type of `similarities`
        Room for one document's largest similarities.
    scores : float64 (documents, queries)
    """
    for doc in range(len(doc_offsets) - 1):
        first, last = doc_offsets[doc], doc_offsets[doc + 1]
        if first == last:
            scores[doc] = 0
            continue
        best[:] = similarities[first]
        for token in range(first + 1, last):
            row = similarities[token]
            for place in range(len(best)):
                best[place] = max(best[place], row[place])
        for query in range(len(query_offsets) - 1):
            total = 0.0
            for place in range(query_offsets[query], query_offsets[query + 1]):
                total += best[place]
            scores[doc, query] = total


def sums_of_largest_reference(similarities: Array, doc_offsets: Array, query_offsets: Array) -> Array:
    """Return what the compiled loop fills in, float64 (documents, queries): the definition, in NumPy."""
    scores = np.zeros((len(doc_offsets) - 1, len(query_offsets) - 1))
    for doc, (first, last) in enumerate(itertools.pairwise(doc_offsets)):
        if last > first:
            best = similarities[first:last].max(axis=0).astype(np.float64)
            parts = itertools.pairwise(query_offsets)
            scores[doc] = [best[start:stop].sum() for start, stop in parts]
    return scores
