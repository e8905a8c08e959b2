import numpy as np
import pytest
import sklearn.decomposition

from methods.base import MethodError
from methods.transforms.kernel_pca import KernelPCA
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors


@pytest.mark.parametrize("kernel", ["rbf", "cosine", "poly"])
@pytest.mark.parametrize("gamma", [None, 2.0])
def test_agrees_with_scikit_learn(kernel: str, gamma: float | None) -> None:
    docs, more = clustered_vectors(150, 16), clustered_vectors(20, 16, seed=1)
    ours = KernelPCA(dim=6, kernel=kernel, gamma=gamma, sample=200).fit(docs)  # type: ignore[arg-type]
    theirs = sklearn.decomposition.KernelPCA(6, kernel=kernel, gamma=gamma, eigen_solver="dense").fit(docs)
    for vectors in (docs, more):
        expected, got = theirs.transform(vectors), ours.transform_docs(vectors)
        # the sign of a component is a matter of taste
        expected *= np.sign((expected * got).sum(axis=0))
        assert np.allclose(got, expected, atol=2e-3 * np.abs(expected).max())


def test_cosine_kernel_of_unit_vectors_is_centred_pca() -> None:
    docs = clustered_vectors(150, 16)
    ours = KernelPCA(dim=6, kernel="cosine", sample=150).fit(docs).transform_docs(docs)
    pca = SVD(dim=6, centre="both").fit(docs).transform_docs(docs)
    assert np.allclose(ours @ ours.T, pca @ pca.T, atol=1e-4)


def test_only_the_sample_is_kept() -> None:
    fitted = KernelPCA(dim=6, sample=50).fit(clustered_vectors(150, 16))
    assert {name: array.shape for name, array in fitted.state().items()} == {
        "dim_": (),
        "landmarks_": (50, 16),
        "means_": (50,),
        "weights_": (50, 6),
    }


def test_needs_as_many_documents_as_components() -> None:
    with pytest.raises(MethodError, match="dim=6 .* got 5"):
        KernelPCA(dim=6).fit(clustered_vectors(5, 16))
    with pytest.raises(MethodError, match="sample"):
        KernelPCA(dim=6, sample=5)
