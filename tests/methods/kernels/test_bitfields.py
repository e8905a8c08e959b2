import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.kernels.bitfields import index_bits, pack_wide, unpack_wide


@given(st.integers(1, 16), st.integers(1, 40), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_round_trip_at_the_least_bytes(bits: int, d: int, n: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, size=(n, d))
    packed = pack_wide(values, bits)
    assert packed.dtype == np.uint8 and packed.shape == (n, -(-d * bits // 8))
    assert np.array_equal(unpack_wide(packed, bits, d), values)


def test_layout_by_hand() -> None:
    # low bytes first, then the high bits in one byte: 0x1FF and 0x003
    assert pack_wide(np.array([[0x1FF, 0x003]]), 9).tolist() == [[0xFF, 0x03, 0b01]]


@pytest.mark.parametrize(("count", "bits"), [(1, 1), (2, 1), (3, 2), (256, 8), (257, 9), (384, 9)])
def test_bits_of_a_pointer(count: int, bits: int) -> None:
    assert index_bits(count) == bits
