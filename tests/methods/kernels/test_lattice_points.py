import numpy as np
import pytest

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
    white = np.zeros((400, 2 * width), dtype=np.float32)
    lattice_points.decode(packed, first_bits, bits, np.array([0, width]), book.arrays, white)
    np.testing.assert_array_equal(white.reshape(-1, width), book.points(numbers.ravel()))
