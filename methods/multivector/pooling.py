"""Fewer vectors a document: neighbours or clusters become their mean, or only some vectors are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Float32, Transform, unit_rows
from methods.parallel import allowed, one_thread
from methods.representations import Kind
from methods.token_vectors import TokenColumn, TokenVectors, offsets_of

Int64 = NDArray[np.int64]

Grouping = Literal["ward", "ward_rows", "kmeans", "sequential"]

TEXTS = 256
"""Documents of a portion of work."""

ITERATIONS = 20
"""Of k-means within a document at most; it ends when no vector changes its cluster."""


@dataclass(kw_only=True, eq=False)
class FewerTokens(Transform):
    """What pooling and pruning share: how many vectors of a document are left.

    Parameters
    ----------
    factor : float or None
        Of n vectors that may be merged or left out, max(n // factor, 1) are left.
    count : int or None
        A fixed number is left, or all if there are fewer; one of the two must be given.
    protected : int
        The first so many vectors of a document are left as they are, beside those; often a marker stands there.
    queries : bool
        Queries too, as CRISP does; else they stay as they are.
    """

    factor: float | None = None
    count: int | None = None
    protected: int = 0
    queries: bool = False

    takes: ClassVar[Kind] = "tokens"
    gives: ClassVar[Kind] = "tokens"

    def _check_parameters(self) -> None:
        self._require_at_least(1, "factor", "count")
        self._require_at_least(0, "protected")
        self._require((self.factor is None) != (self.count is None), "give one of factor and count, and null for one")

    def left(self, n: int) -> int:
        """Return how many of n vectors are left, those that are protected among them."""
        free = max(0, n - self.protected)
        if free == 0:
            return n
        kept = free if self.count is None else min(free, max(1, self.count - self.protected))
        kept = max(int(free // self.factor), 1) if self.factor is not None else kept
        return n - free + kept

    def _transform_queries(self, queries: TokenVectors) -> TokenVectors:
        return self._transform_docs(queries) if self.queries else queries

    def _transform_docs(self, docs: TokenVectors) -> TokenVectors:
        """Return documents of float32 vectors; several are worked at, a core each."""
        parts = list(self._portions(docs))
        with one_thread():
            if allowed() == 1 or len(parts) == 1:
                done = [self._portion(part) for part in parts]
            else:
                with ThreadPoolExecutor(allowed()) as pool:
                    done = list(pool.map(self._portion, parts))
        return TokenVectors.concatenate(done)

    def _portions(self, docs: TokenVectors) -> Iterator[TokenVectors]:
        for start in range(0, len(docs), TEXTS):
            yield docs[start : start + TEXTS]

    def _portion(self, docs: TokenVectors) -> TokenVectors:
        found = self._all_fewer(docs.float32())
        filled = [matrix for matrix in found if len(matrix)]
        values = np.concatenate(filled) if filled else np.empty((0, docs.width), np.float32)
        return TokenVectors(values, offsets_of([len(matrix) for matrix in found]))

    def _all_fewer(self, docs: TokenVectors) -> list[Float32]:
        """Return what is left of each document's vectors, given as float32."""
        raise NotImplementedError


@dataclass(kw_only=True, eq=False)
class TokenPooling(FewerTokens):
    """Vectors of a document are put into groups, and each group becomes its mean.

    With `grouping="ward"`, `protected=1` and `factor` it is the token pooling of sentence-transformers 6 and of PyLate
    after 1.3.4 (Clavié, Chaffin and Adams, 2024); with `count` and k-means, CRISP's clusters without its training
    (Veneroso et al., 2025), which is also a fixed number of vectors without ConstBERT's (MacAvaney et al., 2025).

    Parameters
    ----------
    grouping : {"ward", "ward_rows", "kmeans", "sequential"}
        *ward*: Ward's clustering on 1 - cosine. *ward_rows*: on the Euclidean distances of the rows of the matrix of
        these, which is what Stanford's ColBERT and PyLate to 1.3.4 do. *kmeans*: Euclidean, from centres far from each
        other. *sequential*: neighbours in the text.
    renormalize : bool
        Scale the means to unit length. The mean of k unit vectors is short, and so loses to those that were left alone.
    """

    grouping: Grouping = "ward"
    renormalize: bool = True

    def _all_fewer(self, docs: TokenVectors) -> list[Float32]:
        return [self._fewer(matrix) for matrix in docs.matrices()]

    def _fewer(self, vectors: Float32) -> Float32:
        kept = self.left(len(vectors))
        if kept < len(vectors):
            free = vectors[self.protected :]
            labels = grouped(free, kept - self.protected, self.grouping)
            vectors = np.concatenate([vectors[: self.protected], means(free, labels)])
        return unit_rows(vectors) if self.renormalize and len(vectors) else vectors


@dataclass(kw_only=True, eq=False)
class TokenPruning(FewerTokens):
    """Only some vectors of a document are kept, in their order.

    *idf* and *attention* are those of Lassance, Maachou, Park and Clinchant (2022). What they read is known while
    documents are encoded, and no part of what is stored.

    Parameters
    ----------
    by : {"random", "first", "spread", "centre", "norm", "idf", "attention"}
        *random* is the floor. *first*: the text is cut. *spread*: each next one is that which is farthest from those
        that are kept (Gonzalez, 1985). *centre*: those that are farthest from the mean of all documents' vectors, which
        stand-ins for rare words. *norm*: the longest, where lengths are not all one. *idf*: the rarest tokens, by how
        many of the documents that `fit` saw have them; of a token that is there twice, both. *attention*: those that
        the model's own attention goes to.
    seed : int
    """

    by: Literal["random", "first", "spread", "centre", "norm", "idf", "attention"] = "spread"
    seed: int = 0

    @property
    def wants_columns(self) -> Sequence[TokenColumn]:  # type: ignore[override]
        """The column of token vectors that `by` reads."""
        return {"idf": ("token_ids",), "attention": ("attention",)}.get(self.by, ())  # type: ignore[return-value]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require(
            not (self.queries and self.wants_columns), f"by={self.by} is known of documents only: use queries=false"
        )

    def _fit(self, docs: TokenVectors, queries: object) -> None:
        if self.by == "centre":
            total = np.zeros(docs.width)
            for _, block in docs.blocks():
                total += block.flat().sum(axis=0, dtype=np.float64)
            self.centre_ = (total / max(1, docs.tokens)).astype(np.float32)
        if self.by == "idf":
            self.idf_ = inverse_frequencies(docs)

    def _all_fewer(self, docs: TokenVectors) -> list[Float32]:
        weights = self._weights(docs)
        starts = docs.offsets[:-1].tolist()
        return [
            self._fewer(matrix, None if weights is None else weights[start : start + len(matrix)])
            for start, matrix in zip(starts, docs.matrices(), strict=True)
        ]

    def _weights(self, docs: TokenVectors) -> NDArray[np.float64] | None:
        """Return a number for each vector, (tokens,), whose largest are kept; None where that is not the rule."""
        if self.by == "idf":
            # a token that no document had is as rare as the rarest
            unknown = np.float64(self.idf_.max(initial=0))
            known = np.append(self.idf_.astype(np.float64), unknown)
            return known[np.minimum(docs.column("token_ids").astype(np.int64), len(self.idf_))]
        if self.by == "attention":
            return docs.column("attention").astype(np.float64)
        if self.by in ("centre", "norm"):
            wide = docs.flat().astype(np.float64) - (self.centre_ if self.by == "centre" else 0)
            squares: NDArray[np.float64] = np.einsum("ij,ij->i", wide, wide)
            return squares
        return None

    def _fewer(self, vectors: Float32, weights: NDArray[np.float64] | None) -> Float32:
        kept = self.left(len(vectors))
        if kept == len(vectors):
            return vectors
        free, count = vectors[self.protected :], kept - self.protected
        if weights is not None:
            chosen = np.argsort(-weights[self.protected :], kind="stable")[:count]
        elif self.by == "first":
            chosen = np.arange(count)
        elif self.by == "random":
            # the same for equal documents, wherever they lie
            chosen = np.random.default_rng([self.seed, len(free)]).permutation(len(free))[:count]
        else:
            chosen = spread(free, count)
        taken: Float32 = vectors[np.concatenate([np.arange(self.protected), self.protected + np.sort(chosen)])]
        return taken


def inverse_frequencies(docs: TokenVectors) -> Float32:
    """Return log((n + 1) / (d + 1)) of each token id, d being how many of n documents have it, float32 (ids,)."""
    ids = docs.column("token_ids").astype(np.int64)
    frequencies = np.zeros(int(ids.max(initial=-1)) + 1)
    for start, stop in zip(docs.offsets[:-1] - docs.offsets[0], docs.offsets[1:] - docs.offsets[0], strict=True):
        frequencies[np.unique(ids[start:stop])] += 1
    return np.log((len(docs) + 1) / (frequencies + 1)).astype(np.float32)


def grouped(vectors: Float32, count: int, grouping: Grouping) -> Int64:
    """Return the group of each of a document's vectors (n, d), counted from 0 and without gaps, int64 (n,).

    There may be fewer than `count` groups: equal vectors are not told apart.
    """
    if count == 1:
        return np.zeros(len(vectors), np.int64)
    if grouping == "sequential":
        return np.arange(len(vectors)) * count // len(vectors)
    if grouping == "kmeans":
        labels = k_means(vectors, count)
    else:
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform

        distances = np.clip(1 - vectors @ vectors.T, 0, 2)
        points = squareform(distances, checks=False) if grouping == "ward" else distances
        labels = fcluster(linkage(points, method="ward"), t=count, criterion="maxclust")
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64)


def means(vectors: Float32, labels: Int64) -> Float32:
    """Return the mean of each group, float32 (groups, d), summed in float64."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    sums = np.add.reduceat(vectors[order].astype(np.float64), starts, axis=0)
    averaged: Float32 = (sums / np.bincount(labels)[:, None]).astype(np.float32)
    return averaged


def spread(vectors: Float32, count: int) -> Int64:
    """Return `count` of a document's vectors, each the farthest from those before; the first is nearest to the mean."""
    wide = vectors.astype(np.float64)
    squares = np.einsum("ij,ij->i", wide, wide)
    chosen = [int(np.argmax(wide @ wide.mean(axis=0)))]
    nearest = np.full(len(wide), np.inf)
    for _ in range(count - 1):
        latest = chosen[-1]
        nearest = np.minimum(nearest, squares + squares[latest] - 2 * (wide @ wide[latest]))
        nearest[latest] = -np.inf
        chosen.append(int(np.argmax(nearest)))
    return np.array(chosen, np.int64)


def k_means(vectors: Float32, count: int) -> Int64:
    """Return Lloyd's clusters of a document's vectors, int64 (n,), from `spread` centres: no random numbers."""
    wide = vectors.astype(np.float64)
    centres = wide[spread(vectors, count)]
    labels = np.full(len(wide), -1)
    for _ in range(ITERATIONS):
        near = np.argmax(wide @ centres.T - 0.5 * np.einsum("ij,ij->i", centres, centres), axis=1)
        if np.array_equal(near, labels):
            break
        labels = near
        order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=count)
        filled = np.flatnonzero(sizes)
        sums = np.add.reduceat(wide[order], np.searchsorted(labels[order], filled), axis=0)
        # a centre that lost all its vectors stays where it is
        centres[filled] = sums / sizes[filled, None]
    return labels
