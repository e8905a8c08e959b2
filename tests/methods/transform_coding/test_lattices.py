import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from methods.base import MethodError
from methods.transform_coding.lattices import (
    GRID,
    Classes,
    e8_classes,
    golay_codewords,
    leech_classes,
    nearest_e8,
    nearest_leech,
)


def shells(families: list[Classes]) -> dict[int, int]:
    counts: Counter[int] = Counter()
    for classes in families:
        for norm, size in zip(classes.norms.tolist(), classes.sizes, strict=True):
            counts[norm] += size
    return dict(counts)


def members(classes: Classes, member: int) -> np.ndarray:
    size = int(classes.sizes[member])
    return classes.vectors(np.arange(size), np.full(size, member))


def vectors(families: list[Classes]) -> np.ndarray:
    return np.concatenate([members(f, m) for f in families for m in range(len(f.norms))])


def in_leech(points: np.ndarray) -> np.ndarray:
    """The definition, one condition after the other."""
    whole = points.astype(np.int64)
    odd = whole[:, :1] % 2
    words = {row.tobytes() for row in golay_codewords()}
    bits = ((whole - odd) // 2 % 2).astype(np.uint8)
    known = np.array([row.tobytes() in words for row in bits])
    same = (whole % 2 == odd).all(axis=1)
    summed = whole.sum(axis=1) % 8 == 4 * odd[:, 0]
    inside: np.ndarray = (points == whole).all(axis=1) & same & known & summed
    return inside


def test_golay_code() -> None:
    words = golay_codewords()
    assert Counter(words.sum(axis=1).tolist()) == {0: 1, 8: 759, 12: 2576, 16: 759, 24: 1}
    keys = set((words.astype(int) @ (1 << np.arange(24))).tolist())
    assert len(keys) == 4096
    sums = words[5] ^ words
    assert set((sums.astype(int) @ (1 << np.arange(24))).tolist()) == keys
    assert np.array_equal(words[7], words[1] ^ words[2] ^ words[4])


def test_shells_of_e8_are_its_theta_series() -> None:
    """240 sigma_3(n) vectors of norm 2n, and 16, 128, 448, ... at norms 1, 2, 3, ... from a deep hole."""

    def cubes(n: int) -> int:
        return sum(k**3 for k in range(1, n + 1) if n % k == 0)

    assert shells(e8_classes(48)) == {0: 1} | {8 * n: 240 * cubes(n) for n in range(1, 7)}
    around_hole = shells(e8_classes(40, hole=True))
    assert [around_hole[4 * n] for n in range(1, 11)] == [16, 128, 448, 1024, 2016, 3584, 5504, 8192, 12112, 16128]


def test_shells_of_leech_are_its_theta_series() -> None:
    """65520 / 691 (sigma_11(n) - tau(n)) vectors of norm 2n: 196,560 of them minimal (Conway and Sloane, 1999)."""
    tau = [0, 1, -24, 252, -1472, 4830, -6048, -16744, 84480]
    expected = {0: 1}
    for n in range(2, 9):
        divisors = sum(k**11 for k in range(1, n + 1) if n % k == 0)
        expected[16 * n] = 65520 * (divisors - tau[n]) // 691
    assert expected[32] == 196560
    assert shells(leech_classes(16 * 8)) == expected


@pytest.mark.parametrize("hole", [False, True])
def test_vectors_of_e8_are_all_different_and_in_it(hole: bool) -> None:
    found = vectors(e8_classes(24, hole))
    assert len(np.unique(found, axis=0)) == len(found) == sum(shells(e8_classes(24, hole)).values())
    points = found / 2 - hole * np.eye(8)[0]
    assert np.array_equal(nearest_e8(points), points)


def test_minimal_vectors_of_leech_are_all_different_and_in_it() -> None:
    found = vectors(leech_classes(32))
    assert len(np.unique(found, axis=0)) == 196561
    assert in_leech(found).all()
    # no two minimal vectors are nearer than one is to 0: angles of 60 degrees and more
    chosen = found[np.random.default_rng(0).integers(1, len(found), 20)]
    products = chosen @ found.T
    assert set(np.unique(products)) <= {-32, -16, -8, 0, 8, 16, 32}


@pytest.mark.parametrize("families", [e8_classes(80), e8_classes(80, hole=True), leech_classes(16 * 12)])
def test_numbering_of_large_classes(families: list[Classes]) -> None:
    rng = np.random.default_rng(0)
    for classes in families:
        member = rng.integers(len(classes.norms), size=500)
        sizes = np.array([float(size) for size in classes.sizes])[member]
        # the first and the last of a class among them
        numbers = (rng.choice([0.0, 1.0, rng.random()], size=500) * (sizes - 1)).astype(np.int64)
        made = classes.vectors(numbers, member)
        assert np.array_equal(np.einsum("ij,ij->i", made, made), classes.norms[member])
        assert np.array_equal(classes.number(made, member), numbers)
        assert np.array_equal(classes.find(made), member)
        if made.shape[1] == 24:
            assert in_leech(made).all()


def test_classes_that_are_not_there_are_not_found() -> None:
    small, large = leech_classes(48)[-1], leech_classes(80)[-1]
    beyond = np.flatnonzero(large.norms > 48)
    made = large.vectors(np.zeros(len(beyond), dtype=np.int64), beyond)
    assert (small.find(made) == -1).all()
    with pytest.raises(MethodError, match="23 different values in 8 dimensions"):
        e8_classes(2000)[0].find(np.zeros((1, 8), dtype=np.int64))


def test_nearest_point_of_e8_by_enumeration() -> None:
    points = np.random.default_rng(1).uniform(-0.5, 0.5, (2000, 8))
    # a point is at most 1 from E8, so that what it rounds to is at most sqrt(2) + 1 from 0
    candidates = vectors(e8_classes(4 * 6)) / 2
    squares = (candidates**2).sum(axis=1)
    distances = squares - 2 * points @ candidates.T
    expected = distances.min(axis=1)
    found = nearest_e8(points)
    np.testing.assert_allclose((found**2).sum(axis=1) - 2 * (found * points).sum(axis=1), expected, atol=1e-12)


def test_nearest_point_of_leech_lies_in_its_voronoi_cell() -> None:
    """A cell is bounded by the vectors of norm 4 and 6, in these coordinates 32 and 48 (Conway and Sloane, 1999)."""
    rng = np.random.default_rng(2)
    points = rng.uniform(-20, 20, (200, 24))
    residues = points - nearest_leech(points)
    grid = 2.0**-14 * 24 * 12
    assert (residues @ vectors(leech_classes(32)).T <= 16 + grid).all()
    for classes in leech_classes(48):
        for member in np.flatnonzero(classes.norms == 48):
            numbers = rng.integers(int(classes.sizes[member]), size=20_000)
            facets = classes.vectors(numbers, np.full(20_000, member))
            assert (residues @ facets.T <= 24 + grid).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(194)
def test_nearest_points_move_with_the_lattice(seed: int) -> None:
    # sums are exact, and E8's grid is so fine that no two of its points are equally near
    rng = np.random.default_rng(seed)
    by_leech = np.rint(rng.uniform(-50, 50, (40, 24)) * 2**40) / 2**40
    step = nearest_leech(rng.uniform(-1000, 1000, (40, 24)))
    assert in_leech(step).all()
    nearest, moved = nearest_leech(by_leech), nearest_leech(by_leech + step) - step
    # Leech's decoder rounds to a coarser grid, where two points can be exactly as near (seed 194 has such a row); which
    # of them is taken then depends on their order, and so on the step: only there may the two answers differ
    rounded = np.rint(by_leech / GRID) * GRID
    differs = (moved != nearest).any(axis=1)
    assert in_leech(moved).all() and differs.sum() <= 2
    squares = [((rounded - points) ** 2).sum(axis=1) for points in (nearest, moved)]
    assert np.array_equal(*squares)
    by_e8 = np.rint(rng.uniform(-50, 50, (40, 8)) * 2**40) / 2**40
    step = nearest_e8(rng.uniform(-1000, 1000, (40, 8)))
    assert np.array_equal(nearest_e8(by_e8 + step), nearest_e8(by_e8) + step)


def test_second_moments() -> None:
    """Conway and Sloane (1999), table 2.3: 0.65 and 1.03 dB below 1/12; no error beyond the covering radius."""
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 8, (100_000, 8))
    errors = ((points - nearest_e8(points)) ** 2).sum(axis=1)
    assert errors.mean() / 8 == pytest.approx(0.07168, abs=1.5e-4)
    assert errors.max() <= 1
    points = rng.uniform(0, 8, (12_000, 24))
    errors = ((points - nearest_leech(points)) ** 2).sum(axis=1) / 8
    assert errors.mean() / 24 == pytest.approx(0.06577, abs=2e-4)
    assert errors.max() <= 2 + 1e-3
    assert 10 * math.log10(1 / 12 / (errors.mean() / 24)) == pytest.approx(1.03, abs=0.02)


def test_a_point_does_not_depend_on_its_neighbours() -> None:
    points = np.random.default_rng(4).standard_normal((150, 24)) * 5
    # ties: halfway between lattice points, and 0 in most places
    points[:50] = np.rint(points[:50])
    points[50:60, 4:] = 0
    together = nearest_leech(points)
    for size in (1, 7, 64):
        apart = [nearest_leech(points[start : start + size]) for start in range(0, 150, size)]
        assert np.array_equal(np.concatenate(apart), together)


def test_orders_of_a_class_are_counted_in_order() -> None:
    """One class in full against the dictionary order of its patterns."""
    family = e8_classes(16)[0]
    member = int(np.flatnonzero((family.norms == 16) & (family.off[:, 1] == 4))[0])
    patterns = np.abs(members(family, member)[:: 1 << int(family.sign_bits[member])])
    expected = sorted(set(itertools.permutations([0, 0, 0, 0, 2, 2, 2, 2])))
    assert patterns.tolist() == [list(pattern) for pattern in expected]
