"""Runs of vectors: slices, order, joining, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.base import Codes, MethodError, Ragged, VectorsError
from methods.representations import kind_of
from methods.token_vectors import TokenVectors, as_token_vectors, document_runs, offsets_of

counts_of_documents = st.lists(st.integers(0, 7), min_size=1, max_size=12)


def numbered(counts: list[int]) -> TokenVectors:
    """Vectors that tell where they stood."""
    total = sum(counts)
    columns = {"token_ids": np.arange(0, 2 * total, 2)}
    return TokenVectors(np.arange(2 * total, dtype=np.float32).reshape(total, 2), offsets_of(counts), columns)


def lists(docs: TokenVectors) -> list[list[list[float]]]:
    return [matrix.tolist() for matrix in docs.matrices()]


@given(counts_of_documents, st.data())
def test_slices_rows_and_joins_are_those_of_a_list(counts: list[int], data: st.DataObject) -> None:
    docs = numbered(counts)
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(counts))] * 2)))
    rows = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=9))
    run = docs[start:stop]
    assert lists(run) == lists(docs)[start:stop] and run.tokens == sum(counts[start:stop]) == len(run.flat())
    assert lists(docs.take(np.array(rows, np.int64))) == [lists(docs)[row] for row in rows]
    assert lists(run.float32()) == lists(run) and run.float32().offsets[0] == 0
    if start < stop:
        assert lists(TokenVectors.concatenate([run, docs])) == lists(run) + lists(docs)
        places = np.arange(stop - start)[::-1]
        assert lists(run.take(places)) == lists(run)[::-1], "rows of a run are counted in the run"
    for part in (run, docs.take(np.array(rows, np.int64)), run.float32(), TokenVectors.concatenate([docs, docs])):
        assert np.array_equal(part.column("token_ids"), part.flat()[:, 0]), "columns go with their vectors"


@given(counts_of_documents, st.integers(1, 20))
def test_blocks_are_whole_documents_in_order(counts: list[int], tokens: int) -> None:
    docs = numbered(counts)
    blocks = list(docs.blocks(tokens))
    assert [row for first, block in blocks for row in range(first, first + len(block))] == list(range(len(counts)))
    assert all(block.tokens <= tokens or len(block) == 1 for _, block in blocks)
    runs = list(document_runs(np.array(counts), tokens))
    assert [stop - start for start, stop in runs] == [len(block) for _, block in blocks]


@given(counts_of_documents, st.data())
def test_rows_of_bytes_are_sliced_and_taken_as_documents(counts: list[int], data: st.DataObject) -> None:
    packed = np.arange(3 * sum(counts), dtype=np.uint8).reshape(-1, 3)
    codes = Codes(n=len(counts), rows={}, ragged={"tokens": Ragged.of(packed, np.array(counts))})
    rows = np.array(data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=9)), np.int64)
    own = np.split(packed, np.cumsum(counts)[:-1])
    assert np.array_equal(codes.take(rows).ragged["tokens"].values, np.concatenate([own[row] for row in rows]))
    joined = Codes.concatenate([codes[:1], codes[1:]]) if len(counts) > 1 else codes
    assert np.array_equal(joined.ragged["tokens"].values, packed) and joined.nbytes == codes.nbytes
    again = Codes.from_arrays(len(counts), codes.to_arrays())
    assert np.array_equal(again.ragged["tokens"].values, packed) and again.nbytes == packed.nbytes + len(counts)


def test_a_list_of_matrices_is_taken_and_empty_documents_have_the_width_of_the_others() -> None:
    docs = as_token_vectors([np.ones((2, 3)), np.empty((0, 3)), np.zeros((1, 3))], "docs")
    assert docs.shape == (3, 3) and docs.counts.tolist() == [2, 0, 1] and docs.dtype == np.float32
    assert kind_of(docs) == "tokens"
    assert as_token_vectors([np.ones((2, 3), np.float16)], "docs").dtype == np.float16


def test_what_is_no_collection_is_refused() -> None:
    good = numbered([2, 1])
    wrong = {
        "one width": [np.ones((1, 3)), np.ones((1, 4))],
        "width": [np.empty((0, 0))],
        "matrix": [np.ones((1, 3)), np.ones(3)],
        "offsets": TokenVectors(good.values, np.array([0, 5])),
        "divide": TokenVectors(good.values, np.array([0, 2, 1])),
        "empty": TokenVectors(good.values, np.array([0])),
        "int64": TokenVectors(good.values, np.array([0, 1], np.int32)),
        "real numbers": TokenVectors(np.array([["a"]]), np.array([0, 1])),
        "list of matrices": np.ones((2, 3)),
    }
    for message, values in wrong.items():
        with pytest.raises(VectorsError, match=message):
            as_token_vectors(values, "docs")
    with pytest.raises(VectorsError, match="fitted on 3"):
        as_token_vectors(good, "docs", 3)
    with pytest.raises(MethodError, match="step 1"):
        good[::2]
