"""What a model gives as integers or bits is stored as that, and comes back as it was."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.evaluation.index_files import read_index, write_index
from methods import AsGiven, Sign
from methods.base import MethodError

RNG = np.random.default_rng(0)
SIGNS = np.where(RNG.standard_normal((50, 19)) > 0, 1, -1)
KINDS = {
    "sign": (SIGNS, 3),  # bytes of 19 dimensions
    "int8": (RNG.integers(-128, 128, (50, 19)), 19),
    "uint8": (RNG.integers(0, 256, (50, 19)), 19),
    "float32": (RNG.standard_normal((50, 19)), 76),
}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_come_back_from_the_file_in_the_bytes_of_their_kind(kind: str, tmp_path: Path) -> None:
    docs, width = KINDS[kind]
    codec = AsGiven().fit(docs)
    storage = write_index(tmp_path, codec, codec.encode(docs))
    assert storage.code_bytes_per_vector == width
    loaded, codes = read_index(tmp_path, AsGiven())
    np.testing.assert_array_equal(loaded.decode(codes), docs.astype(np.float32))


@given(arrays(np.int16, (4, 3), elements=st.integers(-300, 300)))
def test_whole_numbers_of_any_range_are_lossless(docs: np.ndarray) -> None:
    codec = AsGiven().fit(docs)
    codes = codec.encode(docs)
    np.testing.assert_array_equal(codec.decode(codes), docs)
    signs = (np.abs(docs) == 1).all()
    a_byte = docs.min() >= -128 and docs.max() <= (127 if docs.min() < 0 else 255)
    assert codes.nbytes == 4 * (1 if signs else 3 if a_byte else 12)


@pytest.mark.parametrize("kind, misfit", [("sign", 0), ("sign", 0.5), ("int8", 128), ("int8", 0.5), ("uint8", -1)])
def test_what_the_format_does_not_hold_is_refused_and_not_rounded(kind: str, misfit: float) -> None:
    docs = KINDS[kind][0].astype(np.float32)
    codec = AsGiven(scoring="symmetric").fit(docs)
    docs[7, 3] = misfit
    with pytest.raises(MethodError, match=f"are all {kind}, which {misfit:g} is not"):
        codec.encode(docs)
    with pytest.raises(MethodError, match="scoring must be asymmetric"):
        codec.search(docs, codec.encode(KINDS[kind][0]), 3)


def test_signs_against_signs_rank_by_hamming_distance() -> None:
    """As the bits computed from floats do, which is what `voyage_binary` is."""
    floats, asked = RNG.standard_normal((200, 64)), RNG.standard_normal((9, 64))
    docs, queries = np.sign(floats), np.sign(asked)
    codec, signs = AsGiven().fit(docs), Sign(scoring="symmetric").fit(floats)
    scores, rows = codec.search(queries, codec.encode(docs), 200)
    expected_scores, expected_rows = signs.search(asked, signs.encode(floats), 200)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores / 64, expected_scores, atol=1e-6)
    assert codec.encode(docs).array.tobytes() == signs.encode(floats).array.tobytes()
