"""Sparse vectors: what they are, what they refuse, and that their search is exact."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import Cast, Chain, FixedWidth, Floats, TermWeights, Truncate
from methods.base import Codes, MethodError, Ragged, VectorsError
from methods.representations import SparseVectors, as_sparse, exact_search, pair_scores
from tests.methods.sparse.collections import by_hand, sparse_collection

SMALL = by_hand([{0: 1.0, 3: 2.0}, {}, {3: 0.5}, {0: 1.0, 3: 2.0}], width=5)


def equal(one: SparseVectors, two: SparseVectors) -> bool:
    return one.width == two.width and all(
        np.array_equal(getattr(one, name), getattr(two, name)) for name in ("indptr", "terms", "weights")
    )


def test_rows_are_sliced_as_views_taken_and_joined() -> None:
    assert SMALL.shape == (4, 5) and len(SMALL) == 4 and SMALL.nnz == 5
    part = SMALL[2:4]
    assert equal(part, by_hand([{3: 0.5}, {0: 1.0, 3: 2.0}], 5)) and np.shares_memory(part.weights, SMALL.weights)
    assert equal(SMALL.take(np.array([3, 1, 2])), by_hand([{0: 1.0, 3: 2.0}, {}, {3: 0.5}], 5))
    assert equal(SparseVectors.concatenate([SMALL[:1], SMALL[1:1], SMALL[1:]]), SMALL)
    assert equal(SparseVectors.from_csr(SMALL.to_csr()), SMALL)
    with pytest.raises(VectorsError, match="5, 6"):
        SparseVectors.concatenate([SMALL, by_hand([{1: 1.0}], 6)])


def test_scipys_matrices_are_taken_and_zeros_dropped() -> None:
    matrix = sp.coo_array(([2.0, 0.0, 1.0], ([0, 0, 1], [4, 1, 0])), shape=(2, 5))
    assert equal(as_sparse(matrix, "docs"), by_hand([{4: 2.0}, {0: 1.0}], 5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": [1, np.nan, 1, 1, 1]}, "NaN or infinity in row 0"),
        ({"weights": [1, 1, np.inf, 1, 1]}, "NaN or infinity in row 2"),
        ({"weights": [1, 1, 1, -2, 1]}, "negative weight in row 3"),
        ({"terms": [3, 0, 3, 0, 3]}, "not strictly ascending .* in row 0"),
        ({"terms": [0, 3, 3, 2, 2]}, "not strictly ascending .* in row 3"),
        ({"terms": [0, 5, 3, 0, 3]}, "beyond its vocabulary of 5 in row 0"),
        ({"indptr": [0, 2, 2, 3, 4]}, "does not divide"),
        ({"indptr": [0]}, "is empty"),
    ],
)
def test_what_is_no_collection_is_refused(changes: dict[str, list[float]], words: str) -> None:
    arrays = {name: np.array(values, dtype=getattr(SMALL, name).dtype) for name, values in changes.items()}
    broken = dataclasses.replace(SMALL, **arrays)
    codec = TermWeights(weights=Floats(), ids=FixedWidth())
    with pytest.raises(VectorsError, match=words):
        as_sparse(broken, "docs")
    with pytest.raises(VectorsError, match=words):
        codec.fit(broken)


def test_the_wrong_kind_is_told_what_to_choose() -> None:
    for terms in (SMALL, SMALL.to_csr()):
        with pytest.raises(MethodError, match="Cast takes one vector a document, but these are terms with wei"):
            Cast().fit(terms)
    codec = TermWeights(weights=Floats(), ids=FixedWidth()).fit(SMALL)
    with pytest.raises(MethodError, match="TermWeights takes terms with weights, but these are one vector a document"):
        codec.search(np.ones((1, 5), np.float32), codec.encode(SMALL), 1)
    with pytest.raises(MethodError, match="vocabulary of 6 terms, but the method was fitted on 5"):
        codec.encode(by_hand([{1: 1.0}], 6))
    with pytest.raises(MethodError, match="Truncate gives one vector a document, but TermWeights takes terms with we"):
        Chain(transforms=[Truncate(dim=2)], codec=codec)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 80), k=st.integers(1, 90), width=st.integers(1, 40))
def test_search_is_a_full_sort_of_exact_scores(seed: int, n: int, k: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    # few different weights, so that there are ties
    docs = as_sparse(sp.csr_array(rng.integers(0, 3, (n, width)) * (rng.random((n, width)) < 0.3)), "docs")
    queries = as_sparse(sp.csr_array(rng.integers(0, 3, (4, width)) * (rng.random((4, width)) < 0.5)), "queries")
    full = (queries.to_csr() @ docs.to_csr().T).toarray()
    expected = np.argsort(-full, axis=1, kind="stable")[:, :k]
    scores, rows = exact_search(queries, docs, k)
    assert np.array_equal(rows, expected) and scores.dtype == np.float32
    assert np.array_equal(scores, np.take_along_axis(full, expected, axis=1))
    owners = np.repeat(np.arange(4), rows.shape[1])
    assert np.array_equal(pair_scores(queries, docs, owners, rows.ravel()), scores.ravel())


def test_scores_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    docs, queries = sparse_collection(500), sparse_collection(9, seed=1)
    scores, rows = exact_search(queries, docs, 30)
    monkeypatch.setattr("methods.representations.DOC_BLOCK", 61)
    in_blocks = exact_search(queries, docs, 30)
    assert np.array_equal(rows, in_blocks[1]) and np.array_equal(scores, in_blocks[0])


def test_ragged_codes_are_sliced_joined_and_sized() -> None:
    lengths = np.array([3, 0, 300, 2])
    strings = Ragged.of(np.arange(305, dtype=np.uint8), lengths)
    codes = Codes(n=4, rows={}, ragged={"documents": strings})
    assert strings.lengths.dtype == np.uint16 and codes.nbytes == 305 + 8
    short = codes[:2].ragged["documents"]
    assert short.lengths.dtype == np.uint8 and np.shares_memory(short.values, strings.values)
    joined = Codes.concatenate([codes[:1], codes[1:3], codes[3:]])
    for key, array in codes.to_arrays().items():
        assert array.dtype == joined.to_arrays()[key].dtype and np.array_equal(array, joined.to_arrays()[key])
    assert sum(array.nbytes for array in codes.to_arrays().values()) == codes.nbytes
    read = Codes.from_arrays(4, codes.to_arrays())
    assert np.array_equal(read.ragged["documents"].starts, [0, 3, 3, 303, 305])
    with pytest.raises(MethodError, match="305 bytes in all, but there are 304"):
        Ragged.of(np.zeros(304, np.uint8), lengths)
