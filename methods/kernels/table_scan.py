"""Scanning product codes by table lookup, for many queries at once and with each document's length taken out.

A query's score for a document is a sum of one table entry a byte (asymmetric distance computation; Jegou, Douze and
Schmid, 2011), and so is the square of the decoded document's length. FAISS's scan has no place for the division. Here
the tables of a block of queries lie side by side, a document's one-hot code is a row of a sparse matrix, and the sum is
scipy's sparse product: each lookup fetches a run of queries rather than one number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import Codes, Float32

Int64 = NDArray[np.int64]

BLOCK_DOCS = 8192
BLOCK_QUERIES = 64
"""Documents and queries of one sparse product, so that its tables and scores take a few megabytes."""


class TableScan:
    """A product code's centroids, ready to score queries.

    Parameters
    ----------
    groups : sequence of int64 (w,)
        The dimensions that each byte stands for.
    tables : sequence of float32 (256, w)
        Their centroids.
    rest : int64 (r,)
        Dimensions that no byte stands for.
    rest_values : float32 (r,)
        What every document has there.
    renormalize : bool
        Whether decoded documents are scaled to unit length.
    """

    def __init__(
        self,
        groups: Sequence[Int64],
        tables: Sequence[Float32],
        rest: Int64,
        rest_values: Float32,
        renormalize: bool,
    ) -> None:
        self.groups, self.tables = groups, tables
        self.rest, self.rest_values = rest, rest_values
        self.renormalize = renormalize
        self.squares = np.stack([np.einsum("cw,cw->c", table, table, dtype=np.float64) for table in tables])
        self.rest_square = float(rest_values.astype(np.float64) @ rest_values)

    def search(
        self, queries: Float32, codes: Codes, decode: Callable[[Codes], Float32], k: int
    ) -> tuple[Float32, Int64]:
        """Return the k best documents of each query, as `methods.topk.search` on decoded documents would.

        Parameters
        ----------
        queries : float32 (m, d)
        codes : Codes
            One uint8 array (n, number of groups).
        decode : callable
            Codes to float32 (rows, d), renormalised where asked: decides between documents that the tables' rounding
            leaves open.
        k : int
        """
        # no decoded document is longer, so this bounds the rounding of every table sum
        longest = 1.0 if self.renormalize else float(np.sqrt(self.squares.max(axis=1).sum() + self.rest_square))
        margin = topk.rounding_margin(queries, longest)

        def exact(query_ids: Int64, rows: Int64) -> Float32:
            scores = np.empty(len(rows), dtype=np.float32)
            for start in range(0, len(rows), BLOCK_DOCS):
                pairs = slice(start, start + BLOCK_DOCS)
                docs = decode(Codes.packed(codes.array[rows[pairs]]))
                scores[pairs] = topk.pair_scores(queries[query_ids[pairs]], docs)
            return scores

        return topk.search_scored(len(queries), self._blocks(queries, codes), exact, margin, k)

    def _blocks(self, queries: Float32, codes: Codes) -> Iterator[tuple[int, slice, Float32]]:
        """Yield (first document, which queries, rough scores as float32 (documents, queries)) block by block."""
        from scipy.sparse import csr_matrix

        parts = [
            slice(start, min(len(queries), start + BLOCK_QUERIES)) for start in range(0, len(queries), BLOCK_QUERIES)
        ]
        query_tables = [self._query_tables(queries[part]) for part in parts]
        constants = queries[:, self.rest] @ self.rest_values
        width = len(self.tables)
        offsets = np.arange(width, dtype=np.int32) << 8
        ones = np.ones(BLOCK_DOCS * width, dtype=np.float32)
        ends = np.arange(0, (BLOCK_DOCS + 1) * width, width, dtype=np.int32)
        squares = self.squares.ravel()[:, None]
        for start in range(0, codes.n, BLOCK_DOCS):
            block = codes[start : start + BLOCK_DOCS]
            entries = (block.array + offsets).ravel()
            one_hot = csr_matrix(
                (ones[: len(entries)], entries, ends[: block.n + 1]), shape=(block.n, squares.shape[0]), copy=False
            )
            shrink = np.ones((block.n, 1), dtype=np.float32)
            if self.renormalize:
                lengths = np.sqrt(one_hot @ squares + self.rest_square)
                shrink = (1 / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
            for part, tables in zip(parts, query_tables, strict=True):
                rough = one_hot @ tables
                rough += constants[part]
                rough *= shrink
                yield start, part, rough

    def _query_tables(self, queries: Float32) -> Float32:
        """Return each byte value's part of each query's score, float32 (256 * groups, m)."""
        parts = [table @ queries[:, dims].T for dims, table in zip(self.groups, self.tables, strict=True)]
        return np.concatenate(parts)
