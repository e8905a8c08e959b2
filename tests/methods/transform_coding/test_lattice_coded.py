import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.base import MethodError
from methods.transform_coding.lattice_coded import (
    E8_RATES,
    LEECH_RATES,
    RATES,
    Lattice,
    LatticeCoded,
    codebook,
    plan_blocks,
    read_bits,
    write_bits,
)
from tests.conftest import clustered_vectors

LATTICES: list[Lattice] = ["e8", "leech"]


def white(n: int, d: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).standard_normal((n, d))
    # of mean square 1: errors then hardly depend on the sample
    scaled: np.ndarray = points * np.sqrt(points.size / (points**2).sum())
    return scaled


def mean_error(points: np.ndarray, decoded: np.ndarray) -> float:
    return float(((points - decoded) ** 2).mean())


@pytest.mark.parametrize("bits", [bits for bits in E8_RATES if bits <= 30])
def test_errors_of_e8_codebooks_are_as_stated(bits: int) -> None:
    points, book = white(10_000 if bits < 24 else 3000, 8), codebook(8, bits)
    assert book.size <= 1 << bits
    error = mean_error(points, book.points(book.nearest(points)))
    assert error == pytest.approx(E8_RATES[bits].error, rel=0.03)


@pytest.mark.parametrize("bits", LEECH_RATES)
def test_errors_of_leech_codebooks_are_as_stated(bits: int) -> None:
    points, book = white(600, 24), codebook(24, bits)
    assert book.size <= 1 << bits
    error = mean_error(points, book.points(book.nearest(points)))
    assert error == pytest.approx(LEECH_RATES[bits].error, rel=0.04)


def test_distance_to_the_bound_on_a_white_gaussian() -> None:
    """At one and two bits a dimension Max's (1960) scalars are 1.62 and 2.72 dB above 4**-bits."""

    def gap(rates: dict[int, float], width: int, bits: int) -> float:
        return float(10 * np.log10(rates[bits] * 4 ** (bits / width)))

    e8 = {bits: rate.error for bits, rate in E8_RATES.items()}
    leech = {bits: rate.error for bits, rate in LEECH_RATES.items()}
    assert gap(e8, 8, 8) == pytest.approx(1.08, abs=0.02)
    assert gap(e8, 8, 16) == pytest.approx(1.57, abs=0.02)
    assert gap(leech, 24, 25) == pytest.approx(1.04, abs=0.02)
    assert gap(leech, 24, 48) == pytest.approx(1.01, abs=0.02)


@pytest.mark.parametrize("bits", [4, 7, 8, 10, 12])
def test_nearest_point_of_an_e8_codebook_by_enumeration(bits: int) -> None:
    book = codebook(8, bits)
    points = np.concatenate([white(300, 8), 4 * white(50, 8, 1), np.zeros((1, 8)), np.eye(8)])
    every = book.points(np.arange(book.size)).astype(np.float64)
    assert len(np.unique(every, axis=0)) == book.size
    expected = ((points[:, None] - every) ** 2).sum(axis=2).min(axis=1)
    found = ((points - book.points(book.nearest(points))) ** 2).sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_nearest_point_of_the_smallest_leech_codebook_by_enumeration() -> None:
    book, points = codebook(24, 18), white(100, 24)
    assert book.size == 196560
    every = book.points(np.arange(book.size)).astype(np.float64)
    squares = (every**2).sum(axis=1)
    expected = np.array([(squares - 2 * every @ point).min() + point @ point for point in points])
    found = ((points - book.points(book.nearest(points))) ** 2).sum(axis=1)
    assert (found > expected - 1e-4).all()
    assert (found < expected + 1e-4).mean() > 0.97


@pytest.mark.parametrize(("width", "bits"), [(8, 16), (8, 24), (8, 32), (24, 18), (24, 30), (24, 48), (24, 62)])
def test_points_of_a_codebook_are_their_own_nearest(width: int, bits: int) -> None:
    book = codebook(width, bits)
    numbers = np.random.default_rng(0).integers(book.size, size=400)
    points = book.points(numbers)
    again = book.points(book.nearest(points))
    # in Leech codebooks of two balls a point may have a twin in the other one
    np.testing.assert_allclose(again, points, atol=1e-3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 62), st.integers(0, 2**62 - 1)), min_size=1, max_size=12))
def test_numbers_come_back_from_their_bits(fields: list[tuple[int, int]]) -> None:
    total = sum(bits for bits, _ in fields)
    packed = np.zeros((1, -(-total // 8)), dtype=np.uint8)
    place = 0
    for bits, value in fields:
        write_bits(packed, np.array([value % (1 << bits)]), place, bits)
        place += bits
    place = 0
    for bits, value in fields:
        assert read_bits(packed, place, bits).tolist() == [value % (1 << bits)]
        place += bits


def cost(variances: np.ndarray, plan: list[tuple[int, int]]) -> float:
    total, start = 0.0, 0
    for width, bits in plan:
        rates = RATES["e8" if width == 8 else "leech"]
        assert bits == 0 or bits in rates
        total += variances[start : start + width].sum() * (rates[bits].error if bits else 1.0)
        start += width
    assert start >= len(variances)
    return total


@pytest.mark.parametrize("seed", range(10))
def test_plans_are_nearly_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    variances = np.sort(np.repeat(rng.exponential(size=3) ** 3, 8))[::-1]
    budget = int(rng.integers(10, 60))
    levels = [0, *E8_RATES]
    eights = [[(8, a), (8, b), (8, c)] for a in levels for b in levels for c in levels if a + b + c <= budget]
    wholes = [[(24, a)] for a in [0, *LEECH_RATES] if a <= budget]
    for leech, plans in ((False, eights), (True, eights + wholes)):
        plan = plan_blocks(variances, budget, leech)
        assert sum(bits for _, bits in plan) <= budget
        best = min(cost(variances, p) for p in plans)
        assert best <= cost(variances, plan) * (1 + 1e-12) <= best * 1.08


def test_leech_blocks_are_where_24_dimensions_are_alike() -> None:
    variances = np.concatenate([100.0 ** -np.linspace(0, 1, 24), np.full(72, 0.01)])
    assert [width for width, _ in plan_blocks(variances, 260, True)] == [8] * 3 + [24] * 3
    assert {width for width, _ in plan_blocks(variances, 260, False)} == {8}


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("nbytes", [1, 7, 24, 48, 96])
def test_takes_exactly_the_asked_bytes(lattice: Lattice, nbytes: int) -> None:
    docs = clustered_vectors(300, 384)
    codec = LatticeCoded(lattice=lattice, nbytes=nbytes).fit(docs)
    assert codec.encode(docs).array.shape == (300, nbytes)
    assert 8 * nbytes - 8 <= int(codec.bits_.sum(dtype=int)) <= 8 * nbytes


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("d", [3, 8, 29, 50])
def test_any_width_and_constant_dimensions(lattice: Lattice, d: int) -> None:
    docs = clustered_vectors(200, d)
    docs[:, 1] = 0.5
    codec = LatticeCoded(lattice=lattice, nbytes=3).fit(docs)
    decoded = codec.decode(codec.encode(docs))
    assert decoded.shape == docs.shape
    np.testing.assert_allclose(decoded[:, 1], 0.5, atol=1e-6)
    centred = ((docs - docs.mean(axis=0)) ** 2).sum()
    assert ((docs - decoded) ** 2).sum() < centred


@pytest.mark.parametrize("lattice", LATTICES)
def test_reaches_its_stated_error_on_a_gaussian_of_falling_variance(lattice: Lattice) -> None:
    variances = np.exp(-np.arange(96) / 24)
    rng = np.random.default_rng(0)
    docs, others = (rng.standard_normal((n, 96)) * np.sqrt(variances) + 3 for n in (4000, 1000))
    codec = LatticeCoded(lattice=lattice, nbytes=16).fit(docs)
    plan = list(zip(codec.widths_.tolist(), codec.bits_.tolist(), strict=True))
    assert (24 in codec.widths_) == (lattice == "leech")
    others = others.astype(np.float32)
    error = ((others - codec.decode(codec.encode(others))) ** 2).sum(axis=1).mean()
    assert error == pytest.approx(cost(variances, plan), rel=0.04)


def test_more_of_the_bound_than_scalars() -> None:
    """Reverse water-filling's error for this spectrum against what each lattice leaves."""
    variances = np.exp(-np.arange(96) / 24)
    docs = (np.random.default_rng(0).standard_normal((3000, 96)) * np.sqrt(variances)).astype(np.float32)
    low, high = 0.0, 1.0
    for _ in range(60):
        water = (low + high) / 2
        rate = 0.5 * np.log2(np.maximum(variances / water, 1)).sum()
        low, high = (water, high) if rate > 128 else (low, water)
    bound = np.minimum(variances, water).sum()
    gaps = []
    for lattice in LATTICES:
        codec = LatticeCoded(lattice=lattice, nbytes=16).fit(docs)
        error = ((docs - codec.decode(codec.encode(docs))) ** 2).sum(axis=1).mean()
        gaps.append(10 * np.log10(error / bound))
    assert 0 < gaps[1] < gaps[0] - 0.1
    assert gaps[0] < 1.4


@pytest.mark.parametrize("lattice", LATTICES)
def test_a_document_far_from_all_others(lattice: Lattice) -> None:
    docs = clustered_vectors(500, 48)
    codec = LatticeCoded(lattice=lattice, nbytes=12).fit(docs)
    far = np.stack([1e6 * docs[0], -1e6 * docs[1], docs[2], np.zeros(48, np.float32)])
    codes = codec.encode(far)
    assert np.isfinite(codec.decode(codes)).all()
    assert np.array_equal(codes.array[2], codec.encode(docs[2:3]).array[0])


def test_any_bytes_can_be_decoded() -> None:
    docs = clustered_vectors(300, 96)
    for lattice in LATTICES:
        codec = LatticeCoded(lattice=lattice, nbytes=24).fit(docs)
        codes = codec.encode(docs)
        codes.array[:] = 255
        assert np.isfinite(codec.decode(codes)).all()


@pytest.mark.parametrize("lattice", LATTICES)
def test_too_many_bytes_are_refused(lattice: Lattice) -> None:
    docs = clustered_vectors(50, 20)
    with pytest.raises(MethodError, match="nbytes=13 is more than 20 dimensions can hold: at most 12 bytes"):
        LatticeCoded(lattice=lattice, nbytes=13).fit(docs)
    with pytest.raises(MethodError, match="nbytes must be at least 1, got 0"):
        LatticeCoded(lattice=lattice, nbytes=0)
    assert LatticeCoded(lattice=lattice, nbytes=12).fit(docs).encode(docs).array.shape == (50, 12)
