"""What is known of each setting over all collections: what a recommendation rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.analysis import statistics

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page


Float64 = NDArray[np.float64]


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CollectionScores:
    """The queries' scores of r settings on one collection, float64 (r, m), and float32's (m,) if known."""

    page: Page
    values: Float64
    base: Float64 | None

    def shares(self, rows: NDArray[np.int64]) -> Float64:
        """Return each setting's share, query by query: float64 (rows, m), whose means are the ratios of the means.

        A query's part is what it adds to the ratio, to first order.
        """
        values = self.values[rows]
        return values if self.base is None else statistics.ratio_parts(values, self.base)

    def differences(self, rows: NDArray[np.int64], reference: int) -> Float64:
        """Return what each query adds to the difference of two scores: float64 (rows, m)."""
        scale = 1.0 if self.base is None else self.base.mean()
        parts: Float64 = (self.values[rows] - self.values[reference]) / (scale * self.values.shape[1])
        return parts


@dataclass(frozen=True)
class Evidence:
    """Settings that were measured on every collection: one row each in `table`, and their scores.

    `lacking` are the collections on which float32's are unknown; if there are any, no part has them.
    """

    table: pd.DataFrame
    parts: list[CollectionScores]
    measure: str
    lacking: tuple[str, ...]

    @property
    def known_shares(self) -> bool:
        """Whether every collection tells what share of float32's quality a setting keeps."""
        return not self.lacking

    @property
    def scores(self) -> Float64:
        """Mean over collections of the share of float32's quality, or of the quality itself: float64 (r,)."""
        rows = np.arange(len(self.table))
        means: Float64 = np.mean([part.shares(rows).mean(axis=1) for part in self.parts], axis=0)
        return means

    def p_values(self, rows: NDArray[np.int64], reference: int) -> Float64:
        """Return p-values of the rows' mean differences from another row, paired over all queries."""
        if not len(rows):
            return np.empty(0)
        return statistics.randomisation_test(np.hstack([part.differences(rows, reference) for part in self.parts]))

    def bounds(self, confidence: float) -> Float64:
        """Return what each setting keeps with this confidence, one-sided: float64 (r,); NaN where unknown.

        Over the queries of one collection: BCa (Efron, 1987). Over several: the hierarchical bootstrap's quantile, see
        `harness.analysis.statistics.macro_interval`.
        """
        if not self.known_shares:
            return np.full(len(self.table), np.nan)
        rows = np.arange(len(self.table))
        if len(self.parts) > 1:
            means = statistics.macro_means([part.shares(rows) for part in self.parts])
            return np.asarray(np.quantile(means, 1 - confidence, axis=1))
        bound: Float64 = self._share_levels([1 - confidence])[0]
        return bound

    def _share_levels(self, levels: Sequence[float]) -> Float64:
        part = self.parts[0]
        assert part.base is not None
        resamples = statistics.Resamples(part.values.shape[1])
        share = part.values.mean(axis=1) / part.base.mean()
        with np.errstate(invalid="ignore", divide="ignore"):
            resampled = resamples.means(part.values) / resamples.means(part.base[None])
        # a resample in which float32 finds nothing says nothing
        resampled = np.where(np.isfinite(resampled), resampled, share[:, None])
        return statistics.bca(resampled, share, part.values - share[:, None] * part.base, levels)

    def estimates(self, rows: NDArray[np.int64]) -> list[tuple[Estimate, Estimate | None]]:
        """Return quality and share of the rows, with their 95 % intervals."""
        values = [part.values[rows] for part in self.parts]
        few = replace(self, table=self.table.iloc[rows], parts=[replace(p, values=p.values[rows]) for p in self.parts])
        if len(self.parts) > 1:
            quality = statistics.macro_interval(values)
            share = statistics.macro_interval([part.shares(rows) for part in self.parts]) if self.known_shares else None
        else:
            quality = statistics.mean_interval(values[0])
            share = None
            if self.known_shares:
                low, high = few._share_levels([(1 - statistics.CONFIDENCE) / 2, (1 + statistics.CONFIDENCE) / 2])
                share = statistics.Interval(few.scores, low, high)
        shares = [None] * len(rows) if share is None else _estimates(share)
        return list(zip(_estimates(quality), shares, strict=True))


def _estimates(interval: statistics.Interval) -> list[Estimate]:
    return [
        Estimate(float(value), float(low), float(high))
        for value, low, high in zip(interval.estimate, interval.low, interval.high, strict=True)
    ]
