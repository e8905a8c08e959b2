import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.kernels import k_means


def drawn(rng: np.random.Generator, coarse: bool, *shape: int) -> np.ndarray:
    """Return numbers, or small integers: of these many are equal, and sums are exact."""
    return (rng.integers(-2, 3, shape) if coarse else rng.standard_normal(shape)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 40), st.integers(1, 9), st.booleans(), st.floats(0, 1e4), st.integers(0, 10**6)
)
def test_nearest_centroids_are_the_references(
    n: int, size: int, width: int, coarse: bool, away: float, seed: int
) -> None:
    """Far from zero, float32 has few digits left for differences."""
    rng = np.random.default_rng(seed)
    points = drawn(rng, coarse, n, width) + np.float32(away)
    centroids = drawn(rng, coarse, size, width) + np.float32(away)
    cells = np.empty(n, dtype=np.int64)
    k_means.nearest(points, centroids, cells)
    np.testing.assert_array_equal(cells, k_means.reference_nearest(points, centroids))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 40), st.integers(1, 9), st.booleans(), st.integers(1, 8), st.integers(0, 999)
)
def test_centroids_are_the_references(n: int, size: int, width: int, coarse: bool, iterations: int, seed: int) -> None:
    """Centroids that are drawn apart from the points leave cells empty."""
    rng = np.random.default_rng(seed)
    points, centroids = drawn(rng, coarse, n, width), drawn(rng, coarse, size, width)
    expected = centroids.copy()
    made = k_means.lloyd(points, centroids, iterations)
    assert made == k_means.reference_lloyd(points, expected, iterations)
    np.testing.assert_array_equal(centroids, expected)


def test_two_clusters_by_hand() -> None:
    points = np.array([[0.0], [2.0], [10.0], [14.0]], dtype=np.float32)
    centroids = np.array([[0.0], [2.0]], dtype=np.float32)
    # {0} and the rest; {0, 2} once the second has gone to 26 / 3; then nothing changes
    assert k_means.lloyd(points, centroids, 9) == 2
    assert centroids.ravel().tolist() == [1.0, 12.0]


def test_an_empty_cell_takes_half_of_the_fullest() -> None:
    points = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [8.0, 8.0]], dtype=np.float32)
    centroids = np.array([[0.0, 0.0], [8.0, 8.0], [99.0, 99.0]], dtype=np.float32)
    k_means.lloyd(points, centroids, 1)
    apart = 1 / 1024
    np.testing.assert_array_equal(centroids, np.float32([[0, 1 + apart], [8, 8], [0, 1 - apart]]))


def test_codebooks_go_on_from_where_they_were() -> None:
    docs = np.random.default_rng(0).standard_normal((400, 12)).astype(np.float32)
    eight = k_means.codebooks(docs, 3, 16, seed=0, iterations=8)
    three = k_means.codebooks(docs, 3, 16, seed=0, iterations=3)
    np.testing.assert_array_equal(k_means.codebooks(docs, 3, 16, seed=9, iterations=5, start=three), eight)


@pytest.mark.parametrize("n", [39, 4096])
def test_documents_are_drawn_only_where_there_are_many(n: int) -> None:
    """Sixteen centroids take 4,096: of fewer, the last one counts too."""
    docs = np.random.default_rng(1).standard_normal((n, 2)).astype(np.float32)
    moved = docs.copy()
    moved[-1] += 5
    assert not np.array_equal(
        k_means.codebooks(docs, 1, 16, seed=0, iterations=2), k_means.codebooks(moved, 1, 16, seed=0, iterations=2)
    )
