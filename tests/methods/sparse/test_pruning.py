"""Which terms stay, by hand; and that what stays of a document depends on it alone once a rule is fitted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import MassShare, PostingShare, StrongestTerms, Threshold
from methods.representations import SparseVectors
from methods.sparse.pruning import Pruning
from tests.methods.sparse.collections import by_hand, sparse_collection

DOCS = by_hand([{0: 1.0, 1: 4.0, 2: 3.0, 3: 4.0}, {1: 0.5, 2: 0.25}, {}, {3: 5.0}], 5)


def left(rule: Pruning, docs: SparseVectors = DOCS) -> list[list[int]]:
    kept = rule.fit(docs).kept(docs)
    return [kept[row : row + 1].terms.tolist() for row in range(len(kept))]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (StrongestTerms(k=1), [[1], [1], [], [3]]),  # 4.0 twice: the lower term
        (StrongestTerms(k=2), [[1, 3], [1, 2], [], [3]]),
        (StrongestTerms(k=1.25), [[1, 3], [1], [], [3]]),  # one of four documents keeps a second term
        (StrongestTerms(k=9), [[0, 1, 2, 3], [1, 2], [], [3]]),
        (MassShare(share=0.25), [[1], [1], [], [3]]),  # 4 of 12 is a third
        (MassShare(share=0.5), [[1, 3], [1], [], [3]]),
        (MassShare(share=0.75), [[1, 2, 3], [1, 2], [], [3]]),
        (MassShare(share=1.0), [[0, 1, 2, 3], [1, 2], [], [3]]),
        (PostingShare(share=0.5), [[0, 1, 2], [], [], [3]]),
        (PostingShare(share=0.6), [[0, 1, 2, 3], [1, 2], [], [3]]),
        (Threshold(share=0.4), [[1, 3], [], [], [3]]),  # the third largest weight of seven, 4.0
        (Threshold(share=2 / 7), [[1, 3], [], [], [3]]),  # and all that tie with the second
        (Threshold(share=1.0), [[0, 1, 2, 3], [1, 2], [], [3]]),
    ],
    ids=str,
)
def test_by_hand(rule: Pruning, expected: list[list[int]]) -> None:
    assert left(rule) == expected


@pytest.mark.parametrize("kind", [StrongestTerms, MassShare, PostingShare, Threshold])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.05, 1.0))
def test_a_document_keeps_what_it_keeps_alone(kind: type[Pruning], seed: int, share: float) -> None:
    docs = sparse_collection(30, 400, 20, seed)
    rule = kind(k=share * 30) if kind is StrongestTerms else kind(share=share)
    rule.fit(docs)
    kept = rule.kept(docs)
    alone = SparseVectors.concatenate([rule.kept(docs[row : row + 1]) for row in range(len(docs))])
    assert np.array_equal(kept.terms, alone.terms) and np.array_equal(kept.indptr, alone.indptr)
    assert rule.kept(kept).nnz == kept.nnz or kind is MassShare, "what is left is left alone"


def test_the_share_of_documents_with_one_more_term_is_as_asked() -> None:
    docs = sparse_collection(1000)
    for k in (10.1, 10.5, 10.9):
        assert np.minimum(StrongestTerms(k=k).fit(docs).kept(docs).counts, 11).mean() == pytest.approx(k, abs=0.01)
