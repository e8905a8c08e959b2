"""Rough scores from bytes for `methods.topk`: four times as quick as a float32 product, where the processor has it.

They nominate documents as a float32 product does, with bounds that are wider, so that rankings are the same.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from methods import byte_products
from methods.parallel import over_rows

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

LEAST_QUERIES = 48
"""Queries for which writing documents as bytes is worth while."""

LEAST_WIDTH = 32
"""Dimensions from which on products weigh more than what is done once for each document."""

SHORTEST = 1e-10
"""Lengths below which squares of what is left of documents may be too small for a float32, and bounds with them."""

LEAST_SEEN = 32
"""Documents for each place of a query's list, before which a large share of them enters, however good scores are."""

MOST_PRODUCTS = 1 / 24
"""Share of pairs whose exact scores take as long as bytes save."""

QUERIES_PER_THREAD = 8
"""Queries for which a thread of its own is worth its start."""

DOCS_PER_THREAD = 1024
"""Documents for which a thread of its own is worth its start."""

ROUNDING = 2.0**-20
"""Of a score's few steps in float32, and more."""


class ByteScores:
    """Queries, ready to be multiplied with documents as bytes.

    Parameters
    ----------
    queries : float32 (m, d)
    near : float32 (m, w)
        Queries for the first w dimensions alone, which stand for all; see `methods.topk.search`.
    k : int
        Documents that each query lists.
    """

    def __init__(self, queries: Float32, near: Float32, k: int) -> None:
        self.queries, self.near, self.k = queries, near, k
        self.seen, self.pause, self.passed = 0, 0, 0
        self.centre: Float32 | None = None

    @classmethod
    def of(cls, queries: Float32, near: Float32, k: int) -> Self | None:
        """Return queries (m, d), which `near` (m, w) are nearly the same as, where that is worth while; else None."""
        m, width = near.shape
        worth_while = m >= LEAST_QUERIES and LEAST_WIDTH <= width <= byte_products.WIDEST
        return cls(queries, near, k) if worth_while and byte_products.supported() else None

    def are_worth_while(self, docs: Float32, longest: float) -> bool:
        """Return whether the next documents, (n, d) of this length at most, should enter by bytes.

        Where the last ones took too many exact products, a few pass, and more of them each time that this happens.
        """
        self.seen += len(docs)
        self.passed += 1
        return self.seen >= LEAST_SEEN * self.k and self.passed > self.pause and longest >= SHORTEST

    def _prepare(self, centre: Float32) -> None:
        """Write queries as bytes, for documents about a centre, float32 (w,)."""
        m, width = self.near.shape
        self.centre = centre
        near, wide = self.near.astype(np.float64), centre.astype(np.float64)
        base, square = near @ wide, float(wide @ wide)
        along = (base / square if square > 0 else np.zeros(m)).astype(np.float32)
        rest = near - along[:, None].astype(np.float64) * wide
        scale = (np.abs(rest).max(axis=1) / byte_products.MOST).astype(np.float32)
        steps = np.where(scale > 0, scale, 1).astype(np.float64)[:, None]
        rounded = np.rint(rest / steps).clip(-byte_products.MOST, byte_products.MOST)
        # a tile may read on after the last query
        codes = np.zeros((m + byte_products.QUERIES, -(-width // byte_products.FOUR) * byte_products.FOUR), np.int8)
        codes[:m, :width] = rounded
        self.codes = codes.view(np.int32)
        self.shifts = codes.sum(axis=1, dtype=np.int32) * np.int32(byte_products.MIDDLE)
        self.lengths = np.linalg.norm(rest, axis=1)
        self.lost = np.linalg.norm(rest - rounded * steps, axis=1)
        self.numbers = np.zeros((len(codes), 4), np.float32)
        self.numbers[:m] = np.column_stack([scale, base, along, self.lengths])
        # what a score's parts are at most, for each unit of a document's length less the centre, and beside it
        reach = self.lengths + np.abs(along) * np.sqrt(square)
        self.rounding = (ROUNDING + (width + 16) * 2.0**-23) * reach, ROUNDING * np.abs(base)

    def enter(self, docs: Float32, first: int, off: NDArray[np.float64], scores: Float32, rows: Int64) -> None:
        """Let documents enter the heaps of queries.

        Parameters
        ----------
        docs : float32 (n, d)
        first : int
            The first document's row number.
        off : float64 (m,)
            How far off scores by `near` may be.
        scores, rows : float32 (m, k), int64 (m, k)
            See `methods.selection.enter`.
        """
        (m, width), n = self.near.shape, len(docs)
        if self.centre is None:
            self._prepare(docs[:, :width].mean(axis=0))
        centre: Any = self.centre
        tiles, groups = -(-n // byte_products.DOCS), self.codes.shape[1]
        laid = np.zeros(tiles * byte_products.DOCS * groups, np.int32)
        own = np.zeros((3, tiles * byte_products.DOCS), np.float32)
        bounds: list[tuple[float, float]] = []

        def lay(start: int, stop: int) -> None:
            last = min(n, stop * byte_products.DOCS)
            bounds.append(byte_products.to_bytes(docs, centre, start * byte_products.DOCS, last, laid, own))

        over_rows(lay, tiles, DOCS_PER_THREAD // byte_products.DOCS)
        longest, lost = np.max(bounds, axis=0)
        each, beside = self.rounding
        below = off + (self.lost + each) * (longest + lost) + beside
        above = below + 2 * self.lengths * lost
        products: list[int] = []

        def work(start: int, stop: int) -> None:
            products.append(
                byte_products.enter_by_bytes(
                    self.queries,
                    docs,
                    laid,
                    own,
                    self.codes,
                    self.shifts,
                    self.numbers,
                    above,
                    below,
                    start,
                    stop,
                    first,
                    scores,
                    rows,
                )
            )

        over_rows(work, m, QUERIES_PER_THREAD)
        self.pause = 2 * self.pause + 1 if sum(products) > MOST_PRODUCTS * m * n else 0
        self.passed = 0
