"""Repeated measurements: median, least and greatest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of repeated measurements."""

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, values: ArrayLike) -> Spread:
        """Summarise measurements."""
        found = np.asarray(values, dtype=np.float64)
        return cls(float(np.median(found)), float(found.min()), float(found.max()), len(found))

    def agrees(self, other: Spread) -> bool:
        """Whether the ranges overlap."""
        return self.low <= other.high and other.low <= self.high

    def per(self, amount: float) -> Spread:
        """Return the rate at which an amount is worked off."""
        least = 1e-9
        return Spread(
            amount / max(self.median, least),
            amount / max(self.high, least),
            amount / max(self.low, least),
            self.repeats,
        )

    def over(self, count: float) -> Spread:
        """Return the share of each of so many."""
        return Spread(self.median / count, self.low / count, self.high / count, self.repeats)
