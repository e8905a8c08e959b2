import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.base import MethodError
from methods.scalar.cast import Cast
from methods.scalar.microscaling import MicroScaled

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float32)


def test_one_block_by_hand() -> None:
    """floor(log2 6) - 2 = 0: the scale is 1, byte 127. Codes are sign, two bits of exponent, one of mantissa."""
    codec = MicroScaled(block=4).fit(np.ones((1, 4)))
    codes = codec.encode([[6, 3, 0.5, -1.5], [7.9, 1, 0, 0], [12, 0, 0, 0]])
    assert codes.rows["scales"].tolist() == [[127], [127], [128]]
    assert codes.array.tolist() == [[7 + 16 * 5, 1 + 16 * 11], [7 + 16 * 2, 0], [7, 0]]
    # between 6 and 8 magnitudes saturate, as the specification says
    assert codec.decode(codes).tolist() == [[6, 3, 0.5, -1.5], [6, 1, 0, 0], [12, 0, 0, 0]]


@given(st.integers(-100, 100), st.integers(1, 70), st.integers(0, 10**6))
def test_a_power_of_two_moves_only_the_scale(exponent: int, d: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((3, d)).astype(np.float32)
    codec = MicroScaled().fit(vectors)
    here, there = codec.encode(vectors), codec.encode(np.ldexp(vectors, exponent))
    assert np.array_equal(here.array, there.array)
    assert np.array_equal(here.rows["scales"].astype(int) + exponent, there.rows["scales"])
    assert here.array.shape == (3, -(-d // 2)) and here.rows["scales"].shape == (3, -(-d // 32))


def test_what_the_format_holds_is_exact() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.choice(np.concatenate([E2M1, -E2M1]), size=(20, 64))
    vectors[:, ::32] = 6
    vectors *= np.repeat(2.0 ** rng.integers(-9, 9, (20, 2)), 32, axis=1)
    codec = MicroScaled().fit(vectors)
    assert np.array_equal(codec.decode(codec.encode(vectors)), vectors.astype(np.float32))


def test_a_block_of_zeros_and_the_smallest_numbers() -> None:
    vectors = np.zeros((3, 40), dtype=np.float32)
    vectors[1] = 1e-38
    vectors[2, 3] = -1e-45
    for scale in ("e8m0", "e4m3"):
        codec = MicroScaled(scale=scale).fit(vectors)
        decoded = codec.decode(codec.encode(vectors))
        assert np.isfinite(decoded).all() and (decoded[0] == 0).all()


def test_e4m3_scales_leave_less_error_than_powers_of_two() -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    error = {}
    for scale in ("e8m0", "e4m3"):
        codec = MicroScaled(block=16, scale=scale).fit(vectors)
        error[scale] = float(((codec.decode(codec.encode(vectors)) - vectors) ** 2).mean())
    assert error["e4m3"] < error["e8m0"]


@pytest.mark.parametrize(("element", "bits"), [("float6_e2m3fn", 6), ("float6_e3m2fn", 6), ("float8_e4m3fn", 8)])
def test_longer_elements(element: str, bits: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 384)).astype(np.float32)
    short, longer = MicroScaled().fit(vectors), MicroScaled(element=element).fit(vectors)
    codes = longer.encode(vectors)
    assert codes.nbytes == 50 * (384 * bits // 8 + 12)
    assert np.abs(longer.decode(codes) - vectors).max() < np.abs(short.decode(short.encode(vectors)) - vectors).max()


def test_raw_casts_below_eight_bits_are_packed() -> None:
    values = np.concatenate([E2M1, -E2M1])[None]
    codec = Cast(dtype="float4_e2m1fn").fit(values)
    codes = codec.encode(values)
    assert codes.nbytes == 8
    assert np.array_equal(codec.decode(codes), values)
    # entries of unit vectors are below half of the smallest number, so that nothing is left of them
    small = np.full((1, 16), 0.05, dtype=np.float32)
    assert not codec.decode(codec.encode(small)).any()
    six = Cast(dtype="float6_e2m3fn", scale="absmax").fit(values)
    assert six.encode(values).nbytes == 12
    assert float(ml_dtypes.finfo(ml_dtypes.float6_e2m3fn).max) == 7.5
    assert np.allclose(six.decode(six.encode(values)), values, atol=0.25)


def test_wrong_parameters() -> None:
    for wrong in ({"block": 0}, {"element": "float16"}, {"element": "float32"}, {"scale": "e5m2"}):
        with pytest.raises(MethodError, match=next(iter(wrong))):
            MicroScaled(**wrong)
