"""New queries for an old index: a map between the spaces of two models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Float32, Transform, project


@dataclass(kw_only=True, eq=False)
class QueryMap(Transform):
    """Bring a new model's queries to the documents of an old one; documents stay as they are.

    Learned from texts that both models have encoded: `queries` of `fit` are the new model's vectors, and `pairs` say
    which old document each belongs to, best of all the same text (`fit_queries=documents`). Without pairs there is
    nothing to learn, and queries stay as they are.

    Put it first in a `Chain`.

    Parameters
    ----------
    kind : {"rotation", "linear", "shift"}
        *rotation*: the orthogonal map of least squares (Schoenemann, 1966), between unequal widths a partial isometry.
        It keeps what the new model knows of queries. *linear*: the least-squares map with a ridge, which predicts what
        the old model would have said. *shift*: the mean difference is added, as drift compensation with one class does;
        equal widths only.
    ridge : float
        Ridge penalty of *linear*, relative to the mean eigenvalue of the new vectors' second moment.

    Raises
    ------
    MethodError
        If *shift* or a lack of pairs meets queries of another width than the documents'.
    """

    kind: Literal["rotation", "linear", "shift"] = "rotation"
    ridge: float = 1e-2

    wants_queries: ClassVar[bool] = True
    wants_pairs: ClassVar[bool] = True
    maps_queries: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(0, "ridge")

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        d = docs.shape[1]
        width = d if queries is None else queries.shape[1]
        known = queries is not None and pairs is not None and len(pairs) > 0
        if width != d:
            self._require(known, f"queries have {width} dimensions, documents {d}: a map needs pairs of both")
            self._require(
                self.kind != "shift", f"kind={self.kind} keeps the width, but queries have {width}, documents {d}"
            )
        self.query_dim_ = width
        if queries is None or pairs is None or not known:
            self.map_, self.shift_ = np.eye(d, dtype=np.float32), np.zeros(d, dtype=np.float32)
            return
        new, old = queries[pairs[:, 0]].astype(np.float64), docs[pairs[:, 1]].astype(np.float64)
        matrix, shift = np.eye(width, d), np.zeros(d)
        if self.kind == "shift":
            shift = (old - new).mean(axis=0)
        elif self.kind == "rotation":
            u, _, vt = np.linalg.svd(new.T @ old, full_matrices=False)
            matrix = u @ vt
        else:
            matrix = least_squares(new, old, self.ridge)
        self.map_, self.shift_ = matrix.astype(np.float32), shift.astype(np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        return docs

    def _transform_queries(self, queries: Float32) -> Float32:
        return project(queries, self.map_) + self.shift_


def least_squares(new: Array, old: Array, ridge: float) -> Array:
    """Return the matrix that maps `new` (p, d) to `old` (p, d') with the least squared error plus ridge."""
    moment = new.T @ new
    moment += ridge * np.trace(moment) / len(moment) * np.eye(len(moment))
    # a moment without full rank has a solution of least norm
    mapping: Array = np.linalg.lstsq(moment, new.T @ old, rcond=None)[0]
    return mapping
