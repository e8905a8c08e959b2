import numpy as np
import pytest

from methods.base import MethodError
from methods.kernels.packing import unpack
from methods.scalar.uniform import PerDimension, PerVector

DOCS = np.array([[0.0, -1.0], [3.0, 1.0], [1.4, 0.2]], dtype=np.float32)


def codes_of(codec: PerDimension, docs: np.ndarray) -> list[list[int]]:
    return unpack(codec.encode(docs).array, codec.bits, docs.shape[1]).tolist()


def test_levels_lie_on_the_ends_of_the_range() -> None:
    codec = PerDimension(bits=2).fit(DOCS)
    # steps of 1 and 2/3: 1.4 rounds to level 1, 0.2 = -1 + 1.8 steps to level 2
    assert codes_of(codec, DOCS) == [[0, 0], [3, 3], [1, 2]]
    assert codec.decode(codec.encode(DOCS)) == pytest.approx(np.array([[0, -1], [3, 1], [1, 1 / 3]]), abs=1e-6)


def test_about_zero_a_level_is_zero_and_one_is_left_over() -> None:
    codec = PerDimension(bits=2, about_zero=True).fit(DOCS)
    # ranges of -3 to 3 and -1 to 1, levels -1, 0 and 1 times their ends
    assert codes_of(codec, DOCS) == [[1, 0], [2, 2], [1, 1]]
    assert codec.decode(codec.encode(DOCS)) == pytest.approx(np.array([[0, -1], [3, 1], [0, 0]]), abs=1e-6)
    codes = PerDimension(bits=2, about_zero=True, scoring="raw_codes").fit(DOCS)
    assert codes._levels(codes.encode(DOCS)).tolist() == [[0, -1], [1, 1], [0, 0]]
    with pytest.raises(MethodError, match="about_zero=true needs 2 bits"):
        PerDimension(bits=1, about_zero=True)


def test_floor_rounds_down() -> None:
    codec = PerDimension(bits=2, rounding="floor").fit(DOCS)
    assert codes_of(codec, DOCS) == [[0, 0], [3, 3], [1, 1]]


def test_what_lies_beyond_the_range_is_clipped_or_wraps() -> None:
    beyond = np.array([[4.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
    clipped = PerDimension(bits=2, rounding="floor").fit(DOCS)
    wrapped = PerDimension(bits=2, rounding="floor", overflow="wrap").fit(DOCS)
    assert [row[0] for row in codes_of(clipped, beyond)] == [3, 0]
    assert [row[0] for row in codes_of(wrapped, beyond)] == [0, 3], "the largest becomes the smallest"


def test_percentiles_leave_outliers_out() -> None:
    docs = np.concatenate([np.linspace(-1, 1, 101), [50.0]])[:, None].astype(np.float32)
    assert PerDimension(bits=8).fit(docs).step_[0] == pytest.approx(51 / 255)
    assert PerDimension(bits=8, clip=2.5).fit(docs).step_[0] < 2.1 / 255


def test_signed_and_unsigned_codes_differ_by_half_the_range() -> None:
    signed, unsigned = (PerDimension(bits=4, signed_codes=signed).fit(DOCS) for signed in (True, False))
    codes = signed.encode(DOCS)
    assert (unsigned._levels(codes) - signed._levels(codes) == 8).all()


def test_a_constant_dimension_decodes_to_its_constant() -> None:
    docs = np.array([[0.5, 1.0], [0.5, 2.0]], dtype=np.float32)
    codec = PerDimension(bits=8).fit(docs)
    assert codec.decode(codec.encode(docs)) == pytest.approx(docs)


@pytest.mark.parametrize("levels, expected", [("midtread", [[7, 0, -4]]), ("midrise", [[15, 1, -9]])])
def test_per_vector_levels(levels: str, expected: list[list[int]]) -> None:
    docs = np.array([[1.0, 0.0, -0.55]], dtype=np.float32)
    codec = PerVector(bits=4, levels=levels).fit(docs)  # type: ignore[arg-type]
    assert codec._levels(codec.encode(docs)).tolist() == expected


def test_the_stored_scale_brings_the_length_back() -> None:
    docs = np.array([[3.0, -1.0, 2.0], [0.3, 0.2, 0.1]], dtype=np.float32)
    stored = PerVector(bits=8, store_scale=True).fit(docs)
    assert stored.decode(stored.encode(docs)) == pytest.approx(docs, abs=0.02)
    assert stored.encode(docs).nbytes == 2 * (3 + 2)
    implied = PerVector(bits=8).fit(docs)
    assert np.linalg.norm(implied.decode(implied.encode(docs)), axis=1) == pytest.approx([1, 1])
    with pytest.raises(MethodError, match="does not fit the stored float16 scale"):
        stored.encode(np.full((1, 3), 1e6, dtype=np.float32))
