"""Queries made of documents: which there are, what answers them, and that none is a test query."""

import numpy as np
import pytest

from harness.base.errors import DatasetError
from harness.data.datasets import Dataset
from harness.data.pseudo_queries import PseudoQueries


class Loaded:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def load(self) -> Dataset:
        return self.dataset


def collection(titles: list[str] | None) -> Dataset:
    texts = [
        "A first sentence of it. The second sentence of it.",
        "Another text, of one sentence.",
        "What is asked here?",
    ]
    ids = ["c", "b", "a"]
    return Dataset.build(
        name="toy",
        doc_ids=ids,
        doc_texts=texts,
        titles=titles,
        query_ids=["q"],
        query_texts=["what is  ASKED here?"],
        qrels={"q": {"a": 1}},
    )


def test_a_title_is_answered_by_its_document() -> None:
    made = PseudoQueries(of=Loaded(collection(["One", "", "Three"]))).load()
    assert made.name == "toy-titles" and made.query_texts == ["One", "Three"]
    assert made.qrels == {"c titles": {"c": 1}, "a titles": {"a": 1}}
    assert made.doc_texts == collection(None).doc_texts and made.train_query_texts == []


def test_no_sentence_is_a_test_query() -> None:
    made = PseudoQueries(of=Loaded(collection(None)), source="sentences").load()
    assert made.qrels is not None and made.query_texts is not None
    assert [list(answers) for answers in made.qrels.values()] == [["c"], ["b"]]
    assert made.query_texts[0] in collection(None).doc_texts[0]  # type: ignore[index]


def test_evenly_spaced_documents_are_asked_for() -> None:
    many = Dataset.build(
        name="toy",
        doc_ids=[f"{row:03}" for row in range(90)],
        doc_texts=[f"This is document number {row}." for row in range(90)],
        query_ids=["q"],
        query_texts=["x"],
        qrels=None,
    )
    made = PseudoQueries(of=Loaded(many), source="sentences", most=9).load()
    assert np.diff([int(name[:3]) for name in made.query_ids]).tolist() == [-10] * 8


def test_nothing_to_make_queries_of() -> None:
    for titles in (None, ["", "", ""]):
        with pytest.raises(DatasetError, match="toy has no titles to make queries of"):
            PseudoQueries(of=Loaded(collection(titles))).load()
