import tracemalloc
from pathlib import Path

import faiss
import numpy as np
import pytest

from methods.base import Codec, MethodError, unit_rows
from methods.composed.chain import Chain
from methods.scalar.lloyd import LloydMax
from methods.transform_coding.transform_code import TransformCode
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors
from vecbudget.faiss_pq import arrange, index_pq


def gaussian(n: int, variances: np.ndarray, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, len(variances))) * np.sqrt(variances)).astype(np.float32)


def error(codec: Codec, docs: np.ndarray) -> float:
    return float(((docs - codec.decode(codec.encode(docs))) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize(("bits", "decibels"), [(1, 1.62), (2, 2.72), (3, 3.44), (4, 3.84)])
def test_textbook_gap_of_scalars(bits: int, decibels: float) -> None:
    """White Gaussian: Max's (1960) errors .3634, .1175, .03454, .009497 against 4**-bits."""
    docs = gaussian(40_000, np.ones(8))
    # eight dimensions of three bits do not fill three bytes without a straddle: LloydMax packs them
    codec = LloydMax(bits=3) if bits == 3 else TransformCode(nbytes=bits, cap=bits)
    assert 10 * np.log10(error(codec.fit(docs), docs) / 8 * 4**bits) == pytest.approx(decibels, abs=0.06)


@pytest.mark.parametrize("nbytes", [8, 9, 13, 48, 96, 384])
@pytest.mark.parametrize("codebook", ["product", "joint"])
def test_takes_exactly_the_asked_bytes(nbytes: int, codebook: str) -> None:
    docs = clustered_vectors(400, 384)
    codec = TransformCode(nbytes=nbytes, codebook=codebook, iterations=3).fit(docs)
    codes = codec.encode(docs)
    assert codes.array.shape == (400, nbytes)
    assert int(codec.bits_.sum()) == 8 * nbytes


def test_bits_go_where_the_variance_is() -> None:
    docs = gaussian(5000, np.array([64.0, 16.0, 4.0, 1.0, 0.25, 1e-3]))
    bits = TransformCode(nbytes=2).fit(docs).bits_.astype(int)
    assert (np.diff(bits) <= 0).all()
    assert bits[0] - bits[2] == 2
    assert bits[5] == 0


def test_joint_codebooks_start_from_the_product_and_improve_on_it() -> None:
    docs = unit_rows(clustered_vectors(3000, 64))
    product = TransformCode(nbytes=8).fit(docs)
    joint = TransformCode(nbytes=8, codebook="joint", tail=0).fit(docs)
    assert error(joint, docs) < 0.95 * error(product, docs)
    stiff = TransformCode(nbytes=8, codebook="joint", tail=0, shrinkage=1e12).fit(docs)
    np.testing.assert_allclose(np.concatenate(stiff._tables, 1), np.concatenate(product._tables, 1), atol=1e-6)


def test_the_tail_joins_the_bytes() -> None:
    docs = unit_rows(clustered_vectors(3000, 64))
    without, tail = (TransformCode(nbytes=6, codebook="joint", tail=tail).fit(docs) for tail in (0, 5))
    assert error(tail, docs) < error(without, docs)
    assert tail.bits_.tolist() == without.bits_.tolist()
    assert len(tail.order_) == len(without.order_) + 5
    idle = np.flatnonzero(tail.bits_ == 0)
    assert set(tail.order_) & set(idle.tolist()) == set(idle[np.argsort(-docs[:, idle].var(axis=0))][:5])
    assert [int(tail.bits_[dims].sum()) for dims in tail.byte_tables()[0]] == [8] * 6


def test_a_dimension_without_bits_is_its_mean() -> None:
    docs = gaussian(500, np.array([9.0] * 4 + [1e-6] * 4)) + np.float32(0.5)
    with_mean, without = (TransformCode(nbytes=2, mean=mean).fit(docs) for mean in (True, False))
    assert not with_mean.bits_[4:].any()
    np.testing.assert_allclose(with_mean.decode(with_mean.encode(docs))[:, 4:], 0.5, atol=1e-3)
    assert not without.decode(without.encode(docs))[:, 4:].any()


def test_errors_are_for_people() -> None:
    with pytest.raises(MethodError, match="nbytes must be at least 1, got 0"):
        TransformCode(nbytes=0)
    with pytest.raises(MethodError, match="cap must be 1 to 8 bits, got 9"):
        TransformCode(nbytes=4, cap=9)
    with pytest.raises(MethodError, match="nbytes=33 is more than 16 dimensions of 8 bits can hold"):
        TransformCode(nbytes=33).fit(clustered_vectors(50, 16))


def test_constant_and_few_documents() -> None:
    docs = np.tile(clustered_vectors(1, 32), (3, 1))
    codec = TransformCode(nbytes=8, codebook="joint").fit(docs)
    np.testing.assert_allclose(codec.decode(codec.encode(docs)), docs, atol=1e-6)


@pytest.mark.parametrize("m", [3, 70])
@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("codebook", ["product", "joint"])
def test_codes_as_they_lie_rank_as_decoded_documents_do(renormalize: bool, codebook: str, m: int) -> None:
    docs, queries = clustered_vectors(20_000, 48), clustered_vectors(m, 48, seed=1)
    codec = TransformCode(nbytes=10, codebook=codebook, renormalize=renormalize, iterations=2, sample=4000).fit(docs)
    codes = codec.encode(docs)
    scores, rows = codec.search(queries, codes, 50)
    exact = (queries.astype(np.float64) @ codec.decode(codes).astype(np.float64).T).astype(np.float32)
    order = np.lexsort((np.broadcast_to(np.arange(20_000), exact.shape), -exact), axis=1)[:, :50]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_array_equal(scores, np.take_along_axis(exact, order, axis=1))


@pytest.mark.parametrize("codebook", ["product", "joint"])
def test_is_a_product_code_to_faiss(codebook: str) -> None:
    docs, queries = clustered_vectors(2000, 48), clustered_vectors(20, 48, seed=1)
    codec = TransformCode(nbytes=12, codebook=codebook, iterations=3).fit(docs)
    codes = codec.encode(docs)
    index, columns = index_pq(codec, codes)
    assert isinstance(index, faiss.IndexPQ)
    assert (index.ntotal, index.code_size) == (2000, 12)
    np.testing.assert_array_equal(index.sa_encode(arrange(docs, columns)), codes.array)
    scores, rows = index.search(arrange(queries, columns), 10)
    codec.renormalize = False
    ours, our_rows = codec.search(queries, codes, 10)
    np.testing.assert_allclose(scores + (queries[:, codec._idle] @ codec.rest_)[:, None], ours, atol=1e-5)
    assert (rows == our_rows).mean() > 0.98


def test_few_queries_know_when_documents_are_no_longer_scaled() -> None:
    """Codes are the same, and what they stand for is not."""
    docs, queries = clustered_vectors(3000, 32), clustered_vectors(3, 32, seed=1)
    codec = TransformCode(nbytes=4, renormalize=True, iterations=2).fit(docs)
    codes = codec.encode(docs)
    for renormalize in (True, False, True):
        codec.renormalize = renormalize
        exact = (queries.astype(np.float64) @ codec.decode(codes).astype(np.float64).T).astype(np.float32)
        order = np.lexsort((np.broadcast_to(np.arange(3000), exact.shape), -exact), axis=1)[:, :20]
        np.testing.assert_array_equal(codec.search(queries, codes, 20)[1], order)


def test_few_queries_decide_between_many_equal_documents() -> None:
    docs = np.repeat(clustered_vectors(40, 32), 700, axis=0)
    codec = TransformCode(nbytes=6, renormalize=True, iterations=2).fit(docs)
    codes = codec.encode(docs)
    queries = clustered_vectors(5, 32, seed=3)
    _, rows = codec.search(queries, codes, 30)
    exact = (queries.astype(np.float64) @ codec.decode(codes).astype(np.float64).T).astype(np.float32)
    order = np.lexsort((np.broadcast_to(np.arange(len(docs)), exact.shape), -exact), axis=1)[:, :30]
    np.testing.assert_array_equal(rows, order)


@pytest.mark.parametrize("codebook", ["product", "joint"])
def test_many_bits_become_one_stream(codebook: str) -> None:
    """More than half of the dimensions want more than half a byte: no two of them share one."""
    docs = gaussian(2000, np.geomspace(1.0, 0.25, 32))
    codec = TransformCode(nbytes=22, codebook=codebook, iterations=3).fit(docs)
    assert not codec.whole_bytes_
    rate_distortion = 32 * np.geomspace(1.0, 0.25, 32).prod() ** (1 / 32) * 4.0 ** (-22 * 8 / 32)
    assert 10 * np.log10(error(codec, docs) / rate_distortion) < 4.6
    queries = docs[:5]
    np.testing.assert_array_equal(codec.search(queries, codec.encode(docs), 1)[1][:, 0], np.arange(5))
    with pytest.raises(MethodError, match="nbytes=22 is one stream of bits here"):
        index_pq(codec)


def test_a_corpus_in_a_file_is_not_read_into_memory(tmp_path: Path) -> None:
    n, d = 200_000, 32
    path = tmp_path / "docs.npy"
    np.save(path, gaussian(n, 1 / np.arange(1.0, d + 1)))
    docs = np.load(path, mmap_mode="r")
    codec = Chain(transforms=[SVD()], codec=TransformCode(nbytes=8, sample=2000))
    tracemalloc.start()
    codec.fit(docs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # one block of float64 at a time, and the sample
    assert peak < docs.nbytes / 2
    whole = Chain(transforms=[SVD()], codec=TransformCode(nbytes=8, sample=2000)).fit(np.asarray(docs))
    assert all(np.array_equal(whole.state()[name], array) for name, array in codec.state().items())


def test_many_queries_find_what_few_find() -> None:
    """Many meet decoded documents, few meet tables; equal documents tie either way."""
    docs, queries = np.tile(clustered_vectors(400, 32), (2, 1)), clustered_vectors(80, 32, seed=1)
    codec = TransformCode(nbytes=6, codebook="joint", renormalize=True).fit(docs)
    codes = codec.encode(docs)
    scores, rows = codec.search(queries, codes, 30)
    for start in range(0, 80, 20):
        few_scores, few_rows = codec.search(queries[start : start + 20], codes, 30)
        np.testing.assert_array_equal(few_rows, rows[start : start + 20])
        np.testing.assert_array_equal(few_scores, scores[start : start + 20])
