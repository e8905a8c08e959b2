import numpy as np
import pytest

from methods import PooledQuantiles
from methods.base import Codes, MethodError
from methods.kernels.packing import unpack


def test_cutoffs_and_weights_are_quantiles_of_all_numbers() -> None:
    """Of 0 to 16 the quartiles are 4, 8, 12, and the middles of the quarters 2, 6, 10, 14."""
    numbers = np.random.default_rng(0).permutation(17).astype(np.float32)
    codec = PooledQuantiles(bits=2).fit(numbers[:, None])
    assert codec.cutoffs_.tolist() == [4, 8, 12]
    assert codec.weights_.tolist() == [2, 6, 10, 14]
    # 4 belongs to the first bucket: 0 1 2 3 4, then 5 6 7 8, ...
    means = PooledQuantiles(bits=2, weights="means").fit(numbers[:, None])
    assert means.weights_.tolist() == [2, 6.5, 10.5, 14.5]


def test_a_number_equal_to_a_cutoff_goes_below() -> None:
    codec = PooledQuantiles(bits=1).fit(np.float32([[0], [1], [2]]))
    assert codec.encode(np.float32([[1], [np.nextafter(1, 2, dtype=np.float32)]])).array.ravel().tolist() == [0, 1]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("d", [1, 5, 8, 13])
def test_codes_are_packed_as_everywhere(bits: int, d: int) -> None:
    vectors = np.random.default_rng(bits).standard_normal((300, d)).astype(np.float32)
    codec = PooledQuantiles(bits=bits).fit(vectors)
    codes = codec.encode(vectors)
    buckets = (vectors[:, :, None] > codec.cutoffs_).sum(axis=2)
    assert codes.array.shape == (300, -(-d * bits // 8))
    assert np.array_equal(unpack(codes.array, bits, d), buckets)
    assert np.array_equal(codec.decode(codes), codec.weights_[buckets])


def test_all_numbers_equal() -> None:
    codec = PooledQuantiles(bits=4, weights="means").fit(np.full((3, 4), 7, np.float32))
    assert (codec.decode(codec.encode(np.full((2, 4), 7, np.float32))) == 7).all()


def test_refuses_a_state_of_other_bits() -> None:
    fitted = PooledQuantiles(bits=2).fit(np.ones((2, 3), np.float32))
    with pytest.raises(MethodError, match="16 buckets"):
        PooledQuantiles(bits=4).load_state(fitted.state())
    with pytest.raises(MethodError, match="bits must be"):
        PooledQuantiles(bits=3)
    assert isinstance(fitted.encode(np.ones((1, 3), np.float32)), Codes)
