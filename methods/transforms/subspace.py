"""Coordinates in a subspace, with what the documents' mean has outside of it."""

from __future__ import annotations

import numpy as np

from methods.base import Array, Float32


def with_mean(axes: Array, mean: Array) -> tuple[Float32, Float32]:
    """Return (basis, centre) for codes of `vector - mean` in the span of `axes`.

    A code that keeps `dim` coordinates of the centred documents loses all others, but the mean is known in full. One
    more direction, that of the mean's part outside the span, holds it: then decoded documents have the right length
    and inner products with them need no constant added.

    Parameters
    ----------
    axes : float64 (d, dim)
        Orthonormal columns.
    mean : float64 (d,)

    Returns
    -------
    basis : float32 (d, dim + 1)
        The axes and that direction (zeros if the mean lies within).
    centre : float32 (dim + 1,)
        The mean in this basis.
    """
    outside = mean - axes @ (axes.T @ mean)
    length = float(np.linalg.norm(outside))
    real = length > 1e-6 * max(float(np.linalg.norm(mean)), np.finfo(np.float64).tiny)
    direction = outside / length if real else np.zeros_like(outside)
    basis = np.column_stack([axes, direction])
    return np.ascontiguousarray(basis, dtype=np.float32), (mean @ basis).astype(np.float32)
