"""The order of documents in an index of postings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from methods.representations import SparseVectors

ROUNDS, LEAF = 20, 16
"""Rounds of exchange at each halving, and documents that are not halved further, as published."""


def near_each_other(docs: SparseVectors) -> NDArray[np.int64]:
    """Return the rows of documents, int64 (n,), so that those with terms in common are near.

    Notes
    -----
    Recursive graph bisection (Dhulipala et al., 2016).
    """
    from methods.kernels.graph_bisection import bisected

    return bisected(docs.indptr, docs.terms, docs.width, ROUNDS, LEAF)
