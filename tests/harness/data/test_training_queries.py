"""Queries for `fit`: where they come from, and what never becomes one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from harness.base.errors import ConfigError
from harness.data import training_queries
from harness.data.datasets import Dataset
from harness.data.embedding_cache import embed
from harness.data.models.vectors import VectorModel
from harness.data.training_queries import MIN_CHARACTERS, SOURCES, choose, sentences


class Lengths:
    """A text's vector is its length and its role; notes what it encodes."""

    name = label = "lengths"

    def __init__(self) -> None:
        self.encoded: list[tuple[str, str]] = []

    def identity(self, role: str, task: str | None) -> dict[str, str]:
        return {"model": "lengths", "role": role}

    def encode(self, texts: Sequence[str], role: str, task: str | None) -> np.ndarray:
        self.encoded += [(role, text) for text in texts]
        return np.array([[len(text), float(role == "query")] for text in texts], dtype=np.float32)


BODIES = [
    "Ah. This is what we found in the end.",
    "def f():\n    return something_or_other()\n}",
    "too short",
    "",
]


def texts(**changes: Any) -> Dataset:
    parts: dict[str, Any] = {
        "name": "toy",
        "doc_ids": ["d", "c", "b", "a"],  # descending, as a dataset keeps them
        "doc_texts": BODIES,
        "titles": ["One title", "", "Another  TITLE", "one title"],
        "query_ids": ["q"],
        "query_texts": ["asked"],
        "train_query_texts": ["practice", "more practice"],
        "qrels": None,
    }
    return Dataset.build(**(parts | changes))


def vectors(**changes: Any) -> Dataset:
    parts: dict[str, Any] = {
        "name": "given",
        "doc_ids": ["c", "b", "a"],
        "query_ids": ["q"],
        "qrels": None,
        "doc_vectors": np.arange(6, dtype=np.float32).reshape(3, 2),
        "query_vectors": np.ones((1, 2), np.float32),
    }
    return Dataset.build(**(parts | changes))


def chosen(wanted: str, dataset: Dataset, encoder: Any = None, tested: Dataset | None = None) -> list[str] | None:
    return choose(wanted, dataset, encoder or Lengths(), tested or dataset).texts


def test_sources() -> None:
    assert chosen("train", texts()) == ["practice", "more practice"]
    assert chosen("titles", texts()) == ["One title", "Another  TITLE"], "no empty one, none twice"
    assert chosen("sentences", texts()) == [
        "This is what we found in the end.",
        "return something_or_other()",
        "too short",
    ]
    found = choose("documents", texts(), Lengths(), texts())
    assert found.texts is None and found.rows.tolist() == [0, 1, 2]
    none = choose("none", texts(), Lengths(), texts())
    assert none.texts is None and none.label == "none"


def test_auto_takes_the_first_there_is() -> None:
    def auto(dataset: Dataset, encoder: Any = None) -> str:
        return choose("auto", dataset, encoder or Lengths(), dataset).source

    untrained: dict[str, Any] = {"train_query_texts": []}
    assert auto(texts()) == "train"
    assert auto(texts(**untrained)) == "titles"
    assert auto(texts(**untrained, titles=["", " ", "", ""])) == auto(texts(**untrained, titles=None)) == "sentences"
    assert auto(vectors(), VectorModel()) == "documents"


def test_a_source_that_is_missing_is_an_error_that_says_which_there_are() -> None:
    bare = texts(train_query_texts=[], titles=None)
    with pytest.raises(
        ConfigError, match="toy with model lengths has no train queries .* are sentences, documents, no"
    ):
        choose("train", bare, Lengths(), bare)
    with pytest.raises(
        ConfigError, match="given with model vectors has no titles to fit with; there are documents, no"
    ):
        choose("titles", vectors(), VectorModel(), vectors())
    with pytest.raises(ConfigError, match="must be auto, train, titles, sentences, documents or none, got 'title'"):
        choose("title", texts(), Lengths(), texts())


def test_no_test_query_whatever_it_was_made_from() -> None:
    asked = texts(
        query_ids=["1", "2", "3", "4"],
        query_texts=["Practice ", "one title", "RETURN something_or_other()", "too short"],
    )
    assert chosen("train", texts(), tested=asked) == ["more practice"]
    assert chosen("titles", texts(), tested=asked) == ["Another  TITLE"]
    assert chosen("sentences", texts(), tested=asked) == ["This is what we found in the end."]
    assert choose("documents", texts(), Lengths(), asked).rows.tolist() == [0, 1]
    only = texts(train_query_texts=["practice"])
    assert choose("auto", only, Lengths(), asked).source == "titles", "a source that consists of test queries is none"
    with pytest.raises(ConfigError, match="no train queries"):
        choose("train", only, Lengths(), asked)


def test_of_too_many_an_even_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_queries, "MAX_QUERIES", 5)
    many = vectors(doc_ids=[f"{i:02d}" for i in reversed(range(20))], doc_vectors=np.ones((20, 2), np.float32))
    assert choose("documents", many, VectorModel(), many).rows.tolist() == [0, 4, 8, 12, 16]
    assert chosen("train", texts(train_query_texts=[f"t{i}" for i in range(10)])) == ["t0", "t2", "t4", "t6", "t8"]


def test_texts_are_encoded_as_queries_through_the_cache(tmp_path: Path) -> None:
    dataset, encoder = texts(), Lengths()
    titles = choose("titles", dataset, encoder, dataset)
    of = embed(dataset, encoder, tmp_path)
    encoder.encoded.clear()
    for _ in range(2):
        np.testing.assert_array_equal(titles.vectors(of), [[9, 1], [14, 1]])
    assert sorted(encoder.encoded) == [("query", "Another  TITLE"), ("query", "One title")], "once, and no other text"
    assert titles.label == "2 titles"
    assert choose("train", dataset, encoder, dataset).label == "2 train queries"
    np.testing.assert_array_equal(choose("documents", dataset, encoder, dataset).vectors(of), of.docs[:3])
    assert choose("none", dataset, encoder, dataset).vectors(of) is None


def test_a_file_of_vectors_has_train_queries_or_documents(tmp_path: Path) -> None:
    dataset = texts(train_query_texts=["practice", "asked", "more practice"])
    given = {"docs": np.eye(4, dtype=np.float32), "queries": np.ones((1, 4), np.float32)}
    save_file(given, tmp_path / "without.safetensors")
    save_file(given | {"train_queries": np.eye(3, 4, dtype=np.float32)}, tmp_path / "with.safetensors")
    without, model = (VectorModel(path=str(tmp_path / f"{name}.safetensors")) for name in ("without", "with"))
    assert choose("auto", dataset, without, dataset).source == "documents"
    found = choose("auto", dataset, model, dataset)
    assert found.label == "2 train queries" and found.texts is None
    np.testing.assert_array_equal(found.vectors(embed(dataset, model, tmp_path)), np.eye(4)[[0, 2]])


def test_the_identity_is_the_source_and_its_content() -> None:
    def identity(wanted: str, dataset: Dataset) -> dict[str, Any]:
        return choose(wanted, dataset, Lengths(), dataset).identity()

    assert identity("auto", texts()) == identity("train", texts())
    assert identity("titles", texts())["source"] == "titles"
    # the fingerprint of a dataset does not know where a title ends
    moved = texts(titles=["One", "", "Another  TITLE", "one title"])
    assert moved.fingerprint == texts().fingerprint and identity("titles", moved) != identity("titles", texts())
    assert len({str(identity(source, texts())) for source in SOURCES}) == len(SOURCES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "It is so, e.g. in the second case, as seen by others. Ok. Is this one a question? Yes it is, definitely!",
            [
                "It is so, e.g. in the second case, as seen by others.",
                "Is this one a question?",
                "Yes it is, definitely!",
            ],
        ),
        (
            "第一句话在这里，说了一些别的事情，不太重要的。第二句话是我们要找的那一句，它足够长了。",
            ["第一句话在这里，说了一些别的事情，不太重要的。", "第二句话是我们要找的那一句，它足够长了。"],
        ),
        ("def f():\n    return something_or_other()\n}", ["return something_or_other()"]),
        ("  one line without an end  ", ["one line without an end"]),
        ("a. b. c.", ["a. b. c."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet="ab .!?\nA。", max_size=200))
def test_sentences_are_parts_of_their_text_in_order(text: str) -> None:
    found = sentences(text)
    start = 0
    for sentence in found:
        assert sentence == sentence.strip()
        start = text.index(sentence, start) + len(sentence)
    assert all(len(sentence) >= MIN_CHARACTERS for sentence in found) or found == [text.strip()]


def test_sentences_are_drawn_from_all_over_the_documents_and_always_the_same() -> None:
    bodies = [f"The first sentence of {i}. The second sentence of {i}." for i in range(200)]
    many = texts(doc_ids=[f"{i:03d}" for i in reversed(range(200))], doc_texts=bodies, titles=None)
    found = chosen("sentences", many)
    assert found is not None and found == chosen("sentences", many) and len(found) == 200
    assert all(sentence in body for sentence, body in zip(found, bodies, strict=True))
    assert 70 < sum(sentence.startswith("The first") for sentence in found) < 130
