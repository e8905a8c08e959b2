"""Kernel PCA: principal components in the feature space of a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg

from methods.base import Array, Float32, MethodError, Transform, project, row_blocks, unit_rows


@dataclass(kw_only=True, eq=False)
class KernelPCA(Transform):
    """Project on the principal components of a kernel (Schölkopf, Smola and Müller, 1998).

    The components are combinations of the documents that they were found on, so these must be kept: a stated sample of
    them, which counts as state. A vector x maps to (k(x, landmarks) - means) times a matrix whose columns sum to zero,
    which is the double centring of the kernel; on the same sample this is what scikit-learn's `KernelPCA` returns, but
    for the sign of a component.

    Parameters
    ----------
    dim : int
        Components to keep, at most the number of landmarks.
    kernel : {"rbf", "cosine", "poly"}
        exp(-gamma |x - y|^2), the cosine, or (gamma <x, y> + 1)^degree.
    gamma : float or None
        None is 1 / d, as in scikit-learn. For unit vectors the rbf kernel is then close to linear.
    degree : int
        Degree of the polynomial kernel.
    sample : int
        Documents kept as landmarks, drawn at random; all of them if there are fewer.
    seed : int
    """

    dim: int
    kernel: Literal["rbf", "cosine", "poly"] = "rbf"
    gamma: float | None = None
    degree: int = 3
    sample: int = 1000
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require_at_least(1, "dim")
        self._require(self.dim <= self.sample, f"dim={self.dim} components need as many documents as sample")
        self._require_positive("gamma")
        self._require_at_least(1, "degree")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        n = len(docs)
        size = min(n, self.sample)
        if self.dim > size:
            raise MethodError(f"KernelPCA: dim={self.dim} components need as many documents, got {size}")
        chosen = np.sort(np.random.default_rng(self.seed).choice(n, size, replace=False))
        self.landmarks_ = unit_rows(docs[chosen]) if self.kernel == "cosine" else docs[chosen]
        similarities = self._similarities(docs[chosen])
        means = similarities.mean(axis=0)
        centred = similarities - means - means[:, None] + means.mean()
        values, vectors = scipy.linalg.eigh((centred + centred.T) / 2, subset_by_index=(size - self.dim, size - 1))
        values, vectors = values[::-1], vectors[:, ::-1]
        # LAPACK leaves a vector's sign open: make its largest entry positive
        largest = np.abs(vectors).argmax(axis=0)
        vectors = vectors * np.where(vectors[largest, np.arange(self.dim)] < 0, -1, 1)
        # components that explain nothing would only divide rounding errors by rounding errors
        real = values > 1e-7 * max(values[0], np.finfo(np.float32).tiny)
        weights = np.where(real, vectors / np.sqrt(np.where(real, values, 1)), 0)
        self.weights_ = (weights - weights.mean(axis=0)).astype(np.float32)
        self.means_ = means

    def _similarities(self, vectors: Float32) -> Array:
        """Return k(vectors, landmarks), float64 (n, landmarks)."""
        if self.kernel == "cosine":
            return project(unit_rows(vectors), self.landmarks_.T).astype(np.float64)
        gamma = 1 / vectors.shape[1] if self.gamma is None else self.gamma
        products = project(vectors, self.landmarks_.T).astype(np.float64)
        if self.kernel == "poly":
            powers: Array = (gamma * products + 1) ** self.degree
            return powers
        squares = _squared_norms(vectors)[:, None] + _squared_norms(self.landmarks_) - 2 * products
        similarities: Array = np.exp(-gamma * np.maximum(squares, 0))
        return similarities

    def _transform_docs(self, docs: Float32) -> Float32:
        out = np.empty((len(docs), self.dim), dtype=np.float32)
        for start, stop in row_blocks(len(docs), 8 * len(self.landmarks_)):
            # rbf and poly are all but constant for unit vectors: without the means, little of float32 would be left
            centred = (self._similarities(docs[start:stop]) - self.means_).astype(np.float32)
            out[start:stop] = project(centred, self.weights_)
        return out


def _squared_norms(vectors: Float32) -> Array:
    """Return each row's squared length, float64 (n,)."""
    norms: Array = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return norms
