import numpy as np
import pytest

from methods.base import MethodError
from methods.transforms.relative import Relative
from tests.conftest import clustered_vectors


def test_plain_is_the_cosine_with_each_anchor() -> None:
    docs, queries = 3 * clustered_vectors(200, 24), clustered_vectors(7, 24, seed=1)
    relative = Relative(dim=10, seed=3).fit(docs)
    assert np.allclose(np.linalg.norm(relative.anchors_, axis=1), 1, atol=1e-6)
    assert np.allclose(relative.transform_queries(queries), queries @ relative.anchors_.T, atol=1e-5)
    # an anchor's cosine with itself
    assert np.allclose(np.diag(relative.transform_docs(5 * relative.anchors_)), 1, atol=1e-5)


def test_whitened_is_exact_on_the_span_of_the_anchors() -> None:
    docs = clustered_vectors(200, 24)
    anchors = Relative(dim=10).fit(docs).anchors_
    relative = Relative(dim=10, kind="whitened").fit(docs)
    inside = relative.transform_docs(anchors)
    assert np.allclose(inside @ inside.T, anchors @ anchors.T, atol=1e-4)
    # which is the projection on their span, in orthonormal coordinates, with no anchor stored
    assert np.allclose(relative.components_.T @ relative.components_, np.eye(10), atol=1e-5)
    assert set(relative.state()) == {"dim_", "components_"}
    # with as many independent anchors as dimensions the span is everything
    everything = Relative(dim=60, kind="whitened").fit(docs)
    mapped = everything.transform_docs(docs)
    assert np.allclose(mapped @ mapped.T, docs @ docs.T, atol=1e-3)


def test_needs_as_many_documents_as_anchors() -> None:
    with pytest.raises(MethodError, match="dim=10 anchors are more than the 9 documents"):
        Relative(dim=10).fit(clustered_vectors(9, 24))
