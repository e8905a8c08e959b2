import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.datasets import Dataset
from harness.evaluation.exact_search import in_parts, own_rows, search, without_own
from methods.binary.sign import Sign
from methods.composed.rescore import ErrorBound, Rescore, ShortList
from methods.rotated.error_bound import BoundedRaBitQ
from methods.scalar.cast import Cast
from methods.scalar.uniform import PerDimension
from tests.conftest import clustered_vectors


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), st.integers(1, 250), st.integers(1, 200), st.booleans())
def test_chunks_give_the_same_ranking(n: int, chunk: int, k: int, hamming: bool) -> None:
    docs, queries = clustered_vectors(n, 24), clustered_vectors(7, 24, seed=1)
    codec = Sign(scoring="symmetric") if hamming else PerDimension(bits=2)
    codes = codec.fit(docs).encode(docs)
    scores, rows = search(codec, queries, codes, k)
    chunked_scores, chunked_rows = search(codec, queries, codes, k, chunk_rows=chunk)
    assert rows.shape == (7, min(k, n))
    assert np.array_equal(rows, chunked_rows) and np.array_equal(scores, chunked_scores)


TWO_TIERS = {
    "a multiple": lambda: Rescore(first=Sign(), second=Cast(dtype="float32"), policy=ShortList(factor=1.5)),
    "fewer than are wanted": lambda: Rescore(first=Sign(), second=PerDimension(bits=8), policy=ShortList(rows=3)),
    "one code": lambda: Rescore(first=Sign(scoring="symmetric"), second=Sign(), shared=True),
    "a bound": lambda: Rescore(
        first=BoundedRaBitQ(bits=1, levels="uniform", start="absmax", epsilon=1.9),
        second=PerDimension(bits=8),
        policy=ErrorBound(limit=5, most=4),
    ),
}


@pytest.mark.parametrize("name", TWO_TIERS)
@settings(max_examples=10, deadline=None)
@given(st.integers(2, 200), st.integers(1, 250), st.integers(1, 60))
def test_two_tiers_scanned_in_chunks_and_read_again_once_give_the_same(name: str, n: int, chunk: int, k: int) -> None:
    docs, queries = clustered_vectors(n, 16), clustered_vectors(7, 16, seed=1)
    docs[n // 2] = docs[0]
    codec = TWO_TIERS[name]().fit(docs)
    codes = codec.encode(docs)
    assert in_parts(codec)
    for mine, whole in zip(search(codec, queries, codes, k, chunk), codec.search(queries, codes, k), strict=True):
        assert np.array_equal(mine, whole)


def test_a_querys_own_document_is_no_result() -> None:
    qrels = {"a": {"b": 1}, "x": {"a": 1}}
    dataset = Dataset.build(
        name="made", doc_ids=["a", "b", "c"], query_ids=["a", "x"], qrels=qrels, skip_identical_ids=True
    )
    own = own_rows(dataset)
    assert own is not None and own.tolist() == [2, -1]
    scores = np.array([[3, 2, 1], [3, 2, 1]], dtype=np.float32)
    kept_scores, kept = without_own(scores, np.array([[2, 0, 1], [2, 0, 1]]), own, k=2)
    assert kept.tolist() == [[0, 1], [2, 0]] and kept_scores.tolist() == [[2, 1], [3, 2]]
    _, short = without_own(scores, np.array([[2, 0, 1], [2, 0, 1]]), own, k=3)
    assert short.tolist() == [[0, 1, -1], [2, 0, 1]]


def test_own_documents_count_elsewhere() -> None:
    dataset = Dataset.build(name="made", doc_ids=["a"], query_ids=["a"], qrels={"a": {"a": 1}})
    assert own_rows(dataset) is None
