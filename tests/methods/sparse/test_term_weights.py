"""Codes made of parts: layouts, renumbering, and budgets."""

import numpy as np
import pytest

from methods import (
    FixedWidth,
    Floats,
    LeastError,
    Levels,
    LogLevels,
    MassShare,
    Presence,
    RangeCoded,
    Rice,
    StrongestTerms,
    TermWeights,
    Threshold,
    VariableByte,
)
from methods.base import MethodError
from methods.representations import exact_search
from methods.sparse.codec import SparseCodec
from methods.sparse.term_weights import squared_error
from tests.methods.sparse.collections import by_hand, sparse_collection


def mean_bytes(codec: SparseCodec) -> float:
    return codec.encode(DOCS).nbytes / len(DOCS)


DOCS = sparse_collection(1500)


def test_the_same_documents_in_either_layout_and_under_other_numbers() -> None:
    queries = sparse_collection(5, seed=1)
    forward = TermWeights(weights=Levels(bits=4), ids=Rice()).fit(DOCS)
    expected = forward.search(queries, forward.encode(DOCS), 50)
    for other in (
        TermWeights(weights=Levels(bits=4), ids=Rice(), layout="inverted"),
        TermWeights(weights=Levels(bits=4), ids=VariableByte(), renumber=True),
    ):
        codes = other.fit(DOCS).encode(DOCS)
        assert all(map(np.array_equal, other.search(queries, codes, 50), expected))
        assert not other.row_wise or codes.ragged


def test_postings_by_hand() -> None:
    docs = by_hand([{0: 1.0, 2: 2.0}, {2: 4.0}, {}], 4)
    codes = TermWeights(weights=Floats(), ids=FixedWidth(bits=32), layout="inverted").fit(docs).encode(docs)
    assert codes.shared["lengths"].tolist() == [8, 0, 16, 0] and not codes.ragged
    postings = codes.shared["postings"]
    assert postings[:4].view("<u4").tolist() == [0] and postings[4:8].view("<f4").tolist() == [1.0]
    assert postings[8:16].view("<u4").tolist() == [0, 1] and postings[16:].view("<f4").tolist() == [2.0, 4.0]
    with pytest.raises(MethodError, match="cannot be appended"):
        type(codes).concatenate([codes, codes])


def test_numbers_by_frequency_make_gaps_smaller() -> None:
    docs = sparse_collection(500, 30_000)
    sizes = [
        TermWeights(weights=Levels(), ids=VariableByte(), renumber=renumber).fit(docs).encode(docs).nbytes
        for renumber in (False, True)
    ]
    assert sizes[1] < 0.9 * sizes[0]


@pytest.mark.parametrize("nbytes", [15, 40, 90])
@pytest.mark.parametrize("rule", [StrongestTerms, MassShare, Threshold])
@pytest.mark.parametrize("weights", [Floats(dtype="float16"), LogLevels(bits=3)], ids=["float16", "log"])
def test_a_budget_is_met_and_never_passed(weights: object, rule: type, nbytes: int) -> None:
    codec = TermWeights(weights=weights, ids=RangeCoded(), pruning=rule(), nbytes=nbytes)
    size = mean_bytes(codec.fit(DOCS))
    whole = mean_bytes(TermWeights(weights=weights, ids=RangeCoded()).fit(DOCS))
    assert size <= nbytes and (size >= 0.98 * nbytes or size == whole)


def test_a_budget_beyond_reach_or_without_a_rule_says_so() -> None:
    parts = {"weights": Floats(), "ids": FixedWidth(bits=32)}
    with pytest.raises(MethodError, match="nbytes=0.5 is not possible"):
        TermWeights(**parts, pruning=StrongestTerms(), nbytes=0.5).fit(DOCS)
    with pytest.raises(MethodError, match="give it one, or nbytes"):
        TermWeights(**parts, pruning=StrongestTerms())
    for pruning in (None, StrongestTerms(k=8)):
        with pytest.raises(MethodError, match="nbytes=64 needs a pruning"):
            TermWeights(**parts, pruning=pruning, nbytes=64)
    with pytest.raises(MethodError, match="layout=forward"):
        TermWeights(weights=Floats(), ids=RangeCoded(), layout="inverted")


def candidates(nbytes: float) -> list[TermWeights]:
    weights = [LogLevels(bits=4), LogLevels(bits=2), Presence()]
    return [TermWeights(weights=one, ids=RangeCoded(), pruning=StrongestTerms(), nbytes=nbytes) for one in weights]


@pytest.mark.parametrize("nbytes", [20, 60])
def test_the_code_that_changes_documents_least_is_chosen(nbytes: int) -> None:
    codec = LeastError(candidates=candidates(nbytes)).fit(DOCS)
    errors = [squared_error(DOCS, candidate.fit(DOCS)) for candidate in candidates(nbytes)]
    assert codec.choice_ == int(np.argmin(errors))
    assert mean_bytes(codec) <= nbytes
    fresh = LeastError(candidates=candidates(nbytes)).load_state(codec.state())
    queries = sparse_collection(3, seed=5)
    found = fresh.search(queries, codec.encode(DOCS), 9)
    assert all(map(np.array_equal, found, exact_search(queries, codec.decode(codec.encode(DOCS)), 9)))


def test_candidates_share_a_budget() -> None:
    with pytest.raises(MethodError, match="one nbytes"):
        LeastError(candidates=[*candidates(20), *candidates(30)])
    with pytest.raises(MethodError, match="one nbytes"):
        LeastError(candidates=[])


def test_postings_are_made_once_for_the_same_codes_and_again_after_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = TermWeights(weights=Floats(), ids=Rice()).fit(DOCS)
    codes, queries = codec.encode(DOCS), sparse_collection(2, seed=3)
    decoded = []
    own = codec._decode
    monkeypatch.setattr(codec, "_decode", lambda given: decoded.append(given.n) or own(given))
    for _ in range(3):
        codec.search(queries, codes, 5)
    assert decoded == [1500]
    codec.search(queries, codes[:100], 5)
    codec.fit(DOCS)
    codec.search(queries, codes, 5)
    assert decoded == [1500, 100, 1500]
