"""Whitening: principal axes with their variances evened out, wholly or in part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from methods.base import Float32
from methods.transforms.linear import SVD

RELATIVE_FLOOR = 1e-6
"""Variances are taken to be at least this share of the largest: dividing by a rounding error is not whitening."""


@dataclass(kw_only=True, eq=False)
class Whiten(SVD):
    """Project on the leading eigenvectors V of the covariance and scale them: x -> (x - mean) V L^(-alpha/2).

    With `alpha=1` every kept direction has the same variance, as in whitened sentence embeddings (Su, Cao, Liu and Ou,
    2021; Huang et al., 2021); `alpha=0` is PCA. Both documents and queries are mapped, so that inner products change to
    <q, L^-alpha x> in the principal axes: this is another similarity, not an approximation of the old one. Compare by
    cosine, that is with `renormalize` on the codec.

    Parameters
    ----------
    dim : int
        Directions to keep.
    alpha : float
        0 to 1.
    centre : {"both", "docs", "axes", "none"}
        What the documents' mean is subtracted from. With "none", L and V belong to the second moment; with "axes", to
        the covariance, and vectors keep their mean.
    """

    alpha: float = 1.0
    centre: Literal["none", "both", "docs", "axes"] = "both"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require(0 <= self.alpha <= 1, f"alpha must be in [0, 1], got {self.alpha}")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        variances, axes = self._axes(docs)
        # documents that are all equal have no variance at all: they are rotated only
        largest = variances[0] if variances[0] > 0 else 1.0
        scales = np.maximum(variances[: self.dim] / largest, RELATIVE_FLOOR) ** (-self.alpha / 2)
        self.components_ = np.ascontiguousarray(axes[:, : self.dim] * scales, dtype=np.float32)
