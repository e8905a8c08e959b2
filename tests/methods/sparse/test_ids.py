"""Codes for ids: what is written is read, in the bytes that the layouts say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import DotVByte, EliasDelta, EliasFano, FixedWidth, PackedBlocks, RangeCoded, Rice, VariableByte
from methods.base import MethodError, Ragged
from methods.kernels import term_range_coder
from methods.representations import SparseVectors
from methods.sparse.ids import IdCode, Rows
from tests.methods.sparse.collections import sparse_collection

CODES = [
    FixedWidth(),
    FixedWidth(bits="word"),
    VariableByte(),
    EliasDelta(),
    EliasFano(),
    Rice(),
    DotVByte(),
    PackedBlocks(block=8),
    PackedBlocks(block=4, spare=7, rest="pairs"),
    PackedBlocks(block=8, packed_weights=True),
    RangeCoded(),
]


def rows_of(sets: list[set[int]], bits: int, seed: int = 0) -> Rows:
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in sets])]).astype(np.int64)
    terms = np.array([term for one in sets for term in sorted(one)], dtype=np.int64)
    return indptr, terms, np.random.default_rng(seed).integers(0, 2**bits, len(terms))


def learned(code: IdCode, rows: Rows, width: int, bits: int) -> IdCode:
    indptr, terms, symbols = rows
    docs = SparseVectors(indptr, terms.astype(np.uint32), np.ones(len(terms), np.float32), width)
    code.check(width, bits)
    code.learn(docs, symbols, bits)
    return code


def written(code: IdCode, sets: list[set[int]], width: int, bits: int) -> Ragged:
    rows = rows_of(sets, bits)
    return learned(code, rows, width, bits).write(rows, width, bits)


@pytest.mark.parametrize("code", CODES, ids=lambda code: repr(code)[:40])
@settings(max_examples=40, deadline=None)
@given(
    width=st.sampled_from([1, 2, 7, 300, 30_522, 65_535]),
    bits=st.sampled_from([0, 1, 4, 8, 16, 32]),
    data=st.data(),
)
def test_what_is_written_is_read(code: IdCode, width: int, bits: int, data: st.DataObject) -> None:
    sets = data.draw(st.lists(st.sets(st.integers(0, width - 1), max_size=40), min_size=1, max_size=6))
    bits = 8 if isinstance(code, DotVByte) else bits
    rows = rows_of(sets, bits)
    learned(code, rows, width, bits)
    strings = code.write(rows, width, bits)
    assert all(np.array_equal(read, given) for read, given in zip(code.read(strings, width, bits), rows, strict=True))
    # each string is read on its own, as a slice of a file is
    for place in range(len(sets)):
        _, ids, symbols = code.read(strings[place : place + 1], width, bits)
        part = slice(rows[0][place], rows[0][place + 1])
        assert np.array_equal(ids, rows[1][part]) and np.array_equal(symbols, rows[2][part])


@pytest.mark.parametrize(
    ("code", "bits", "nbytes"),
    [
        (FixedWidth(bits=32), 32, [24, 0]),  # 3 (32 + 32) bits
        (FixedWidth(bits="word"), 16, [12, 0]),
        (FixedWidth(), 4, [6, 0]),  # 3 (10 + 4) = 42 bits
        (VariableByte(), 8, [7, 0]),  # gaps 5, 0, 893: 1 + 1 + 2 bytes, and 3 of weights
        (EliasFano(), 0, [5, 0]),  # the count; 3 of 8 low bits; 4 high ones: 0, 0 and 3 in unary, 6 bits
        (Rice(), 8, [8, 0]),  # below
        (DotVByte(), 8, [16, 0]),  # 2 + 3 (2 + 1) = 11 bytes, in words of 8
    ],
    ids=str,
)
def test_bytes_by_hand(code: IdCode, bits: int, nbytes: list[int]) -> None:
    """Ids 5, 6 and 900 of 1,000.

    Rice: the count in 8 bits, the parameter in 5; with the parameter 8 the gaps 5, 0 and 893 take 9, 9 and 12 bits,
    with 7 they take 8, 8 and 14 (the same 30), so 43 bits and 24 of weights: 9 bytes. With 6, 7 + 7 + 20 = 34.
    """
    expected = [9, 0] if isinstance(code, Rice) else nbytes
    assert written(code, [{5, 6, 900}, set()], 1000, bits).lengths.tolist() == expected


def test_dot_vbyte_takes_the_bytes_of_its_formula() -> None:
    docs = sparse_collection(200, 30_000, 90)
    rows = (docs.indptr, docs.terms.astype(np.int64), np.full(docs.nnz, 7, np.int64))
    code = learned(DotVByte(), rows, docs.width, 8)
    for row, length in enumerate(code.write(rows, docs.width, 8).lengths):
        terms = rows[1][rows[0][row] : rows[0][row + 1]]
        groups, tail = divmod(len(terms), 8)
        gaps = np.diff(terms, prepend=0)[: 8 * groups]
        flexible = 2 + 3 * tail + groups + int((1 + (gaps > 255)).sum())
        assert length == -(-flexible // 8) * 8 + 8 * groups


def test_dot_vbyte_names_what_it_has_no_code_for() -> None:
    with pytest.raises(MethodError, match="65536"):
        DotVByte().check(65_536, 8)
    with pytest.raises(MethodError, match="weights of 8 bits, and these have 4"):
        DotVByte().check(100, 4)
    with pytest.raises(MethodError, match="needs 17 bits, but bits=16"):
        FixedWidth(bits=16).check(65_537, 8)
    FixedWidth(bits=16).check(65_536, 8)


def test_range_coded_ids_take_what_their_frequencies_are_worth() -> None:
    """Coins that are tossed as the code believes: the mean length is their entropy, and the end of a string."""
    rng = np.random.default_rng(0)
    share = np.minimum(0.5, 30.0 / (np.arange(2000) + 20.0))
    tossed = rng.random((3000, 2000)) < share
    indptr = np.concatenate([[0], np.cumsum(tossed.sum(axis=1))]).astype(np.int64)
    terms = np.nonzero(tossed)[1].astype(np.int64)
    rows = (indptr, terms, np.zeros(len(terms), np.int64))
    code = learned(RangeCoded(), rows, 2000, 0)
    bits = 8 * code.write(rows, 2000, 0).lengths.mean()
    entropy = float(-(share * np.log2(share) + (1 - share) * np.log2(1 - share)).sum())
    assert entropy * 0.995 < bits < entropy * 1.01 + 8


def test_range_coded_documents_of_other_collections_are_read() -> None:
    fitted = sparse_collection(300)
    rows = (fitted.indptr, fitted.terms.astype(np.int64), np.zeros(fitted.nnz, np.int64))
    code = learned(RangeCoded(), rows, fitted.width, 0)
    every = rows_of([set(range(3000)), {2999}, set(np.setdiff1d(np.arange(3000), fitted.terms))], 0)
    read = code.read(code.write(every, 3000, 0), 3000, 0)
    assert all(map(np.array_equal, read, every))


def test_what_decides_a_decoded_id_is_in_order() -> None:
    """A float's rounding could make an interval empty; in whole numbers each one has its place, and the end one too."""
    table = term_range_coder.powers()
    assert table[0] == 1 << 30 and table[-1] == 1 << 29 and (np.diff(table) < 0).all()
    rarity = np.random.default_rng(0).integers(0, 256, 3000)
    hazards = np.concatenate([[0], np.cumsum(term_range_coder.hazard_of_rarity()[rarity])])
    for after in (0, 17, 2990, 3000):
        ends = [term_range_coder.below(after, term, hazards, table) for term in range(after, 3001)]
        assert ends[0] == 0 and (np.diff(ends) > 0).all() and ends[-1] < 1 << 30
