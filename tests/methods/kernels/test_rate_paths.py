import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.transform_coding.entropy_coded import gaussian_model
from methods.transform_coding.rate_search import Choice, Quantiser, Search


def drawn(states: int, classes: list[int], n: int, seed: int) -> tuple[Search, np.ndarray]:
    """A search over coordinates of some classes, of which the lowest take no part in the trellis."""
    made = {number: Quantiser(*gaussian_model(number, 2 if states > 1 and number >= -4 else 1)) for number in classes}
    ordered = sorted(classes, reverse=True)
    deviations = 2.0 ** (np.array(ordered) / 4)
    columns = np.random.default_rng(seed).standard_normal((len(classes), n)) * deviations[:, None]
    return Search(states, [made[number] for number in ordered]), columns.astype(np.float32)


def assert_equal(found: Choice, expected: Choice) -> None:
    for one, other in zip(found.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 4, 8, 64]),
    st.lists(st.integers(-10, 12), min_size=1, max_size=30),
    st.integers(1, 40),
    st.floats(0.01, 2),
    st.integers(0, 10**6),
)
def test_numbers_are_the_references(states: int, classes: list[int], n: int, slope: float, seed: int) -> None:
    search, columns = drawn(states, classes, n, seed)
    slopes = np.full(n, slope, dtype=np.float32)
    found, groups = search.best(columns, slopes)
    np.testing.assert_array_equal(groups, search.paths(columns, slopes))
    assert_equal(found, search.choose(columns, groups, slopes))
    rng = np.random.default_rng(seed)
    budget = np.maximum(found.bits * rng.uniform(0.5, 1.2, n), search.cheapest())
    given = columns, slope, budget, int(rng.integers(1, 15)), int(rng.integers(0, 9))
    assert_equal(search.within(*given), search.reference_within(*given))


def test_a_class_of_many_levels() -> None:
    search, columns = drawn(4, [28, 26], 20, 0)
    found, groups = search.best(columns, np.ones(20, dtype=np.float32))
    assert_equal(found, search.choose(columns, groups, np.ones(20, dtype=np.float32)))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    search, columns = drawn(8, [-8, -2, 0, 3] * 5, 300, 0)
    budget = np.full(300, 1.3 * search.cheapest())
    monkeypatch.setattr("methods.parallel.allowed", lambda: 1)
    alone = search.within(columns, 0.1, budget, 14, 8)
    monkeypatch.setattr("methods.parallel.allowed", lambda: 3)
    assert_equal(search.within(columns, 0.1, budget, 14, 8), alone)
