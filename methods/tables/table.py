"""Compression of a table of vectors as a whole, as recommendation models compress their embedding tables.

Zhang et al. (2024) compare such methods. Made for tables that are trained in compressed form, under row numbers that
mean nothing, they are fitted here to a table that is given. What they learn belongs to these documents and to no
others, and it grows with their number: it is their codes, in `Codes.shared`, and `encode` is what learns it. State is
only what does not depend on the corpus.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, MethodError, project, row_blocks
from methods.kernels.bitfields import index_bits, pack_wide, unpack_wide

UInt64 = NDArray[np.uint64]


def as_half(values: Array, name: str) -> NDArray[np.float16]:
    """Return float16, or say that the values do not fit."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest > float(np.finfo(np.float16).max):
        raise MethodError(f"{name}: an entry of {largest:.3g} does not fit float16: scale the vectors")
    return values.astype(np.float16)


@dataclass(kw_only=True, eq=False)
class TableCodec(Codec, ABC):
    """A code for a whole table: documents have no bytes of their own.

    Parameters
    ----------
    nbytes : int
        Budget, in bytes a document. What is stored is as close below it as the method allows.
    """

    nbytes: int = 192

    row_wise: ClassVar[bool] = False

    def _check_parameters(self) -> None:
        self._require_at_least(1, "nbytes")
        # the code of a document is found by its row number, and a query has none
        self._require(self.scoring == "asymmetric", f"scoring={self.scoring} is not possible: queries have no row")

    def _encode(self, docs: Float32) -> Codes:
        stored = {name: as_half(array, type(self).__name__) for name, array in self._learn(docs).items()}
        return Codes(n=len(docs), rows={}, shared=stored)

    @abstractmethod
    def _learn(self, docs: Float32) -> dict[str, Array]:
        """Return the arrays that stand for the table; they are stored as float16."""


@dataclass(kw_only=True, eq=False)
class TensorTrain(TableCodec):
    """The table as a train of three tensors (Oseledets, 2011; for embeddings Yin et al., 2021, TT-Rec).

    Row number and dimension are each written as three digits, (n1, n2, n3) and (d1, d2, d3); the tensor with axes
    (n1 d1), (n2 d2), (n3 d3) is cut into cores by two truncated SVDs, both of the largest rank that the budget allows.
    """

    def _learn(self, docs: Float32) -> dict[str, Array]:
        n, d = docs.shape
        (n1, n2, n3), (d1, d2, d3) = row_digits(n), dimension_digits(d)
        table = np.zeros((n1 * n2 * n3, d), dtype=np.float32)
        table[:n] = docs
        tensor = table.reshape(n1, n2, n3, d1, d2, d3).transpose(0, 3, 1, 4, 2, 5)
        tensor = tensor.reshape(n1 * d1, n2 * d2, n3 * d3)
        rank = self._rank(tensor.shape, n)
        first, second_and_third = _truncated(tensor.reshape(n1 * d1, -1), rank)
        second, third = _truncated(second_and_third.reshape(first.shape[1] * n2 * d2, n3 * d3), rank)
        return {"first": first, "second": second.reshape(first.shape[1], n2 * d2, -1), "third": third}

    def _rank(self, shape: tuple[int, ...], n: int) -> int:
        """Return the largest rank whose three tensors fit the budget of n rows, at least 1."""
        a, b, c = shape
        most_first, most_second = min(a, b * c), min(a * b, c)
        best = 1
        for rank in range(1, max(most_first, most_second) + 1):
            first, second = min(rank, most_first), min(rank, most_second)
            if 2 * (a * first + first * b * second + second * c) <= self.nbytes * n:
                best = rank
        return best

    def _decode(self, codes: Codes) -> Float32:
        (n1, n2, n3), (d1, d2, d3) = row_digits(codes.n), dimension_digits(self.dim_)
        first, second, third = (codes.shared[name].astype(np.float32) for name in ("first", "second", "third"))
        tensor = np.tensordot(np.tensordot(first, second, axes=1), third, axes=1)
        table = tensor.reshape(n1, d1, n2, d2, n3, d3).transpose(0, 2, 4, 1, 3, 5).reshape(-1, self.dim_)
        return np.ascontiguousarray(table[: codes.n])


def row_digits(n: int) -> tuple[int, int, int]:
    """Return three nearly equal factors whose product is at least n."""
    n1 = int(np.ceil(round(n ** (1 / 3), 9)))
    n2 = int(np.ceil(round((n / n1) ** 0.5, 9)))
    return n1, n2, -(-n // (n1 * n2))


def dimension_digits(d: int) -> tuple[int, int, int]:
    """Return the three factors of d that are most nearly equal."""
    triples = [
        (a, b, d // (a * b)) for a in range(1, d + 1) if d % a == 0 for b in range(1, d // a + 1) if d // a % b == 0
    ]
    return min(triples, key=lambda triple: (max(triple) - min(triple), triple))


def _truncated(matrix: Array, rank: int) -> tuple[Array, Array]:
    """Return the best factors of a rank, the first with orthonormal columns."""
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    rank = min(rank, len(s))
    return u[:, :rank], s[:rank, None] * vt[:rank]


@dataclass(kw_only=True, eq=False)
class QuotientRemainder(TableCodec):
    """Row i as the product, number by number, of row i // q of one table and row i % q of another.

    Shi et al. (2020), compositional embeddings. Fitted by alternating least squares; q is the smallest divisor for
    which both tables are within the budget.

    Parameters
    ----------
    iterations : int
        Turns of solving for one table with the other one fixed.
    """

    iterations: int = 10

    def _divisor(self, n: int, d: int) -> int:
        """Return the smallest q whose two tables fit the budget, or else that of the smallest tables."""
        divisors = np.arange(1, n + 1)
        sizes = 2 * d * (-(-n // divisors) + divisors)
        within = np.flatnonzero(sizes <= self.nbytes * n)
        return int(divisors[within[0]] if len(within) else divisors[sizes.argmin()])

    def _learn(self, docs: Float32) -> dict[str, Array]:
        n, d = docs.shape
        q = self._divisor(n, d)
        rows = -(-n // q)
        table = np.zeros((rows * q, d), dtype=np.float32)
        table[:n] = docs
        table = table.reshape(rows, q, d)
        present = (np.arange(rows * q) < n).astype(np.float32).reshape(rows, q)
        quotient = np.ones((rows, d), dtype=np.float32)
        for _ in range(self.iterations):
            remainder = _ratio(np.einsum("aqd,ad->qd", table, quotient), present.T @ quotient**2)
            quotient = _ratio(np.einsum("aqd,qd->ad", table, remainder), present @ remainder**2)
        return {"quotient": quotient, "remainder": remainder}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "iterations")

    def _decode(self, codes: Codes) -> Float32:
        quotient, remainder = (codes.shared[name].astype(np.float32) for name in ("quotient", "remainder"))
        rows = np.arange(codes.n)
        decoded: Float32 = quotient[rows // len(remainder)] * remainder[rows % len(remainder)]
        return decoded


def _ratio(above: Array, below: Array) -> Array:
    """Return above / below, number by number, and 0 where below is about 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 1e-20)


@dataclass(kw_only=True, eq=False)
class Robe(TableCodec):
    """Every number of the table read from one short array, at a hashed place (Desai et al., 2022, ROBE).

    A run of `block` dimensions is read from consecutive places. The least-squares array for a given table is the mean
    of the numbers that share a place.

    Parameters
    ----------
    block : int
        Z of the paper.
    seed : int
        Seed of the hash function.
    """

    block: int = 1
    seed: int = 0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "block")

    def _places(self, start: int, stop: int, size: int) -> NDArray[np.int64]:
        """Return where the numbers of some rows lie, int64 (rows, d)."""
        dims = np.arange(self.dim_)
        rows = np.arange(start, stop, dtype=np.uint64)[:, None]
        hashed = hash_of(rows, (dims // self.block).astype(np.uint64)[None, :], self.seed)
        return ((hashed % np.uint64(size)).astype(np.int64) + dims % self.block) % size

    def _learn(self, docs: Float32) -> dict[str, Array]:
        size = max(1, self.nbytes * len(docs) // 2)
        sums, counts = np.zeros(size), np.zeros(size)
        for start, stop in row_blocks(len(docs), 8 * self.dim_):
            slots = self._places(start, stop, size).ravel()
            sums += np.bincount(slots, weights=docs[start:stop].ravel(), minlength=size)
            counts += np.bincount(slots, minlength=size)
        return {"array": sums / np.maximum(counts, 1)}

    def _decode(self, codes: Codes) -> Float32:
        array = codes.shared["array"].astype(np.float32)
        out = np.empty((codes.n, self.dim_), dtype=np.float32)
        for start, stop in row_blocks(codes.n, 8 * self.dim_):
            out[start:stop] = array[self._places(start, stop, len(array))]
        return out


def hash_of(row: UInt64, column: UInt64, seed: int) -> UInt64:
    """Return 64 mixed bits of a pair of numbers, broadcast (the finaliser of splitmix64; Steele et al., 2014)."""
    with np.errstate(over="ignore"):
        keys = np.random.default_rng(seed).integers(0, 2**63, size=2, dtype=np.uint64)
        mixed = (row + keys[0]) * np.uint64(0x9E3779B97F4A7C15) + (column + keys[1]) * np.uint64(0xD1B54A32D192ED03)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out: UInt64 = mixed ^ (mixed >> np.uint64(31))
    return out


@dataclass(kw_only=True, eq=False)
class Deduplicate(Codec):
    """Cut vectors into blocks, let blocks with the same hash share their mean, keep pointers.

    Zhou et al. (2022), deduplication of tensor blocks by locality-sensitive hashing; here with random hyperplanes
    (Charikar, 2002), so that at most 2**bits blocks are kept. All positions share one pool. It is vector quantisation
    whose cells are drawn at random.

    Parameters
    ----------
    block : int
        Dimensions of a block; the last one may be cut short.
    bits : int
        Hyperplanes, 1 to 16.
    seed : int
    """

    block: int = 8
    bits: int = 12
    seed: int = 0

    row_wise: ClassVar[bool] = False

    def _check_parameters(self) -> None:
        self._require_at_least(1, "block")
        self._require(1 <= self.bits <= 16, f"bits must be 1 to 16, got {self.bits}")

    def _encode(self, docs: Float32) -> Codes:
        n, d = docs.shape
        blocks = -(-d // self.block)
        padded = np.zeros((n, blocks * self.block), dtype=np.float32)
        padded[:, :d] = docs
        pieces = padded.reshape(n * blocks, self.block)
        hyperplanes = np.random.default_rng(self.seed).standard_normal((self.block, self.bits))
        hashes = (project(pieces, hyperplanes) > 0) @ (1 << np.arange(self.bits))
        distinct, pointers = np.unique(hashes, return_inverse=True)
        counts = np.bincount(pointers, minlength=len(distinct))
        pool = np.stack([np.bincount(pointers, weights=column, minlength=len(distinct)) for column in pieces.T], axis=1)
        packed = pack_wide(pointers.reshape(n, blocks), index_bits(len(distinct)))
        return Codes(n=n, rows={"pointers": packed}, shared={"blocks": as_half(pool / counts[:, None], "Deduplicate")})

    def _decode(self, codes: Codes) -> Float32:
        pool = codes.shared["blocks"].astype(np.float32)
        pointers = unpack_wide(codes.rows["pointers"], index_bits(len(pool)), -(-self.dim_ // self.block))
        return np.ascontiguousarray(pool[pointers].reshape(codes.n, -1)[:, : self.dim_])
