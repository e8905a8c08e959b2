import numpy as np
import pytest

from methods.base import MethodError
from methods.binary.sign import Sign
from methods.composed.chain import Chain
from methods.composed.rescore import ErrorBound, Rescore, ShortList
from methods.product.faiss_codec import FaissCodec
from methods.rotated.error_bound import BoundedRaBitQ
from methods.scalar.cast import Cast
from methods.scalar.lvq import LVQ
from methods.scalar.uniform import PerDimension
from methods.tables.table import TensorTrain
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors


def two_tiers(factor: float = 2.0) -> Rescore:
    return Rescore(first=Sign(), second=Cast(dtype="float32"), policy=ShortList(factor=factor))


def test_by_hand() -> None:
    # for the query (1, 1) signs put documents 0, 1 and 2 level, document 3 behind; two are read, the lower rows first
    docs = np.array([[0.1, 0.1], [0.2, 0.2], [0.9, 0.9], [0.9, -0.1]], dtype=np.float32)
    codec = two_tiers().fit(docs)
    scores, rows = codec.search(np.ones((1, 2)), codec.encode(docs), 1)
    assert rows.tolist() == [[1]] and scores[0, 0] == pytest.approx(0.4)
    # with three times the short list the best document is on it
    codec.policy.factor = 3.0
    assert codec.search(np.ones((1, 2)), codec.encode(docs), 1)[1].tolist() == [[2]]


def test_short_list_is_the_first_tiers_and_order_is_the_seconds() -> None:
    docs, queries = clustered_vectors(500, 32), clustered_vectors(20, 32, seed=1)
    codec = Rescore(first=Sign(), second=PerDimension(bits=8), policy=ShortList(factor=4.0)).fit(docs)
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
    codec = Rescore(first=Sign(), second=PerDimension(bits=4), policy=ShortList(factor=30.0)).fit(docs)
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
        inner = Rescore(first=FaissCodec(factory="PQ8x4np"), second=PerDimension(bits=4), policy=ShortList(factor=4.0))
        small = Chain(transforms=[SVD(dim=16)], codec=Sign())
        return Rescore(first=small, second=inner, policy=ShortList(factor=3.0))

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
    codec = Rescore(first=Sign(), second=Cast(dtype="float16"), policy=ShortList(factor=50), renormalize=True).fit(docs)
    scores, _ = codec.search(docs[:5] / 3, codec.encode(docs), 1)
    assert np.allclose(scores, 1, atol=1e-3)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(MethodError, match="factor"):
        two_tiers(0.5)
    with pytest.raises(MethodError, match="row-wise"):
        Rescore(first=Sign(), second=TensorTrain())


def test_a_list_shorter_than_the_ranking_is_followed_by_the_first_tiers_order() -> None:
    docs, queries = clustered_vectors(400, 32), clustered_vectors(10, 32, seed=1)
    codec = Rescore(first=PerDimension(bits=2), second=Cast(dtype="float32"), policy=ShortList(factor=2, limit=5)).fit(
        docs
    )
    codes = codec.encode(docs)
    scores, rows = codec.search(queries, codes, 40)
    _, listed = PerDimension(bits=2).fit(docs).search(queries, codec.first.encode(docs), 40)
    assert (np.sort(rows[:, :10], axis=1) == np.sort(listed[:, :10], axis=1)).all()
    assert np.array_equal(rows[:, 10:], listed[:, 10:])
    assert (np.diff(scores, axis=1) <= 0).all()
    assert (scores[:, 9] > scores[:, 10]).all(), "what was not read again lies below what was"


@pytest.mark.parametrize(
    ("policy", "length"),
    [
        (ShortList(factor=3), 30),
        (ShortList(factor=2.5, limit=5), 13),
        (ShortList(rows=50), 50),
        (ShortList(rows=5000), 1000),
        (ShortList(factor=3, at_least=100), 100),
        (ShortList(factor=30, at_most=200), 200),
        (ShortList(factor=1), 10),
        (ErrorBound(most=4, limit=20), 80),
    ],
)
def test_length_of_the_list(policy: ShortList | ErrorBound, length: int) -> None:
    assert policy.length(10, 1000) == length


def test_reading_stops_where_the_bound_says_by_hand() -> None:
    # two are asked for; after two reads the worst of the best is .5, after three .6, and the fourth bound is .55
    bounds = np.array([[0.9, 0.8, 0.7, 0.55, 0.5], [0.9, 0.8, 0.7, 0.65, 0.64]], dtype=np.float32)
    exact = np.array([[0.5, 0.7, 0.6, 0.1, 0.1], [0.5, 0.7, 0.6, 0.6, 0.1]], dtype=np.float32)
    assert ErrorBound(limit=2).cut(bounds, exact, 100).tolist() == [3, 5]


def test_the_bound_finds_the_best_and_reads_few() -> None:
    docs, queries = clustered_vectors(3000, 64), clustered_vectors(50, 64, seed=1)
    first = BoundedRaBitQ(bits=1, levels="uniform", start="absmax", epsilon=1.9)
    codec = Rescore(first=first, second=Cast(dtype="float32"), policy=ErrorBound(limit=10)).fit(docs)
    codes = codec.encode(docs)
    _, rows = codec.search(queries, codes, 10)
    exact = np.argsort(-(queries @ docs.T), axis=1, kind="stable")[:, :10]
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, exact, strict=True)])
    assert found > 0.97
    bounds, listed = codec.first.search(queries, codec._first(codes), 1000)
    read = codec.policy.cut(bounds, codec._score_listed(queries, codes, listed), 10)
    assert read.min() >= 10 and read.mean() < 500
    # 1.9 standard errors: the true score is above 97 % of the bounds at most
    true = np.take_along_axis(queries @ docs.T, listed, axis=1)
    assert (true > bounds).mean() < 0.05


def test_tiers_may_share_a_code() -> None:
    docs, queries = clustered_vectors(300, 32), clustered_vectors(20, 32, seed=1)

    def signs() -> Rescore:
        return Rescore(first=Sign(scoring="symmetric"), second=Sign(), policy=ShortList(factor=4), shared=True)

    codec = signs().fit(docs)
    codes = codec.encode(docs)
    assert codes.nbytes == 300 * 4 and codec.on_disk(codes.rows) == set()
    fresh = signs().load_state(codec.state())
    scores, rows = fresh.search(queries, codes, 10)
    hamming = codec.first.search(queries, codec._first(codes), 40)[1]
    for query in range(20):
        again = Sign().fit(docs).score(queries[query : query + 1], codec._first(codes))[0, hamming[query]]
        assert np.array_equal(rows[query], hamming[query][np.lexsort((hamming[query], -again))][:10])
        assert np.allclose(scores[query], -np.sort(-again)[:10], atol=1e-6)


def test_a_second_level_is_stored_beside_the_first() -> None:
    docs = clustered_vectors(300, 32)
    two = Rescore(first=LVQ(bits=4), second=LVQ(bits=4, residual_bits=8), shared=True).fit(docs)
    codes = two.encode(docs)
    assert set(codes.rows) == {"first.codes", "first.range", "second.residual"}
    assert codes.nbytes == 300 * (16 + 4 + 32)
    assert np.array_equal(two.decode(codes), LVQ(bits=4, residual_bits=8).fit(docs).decode(two._second(codes)))
    with pytest.raises(MethodError, match="differ"):
        other = Rescore(first=LVQ(bits=4), second=LVQ(bits=4, clip=True), shared=True).fit(docs)
        other.encode(docs)
