"""Explicit semantic analysis: concepts by hand, where they come from, and what is counted."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from harness.base.errors import ConfigError, DatasetError, ModelError
from harness.data.datasets import Dataset
from harness.data.embedding_cache import embed
from harness.data.models import EsaModel

PLAIN = {"stemmer": None, "stopwords": None}


def collection(texts: list[str], queries: list[str], **more: list) -> Dataset:
    # ids descend, which is the order that is kept
    ids = [f"d{9 - row}" for row in range(len(texts))]
    asked = [f"q{row}" for row in range(len(queries))]
    return Dataset.build(
        name="toy", doc_ids=ids, doc_texts=texts, query_ids=asked, query_texts=queries, qrels=None, **more
    )


def test_weights_by_hand() -> None:
    dataset = collection(["cat cat dog", "dog fish", "emu"], ["cat dog", "emu yak"])
    model = EsaModel(**PLAIN)
    found = model.supply(dataset)
    rare, common = math.log(3), math.log(1.5)
    concept = np.array([[(1 + math.log(2)) * rare, common, 0, 0], [0, common, 0, rare], [0, 0, rare, 0]])
    concept /= np.linalg.norm(concept, axis=1, keepdims=True)  # of cat, dog, emu, fish
    texts = np.array([[(1 + math.log(2)) * rare, common, 0, 0], [0, common, 0, rare], [0, 0, rare, 0]])
    docs = texts @ concept.T
    docs /= np.linalg.norm(docs, axis=1, keepdims=True)
    np.testing.assert_allclose(found.docs.to_csr().toarray(), docs, atol=2e-3)
    queries = np.array([[rare, common, 0, 0], [0, 0, rare, 0]]) @ concept.T
    np.testing.assert_allclose(model.queries(found, ["cat dog", "emu yak"]).to_csr().toarray(), queries, atol=2e-3)


def test_the_strongest_concepts_are_kept() -> None:
    dataset = collection(["red", "red blue", "red blue green", "grey"], ["red blue green"])
    all_of_them = EsaModel(**PLAIN).supply(dataset).docs.to_csr().toarray()
    found = EsaModel(k=2, **PLAIN).supply(dataset).docs
    assert found.counts.tolist() == [2, 2, 2, 1]
    for kept, every in zip(found.to_csr().toarray(), all_of_them, strict=True):
        assert set(np.flatnonzero(kept)) <= set(np.argsort(-every, kind="stable")[:2])
    np.testing.assert_allclose(np.square(found.to_csr().toarray()).sum(axis=1), 1, rtol=1e-5)


def test_concepts_of_elsewhere(tmp_path: Path) -> None:
    reference = tmp_path / "animals"
    reference.mkdir()
    lines = [{"_id": "1", "title": "Cats", "text": "cats purr"}, {"_id": "2", "text": "dogs bark"}]
    (reference / "corpus.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset = collection(["a purring cat", "barking", "xylophone"], ["bark"])
    model = EsaModel(concepts=str(reference))
    vectors = embed(dataset, model, tmp_path)
    assert vectors.docs.to_csr().toarray().argmax(axis=1).tolist()[:2] == [0, 1]
    assert vectors.docs.counts.tolist() == [1, 1, 0] and vectors.queries.terms.tolist() == [1]
    # a model from elsewhere, as others are; what it says depends on its content, and not on where it lies
    assert vectors.dictionary is None and model.label == "esa concepts=animals"
    before = model.identity("document", None)
    moved = reference.rename(tmp_path / "other")
    assert EsaModel(concepts=str(moved)).identity("document", None) == before
    (moved / "corpus.jsonl").write_text(json.dumps(lines[0]))
    assert EsaModel(concepts=str(moved)).identity("document", None) != before
    with pytest.raises(DatasetError, match="no folder"):
        EsaModel(concepts=str(reference)).supply(dataset)


def test_train_queries_with_their_answers_are_concepts_and_test_queries_are_not() -> None:
    dataset = collection(
        ["heart and lung", "a moon", "a sun"],
        ["zebra"],
        train_query_texts=["organs", "sky", "sky"],
        train_answers=[["d9"], ["d8", "d7"], []],
    )
    found = EsaModel(concepts="train", **PLAIN).supply(dataset)
    assert found.docs.width == 3 and set(found.interpreter.number) == {
        "organs",
        "heart",
        "and",
        "lung",
        "sky",
        "a",
        "moon",
        "sun",
    }
    assert found.docs.to_csr().toarray().argmax(axis=1).tolist() == [0, 1, 1]
    with pytest.raises(ModelError, match="toy has no train queries"):
        EsaModel(concepts="train").supply(collection(["a text"], ["q"]))


def test_what_a_query_needs_of_the_corpus_is_counted() -> None:
    dataset = collection([f"word{row} common" for row in range(9)], ["common"])
    found = EsaModel(**PLAIN).supply(dataset)
    terms, entries = 10, 9 + 0  # the term that all have says nothing
    text = len("\n".join(sorted([f"word{row}" for row in range(9)] + ["common"])))
    assert found.dictionary is not None
    assert len(found.dictionary) == text + 4 + 2 * terms + 4 * (terms + 1) + (1 + 2) * entries
    few = EsaModel(max_concepts=4, **PLAIN).supply(dataset)
    assert few.docs.width == 4 and len(few.dictionary or b"") < len(found.dictionary)


def test_bm25_as_association() -> None:
    dataset = collection(["cat cat dog", "dog fish", "emu"], ["dog"])
    model = EsaModel(association="bm25", **PLAIN)
    found = model.supply(dataset)
    weights = model.queries(found, ["dog"]).to_csr().toarray()[0]
    assert weights[1] > weights[0] > weights[2] == 0, "the shorter document says more of it"


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match="k must be at least 1, got 0"):
        EsaModel(k=0)
    with pytest.raises(ModelError, match="have no words"):
        EsaModel().supply(collection(["?!"], ["q"]))
