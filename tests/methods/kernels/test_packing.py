import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.kernels.packing import pack, pack_varied, packed_size, unpack, unpack_varied


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


@given(st.lists(st.integers(0, 8), min_size=1, max_size=30).filter(any), st.integers(0, 5), st.integers(0, 1000))
def test_varied_widths_round_trip(bits: list[int], n: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2 ** np.array(bits), size=(n, len(bits)))
    packed = pack_varied(values, np.array(bits))
    assert packed.shape == (n, -(-sum(bits) // 8))
    np.testing.assert_array_equal(unpack_varied(packed, np.array(bits)), values)


def test_varied_widths_are_one_stream() -> None:
    assert pack_varied(np.array([[1, 0b101, 0b11111]]), np.array([1, 3, 5])).tolist() == [[0b11111011, 0b1]]
