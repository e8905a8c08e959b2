import numpy as np
import pytest

from methods.base import MethodError
from methods.binary import Sign
from methods.cast import Cast
from methods.chain import Chain
from methods.faiss_codec import FaissCodec
from methods.linear import SVD
from methods.rescore import Rescore
from methods.scalar import PerDimension
from methods.table import TensorTrain
from tests.conftest import clustered_vectors


def two_tiers(factor: float = 2.0) -> Rescore:
    return Rescore(first=Sign(), second=Cast(dtype="float32"), factor=factor)


def test_by_hand() -> None:
    # for the query (1, 1) signs put documents 0, 1 and 2 level, document 3 behind; two are read, the lower rows first
    docs = np.array([[0.1, 0.1], [0.2, 0.2], [0.9, 0.9], [0.9, -0.1]], dtype=np.float32)
    codec = two_tiers().fit(docs)
    scores, rows = codec.search(np.ones((1, 2)), codec.encode(docs), 1)
    assert rows.tolist() == [[1]] and scores[0, 0] == pytest.approx(0.4)
    # with three times the short list the best document is on it
    codec.factor = 3.0
    assert codec.search(np.ones((1, 2)), codec.encode(docs), 1)[1].tolist() == [[2]]


def test_short_list_is_the_first_tiers_and_order_is_the_seconds() -> None:
    docs, queries = clustered_vectors(500, 32), clustered_vectors(20, 32, seed=1)
    codec = Rescore(first=Sign(), second=PerDimension(bits=8), factor=4.0).fit(docs)
    codes = codec.encode(docs)
    scores, rows = codec.search(queries, codes, 10)
    listed = Sign().fit(docs).search(queries, codec.first.encode(docs), 40)[1]
    exact = codec.second.score(queries, codec.second.encode(docs))
    for query in range(20):
        order = np.lexsort((listed[query], -exact[query, listed[query]]))[:10]
        assert np.array_equal(rows[query], listed[query][order])
        assert np.allclose(scores[query], exact[query, rows[query]], atol=1e-6)


def test_a_list_of_everything_is_the_second_tier() -> None:
    docs, queries = clustered_vectors(300, 32), clustered_vectors(20, 32, seed=1)
    codec = Rescore(first=Sign(), second=PerDimension(bits=4), factor=30.0).fit(docs)
    scores, rows = codec.search(queries, codec.encode(docs), 10)
    alone = PerDimension(bits=4).fit(docs)
    their_scores, their_rows = alone.search(queries, alone.encode(docs), 10)
    assert np.array_equal(rows, their_rows) and np.array_equal(scores, their_scores)


def test_equal_documents_tie_across_blocks_of_queries() -> None:
    docs = np.repeat(clustered_vectors(100, 16), 2, axis=0)
    codec = two_tiers(10).fit(docs)
    scores, rows = codec.search(clustered_vectors(30, 16, seed=1), codec.encode(docs), 20)
    assert np.array_equal(scores[:, ::2], scores[:, 1::2])
    assert np.array_equal(rows[:, ::2] + 1, rows[:, 1::2])


def test_both_codes_are_stored_and_told_apart() -> None:
    docs = clustered_vectors(100, 32)
    codec = Rescore(first=Sign(), second=PerDimension(bits=8)).fit(docs)
    codes = codec.encode(docs)
    arrays = codes.to_arrays()
    assert codec.on_disk(arrays) == {"second.codes"}
    assert arrays["first.codes"].nbytes == 400 and arrays["second.codes"].nbytes == 3200 and codes.nbytes == 3600


def test_tiers_may_be_chains_and_may_hold_tiers() -> None:
    docs, queries = clustered_vectors(300, 32), clustered_vectors(5, 32, seed=1)

    def make() -> Rescore:
        inner = Rescore(first=FaissCodec(factory="PQ8x4np"), second=PerDimension(bits=4), factor=4.0)
        small = Chain(transforms=[SVD(dim=16)], codec=Sign())
        return Rescore(first=small, second=inner, factor=3.0)

    codec = make().fit(docs)
    codes = codec.encode(docs)
    fresh = make().load_state(codec.state())
    for mine, theirs in zip(codec.search(queries, codes, 7), fresh.search(queries, codes, 7), strict=True):
        assert np.array_equal(mine, theirs)
    assert codec.on_disk(codes.rows) == {"second.first.codes", "second.second.codes"}


def test_a_chain_may_end_in_two_tiers() -> None:
    docs, queries = clustered_vectors(300, 32), clustered_vectors(5, 32, seed=1)
    inside = Chain(transforms=[SVD(dim=16)], codec=two_tiers(3)).fit(docs)
    codes = inside.encode(docs)
    rotated = inside._transform_docs(docs)
    alone = two_tiers(3).fit(rotated)
    found = alone.search(inside._transform_queries(queries), alone.encode(rotated), 10)
    assert np.array_equal(inside.search(queries, codes, 10)[1], found[1])


def test_renormalised_scores_are_those_of_unit_documents() -> None:
    docs = clustered_vectors(50, 16) * 3
    codec = Rescore(first=Sign(), second=Cast(dtype="float16"), factor=50, renormalize=True).fit(docs)
    scores, _ = codec.search(docs[:5] / 3, codec.encode(docs), 1)
    assert np.allclose(scores, 1, atol=1e-3)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(MethodError, match="factor"):
        two_tiers(0.5)
    with pytest.raises(MethodError, match="row-wise"):
        Rescore(first=Sign(), second=TensorTrain())
