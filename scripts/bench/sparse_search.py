"""Exhaustive search of terms with weights: queries a second, and the ratio to scipy's product with argpartition.

    python scripts/bench/sparse_search.py [--docs 100000] [--width 30522] [--terms 120] [--query-terms 43]

Documents are synthetic and of SPLADE's size: Zipfian terms, lognormal weights. One core does the work.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from methods import FixedWidth, Floats, LogLevels, RangeCoded, TermWeights
from methods.representations import Postings, SparseVectors, exact_search


def zipfian(n: int, width: int, terms: int, seed: int) -> SparseVectors:
    """Return about `terms` different terms a row, the frequent ones in most rows."""
    rng = np.random.default_rng(seed)
    # tossed for each term on its own, so that the mean is as asked
    frequency = 1.0 / (np.arange(width) + 30.0)
    low, high = 0.0, float(width)
    for _ in range(60):
        scale = (low + high) / 2
        low, high = (scale, high) if np.minimum(frequency * scale, 0.6).sum() < terms else (low, scale)
    share = np.random.default_rng(1).permutation(np.minimum(frequency * low, 0.6))
    owners = [np.flatnonzero(rng.random(n) < p) for p in share]
    rows = np.concatenate(owners)
    owner_terms = np.repeat(np.arange(width, dtype=np.uint32), [len(one) for one in owners])
    order = np.argsort(rows, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))]).astype(np.int64)
    weights = np.minimum(rng.lognormal(-0.7, 0.7, len(rows)), 3.9).astype(np.float32)
    return SparseVectors(indptr, owner_terms[order], weights, width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=30_522)
    parser.add_argument("--terms", type=int, default=120)
    parser.add_argument("--query-terms", type=int, default=43)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--k", type=int, default=100)
    options = parser.parse_args()
    docs = zipfian(options.docs, options.width, options.terms, 2)
    queries = zipfian(options.queries, options.width, options.query_terms, 3)
    print(f"{len(docs)} documents of {docs.nnz / len(docs):.1f} terms, queries of {queries.nnz / len(queries):.1f}")
    exact_search(queries[:1], docs[:10], 1)  # compiles, or loads what was compiled

    start = time.perf_counter()
    postings = Postings(docs)
    built = time.perf_counter()
    _, rows = postings.search(queries, options.k)
    ours = time.perf_counter() - built
    print(f"postings in {built - start:.2f} s; {len(queries) / ours:.0f} queries a second")

    by_term, asked = docs.to_csr().T.tocsr(), queries.to_csr()
    start = time.perf_counter()
    best = []
    for first in range(0, len(queries), 50):
        product = (asked[first : first + 50] @ by_term).toarray()
        best.append(np.argpartition(-product, options.k, axis=1)[:, : options.k])
    theirs = time.perf_counter() - start
    same = np.mean([len(set(one) & set(two)) for one, two in zip(np.concatenate(best), rows, strict=True)]) / options.k
    print(f"scipy {len(queries) / theirs:.0f} queries a second: {theirs / ours:.1f} times as long; overlap {same:.4f}")

    for name, codec in (
        ("float32", TermWeights(weights=Floats(), ids=FixedWidth(bits=32))),
        ("range coded", TermWeights(weights=LogLevels(bits=4), ids=RangeCoded())),
    ):
        codec.fit(docs[:1000])
        codec.decode(codec.encode(docs[:10]))
        start = time.perf_counter()
        codec.fit(docs)
        fitted = time.perf_counter()
        codes = codec.encode(docs)
        encoded = time.perf_counter()
        codec.decode(codes)
        decoded = time.perf_counter()
        print(
            f"{name}: {codes.nbytes / len(docs):.1f} bytes a document; fit {fitted - start:.1f} s, "
            f"encode {encoded - fitted:.1f} s, decode {decoded - encoded:.1f} s"
        )


if __name__ == "__main__":
    main()
