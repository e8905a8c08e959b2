"""Documents and queries like SPLADE's: few of many terms, some of them in most documents, and skewed weights."""

import numpy as np

from methods.representations import SparseVectors


def sparse_collection(n: int, width: int = 3000, terms: int = 60, seed: int = 0) -> SparseVectors:
    """Zipfian terms, about `terms` of them a document (n, width), with lognormal weights below 4."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(54321)
    frequency = 1.0 / (np.arange(width) + 5.0)
    order = shared.permutation(width)
    totals = np.cumsum(frequency / frequency.sum())
    counts = np.clip(rng.lognormal(np.log(terms), 0.3, n), 1, width / 4).astype(np.int64)
    rows = np.repeat(np.arange(n), counts)
    drawn = order[np.minimum(np.searchsorted(totals, rng.random(len(rows))), width - 1)]
    keys = np.unique(rows * width + drawn)
    indptr = np.searchsorted(keys, np.arange(n + 1) * width).astype(np.int64)
    weights = np.minimum(rng.lognormal(-0.7, 0.7, len(keys)), 3.99).astype(np.float32)
    return SparseVectors(indptr, (keys % width).astype(np.uint32), weights, width)


def by_hand(rows: list[dict[int, float]], width: int) -> SparseVectors:
    """Rows given as {term: weight}."""
    counts = [len(row) for row in rows]
    terms = [term for row in rows for term in sorted(row)]
    weights = [row[term] for row in rows for term in sorted(row)]
    return SparseVectors(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array(terms, dtype=np.uint32),
        np.array(weights, dtype=np.float32),
        width,
    )
