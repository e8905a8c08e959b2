"""Transform coding: bits where the variance is, after a rotation to the axes in which it is concentrated.

Put `methods.SVD(dim=None)` before this codec in a `Chain`: the Karhunen-Loeve transform, reverse water-filling
and Lloyd-Max levels are the classical answer to "the least squared error in so many bits" for a Gaussian source
(Huang and Schultheiss, 1963; for nearest-neighbour search Brandt, 2010).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, row_blocks
from methods.kernels import k_means, product_codes
from methods.kernels.packing import pack_varied, unpack_varied
from methods.parallel import on_cores, over_rows
from methods.scalar.lloyd import fit_levels, uniform_half_levels
from methods.stored_rows import ByteTables, StoredRows
from methods.transform_coding.allocation import BYTE, allocate, fill_bytes

Int64 = NDArray[np.int64]

TOLERATED_LOSS = {"product": 1.02, "joint": 1.2}
"""Filling whole bytes may cost so much error; joint codebooks win more than that back, and need whole bytes."""

PROBED_BITS = 2
"""Errors are measured up to so many bits beyond what a dimension gets; further on each bit divides them by four."""


@dataclass(kw_only=True, eq=False)
class TransformCode(Codec):
    """Code each dimension with as many bits as it is worth, and pack dimensions into whole bytes.

    A byte stands for a few dimensions whose bits sum to 8, so that the code is a product code (Jegou, Douze and Schmid,
    2011) whose 256 centroids a byte are a product of scalar levels, or with `codebook="joint"` k-means centroids that
    started from that product. Beyond about four bits a dimension, dimensions do not fill bytes without a loss: then
    codes are one stream of bits, with scalar levels. Every document takes exactly `nbytes` bytes.

    Parameters
    ----------
    nbytes : int
        Bytes of a document.
    cap : int
        Most bits a dimension gets, 1 to 8.
    levels : {"lloyd", "uniform"}
        Lloyd-Max levels of the fitted documents, or the equally spaced ones that are best for a Gaussian.
    codebook : {"product", "joint"}
        Scalar levels for each dimension, or 256 centroids for each byte's dimensions together: a lower error for
        (256 / 2**bits) times the state.
    tail : int
        For joint codebooks: so many of the dimensions that got no bits, the most variable ones, are dealt out to the
        bytes and join their k-means.
    shrinkage : float
        For joint codebooks: a centroid is the mean of its documents and of this many imaginary ones at the place that
        the scalar levels give it. Keeps small corpora from learning their own noise.
    iterations : int
        Most iterations of Lloyd's method (for the levels) and of k-means (for joint codebooks).
    mean : bool
        Decode a dimension without bits as its mean; otherwise as 0.
    sample : int
        Evenly spaced documents that levels and codebooks are fitted on.
    """

    nbytes: int
    cap: int = 8
    levels: Literal["lloyd", "uniform"] = "lloyd"
    codebook: Literal["product", "joint"] = "product"
    tail: int = 64
    shrinkage: float = 1.0
    iterations: int = 25
    mean: bool = True
    sample: int = 100_000

    def _check_parameters(self) -> None:
        self._require_at_least(1, "nbytes")
        self._require(1 <= self.cap <= BYTE, f"cap must be 1 to {BYTE} bits, got {self.cap}")
        self._require_at_least(0, "tail", "shrinkage")
        self._require_at_least(1, "iterations", "sample")

    def fit_rows(self, n: int) -> slice:
        """Return every so-manyth of n documents, at most `sample` of them."""
        return slice(None, None, max(1, -(-n // self.sample)))

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        room = d * self.cap
        self._require(
            BYTE * self.nbytes <= room, f"nbytes={self.nbytes} is more than {d} dimensions of {self.cap} bits can hold"
        )
        rows = np.ascontiguousarray(docs[self.fit_rows(len(docs))].T)
        scalar = _ScalarLevels(np.sort(rows, axis=1), self.levels, self.iterations)
        best, errors = scalar.allocation(BYTE * self.nbytes, self.cap)
        bits, groups = fill_bytes(best, errors)
        each = np.arange(d)
        self.whole_bytes_ = bool(
            errors[each, bits].sum() <= TOLERATED_LOSS[self.codebook] * errors[each, best].sum() or (bits == best).all()
        )
        if not self.whole_bytes_:
            bits, groups = best, [np.flatnonzero(best)]
        self.bits_ = bits.astype(np.uint8)
        means = rows.mean(axis=1, dtype=np.float64) if self.mean else np.zeros(d)
        if self._is_joint:
            idle = np.flatnonzero(bits == 0)
            groups = _dealt(idle[np.argsort(-scalar.deviation[idle], kind="stable")][: self.tail], groups)
        self.order_ = np.concatenate(groups).astype(np.uint16 if d <= 1 << 16 else np.uint32)
        self.rest_ = means[self._idle].astype(np.float32)
        # a dimension of the tail has one level to start from
        levels = [
            (scalar.levels(int(dim), int(bits[dim])) if bits[dim] else means[[dim]]).astype(np.float32)
            for dim in self.order_
        ]
        self.levels_ = np.concatenate(levels)
        self._forget("_groups", "_centroids", "_tables", "_layout")
        if self._is_joint:
            tables = self._jointly_fitted(rows.T, self._product_tables(), self.iterations)
            self.levels_ = np.concatenate([centroids.ravel() for centroids in tables])

    def _forget(self, *derived: str) -> None:
        """Have what follows from the state made again."""
        for name in derived:
            vars(self).pop(name, None)

    @property
    def has_joint_codebooks(self) -> bool:
        """Whether a byte's centroids were fitted jointly: with codebook=joint, where codes are whole bytes."""
        return self._is_joint

    def nearest_points(self, docs: Float32) -> Float32:
        """Return what documents (n, d) are decoded to before any renormalising, float32 (n, d)."""
        return self._decode(self._encode(docs))

    def follow(self, docs: Float32, iterations: int = 4) -> None:
        """Go on with k-means of the joint codebooks on documents (n, d) that moved a little since.

        Centroids are drawn to where they are instead of where scalar levels put them, and dimensions without a byte to
        the documents' new mean.
        """
        self._require(self._is_joint, "only joint codebooks follow documents")
        tables = self._jointly_fitted(docs, self._tables, iterations)
        self._forget("_centroids", "_tables", "_layout")
        self.levels_ = np.concatenate([centroids.ravel() for centroids in tables])
        if self.mean:
            self.rest_ = docs[:, self._idle].mean(axis=0, dtype=np.float64).astype(np.float32)

    def _jointly_fitted(self, docs: Float32, tables: list[Float32], iterations: int) -> list[Float32]:
        """Return each byte's centroids, float32 (256, w), as k-means moves them; bytes are dealt to the cores."""

        def fitted(dims: Int64, start: Float32) -> Float32:
            return _fit_centroids(np.ascontiguousarray(docs[:, dims]), start, self.shrinkage, iterations)

        return list(on_cores(fitted, zip(self._groups, tables, strict=True)))

    @property
    def _is_joint(self) -> bool:
        """Whether a byte's centroids were fitted jointly."""
        return self.codebook == "joint" and bool(self.whole_bytes_)

    def _bits_per_dimension(self) -> Array:
        return self.bits_.astype(np.float64)

    def byte_tables(self) -> tuple[list[Int64], list[Float32]]:
        """Return the dimensions of each byte, and their 256 centroids: int64 (w,) and float32 (256, w) for each.

        Raises
        ------
        MethodError
            If codes are one stream of bits, because so many bits a dimension do not fill whole bytes.
        """
        self._check_fitted()
        self._require(bool(self.whole_bytes_), f"nbytes={self.nbytes} is one stream of bits here, without byte tables")
        return self._groups, self._tables

    @property
    def _idle(self) -> Int64:
        """The dimensions that no byte stands for."""
        return np.setdiff1d(np.arange(len(self.bits_)), self.order_)

    @functools.cached_property
    def _groups(self) -> list[Int64]:
        """The dimensions of each byte; those of the tail come last in it."""
        byte = (np.cumsum(self.bits_[self.order_], dtype=np.int64) - 1) // BYTE
        return np.split(self.order_.astype(np.int64), np.flatnonzero(np.diff(byte)) + 1)

    @functools.cached_property
    def _tables(self) -> list[Float32]:
        """The centroids of each byte, float32 (256, w)."""
        return product_codes.tables_of(self._groups, self._centroids)

    @functools.cached_property
    def _centroids(self) -> Float32:
        """The tables of all bytes, one after another, float32 (256 w,): the state itself where these are that."""
        if self._is_joint:
            return self.levels_
        return np.concatenate([table.ravel() for table in self._product_tables()])

    def _scalar_levels(self) -> dict[int, Float32]:
        """Return the levels of each coded dimension, float32 (2**bits,)."""
        ends = np.cumsum(1 << self.bits_[self.order_].astype(np.int64))[:-1]
        return dict(zip(self.order_.tolist(), np.split(self.levels_, ends), strict=True))

    def _product_tables(self) -> list[Float32]:
        """Return each byte's centroids, float32 (256, w), as all combinations of its dimensions' levels."""
        levels, tables = self._scalar_levels(), []
        for dims in self._groups:
            table, low = np.empty((1 << BYTE, len(dims)), dtype=np.float32), 0
            for column, dim in enumerate(dims.tolist()):
                dim_levels = levels[dim]
                table[:, column] = dim_levels[np.arange(1 << BYTE) >> low & (len(dim_levels) - 1)]
                low += int(self.bits_[dim])
            tables.append(table)
        return tables

    @functools.cached_property
    def _layout(self) -> product_codes.Layout:
        """The bytes' tables for compiled loops."""
        return product_codes.layout(self._groups, self._centroids)

    def _leading(self) -> int:
        return int(self.order_.max()) + 1

    def _tail(self) -> Float32:
        tail: Float32 = self.rest_[self._idle >= self._leading()]
        return tail

    def _encode(self, docs: Float32) -> Codes:
        if self._is_joint:
            return Codes.packed(k_means.codes(docs, self._tables, self._groups))
        packed = np.empty((len(docs), self.nbytes), dtype=np.uint8)
        for start, stop in row_blocks(len(docs), 4 * docs.shape[1]):
            columns = np.ascontiguousarray(docs[start:stop].T)
            numbers = np.zeros(columns.shape, dtype=np.uint8)
            for dim, levels in self._scalar_levels().items():
                numbers[dim] = _nearest_level(columns[dim], levels)
            if not self.whole_bytes_:
                packed[start:stop] = pack_varied(numbers.T, self.bits_)
                continue
            for byte, dims in enumerate(self._groups):
                bits = self.bits_[dims]
                first_bits = (np.cumsum(bits) - bits).astype(np.uint8)
                packed[start:stop, byte] = np.bitwise_or.reduce(numbers[dims] << first_bits[:, None], axis=0)
        return Codes.packed(packed)

    def _decode(self, codes: Codes) -> Float32:
        decoded = np.empty((codes.n, self.dim_), dtype=np.float32)
        decoded[:, self._idle] = self.rest_
        if self.whole_bytes_:
            layout, packed = self._layout, np.ascontiguousarray(codes.array)
            over_rows(
                lambda start, stop: product_codes.decode(packed[start:stop], layout, decoded[start:stop]), codes.n, 1024
            )
            return decoded
        numbers = unpack_varied(codes.array, self.bits_)
        for dim, levels in self._scalar_levels().items():
            decoded[:, dim] = levels[numbers[:, dim]]
        return decoded

    def _plain_rows(self, codes: Codes) -> StoredRows | None:
        if not self.whole_bytes_:
            return None
        point = np.zeros(self.dim_, np.float32)
        point[self._idle] = self.rest_
        layout = self._layout
        return StoredRows(codes.array, ByteTables(layout.starts, layout.dims, layout.columns), point)


def _dealt(dims: Int64, groups: list[Int64]) -> list[Int64]:
    """Return the groups with `dims` appended, one at a time to the groups with the fewest dimensions."""
    order = np.argsort([len(group) for group in groups], kind="stable")
    dealt = list(groups)
    for position, dim in enumerate(dims):
        group = order[position % len(groups)]
        dealt[group] = np.append(dealt[group], dim)
    return dealt


class _ScalarLevels:
    """Scalar quantisers of each dimension for any number of bits, fitted when first asked for."""

    def __init__(self, ordered: Float32, kind: Literal["lloyd", "uniform"], iterations: int) -> None:
        self.ordered = ordered  # (d, n), each row ascending
        self.kind = kind
        self.iterations = iterations
        self.mean = ordered.mean(axis=1, dtype=np.float64)
        self.deviation = ordered.std(axis=1, dtype=np.float64)
        self._known: dict[tuple[int, int], Array] = {}

    def levels(self, dim: int, bits: int) -> Array:
        """Return ascending levels, float64 (2**bits,)."""
        key = (dim, bits)
        if key not in self._known:
            if self.kind == "lloyd":
                self._known[key] = fit_levels(self.ordered[dim], 1 << bits, self.iterations)
            else:
                half = uniform_half_levels(bits) * self.deviation[dim]
                self._known[key] = self.mean[dim] + np.concatenate([-half[::-1], half])
        return self._known[key]

    def error(self, dim: int, bits: int) -> float:
        """Return the mean squared error of a dimension with so many bits."""
        values, levels = self.ordered[dim], self.levels(dim, bits)
        edges = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2)
        nearest = np.repeat(levels, np.diff(np.concatenate([[0], edges, [len(values)]])))
        return float(np.mean((values - nearest) ** 2))

    def allocation(self, total_bits: int, cap: int) -> tuple[Int64, Array]:
        """Return bits (d,) and the errors (d, cap + 1) that they follow from.

        Levels are fitted only as far as the allocation reaches: a guess by the rule variance / 4**bits, then errors are
        measured wherever a dimension got close to the end of what was measured.
        """
        d = len(self.ordered)
        errors = self.deviation[:, None] ** 2 * 4.0 ** -np.arange(cap + 1)
        measured = np.zeros(d, dtype=np.int64)
        while True:
            bits = allocate(errors, total_bits)
            short = np.flatnonzero(measured < np.minimum(bits + (PROBED_BITS - 1), cap))
            if not len(short):
                return bits, errors
            for dim in short:
                goal = min(int(bits[dim]) + PROBED_BITS, cap)
                for b in range(int(measured[dim]) + 1, goal + 1):
                    errors[dim, b] = self.error(int(dim), b)
                errors[dim, goal:] = errors[dim, goal] * 4.0 ** -np.arange(cap + 1 - goal)
                measured[dim] = goal


def _nearest_level(values: Float32, levels: Float32) -> NDArray[np.uint8]:
    """Return the number of the nearest of ascending levels, uint8 (n,)."""
    wide = levels.astype(np.float64)
    edges = ((wide[1:] + wide[:-1]) / 2).astype(np.float32)
    if len(edges) > 7:
        return np.asarray(np.searchsorted(edges, values), dtype=np.uint8)
    # a few comparisons of whole columns are quicker than a binary search for each number
    number: NDArray[np.uint8] = (values > edges[0]).astype(np.uint8)
    for edge in edges[1:]:
        number += values > edge
    return number


def _fit_centroids(points: Float32, start: Float32, shrinkage: float, iterations: int) -> Float32:
    """Return k-means centroids (256, w) of points (n, w), drawn to where they started."""
    prior = start.astype(np.float64)
    centroids = start
    cells = np.full(len(points), -1)
    for _ in range(iterations):
        before = cells.copy()
        k_means.nearest(points, centroids, cells)
        if np.array_equal(cells, before):
            break
        sizes = np.bincount(cells, minlength=len(prior))[:, None]
        sums = np.column_stack([np.bincount(cells, column, len(prior)) for column in points.T])
        means = (sums + shrinkage * prior) / np.maximum(sizes + shrinkage, np.finfo(np.float64).tiny)
        centroids = np.where(sizes + shrinkage > 0, means, prior).astype(np.float32)
    return centroids
