"""Which rows stand for many: the one way in which each kind of sample is drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


def evenly_spaced(n: int, most: int) -> Int64:
    """Return all of n row numbers, or `most` of them, evenly spaced, int64 and ascending."""
    return np.arange(n) if n <= most else np.arange(most) * n // most


def sampled(n: int, most: int) -> Int64:
    """Return all of n row numbers, or `most` of them drawn without replacement (seed 0), ascending."""
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(0).choice(n, most, replace=False))
