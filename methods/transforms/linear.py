"""Linear maps to fewer dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from methods.base import Array, Float32, Transform, project, unit_rows
from methods.transforms.location import is_far


def second_moment(vectors: Float32) -> Array:
    """Return X^T X / n, float64 (d, d), without centring."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), 1 << 14):
        block = vectors[start : start + (1 << 14)].astype(np.float64)
        total += block.T @ block
    return total / len(vectors)


def eigenbasis(moment: Array) -> tuple[Array, Array]:
    """Return (eigenvalues, eigenvectors in columns), largest first, signs fixed so that they are reproducible."""
    values, vectors = np.linalg.eigh(moment)
    values, vectors = values[::-1], vectors[:, ::-1]
    # LAPACK leaves a vector's sign open: make its largest entry positive
    largest = np.abs(vectors).argmax(axis=0)
    return np.maximum(values, 0), vectors * np.where(vectors[largest, np.arange(len(values))] < 0, -1, 1)


@dataclass(kw_only=True, eq=False)
class Truncate(Transform):
    """Keep the first `dim` numbers: the prefix of a Matryoshka embedding (Kusupati et al., 2022).

    Parameters
    ----------
    dim : int
    normalize : bool
        Scale the prefixes of documents and queries to unit length.
    """

    dim: int
    normalize: bool = True

    def _check_parameters(self) -> None:
        self._require_at_least(1, "dim")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        self._require(self.dim <= d, f"dim={self.dim} is wider than the vectors, which have {d} dimensions")

    def _transform_docs(self, docs: Float32) -> Float32:
        prefix = np.ascontiguousarray(docs[:, : self.dim])
        return unit_rows(prefix) if self.normalize else prefix

    @property
    def is_linear(self) -> bool:  # type: ignore[override]
        """Whether prefixes keep their lengths."""
        return not self.normalize


@dataclass(kw_only=True, eq=False)
class SVD(Transform):
    """Project on the leading eigenvectors of the documents' second moment.

    Uncentred (`centre="none"`), this is the rank-`dim` map that changes inner products least in the sense of Eckart
    and Young (1936), and the default. Centring is what PCA does (Pearson, 1901) and what scikit-learn's and FAISS's
    PCA do, and it is harmless for Euclidean distance only: <q - mean, x - mean> is another ranking than <q, x>.

    Parameters
    ----------
    dim : int or None
        Dimensions to keep; None keeps all, which is a rotation (the Karhunen-Loeve transform).
    centre : {"none", "both", "docs", "axes", "auto"}
        What the documents' mean is subtracted from: nothing; documents and queries, as in PCA followed by inner
        product (loses about two points of nDCG@10 at half the dimensions); documents only, to which a `Chain` gives it
        back; or the second moment only, so that axes are those of the covariance and vectors keep their mean: for all
        dimensions, and codecs that learn each dimension's place anyway. *auto*: the last, if the mean has
        `location.MEAN_SHARE` of the documents' mean square, else nothing.
    """

    dim: int | None = None
    centre: Literal["none", "both", "docs", "axes", "auto"] = "none"

    principal: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(1, "dim")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        self.components_ = np.ascontiguousarray(self._axes(docs)[1][:, : self.dim], dtype=np.float32)

    def _axes(self, docs: Float32) -> tuple[Array, Array]:
        """Return all (eigenvalues, eigenvectors in columns), and keep the mean where it will be subtracted."""
        d = docs.shape[1]
        wide = self.dim is not None and self.dim > d
        self._require(not wide, f"dim={self.dim} is wider than the vectors, which have {d} dimensions")
        moment = second_moment(docs)
        if self.centre == "none":
            return eigenbasis(moment)
        mean = docs.mean(axis=0, dtype=np.float64)
        if self.centre != "auto" or is_far(mean, moment):
            moment -= np.outer(mean, mean)
        if self.centre in ("both", "docs"):
            self.mean_ = mean.astype(np.float32)
        return eigenbasis(moment)

    def _transform_docs(self, docs: Float32) -> Float32:
        return self._transform_leading(docs, self.components_.shape[1])

    def _transform_leading(self, docs: Float32, leading: int) -> Float32:
        return project(docs - self.mean_ if self.centre in ("both", "docs") else docs, self.components_, leading)

    def _transform_queries(self, queries: Float32) -> Float32:
        return project(queries - self.mean_ if self.centre == "both" else queries, self.components_)

    @property
    def is_linear(self) -> bool:  # type: ignore[override]
        """Whether queries keep their mean."""
        return self.centre != "both"

    def _taken(self) -> Float32 | None:
        return self.mean_ if self.centre == "docs" else None

    def _map_linearly(self, docs: Float32) -> Float32:
        return project(docs, self.components_)


@dataclass(kw_only=True, eq=False)
class RandomProjection(Transform):
    """Project on random directions (Johnson and Lindenstrauss, 1984): needs no data, and shows what data are worth.

    Parameters
    ----------
    dim : int
    kind : {"orthogonal", "gaussian", "sparse", "very_sparse"}
        *orthogonal*: orthonormal directions, uniform over rotations (QR of a Gaussian matrix, signs fixed; Mezzadri,
        2007), scaled by sqrt(d / dim). *gaussian*: independent N(0, 1/dim) entries. *sparse*: entries
        sqrt(3 / dim) * {+1, 0, -1} with probabilities 1/6, 2/3, 1/6 (Achlioptas, 2003). *very_sparse*: the same with
        sqrt(d) in place of 3 (Li, Hastie and Church, 2006).
    seed : int
    """

    dim: int
    kind: Literal["orthogonal", "gaussian", "sparse", "very_sparse"] = "orthogonal"
    seed: int = 0

    is_linear: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(1, "dim")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        self._require(self.dim <= d, f"dim={self.dim} is wider than the vectors, which have {d} dimensions")
        rng = np.random.default_rng(self.seed)
        if self.kind == "orthogonal":
            matrix = random_rotation(d, rng)[:, : self.dim] * np.sqrt(d / self.dim)
        elif self.kind == "gaussian":
            matrix = rng.standard_normal((d, self.dim)) / np.sqrt(self.dim)
        else:
            sparsity = 3.0 if self.kind == "sparse" else np.sqrt(d)
            signs = rng.choice([-1.0, 0.0, 1.0], size=(d, self.dim), p=_sign_odds(sparsity))
            matrix = signs * np.sqrt(sparsity / self.dim)
        self.components_ = np.ascontiguousarray(matrix, dtype=np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        return project(docs, self.components_)


def _sign_odds(sparsity: float) -> list[float]:
    """Return the probabilities of -1, 0 and 1 (Achlioptas, 2003)."""
    tail = 1 / (2 * sparsity)
    return [tail, 1 - 2 * tail, tail]


def random_rotation(d: int, rng: np.random.Generator) -> Array:
    """Return a rotation drawn uniformly (Haar measure), float64 (d, d)."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return q * np.sign(np.diag(r))
