"""Centroids of token vectors: k-means, and the nearest one of each vector."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from methods.base import Float32, row_lengths, unit_rows
from methods.parallel import on_cores
from methods.token_vectors import TOKEN_BLOCK

Int64 = NDArray[np.int64]


def _kernels() -> ModuleType:
    """Return the products in fixed point; numba takes a while to import."""
    from methods.kernels import fixed_point

    return fixed_point


class Nearest:
    """Finds the centroid that has the largest inner product with a vector, or that is nearest to it.

    Numbers are compared as 16-bit fixed point, whose sums are exact: the answer depends on neither blocks, threads nor
    processor. It is another than that of real numbers where two centroids are closer to a tie than
    `methods.kernels.fixed_point.relative_error`; of two that tie the first is taken.

    Parameters
    ----------
    centroids : float32 (k, d)
    longest : float or None
        With the length of the longest vector: the centroid at the least distance. None: the largest inner product.
    """

    def __init__(self, centroids: Float32, longest: float | None = None) -> None:
        own = row_lengths(centroids)
        scales = _kernels().scales_of(np.full(len(centroids), own.max(initial=0.0)))
        self.rows = _kernels().fixed_point(centroids, scales)
        self.step = _kernels().steps_of(scales[:1])
        self.start = np.zeros(len(centroids), np.int32)
        self.scale = None
        if longest is not None:
            self.scale = _kernels().scales_of(np.array([max(longest, own.max(initial=0.0))]))[0]
            # |x - c|^2 = |x|^2 - 2 (<x, c> - |c|^2 / 2)
            self.start[:] = np.rint(-(own**2) / 2 * scales * self.scale)

    def of(self, vectors: Float32) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Return what was largest, float64 (n,), and the centroid that has it, int32 (n,), for vectors (n, d).

        It is the product, less half the centroid's square where the distance counts.
        """
        own = self.scale is None
        scales = _kernels().scales_of(row_lengths(vectors)) if own else np.full(len(vectors), self.scale)
        panels = _kernels().panels_of(_kernels().fixed_point(vectors, scales))
        best, place = np.empty((2, 1, panels.shape[0] * panels.shape[2]), np.int32)
        ends = np.array([0, len(self.rows)])
        _kernels().largest_of_runs(self.rows, ends, self.start, panels, best, place)
        n = len(vectors)
        return best[0, :n] * _kernels().steps_of(scales) * self.step, place[0, :n]


def k_means(vectors: Float32, k: int, iterations: int, spherical: bool, rng: np.random.Generator) -> Float32:
    """Return k centroids of vectors (n, d), k at most n, float32 (k, d).

    Lloyd's iterations from k of the vectors; each cluster that is left empty takes one of the vectors that are farthest
    from their centroids. Sums are in the order of the vectors, so that the bytes depend on no thread; FAISS's would
    have to run on one.

    Parameters
    ----------
    spherical : bool
        Centroids of unit length, by inner product.
    """
    from methods.kernels.buckets import sum_by_row

    lengths = row_lengths(vectors)
    centroids: Float32 = vectors[np.sort(rng.choice(len(vectors), k, replace=False))]
    for _ in range(iterations):
        nearest = Nearest(unit_rows(centroids)) if spherical else Nearest(centroids, float(lengths.max()))
        starts = range(0, len(vectors), TOKEN_BLOCK)
        found = list(on_cores(nearest.of, ((vectors[start : start + TOKEN_BLOCK],) for start in starts)))
        which = np.concatenate([place for _, place in found])
        sums, counts = np.zeros((k, vectors.shape[1])), np.zeros(k, np.int64)
        sum_by_row(vectors, which, sums, counts)
        centroids = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        empty = np.flatnonzero(counts == 0)
        closeness = np.concatenate([best for best, _ in found]) - (lengths if spherical else lengths**2 / 2)
        centroids[empty] = vectors[np.argsort(closeness, kind="stable")[: len(empty)]]
    return centroids
