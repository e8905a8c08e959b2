import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.base import MethodError
from methods.transform_coding.allocation import allocate, convex_gains, fill_bytes


def textbook(variances: list[float], cap: int = 8) -> np.ndarray:
    return np.array(variances)[:, None] * 4.0 ** -np.arange(cap + 1)


def test_known_allocation() -> None:
    # gains of the next bit are variance * .75, .1875, ...: 16 takes two bits before 1 takes its first
    assert allocate(textbook([16.0, 1.0]), 2).tolist() == [2, 0]
    assert allocate(textbook([16.0, 1.0]), 3).tolist() == [3, 0]
    assert allocate(textbook([16.0, 1.0]), 4).tolist() == [3, 1]
    assert allocate(textbook([16.0, 1.0]), 6).tolist() == [4, 2]


def test_no_more_bits_than_fit() -> None:
    with pytest.raises(MethodError, match="17 bits do not fit into 2 dimensions of at most 8 bits"):
        allocate(textbook([1.0, 1.0]), 17)
    assert allocate(textbook([1.0, 0.0]), 16).tolist() == [8, 8]


def test_a_step_that_pays_only_with_the_next_is_taken_on_the_hull() -> None:
    # the first bit alone is worth nothing here, both together 9: as much as 4.5 each
    assert convex_gains(np.array([[10.0, 10.0, 1.0]])).tolist() == [[4.5, 4.5]]
    assert allocate(np.array([[10.0, 10.0, 1.0], [10.0, 6.0, 5.0]]), 2).tolist() == [2, 0]


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=12), st.integers(0, 8), st.data())
def test_greedy_is_optimal_for_convex_errors(variances: list[float], cap: int, data: st.DataObject) -> None:
    errors = textbook(variances, max(cap, 1))
    total = data.draw(st.integers(0, len(variances) * max(cap, 1)))
    bits = allocate(errors, total)
    assert bits.sum() == total
    rows = np.arange(len(bits))
    # no exchange of one bit lowers the error
    gain = np.where(bits < errors.shape[1] - 1, errors[rows, bits] - errors[rows, np.minimum(bits + 1, cap or 1)], 0)
    loss = np.where(bits > 0, errors[rows, np.maximum(bits - 1, 0)] - errors[rows, bits], np.inf)
    assert gain.max() <= loss.min() * (1 + 1e-9)


@given(
    st.integers(1, 40).flatmap(
        lambda nbytes: st.tuples(
            st.just(nbytes), st.integers(nbytes, 8 * nbytes + 20), st.integers(0, 1000), st.integers(1, 8)
        )
    )
)
def test_bytes_are_filled_exactly(case: tuple[int, int, int, int]) -> None:
    nbytes, d, seed, cap = case
    variances = np.sort(np.random.default_rng(seed).lognormal(0, 2, d))[::-1]
    errors = textbook(variances.tolist(), cap)
    if 8 * nbytes > d * cap:
        return
    given_bits = allocate(errors, 8 * nbytes)
    try:
        bits, groups = fill_bytes(given_bits, errors)
    except MethodError:
        # three bits at most cannot fill a byte by two dimensions, and there may be no third: first fit wastes a few
        assert 8 % cap and d < nbytes * -(-8 // cap) + 2 * cap
        return
    assert len(groups) == nbytes
    assert [int(bits[dims].sum()) for dims in groups] == [8] * nbytes
    assert bits.max() <= cap
    used = np.concatenate(groups)
    assert sorted(used) == np.flatnonzero(bits).tolist()
    rows = np.arange(d)
    if cap == 8 and d >= 6 * nbytes:
        assert errors[rows, bits].sum() <= errors[rows, given_bits].sum() * 1.1


def test_an_allocation_that_packs_is_left_alone() -> None:
    bits = np.array([5, 4, 4, 2, 1, 0])
    packed, groups = fill_bytes(bits, textbook([9.0, 5.0, 4.0, 2.0, 1.0, 0.5]))
    assert packed.tolist() == bits.tolist()
    assert [dims.tolist() for dims in groups] == [[0, 3, 4], [1, 2]]
