import numpy as np
import pytest

from methods.base import Codec, MethodError
from methods.tables.multi_hash import MultiHash
from methods.tables.table import (
    Deduplicate,
    QuotientRemainder,
    Robe,
    TensorTrain,
    dimension_digits,
    hash_of,
    row_digits,
)
from tests.conftest import clustered_vectors

ALL = [TensorTrain, QuotientRemainder, Robe, MultiHash]


def error(codec: Codec, docs: np.ndarray) -> float:
    codec.fit(docs)
    return float(((codec.decode(codec.encode(docs)) - docs) ** 2).sum() / (docs**2).sum())


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("nbytes", [16, 48, 100])
def test_the_budget_is_kept_and_used(method: type, nbytes: int) -> None:
    docs = clustered_vectors(600, 48)
    codes = method(nbytes=nbytes).fit(docs).encode(docs)
    assert 0.6 * nbytes < codes.nbytes / 600 <= nbytes


@pytest.mark.parametrize("method", ALL)
def test_more_bytes_are_less_error(method: type) -> None:
    docs = clustered_vectors(600, 48)
    errors = [error(method(nbytes=nbytes), docs) for nbytes in (12, 24, 48)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("method", ALL)
def test_nothing_is_learned_before_the_table_is_there(method: type) -> None:
    docs = clustered_vectors(100, 24)
    codec = method(nbytes=24).fit(docs)
    assert set(codec.state()) == {"dim_"}
    # the codes are of the documents that were encoded, whatever was fitted
    other = clustered_vectors(80, 24, seed=1)
    assert error(codec, other) == pytest.approx(error(method(nbytes=24), other))


def test_a_tensor_train_of_full_rank_is_exact() -> None:
    docs = clustered_vectors(60, 24)
    assert error(TensorTrain(nbytes=10_000), docs) < 1e-5


def test_a_table_of_rank_one_is_one() -> None:
    # x[i, j] = f(i1) g(i2) h(i3) p(j1) q(j2) r(j3) has a train of rank one
    rng = np.random.default_rng(0)
    n, d = row_digits(27), dimension_digits(12)
    factors = [rng.uniform(0.5, 1.5, size=size) for size in (*n, *d)]
    table = np.einsum("a,b,c,d,e,f->abcdef", *factors).reshape(-1, 12).astype(np.float32)
    codec = TensorTrain(nbytes=1).fit(table)
    assert codec.encode(table).shared["first"].shape[1] == 1
    assert error(codec, table) < 1e-5


@pytest.mark.parametrize("n", [1, 2, 7, 27, 28, 1000, 5183])
def test_digits_hold_every_row(n: int) -> None:
    assert n <= np.prod(row_digits(n)) <= 2 * n + 6


def test_digits_of_a_dimension() -> None:
    assert dimension_digits(384) == (6, 8, 8) and dimension_digits(7) == (1, 1, 7)


def test_a_product_table_is_found_again() -> None:
    rng = np.random.default_rng(0)
    quotient, remainder = rng.uniform(0.5, 1.5, size=(11, 8)), rng.uniform(0.5, 1.5, size=(5, 8))
    rows = np.arange(54)
    docs = (quotient[rows // 5] * remainder[rows % 5]).astype(np.float32)
    # 16 rows of 8 float16 numbers over 54 documents, the divisor being 5; the last row lacks a document
    codec = QuotientRemainder(nbytes=5, iterations=30).fit(docs)
    codes = codec.encode(docs)
    assert codes.shared["quotient"].shape == (11, 8) and codes.shared["remainder"].shape == (5, 8)
    assert error(codec, docs) < 1e-5


def test_a_multi_hash_table_is_the_least_squares_fit() -> None:
    docs = clustered_vectors(60, 8)
    codec = MultiHash(nbytes=8, hashes=3, iterations=200).fit(docs)
    codes = codec.encode(docs)
    size = len(codes.shared["table"])
    assert size == 60 * 8 // 16
    adding = np.zeros((60, size))
    np.add.at(adding, (np.arange(60)[:, None], codec._places(0, 60, size)), 1.0)
    best = adding @ np.linalg.lstsq(adding, docs, rcond=None)[0]
    np.testing.assert_allclose(codec.decode(codes), best, atol=0.02)


def test_robe_stores_the_mean_of_what_meets() -> None:
    docs = clustered_vectors(50, 16)
    codec = Robe(nbytes=8).fit(docs)
    codes = codec.encode(docs)
    places = codec._places(0, 50, len(codes.shared["array"]))
    for place in range(0, len(codes.shared["array"]), 37):
        expected = docs[places == place].mean() if (places == place).any() else 0
        assert float(codes.shared["array"][place]) == pytest.approx(expected, abs=1e-3)
    assert np.array_equal(codec.decode(codes), codes.shared["array"].astype(np.float32)[places])


def test_robe_blocks_are_read_in_one_piece() -> None:
    codec = Robe(nbytes=8, block=4).fit(clustered_vectors(50, 16))
    places = codec._places(0, 50, 200)
    assert ((np.diff(places.reshape(50, 4, 4), axis=2) % 200) == 1).all()


def test_the_hash_is_even_and_depends_on_everything() -> None:
    rows, columns = np.arange(300, dtype=np.uint64)[:, None], np.arange(100, dtype=np.uint64)[None, :]
    hashed = hash_of(rows, columns, 0)
    assert len(np.unique(hashed)) == hashed.size
    counts = np.bincount((hashed % np.uint64(64)).astype(int).ravel(), minlength=64)
    # chi-square with 63 degrees of freedom
    assert ((counts - hashed.size / 64) ** 2 / (hashed.size / 64)).sum() < 110
    assert not np.array_equal(hashed, hash_of(rows, columns, 1))


def test_equal_blocks_are_stored_once() -> None:
    # four documents of two blocks, and only two blocks that differ
    a, b = np.array([1.0, 2.0]), np.array([-3.0, 0.5])
    docs = np.array([[*a, *b], [*b, *a], [*a, *a], [*b, *b]], dtype=np.float32)
    codec = Deduplicate(block=2, bits=8).fit(docs)
    codes = codec.encode(docs)
    assert codes.shared["blocks"].shape == (2, 2) and codes.rows["pointers"].shape == (4, 1)
    assert np.array_equal(codec.decode(codes), docs)


def test_a_shared_block_is_the_mean() -> None:
    docs = np.array([[1.0, 1.0], [3.0, 3.0]], dtype=np.float32)
    codec = Deduplicate(block=2, bits=4).fit(docs)
    assert np.array_equal(codec.decode(codec.encode(docs)), np.full((2, 2), 2.0))


def test_more_hyperplanes_are_less_error_and_a_block_may_be_cut_short() -> None:
    docs = clustered_vectors(400, 30)
    errors = [error(Deduplicate(block=4, bits=bits), docs) for bits in (2, 5, 9)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("method", ALL)
def test_queries_have_no_row(method: type) -> None:
    with pytest.raises(MethodError, match="scoring=symmetric"):
        method(scoring="symmetric")


def test_what_float16_cannot_hold_is_named() -> None:
    docs = clustered_vectors(20, 8) * 1e6
    with pytest.raises(MethodError, match="float16"):
        Robe(nbytes=16).fit(docs).encode(docs)
