import itertools

import numpy as np
import pytest

from methods.rotated import grid_codes


def cosines(z: np.ndarray, levels: np.ndarray, bits: int) -> np.ndarray:
    points = grid_codes.grid_points(levels, bits)
    return np.einsum("ij,ij->i", z, points) / np.linalg.norm(z, axis=1) / np.linalg.norm(points, axis=1)


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((300, 48)).astype(np.float32)


def test_rounding_by_hand() -> None:
    # v = 1, cells of width 0.5 from -1: [-1, -0.5) [-0.5, 0) [0, 0.5) [0.5, 1]
    row = np.array([[1.0, -1.0, 0.49, 0.5, -0.01, -0.51]], np.float32)
    levels = grid_codes.round_to_grid(row, 2)
    assert levels.tolist() == [[3, 0, 2, 3, 1, 0]]
    assert grid_codes.grid_points(levels, 2).tolist() == [[3, -3, 1, 3, -1, -3]]


@pytest.mark.parametrize("bits", [2, 3])
def test_sweep_finds_the_best_of_all_codes(bits: int) -> None:
    z = np.random.default_rng(1).standard_normal((200, 3)).astype(np.float32)
    every = np.array(list(itertools.product(range(1 << bits), repeat=3)), np.uint8)
    points = grid_codes.grid_points(every, bits)
    best = (z @ (points / np.linalg.norm(points, axis=1, keepdims=True)).T).max(axis=1) / np.linalg.norm(z, axis=1)
    assert np.allclose(cosines(z, grid_codes.sweep(z, bits), bits), best, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_adjusting_comes_close_to_the_sweep(z: np.ndarray, bits: int) -> None:
    rounded, adjusted, swept = (
        cosines(z, grid_codes.encode(z, bits, refine), bits) for refine in ("none", "adjust", "sweep")
    )
    assert (adjusted >= rounded - 1e-6).all()
    assert (swept >= adjusted - 1e-6).all()
    # a good part of what rounding loses against the best code is won back
    assert (swept - adjusted).mean() < 0.75 * (swept - rounded).mean()


def test_one_bit_is_the_sign(z: np.ndarray) -> None:
    assert np.array_equal(grid_codes.encode(z, 1, "sweep"), z > 0)
    # E|N(0, 1)| = sqrt(2 / pi) is the cosine of a Gaussian vector with its signs
    assert abs(cosines(z, grid_codes.encode(z, 1, "none"), 1).mean() - np.sqrt(2 / np.pi)) < 0.01


def test_outermost_levels_are_used_and_not_left(z: np.ndarray) -> None:
    for refine in ("none", "adjust", "sweep"):
        levels = grid_codes.encode(z, 8, refine)  # type: ignore[arg-type]
        assert levels.dtype == np.uint8
        assert levels.min() < 8
        assert levels.max() > 247


@pytest.mark.parametrize("refine", ["none", "adjust", "sweep"])
def test_a_row_does_not_depend_on_its_neighbours(z: np.ndarray, refine: grid_codes.Refine) -> None:
    together = grid_codes.encode(z, 4, refine)
    apart = np.concatenate([grid_codes.encode(z[i : i + 1], 4, refine) for i in range(40)])
    assert np.array_equal(together[:40], apart)


@pytest.mark.parametrize("refine", ["none", "adjust", "sweep"])
def test_zero_rows_have_a_code_and_no_factor(refine: grid_codes.Refine) -> None:
    zero = np.zeros((2, 5), np.float32)
    points = grid_codes.grid_points(grid_codes.encode(zero, 3, refine), 3)
    for scale in ("unbiased", "least_squares", "norm"):
        assert grid_codes.factors(zero, points, scale).tolist() == [0, 0]  # type: ignore[arg-type]


def test_factors_by_hand() -> None:
    z, points = np.array([[3.0, 4.0]], np.float32), np.array([[1.0, 3.0]], np.float32)
    assert np.isclose(grid_codes.factors(z, points, "unbiased"), 25 / 15)
    assert np.isclose(grid_codes.factors(z, points, "least_squares"), 15 / 10)
    assert np.isclose(grid_codes.factors(z, points, "norm"), 5 / np.sqrt(10))
    assert np.isclose(grid_codes.factors(z, points, "norm", np.array([2.0])), 2 / np.sqrt(10))


def test_unbiased_over_rotations() -> None:
    rng = np.random.default_rng(2)
    x, q = rng.standard_normal((2, 32)).astype(np.float32)
    x, q = x / np.linalg.norm(x), q / np.linalg.norm(q)
    estimates = []
    for _ in range(1000):
        rotation = np.linalg.qr(rng.standard_normal((32, 32)))[0].astype(np.float32)
        z = (x @ rotation)[None]
        points = grid_codes.grid_points(grid_codes.encode(z, 1, "none"), 1)
        estimates.append(float(grid_codes.factors(z, points, "unbiased")[0] * (points[0] @ (q @ rotation))))
    assert abs(np.mean(estimates) - x @ q) < 4 * np.std(estimates) / np.sqrt(1000)
