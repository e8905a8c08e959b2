"""Block-max pruning's index: blocks of consecutive documents, and the largest impact of each term in each block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codes, MethodError, Part
from methods.representations import SparseVectors
from methods.sparse.codec import SparseCodec
from methods.sparse.order import near_each_other
from methods.sparse.weights import WeightCode

Int64 = NDArray[np.int64]
Bytes = NDArray[np.uint8]

RANGES = 256
"""Blocks whose maxima are listed together where they are compressed."""


@dataclass(kw_only=True, eq=False)
class BlockMax(SparseCodec):
    """Postings by blocks of documents and the maxima that a search skips blocks by, as BMP's file has them.

    Parameters
    ----------
    weights : WeightCode
        Of 8 bits, above 0: its symbols are the impacts.
    block : int
        Documents of a block, at most 256.
    compress_range : bool
        Whether only maxima above 0 are written, 9 bytes each, and not a byte for every block.
    order : {"given", "bisection"}
        Of documents; see `TermWeights`.

    Notes
    -----
    Mallia, Suel and Tonellotto, 2024 (SIGIR); pisa-engine/BMP, whose numbers of 8 bytes are kept. Here a search looks
    at all postings, and so at no maximum: scores are what BMP's are where it prunes nothing (alpha=1, beta=1), but that
    queries keep their float32 weights.
    """

    weights: WeightCode
    block: int = 8
    compress_range: bool = False
    order: Literal["given", "bisection"] = "bisection"

    row_wise: ClassVar[bool] = False

    def _check_parameters(self) -> None:
        self._require(1 <= self.block <= 256, f"block must be from 1 to 256, got {self.block}")
        self._require(
            self.weights.symbol_bits == 8, f"impacts have 8 bits, and these weights {self.weights.symbol_bits}"
        )

    @property
    def _parts(self) -> dict[str, Part]:
        return {"weights": self.weights}

    def _fit(self, docs: SparseVectors, queries: Any) -> None:
        self._require(docs.width < 1 << 16, f"it numbers fewer than 65536 terms, and the vocabulary has {docs.width}")
        self.weights.fit(docs)

    def _encode(self, docs: SparseVectors) -> Codes:
        left = self.weights.kept(docs)
        shared: dict[str, Array] = {}
        if self.order == "bisection":
            order = near_each_other(left)
            left = left.take(order)
            shared["rows"] = order.astype(np.min_scalar_type(len(docs) - 1))
        impacts, _ = self.weights.symbols(left)
        rows, terms = left.rows, left.terms.astype(np.int64)
        order = np.lexsort((rows, terms, rows // self.block))
        rows, terms, impacts = rows[order], terms[order], impacts[order]
        shared["blocks"] = self._block_forward(rows, terms, impacts, len(docs))
        shared["maxima"] = self._maxima(rows, terms, impacts, len(docs))
        return Codes(n=len(docs), rows={}, shared=shared)

    def _block_forward(self, rows: Int64, terms: Int64, impacts: Int64, n: int) -> Bytes:
        """Return for each block the number of its terms; for each of these it, its postings' number, and these."""
        blocks = -(-n // self.block)
        of_block = rows // self.block
        first = np.ones(len(rows), bool)
        first[1:] = (terms[1:] != terms[:-1]) | (of_block[1:] != of_block[:-1])
        starts = np.flatnonzero(first)
        counts = np.diff(np.append(starts, len(rows)))
        lists = np.bincount(of_block[starts], minlength=blocks)
        before = 8 + 8 * (of_block + 1)
        values = np.zeros(8 + 8 * blocks + 10 * len(starts) + 2 * len(rows), np.uint8)
        _put(values, np.zeros(1, np.int64), np.array([blocks]), 8)
        head = 8 + 8 * np.arange(blocks) + 10 * (np.cumsum(lists) - lists)
        held = np.bincount(of_block, minlength=blocks)
        _put(values, head + 2 * (np.cumsum(held) - held), lists, 8)
        place = before + 10 * np.cumsum(first) + 2 * np.arange(len(rows))
        _put(values, place[starts] - 10, terms[starts], 2)
        _put(values, place[starts] - 8, counts, 8)
        values[place], values[place + 1] = rows % self.block, impacts
        return values

    def _maxima(self, rows: Int64, terms: Int64, impacts: Int64, n: int) -> Bytes:
        """Return for each term that a document has its blocks' maxima, and its 10th, 100th and 1,000th impact."""
        kinds, of_term = np.unique(terms, return_inverse=True)
        blocks = -(-n // self.block)
        highest = np.zeros((len(kinds), blocks), np.uint8)
        np.maximum.at(highest, (of_term, rows // self.block), impacts.astype(np.uint8))
        order = np.lexsort((-impacts, of_term))
        starts = np.searchsorted(of_term[order], np.arange(len(kinds) + 1))
        kth = np.zeros((len(kinds), 3), np.uint8)
        for place, rank in enumerate((9, 99, 999)):
            there = np.flatnonzero(np.diff(starts) > rank)
            kth[there, place] = impacts[order][starts[there] + rank]
        ends = np.concatenate([_numbers(np.full(len(kinds), 3), 8), kth], axis=1)
        if not self.compress_range:
            head = np.concatenate([_numbers(np.ones(len(kinds)), 4), _numbers(np.full(len(kinds), blocks), 8)], axis=1)
            return np.concatenate([head, highest, ends], axis=1).ravel()
        parts: list[Bytes] = []
        for row, end in zip(highest, ends, strict=True):
            parts.append(_numbers(np.zeros(1), 4).ravel())
            parts.append(_numbers(np.array([-(-blocks // RANGES)]), 8).ravel())
            for start in range(0, blocks, RANGES):
                there = np.flatnonzero(row[start : start + RANGES])
                parts.append(_numbers(np.array([len(there)]), 8).ravel())
                parts.append(np.concatenate([_numbers(there, 8), row[start + there][:, None]], axis=1).ravel())
            parts.append(end)
        return _joined(parts)

    def _decode(self, codes: Codes) -> SparseVectors:
        from methods.kernels import block_forward

        width = self._check_fitted()
        try:
            rows, terms, impacts = block_forward.read(codes.shared["blocks"], self.block, codes.n)
        except (IndexError, ValueError) as error:
            raise MethodError(f"{type(self).__name__}: damaged codes ({error})") from error
        self._require(len(terms) == 0 or terms.max() < width, f"damaged codes (a term beyond {width})")
        if self.order == "bisection":
            rows = np.asarray(codes.shared["rows"], np.int64)[rows]
        order = np.lexsort((terms, rows))
        rows, terms, impacts = rows[order], terms[order], impacts[order]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=codes.n))]).astype(np.int64)
        weights = self.weights.weights(impacts, terms, rows, {})
        return SparseVectors(indptr, terms.astype(np.uint32), weights, width).kept(weights > 0)


def _numbers(values: Array, size: int) -> Bytes:
    """Return numbers as `size` bytes each, the lowest first, uint8 (n, size)."""
    whole = np.ascontiguousarray(values, dtype="<i8").view(np.uint8).reshape(-1, 8)
    return whole[:, :size]


def _put(out: Bytes, places: Int64, values: Array, size: int) -> None:
    """Write numbers of `size` bytes at places."""
    out[places[:, None] + np.arange(size)] = _numbers(values, size)


def _joined(parts: Sequence[Bytes]) -> Bytes:
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)
