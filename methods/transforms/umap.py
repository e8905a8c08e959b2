"""Neighbour embeddings: coordinates that keep who is near whom, not inner products."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Float32, MethodError, Transform, project, row_blocks, unit_rows


@dataclass(kw_only=True, eq=False)
class UMAP(Transform):
    """Uniform manifold approximation and projection (McInnes, Healy and Melville, 2018), by the package umap-learn.

    A sample of the documents is embedded by umap-learn. Another vector goes to the weighted mean of the places of its
    nearest sampled documents, with UMAP's membership weights: exp(-(distance - nearest) / sigma), sigma such that they
    sum to log2(neighbours). That is where umap-learn's own `transform` starts; its stochastic refinement is left out,
    since its result depends on the vectors beside it. The sampled documents and their places are stored, and count as
    state.

    UMAP is made for looking at data. Distances within a neighbourhood, which a ranking lives on, are not what it keeps.

    Parameters
    ----------
    dim : int
    neighbours : int
        Neighbours of each document in the graph, itself included.
    min_dist : float
        How close embedded points may lie.
    sample : int
        Documents embedded, drawn at random; all of them if there are fewer.
    epochs : int or None
        None is umap-learn's choice (500 for small samples).
    seed : int

    Raises
    ------
    MethodError
        If umap-learn is not installed.
    """

    dim: int
    neighbours: int = 15
    min_dist: float = 0.1
    sample: int = 2000
    epochs: int | None = None
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require_at_least(1, "dim")
        self._require_at_least(2, "neighbours")
        self._require(0 <= self.min_dist <= 1, f"min_dist must be in [0, 1], got {self.min_dist}")
        self._require_at_least(1, "epochs")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        n = len(docs)
        size = min(n, self.sample)
        least = max(self.dim + 2, self.neighbours + 1)
        self._require(
            size >= least, f"dim={self.dim}, neighbours={self.neighbours} need {least} documents or more, got {size}"
        )
        try:
            import umap  # type: ignore[import-untyped,import-not-found]
        except ImportError as error:
            raise MethodError("UMAP: umap-learn is not installed; run: pip install 'vecbudget[umap]'") from error
        rng = np.random.default_rng(self.seed)
        self.landmarks_ = unit_rows(docs[np.sort(rng.choice(n, size, replace=False))])
        model = umap.UMAP(
            n_components=self.dim,
            n_neighbors=self.neighbours,
            min_dist=self.min_dist,
            metric="cosine",
            n_epochs=self.epochs,
            random_state=self.seed,
            n_jobs=1,
        )
        with warnings.catch_warnings():
            # spectral starts that fail on disconnected graphs fall back to random ones, with a warning each
            warnings.simplefilter("ignore")
            embedded = np.asarray(model.fit_transform(self.landmarks_), dtype=np.float32)
        self.places_ = np.nan_to_num(embedded - embedded.mean(axis=0))

    def _transform_docs(self, docs: Float32) -> Float32:
        out = np.empty((len(docs), self.dim), dtype=np.float32)
        for start, stop in row_blocks(len(docs), 32 * max(len(self.landmarks_), self.neighbours * self.dim)):
            distances = 1 - project(unit_rows(docs[start:stop]), self.landmarks_.T)
            nearest = np.argsort(distances, axis=1, kind="stable")[:, : self.neighbours]
            weights = memberships(np.take_along_axis(distances, nearest, axis=1))
            weights /= weights.sum(axis=1, keepdims=True)
            out[start:stop] = np.einsum("ij,ijk->ik", weights, self.places_[nearest].astype(np.float64))
        return out


def memberships(distances: Float32) -> Array:
    """Return UMAP's membership weights of neighbours, float64 (n, k), for ascending distances (n, k)."""
    excess = distances.astype(np.float64) - distances[:, :1]
    target = np.log2(distances.shape[1])
    low: NDArray[np.float64] = np.zeros((len(distances), 1))
    high: NDArray[np.float64] = np.maximum(excess[:, -1:], 1e-12) * 64
    for _ in range(64):
        sigma = (low + high) / 2
        over = np.exp(-excess / sigma).sum(axis=1, keepdims=True) > target
        low, high = np.where(over, low, sigma), np.where(over, sigma, high)
    return np.exp(-excess / high)
