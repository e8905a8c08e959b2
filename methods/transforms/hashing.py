"""Projections made for signs: put one before `methods.Sign`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from methods.base import Array, Float32, Transform, project
from methods.transforms.linear import random_rotation


@dataclass(kw_only=True, eq=False)
class ITQ(Transform):
    """Rotate so that signs lose least: iterative quantisation (Gong and Lazebnik, 2011).

    Starts at a random rotation and alternates between B = sign(X R) and the rotation that brings X closest to B, which
    is an orthogonal Procrustes problem: R = U V^T from the singular value decomposition of X^T B. The original reduces
    the documents by centred PCA first and compares Hamming distances.

    Parameters
    ----------
    iterations : int
        50 in the paper.
    sample : int
        Documents to learn on, drawn at random; all of them if there are fewer.
    seed : int
    """

    iterations: int = 50
    sample: int = 20_000
    seed: int = 0

    is_linear: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(0, "iterations")
        self._require_at_least(1, "sample")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        n, d = docs.shape
        rng = np.random.default_rng(self.seed)
        rotation = random_rotation(d, rng)
        chosen = docs if n <= self.sample else docs[np.sort(rng.choice(n, self.sample, replace=False))]
        for _ in range(self.iterations):
            rotation = procrustes(chosen.T @ signs(chosen @ rotation.astype(np.float32)))
        self.rotation_ = rotation.astype(np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        return project(docs, self.rotation_)


@dataclass(kw_only=True, eq=False)
class Hyperplanes(Transform):
    """Project on the normals of random hyperplanes, as many as bits are wanted, more than dimensions if need be.

    The share of hyperplanes that part two vectors estimates the angle between them (Charikar, 2002): that is Hamming
    distance, `scoring="symmetric"`.

    Parameters
    ----------
    nbits : int
        Number of hyperplanes.
    kind : {"gaussian", "super_bit"}
        *gaussian*: independent. *super_bit*: made orthogonal in batches of `depth`, which lowers the variance of the
        estimate (Ji et al., 2012).
    depth : int or None
        Size of a batch, at most the number of dimensions, which is what None means. Only for super_bit.
    seed : int
    """

    nbits: int
    kind: Literal["gaussian", "super_bit"] = "gaussian"
    depth: int | None = None
    seed: int = 0

    is_linear: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(1, "nbits", "depth")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        depth = d if self.depth is None else self.depth
        self._require(depth <= d, f"depth={depth} directions cannot be orthogonal in {d} dimensions")
        normals = np.random.default_rng(self.seed).standard_normal((d, self.nbits))
        if self.kind == "super_bit":
            for start in range(0, self.nbits, depth):
                normals[:, start : start + depth] = orthogonal(normals[:, start : start + depth])
        # as long as the columns of a projection, or beyond d bits of a tight frame: see `Chain`
        normals *= np.sqrt(min(d, self.nbits) / np.sum(normals**2))
        self.normals_ = normals.astype(np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        return project(docs, self.normals_)


def signs(values: Float32) -> Float32:
    """Return +1 where a number is positive and -1 elsewhere, as `Sign` does."""
    out: Float32 = np.where(values > 0, np.float32(1), np.float32(-1))
    return out


def procrustes(product: Array) -> Array:
    """Return the orthogonal R that maximises trace(R^T `product`), float64 (Schönemann, 1966)."""
    u, _, vt = np.linalg.svd(product.astype(np.float64))
    rotation: Array = u @ vt
    return rotation


def orthogonal(columns: Array) -> Array:
    """Return orthonormal columns with the span of `columns`, each on the side that Gram-Schmidt leaves it on."""
    q, r = np.linalg.qr(columns)
    diagonal = np.diag(r)
    return q * np.where(diagonal < 0, -1, 1)
