"""Fewer vectors: how many are left, which, and whose pooling it equals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.base import MethodError, VectorsError
from methods.multivector.pooling import TokenPooling, TokenPruning, grouped, k_means, means, spread
from methods.token_vectors import TokenVectors
from tests.methods.multivector.collections import token_collection

GROUPINGS = ("ward", "ward_rows", "kmeans", "sequential")


def documents() -> TokenVectors:
    odd = TokenVectors.of([np.empty((0, 16), np.float32), token_collection(1, 16, 1).values[:1]], 16)
    return TokenVectors.concatenate([token_collection(6, 16, 20), odd])


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.5])
@pytest.mark.parametrize("protected", [0, 1])
@pytest.mark.parametrize("renormalize", [True, False])
def test_ward_pooling_is_that_of_sentence_transformers(factor: float, protected: int, renormalize: bool) -> None:
    torch = pytest.importorskip("torch")
    pooling = pytest.importorskip("sentence_transformers.multi_vector_encoder.modules.token_pooling")
    docs = documents()[:-2]
    theirs = pooling.HierarchicalTokenPooling(
        factor, num_protected_tokens=protected, normalize_embeddings=renormalize
    ).pool([torch.from_numpy(matrix) for matrix in docs.matrices()])
    part = TokenPooling(factor=factor, protected=protected, renormalize=renormalize).fit(docs)
    for ours, expected in zip(part.transform_docs(docs).matrices(), theirs, strict=True):
        assert np.allclose(ours, expected.numpy(), atol=2e-6)


@given(st.integers(0, 40), st.floats(1, 9), st.integers(0, 3))
def test_a_factor_leaves_its_share_and_what_is_protected(n: int, factor: float, protected: int) -> None:
    left = TokenPooling(factor=factor, protected=protected).left(n)
    free = max(0, n - protected)
    assert left == min(n, protected) + (max(1, int(free // factor)) if free else 0)


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 3))
def test_a_count_is_a_bound(n: int, count: int, protected: int) -> None:
    left = TokenPooling(count=count, protected=protected).left(n)
    assert left == min(n, max(count, protected + 1))


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_groups_have_no_gaps_and_vectors_of_one_group_become_their_mean(grouping: str) -> None:
    vectors = token_collection(1, 16, 40).values
    labels = grouped(vectors, 5, grouping)
    assert sorted(set(labels.tolist())) == list(range(labels.max() + 1)) and labels.max() + 1 <= 5
    expected = [vectors[labels == group].mean(axis=0) for group in range(labels.max() + 1)]
    assert np.allclose(means(vectors, labels), expected, atol=1e-6)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_clusters_that_are_far_apart_are_found(grouping: str) -> None:
    centres = np.eye(8, dtype=np.float32)[:3]
    vectors = np.repeat(centres, 4, axis=0) + 0.01 * np.random.default_rng(0).standard_normal((12, 8)).astype("f4")
    assert grouped(vectors, 3, grouping).reshape(3, 4).std(axis=1).max() == 0


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_k_means_is_a_local_optimum(n: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((n, 4)).astype(np.float32)
    count = max(1, n // 3)
    labels = k_means(vectors, count)
    centres = {group: vectors[labels == group].mean(axis=0) for group in set(labels.tolist())}
    own = [np.square(vector - centres[label]).sum() for vector, label in zip(vectors, labels, strict=True)]
    least = [min(np.square(vector - centre).sum() for centre in centres.values()) for vector in vectors]
    assert np.allclose(own, least, atol=1e-4)


def test_spread_takes_the_farthest_each_time() -> None:
    vectors = np.array([[0.0], [1.0], [2.0], [10.0], [9.0]], np.float32)
    assert spread(vectors, 3).tolist() == [3, 0, 2] or spread(vectors, 3).tolist()[1:] == [0, 2]
    assert len(set(spread(np.ones((4, 2), np.float32), 4).tolist())) == 4, "equal vectors are taken once each"


@pytest.mark.parametrize("by", ["random", "first", "spread", "centre", "norm"])
def test_pruning_keeps_vectors_of_the_document_in_their_order(by: str) -> None:
    docs = documents()
    part = TokenPruning(factor=3.0, protected=1, by=by).fit(docs)
    for before, after in zip(docs.matrices(), part.transform_docs(docs).matrices(), strict=True):
        assert len(after) == part.left(len(before))
        places = [np.flatnonzero((before == vector).all(axis=1))[0] for vector in after]
        assert places == sorted(places) and (not places or places[0] == 0)


def test_the_longest_and_the_farthest_from_all_are_kept() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((10, 4)).astype(np.float32)
    docs = TokenVectors(values * np.arange(1, 11, dtype=np.float32)[:, None] / 3, np.array([0, 10]))
    kept = TokenPruning(count=3, by="norm").fit(docs).transform_docs(docs)
    lengths = np.linalg.norm(docs.values, axis=1)
    assert np.array_equal(np.linalg.norm(kept.values, axis=1), lengths[np.sort(np.argsort(-lengths)[:3])])
    away = np.linalg.norm(docs.values - docs.values.mean(axis=0), axis=1)
    kept = TokenPruning(count=3, by="centre").fit(docs).transform_docs(docs)
    assert np.array_equal(kept.values, docs.values[np.sort(np.argsort(-away)[:3])])


def test_rare_tokens_are_kept_and_of_equals_the_first() -> None:
    docs = TokenVectors(np.arange(8, dtype=np.float32)[:, None], np.array([0, 4, 6, 8]))
    docs = docs.with_columns({"token_ids": np.array([1, 0, 3, 1, 0, 1, 0, 2])})
    part = TokenPruning(count=2, by="idf").fit(docs)
    # of three documents 0 is in three, 1 in two, 2 and 3 in one each
    assert np.allclose(part.idf_, np.log(np.array([4 / 4, 4 / 3, 4 / 2, 4 / 2])))
    assert part.transform_docs(docs[:1]).flat().ravel().tolist() == [0, 2]
    unknown = docs.with_columns({"token_ids": np.array([1, 9, 1, 1, 0, 0, 0, 0])})
    assert part.transform_docs(unknown[:1]).flat().ravel().tolist() == [0, 1], "a new token is a rare one"
    fresh = TokenPruning(count=2, by="idf").load_state(part.state())
    assert np.array_equal(fresh.transform_docs(docs).values, part.transform_docs(docs).values)


def test_what_the_model_attends_to_is_kept_behind_what_is_protected() -> None:
    docs = TokenVectors(np.arange(5, dtype=np.float32)[:, None], np.array([0, 5]))
    docs = docs.with_columns({"attention": np.array([0.0, 0.3, 0.1, 0.2, 0.4])})
    kept = TokenPruning(count=3, by="attention", protected=1).fit(docs).transform_docs(docs)
    assert kept.values.ravel().tolist() == [0, 1, 4] and not kept.columns


@pytest.mark.parametrize(("by", "column"), [("idf", "token_ids"), ("attention", "attention")])
def test_what_the_vectors_do_not_say_is_named(by: str, column: str) -> None:
    docs = documents()
    assert tuple(TokenPruning(count=2, by=by).wants_columns) == (column,)
    with pytest.raises(VectorsError, match=f"no column '{column}'"):
        TokenPruning(count=2, by=by).fit(docs).transform_docs(docs)
    with pytest.raises(MethodError, match="queries=false"):
        TokenPruning(count=2, by=by, queries=True)


@pytest.mark.parametrize("by", ["idf", "attention"])
def test_pruning_by_columns_is_row_wise(by: str) -> None:
    docs = documents()
    rng = np.random.default_rng(0)
    columns = {"token_ids": rng.integers(0, 30, docs.tokens), "attention": rng.random(docs.tokens)}
    docs = docs.with_columns(columns)
    part = TokenPruning(factor=2.0, by=by).fit(docs)
    whole = part.transform_docs(docs)
    for row in range(len(docs)):
        alone = part.transform_docs(docs[row : row + 1])
        assert np.array_equal(alone.values, whole[row : row + 1].flat())


def test_queries_stay_unless_they_are_asked_for() -> None:
    docs = documents()
    for part in (TokenPooling(count=2, grouping="kmeans"), TokenPruning(count=2)):
        assert part.fit(docs).transform_queries(docs) is docs
    assert TokenPooling(count=2, grouping="kmeans", queries=True).fit(docs).transform_queries(docs).counts.max() == 2


def test_all_cores_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = token_collection(700, 16, 5)
    part = TokenPooling(factor=2.0).fit(docs)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = part.transform_docs(docs)
    monkeypatch.delenv("OMP_NUM_THREADS")
    several = part.transform_docs(docs)
    assert np.array_equal(one.values, several.values) and np.array_equal(one.offsets, several.offsets)


@pytest.mark.parametrize("wrong", [{}, {"factor": 2.0, "count": 3}, {"factor": 0.5}, {"count": 0}])
def test_settings_that_mean_nothing_are_refused(wrong: dict) -> None:
    with pytest.raises(MethodError, match=r"factor|count"):
        TokenPooling(**wrong)
