import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.datasets import Dataset
from harness.evaluation.exact_search import own_rows, search, without_own
from methods.binary.sign import Sign
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
