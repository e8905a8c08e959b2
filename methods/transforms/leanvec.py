"""LeanVec: projections that are learned for the queries that will be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from methods.base import Array, Float32, Transform, project
from methods.transforms.linear import eigenbasis, second_moment

RELATIVE_FLOOR = 1e-8
"""Eigenvalues below this share of the largest count as zero when a square root is inverted."""


@dataclass(kw_only=True, eq=False)
class LeanVec(Transform):
    """Project queries with A and documents with B so that inner products change least (Tepper et al., 2024).

    LeanVec-OOD minimises |Q A B^T X^T - Q X^T|^2 over matrices A and B (d, dim); with the second moments Sq of queries
    and Sx of documents that is f(A, B) = tr(Sq (A B^T - I) Sx (A B^T - I)^T). When queries are distributed as the
    documents are (LeanVec-ID), the answer is A = B = the leading eigenvectors, which is `methods.SVD`.

    Queries are training or pseudo queries. Without any, the documents stand in for them and all solvers return the SVD
    (or its equal).

    Parameters
    ----------
    dim : int
    solver : {"frank_wolfe", "eigen_search", "closed_form"}
        *frank_wolfe*: A and B in the unit ball of the spectral norm, block by block, each step towards the ball's
        corner along the gradient (the polar factor of its SVD). The paper's open-loop steps 1 / (t + 1) are replaced by
        the exact minimum along the segment, started at eigen-search's answer, so that the loss only falls.
        *eigen_search*: A = B = leading eigenvectors of (1 - b) Sx + b Sq (both at unit trace), with the best b.
        *closed_form*: no constraint but the rank: A B^T = Sq^(-1/2) [Sq^(1/2) Sx^(1/2)]_dim Sx^(-1/2) with [.]_dim the
        best approximation of that rank (Eckart and Young, 1936).
    ridge : float
        Sq is mixed with this share of the identity (at the same trace): directions in which no training query
        happened to point are not free to throw away.
    steps : int
        Frank-Wolfe steps at most; it stops earlier when the loss falls by less than a 10,000th.
    """

    dim: int
    solver: Literal["frank_wolfe", "eigen_search", "closed_form"] = "frank_wolfe"
    ridge: float = 0.1
    steps: int = 500

    wants_queries: ClassVar[bool] = True
    is_linear: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(1, "dim")
        self._require(0 <= self.ridge <= 1, f"ridge must be in [0, 1], got {self.ridge}")
        self._require_at_least(1, "steps")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        self._require(self.dim <= d, f"dim={self.dim} is wider than the vectors, which have {d} dimensions")
        of_docs = unit_trace(second_moment(docs))
        of_queries = of_docs if queries is None else unit_trace(second_moment(queries))
        of_queries = (1 - self.ridge) * of_queries + self.ridge * np.eye(d) / d
        if self.solver == "closed_form":
            query_side, doc_side = closed_form(of_queries, of_docs, self.dim)
        else:
            query_side = doc_side = eigen_search(of_queries, of_docs, self.dim)
        if self.solver == "frank_wolfe":
            query_side, doc_side = frank_wolfe(of_queries, of_docs, query_side, doc_side, self.steps)
        self.query_components_ = np.ascontiguousarray(query_side, dtype=np.float32)
        self.components_ = np.ascontiguousarray(doc_side, dtype=np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        return project(docs, self.components_)

    def _transform_queries(self, queries: Float32) -> Float32:
        return project(queries, self.query_components_)


def unit_trace(moment: Array) -> Array:
    """Return a second moment divided by its trace; zero stays zero."""
    trace = np.trace(moment)
    scaled: Array = moment / trace if trace > 0 else moment
    return scaled


def loss(of_queries: Array, of_docs: Array, query_side: Array, doc_side: Array) -> float:
    """Return tr(Sq (A B^T - I) Sx (A B^T - I)^T): the mean squared error of inner products."""
    error = query_side @ doc_side.T - np.eye(len(of_docs))
    return float(np.einsum("ij,ij->", of_queries @ error, error @ of_docs))


def eigen_search(of_queries: Array, of_docs: Array, dim: int) -> Array:
    """Return the leading eigenvectors (d, dim) of the mixture of both moments that loses least.

    The loss over the mixing weight has kinks where eigenvalues cross, so a grid is searched, then a finer one around
    its best point. The weight 0, which is the SVD of the documents, is on the grid.
    """

    def candidate(weight: float) -> tuple[float, float, Array]:
        axes = eigenbasis((1 - weight) * of_docs + weight * of_queries)[1][:, :dim]
        return loss(of_queries, of_docs, axes, axes), weight, axes

    coarse = min((candidate(weight) for weight in np.linspace(0, 1, 11)), key=lambda tried: tried[0])
    around = np.clip(coarse[1] + np.linspace(-0.08, 0.08, 9), 0, 1)
    return min((coarse, *(candidate(weight) for weight in around)), key=lambda tried: tried[0])[2]


def frank_wolfe(
    of_queries: Array, of_docs: Array, query_side: Array, doc_side: Array, steps: int
) -> tuple[Array, Array]:
    """Return A and B (d, dim) after block-coordinate Frank-Wolfe from a start of spectral norm at most 1."""
    before = loss(of_queries, of_docs, query_side, doc_side)
    for _ in range(steps):
        query_side = _towards_corner(of_queries, of_docs, query_side, doc_side)
        doc_side = _towards_corner(of_docs, of_queries, doc_side, query_side)
        after = loss(of_queries, of_docs, query_side, doc_side)
        if before - after < 1e-4 * before:
            break
        before = after
    return query_side, doc_side


def _towards_corner(moving_moment: Array, fixed_moment: Array, moving: Array, fixed: Array) -> Array:
    """Return A moved by one step on tr(L (A B^T - I) R (A B^T - I)^T), A moving and B fixed."""
    pulled = fixed_moment @ fixed
    gradient = moving_moment @ (moving @ (fixed.T @ pulled) - pulled)
    u, _, vt = np.linalg.svd(-gradient, full_matrices=False)
    direction = u @ vt - moving
    # along the segment the loss is loss + 2 t <gradient, direction> + t^2 curvature
    slope = float(np.einsum("ij,ij->", gradient, direction))
    curvature = float(np.einsum("ij,ij->", moving_moment @ direction, direction @ (fixed.T @ pulled)))
    if slope >= 0:
        return moving
    step = min(1.0, -slope / curvature) if curvature > 0 else 1.0
    moved: Array = moving + step * direction
    return moved


def closed_form(of_queries: Array, of_docs: Array, dim: int) -> tuple[Array, Array]:
    """Return A and B (d, dim) with the least loss of all, the singular values shared evenly between both sides."""
    query_root, query_inverse = _roots(of_queries)
    doc_root, doc_inverse = _roots(of_docs)
    u, values, vt = np.linalg.svd(query_root @ doc_root)
    share = np.sqrt(values[:dim])
    return query_inverse @ u[:, :dim] * share, doc_inverse @ vt[:dim].T * share


def _roots(moment: Array) -> tuple[Array, Array]:
    """Return the square root of a second moment and its pseudo-inverse."""
    values, vectors = eigenbasis(moment)
    roots = np.sqrt(values)
    nonzero = values > RELATIVE_FLOOR * max(values[0], np.finfo(np.float64).tiny)
    inverse = np.where(nonzero, 1 / np.where(nonzero, roots, 1), 0)
    return (vectors * roots) @ vectors.T, (vectors * inverse) @ vectors.T
