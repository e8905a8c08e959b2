import numpy as np
import pytest

from methods.base import MethodError
from methods.transforms.linear import SVD
from methods.transforms.whitening import Whiten
from tests.conftest import clustered_vectors


def test_full_whitening_has_unit_covariance() -> None:
    docs = clustered_vectors(800, 24)
    whitened = Whiten(dim=16).fit(docs).transform_docs(docs)
    assert np.allclose(whitened.mean(axis=0), 0, atol=1e-4)
    covariance = np.cov(whitened.T, bias=True)
    # relative to the first axis, which keeps its variance
    assert np.allclose(covariance, covariance[0, 0] * np.eye(16), atol=1e-3 * covariance[0, 0])


def test_alpha_leaves_a_power_of_the_spectrum() -> None:
    docs = clustered_vectors(800, 24)
    spectra = [np.var(Whiten(dim=24, alpha=a).fit(docs).transform_docs(docs), axis=0) for a in (0.0, 0.5)]
    assert np.allclose(spectra[1] / spectra[1][0], np.sqrt(spectra[0] / spectra[0][0]), rtol=1e-3)


@pytest.mark.parametrize("centre", ["none", "both", "docs"])
def test_alpha_0_is_svd(centre: str) -> None:
    docs, queries = clustered_vectors(300, 24), clustered_vectors(5, 24, seed=1)
    whiten, svd = Whiten(dim=8, alpha=0.0, centre=centre).fit(docs), SVD(dim=8, centre=centre).fit(docs)  # type: ignore[arg-type]
    assert np.allclose(whiten.transform_docs(docs), svd.transform_docs(docs), atol=1e-6)
    assert np.allclose(whiten.transform_queries(queries), svd.transform_queries(queries), atol=1e-6)


def test_directions_without_variance_are_not_blown_up() -> None:
    docs = clustered_vectors(300, 24)
    docs[:, 20:] = 0
    whitened = Whiten(dim=24).fit(docs).transform_docs(clustered_vectors(50, 24, seed=1))
    assert np.isfinite(whitened).all()
    assert np.abs(whitened).max() < 1e4


@pytest.mark.parametrize(("parameter", "value"), [("dim", 0), ("alpha", 1.5), ("alpha", -0.1)])
def test_parameters_are_checked(parameter: str, value: float) -> None:
    with pytest.raises(MethodError, match=parameter):
        Whiten(**{"dim": 4, parameter: value})
