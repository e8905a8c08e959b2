import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.kernels import fixed_point


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 500), st.integers(0, 10**6))
def test_largest_products_are_exact_sums_of_integers(columns: int, d: int, n: int, seed: int) -> None:
    """d and the rows of a run need not fill registers; runs may be empty; of two rows that tie the first is named."""
    rng = np.random.default_rng(seed)
    top = int(32767 / np.sqrt(d))  # so that no vector is longer than the longest
    rows = rng.integers(-top, top + 1, (n, d)) * (rng.random((n, 1)) < 0.5)
    others = rng.integers(-top, top + 1, (columns, d))
    start = rng.integers(-(1 << 29), 1 << 29, n).astype(np.int32)
    offsets = np.concatenate([[0], np.sort(rng.integers(0, n + 1, 3)), [n]])
    ones = np.ones(max(n, columns))
    packed = fixed_point.fixed_point(rows.astype(np.float32), ones[:n])
    panels = fixed_point.panels_of(fixed_point.fixed_point(others.astype(np.float32), ones[:columns]))
    best, place = np.empty((2, 4, 16 * len(panels)), np.int32)
    fixed_point.largest_of_runs(packed, offsets, start, panels, best, place)
    products = rows @ others.T + start[:, None].astype(np.int64)
    for run in range(4):
        own = products[offsets[run] : offsets[run + 1]]
        if len(own):
            assert np.array_equal(best[run, :columns], own.max(axis=0))
            assert np.array_equal(place[run, :columns], own.argmax(axis=0) + offsets[run])
        else:
            assert (best[run] == fixed_point.LEAST).all()


def test_the_longest_vectors_do_not_overflow() -> None:
    """All of a vector's length along one dimension, or spread over all: the product is 2^30, and a start is added."""
    for vector in (np.eye(1, 384), np.full((1, 384), 384**-0.5)):
        fixed = fixed_point.fixed_point(vector.astype(np.float32), fixed_point.scales_of(np.ones(1)))
        best, place = np.empty((2, 1, 16), np.int32)
        start = np.array([1 << 29], np.int32)
        fixed_point.largest_of_runs(fixed, np.array([0, 1]), start, fixed_point.panels_of(fixed), best, place)
        assert best[0, 0] == pytest.approx(32767**2 + (1 << 29), rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.floats(1e-6, 1e6), st.integers(0, 10**6))
def test_a_product_is_within_its_bound(d: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (scale * rng.standard_normal((1, d))).astype(np.float32), rng.standard_normal((1, d), np.float32)
    lengths = [np.linalg.norm(vector.astype(np.float64), axis=1) for vector in (one, other)]
    scales = [fixed_point.scales_of(length) for length in lengths]
    rows, columns = (fixed_point.fixed_point(*pair) for pair in zip((one, other), scales, strict=True))
    best, place = np.empty((2, 1, 16), np.int32)
    panels = fixed_point.panels_of(columns)
    fixed_point.largest_of_runs(rows, np.array([0, 1]), np.zeros(1, np.int32), panels, best, place)
    product = best[0, 0] / scales[0][0] / scales[1][0]
    exact = float(one[0].astype(np.float64) @ other[0].astype(np.float64))
    assert abs(product - exact) <= fixed_point.relative_error(d) * lengths[0][0] * lengths[1][0] * (1 + 1e-9)
