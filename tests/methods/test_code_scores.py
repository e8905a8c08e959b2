"""Scores from codes as they lie: documents' own numbers, and the order of a list. Codes: tests/test_contract.py."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.code_scores import Own, own_number
from methods.kernels.graph_walk import key_of, row_of, score_of


def test_every_float16_is_read_from_its_bits() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    bits = bits[np.isfinite(bits.view(np.float16))]
    own = Own(np.empty(0, np.float32), bits)
    read = np.array([own_number(own, row) for row in range(len(bits))])
    assert np.array_equal(read, bits.view(np.float16).astype(np.float64))


scores = st.floats(width=32, allow_nan=False)
rows = st.integers(0, 2**31 - 1)


# the first call compiles
@settings(deadline=None)
@given(scores, rows, scores, rows)
def test_keys_stand_in_the_order_of_scores_and_then_of_rows(one: float, row: int, other: float, next_row: int) -> None:
    first, second = key_of(one, row), key_of(other, next_row)
    assert (first > second) == ((one, -row) > (other, -next_row))
    assert row_of(first) == row_of(first - 1) == row and score_of(first) == score_of(first - 1) == np.float32(one)
    assert first & 1, "unread"
