"""Heads that are trained for fixed classifiers: representations that outlive their model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Float32, Transform, project
from methods.transforms.query_map import least_squares


@dataclass(kw_only=True, eq=False)
class ClassHeads(Transform):
    """Bring old documents and a new model's queries together by classes, and not pair by pair as `QueryMap` does.

    *stationary*: the corners of a regular simplex are the classifier, before any model is there, and each model gets a
    head that sends its vectors to the corners of their classes (CoReS: Biondi et al., 2023; stationary representations:
    Biondi et al., 2024). The old model's head knows nothing of the new one's, and the other way round. *compatible*:
    documents stay as they are, and the new model's head is trained for the old model's classifier, the mean of each
    class (backward-compatible training: Shen et al., 2020).

    There the heads are networks, and the classes are labels. Here the vectors are frozen, heads are linear (least
    squares with a ridge), and a collection has no labels: classes are k-means clusters of the old documents, and a
    query is of the class of the document that it belongs to. Put it first in a `Chain`. Without pairs, queries are the
    old model's own.

    Parameters
    ----------
    kind : {"stationary", "compatible"}
    classes : int
        Clusters; of *stationary* codes have a dimension less. No more than there are documents.
    ridge : float
        Relative to the mean eigenvalue of the second moment.
    seed : int
        Of the clusters.
    """

    kind: Literal["stationary", "compatible"] = "stationary"
    classes: int = 385
    ridge: float = 1e-2
    seed: int = 0

    wants_queries: ClassVar[bool] = True
    wants_pairs: ClassVar[bool] = True
    maps_queries: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(2, "classes")
        self._require_at_least(0, "ridge")

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        d = docs.shape[1]
        self.query_dim_ = d if queries is None else queries.shape[1]
        known = queries is not None and pairs is not None and len(pairs) > 0
        self._require(
            known or self.query_dim_ == d,
            f"queries have {self.query_dim_} dimensions, documents {d}: heads need pairs of both",
        )
        labels, means = _clusters(docs, min(self.classes, len(docs)), self.seed)
        stationary = self.kind == "stationary"
        self._require(not stationary or len(means) > 1, "one document makes one class, and a simplex has two corners")
        targets = simplex(len(means)) if stationary else means
        # of compatible, documents need no head
        self.doc_head_ = self._head(docs, targets[labels]) if stationary else np.zeros((0, 0), dtype=np.float32)
        if queries is not None and pairs is not None and known:
            self.query_head_ = self._head(queries[pairs[:, 0]], targets[labels[pairs[:, 1]]])
        else:
            self.query_head_ = self.doc_head_

    def _head(self, vectors: Float32, targets: Array) -> Float32:
        head = least_squares(vectors.astype(np.float64), targets.astype(np.float64), self.ridge)
        return head.astype(np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        return project(docs, self.doc_head_) if self.doc_head_.size else docs

    def _transform_queries(self, queries: Float32) -> Float32:
        return project(queries, self.query_head_) if self.query_head_.size else queries


def simplex(corners: int) -> NDArray[np.float64]:
    """Return the corners of a regular simplex about zero, unit vectors, float64 (corners, corners - 1).

    Any two have the inner product -1 / (corners - 1). They are always the same: Helmert's contrasts.
    """
    step = np.arange(1, corners)
    contrasts = np.tril(np.ones((corners, corners)), -1).T[:, 1:]  # column j: ones in the first j + 1 rows
    contrasts[step, step - 1] = -step
    contrasts /= np.sqrt(step * (step + 1.0))
    scaled: NDArray[np.float64] = contrasts * np.sqrt(corners / (corners - 1))
    return scaled


def _clusters(docs: Float32, count: int, seed: int) -> tuple[NDArray[np.int64], Float32]:
    """Return the cluster of each document, int64 (n,), and the clusters' means, float32 (count, d), by k-means."""
    import faiss

    kmeans = faiss.Kmeans(docs.shape[1], count, niter=20, seed=seed, min_points_per_centroid=1)
    kmeans.train(docs)
    labels: NDArray[np.int64] = kmeans.index.search(docs, 1)[1][:, 0]
    return labels, np.asarray(kmeans.centroids, dtype=np.float32)
