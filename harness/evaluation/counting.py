"""Compiled loops of what is measured for every run: moments of answers, and pairs of documents in order.

The reference of `add_moments` is `numpy.einsum` in float64, that of `ordered_pairs` the definition of Kendall's tau.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]


@compiled
def add_moments(truth: Array, answer: Array, totals: Array, products: Array) -> None:
    """Add the moments of each column, in float64 and in the order of the rows.

    Parameters
    ----------
    truth, answer : float32 (n, q)
    totals : float64 (2, q)
        Sums of truths and of answers, added to.
    products : float64 (3, q)
        Sums of truth^2, truth answer and answer^2, added to.
    """
    for row in range(truth.shape[0]):
        for at in range(truth.shape[1]):
            true, given = np.float64(truth[row, at]), np.float64(answer[row, at])
            totals[0, at] += true
            totals[1, at] += given
            products[0, at] += true * true
            products[1, at] += true * given
            products[2, at] += given * given


@compiled
def ordered_pairs(ours: Array, theirs: Array, real: Array, counts: Array) -> None:
    """Count the pairs of documents that two rankings order.

    Parameters
    ----------
    ours, theirs : int32 (m, depth)
        Levels of each document in both; the lower is the better one. Theirs ascend.
    real : bool (m, depth)
        Whether there is a document.
    counts : int64 (m, 3)
        Filled: pairs that agree less those that do not, pairs that ours orders, pairs that theirs does.
    """
    depth = ours.shape[1]
    for query in range(len(ours)):
        agree = here = there = 0
        for first in range(depth - 1):
            level, their_level = ours[query, first], theirs[query, first]
            for second in range(first + 1, depth):
                if real[query, second]:
                    above, below = ours[query, second] > level, ours[query, second] < level
                    apart = theirs[query, second] > their_level
                    there += apart
                    here += above | below
                    agree += (above & apart) - (below & apart)
        counts[query, 0], counts[query, 1], counts[query, 2] = agree, here, there
