"""Queries for `fit`: a dataset's train queries, or pseudo queries made from its documents. Never a test query.

Some methods learn where queries lie (`methods.base.Part.wants_queries`). Few collections have train queries, but all
have documents: their titles, a sentence of each, or the documents themselves stand in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError
from harness.base.memmap import take_vectors
from harness.base.sampling import evenly_spaced
from harness.data.datasets import Dataset
from harness.data.embedding_cache import Vectors, text_hash
from harness.data.models.encoder import Encoder
from harness.data.models.query_model import TwoModels
from harness.data.models.term_vectors import TermVectorModel
from harness.data.models.token_vectors import TokenVectorModel
from harness.data.models.vectors import VectorModel

Float32 = NDArray[np.float32]
Source = Literal["train", "titles", "sentences", "documents", "none"]

SOURCES: tuple[Source, ...] = get_args(Source)
"""In the order in which fit_queries=auto tries them."""

SUPPLIED = (VectorModel, TermVectorModel, TokenVectorModel)
"""Models that are files, and encode no text."""

MAX_QUERIES = 10_000
"""Of more, so many are taken, evenly spaced: projections and second moments learn nothing from the millionth."""

MIN_CHARACTERS = 20
"""Shorter sentences say too little to be queries: "Fig. 2.", "et al.", a closing bracket."""

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?![a-z])|(?<=[。！？])|\n+")
"""A small letter after the full stop is taken for an abbreviation's."""


@dataclass(frozen=True, eq=False)
class FitQueries:
    """Which queries `fit` is to see. Nothing is encoded before `vectors`.

    Attributes
    ----------
    source : {"train", "titles", "sentences", "documents", "none"}
    rows : int64 (q,)
        Which train queries, or which documents.
    texts : list of str or None
        What the model is to encode; None where the vectors exist.
    pairs : int64 (p, 2)
        Which documents answer them: rows of these queries and of the dataset's documents. A title or a sentence is
        answered by the document that it is from, a train query by those judged relevant to it.
    """

    source: Source
    rows: NDArray[np.int64]
    texts: list[str] | None
    pairs: NDArray[np.int64]

    @property
    def label(self) -> str:
        """Count and source, such as "2034 titles"."""
        return "none" if self.source == "none" else f"{len(self.rows)} {_in_words(self.source)}"

    def identity(self, with_pairs: bool = False) -> dict[str, Any]:
        """Return what determines them, besides the dataset's fingerprint and the model."""
        content = self.rows.tolist() if self.texts is None else self.texts
        made = {"source": self.source, "content": text_hash([str(item) for item in content])[:16]}
        if with_pairs:
            made["pairs"] = text_hash([f"{query} {doc}" for query, doc in self.pairs.tolist()])[:16]
        return made

    def vectors(self, dataset: Vectors) -> Float32 | None:
        """Return their vectors, float32 (q, d), from those of the dataset or its model; None for the source "none"."""
        if self.source == "none":
            return None
        if self.texts is not None:
            asked: Float32 = dataset.as_queries(self.texts, _in_words(self.source))
            return asked
        given = dataset.train_queries if self.source == "train" else dataset.docs
        assert given is not None
        taken: Float32 = take_vectors(given, self.rows)
        return taken


def choose(wanted: str, dataset: Dataset, encoder: Encoder, tested: Dataset) -> FitQueries:
    """Find the queries that a method is fitted with.

    Parameters
    ----------
    wanted : str
        *train*: train queries. *titles*: the documents' titles. *sentences*: one of each document, drawn at random
        (always the same): on SciFact its second moment serves the train queries as well as the last sentence's or
        better, and no part of a document is left out. *documents*: the documents themselves. *none*. *auto*: the first
        of these that there are.
    dataset : Dataset
        Whose documents the method is fitted on.
    encoder : Encoder
    tested : Dataset
        Its test queries are no pseudo queries, whatever they were made from; nor is any text twice.

    Raises
    ------
    ConfigError
        If there is no such source, or the dataset lacks it.
    """
    check(wanted)
    # of a document, both models' vectors are known
    first: list[Source] = ["documents"] if isinstance(encoder, TwoModels) else []
    for source in (*first, *SOURCES):
        if wanted in ("auto", source):
            found = _collect(source, dataset, encoder, tested)
            if source == "none" or len(found.rows):
                return found
    there = [source for source in SOURCES if source == "none" or len(_collect(source, dataset, encoder, tested).rows)]
    raise ConfigError(
        f"fit_queries={wanted}: {dataset.name} with model {encoder.label} has no {_in_words(wanted)} to fit with; "
        f"there are {', '.join(there)}"
    )


def made_from_documents(source: Literal["titles", "sentences"], dataset: Dataset) -> FitQueries:
    """Return the titles or sentences of a collection's documents, as `choose` would for a model of texts."""
    return _collect(source, dataset, None, dataset)


def check(wanted: str) -> None:
    """Raise `ConfigError` for a source that does not exist."""
    if wanted not in ("auto", *SOURCES):
        raise ConfigError(f"fit_queries must be auto, {', '.join(SOURCES[:-1])} or none, got '{wanted}'")


def sentences(text: str) -> list[str]:
    """Split a text after full stops and at line ends; all of it is one sentence where none has `MIN_CHARACTERS`."""
    parts = [part.strip() for part in SENTENCE_END.split(text)]
    return [part for part in parts if len(part) >= MIN_CHARACTERS] or [text.strip()]


def _collect(source: Source, dataset: Dataset, encoder: Encoder | None, tested: Dataset) -> FitQueries:
    given = _texts(source, dataset, encoder)
    rows = [row for row, text in enumerate(given) if text.strip()]
    rows = [rows[place] for place in evenly_spaced(len(rows), MAX_QUERIES)]
    seen = {_key(text) for text in tested.query_texts or []}
    kept: dict[int, str] = {}
    rng = np.random.default_rng(0)
    for row in rows:
        text = given[row]
        if source == "sentences":
            text = (parts := sentences(text))[rng.integers(len(parts))]
        if (key := _key(text)) not in seen:
            seen.add(key)
            kept[row] = text
    exist = source == "none" or isinstance(encoder, SUPPLIED)
    exist |= source == "documents" and not isinstance(encoder, TwoModels)
    pairs = _answers(source, list(kept), dataset)
    return FitQueries(source, np.array(list(kept), dtype=np.int64), None if exist else list(kept.values()), pairs)


def _answers(source: Source, rows: list[int], dataset: Dataset) -> NDArray[np.int64]:
    if source == "train":
        wanted = {doc_id for row in rows for doc_id in dataset.train_answers[row]}
        places = {doc_id: place for place, doc_id in enumerate(dataset.doc_ids) if doc_id in wanted} if wanted else {}
        found = [
            (number, places[doc_id])
            for number, row in enumerate(rows)
            for doc_id in dataset.train_answers[row]
            if doc_id in places
        ]
    else:
        found = list(enumerate(rows))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _texts(source: Source, dataset: Dataset, encoder: Encoder | None) -> Sequence[str]:
    """Return the texts of a source; a document that is a vector is called by its id."""
    if source == "documents":
        return dataset.doc_texts or dataset.doc_ids
    if source == "train":
        texts = dataset.train_query_texts
        there = not isinstance(encoder, SUPPLIED) or getattr(encoder, "has_train_queries", False)
        return texts if texts and there else []
    texts_of = {"titles": dataset.titles, "sentences": dataset.doc_texts}
    return [] if isinstance(encoder, SUPPLIED) else texts_of.get(source) or []


def _in_words(source: str) -> str:
    return "train queries" if source == "train" else source


def _key(text: str) -> str:
    """Return what equal texts have in common, whatever their capitals and spaces."""
    return " ".join(text.split()).casefold()
