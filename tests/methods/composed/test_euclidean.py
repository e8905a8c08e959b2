import numpy as np
import pytest

from methods.base import MethodError
from methods.composed.euclidean import Euclidean
from methods.product.faiss_codec import FaissCodec
from methods.scalar.global_range import GlobalRange
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors


def test_order_is_that_of_distances() -> None:
    docs, queries = clustered_vectors(300, 32), clustered_vectors(20, 32, seed=1)
    codec = Euclidean(codec=FaissCodec(factory="PQ8x4np")).fit(docs)
    codes = codec.encode(docs)
    decoded = codec.codec.decode(codes)
    distances = ((queries[:, None] - decoded[None]) ** 2).sum(axis=2)
    scores, rows = codec.search(queries, codes, 300)
    assert np.allclose(np.take_along_axis(distances, rows, axis=1), np.sort(distances, axis=1), atol=1e-5)
    asked = (queries**2).sum(axis=1, keepdims=True)
    assert np.allclose(scores, -(np.sort(distances, axis=1) - asked) / 2, atol=1e-5)


def test_integers_compared_by_distance() -> None:
    """What LanceDB does: -|c_q - c_x|^2 of scalar codes."""
    docs, queries = clustered_vectors(300, 32), clustered_vectors(20, 32, seed=1)
    codec = Euclidean(codec=GlobalRange(rounding="floor", steps=31, scoring="symmetric")).fit(docs)
    codes = codec.encode(docs)
    integers = codec.codec._levels(codes)
    asked = codec.codec._levels(codec.codec.encode(queries))
    distances = ((asked[:, None] - integers[None]) ** 2).sum(axis=2)
    _, rows = codec.search(queries, codes, 10)
    assert np.array_equal(np.take_along_axis(distances, rows, axis=1), np.sort(distances, axis=1)[:, :10])


def test_transforms_come_first() -> None:
    docs = clustered_vectors(100, 32)
    codec = Euclidean(transforms=[SVD(dim=8)], codec=GlobalRange()).fit(docs)
    assert codec.decode(codec.encode(docs)).shape == (100, 9)


def test_contradictions_are_named() -> None:
    with pytest.raises(MethodError, match="scoring"):
        Euclidean(codec=GlobalRange(), scoring="symmetric")
