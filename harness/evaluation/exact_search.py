"""Exact search over codes in chunks and over what codes are made of, and the rule for a query's own document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.memmap import blocks, in_memory, release
from harness.data.datasets import Dataset
from methods import max_sim, representations, topk
from methods.base import Codec, Codes

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


def search(
    codec: Codec, queries: Float32, codes: Codes, k: int, chunk_rows: int | None = None
) -> tuple[Float32, Int64]:
    """Return the best min(k, n) rows of each query, whatever the chunks: score descending, then row ascending.

    Parameters
    ----------
    codec : fitted Codec
    queries : float32 (m, d)
    codes : Codes of n documents
    k : int
    chunk_rows : int or None
        Rows searched at a time; None, or a codec that cannot be searched in parts, is all at once.
    """
    if chunk_rows is None or not in_parts(codec) or chunk_rows >= codes.n:
        return codec.search(queries, codes, k)
    scores, rows = scan(codec, queries, codes, scanned(codec, k, codes.n), chunk_rows)
    return finished(codec, queries, codes, scores, rows, k)


def in_parts(codec: Codec) -> bool:
    """Whether lists of parts of the codes can be merged: `scan` of each, and `finished` once all are there."""
    return codec.row_wise and (not codec.searches_whole or codec.tiers is not None)


def scanned(codec: Codec, k: int, n: int) -> int:
    """Return how many rows `scan` has to list where `k` of n are wanted."""
    return min(k, n) if codec.tiers is None else codec.tiers.listed(k, n)


def scan(
    codec: Codec, queries: Float32, codes: Codes, depth: int, chunk_rows: int | None = None
) -> tuple[Float32, Int64]:
    """Return the best min(depth, n) rows of some codes: of two tiers, the first one's; see `search`."""
    parts = _parts(codes, codes.n if chunk_rows is None else chunk_rows)
    if codec.tiers is None:
        return codec.search_parts(queries, parts, min(depth, codes.n))
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start, part in parts:
        more_scores, more_rows = codec.tiers.scan(queries, part, min(depth, part.n))
        scores, rows = topk.merge(scores, rows, more_scores, more_rows + start, min(depth, start + part.n))
    return scores, rows


def _parts(codes: Codes, rows: int) -> Iterator[tuple[int, Codes]]:
    """Yield (first row, Codes) of so many rows at a time; those of a file are given back once they are done with."""
    for start in range(0, codes.n, rows):
        yield start, codes[start : start + rows]
        release(*codes.rows.values())


def finished(
    codec: Codec, queries: Float32, codes: Codes, scores: Float32, rows: Int64, k: int
) -> tuple[Float32, Int64]:
    """Return what `search` does of all codes, from their scans: of two tiers, the second one reads the lists again."""
    if codec.tiers is None:
        return scores, rows
    return codec.tiers.read_again(queries, codes, scores, rows, k)


def search_uncompressed(queries: Any, docs: Any, k: int) -> tuple[Float32, Int64]:
    """Return the best k rows of each query, k at most n, by the inner products of what the model gives.

    Parameters
    ----------
    queries, docs : float32 (m, d), (n, d); or SparseVectors, or TokenVectors
    k : int
    """
    kind = representations.kind_of(docs)
    if kind == "terms":
        return representations.exact_search(queries, docs, k)
    if kind == "tokens":
        return max_sim.exact_search(queries, docs, k)
    return topk.search(in_memory(queries), blocks(docs), k)


def own_rows(dataset: Dataset) -> Int64 | None:
    """Return the row of the document that has the query's own id (-1: none), where such a document is no result."""
    if not dataset.skip_identical_ids:
        return None
    row_of = {doc_id: row for row, doc_id in enumerate(dataset.doc_ids)}
    return np.array([row_of.get(query_id, -1) for query_id in dataset.query_ids], dtype=np.int64)


def without_own(scores: Float32, rows: Int64, self_rows: Int64, k: int) -> tuple[Float32, Int64]:
    """Drop each query's own document (its row, or -1) from a ranking of k + 1; a list that is too short ends in -1."""
    mine = rows == self_rows[:, None]
    order = np.argsort(mine, axis=1, kind="stable")
    last_scores = np.take_along_axis(np.where(mine, -np.inf, scores).astype(np.float32), order, axis=1)
    return last_scores[:, :k], np.take_along_axis(np.where(mine, -1, rows), order, axis=1)[:, :k]
