import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from methods.scalar.lloyd import (
    GAUSSIAN_HALF_WIDTH,
    LloydMax,
    fit_levels,
    gaussian_half_levels,
    sphere_half_levels,
    uniform_half_levels,
)
from methods.scalar.uniform import PerDimension
from tests.conftest import clustered_vectors

MAX_1960 = {
    1: (0.7980, 0.3634),
    2: ([0.4528, 1.510], 0.1175),
    3: ([0.2451, 0.7560, 1.344, 2.152], 0.03454),
    4: ([0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733], 0.009497),
}
"""Table I of Max (1960): positive levels and squared error; its last digits are of its time."""


def squared_error(half: np.ndarray) -> float:
    edges = np.concatenate([[0], (half[1:] + half[:-1]) / 2, [np.inf]])
    mass, moment = np.diff(norm.cdf(edges)), norm.pdf(edges[:-1]) - norm.pdf(edges[1:])
    return float(1 - 2 * (2 * half * moment - half**2 * mass).sum())


@pytest.mark.parametrize("bits", MAX_1960)
def test_gaussian_levels_are_those_of_the_literature(bits: int) -> None:
    levels, error = MAX_1960[bits]
    assert np.allclose(gaussian_half_levels(bits), levels, atol=6e-4)
    assert squared_error(gaussian_half_levels(bits)) == pytest.approx(error, abs=6e-5)


@pytest.mark.parametrize("bits", range(1, 9))
def test_gaussian_levels_are_the_means_of_their_cells(bits: int) -> None:
    half = gaussian_half_levels(bits)
    edges = np.concatenate([[0], (half[1:] + half[:-1]) / 2, [np.inf]])
    means = (norm.pdf(edges[:-1]) - norm.pdf(edges[1:])) / (norm.sf(edges[:-1]) - norm.sf(edges[1:]))
    assert np.allclose(half, means, atol=1e-8)
    # for many levels: sqrt(3) pi / 2 / levels^2 (Panter and Dite, 1951)
    if bits == 8:
        assert squared_error(half) == pytest.approx(np.sqrt(3) * np.pi / 2 / 256**2, rel=0.02)


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_best_uniform_grid(bits: int) -> None:
    def error(width: float) -> float:
        return squared_error((np.arange(2 ** (bits - 1)) + 0.5) * width * 2 / (2**bits - 1))

    best = minimize_scalar(error, bounds=(0.5, 5), method="bounded", options={"xatol": 1e-9})
    assert GAUSSIAN_HALF_WIDTH[bits - 1] == pytest.approx(best.x, abs=1e-4)
    assert uniform_half_levels(bits)[-1] == pytest.approx(best.x, abs=1e-4)
    assert squared_error(uniform_half_levels(bits)) >= squared_error(gaussian_half_levels(bits))


def test_levels_of_the_sphere() -> None:
    # one entry of a random unit vector in three dimensions is uniform on [-1, 1] (Archimedes)
    for bits in (1, 3, 8):
        count = 2 ** (bits - 1)
        assert np.allclose(sphere_half_levels(bits, 3), np.sqrt(3) * (np.arange(count) + 0.5) / count, atol=1e-8)
    assert np.allclose(sphere_half_levels(4, 100_000), gaussian_half_levels(4), atol=1e-3)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40_000, 8))
    entries = np.sort(np.abs((vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[:, 0])) * np.sqrt(8)
    assert np.allclose(fit_levels(entries, 4, 1000), sphere_half_levels(3, 8), atol=0.02)


def test_fitted_levels_by_hand() -> None:
    assert fit_levels(np.array([0.0, 1, 10, 12]), 2, 10).tolist() == [0.5, 11]
    assert fit_levels(np.array([3.0, 3, 3]), 4, 10).tolist() == [3, 3, 3, 3]
    assert np.allclose(fit_levels(np.array([1.0, 2, 4, 8]), 4, 10), [1, 2, 4, 8])


def test_fitted_levels_of_gaussian_numbers() -> None:
    numbers = np.sort(np.random.default_rng(0).standard_normal(60_000))
    for bits in (1, 2, 4, 6, 8):
        levels = fit_levels(numbers, 2**bits, 100)
        nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, numbers)]
        error = float(((numbers - nearest) ** 2).mean())
        assert error == pytest.approx(squared_error(gaussian_half_levels(bits)), rel=0.04)


@pytest.mark.parametrize("shape", ["laplace", "exponential", "uniform"])
def test_fitted_levels_are_as_good_as_k_means_with_restarts(shape: str) -> None:
    from sklearn.cluster import KMeans

    numbers = np.sort(getattr(np.random.default_rng(0), shape)(size=2000))

    def error(levels: np.ndarray) -> float:
        return float((np.abs(numbers[:, None] - levels).min(axis=1) ** 2).sum())

    best = KMeans(8, n_init=3, random_state=0).fit(numbers[:, None]).cluster_centers_.ravel()
    assert error(fit_levels(numbers, 8, 100)) <= 1.03 * error(np.sort(best))


def test_order_of_documents_does_not_matter() -> None:
    docs = clustered_vectors(500, 24)
    shuffled = docs[np.random.default_rng(0).permutation(500)]
    for codebook in ("dimension", "shared"):
        one, other = (LloydMax(bits=3, codebook=codebook).fit(given) for given in (docs, shuffled))
        assert np.allclose(one.levels_, other.levels_, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_less_error_than_equal_steps(bits: int) -> None:
    docs = clustered_vectors(1000, 48)

    def error(codec: LloydMax | PerDimension) -> float:
        codec.fit(docs)
        return float(((codec.decode(codec.encode(docs)) - docs) ** 2).sum())

    own, shared = error(LloydMax(bits=bits)), error(LloydMax(bits=bits, codebook="shared"))
    assert own < shared < error(PerDimension(bits=bits))


def test_every_number_goes_to_its_nearest_level() -> None:
    docs = clustered_vectors(300, 10)
    codec = LloydMax(bits=3).fit(docs)
    nearest = np.abs(docs[:, :, None] - codec.levels_[None]).min(axis=2)
    assert np.allclose(np.abs(codec.decode(codec.encode(docs)) - docs), nearest, atol=1e-7)


def test_shared_levels_survive_a_constant_dimension() -> None:
    docs = clustered_vectors(100, 12)
    docs[:, 5] = 0.1
    codec = LloydMax(bits=2, codebook="shared").fit(docs)
    assert np.allclose(codec.decode(codec.encode(docs))[:, 5], 0.1)
    assert codec.state()["levels_"].shape == (1, 4)
