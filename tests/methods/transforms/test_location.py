"""Where documents lie, and the rule by which a mean is worth subtracting."""

import numpy as np
import pytest

from methods.transforms.location import MEAN_SHARE, location


def with_mean_share(share: float, n: int = 400, d: int = 32) -> np.ndarray:
    """Return documents whose mean has that share of their mean square."""
    rng = np.random.default_rng(0)
    around = rng.standard_normal((n, d))
    around -= around.mean(axis=0)
    around *= np.sqrt((1 - share) / np.mean(np.sum(around**2, axis=1)))
    direction = rng.standard_normal(d)
    return (around + np.sqrt(share) * direction / np.linalg.norm(direction)).astype(np.float32)


@pytest.mark.parametrize("share", [0.0, 0.1, MEAN_SHARE - 0.01])
def test_auto_leaves_a_small_mean(share):
    assert location(with_mean_share(share), "auto") is None


@pytest.mark.parametrize("share", [MEAN_SHARE + 0.01, 0.81])
def test_auto_takes_a_large_one(share):
    docs = with_mean_share(share)
    assert location(docs, "auto") == pytest.approx(docs.mean(axis=0), abs=1e-6)


def test_names():
    docs = with_mean_share(0.5)
    assert location(docs, "none") is None
    assert location(docs, "mean") == pytest.approx(docs.mean(axis=0), abs=1e-6)
    assert location(docs, "median") == pytest.approx(np.median(docs, axis=0), abs=1e-6)
