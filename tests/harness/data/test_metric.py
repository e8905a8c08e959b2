"""What "near" means: every metric becomes an inner product that ranks alike, or an error asks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from harness.base.errors import DatasetError, ModelError
from harness.data.datasets import Dataset, VectorFiles
from harness.data.metric import WORDS, Lengths, for_inner_products
from harness.data.models import VectorModel


def ranked(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")[:, :5]


def by_metric(docs: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """The scores of a metric, larger is nearer, in float64 and from its definition."""
    docs, queries = docs.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return -((queries[:, None] - docs[None]) ** 2).sum(axis=2)
    if metric == "cosine":
        docs = docs / np.linalg.norm(docs, axis=1, keepdims=True)
    return queries @ docs.T


@settings(max_examples=60, deadline=None)
@given(
    spread=st.floats(0, 1.5),
    scale=st.sampled_from([1e-3, 1.0, 40.0]),
    metric=st.sampled_from(["dot", "cosine", "l2"]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    seed=st.integers(0, 2**16),
)
def test_inner_products_rank_as_the_metric_does(
    spread: float, scale: float, metric: str, dtype: type, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    docs = (rng.standard_normal((60, 8)) * scale * np.exp(spread * rng.standard_normal((60, 1)))).astype(dtype)
    queries = (docs[:7] + 0.2 * scale * rng.standard_normal((7, 8))).astype(dtype)
    made = for_inner_products(docs, queries, metric, source="a file", option="dataset.metric")  # type: ignore[arg-type]
    assert made.metric == metric
    scores = np.asarray(made.queries, np.float64) @ np.asarray(made.docs, np.float64).T
    expected = by_metric(docs, queries, metric)
    best, true = ranked(scores), ranked(expected)
    # equal up to what float32 rounds, of the largest term of a score
    ends = np.take_along_axis(expected, best, 1) - np.take_along_axis(expected, true, 1)
    assert np.abs(ends).max() <= 1e-5 * max(1e-30, (docs.astype(np.float64) ** 2).sum(axis=1).max())


@settings(max_examples=40, deadline=None)
@given(spread=st.floats(0.02, 1.0), seed=st.integers(0, 2**16))
def test_lengths_that_differ_are_asked_about(spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    docs = rng.standard_normal((50, 8))
    docs *= np.exp(spread * rng.standard_normal((50, 1))) / np.linalg.norm(docs, axis=1, keepdims=True)
    with pytest.raises(DatasetError, match=r"lengths from .* dataset\.metric=dot, dataset\.metric=cosine or"):
        for_inner_products(docs, docs[:3], "auto", source="a file", option="dataset.metric")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unit_length_decides_for_itself(dtype: type) -> None:
    docs = np.random.default_rng(0).standard_normal((50, 8))
    docs = (docs / np.linalg.norm(docs, axis=1, keepdims=True)).astype(dtype)
    made = for_inner_products(docs, 3 * docs[:4], "auto", source="a file", option="dataset.metric")
    assert made.docs is docs and made.metric == "dot" and made.note == ""


def test_lengths_are_measured_where_they_decide_something(monkeypatch: pytest.MonkeyPatch) -> None:
    measured, of = [], Lengths.of
    monkeypatch.setattr(Lengths, "of", lambda vectors: (measured.append(len(vectors)), of(vectors))[1])
    docs = np.random.default_rng(0).standard_normal((50, 8))
    for metric, word, expected in [("dot", None, []), ("auto", "ip", []), ("cosine", None, [50]), ("l2", None, [50])]:
        measured.clear()
        for_inner_products(docs, docs[:3], metric, word=word, source="a file", option="dataset.metric")  # type: ignore[arg-type]
        assert measured == expected


def test_a_file_s_own_word_decides() -> None:
    docs = np.random.default_rng(0).standard_normal((50, 8)) * np.arange(1, 51)[:, None]
    for word, metric in WORDS.items():
        made = for_inner_products(docs, docs[:4], "auto", word=word, source="a file", option="dataset.metric")
        assert made.metric == metric
    made = for_inner_products(docs, docs[:4], "dot", word="euclidean", source="a file", option="dataset.metric")
    assert made.note == "euclidean in the file, compared by dot"
    with pytest.raises(DatasetError, match=r"distance 'hamming', .* dataset\.metric=dot searches"):
        for_inner_products(docs, docs[:4], "auto", word="hamming", source="a file", option="dataset.metric")


def issue_vectors(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """500 documents of random direction and length, queries near the first 20."""
    rng = np.random.default_rng(0)
    docs = rng.standard_normal((500, 32)).astype(np.float32)
    docs /= np.linalg.norm(docs, axis=1, keepdims=True)
    queries = docs[:20] + (1.2 * rng.standard_normal((20, 32)) / np.sqrt(32)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    docs *= np.exp(0.5 * rng.standard_normal((500, 1))).astype(np.float32)
    np.save(folder / "docs.npy", docs)
    np.save(folder / "queries.npy", queries)
    return docs, queries


def test_the_fingerprint_tells_metrics_apart(tmp_path: Path) -> None:
    docs, _ = issue_vectors(tmp_path)

    def load(metric: str) -> Dataset:
        files = {"docs": str(tmp_path / "docs.npy"), "queries": str(tmp_path / "queries.npy")}
        return VectorFiles(**files, metric=metric).load()  # type: ignore[arg-type]

    with pytest.raises(DatasetError, match=r"docs\.npy: are these vectors compared by inner product"):
        load("auto")
    loaded = {metric: load(metric) for metric in ("dot", "cosine", "l2")}
    assert len({dataset.fingerprint for dataset in loaded.values()}) == 3
    assert [dataset.metric for dataset in loaded.values()] == ["dot", "cosine", "l2"]
    shapes = {metric: np.shape(dataset.doc_vectors)[1] for metric, dataset in loaded.items()}
    assert shapes == {"dot": 32, "cosine": 32, "l2": 33}
    assert np.array_equal(np.asarray(loaded["dot"].doc_vectors)[::-1], docs)


def test_vectors_of_a_model_file_are_asked_about_too(tmp_path: Path) -> None:
    docs, queries = issue_vectors(tmp_path)
    save_file({"docs": docs, "queries": queries, "train_queries": queries[:5]}, tmp_path / "mine.safetensors")
    dataset = Dataset.build(
        name="texts",
        doc_ids=[f"d{row:03d}" for row in range(500)],
        doc_texts=["text"] * 500,
        query_ids=[f"q{row}" for row in range(20)],
        query_texts=["query"] * 20,
        qrels={f"q{row}": {f"d{row:03d}": 1} for row in range(20)},
        train_query_texts=["train"] * 5,
    )
    path = str(tmp_path / "mine.safetensors")
    with pytest.raises(DatasetError, match=r"model\.metric=dot"):
        VectorModel(path=path).supply(dataset)
    by_dot, by_cosine, by_l2 = (VectorModel(path=path, metric=metric) for metric in ("dot", "cosine", "l2"))  # type: ignore[arg-type]
    assert len({str(model.identity("document", None)) for model in (by_dot, by_cosine, by_l2)}) == 3
    scaled_docs, scaled_queries, scaled_train = by_cosine.supply(dataset)
    assert scaled_train is not None and np.allclose(np.linalg.norm(scaled_docs, axis=1), 1, atol=1e-6)
    assert np.array_equal(scaled_train, scaled_queries[:5])
    long_docs, long_queries, long_train = by_l2.supply(dataset)
    assert long_train is not None and {long_docs.shape[1], long_queries.shape[1], long_train.shape[1]} == {33}
    own = Dataset.build(
        name="own", doc_ids=["a"], doc_vectors=docs[:1], query_ids=["q"], query_vectors=queries[:1], qrels=None
    )
    with pytest.raises(ModelError, match=r"dataset\.metric"):
        VectorModel(metric="dot").supply(own)


def test_vectors_of_all_queries_serve_the_judged_ones(tmp_path: Path) -> None:
    docs, queries = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)[[3, 1, 0]]
    dataset = Dataset.build(
        name="texts",
        doc_ids=list("abcd"),
        doc_texts=list("abcd"),
        query_ids=["q0", "q1", "q2"],
        query_texts=["", "", ""],
        qrels={"q0": {"d": 1}, "q2": {"a": 1}},
    )
    for rows in (queries, queries[[0, 2]]):
        save_file({"docs": docs, "queries": np.ascontiguousarray(rows)}, tmp_path / "mine.safetensors")
        _, supplied, _ = VectorModel(path=str(tmp_path / "mine.safetensors")).supply(dataset)
        assert np.array_equal(supplied, queries[[0, 2]])
