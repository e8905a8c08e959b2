"""Transform coding whose axes are refined together with its codebooks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.base import Float32, project
from methods.composed.chain import Chain
from methods.transform_coding.transform_code import TransformCode
from methods.transforms.linear import SVD
from methods.transforms.location import mean_of


@dataclass(kw_only=True, eq=False)
class RefinedTransformCode(Chain):
    """Principal axes and byte codebooks, then both improved in turns, as OPQ does from another start.

    Principal axes are the best for scalars, and a byte's 256 centroids are no product of scalars: once these are free,
    other axes serve them better. Each round takes the rotation R that brings documents X closest to what they were
    decoded to, X'Y = U S V' and R = U V' (orthogonal Procrustes; Schönemann, 1966; Ge, He, Ke and Sun, 2013), and goes
    on with k-means where it was. What transform coding keeps against OPQ is that bytes stand for as many dimensions as
    their variance asks, and not for d / m each.

    Parameters
    ----------
    transforms : list of Transform
        The last, a `methods.SVD(dim=None, centre="axes")`, is where the rotation starts.
    codec : TransformCode
        With joint codebooks. `tail` should reach all dimensions, so that each has a centroid to follow.
    rounds : int
        0 is plain transform coding. Where codes are one stream of bits (beyond about four bits a dimension), there are
        no codebooks to follow, and no rounds.
    """

    rounds: int = 12

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(0, "rounds")
        last = self.transforms[-1] if self.transforms else None
        self._require(
            isinstance(last, SVD) and last.dim is None and last.centre in ("none", "axes"),
            "the last transform must be an SVD with dim=null and centre=axes or none: where the rotation starts",
        )
        self._require(
            isinstance(self.codec, TransformCode) and self.codec.codebook == "joint",
            "the codec must be a TransformCode with codebook=joint",
        )

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        super()._fit_pairs(docs, queries, pairs)
        axes, codec = self.transforms[-1], self.codec
        assert isinstance(axes, SVD) and isinstance(codec, TransformCode)
        if not codec.has_joint_codebooks:
            return
        rows, _ = self._rows_for_codec(docs, None)
        rows = self._about_centre(rows)
        for transform in self.transforms[:-1]:
            rows = transform.transform_docs(rows)
        # a rotation about the mean: what lies there is the codebooks' to know
        about = rows - mean_of(rows)
        for _ in range(self.rounds):
            decoded = codec.nearest_points(project(rows, axes.components_))
            u, _, vt = np.linalg.svd(about.T.astype(np.float64) @ decoded.astype(np.float64))
            axes.components_ = np.ascontiguousarray(u @ vt, dtype=np.float32)
            codec.follow(project(rows, axes.components_))
