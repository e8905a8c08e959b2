"""BM25 as terms with weights: by hand, and as the library scores the same tokens."""

import math
from pathlib import Path

import bm25s
import numpy as np
import pytest

from harness.base.errors import ConfigError, ModelError
from harness.data.datasets import Dataset, Folder
from harness.data.embedding_cache import embed
from harness.data.models import BM25Model
from methods.representations import exact_search

TEXTS = ["Cats chase the mice", "mice and more mice run", "a dog", "Running dogs chased cats; cats ran.", "?!"]
QUERIES = ["cat", "running mouse mice mice", "unicorns", ""]


def collection(texts: list[str] = TEXTS, queries: list[str] = QUERIES) -> Dataset:
    return Dataset.build(
        name="pets",
        # kept in descending order of ids
        doc_ids=[f"d{99 - i}" for i in range(len(texts))],
        doc_texts=texts,
        query_ids=[f"q{i}" for i in range(len(queries))],
        query_texts=queries,
        qrels=None,
    )


def test_weights_by_hand() -> None:
    model = BM25Model(stemmer=None, stopwords=None, k1=1.2, b=0.75)
    lexicon = model.supply(collection(["red red fish", "blue fish", "red"]))
    assert lexicon.dictionary == b"blue\nfish\nred" and list(lexicon.number.values()) == [0, 1, 2]

    def weight(frequency: int, length: int, having: int) -> float:
        idf = math.log(1 + (3 - having + 0.5) / (having + 0.5))
        return idf * frequency / (frequency + 1.2 * (1 - 0.75 + 0.75 * length / 2))

    expected = [[0, weight(1, 3, 2), weight(2, 3, 2)], [weight(1, 2, 1), weight(1, 2, 2), 0], [0, 0, weight(1, 1, 2)]]
    np.testing.assert_allclose(lexicon.docs.to_csr().toarray(), expected, rtol=1e-5)
    asked = model.queries(lexicon, ["red RED, fish!", "green", ""])
    np.testing.assert_array_equal(asked.to_csr().toarray(), [[0, 1, 2], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("variant", ["lucene", "robertson", "atire", "bm25l", "bm25+"])
def test_scores_are_those_of_the_library_on_the_same_tokens(variant: str) -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(60)])
    texts = [" ".join(rng.choice(words, rng.integers(1, 30), p=_zipf(60))) for _ in range(50)]
    asked = [" ".join(rng.choice(words, 5)) for _ in range(20)]
    model = BM25Model(variant=variant, stemmer=None, stopwords=None, k1=1.4, b=0.6, delta=0.7)  # type: ignore[arg-type]
    lexicon = model.supply(collection(texts, asked))
    scores, rows = exact_search(model.queries(lexicon, asked), lexicon.docs, 50)
    theirs = bm25s.BM25(method=variant, k1=1.4, b=0.6, delta=0.7)
    theirs.index([text.split() for text in texts], show_progress=False)
    for query, text in enumerate(asked):
        own = np.empty(50)
        own[rows[query]] = scores[query]
        known = [word for word in text.split() if word in theirs.vocab_dict]
        expected = theirs.get_scores(known)
        # what a document gets for a term that it lacks is the same for all of a query
        np.testing.assert_allclose(own - own.min(), expected - expected.min(), atol=1e-4)


def _zipf(n: int) -> np.ndarray:
    shares = 1 / np.arange(1, n + 1)
    return shares / shares.sum()


def test_stems_and_stopwords_meet_in_documents_and_queries(tmp_path: Path) -> None:
    vectors = embed(collection(), BM25Model(), tmp_path)
    _, rows = exact_search(vectors.queries, vectors.docs, 5)
    assert set(rows[0, :2]) == {0, 3} and rows[1, 0] == 1
    assert vectors.docs.counts[4] == 0 and vectors.queries.counts.tolist()[2:] == [0, 0]
    assert vectors.dictionary is not None and b"the" not in vectors.dictionary.split(b"\n")
    again = embed(collection(), BM25Model(), tmp_path)
    assert vectors.dictionary == again.dictionary
    np.testing.assert_array_equal(vectors.docs.weights, again.docs.weights)
    np.testing.assert_array_equal(vectors.as_queries(QUERIES, "queries").terms, vectors.queries.terms)


def test_settings_are_part_of_the_identity_and_of_the_label() -> None:
    assert BM25Model().label == "bm25" and BM25Model(k1=1.2, stemmer=None).label == "bm25 k1=1.2 stemmer=None"
    identities = [str(model.identity("document", None)) for model in (BM25Model(), BM25Model(b=0.5), BM25Model(k1=1.0))]
    assert len(set(identities)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"b": 1.5}, "b from 0 to 1, got k1=0.9, b=1.5"),
        ({"k1": float("nan")}, "k1 and delta must be at least 0"),
        ({"variant": "okapi"}, "variant must be one of"),
    ],
)
def test_settings_without_meaning_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BM25Model(**options)


def test_what_has_no_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="stemmer=elvish: there is none of that name; there are arabic"):
        BM25Model(stemmer="elvish").supply(collection())
    with pytest.raises(ModelError, match="stopwords=xx"):
        BM25Model(stopwords="xx").supply(collection())
    with pytest.raises(ModelError, match="have no words"):
        BM25Model().supply(collection(["?", "..."]))
    with pytest.raises(ModelError, match="weighs terms by a whole corpus"):
        BM25Model().encode(["a text"], "document", None)


@pytest.mark.parametrize(("name", "expected", "tolerance"), [("scifact", 0.679, 0.01), ("cranfield", 0.352, 0.01)])
def test_published_figures(shared_data: Path, name: str, expected: float, tolerance: float) -> None:
    """SciFact's is Anserini's, flat, with title and text."""
    from harness.evaluation.measure import Problem

    dataset = Folder(path=str(shared_data / name)).load()
    model = BM25Model()
    lexicon = model.supply(dataset)
    assert dataset.query_texts is not None
    problem = Problem.of(dataset, lexicon.docs, model.queries(lexicon, dataset.query_texts), 100)
    assert problem.exact_metrics["ndcg_at_10"] == pytest.approx(expected, abs=tolerance)
