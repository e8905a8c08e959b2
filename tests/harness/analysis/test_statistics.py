import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis import statistics

# Ranks of four decision trees on fourteen datasets: C4.5, with m, with cf, with both (Demsar, 2006, Table 6)
DEMSAR = -np.array(
    [
        [4, 3, 2, 1],
        [1, 2, 3, 4],
        [4, 1, 2, 3],
        [4, 1, 3, 2],
        [4, 2, 3, 1],
        [1, 2.5, 4, 2.5],
        [3, 2, 4, 1],
        [2.5, 2.5, 4, 1],
        [4, 3, 2, 1],
        [2.5, 2.5, 2.5, 2.5],
        [4, 2.5, 1, 2.5],
        [3, 2, 4, 1],
        [4, 1, 2, 3],
        [3, 1, 4, 2],
    ]
).T


def simulated(tables: int, m: int, loss: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of float32 and of a method, each (tables, m), like nDCG@10: many zeros and ones, and few queries moved."""
    rng = np.random.default_rng(seed)
    reference = np.where(rng.random((tables, m)) < 0.3, 0, np.round(rng.beta(2, 1, (tables, m)), 2))
    moved = rng.random((tables, m)) < 0.4
    other = np.where(rng.random((tables, m)) < 0.3, 0, np.round(rng.beta(2, 1, (tables, m)), 2))
    method = np.where(moved & (rng.random((tables, m)) < 0.5), other, reference)
    lost = rng.random((tables, m)) < loss
    return reference, np.where(lost, 0, method)


@pytest.mark.parametrize("m", [300, 1500])
def test_intervals_cover_as_often_as_they_say(m: int) -> None:
    reference, method = simulated(2000, m, loss=0.03)
    expected, truth = simulated(1, 4_000_000, loss=0.03, seed=1)
    found = statistics.compare(method, reference, flips=10)
    true_difference, true_ratio = truth.mean() - expected.mean(), truth.mean() / expected.mean()
    assert 0.93 < covered(found.difference, true_difference) < 0.97
    assert 0.93 < covered(found.ratio, true_ratio) < 0.97
    # one-sided
    assert 0.93 < np.mean(1 - found.loss_bound < true_ratio) < 0.97


def covered(interval: statistics.Interval, truth: float) -> float:
    return float(np.mean((interval.low < truth) & (truth < interval.high)))


def test_intervals_of_one_mean_cover() -> None:
    reference, _ = simulated(1500, 200)
    assert 0.93 < covered(statistics.mean_interval(reference), simulated(1, 4_000_000, seed=1)[0].mean()) < 0.97


def test_intervals_agree_with_scipys() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(0).exponential(size=(1, 80)) ** 2
    ours = statistics.mean_interval(values)
    theirs = bootstrap(values, np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(1))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low[0] == pytest.approx(theirs.confidence_interval.low, abs=0.04 * width)
    assert ours.high[0] == pytest.approx(theirs.confidence_interval.high, abs=0.04 * width)
    # skewed to the right: further up than down
    assert ours.high[0] - values.mean() > 1.2 * (values.mean() - ours.low[0])


def test_randomisation_test_keeps_its_level() -> None:
    # the same method twice, query by query in either order
    first, second = simulated(4000, 120)
    swap = np.random.default_rng(1).random(first.shape) < 0.5
    p = statistics.randomisation_test(np.where(swap, first - second, second - first), flips=4000)
    assert 0.04 < np.mean(p < 0.05) < 0.06


def test_randomisation_test_agrees_with_scipys_and_counts_by_hand() -> None:
    from scipy.stats import permutation_test

    differences = np.random.default_rng(0).normal(0.02, 0.1, size=60)
    theirs = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    assert statistics.randomisation_test([differences])[0] == pytest.approx(theirs.pvalue, abs=0.015)
    # five equal differences: only two of 32 assignments are as extreme
    assert statistics.randomisation_test([[0.5] * 5 + [0.0] * 30])[0] == pytest.approx(2 / 32, abs=0.003)
    assert statistics.randomisation_test(np.zeros((1, 20)))[0] == 1.0


def test_holm_by_hand() -> None:
    # .01 * 4, .013 * 3 = .039 raised to .04, .03 * 2, .2
    assert statistics.holm([0.03, 0.01, 0.2, 0.013]) == pytest.approx([0.06, 0.04, 0.2, 0.04])
    assert statistics.holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert statistics.holm([0.02, np.nan, 0.04]) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)
    assert len(statistics.holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_lies_between_the_value_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    corrected = statistics.holm(p)
    assert (corrected >= np.array(p) - 1e-12).all()
    assert (corrected <= np.minimum(np.array(p) * len(p), 1) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


def test_demsars_example() -> None:
    ranks = statistics.mean_ranks(DEMSAR)
    assert ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert statistics.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert statistics.critical_difference(4, 14, alpha=0.10) == pytest.approx(1.12, abs=0.005)
    # at 0.10, plain C4.5 differs from both with m; nothing can be said about the one with cf
    assert statistics.groups(ranks, statistics.critical_difference(4, 14, alpha=0.10)) == [(3, 1, 2), (2, 0)]
    assert statistics.groups(ranks, statistics.critical_difference(4, 14)) == [(3, 1, 2, 0)]
    # F(3, 39) = 3.69, which knows nothing of ties; scipy's statistic does, and is a little larger
    from scipy.stats import f

    assert f.sf(4.2, 3, 39) < statistics.friedman_test(DEMSAR) < f.sf(3.69, 3, 39)
    assert statistics.borda(DEMSAR).sum() == pytest.approx(14 * 6)
    assert statistics.borda(DEMSAR) == pytest.approx(14 * (4 - ranks))


def test_groups_by_hand() -> None:
    assert statistics.groups([1.0, 2.0, 3.0, 9.0], 1.5) == [(0, 1), (1, 2), (3,)]
    assert statistics.groups([2.0, 1.0], 0.5) == [(1,), (0,)]
    assert statistics.groups([1.0, 1.0, 1.0], 0.0) == [(0, 1, 2)]


def test_verdicts() -> None:
    rng = np.random.default_rng(0)
    reference = rng.random(1000)
    noise = rng.normal(0, 0.02, 1000)
    methods = [reference, reference + 0.001 * noise, reference - 0.05 + noise, reference + 0.05 + noise]
    methods += [reference - 0.001 + 0.2 * noise, reference + 20 * noise]
    found = statistics.compare(np.array(methods), reference)
    assert found.verdicts() == [
        "the same",
        "not worse than 1 %",
        "worse",
        "better",
        "worse, by less than 1 %",
        "undecided",
    ]
    assert found.effect[2] == pytest.approx(-0.05 / 0.02, rel=0.1)
    assert (found.better + found.worse)[[0, 2]].tolist() == [0, 1000]
    assert found.verdicts(margin=0.2)[2] == "worse, by less than 20 %"


def test_against_another_method_query_by_query() -> None:
    reference, method = simulated(3, 200, loss=0.1)
    apart = [statistics.compare(method[row : row + 1], reference[row]) for row in range(3)]
    together = statistics.compare(method, reference)
    for row, one in enumerate(apart):
        assert together.difference.low[row] == pytest.approx(one.difference.low[0], abs=1e-6)
        assert together.ratio.high[row] == pytest.approx(one.ratio.high[0], abs=1e-6)
        assert together.loss_bound[row] == pytest.approx(one.loss_bound[0], abs=1e-6)
    assert together.p_holm == pytest.approx(statistics.holm([one.p[0] for one in apart]))


def test_nothing_to_lose() -> None:
    found = statistics.compare(np.zeros((1, 10)), np.zeros(10))
    assert np.isnan(found.ratio.estimate[0]) and np.isnan(found.loss_bound[0])
    assert found.verdicts() == ["the same"]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000))
def test_an_interval_holds_its_estimate(m: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((2, m)).round(1)
    found = statistics.mean_interval(values, statistics.Resamples(m, 500))
    assert (found.low <= found.estimate + 1e-6).all() and (found.estimate <= found.high + 1e-6).all()


def test_datasets_that_disagree_widen_the_macro_interval() -> None:
    rng = np.random.default_rng(0)
    alike = [rng.random((1, 400)) for _ in range(8)]
    apart = [values + shift for values, shift in zip(alike, np.linspace(-1, 1, 8), strict=True)]
    narrow, wide = statistics.macro_interval(alike), statistics.macro_interval(apart)
    assert narrow.estimate[0] == pytest.approx(wide.estimate[0])
    # 400 uniform values: a standard error of .289 / 20 within, and by it between, over the square root of 8
    assert narrow.high[0] - narrow.low[0] == pytest.approx(2 * 1.96 * 0.0144 * 2**0.5 / 8**0.5, rel=0.3)
    assert wide.high[0] - wide.low[0] == pytest.approx(2 * 1.96 * np.linspace(-1, 1, 8).std() / 8**0.5, rel=0.15)


def test_bad_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        statistics.compare([[0.1, np.nan]], [0.1, 0.2])
    with pytest.raises(ValueError, match="at least one query"):
        statistics.mean_interval(np.zeros((3, 0)))
