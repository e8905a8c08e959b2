"""What is learned from: documents and their neighbours, or queries and the documents that answer them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import Float32, row_blocks

if TYPE_CHECKING:
    import torch

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Queries, or documents that stand in for queries, and the documents that each of them should find.

    Attributes
    ----------
    queries : float32 (p, d)
        Query vectors, or those of documents that stand in for queries.
    rows : int64 (p,)
        For each, the row of a document that it should find.
    words : str
        What the pairs are, for reports: "2034 titles with their documents".
    groups : int64 (p,) or None
        Pairs that share a query or a document, directly or through others, have the same number. Claims that cite one
        document are alike: with some learned from and others held out, what is known by heart would seem learned.
    """

    queries: Float32
    rows: Int64
    words: str
    groups: Int64 | None = None


def drawn(n: int, sample: int, seed: int) -> Int64:
    """Return at most `sample` row numbers of n, ascending, drawn at random."""
    if n <= sample:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, sample, replace=False))


def nearest(queries: Float32, docs: Float32, k: int) -> Int64:
    """Return the rows of the k documents with the largest inner product, int64 (m, k), best first."""
    blocks = ((start, docs[start:stop]) for start, stop in row_blocks(len(docs), 4 * docs.shape[1]))
    return topk.search(queries, blocks, min(k, len(docs)))[1]


def neighbours(docs: Float32, k: int) -> Int64:
    """Return each document's k nearest others by inner product, int64 (n, k)."""
    near = nearest(docs, docs, k + 1)
    self_rows = np.arange(len(docs))[:, None]
    # a duplicate may stand before the document itself
    keep = np.argsort(near == self_rows, axis=1, kind="stable")[:, : near.shape[1] - 1]
    return np.take_along_axis(near, keep, axis=1)


def one_of(near: torch.Tensor, rows: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Return one of the neighbours of each row, drawn at random: of int64 (n, k) and (b,), (b,) on the rows' device."""
    import torch

    column = torch.randint(near.shape[1], (len(rows),), generator=chance)
    return near[rows.cpu(), column].to(rows.device)


def query_pairs(docs: Float32, queries: Float32 | None, pairs: Int64 | None, k: int = 1) -> Pairs:
    """Return (query, document) pairs: those given; else each query with its nearest documents; else documents' own.

    Parameters
    ----------
    docs : float32 (n, d)
    queries : float32 (m, d) or None
    pairs : int64 (p, 2) or None
        Rows of queries and of the documents that answer them.
    k : int
        How many of the nearest documents stand in for an answer where none is given.
    """
    if queries is None:
        near = neighbours(docs, k)
        query_rows = np.repeat(np.arange(len(docs)), near.shape[1])
        return Pairs(docs[query_rows], near.ravel(), f"{len(docs)} documents with {near.shape[1]} neighbours each")
    if pairs is not None and len(pairs):
        words = f"{len(pairs)} pairs of a query and its document"
        return Pairs(queries[pairs[:, 0]], pairs[:, 1], words, connected(pairs, len(queries), len(docs)))
    near = nearest(queries, docs, k)
    query_rows = np.repeat(np.arange(len(queries)), near.shape[1])
    return Pairs(
        queries[query_rows], near.ravel(), f"{len(queries)} queries with the {near.shape[1]} nearest documents"
    )


def sampled(docs: Float32, pairs: Int64 | None, sample: int, seed: int) -> tuple[Float32, Int64 | None]:
    """Return at most `sample` documents, drawn at random, and the pairs whose document is among them."""
    rows = drawn(len(docs), sample, seed)
    if len(rows) == len(docs):
        return docs, pairs
    if pairs is not None:
        positions = np.searchsorted(rows, pairs[:, 1]).clip(max=len(rows) - 1)
        known = rows[positions] == pairs[:, 1]
        pairs = np.column_stack([pairs[known, 0], positions[known]])
    return np.ascontiguousarray(docs[rows]), pairs


def connected(pairs: Int64, m: int, n: int) -> Int64:
    """Return which connected part of the graph of m queries and n documents each pair is in, int64 (p,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], m + pairs[:, 1])), shape=(m + n, m + n))
    _, part = connected_components(edges, directed=False)
    groups: Int64 = part[pairs[:, 0]].astype(np.int64)
    return groups
