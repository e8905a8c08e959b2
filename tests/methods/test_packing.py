import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.packing import pack, packed_size, unpack


@given(st.integers(1, 8), st.integers(1, 40), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_round_trip_at_the_least_bytes(bits: int, d: int, n: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, size=(n, d))
    packed = pack(values, bits)
    assert packed.dtype == np.uint8 and packed.shape == (n, packed_size(d, bits)) == (n, -(-d * bits // 8))
    assert np.array_equal(unpack(packed, bits, d), values)


def test_layout_by_hand() -> None:
    # value j at bits [b*j, b*j + b), lowest first: 1 + 2*16 = 33, then 3 alone
    assert pack(np.array([[1, 2, 3]]), 4).tolist() == [[33, 3]]
    # 3-bit values 1, 2, 3: 1 + 2*8 + 3*64 = 209, the ninth bit (of 3) is in the second byte: 0
    assert pack(np.array([[1, 2, 3]]), 3).tolist() == [[209, 0]]
    assert pack(np.array([[1, 0, 1, 1, 0, 0, 0, 0, 1]]), 1).tolist() == [[0b1101, 1]]


@pytest.mark.parametrize("bits", range(1, 9))
def test_rows_do_not_touch(bits: int) -> None:
    values = np.zeros((3, 11), dtype=np.uint8)
    values[1] = 2**bits - 1
    packed = pack(values, bits)
    assert not packed[0].any() and not packed[2].any()
