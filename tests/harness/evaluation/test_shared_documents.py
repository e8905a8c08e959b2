"""Intervals where queries share their relevant documents."""

import itertools

import numpy as np

from harness.evaluation.shared_documents import document_intervals


def pairs(n: int) -> tuple[list[str], dict[str, dict[str, int]]]:
    qrels = {f"{one}-{other}": {str(one): 1, str(other): 1} for one, other in itertools.combinations(range(n), 2)}
    return list(qrels), qrels


def half_width(interval: dict[str, float]) -> float:
    return (interval["high"] - interval["low"]) / 2


def test_documents_that_cost_many_queries_at_once_widen_the_interval() -> None:
    ids, qrels = pairs(46)
    rng = np.random.default_rng(0)
    found = rng.random(46) < 0.5
    # a query's recall is that of its documents, each of which is found for all of its queries or for none
    shared = np.array([np.mean([found[int(doc)] for doc in qrels[query]]) for query in ids])
    scattered = rng.permutation(shared)
    by_documents = document_intervals({"recall_at_2": shared}, ids, qrels)
    mixed = document_intervals({"recall_at_2": scattered}, ids, qrels)
    assert by_documents is not None and mixed is not None
    over_queries = 1.96 * shared.std() / np.sqrt(len(shared))
    # the mean of 46 draws of a half: 1.96 * 0.5 / sqrt(46)
    assert abs(half_width(by_documents["recall_at_2"]) - 1.96 * 0.5 / np.sqrt(46)) < 0.02
    assert half_width(by_documents["recall_at_2"]) > 5 * over_queries
    assert half_width(mixed["recall_at_2"]) < 3 * over_queries
    assert by_documents["recall_at_2"]["low"] < shared.mean() < by_documents["recall_at_2"]["high"]


def test_intervals_of_a_constant_are_a_point() -> None:
    ids, qrels = pairs(20)
    found = document_intervals({"recall_at_2": np.ones(len(ids)), "other": np.ones(len(ids))}, ids, qrels)
    assert found == {"recall_at_2": {"low": 1.0, "high": 1.0}}


def test_queries_with_documents_of_their_own_get_none() -> None:
    own = {str(row): {str(row): 1} for row in range(50)}
    assert document_intervals({"recall_at_2": np.ones(50)}, list(own), own) is None
    assert document_intervals({"recall_at_2": np.ones(50)}, list(own), None) is None
    many = {str(row): {str(doc): 1 for doc in range(6)} for row in range(50)}
    assert document_intervals({"recall_at_2": np.ones(50)}, list(many), many) is None
    nothing = {str(row): {"a": 0} for row in range(50)}
    assert document_intervals({"recall_at_2": np.ones(50)}, list(nothing), nothing) is None
