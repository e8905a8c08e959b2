import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import selection
from methods.compiling import compiled
from methods.vector_instructions import DOUBLES, STRIDE, any_reaches


@compiled
def reaches(values: np.ndarray, at: int, limit: float) -> bool:
    found: bool = any_reaches(values, at, np.float32(limit))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), st.integers(0, STRIDE + 20), st.booleans(), st.integers(0, 10**6))
def test_one_of_the_next_numbers_reaches_a_limit_or_none(at: int, place: int, odd: bool, seed: int) -> None:
    values = np.full(STRIDE + 30, 1.0, np.float32)
    values[np.random.default_rng(seed).integers(len(values), size=3)] = np.nan if odd else -np.inf
    values[place] = 2
    inside = at <= place < at + STRIDE
    assert reaches(values, at, 2.0) is inside
    assert not reaches(values, at, np.nextafter(np.float32(2), np.float32(3)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(0, 10**6))
def test_a_product_is_summed_in_the_order_that_is_written_down(width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = ((rng.standard_normal(width) * 10.0 ** rng.integers(-9, 9, width)).astype(np.float32) for _ in "ab")
    products = left.astype(np.float64) * right
    whole = width - width % DOUBLES
    sums = np.zeros(DOUBLES)
    for line in products[:whole].reshape(-1, DOUBLES):
        sums += line
    total = 0.0
    for value in (*sums, *products[whole:]):
        total += value
    assert selection.dot(left, right) == total
