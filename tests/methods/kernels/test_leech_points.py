import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.kernels.leech_points import LANES, decode_lanes, make_room
from methods.transform_coding.lattice_coded import LEECH_RATES, _Codebook, codebook
from methods.transform_coding.lattices import golay_codewords, golay_sextet, nearest_leech


def by_lanes(points: np.ndarray) -> np.ndarray:
    near, room = np.empty((24, LANES)), make_room()
    found = np.empty_like(points)
    for start in range(0, len(points), LANES):
        part = points[start : start + LANES]
        padded = np.zeros((LANES, 24))
        padded[: len(part)] = part
        decode_lanes(np.ascontiguousarray(padded.T), golay_sextet(), room, near)
        found[start : start + LANES] = near.T[: len(part)]
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 4.0, 1e3, 1e8]), st.sampled_from([1, 2, 4, 8, 2**14, 2**40]))
def test_nearest_vectors_are_the_references(seed: int, spread: float, grid: int) -> None:
    """On a coarse grid several vectors are equally near to most points: the same one of them is taken."""
    rng = np.random.default_rng(seed)
    points = np.rint(rng.standard_normal((40, 24)) * spread * grid) / grid
    points[:3, 4:] = 0
    points[3] = 0
    np.testing.assert_array_equal(by_lanes(points), nearest_leech(points))


def test_deep_holes_have_the_vector_of_the_reference() -> None:
    """At distance sqrt(2) of the unimodular lattice, 4 here, with up to 48 equally near vectors."""
    steps = nearest_leech(np.random.default_rng(0).uniform(-100, 100, (48, 24)))
    points = steps + 4 * np.eye(24)[np.arange(48) % 24]
    found = by_lanes(points)
    assert (((points - found) ** 2).sum(axis=1) == 16).all()
    np.testing.assert_array_equal(found, nearest_leech(points))


def test_sextet() -> None:
    """Two columns together are an octad, and the classes and complements make up the Golay code."""
    sextet = golay_sextet()
    words = {word.tobytes() for word in golay_codewords()}
    assert sorted(sextet.places.ravel().tolist()) == list(range(24))
    for first in range(6):
        for second in range(first):
            octad = np.zeros(24, dtype=np.uint8)
            octad[sextet.places[[first, second]]] = 1
            assert octad.tobytes() in words
    made = set()
    patterns = np.array([[0, 6, 10, 12], [2, 4, 8, 14]])
    for number, (classes, odd) in enumerate(zip(sextet.classes, sextet.complements, strict=True)):
        for turned in range(64):
            turns = turned >> np.arange(6) & 1
            if turns.sum() % 2 == odd:
                columns = patterns[number // 64, classes] ^ 15 * turns
                word = np.zeros(24, dtype=np.uint8)
                word[sextet.places] = columns[:, None] >> np.arange(4) & 1
                made.add(word.tobytes())
    assert made == words


@pytest.mark.parametrize("bits", [min(LEECH_RATES), 30, 46, max(LEECH_RATES)])
def test_numbers_are_the_references(bits: int) -> None:
    book, rng = codebook(24, bits), np.random.default_rng(bits)
    docs = (rng.standard_normal((70, 50)) * rng.choice([0.01, 1.0, 3.0, 1e3], (70, 1), p=[0.1, 0.7, 0.1, 0.1])).astype(
        np.float32
    )
    # zeros, ties, and points of the codebook themselves
    docs[:2] = 0
    docs[2:6] = rng.integers(-1, 2, (4, 50))
    docs[6:16, :48] = book.points(rng.integers(0, book.size, 20)).reshape(10, 48)
    mean, deviation = np.zeros(50), np.ones(50)
    mean[24:], deviation[24:] = rng.standard_normal(26), rng.random(26) + 0.5
    place = np.array([5, 7 + bits]), np.array([0, 26])
    packed, expected = (np.zeros((70, 17), dtype=np.uint8) for _ in range(2))
    book.write(docs, mean, deviation, *place, packed)
    _Codebook.write(book, docs, mean, deviation, *place, expected)
    np.testing.assert_array_equal(packed, expected)
