"""Relative representations: a document told by its similarity to a few documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from methods.base import Array, Float32, Transform, project, unit_rows
from methods.transforms.linear import eigenbasis

RELATIVE_FLOOR = 1e-6
"""Eigenvalues of the anchors' similarities below this share of the largest count as zero."""


@dataclass(kw_only=True, eq=False)
class Relative(Transform):
    """Replace a vector by its cosines with `dim` anchors, documents drawn at random (Moschella et al., 2023).

    The anchors of "plain" are stored as they are: they are documents, and they count as state.

    Parameters
    ----------
    dim : int
        Number of anchors.
    kind : {"plain", "whitened"}
        *plain*: the cosines themselves; <r(q), r(x)> = q^T (A^T A) x, which favours the directions that anchors share.
        *whitened*: cosines times (A A^T)^(-1/2), so that inner products become those of the projections on the span
        of the anchors. This is the Nyström approximation (Williams and Seeger, 2001) of the cosine. It is one linear
        map, A^T (A A^T)^(-1/2), whose columns are orthonormal, and only that is stored.
    seed : int
        Which documents become anchors.
    """

    dim: int
    kind: Literal["plain", "whitened"] = "plain"
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require_at_least(1, "dim")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        n = len(docs)
        self._require(self.dim <= n, f"dim={self.dim} anchors are more than the {n} documents")
        chosen = np.sort(np.random.default_rng(self.seed).choice(n, self.dim, replace=False))
        anchors = unit_rows(docs[chosen])
        if self.kind == "plain":
            self.anchors_ = anchors
        else:
            wide = anchors.astype(np.float64)
            self.components_ = (wide.T @ inverse_square_root(wide @ wide.T)).astype(np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        return project(unit_rows(docs), self.anchors_.T if self.kind == "plain" else self.components_)


def inverse_square_root(gram: Array) -> Array:
    """Return G^(-1/2) of a symmetric positive matrix (m, m), float64, with the null space left out."""
    values, vectors = eigenbasis(gram)
    nonzero = values > RELATIVE_FLOOR * max(values[0], np.finfo(np.float64).tiny)
    inverse: Array = (vectors[:, nonzero] / np.sqrt(values[nonzero])) @ vectors[:, nonzero].T
    return inverse
