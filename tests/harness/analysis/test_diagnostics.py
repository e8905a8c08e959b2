"""Diagnostics of embedding sets: known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis import diagnostics
from harness.analysis.diagnostics import diagnose
from harness.evaluation.geometry import outlier_dimensions


def rotation(d: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def gaussian(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def embedded_cube(n: int, inner: int, outer: int, seed: int = 0) -> np.ndarray:
    cube = np.random.default_rng(seed).random((n, inner))
    return (cube @ rotation(outer)[:inner]).astype(np.float32)


@pytest.mark.parametrize("inner", [2, 5])
def test_intrinsic_dimension_of_a_cube_in_fifty_dimensions(inner: int) -> None:
    figures = diagnose(embedded_cube(4000, inner, 50)).figures
    # both are biased downwards at the cube's edges, the one that looks further the more
    assert figures["dimension_two_nn"] == pytest.approx(inner, rel=0.08)
    assert 0.8 * inner < figures["dimension_mle"] < 1.02 * inner
    assert figures["participation_ratio"] == pytest.approx(inner, rel=0.02)


def test_a_pareto_distribution_of_ratios_gives_its_exponent() -> None:
    n = 2000
    ratios = (1 - (np.arange(1, n + 1) - 0.5) / n) ** (-1 / 7)
    assert diagnostics.two_nn(np.column_stack([np.ones(n), ratios])) == pytest.approx(7, rel=0.01)


def test_maximum_likelihood_by_hand() -> None:
    # the mean of ln(8/1), ln(8/2), ln(8/4) is 2 ln 2
    assert diagnostics.mle_dimension([[1, 2, 4, 8]]) == pytest.approx(1 / (2 * np.log(2)))


def test_repeated_vectors_change_nothing_but_their_number() -> None:
    once = embedded_cube(600, 4, 20)
    rng = np.random.default_rng(1)
    again = np.vstack([once, once[:50], np.repeat(once[50:52], 40, axis=0)])
    again += (1e-8 * rng.standard_normal(again.shape)).astype(np.float32)
    mixed = again[rng.permutation(len(again))]
    first, second = diagnose(once).figures, diagnose(mixed).figures
    assert first["duplicates"] == 0 and second["duplicates"] == 130
    for name in ("dimension_two_nn", "dimension_mle"):
        assert second[name] == pytest.approx(first[name], rel=1e-3)


def test_a_white_gaussian() -> None:
    found = diagnose(gaussian(2000, 40))
    figures = found.figures
    assert figures["rankme"] == pytest.approx(40, rel=0.01)
    assert figures["participation_ratio"] == pytest.approx(40, rel=0.05)
    assert abs(figures["mean_cosine"]) < 0.002
    assert figures["mean_norm_share"] == pytest.approx(1 / np.sqrt(2000), rel=0.3)
    assert figures["partition_ratio"] > 0.95
    assert abs(figures["kurtosis_median"]) < 0.1 and figures["kurtosis_max"] < 0.6
    assert figures["outlier_dimensions"] == figures["constant_dimensions"] == 0
    assert figures["norm_mean"] == pytest.approx(np.sqrt(40), rel=0.02)
    # a chi distribution with 40 degrees of freedom
    assert figures["norm_spread"] == pytest.approx(1 / np.sqrt(80), rel=0.1)
    # one bit a dimension: 2^-2R of the power
    assert found.distortion_share(5) == pytest.approx(0.25, rel=0.02)


def test_figures_that_do_not_depend_on_the_unit_or_the_axes() -> None:
    vectors = gaussian(800, 16) * np.exp(-np.arange(16) / 4).astype(np.float32) + np.float32(0.3)
    turned = (37 * vectors @ rotation(16)).astype(np.float32)
    names = ["rankme", "participation_ratio", "dimension_two_nn", "dimension_mle", "mean_cosine", "mean_norm_share"]
    for name in [*names, "partition_ratio", "hubness", "norm_spread"]:
        assert diagnose(turned).figures[name] == pytest.approx(diagnose(vectors).figures[name], rel=1e-3), name


def test_effective_ranks_by_hand() -> None:
    assert diagnostics.effective_rank([4, 4, 4, 0]) == pytest.approx(3)
    # singular values 3 and 1: entropy of (3/4, 1/4)
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert diagnostics.effective_rank([9, 1]) == pytest.approx(expected)
    assert diagnostics.participation_ratio([9, 1]) == pytest.approx(100 / 82)
    assert np.isnan(diagnostics.effective_rank([0, 0]))


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_mean_cosine_is_the_mean_over_all_pairs(n: int, d: int, seed: int) -> None:
    vectors = gaussian(n, d, seed)
    vectors[0] *= seed % 2
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    pairs = (units @ units.T)[~np.eye(n, dtype=bool)]
    assert diagnostics.mean_cosine(vectors) == pytest.approx(pairs.mean(), abs=1e-5)


def test_a_shared_direction_is_anisotropic() -> None:
    vectors = gaussian(1000, 20)
    vectors[:, 3] += 12
    figures = diagnose(vectors).figures
    assert figures["mean_cosine"] > 0.8 and figures["mean_norm_share"] > 0.9
    assert figures["partition_ratio"] < 0.3
    assert figures["rankme"] < 15


def test_partition_ratio_by_hand() -> None:
    vectors = np.array([[2, 0], [0, 0]], dtype=np.float32)
    moment = np.diag([2.0, 0.0])
    # along the first axis, in units of the root mean square norm: Z(-a) and Z(a); across it, Z = 2
    along = 2 / np.sqrt(2)
    assert diagnostics.partition_ratio(vectors, moment) == pytest.approx(
        (np.exp(-along) + 1) / (np.exp(along) + 1), rel=1e-5
    )


def test_hubness_grows_with_the_dimension() -> None:
    found = []
    for d in (3, 20, 100):
        cube = np.random.default_rng(0).random((1500, d))
        units = (cube / np.linalg.norm(cube, axis=1, keepdims=True)).astype(np.float32)
        found.append(diagnose(units).figures["hubness"])
    assert found[0] < 0.5 < found[1] < found[2]


def test_the_occurrence_of_documents_among_queries() -> None:
    docs = np.eye(12, dtype=np.float32)
    docs[0] = 1
    queries = np.eye(12, dtype=np.float32) + np.float32(0.01)
    found = diagnose(queries, docs)
    assert found.occurrences.sum() == 12 * 10
    assert found.occurrences[0] == 12
    assert diagnose(docs).occurrences.sum() == 12 * 10


def test_skewness_of_occurrences_by_hand() -> None:
    # deviations -1, -1, -1, 3: mean cube 6, variance 3
    assert diagnostics.skewness([0, 0, 0, 4]) == pytest.approx(6 / 3**1.5)
    assert diagnostics.skewness([2, 2, 2]) == 0


def test_documents_found_at_random_have_the_skewness_that_is_expected_by_chance() -> None:
    rng = np.random.default_rng(0)
    rows = np.array([rng.choice(5000, 10, replace=False) for _ in range(400)])
    occurrences = diagnostics.k_occurrence(rows, 5000)
    assert diagnostics.skewness(occurrences) == pytest.approx(1 / np.sqrt(occurrences.mean()), rel=0.1)


def test_outlier_dimensions() -> None:
    vectors = gaussian(2000, 100)
    vectors[:, 7] += 2
    vectors[:, 31] *= 4
    found = diagnose(vectors)
    assert found.outliers.tolist() == [7, 31]
    assert outlier_dimensions(np.zeros(5), np.ones(5)).tolist() == []


def test_constant_dimensions_have_no_kurtosis() -> None:
    vectors = gaussian(500, 10)
    vectors[:, 4] = 0.25
    vectors[:, 6] = np.random.default_rng(0).standard_t(3, 500)
    found = diagnose(vectors)
    assert found.figures["constant_dimensions"] == 1 and np.isnan(found.kurtosis[4])
    assert found.figures["kurtosis_max"] == found.kurtosis[6] > 2


def test_cka_knows_no_rotation_scale_or_shift() -> None:
    vectors = gaussian(500, 12) * np.arange(1, 13, dtype=np.float32)
    turned = (3 * vectors @ rotation(12) + 5).astype(np.float32)
    assert diagnostics.linear_cka(vectors, vectors) == pytest.approx((1, 1))
    assert diagnostics.linear_cka(vectors, turned) == pytest.approx((1, 1), abs=1e-4)


def test_cka_of_unrelated_sets_is_the_bias_or_nothing() -> None:
    pairs = [diagnostics.linear_cka(gaussian(60, 40, 2 * i), gaussian(60, 30, 2 * i + 1)) for i in range(60)]
    biased, unbiased = np.mean(pairs, axis=0)
    assert biased > 0.3
    assert abs(unbiased) < 0.01
    biased, unbiased = diagnostics.linear_cka(gaussian(20000, 10, 1), gaussian(20000, 8, 2))
    assert biased < 0.002 and abs(unbiased) < 0.002


def test_cka_is_its_definition() -> None:
    x, y = gaussian(30, 5, 1).astype(np.float64), gaussian(30, 4, 2).astype(np.float64)
    y[:, :3] += x[:, :3]
    biased, unbiased = diagnostics.linear_cka(x.astype(np.float32), y.astype(np.float32))
    centre = np.eye(30) - 1 / 30
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    assert biased == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()), rel=1e-5)

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        a, b, n = a - np.diag(np.diag(a)), b - np.diag(np.diag(b)), len(a)
        return np.trace(a @ b) + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (a @ b).sum()

    # of uncentred Gram matrices: the estimator does not see a shift
    k, m = x @ x.T, (y + 1) @ (y + 1).T
    assert unbiased == pytest.approx(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)), rel=1e-4)


def test_neighbour_overlap() -> None:
    vectors = gaussian(400, 16)
    assert diagnostics.neighbour_overlap(vectors, (vectors @ rotation(16)).astype(np.float32)) == 1
    unrelated = diagnostics.neighbour_overlap(vectors, gaussian(400, 16, 1))
    assert unrelated == pytest.approx(10 / 399, abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_small_sets_have_what_they_can_have(n: int) -> None:
    found = diagnose(gaussian(n, 5))
    assert set(found.figures) == set(diagnostics.BOTH_ROLES)
    assert found.figures["rankme"] <= min(n, 5) + 1e-6
    assert np.isnan(found.figures["dimension_two_nn"]) == (n < 10)


def test_a_set_of_one_vector_repeated_or_of_zeros() -> None:
    for vectors in (np.ones((30, 4), np.float32), np.zeros((30, 4), np.float32)):
        figures = diagnose(vectors).figures
        assert figures["duplicates"] == 29
        assert np.isnan(figures["dimension_two_nn"]) and np.isnan(figures["dimension_mle"])
