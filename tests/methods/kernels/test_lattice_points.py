import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.kernels import lattice_points
from methods.transform_coding.lattice_coded import E8_RATES, LEECH_RATES, WIDTH, codebook, write_bits


@pytest.mark.parametrize(
    ("width", "bits"),
    [(WIDTH["e8"], bits) for bits in (4, 8, 16, 17, 20, 27 - 1, max(E8_RATES))]
    + [(WIDTH["leech"], bits) for bits in (18, 30, 46, max(LEECH_RATES))],
)
def test_points_are_the_references(width: int, bits: int) -> None:
    book, rng = codebook(width, bits), np.random.default_rng(bits)
    numbers = rng.integers(0, 1 << bits, (400, 2))
    # each class's first and last points, and numbers beyond the last one
    ends = np.concatenate([book.starts, book.starts - 1, [book.size - 1, (1 << bits) - 1]])
    numbers[:, 1] = rng.permutation(np.resize(ends[ends >= 0], 400))
    packed = np.zeros((400, 20), dtype=np.uint8)
    first_bits = np.array([3, 5 + bits])
    for place, bit in enumerate(first_bits.tolist()):
        write_bits(packed, numbers[:, place], bit, bits)
    # what stands beside a number is not its affair
    packed[:, -1] |= 128
    packed[:, 0] |= 7
    # the last block has no room for its last dimension
    d = 2 * width - 1
    deviation, mean = (rng.standard_normal(d).astype(np.float32) for _ in range(2))
    decoded = np.zeros((400, d), dtype=np.float32)
    lattice_points.decode(packed, first_bits, bits, np.array([0, width]), book.arrays, deviation, mean, decoded)
    points = book.points(numbers.ravel()).reshape(400, -1)
    np.testing.assert_array_equal(decoded, points[:, :d] * deviation + mean)


@given(st.integers(0, 1 << 31), st.integers(1, lattice_points.DIVISORS - 1))
def test_a_shift_and_a_product_divide_what_divides_evenly(quotient: int, divisor: int) -> None:
    shift, inverse = (int(table[divisor]) for table in (lattice_points.SHIFTS, lattice_points.INVERSES))
    assert ((quotient * divisor >> shift) * inverse) % (1 << 64) == quotient


@pytest.mark.parametrize("bits", [bits for bits in E8_RATES if codebook(WIDTH["e8"], bits).search is not None])
def test_numbers_of_e8_are_the_references(bits: int) -> None:
    book, rng = codebook(WIDTH["e8"], bits), np.random.default_rng(bits)
    points = rng.standard_normal((300, 16)) * rng.choice([0.1, 1.0, 2.0, 1e3], (300, 1))
    # sizes and distances that tie, zeros, and points of the codebook themselves
    points[:100] = rng.integers(-3, 4, (100, 16)) / rng.choice([1, 2, 4], (100, 1))
    points[100:150] = book.points(rng.integers(0, 1 << bits, 100)).reshape(50, 16)
    docs, packed = points[:, :15].astype(np.float32), np.zeros((300, 11), dtype=np.uint8)
    mean, deviation = rng.standard_normal(15), rng.random(15) + 0.5
    first_bits = np.array([5, 6 + bits])
    assert book.search is not None
    lattice_points.encode_eights(docs, mean, deviation, first_bits, bits, np.array([0, 8]), book.search, packed)
    expected = np.zeros_like(packed)
    white = np.zeros((300, 16))
    white[:, :15] = (docs - mean) / deviation
    for place, bit in enumerate(first_bits.tolist()):
        write_bits(expected, book.nearest(white[:, 8 * place : 8 * place + 8]), bit, bits)
    np.testing.assert_array_equal(packed, expected)
