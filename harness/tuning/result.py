"""What a search found: the front, the winner, how much of its lead was luck, and what it does on the test queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics import compare, mean_interval
from harness.tuning.study import Speed, Trial

Float64 = NDArray[np.float64]

RESAMPLES = 2_000
"""Of the bootstrap that asks what choosing adds."""


@dataclass(frozen=True)
class Figure:
    """A mean over queries, and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Float64) -> Figure:
        """Return the mean of values (m,) with its interval."""
        found = mean_interval(values[None])
        return cls(float(found.estimate[0]), float(found.low[0]), float(found.high[0]))

    @classmethod
    def ratio(cls, values: Float64, base: Float64) -> Figure:
        """Return the mean of values over that of others on the same queries, each (m,), with its interval."""
        found = compare(values[None], base).ratio
        return cls(float(found.estimate[0]), float(found.low[0]), float(found.high[0]))


@dataclass(frozen=True)
class Tested:
    """A setting on the test queries.

    Attributes
    ----------
    run_id : str
        Its record.
    metrics : mapping of str to float64 (m,)
        For each query.
    """

    run_id: str
    metrics: Mapping[str, Float64] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Result:
    """What a search found.

    Attributes
    ----------
    trials : sequence of Trial
        In order.
    best : Trial
        Of those within the budget the one that found most.
    usual : Trial or None
        The setting that it is compared with: what would have been taken without a search.
    front : sequence of Trial
        Those that no other one beats in bytes, quality and, where it was looked for, speed; smallest first.
    optimism : float
        By how much the best of so many settings looks better on the queries that it was chosen by than on others: the
        mean over bootstrap resamples of the queries, of the best in a resample less the same setting on the queries
        left out (Efron and Tibshirani, 1993, chapter 17).
    tested : mapping of int to Tested
        By number of the trial.
    """

    trials: Sequence[Trial]
    best: Trial
    usual: Trial | None
    front: Sequence[Trial]
    optimism: float
    tested: Mapping[int, Tested] = field(default_factory=dict)

    @classmethod
    def of(cls, trials: Sequence[Trial], best: Trial, usual: str, speed: Speed | None = None) -> Result:
        """Read the trials.

        Parameters
        ----------
        trials : sequence of Trial
        best : Trial
            See `harness.tuning.study.best_of`.
        usual : str
            The method whose first trial, as its yaml has it, the best is compared with where it keeps to the limits.
        speed : {"search", "encode"} or None
            The time that was looked for.
        """
        good = [trial for trial in trials if trial.state == "measured"]
        first = next((trial for trial in trials if trial.candidate.method == usual), None)
        as_it_is = first if first in good else None
        return cls(trials, best, as_it_is, front(good, speed), optimism(np.stack([trial.overlaps for trial in good])))


def front(trials: Sequence[Trial], speed: Speed | None = None) -> list[Trial]:
    """Return the trials that no other one beats, smallest first; of equal ones the first.

    Parameters
    ----------
    trials : sequence of Trial
        Measured.
    speed : {"search", "encode"} or None
        With it another one must be as fast as well.
    """
    kept: list[Trial] = []
    for trial in sorted(trials, key=lambda one: (one.nbytes, -one.quality, _cost(one, speed), one.number)):
        # whatever could beat it is no larger, so it was seen before
        if not any(other.quality >= trial.quality and _cost(other, speed) <= _cost(trial, speed) for other in kept):
            kept.append(trial)
    return kept


def _cost(trial: Trial, speed: Speed | None) -> float:
    return trial.cost(speed) if speed else 0.0


def optimism(overlaps: Float64, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Return what choosing the best of settings by these queries adds to its mean, see `Result`.

    Parameters
    ----------
    overlaps : float64 (settings, m)
    resamples : int
    seed : int
    """
    m = overlaps.shape[1]
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(m, np.full(m, 1 / m), size=resamples)
    inside = overlaps @ counts.T / m
    left_out = counts == 0
    chosen = inside.argmax(axis=0)
    lead = inside[chosen, np.arange(resamples)]
    outside = (overlaps[chosen] * left_out).sum(axis=1) / np.maximum(left_out.sum(axis=1), 1)
    return float((lead - outside)[left_out.any(axis=1)].mean())
