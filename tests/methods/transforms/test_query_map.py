"""The map from a new model's queries to an old model's documents."""

from typing import Any

import numpy as np
import pytest

from methods.base import MethodError, VectorsError
from methods.composed.chain import Chain
from methods.scalar.uniform import PerDimension
from methods.transforms.linear import random_rotation
from methods.transforms.query_map import QueryMap
from tests.conftest import clustered_vectors

DOCS = clustered_vectors(500, 24)
PAIRS = np.column_stack([np.arange(500), np.arange(500)])
TURN = random_rotation(24, np.random.default_rng(0)).astype(np.float32)


@pytest.mark.parametrize(("kind", "settings"), [("linear", {"ridge": 0.0}), ("rotation", {})])
def test_undoes_a_rotation(kind: Any, settings: dict[str, Any]) -> None:
    part = QueryMap(kind=kind, **settings).fit(DOCS, DOCS @ TURN, PAIRS)
    np.testing.assert_allclose(part.transform_queries(DOCS @ TURN), DOCS, atol=1e-4)
    assert np.array_equal(part.transform_docs(DOCS), DOCS)


def test_undoes_a_shift() -> None:
    part = QueryMap(kind="shift").fit(DOCS, DOCS + np.float32(0.3), PAIRS)
    np.testing.assert_allclose(part.transform_queries(DOCS + np.float32(0.3)), DOCS, atol=1e-5)


def test_queries_may_be_wider_than_documents() -> None:
    wide = np.hstack([DOCS @ TURN, clustered_vectors(500, 8, seed=3)]).astype(np.float32)
    codec = Chain(transforms=[QueryMap(kind="linear", ridge=1e-6)], codec=PerDimension(bits=8)).fit(DOCS, wide, PAIRS)
    codes = codec.encode(DOCS)
    assert (codec.search(wide[:50], codes, 1)[1][:, 0] == np.arange(50)).all()
    fresh = Chain(transforms=[QueryMap()], codec=PerDimension(bits=8)).load_state(codec.state())
    assert np.array_equal(fresh.search(wide, codes, 5)[1], codec.search(wide, codes, 5)[1])
    with pytest.raises(VectorsError, match="queries has 24 dimensions, but the method was fitted on 32"):
        codec.search(DOCS, codes, 1)


def test_a_ridge_pulls_towards_nothing() -> None:
    sizes = [
        float(np.linalg.norm(QueryMap(kind="linear", ridge=ridge).fit(DOCS, DOCS @ TURN, PAIRS).map_))
        for ridge in (0.0, 1.0, 100.0)
    ]
    assert sizes[0] > sizes[1] > sizes[2]


def test_a_map_that_keeps_the_width_is_refused_where_widths_differ() -> None:
    with pytest.raises(MethodError, match="keeps the width, but queries have 30, documents 24"):
        QueryMap(kind="shift").fit(DOCS, clustered_vectors(500, 30), PAIRS)


def test_a_rotation_into_fewer_dimensions_is_a_partial_isometry() -> None:
    wide = np.hstack([DOCS @ TURN, np.zeros((500, 6), dtype=np.float32)])
    part = QueryMap().fit(DOCS, wide, PAIRS)
    np.testing.assert_allclose(part.map_.T @ part.map_, np.eye(24), atol=1e-5)
    np.testing.assert_allclose(part.transform_queries(wide), DOCS, atol=1e-4)


def test_without_pairs_queries_stay_as_they_are() -> None:
    part = QueryMap().fit(DOCS, DOCS @ TURN)
    assert np.array_equal(part.transform_queries(DOCS), DOCS)
    with pytest.raises(MethodError, match="a map needs pairs of both"):
        QueryMap().fit(DOCS, clustered_vectors(500, 30))


def test_other_methods_refuse_queries_of_another_width() -> None:
    with pytest.raises(VectorsError, match="queries has 30 dimensions"):
        Chain(transforms=[], codec=PerDimension(bits=8)).fit(DOCS, clustered_vectors(500, 30))
