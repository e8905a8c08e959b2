import numpy as np
import pytest

from harness.base.errors import ConfigError
from harness.tuning import objective
from harness.tuning.objective import Objective, measured
from methods import Chain, Sign
from methods.scalar.cast import Cast
from tests.conftest import clustered_vectors


def test_documents_that_are_queries_leave_the_collection():
    docs = clustered_vectors(300, 8)
    found = Objective.from_arrays(docs, None)
    rows = {row.tobytes() for row in found.whole.docs}
    asked = {row.tobytes() for row in found.whole.queries}
    assert len(found.whole.queries) == 300 // objective.SHARE_OF_DOCUMENTS
    assert not rows & asked
    assert len(rows) + len(asked) == 300
    # nor are they among what methods learn from
    assert not asked & {row.tobytes() for row in found.whole.fit_queries}


def test_given_queries_are_divided_and_pairs_follow_them():
    docs, queries = clustered_vectors(100, 8), clustered_vectors(60, 8, seed=1)
    pairs = np.column_stack([np.arange(60), np.arange(60) + 7])
    look = Objective.from_arrays(docs, queries, pairs, "train").whole
    assert len(look.queries) == 30 and len(look.fit_queries) == 30
    assert not {row.tobytes() for row in look.queries} & {row.tobytes() for row in look.fit_queries}
    assert len(look.fit_pairs) == 30
    for query, doc in look.fit_pairs:
        (row,) = np.flatnonzero((queries == look.fit_queries[query]).all(axis=1))
        assert (docs[row + 7] == look.fit_docs[doc]).all()


def test_a_large_collection_is_fitted_on_other_documents_than_are_searched(monkeypatch):
    monkeypatch.setattr(objective, "MOST_DOCUMENTS", 40)
    monkeypatch.setattr(objective, "FIRST_LOOK", 10)
    monkeypatch.setattr(objective, "LEAST_QUERIES", 5)
    docs = clustered_vectors(200, 8)
    pairs = np.column_stack([np.arange(60), np.arange(60)])
    found = Objective.from_arrays(docs, clustered_vectors(60, 8, seed=1), pairs, "train")
    assert len(found.looks) == 2
    for look in found.looks:
        assert not {row.tobytes() for row in look.docs} & {row.tobytes() for row in look.fit_docs}
        assert len(look.docs) == len(look.fit_docs)
        assert len(look.fit_pairs) and look.fit_pairs[:, 1].max() < len(look.fit_docs)
    assert (np.sort(found.looks[0].nearest) < 10).all()


def test_float_vectors_lose_nothing_and_their_bytes_are_counted():
    look = Objective.from_arrays(clustered_vectors(300, 8), None).whole
    outcome = measured(lambda: Cast(dtype="float32"), look)
    assert outcome.quality == 1
    assert outcome.code_bytes == outcome.resident_bytes == 32
    assert outcome.overlaps.shape == (len(look.queries),)


def test_what_is_too_large_is_not_searched():
    look = Objective.from_arrays(clustered_vectors(300, 16), None).whole
    outcome = measured(lambda: Chain(transforms=[], codec=Sign()), look, max_bytes=1.9)
    assert outcome.code_bytes == 2
    assert len(outcome.overlaps) == 0


def test_too_few_queries_are_refused_with_the_number_that_is_needed():
    with pytest.raises(ConfigError, match=r"39 train are too few.*40 are needed"):
        Objective.from_arrays(clustered_vectors(100, 8), clustered_vectors(39, 8), source="train")
