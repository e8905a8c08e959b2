"""Weighting errors by what they do to scores."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Float32, Transform, project, row_blocks
from methods.transforms.linear import eigenbasis, second_moment

TRIANGLE = 64
"""Rows of a triangular matrix that are multiplied at a time."""


@dataclass(kw_only=True, eq=False)
class ScoreAware(Transform):
    """Rotate and stretch documents so that squared error becomes squared error of scores.

    For queries of second moment Sq an error e of a decoded document costs E[(q.e)^2] = e' Sq e. With
    S = (1 - weight) Sq + weight I trace(Sq) / d the map y = S^(1/2) x makes that |error of y|^2, and queries are mapped
    by S^(-1/2) so that scores stay what they are. The eigenbasis of the mapped documents' second moment follows, as in
    `methods.SVD`. (That scores, not vectors, are what should be preserved is the starting point of LeanVec,
    Tepper et al., 2024, and of anisotropic quantisation, Guo et al., 2020.)

    Put it alone before a codec in a `Chain`, and renormalise on the chain: lengths are those of documents mapped back.

    Parameters
    ----------
    weight : float
        0 to 1: how much of the identity is mixed in. 1 is plain transform coding. 0 trusts the queries wholly and
        needs a second moment of full rank.
    centre : bool
        Use the queries' covariance instead, so that an error along their mean counts for nothing beyond `weight`:
        it changes all scores of a document alike whatever the query.

    Notes
    -----
    Queries are those that `fit` is given, train queries or pseudo queries; without any the documents stand in for them.
    """

    weight: float = 0.7
    centre: bool = False

    is_linear: ClassVar[bool] = True

    wants_queries: ClassVar[bool] = True
    principal: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require(0 <= self.weight <= 1, f"weight must be in [0, 1], got {self.weight}")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        examples = docs if queries is None else queries
        moment = second_moment(examples)
        if self.centre:
            mean = examples.mean(axis=0, dtype=np.float64)
            moment -= np.outer(mean, mean)
        # trace 1, so that the weight means the same whatever the queries' lengths
        moment = (1 - self.weight) * moment / max(float(np.trace(moment)), np.finfo(float).tiny)
        moment += self.weight * np.eye(d) / d
        scales, axes = eigenbasis(moment)
        self._require(
            bool(scales[-1] > 1e-9 * scales[0]),
            f"the queries' second moment is singular ({len(examples)} queries, {d} dimensions): use a weight above 0",
        )
        root = (axes * np.sqrt(scales)) @ axes.T
        inverse = (axes / np.sqrt(scales)) @ axes.T
        _, basis = eigenbasis(root @ second_moment(docs) @ root)
        vars(self).pop("_root", None)
        self.forward_ = np.ascontiguousarray(root @ basis, dtype=np.float32)
        self.backward_ = np.ascontiguousarray(inverse @ basis, dtype=np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        return project(docs, self.forward_)

    def _transform_leading(self, docs: Float32, leading: int) -> Float32:
        return project(docs, self.forward_, leading)

    def _transform_queries(self, queries: Float32) -> Float32:
        return project(queries, self.backward_)

    @functools.cached_property
    def _root(self) -> NDArray[np.float64]:
        """The upper triangular matrix, float64 (d, d), that makes lengths of what `backward_` makes: Cholesky's."""
        _, root = np.linalg.qr(self.backward_.astype(np.float64))
        return root

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over fitted matrices; what is derived from them is derived anew."""
        vars(self).pop("_root", None)
        return super().load_state(arrays)

    def _lengths(self, docs: Float32, alike: int = 0) -> Array:
        lengths = np.empty(len(docs))
        kept = docs.shape[1] - alike
        fixed = self._root[:, kept:] @ docs[:1, kept:].astype(np.float64).sum(axis=0)
        for start, stop in row_blocks(len(docs), 8 * max(1, kept)):
            wide = docs[start:stop, :kept].astype(np.float64)
            squares = np.full(stop - start, fixed[kept:] @ fixed[kept:])
            for first in range(0, kept, TRIANGLE):
                last = min(kept, first + TRIANGLE)
                # left of the diagonal are zeros
                back = wide[:, first:] @ self._root[first:last, first:kept].T
                back += fixed[first:last]
                squares += np.einsum("ij,ij->i", back, back)
            lengths[start:stop] = np.sqrt(squares)
        return lengths
