"""ASH: fewer dimensions with more bits each, by a learned projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from methods.base import Array, Codec, Codes, Float32, project, unit_rows
from methods.kernels.packing import pack, unpack
from methods.rotated import grid_codes
from methods.transforms.hashing import procrustes
from methods.transforms.linear import eigenbasis, random_rotation, second_moment
from methods.transforms.subspace import with_mean


@dataclass(kw_only=True, eq=False)
class ASH(Codec):
    """Project the directions of centred documents on `dim` learned axes, code them on a grid (Elasticsearch, 2026).

    The axes W are the leading principal directions of (x - mean) / |x - mean|, turned by a rotation that brings them
    close to the codes they get: the Procrustes iterations of ITQ, with the grid's codes in place of signs.
    A document is W (x - mean), on the grid, one factor, and one offset that sets right its inner product with the mean.
    If the documents are fewer than 2 dim, W is random.

    Parameters
    ----------
    dim : int
        Dimensions to keep; half of them in the original.
    bits : int
        1 to 8 bits for each; 2 in the original.
    iterations : int
    refine : {"sweep", "adjust", "none"}
        The sweep is exact and what the original does; above 4 bits it takes long.
    scale : {"norm", "unbiased", "least_squares"}
        *norm*, the original: the factor gives the code the length of x - mean, in all dimensions.
    offset : bool
        Store <x - mean, mean> less what the code makes of it, and add it to the score. It is one more coordinate, 1 for
        queries: decoded documents are then no vectors that could be renormalised or serve as queries.
    factors : {"float16", "float32"}
        Format of the factor and of the offset. The original has float32.
    sample : int
        Documents that the rotation is learned on, at most; the original takes 10 d and not more than 8192.
    seed : int
    """

    dim: int
    bits: int = 2
    iterations: int = 5
    refine: grid_codes.Refine = "sweep"
    scale: grid_codes.Scale = "norm"
    offset: bool = True
    factors: Literal["float16", "float32"] = "float16"
    sample: int = 8192
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require_at_least(1, "dim")
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")
        self._require_at_least(0, "iterations")
        self._require_at_least(1, "sample")
        plain = not self.renormalize and self.scoring == "asymmetric"
        self._require(plain or not self.offset, "renormalize and scoring other than asymmetric need offset=false")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        n, d = docs.shape
        self._require(self.dim <= d, f"dim={self.dim} is wider than the vectors, which have {d} dimensions")
        rng = np.random.default_rng(self.seed)
        mean = docs.mean(axis=0, dtype=np.float64)
        size = min(n, self.sample, 10 * d)
        chosen = docs if size == n else docs[np.sort(rng.choice(n, size, replace=False))]
        directions = unit_rows((chosen - mean).astype(np.float32))
        axes = self._learn_axes(directions, rng)
        self.basis_, self.centre_ = with_mean(axes, mean)
        self.mean_ = mean.astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", chosen - mean, chosen - mean))
        spread = float(lengths.mean())
        # factors and offsets are stored in units of the usual length, so that float16 neither overflows nor underflows
        self.unit_ = spread if spread > 0 else 1.0

    def _learn_axes(self, directions: Float32, rng: np.random.Generator) -> Array:
        """Return the axes, float64 (d, dim): principal ones, rotated so that rounding to the grid loses least."""
        d = directions.shape[1]
        if len(directions) < 2 * self.dim:
            return random_rotation(d, rng)[:, : self.dim]
        principal = eigenbasis(second_moment(directions))[1][:, : self.dim]
        reduced = project(directions, principal)
        rotation = random_rotation(self.dim, rng)
        for _ in range(self.iterations):
            points = self._points(project(reduced, rotation))
            rotation = procrustes(reduced.T @ unit_rows(points))
        axes: Array = principal @ rotation
        return axes

    def _points(self, z: Float32) -> Float32:
        """Return the grid points, float32 (n, dim), that rows of z are coded as."""
        return grid_codes.grid_points(grid_codes.encode(z, self.bits, self.refine), self.bits)

    def _encode(self, docs: Float32) -> Codes:
        centred = docs - self.mean_
        z = project(centred, self.basis_[:, : self.dim])
        levels = grid_codes.encode(z, self.bits, self.refine)
        points = grid_codes.grid_points(levels, self.bits)
        lengths = np.sqrt(np.einsum("ij,ij->i", centred, centred, dtype=np.float64))
        factors = grid_codes.factors(z, points, self.scale, lengths) / self.unit_
        stored = [self._stored(factors)]
        if self.offset:
            # what is stored is what decode will multiply by
            inner = np.einsum("ij,j->i", points, self.centre_[: self.dim], dtype=np.float64)
            coded = stored[0].astype(np.float64) * inner
            exact = np.einsum("ij,j->i", centred, self.mean_, dtype=np.float64) / self.unit_
            stored.append(self._stored(exact - coded))
        return Codes(n=len(docs), rows={"codes": pack(levels, self.bits), "factors": np.column_stack(stored)})

    def _stored(self, values: Array) -> Array:
        """Return factors in the format that is stored, clipped to its range."""
        limit = float(np.finfo(self.factors).max)
        return np.clip(values, -limit, limit).astype(self.factors)

    def _decode(self, codes: Codes) -> Float32:
        factors = codes.rows["factors"].astype(np.float32) * np.float32(self.unit_)
        decoded = np.empty((codes.n, self.dim + 1 + self.offset), dtype=np.float32)
        decoded[:, : self.dim + 1] = self.centre_
        points = grid_codes.grid_points(unpack(codes.array, self.bits, self.dim), self.bits)
        points *= factors[:, :1]
        decoded[:, : self.dim] += points
        if self.offset:
            decoded[:, -1] = factors[:, 1]
        return decoded

    def _project_queries(self, queries: Float32) -> Float32:
        projected = project(queries, self.basis_)
        if not self.offset:
            return projected
        return np.column_stack([projected, np.ones(len(queries), dtype=np.float32)])
