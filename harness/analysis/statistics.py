"""Is a difference more than the luck of the queries? Paired statistics of per-query scores.

Queries are what is sampled: another three hundred would have given other means. All methods are compared on the same
queries, with the same resamples, so that an interval of a difference between two methods costs no more than one of
each. Everything is computed for a whole table at once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

RESAMPLES = 10_000
"""Of the bootstrap."""
FLIPS = 100_000
"""Of the randomisation test, whose smallest p is 1 / (FLIPS + 1)."""
CONFIDENCE = 0.95
ALPHA = 0.05
MARGIN = 0.01
"""The loss that users are ready to accept: 1 % of float32's score."""
BLOCK_BYTES = 1 << 25
KEPT_BYTES = 1 << 26
"""Resamples of so many bytes at most are kept for the next table of the same queries."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval, each float64 (r,)."""

    estimate: Float64
    low: Float64
    high: Float64


@dataclass(frozen=True)
class Comparison:
    """Each of r methods compared with another one on the same queries.

    Attributes
    ----------
    difference : Interval
        Of the means, method minus the other, in the metric's units.
    ratio : Interval
        Of the means, method over the other; NaN where the other scores nothing.
    loss_bound : float64 (r,)
        With 95 % confidence, no larger share of the other's score is lost: one-sided. A method is "not worse than 1 %"
        if this is below 0.01 (non-inferiority).
    p, p_holm : float64 (r,)
        Two-sided, of the randomisation test; and after Holm's correction over the r methods.
    effect : float64 (r,)
        Cohen's d of paired samples: mean over standard deviation of the differences; 0 where all are 0.
    better, worse : int64 (r,)
        Queries on which the method scores more, or less.
    """

    difference: Interval
    ratio: Interval
    loss_bound: Float64
    p: Float64
    p_holm: Float64
    effect: Float64
    better: NDArray[np.int64]
    worse: NDArray[np.int64]

    def verdicts(self, margin: float = MARGIN) -> list[str]:
        """Return one word or two for each method: "worse", "better", "not worse than 1 %", "undecided", "the same".

        "worse" and "better" are significant after correction; "worse, by less than 1 %" is both.
        """
        within = f"than {100 * margin:g} %"
        words = []
        for mean, p, bound, changed in zip(
            self.difference.estimate, self.p_holm, self.loss_bound, self.better + self.worse, strict=True
        ):
            if not changed:
                words.append("the same")
            elif p < ALPHA and mean > 0:
                words.append("better")
            elif p < ALPHA:
                words.append(f"worse, by less {within}" if bound < margin else "worse")
            else:
                words.append(f"not worse {within}" if bound < margin else "undecided")
        return words


class Resamples:
    """Bootstrap resamples of m queries, shared by all methods that were run on them (Efron, 1979).

    Parameters
    ----------
    m : int
    count : int
    seed : int
    """

    def __init__(self, m: int, count: int = RESAMPLES, seed: int = 0) -> None:
        self.m, self.count, self.seed = m, count, seed

    def means(self, values: Float64) -> Float64:
        """Return the mean of each resample.

        Parameters
        ----------
        values : float64 (r, m)
            One row a method.

        Returns
        -------
        float64 (r, count)
        """
        columns = np.ascontiguousarray(values.T, dtype=np.float32)
        means = np.empty((len(values), self.count))
        # many tables ask for resamples of the same queries; of more queries they would take too much memory
        kept = 4 * self.m * self.count <= KEPT_BYTES
        blocks = _kept_weights(self.m, self.count, self.seed) if kept else _weights(self.m, self.count, self.seed)
        for (start, stop), weights in zip(_blocks(self.count, 8 * self.m), blocks, strict=True):
            means[:, start:stop] = (weights @ columns).T / self.m
        return means


def _weights(m: int, count: int, seed: int) -> Iterator[Float32]:
    """Yield how often each of m queries is drawn, block by block of the resamples: float32 (block, m)."""
    rng = np.random.default_rng(seed)
    for start, stop in _blocks(count, 8 * m):
        drawn = rng.integers(m, size=(stop - start, m), dtype=np.int32)
        drawn += m * np.arange(stop - start, dtype=np.int32)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=m * (stop - start)).astype(np.float32)
        yield weights.reshape(-1, m)


@functools.lru_cache(maxsize=4)
def _kept_weights(m: int, count: int, seed: int) -> tuple[Float32, ...]:
    return tuple(_weights(m, count, seed))


def bca(resampled: Float64, estimate: Float64, influence: Float64, levels: Sequence[float]) -> Float64:
    """Return quantiles of a bootstrap distribution, corrected for bias and skewness.

    The bias-corrected and accelerated percentiles (Efron, 1987, equation 3.8), the acceleration from the influence of
    each query (equation 4.4). With them 95 % intervals of skewed differences, as most are, come closer to their word:
    with 300 simulated queries of which 60 differ they hold the truth 94 to 95 times of 100, with 200 queries 93 to 94.

    Parameters
    ----------
    resampled : float64 (r, b)
    estimate : float64 (r,)
    influence : float64 (r, m)
        How much each query moves the estimate, up to a factor of the row.
    levels : sequence of float
        Such as 0.025 and 0.975.

    Returns
    -------
    float64 (levels, r)
        The estimate itself where nothing varies.
    """
    from scipy.special import ndtr, ndtri

    count = resampled.shape[1]
    # half of the ties count, so that a symmetric distribution of few values has no bias
    tied = np.abs(resampled - estimate[:, None]) <= 1e-6 * np.maximum(np.abs(estimate), 1e-6)[:, None]
    below = ((resampled < estimate[:, None]) & ~tied).sum(axis=1) + 0.5 * tied.sum(axis=1)
    bias = ndtri(np.clip(below / count, 1 / count, 1 - 1 / count))
    spread = np.sum(influence**2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        acceleration = np.where(spread > 0, np.sum(influence**3, axis=1) / (6 * spread**1.5), 0.0)
    ordered = np.sort(resampled, axis=1)
    found = np.empty((len(levels), len(resampled)))
    for row, level in enumerate(levels):
        shifted = bias + ndtri(level)
        at = ndtr(bias + shifted / (1 - acceleration * shifted)) * (count - 1)
        lower = np.floor(at).astype(np.int64)
        upper = np.minimum(lower + 1, count - 1)
        rows = np.arange(len(ordered))
        found[row] = ordered[rows, lower] + (at - lower) * (ordered[rows, upper] - ordered[rows, lower])
        found[row] = np.where(spread > 0, found[row], estimate)
    return found


def mean_interval(values: ArrayLike, resamples: Resamples | None = None) -> Interval:
    """Return the means over queries and their 95 % intervals.

    Parameters
    ----------
    values : float (r, m)
        One row a method.
    resamples : Resamples or None
        Those of m queries; None draws them.
    """
    scores = _matrix(values)
    resampled = (resamples or Resamples(scores.shape[1])).means(scores)
    means = scores.mean(axis=1)
    low, high = bca(resampled, means, scores - means[:, None], _two_sided())
    return Interval(means, low, high)


def compare(
    values: ArrayLike, reference: ArrayLike, resamples: Resamples | None = None, flips: int = FLIPS
) -> Comparison:
    """Compare methods with another one, query by query.

    Parameters
    ----------
    values : float (r, m)
        A metric's value of each query; one row a method.
    reference : float (m,) or (r, m)
        The other method's; float32's, say.
    resamples : Resamples or None
        Those of m queries; None draws them.
    flips : int
        Of the randomisation test.

    Raises
    ------
    ValueError
        If shapes differ, or a value is not finite.
    """
    scores = _matrix(values)
    others = np.broadcast_to(_matrix(np.atleast_2d(reference)), scores.shape)
    resamples = resamples or Resamples(scores.shape[1])
    differences = scores - others
    mean, base = differences.mean(axis=1), others.mean(axis=1)
    resampled = resamples.means(differences)
    low, high = bca(resampled, mean, differences - mean[:, None], _two_sided())
    one_reference = np.asarray(reference).ndim == 1
    bases = resamples.means(others[:1] if one_reference else others)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = mean / base
        shares = resampled / bases
    # the influence of a query on a ratio of means: its difference, less the part that its weight explains
    influence = differences - share[:, None] * others
    known = np.isfinite(share) & np.isfinite(shares).all(axis=1)
    bounds = np.full((3, len(scores)), np.nan)
    bounds[:, known] = bca(shares[known], share[known], influence[known], [*_two_sided(), 1 - CONFIDENCE])
    spread = differences.std(axis=1, ddof=1) if scores.shape[1] > 1 else np.zeros(len(scores))
    p = randomisation_test(differences, flips)
    return Comparison(
        difference=Interval(mean, low, high),
        ratio=Interval(1 + share, 1 + bounds[0], 1 + bounds[1]),
        loss_bound=-bounds[2],
        p=p,
        p_holm=holm(p),
        effect=np.divide(mean, spread, out=np.zeros(len(scores)), where=spread > 0),
        better=(differences > 0).sum(axis=1),
        worse=(differences < 0).sum(axis=1),
    )


def randomisation_test(differences: ArrayLike, flips: int = FLIPS, seed: int = 0) -> Float64:
    """Return two-sided p-values that the means of paired differences are 0.

    If the two methods were the same, each query's difference could as well have had the other sign (Fisher, 1935;
    for retrieval: Smucker, Allan and Carterette, 2007). The observed signs count as one of the random ones.

    Parameters
    ----------
    differences : float (r, m)
    flips : int
        Random assignments of signs; the same for all rows.
    seed : int

    Returns
    -------
    float64 (r,)
    """
    values = _matrix(differences)
    m = values.shape[1]
    # ties in sums of float32 count as at least as extreme
    observed = np.abs(values.sum(axis=1)) - 1e-5 * np.abs(values).sum(axis=1)
    columns = np.ascontiguousarray(values.T, dtype=np.float32)
    rng = np.random.default_rng(seed)
    extreme = np.zeros(len(values), dtype=np.int64)
    for start, stop in _blocks(flips, 16 * m):  # the same signs for any number of methods
        bits = np.unpackbits(rng.integers(256, size=(stop - start, -(-m // 8)), dtype=np.uint8), axis=1, count=m)
        signs = bits.astype(np.float32)
        signs *= 2
        signs -= 1
        extreme += (np.abs(signs @ columns) >= observed).sum(axis=0)
    return (extreme + 1) / (flips + 1)


def holm(p: ArrayLike) -> Float64:
    """Return p-values corrected for their number: the chance of any false rejection stays below the level (Holm, 1979).

    Parameters
    ----------
    p : float (r,)
        NaN is left out and stays NaN.
    """
    given = np.asarray(p, dtype=np.float64)
    corrected = np.full(given.shape, np.nan)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    steps = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return corrected


def ratio_parts(values: Float64, base: Float64) -> Float64:
    """Return what each query adds to the ratio of two means, to first order, such that the mean is the ratio.

    Parameters
    ----------
    values : float64 (r, m)
    base : float64 (m,)
        What the ratio is over; its mean is not 0.

    Returns
    -------
    float64 (r, m)
    """
    ratio = values.mean(axis=1, keepdims=True) / base.mean()
    parts: Float64 = ratio + (values - ratio * base) / base.mean()
    return parts


def macro_interval(scores: Sequence[ArrayLike], count: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return means over datasets, and their 95 % intervals by a hierarchical bootstrap.

    Datasets are drawn first, and queries within each of them (Davison and Hinkley, 1997, section 3.8): the interval is
    for another choice of datasets, not only of queries. It is a percentile interval. With fewer than about five
    datasets it is too narrow: what so few say about others, no resampling knows. Datasets that are alike give a wider
    one than they should, since their means differ by the luck of their queries already.

    Parameters
    ----------
    scores : sequence of float (r, m_i)
        For each dataset, the queries' scores of the same r methods in the same order.
    count : int
        Resamples.
    seed : int
    """
    resampled = macro_means(scores, count, seed)
    low, high = np.quantile(resampled, _two_sided(), axis=1)
    return Interval(np.mean([_matrix(values).mean(axis=1) for values in scores], axis=0), low, high)


def macro_means(scores: Sequence[ArrayLike], count: int = RESAMPLES, seed: int = 0) -> Float64:
    """Return the resampled means of `macro_interval`, float64 (r, count)."""
    rng = np.random.default_rng(seed)
    matrices = [_matrix(values) for values in scores]
    resampled = np.stack([Resamples(values.shape[1], count, seed).means(values) for values in matrices])
    total = np.zeros((len(matrices[0]), count))
    for _ in matrices:
        drawn = rng.integers(len(matrices), size=count)
        # a dataset that is drawn twice brings other queries the second time
        total += resampled[drawn, :, rng.permutation(count)].T
    means: Float64 = total / len(matrices)
    return means


def mean_ranks(scores: ArrayLike) -> Float64:
    """Return each method's mean rank over datasets, 1 is the best; ties share theirs.

    Parameters
    ----------
    scores : float (r, datasets)

    Returns
    -------
    float64 (r,)
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.asarray(scores, dtype=np.float64), axis=0).mean(axis=1), dtype=np.float64)


def borda(scores: ArrayLike) -> Float64:
    """Return each method's Borda count: how many others it beats, summed over datasets; a tie is half.

    Parameters
    ----------
    scores : float (r, datasets)
    """
    values = np.asarray(scores, dtype=np.float64)
    points: Float64 = values.shape[1] * (len(values) - mean_ranks(values))
    return points


def critical_difference(methods: int, datasets: int, alpha: float = ALPHA) -> float:
    """Return the difference of two mean ranks that is significant by Nemenyi's test (Demsar, 2006, section 3.2.2)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * datasets)))


def friedman_test(scores: ArrayLike) -> float:
    """Return the p-value that all methods are the same (Friedman, 1937; in Iman and Davenport's form, 1980).

    Parameters
    ----------
    scores : float (r, datasets)
    """
    from scipy.stats import f, friedmanchisquare

    values = np.asarray(scores, dtype=np.float64)
    methods, datasets = values.shape
    if methods < 3 or datasets < 2 or (values == values[0]).all():
        return float("nan")
    chi2 = float(friedmanchisquare(*values).statistic)
    most = datasets * (methods - 1)
    if chi2 >= most:
        return 0.0
    statistic = (datasets - 1) * chi2 / (most - chi2)
    return float(f.sf(statistic, methods - 1, (methods - 1) * (datasets - 1)))


def groups(ranks: ArrayLike, difference: float) -> list[tuple[int, ...]]:
    """Return the largest groups of methods whose mean ranks differ by no more than the critical difference.

    Parameters
    ----------
    ranks : float (r,)
        Mean ranks.
    difference : float
        See `critical_difference`.

    Returns
    -------
    list of tuple of int
        Places of the methods in `ranks`, best first; a method may be in several groups, or alone in one.
    """
    values = np.asarray(ranks, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    found: list[tuple[int, ...]] = []
    reached = 0
    for first in range(len(order)):
        last = int(np.searchsorted(values[order], values[order[first]] + difference + 1e-12, side="right"))
        if last > reached:
            found.append(tuple(int(place) for place in order[first:last]))
            reached = last
    return found


def _two_sided() -> list[float]:
    return [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]


def _matrix(values: ArrayLike) -> Float64:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise ValueError(f"scores must be of shape (methods, queries) with at least one query, got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("scores must be finite: leave out what was not measured")
    return matrix


def _blocks(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    step = max(1, BLOCK_BYTES // row_bytes)
    return ((start, min(start + step, rows)) for start in range(0, rows, step))
