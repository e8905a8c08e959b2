"""Axes of the covariance where the mean is far from zero, of the second moment where it is not."""

import numpy as np
import pytest

from methods import SVD
from methods.transforms.location import MEAN_SHARE


def moved(share: float, seed: int = 0) -> np.ndarray:
    """Documents (500, 12) whose mean has a share of their mean square."""
    rng = np.random.default_rng(seed)
    docs = rng.standard_normal((500, 12)) * np.linspace(2.0, 0.5, 12)
    docs -= docs.mean(axis=0)
    direction = rng.standard_normal(12)
    power = (docs**2).sum(axis=1).mean()
    return (docs + direction / np.linalg.norm(direction) * np.sqrt(power * share / (1 - share))).astype(np.float32)


@pytest.mark.parametrize(
    ("share", "same_as"), [(MEAN_SHARE - 0.02, "none"), (MEAN_SHARE + 0.02, "axes"), (0.8, "axes")]
)
def test_auto_is_one_of_the_two_by_the_mean(share: float, same_as: str) -> None:
    docs = moved(share)
    auto = SVD(centre="auto").fit(docs)
    named = SVD(centre=same_as).fit(docs)  # type: ignore[arg-type]
    np.testing.assert_array_equal(auto.components_, named.components_)
    assert "mean_" not in auto.state()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_scores_stay_what_they_are(share: float) -> None:
    docs, queries = moved(share), moved(share, seed=1)
    svd = SVD(centre="auto").fit(docs)
    np.testing.assert_allclose(
        svd.transform_queries(queries) @ svd.transform_docs(docs).T, queries @ docs.T, rtol=1e-4, atol=1e-3
    )


def test_axes_of_the_covariance_do_not_know_where_documents_lie() -> None:
    near, far = moved(0.0), moved(0.9)
    axes = [SVD(centre="axes").fit(docs).components_ for docs in (near, far)]
    np.testing.assert_allclose(np.abs(axes[0].T @ axes[1]), np.eye(12), atol=1e-3)
