"""How documents fill the space, in three numbers that every record can hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from methods.base import row_blocks

Float32 = NDArray[np.float32]

Int64 = NDArray[np.int64]

OUTLYING = 6.0
"""Robust standard deviations above the median from which a dimension is an outlier."""

MAD_TO_SD = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""

DIGITS = 4
"""Decimals of lengths and spreads in records."""


@dataclass(frozen=True)
class Geometry:
    """What is known of a collection's vectors.

    Attributes
    ----------
    mean_length : float
        Length of the mean of the documents, each scaled to unit length; a document of zeros has none.
    norm_spread : float
        Standard deviation of their lengths over the mean of these.
    outlier_dimensions : int
        See `outlier_dimensions`.
    """

    mean_length: float
    norm_spread: float
    outlier_dimensions: int

    @classmethod
    def of(cls, docs: Float32) -> Geometry:
        """Describe documents (n, d), at least one, in one pass."""
        n, dim = docs.shape
        norms = np.empty(n)
        units, sums, squares = np.zeros(dim), np.zeros(dim), np.zeros(dim)
        for start, stop in row_blocks(n, 8 * dim):
            block = docs[start:stop].astype(np.float64)
            own = norms[start:stop] = np.linalg.norm(block, axis=1)
            units += np.divide(block, own[:, None], out=np.zeros_like(block), where=own[:, None] > 0).sum(axis=0)
            sums += block.sum(axis=0)
            squares += np.square(block).sum(axis=0)
        mean, length = sums / n, float(norms.mean())
        outliers = outlier_dimensions(mean, np.maximum(squares / n - mean**2, 0.0))
        spread = float(norms.std()) / length if length else 0.0
        return cls(float(np.linalg.norm(units / n)), spread, len(outliers))

    def as_record(self) -> dict[str, float]:
        """Return the part of a record that holds it."""
        return {name: round(value, DIGITS) for name, value in asdict(self).items()}


def outlier_dimensions(mean: ArrayLike, variance: ArrayLike) -> Int64:
    """Return the dimensions whose absolute mean or whose variance lies far above that of the others, ascending.

    The rule: more than `OUTLYING` robust standard deviations (1.4826 median absolute deviations) above the median over
    dimensions, of |mean| or of variance.
    """
    found = np.zeros(len(np.asarray(mean)), dtype=bool)
    for values in (np.abs(np.asarray(mean, dtype=np.float64)), np.asarray(variance, dtype=np.float64)):
        median = np.median(values)
        spread = MAD_TO_SD * np.median(np.abs(values - median))
        # all dimensions alike but for rounding
        found |= values - median > np.maximum(OUTLYING * spread, 1e-9 * np.abs(median))
    return np.flatnonzero(found)
