import numpy as np
import pytest

from methods.base import MethodError
from methods.transforms.hashing import ITQ, Hyperplanes, procrustes, signs
from tests.conftest import clustered_vectors


def test_procrustes_recovers_a_rotation() -> None:
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    points = rng.standard_normal((50, 8))
    assert np.allclose(procrustes(points.T @ (points @ rotation)), rotation, atol=1e-10)


def test_itq_loses_less_with_each_iteration() -> None:
    docs = clustered_vectors(600, 16)

    def quantisation_loss(iterations: int) -> float:
        rotated = ITQ(iterations=iterations).fit(docs).transform_docs(docs)
        # Gong and Lazebnik, equation 2, up to the constant that scaling B leaves
        return -float(np.abs(rotated).sum())

    losses = [quantisation_loss(iterations) for iterations in (0, 1, 3, 10, 50)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1.02 * losses[0] < 0


def test_itq_rotates() -> None:
    docs = clustered_vectors(300, 16)
    rotated = ITQ(iterations=5, sample=100).fit(docs).transform_docs(docs)
    assert np.allclose(rotated @ rotated.T, docs @ docs.T, atol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "super_bit"])
def test_share_of_parting_hyperplanes_is_the_angle(kind: str) -> None:
    a, b = clustered_vectors(2, 16)
    angle = np.arccos(a @ b)
    sides = Hyperplanes(nbits=8000, kind=kind).fit(a[None]).transform_docs(np.stack([a, b])) > 0  # type: ignore[arg-type]
    # one standard error is at most sqrt(1/4 / 8000) = 0.0056 of pi
    assert abs(np.mean(sides[0] != sides[1]) * np.pi - angle) < 4 * 0.0056 * np.pi


def test_super_bit_is_orthogonal_in_batches() -> None:
    normals = Hyperplanes(nbits=22, kind="super_bit", depth=8).fit(clustered_vectors(4, 16)).normals_
    assert normals.shape == (16, 22)
    for start in (0, 8, 16):
        batch = normals[:, start : start + 8]
        # 22 normals in 16 dimensions: a tight frame, whose projections are as long as a vector
        assert np.allclose(batch.T @ batch, np.eye(batch.shape[1]) * 16 / 22, atol=1e-6)
    assert np.abs(normals[:, :8].T @ normals[:, 8:16]).max() > 0.05


def test_super_bit_has_the_smaller_variance() -> None:
    a, b = clustered_vectors(2, 16)

    def spread(kind: str) -> float:
        shares = []
        for seed in range(200):
            hyperplanes = Hyperplanes(nbits=16, kind=kind, seed=seed).fit(a[None])  # type: ignore[arg-type]
            sides = hyperplanes.transform_docs(np.stack([a, b])) > 0
            shares.append(np.mean(sides[0] != sides[1]))
        return float(np.var(shares))

    assert spread("super_bit") < 0.8 * spread("gaussian")


def test_depth_beyond_the_dimensions_is_refused() -> None:
    with pytest.raises(MethodError, match="depth=17 .* 16 dimensions"):
        Hyperplanes(nbits=32, kind="super_bit", depth=17).fit(clustered_vectors(4, 16))


def test_zero_is_negative_as_in_sign() -> None:
    assert signs(np.array([[0.0, -0.0, 1e-9, -1e-9]], np.float32)).tolist() == [[-1, -1, 1, -1]]
