"""Heads for fixed classifiers."""

import numpy as np
import pytest

from methods import Chain, PerDimension
from methods.base import MethodError
from methods.transforms.class_heads import ClassHeads, simplex
from methods.transforms.linear import random_rotation
from tests.conftest import clustered_vectors

DOCS = clustered_vectors(500, 24)
PAIRS = np.column_stack([np.arange(500), np.arange(500)])
TURN = random_rotation(24, np.random.default_rng(0)).astype(np.float32)
WIDE = np.hstack([DOCS @ TURN, np.random.default_rng(1).standard_normal((500, 8)) * 0.01]).astype(np.float32)


@pytest.mark.parametrize("corners", [2, 3, 10])
def test_corners_of_a_simplex_are_equally_far_apart(corners: int) -> None:
    expected = np.full((corners, corners), -1 / (corners - 1)) + np.eye(corners) * (1 + 1 / (corners - 1))
    made = simplex(corners)
    assert made.shape == (corners, corners - 1)
    np.testing.assert_allclose(made @ made.T, expected, atol=1e-12)
    np.testing.assert_allclose(made.sum(axis=0), 0, atol=1e-12)


def test_a_stationary_head_of_the_same_vectors_is_the_same_head() -> None:
    part = ClassHeads(classes=16, ridge=0.0).fit(DOCS, DOCS @ TURN, PAIRS)
    docs, queries = part.transform_docs(DOCS), part.transform_queries(DOCS @ TURN)
    assert docs.shape == (500, 15)
    # a rotated model classifies as the model does: each head found its own way to the corners
    np.testing.assert_allclose(docs, queries, atol=1e-3)
    corners = simplex(16)
    assert np.mean((docs @ corners.T).argmax(1) == (queries @ corners.T).argmax(1)) > 0.99


def test_compatible_heads_leave_documents_as_they_are() -> None:
    part = ClassHeads(kind="compatible", classes=16).fit(DOCS, WIDE, PAIRS)
    assert np.array_equal(part.transform_docs(DOCS), DOCS)
    mapped = part.transform_queries(WIDE)
    cosine = np.einsum("ij,ij->i", mapped, DOCS) / np.linalg.norm(mapped, axis=1) / np.linalg.norm(DOCS, axis=1)
    assert mapped.shape == DOCS.shape and cosine.mean() > 0.7


@pytest.mark.parametrize("kind", ["stationary", "compatible"])
def test_a_chain_with_it_is_kept_and_read(kind: str) -> None:
    def chain(kind: str = "stationary") -> Chain:
        return Chain(transforms=[ClassHeads(kind=kind, classes=40)], codec=PerDimension(bits=8))  # type: ignore[arg-type]

    codec = chain(kind).fit(DOCS, WIDE, PAIRS)
    codes = codec.encode(DOCS)
    fresh = chain(kind).load_state(codec.state())
    assert np.array_equal(fresh.search(WIDE, codes, 5)[1], codec.search(WIDE, codes, 5)[1])


def test_without_pairs_queries_are_the_old_models() -> None:
    for kind in ("stationary", "compatible"):
        part = ClassHeads(kind=kind, classes=8).fit(DOCS, DOCS)  # type: ignore[arg-type]
        assert np.array_equal(part.transform_queries(DOCS), part.transform_docs(DOCS))
    with pytest.raises(MethodError, match="queries have 32 dimensions, documents 24: heads need pairs"):
        ClassHeads().fit(DOCS, WIDE)
    with pytest.raises(MethodError, match="one document makes one class"):
        ClassHeads().fit(DOCS[:1])
