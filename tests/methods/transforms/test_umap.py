import sys

import numpy as np
import pytest

from methods.base import MethodError
from methods.transforms.umap import UMAP, memberships
from tests.conftest import clustered_vectors


def test_memberships_sum_to_log2_of_the_neighbours() -> None:
    distances = np.sort(np.random.default_rng(0).uniform(0.1, 0.9, size=(50, 15)).astype(np.float32), axis=1)
    weights = memberships(distances)
    assert np.allclose(weights.sum(axis=1), np.log2(15), atol=1e-6)
    assert np.allclose(weights[:, 0], 1)
    assert (np.diff(weights, axis=1) <= 0).all()


def test_memberships_of_equal_distances_are_equal() -> None:
    assert np.allclose(memberships(np.full((1, 15), 0.5, np.float32)), 1)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MethodError, match=r"vecbudget\[umap\]"):
        UMAP(dim=2, neighbours=5).fit(clustered_vectors(30, 16))


def test_needs_more_documents_than_dimensions() -> None:
    with pytest.raises(MethodError, match="need 12 documents or more, got 11"):
        UMAP(dim=10, neighbours=5).fit(clustered_vectors(11, 16))


@pytest.mark.slow
def test_clusters_stay_together() -> None:
    """Slow, as each process compiles umap-learn's loops; that what is near is found is a law of the contract, too."""
    pytest.importorskip("umap", reason="umap-learn is not installed")
    rng = np.random.default_rng(0)
    cluster = rng.integers(3, size=240)
    points = (10 * np.eye(3, 16)[cluster] + rng.standard_normal((240, 16))).astype(np.float32)
    fitted = UMAP(dim=2, sample=120, epochs=50).fit(points)
    placed = fitted.transform_docs(points)
    centres = np.stack([placed[cluster == c].mean(axis=0) for c in range(3)])
    nearest = np.linalg.norm(placed[:, None] - centres, axis=2).argmin(axis=1)
    assert np.mean(nearest == cluster) > 0.95
    assert set(fitted.state()) == {"dim_", "landmarks_", "places_"}
