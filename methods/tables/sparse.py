"""Sparse codes: a few numbers, and where they stand. The places are stored too, and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, row_blocks, unit_rows
from methods.kernels.bitfields import index_bits, pack_wide, unpack_wide
from methods.kernels.packing import UInt8, packed_size
from methods.tables.table import as_half

Int = NDArray[np.int64]


@dataclass(kw_only=True, eq=False)
class Sparse(Codec):
    """Write each document as `k` atoms of a dictionary, with a number for each.

    Places are stored as `ceil(log2(atoms))` bits each, or as a bitmap of the atoms where that is shorter.

    Parameters
    ----------
    k : int
        Numbers kept of each document.
    dictionary : {"identity", "random", "learned"}
        *identity*: the dimensions themselves, which is pruning by magnitude, document by document. *random*: unit
        vectors drawn from the seed, so that none is stored. *learned*: from random combinations of the documents, codes
        and atoms alternate, the atoms being the least-squares solution for the codes (method of optimal directions;
        Engan, Aase and Husøy, 1999).
    atoms : int or None
        Size of the dictionary; None is the number of dimensions. Only *identity* must have None.
    value_bits : {16, 8}
        float16; or int8 levels of the document's largest number, which is stored as float16.
    iterations : int
        Turns of learning the dictionary.
    seed : int

    Notes
    -----
    Codes come from orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad, 1993). What contrastive sparse
    coding (Wen et al., 2025, CSR) trains a network for, this does for a frozen model without one.
    """

    k: int
    dictionary: Literal["identity", "random", "learned"] = "learned"
    atoms: int | None = None
    value_bits: Literal[16, 8] = 8
    iterations: int = 8
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require_at_least(1, "k")
        self._require(self.atoms is None or self.atoms >= self.k, f"atoms={self.atoms} are fewer than k={self.k}")
        self._require(
            self.atoms is None or self.dictionary != "identity",
            f"atoms={self.atoms} is not possible: the identity has as many as there are dimensions",
        )
        self._require(self.atoms is None or self.atoms <= 1 << 16, f"atoms must be at most 65536, got {self.atoms}")
        self._require_at_least(1, "iterations")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        self.__dict__.pop("_atoms", None)
        self._require(self.k <= d, f"k={self.k} is more than the {d} dimensions of the vectors")
        self.width_ = d
        if self.dictionary != "learned":
            return
        count = self.atoms or d
        self._require(self.k <= count, f"k={self.k} is more than the {count} atoms")
        self.atoms_ = self._learn(docs, count)

    def _learn(self, docs: Float32, count: int) -> Float32:
        n, d = docs.shape
        rng = np.random.default_rng(self.seed)
        # combinations of documents lie where documents lie, and are none of them
        mixtures = rng.standard_normal((count, n)).astype(np.float32) @ docs
        noise = 1e-3 * np.abs(mixtures).max(initial=0.0) + 1e-6
        atoms = unit_rows((mixtures + noise * rng.standard_normal((count, d))).astype(np.float32))
        for _ in range(self.iterations):
            places, values = pursue(docs, atoms, self.k)
            atoms = better_atoms(docs, places, values, atoms)
        return atoms

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over a dictionary; a random one is drawn again at first use."""
        self.__dict__.pop("_atoms", None)
        return super().load_state(arrays)

    @cached_property
    def _atoms(self) -> Float32:
        """The dictionary, float32 (atoms, d)."""
        if self.dictionary == "learned":
            return np.asarray(self.atoms_, dtype=np.float32)
        if self.dictionary == "identity":
            return np.eye(self.width_, dtype=np.float32)
        drawn = np.random.default_rng(self.seed).standard_normal((self.atoms or self.width_, self.width_))
        return unit_rows(drawn.astype(np.float32))

    def _encode(self, docs: Float32) -> Codes:
        if self.dictionary == "identity":
            places, values = largest(docs, self.k)
        else:
            places, values = pursue(docs, self._atoms, self.k)
        rows: dict[str, Array] = {"places": pack_places(places, len(self._atoms))}
        if self.value_bits == 16:
            return Codes(n=len(docs), rows=rows | {"values": as_half(values, "Sparse")})
        top = as_half(np.abs(values).max(axis=1), "Sparse")
        wide = top.astype(np.float64)[:, None]
        levels = np.divide(values, wide, out=np.zeros_like(values), where=wide > 0)
        rows["values"] = np.clip(np.rint(127 * levels), -127, 127).astype(np.int8)
        rows["scale"] = top
        return Codes(n=len(docs), rows=rows)

    def _decode(self, codes: Codes) -> Float32:
        from scipy.sparse import csr_matrix

        places = unpack_places(codes.rows["places"], self.k, len(self._atoms))
        values = codes.rows["values"].astype(np.float32)
        if self.value_bits == 8:
            values *= codes.rows["scale"].astype(np.float32)[:, None] / np.float32(127)
        starts = np.arange(codes.n + 1) * self.k
        coefficients = csr_matrix((values.ravel(), places.ravel(), starts), shape=(codes.n, len(self._atoms)))
        if self.dictionary == "identity":
            return np.asarray(coefficients.toarray(), dtype=np.float32)
        return np.asarray(coefficients @ self._atoms, dtype=np.float32)


def pack_places(places: Int, count: int) -> UInt8:
    """Pack k distinct places of each row, ascending, as indices or as a bitmap, whichever is shorter."""
    n, k = places.shape
    if packed_size(k, index_bits(count)) <= packed_size(count, 1):
        return pack_wide(places, index_bits(count))
    bitmap = np.zeros((n, count), dtype=np.uint8)
    np.put_along_axis(bitmap, places, 1, axis=1)
    return np.packbits(bitmap, axis=1)


def unpack_places(packed: UInt8, k: int, count: int) -> Int:
    """Return the positions, int64 (n, k), that `pack_places` packed."""
    if packed_size(k, index_bits(count)) <= packed_size(count, 1):
        return unpack_wide(packed, index_bits(count), k)
    bitmap = np.unpackbits(packed, axis=1, count=count)
    return np.nonzero(bitmap)[1].reshape(len(packed), k)


def largest(docs: Float32, k: int) -> tuple[Int, Array]:
    """Return the places (n, k), ascending, of each row's largest magnitudes, and the numbers there."""
    places = np.sort(np.argsort(-np.abs(docs), axis=1, kind="stable")[:, :k], axis=1)
    return places, np.take_along_axis(docs, places, axis=1).astype(np.float64)


def pursue(docs: Float32, atoms: Float32, k: int) -> tuple[Int, Array]:
    """Return places (n, k), ascending, and coefficients of an orthogonal matching pursuit.

    Each step takes the atom that lies most along what is left, then solves for all coefficients again.
    """
    n, count = len(docs), len(atoms)
    wide = atoms.astype(np.float64)
    gram = wide @ wide.T
    # atoms may repeat when the documents do: a little ridge keeps the solution finite
    gram[np.arange(count), np.arange(count)] += 1e-8
    places, values = np.empty((n, k), dtype=np.int64), np.empty((n, k))
    for start, stop in row_blocks(n, 8 * count * (k + 2)):
        products = docs[start:stop].astype(np.float64) @ wide.T
        rows = np.arange(stop - start)
        chosen = np.empty((stop - start, 0), dtype=np.int64)
        correlations = products.copy()
        for _ in range(k):
            np.put_along_axis(correlations, chosen, 0.0, axis=1)
            magnitudes = np.abs(correlations)
            np.put_along_axis(magnitudes, chosen, -1.0, axis=1)
            chosen = np.concatenate([chosen, magnitudes.argmax(axis=1)[:, None]], axis=1)
            chosen_gram = gram[chosen[:, :, None], chosen[:, None, :]]
            coefficients = np.linalg.solve(chosen_gram, products[rows[:, None], chosen][:, :, None])[:, :, 0]
            correlations = products - np.einsum("nj,njc->nc", coefficients, gram[chosen])
        order = chosen.argsort(axis=1)
        places[start:stop] = np.take_along_axis(chosen, order, axis=1)
        values[start:stop] = np.take_along_axis(coefficients, order, axis=1)
    return places, values


def better_atoms(docs: Float32, places: Int, values: Array, atoms: Float32) -> Float32:
    """Return unit atoms that fit the codes best; an atom that no code uses stays as it is."""
    from scipy.sparse import csr_matrix

    n, k = places.shape
    coefficients = csr_matrix((values.ravel(), places.ravel(), np.arange(n + 1) * k), shape=(n, len(atoms)))
    moment = (coefficients.T @ coefficients).toarray()
    used = np.diag(moment) > 0
    if not used.any():
        return atoms
    moment[np.arange(len(atoms)), np.arange(len(atoms))] += 1e-3 * np.diag(moment)[used].mean() + 1e-12
    solved = np.linalg.solve(moment, coefficients.T @ docs.astype(np.float64))
    lengths = np.sqrt(np.einsum("ij,ij->i", solved, solved))
    out = atoms.copy()
    replaced = used & (lengths > 1e-12)
    out[replaced] = (solved[replaced] / lengths[replaced, None]).astype(np.float32)
    return out


@dataclass(kw_only=True, eq=False)
class Pruned(Codec):
    """Drop the numbers of the table that are smallest in magnitude, wherever they stand.

    One threshold for all, the quantile of the fitted documents' magnitudes (as DeepLight prunes an embedding table;
    Deng et al., 2021), so that documents keep different counts of numbers. What is left is stored as float16 in one
    stream; a bitmap says where each document's numbers belong.

    Parameters
    ----------
    keep : float
        Share of the numbers that is kept, on the fitted documents.
    """

    keep: float = 0.25

    row_wise: ClassVar[bool] = False

    def _check_parameters(self) -> None:
        self._require(0 < self.keep <= 1, f"keep must be a share in (0, 1], got {self.keep}")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        self.threshold_ = float(np.quantile(np.abs(docs), 1 - self.keep))

    def _encode(self, docs: Float32) -> Codes:
        large = np.abs(docs) >= np.float32(self.threshold_)
        return Codes(
            n=len(docs), rows={"bitmap": np.packbits(large, axis=1)}, shared={"values": as_half(docs[large], "Pruned")}
        )

    def _decode(self, codes: Codes) -> Float32:
        large = np.unpackbits(codes.rows["bitmap"], axis=1, count=self.dim_).astype(bool)
        out = np.zeros(large.shape, dtype=np.float32)
        out[large] = codes.shared["values"]
        return out
