"""Subsets of a collection: nested, with every judged document, and the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.base.errors import ConfigError
from harness.data.datasets import Dataset
from harness.data.datasets.subset import subset

IDS = [f"d{number:02d}" for number in range(50)]


def collection(judged: list[int], vectors: bool = True) -> Dataset:
    return Dataset.build(
        name="fifty",
        doc_ids=IDS,
        query_ids=["q"],
        qrels={"q": {IDS[number]: place % 2 for place, number in enumerate(judged)}} if judged else None,
        doc_vectors=np.arange(100, dtype=np.float32).reshape(50, 2) if vectors else None,
        query_vectors=np.ones((1, 2), np.float32) if vectors else None,
    )


@settings(max_examples=40, deadline=None)
@given(
    judged=st.lists(st.integers(0, 49), min_size=1, max_size=8, unique=True),
    shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    seed=st.integers(0, 3),
)
def test_judged_documents_stay_and_a_smaller_share_is_part_of_a_larger(
    judged: list[int], shares: list[float], seed: int
) -> None:
    whole = collection(judged)
    small, large = (subset(whole, share, seed) for share in shares)
    assert {IDS[number] for number in judged} <= set(small.doc_ids) <= set(large.doc_ids)
    assert len(small.doc_ids) == max(len(judged), round(shares[0] * 50))
    assert list(small.doc_ids) == sorted(small.doc_ids, reverse=True), "the order in which trec_eval ranks ties"
    assert small.query_ids == whole.query_ids and small.qrels == whole.qrels
    assert small.fingerprint == subset(whole, shares[0], seed).fingerprint
    if small.whole is not None:
        assert small.doc_vectors is not None and whole.doc_vectors is not None
        assert np.array_equal(small.doc_vectors, whole.doc_vectors[small.whole_rows])


def test_other_seeds_draw_other_documents() -> None:
    whole = collection([3])
    assert len({tuple(subset(whole, 0.3, seed).doc_ids) for seed in range(5)}) == 5


def test_the_whole_share_is_the_collection_itself() -> None:
    whole = collection([3])
    assert subset(whole, 1, 5) is whole
    assert len(subset(collection([]), 0.001, 0).doc_ids) == 1, "without judgements one document is left"


@pytest.mark.parametrize("share", [0, -0.5, 1.01])
def test_a_share_that_is_none_is_named(share: float) -> None:
    with pytest.raises(ConfigError, match="corpus_share must be above 0 and at most 1, got"):
        subset(collection([3]), share, 0)
