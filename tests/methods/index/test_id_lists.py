from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.base import MethodError
from methods.index.id_lists import Layout, least_bits, read_lists, write_lists

lists = st.lists(st.sets(st.integers(0, 499), max_size=40).map(sorted), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(lists, st.sampled_from(get_args(Layout)))
def test_lists_come_back(content: list[list[int]], layout: Layout) -> None:
    indptr = np.concatenate([[0], np.cumsum([len(part) for part in content])]).astype(np.int64)
    ids = np.array([value for part in content for value in part], dtype=np.int64)
    starts, found = read_lists(write_lists(indptr, ids, 500, layout), 500, layout)
    assert np.array_equal(starts, indptr) and np.array_equal(found, ids)


def test_int32_says_what_it_cannot_number() -> None:
    with pytest.raises(MethodError, match="int32 does not number"):
        write_lists(np.array([0, 1]), np.array([0]), 1 << 31, "int32")


def test_the_fewest_bits_by_hand() -> None:
    assert least_bits(np.array([4])) == pytest.approx(0, abs=1e-9)
    assert least_bits(np.array([2, 2])) == pytest.approx(np.log2(6))
    assert least_bits(np.array([1, 1, 1])) == pytest.approx(np.log2(6))
