import numpy as np
import pytest

from methods.base import MethodError
from methods.rotated import grid_codes
from methods.rotated.ash import ASH
from methods.transforms.subspace import with_mean
from tests.conftest import clustered_vectors

D = 64


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(600, D)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return clustered_vectors(20, D, seed=1)


def test_score_is_the_published_formula(docs: np.ndarray, queries: np.ndarray) -> None:
    codec = ASH(dim=32, bits=2, factors="float32").fit(docs)
    mean = docs.mean(axis=0, dtype=np.float64)
    axes = codec.basis_[:, :32].astype(np.float64)
    centred = docs - mean
    z = (centred @ axes).astype(np.float32)
    points = grid_codes.grid_points(grid_codes.sweep(z, 2), 2)
    scale = np.linalg.norm(centred, axis=1) / np.linalg.norm(points, axis=1)
    offset = docs @ mean - mean @ mean - scale * (points @ (axes.T @ mean))
    expected = scale * (queries @ axes @ points.T) + (queries @ mean)[:, None] + offset
    assert np.allclose(codec.score(queries, codec.encode(docs)), expected, atol=1e-4)


def test_bytes_count_factors(docs: np.ndarray) -> None:
    for factors, size in (("float16", 2), ("float32", 4)):
        for offset in (False, True):
            codec = ASH(dim=20, bits=3, factors=factors, offset=offset).fit(docs)  # type: ignore[arg-type]
            assert codec.encode(docs).nbytes == len(docs) * (8 + size * (1 + offset))


def test_learned_axes_fit_their_codes_better(docs: np.ndarray) -> None:
    def cosine(iterations: int) -> float:
        codec = ASH(dim=32, bits=1, iterations=iterations).fit(docs)
        z = (docs - docs.mean(axis=0)) @ codec.basis_[:, :32]
        points = grid_codes.grid_points(grid_codes.encode(z, 1, "none"), 1)
        return float(np.mean((z * points).sum(1) / np.linalg.norm(z, axis=1) / np.linalg.norm(points, axis=1)))

    assert cosine(0) + 0.01 < cosine(5)


def test_axes_are_orthonormal_and_random_where_documents_are_few(docs: np.ndarray) -> None:
    for few in (docs, docs[:40]):
        axes = ASH(dim=32).fit(few).basis_[:, :32]
        assert np.allclose(axes.T @ axes, np.eye(32), atol=1e-5)


def test_offset_makes_the_inner_product_with_the_mean_exact(docs: np.ndarray) -> None:
    codec = ASH(dim=16, factors="float32").fit(docs)
    mean = docs.mean(axis=0, keepdims=True)
    assert np.allclose(codec.score(mean, codec.encode(docs)), mean @ docs.T, atol=1e-4)


def test_eight_bits_of_all_dimensions_are_nearly_exact(docs: np.ndarray, queries: np.ndarray) -> None:
    codec = ASH(dim=D, bits=8, refine="adjust").fit(docs)
    assert np.abs(codec.score(queries, codec.encode(docs)) - queries @ docs.T).max() < 0.005


@pytest.mark.parametrize("parameters", [{"renormalize": True}, {"scoring": "symmetric"}])
def test_an_offset_is_no_part_of_a_vector(parameters: dict[str, object]) -> None:
    with pytest.raises(MethodError, match="offset=false"):
        ASH(dim=8, **parameters)  # type: ignore[arg-type]
    ASH(dim=8, offset=False, **parameters)  # type: ignore[arg-type]


def test_mean_outside_the_axes_has_a_direction_of_its_own() -> None:
    axes = np.eye(5)[:, :2]
    basis, centre = with_mean(axes, np.array([1.0, 2.0, 0.0, 3.0, 4.0]))
    assert np.allclose(basis[:, 2], [0, 0, 0, 0.6, 0.8])
    assert np.allclose(centre, [1, 2, 5])
    basis, centre = with_mean(axes, np.array([1.0, 2.0, 0.0, 0.0, 0.0]))
    assert np.allclose(basis[:, 2], 0)
    assert np.allclose(centre, [1, 2, 0])
