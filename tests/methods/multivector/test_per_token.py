"""Any code for one vector on each token."""

import numpy as np
import pytest

import methods
from methods.base import MethodError
from methods.max_sim import exact_search
from methods.multivector.per_token import PerToken
from methods.token_vectors import TokenVectors
from tests.methods.multivector.collections import token_collection

DOCS, QUERIES = token_collection(200, 16), token_collection(5, 16, 4, seed=1)


def test_codes_are_the_codecs_own_token_by_token() -> None:
    inner = methods.PerDimension(bits=4)
    codec = PerToken(codec=methods.PerDimension(bits=4)).fit(DOCS)
    codes = codec.encode(DOCS)
    flat = inner.fit(DOCS.values).encode(DOCS.values)
    assert np.array_equal(codes.ragged["tokens"].values, flat.array)
    assert np.array_equal(codec.decode(codes).values, inner.decode(flat)), "and what they stand for"
    assert codes.nbytes == flat.nbytes + len(DOCS), "lengths are a byte a document"


def test_several_arrays_of_a_codec_lie_side_by_side() -> None:
    inner = methods.LVQ(bits=8)
    codec = PerToken(codec=inner).fit(DOCS)
    codes = codec.encode(DOCS)
    arrays = inner.encode(DOCS.values[:1]).rows
    assert len(arrays) > 1 and codes.ragged["tokens"].values.shape[1] == sum(array.nbytes for array in arrays.values())
    assert np.allclose(codec.decode(codes).values, DOCS.values, atol=0.01)


def test_queries_are_asked_in_the_codecs_space() -> None:
    inner = methods.Chain(transforms=[methods.SVD(dim=8)], codec=methods.Cast(dtype="float32"))
    codec = PerToken(codec=inner).fit(DOCS)
    basis = methods.SVD(dim=8).fit(DOCS.values)
    expected = exact_search(
        TokenVectors(basis.transform_queries(QUERIES.values), QUERIES.offsets),
        TokenVectors(basis.transform_docs(DOCS.values), DOCS.offsets),
        10,
    )
    found = codec.search(QUERIES, codec.encode(DOCS), 10)
    assert np.array_equal(found[1], expected[1]) and np.allclose(found[0], expected[0], atol=1e-5)


def test_symmetric_scoring_rounds_queries_too() -> None:
    plain = PerToken(codec=methods.PerDimension(bits=2)).fit(DOCS)
    both = PerToken(codec=methods.PerDimension(bits=2, scoring="symmetric")).fit(DOCS)
    codes = plain.encode(DOCS)
    rounded = plain.decode(plain.encode(QUERIES))
    assert np.array_equal(both.score(QUERIES, codes), plain.score(rounded, codes))
    assert not np.array_equal(both.score(QUERIES, codes), plain.score(QUERIES, codes))


def test_the_codec_scales_tokens_where_it_is_asked_to_and_not_the_part_around_it() -> None:
    codec = PerToken(codec=methods.PerDimension(bits=1, renormalize="auto")).fit(DOCS)
    assert np.allclose(np.linalg.norm(codec.decode(codec.encode(DOCS)).values, axis=1), 1, atol=1e-6)
    long = TokenVectors(2 * DOCS.values, DOCS.offsets)
    codec = PerToken(codec=methods.PerDimension(bits=1, renormalize="auto")).fit(long)
    assert not np.allclose(np.linalg.norm(codec.decode(codec.encode(long)).values, axis=1), 1, atol=1e-2)
    for setting in ({"renormalize": True}, {"scoring": "symmetric"}):
        with pytest.raises(MethodError, match="on its codec"):
            PerToken(codec=methods.PerDimension(bits=1), **setting)


def test_a_few_tokens_are_enough_to_fit() -> None:
    few = PerToken(codec=methods.PerDimension(bits=8), fit_tokens=100).fit(DOCS)
    whole = PerToken(codec=methods.PerDimension(bits=8), fit_tokens=None).fit(DOCS)
    assert few.state().keys() == whole.state().keys()
    assert any(not np.array_equal(few.state()[name], whole.state()[name]) for name in few.state())


def test_codecs_that_cannot_be_asked_token_by_token_are_refused() -> None:
    with pytest.raises(MethodError, match="on its own"):
        PerToken(codec=methods.Rescore(first=methods.Sign(), second=methods.Cast(dtype="float16")))
    mean = methods.EntropyCoded(nbytes=4, budget="mean", states=1, centres=4)
    with pytest.raises(MethodError, match="on its own"):
        PerToken(codec=mean)


def test_one_vector_a_document_is_refused_in_words() -> None:
    codec = PerToken(codec=methods.Cast(dtype="float16"))
    with pytest.raises(MethodError, match="takes a vector for each token, but these are one vector a document"):
        codec.fit(np.ones((3, 4), np.float32))
    with pytest.raises(MethodError, match="these are a vector for each token: choose a method for token vectors"):
        methods.Cast(dtype="float16").fit(DOCS)
    with pytest.raises(MethodError, match="TokenPooling gives a vector for each token, but Cast takes one vector"):
        methods.Chain(transforms=[methods.TokenPooling(factor=2.0)], codec=methods.Cast(dtype="float16"))


def test_rescoring_reads_tokens_of_a_short_list_only() -> None:
    first = methods.PerToken(codec=methods.Sign(centre="mean", scale="mean"))
    second = methods.PerToken(codec=methods.Cast(dtype="float32"))
    codec = methods.Rescore(first=first, second=second, policy=methods.ShortList(rows=20))
    codes = codec.fit(DOCS).encode(DOCS)
    truth = exact_search(QUERIES, DOCS, len(DOCS))
    exact = np.empty(truth[0].shape, np.float32)
    np.put_along_axis(exact, truth[1], truth[0], axis=1)
    scores, rows = codec.search(QUERIES, codes, 10)
    assert np.array_equal(scores, np.take_along_axis(exact, rows, axis=1)), "what was read again has exact scores"
    listed = np.sort(first.search(QUERIES, codec._first(codes), 20)[1], axis=1)
    expected = np.sort(np.take_along_axis(exact, listed, axis=1), axis=1)[:, :-11:-1]
    assert np.array_equal(scores, expected), "and the best of the short list are found"
    names = set(codes.to_arrays())
    assert names == {f"{kind}.{tier}.tokens" for kind in ("ragged", "lengths") for tier in ("first", "second")}
    assert codec.on_disk(names) == {"ragged.second.tokens"}, "where a document's bytes lie must be known"
