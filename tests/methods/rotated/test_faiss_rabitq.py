from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from methods.base import Codes, MethodError
from methods.rotated.faiss_rabitq import FaissRaBitQ
from tests.conftest import clustered_vectors

faiss: Any = pytest.importorskip("faiss")


def scores_of(index: Any, queries: np.ndarray) -> np.ndarray:
    scores, rows = index.search(queries, index.ntotal)
    out = np.empty_like(scores)
    np.put_along_axis(out, rows, scores, axis=1)
    return out


def faiss_index(bits: int, query_bits: int, docs: np.ndarray) -> Any:
    index = faiss.index_factory(docs.shape[1], f"RaBitQ{bits}", faiss.METRIC_INNER_PRODUCT)
    index.train(docs)
    index.add(docs)
    index.qb = query_bits
    return index


def test_two_numbers_by_hand() -> None:
    # around 0, x = (3, -4) keeps its signs and the factor |x|^2 / |x|_1 = 25 / 7
    docs = np.array([[3, -4], [-3, 4]], dtype=np.float32)
    codec = FaissRaBitQ().fit(docs)
    codes = codec.encode(docs)
    assert codes.array.shape == (2, 1 + 8) and codes.array[:, 0].tolist() == [0b01, 0b10]
    assert np.allclose(codec.decode(codes), [[25 / 7, -25 / 7, 0], [-25 / 7, 25 / 7, 0]])
    # unbiased along the document itself: <x, x^> = |x|^2
    assert codec.score(docs[:1], codes)[0, 0] == pytest.approx(25)


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8, 9])
@pytest.mark.parametrize("d", [20, 64])
def test_the_dot_product_is_faiss_estimator(bits: int, d: int) -> None:
    docs, queries = clustered_vectors(60, d) + 0.05, clustered_vectors(10, d, seed=1)
    index = faiss_index(bits, 0, docs)
    codec = FaissRaBitQ(bits=bits).fit(docs)
    codes = codec.encode(docs)
    assert np.array_equal(codes.array, index.sa_encode(docs))
    # asked for all documents, FAISS rules out none by its error bound
    assert np.allclose(codec.score(queries, codes), scores_of(index, queries), atol=2e-6)


@pytest.mark.parametrize("query_bits", [1, 4, 8])
def test_rounded_queries_differ_by_a_constant_for_each_query(query_bits: int) -> None:
    docs, queries = clustered_vectors(60, 64) + 0.05, clustered_vectors(10, 64, seed=1)
    theirs = scores_of(faiss_index(1, query_bits, docs), queries)
    codec = FaissRaBitQ(query_bits=query_bits).fit(docs)
    difference = codec.score(queries, codec.encode(docs)) - theirs
    assert np.ptp(difference, axis=1).max() < 2e-6
    assert np.allclose(difference, -((queries - codec._rounded(queries)) @ codec.centre_)[:, None], atol=2e-6)


def test_more_bits_come_closer() -> None:
    docs = clustered_vectors(300, 64)
    errors = []
    for bits in (1, 2, 3, 4, 6):
        codec = FaissRaBitQ(bits=bits).fit(docs)
        errors.append(((codec.decode(codec.encode(docs))[:, :64] - docs) ** 2).sum())
    assert all(b < a / 2 for a, b in pairwise(errors))


def test_renormalised_documents_have_unit_length_and_no_extra_number() -> None:
    docs = clustered_vectors(50, 24)
    codec = FaissRaBitQ(renormalize=True).fit(docs)
    decoded = codec.decode(codec.encode(docs))
    assert np.allclose(np.linalg.norm(decoded, axis=1), 1) and not decoded[:, -1].any()


def test_query_bits_are_for_one_bit_only() -> None:
    with pytest.raises(MethodError, match="query_bits=4"):
        FaissRaBitQ(bits=2, query_bits=4)


@pytest.mark.parametrize(
    "centre", [np.zeros(15, np.float32), np.zeros(16), np.full(16, np.nan, np.float32), np.zeros((16, 1), np.float32)]
)
def test_a_state_of_another_kind_is_refused(centre: np.ndarray) -> None:
    with pytest.raises(MethodError, match="'centre_' must be 16 finite float32 numbers"):
        FaissRaBitQ().load_state({"dim_": np.array(16), "centre_": centre})
    with pytest.raises(MethodError, match="there is none"):
        FaissRaBitQ().load_state({"dim_": np.array(16)})


def test_codes_of_another_width_are_refused() -> None:
    codec = FaissRaBitQ().fit(clustered_vectors(100, 16))
    with pytest.raises(MethodError, match=r"codes are uint8 \(n, 10\)"):
        codec.decode(Codes.packed(np.zeros((3, 9), np.uint8)))
