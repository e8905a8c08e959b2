"""Signatures of terms: codes by hand, and what a Bloom filter promises."""

from itertools import combinations, pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods import BitCipher, HashedWords, Presence, TermSignature
from methods.base import MethodError
from methods.sparse.signatures import WordCode
from tests.methods.sparse.collections import by_hand, sparse_collection


def codes_of(words: WordCode, bits: int) -> list[list[int]]:
    indptr, places = words.places(bits)
    return [sorted(places[start:end].tolist()) for start, end in pairwise(indptr)]


def test_ciphers_by_hand() -> None:
    """Term 2 is the most frequent, then 0; ties go to the lower term."""
    docs = by_hand([{0: 1, 2: 1}, {0: 1, 2: 1, 5: 1}, {2: 1}], 7)
    assert codes_of(BitCipher().fit(docs), 3) == [[1], [0, 1], [0], [0, 2], [1, 2], [2], [0, 1, 2]]


@given(bits=st.integers(2, 9), share=st.floats(0.1, 1))
def test_ciphers_are_distinct_and_as_short_as_can_be(bits: int, share: float) -> None:
    width = max(1, int(share * (2**bits - 1)))
    codes = codes_of(BitCipher().fit(by_hand([{0: 1.0}], width)), bits)
    assert len({tuple(code) for code in codes}) == width
    every = sorted(len(code) for size in range(1, bits + 1) for code in combinations(range(bits), size))
    assert sorted(map(len, codes)) == every[:width]


def test_more_terms_than_codes_are_refused() -> None:
    codec = TermSignature(words=BitCipher(), weights=Presence(), nbytes=1)
    with pytest.raises(MethodError, match="8 bits have fewer codes than the 256 terms"):
        codec.fit(by_hand([{0: 1.0}], 256))


def test_rare_terms_have_more_bits() -> None:
    """One in 16 documents: 1 + 4 bits. In all: 1."""
    docs = by_hand([{0: 1.0, 1: 1.0} if row == 0 else {0: 1.0} for row in range(16)], 3)
    assert np.diff(HashedWords().fit(docs).places(64)[0]).tolist() == [1, 5, 5]
    assert np.diff(HashedWords(hashes=2).fit(docs).places(64)[0]).tolist() == [2, 2, 2]


@pytest.mark.parametrize("words", [HashedWords(), HashedWords(hashes=4), BitCipher()])
def test_no_term_that_was_taken_in_is_missed(words: WordCode) -> None:
    docs = sparse_collection(200)
    codec = TermSignature(words=words, weights=Presence(), nbytes=64).fit(docs)
    codes = codec.encode(docs)
    taken = codec._kept(docs).to_csr().toarray() > 0
    assert taken.any(axis=1).all()
    assert (codec.decode(codes).to_csr().toarray()[taken] > 0).all()
    bits = np.unpackbits(codes.rows["signatures"], axis=1)
    # the shortest ciphers share few bits, and set them again and again
    assert (0.05 if isinstance(words, BitCipher) else 0.3) < bits.mean() <= 0.51


def test_false_positives_are_as_many_as_bloom_says() -> None:
    docs = sparse_collection(300, terms=60)
    codec = TermSignature(words=HashedWords(hashes=4), weights=Presence(), nbytes=64).fit(docs)
    codes = codec.encode(docs)
    filled = np.unpackbits(codes.rows["signatures"], axis=1).mean(axis=1)
    absent = codec._kept(docs).to_csr().toarray() == 0
    made_up = (codec.decode(codes).to_csr().toarray() > 0) & absent
    assert made_up.sum() / absent.sum() == pytest.approx(np.mean(filled**4), rel=0.15)


def test_the_strongest_terms_are_taken_in() -> None:
    """Sixteen bits take 11 draws to be half full: two terms of five."""
    docs = by_hand([{term: 1.0 + term for term in range(10)}], 10)
    codec = TermSignature(words=HashedWords(hashes=5), weights=Presence(), nbytes=2).fit(docs)
    assert codec._kept(docs).terms.tolist() == [8, 9]
    assert comb(16, 5) > 10
