"""Explicit semantic analysis: texts by what they have in common with the documents of a reference collection."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ModelError
from harness.base.sampling import evenly_spaced
from harness.data.models.bm25 import BM25Model, counted, numbered
from harness.data.models.encoder import Identity, Role, check_positive
from methods.representations import SparseVectors

if TYPE_CHECKING:
    from harness.data.datasets import Dataset

FORMAT = 1
"""Part of the identity: a change in how texts become concepts is another model."""

CORPUS, TRAIN, BUILT_IN = "corpus", "train", "stdlib"
"""Concepts that are no folder."""

TEXT_BLOCK = 64
"""Texts interpreted at a time: their weights of all concepts are held."""


@dataclass(frozen=True, eq=False)
class Interpreter:
    """What tells the concepts of a text.

    Attributes
    ----------
    number : mapping of term to its number
    rarity : float64 (V,)
        What a term counts in a text.
    association : scipy csr_array (V, C)
        How far each term belongs to each concept, float32 of float16's precision.
    """

    number: dict[str, int]
    rarity: NDArray[np.float64]
    association: Any

    def concepts(self, words: Sequence[Sequence[str]], k: int) -> SparseVectors:
        """Return the k strongest concepts of each text (n, C)."""
        counts = counted(words, self.number)
        weights = (1 + np.log(counts.weights)) * self.rarity[counts.terms]
        texts = counts.with_weights(weights.astype(np.float32)).to_csr()
        blocks = [
            _strongest((texts[start : start + TEXT_BLOCK] @ self.association).toarray(), k)
            for start in range(0, len(words), TEXT_BLOCK)
        ]
        return SparseVectors.concatenate(blocks)

    def stored(self) -> bytes:
        """Return terms, a line each, their rarity and the association, in the smallest types that hold them."""
        table = self.association
        numbers = table.indices.astype(np.min_scalar_type(table.shape[1] - 1))
        arrays = (
            self.rarity.astype(np.float16),
            table.indptr.astype(np.uint32),
            numbers,
            table.data.astype(np.float16),
        )
        return b"\0".join(["\n".join(self.number).encode(), *(array.tobytes() for array in arrays)])


@dataclass(frozen=True, eq=False)
class Interpreted:
    """A dataset's documents as concepts.

    Attributes
    ----------
    docs : SparseVectors (n, C)
        Of unit length.
    interpreter : Interpreter
    dictionary : bytes or None
        The interpreter, which a query cannot do without; None where it comes from elsewhere than the collection, and so
        is a model as other models are.
    """

    docs: SparseVectors
    interpreter: Interpreter
    dictionary: bytes | None


@dataclass(kw_only=True, frozen=True)
class EsaModel(BM25Model):
    """Explicit semantic analysis (Gabrilovich and Markovitch, 2007): texts as weighted concepts.

    A concept is a document of a reference collection. A term belongs to it as far as `association` says, a text as far
    as its terms do, with the logarithms of their numbers; the strongest concepts are kept. Documents have unit length,
    so that queries rank them by cosine.

    Attributes
    ----------
    concepts : str
        *corpus*: the documents that are searched. *train*: the collection's train queries, each with the documents
        that answer it: the supervised form, which no test query enters. *stdlib*: the built-in set's functions. Or a
        folder with a corpus in BEIR's layout.
    max_concepts : int
        Of more, so many are taken, evenly spaced: what a search needs beside the codes would grow with the corpus.
    k : int
        Concepts of a text.
    association : {"tfidf", "bm25"}
        tfidf: (1 + log frequency) log(C / concepts with the term), of unit length, as published; terms of texts count
        by rarity too. bm25: the weights of `BM25Model`, with its settings.
    """

    concepts: str = CORPUS
    max_concepts: int = 10_000
    k: int = 100
    association: Literal["tfidf", "bm25"] = "tfidf"

    def _check(self) -> None:
        super()._check()
        check_positive(self, "max_concepts", "k")

    @property
    def name(self) -> str:
        """The family."""
        return "esa"

    def _settings(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("max_concepts", "k", "association")}
        return {"concepts": Path(self.concepts).name, **own, **super()._settings()}

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return the settings, the reference collection's hash, and the versions of what cuts and stems words."""
        settings = {**super().identity(role, task)["bm25"], "format": FORMAT}
        return {"esa": settings if self._reference is None else settings | {"concepts": _hash(self._reference)}}

    @cached_property
    def _reference(self) -> list[str] | None:
        """Texts of a reference collection other than the dataset's own."""
        from harness.data.datasets import StandardLibrary
        from harness.data.datasets.folder import corpus_texts

        if self.concepts in (CORPUS, TRAIN):
            return None
        return StandardLibrary().load().doc_texts if self.concepts == BUILT_IN else corpus_texts(self.concepts)

    def _concept_texts(self, dataset: Dataset) -> list[str]:
        if self._reference is not None:
            return self._reference
        assert dataset.doc_texts is not None
        if self.concepts == CORPUS:
            return dataset.doc_texts
        if not dataset.train_query_texts:
            raise ModelError(f"model.concepts={TRAIN}: {dataset.name} has no train queries")
        text_of = dict(zip(dataset.doc_ids, dataset.doc_texts, strict=True))
        return [
            " ".join([query, *(text_of[doc_id] for doc_id in answers if doc_id in text_of)])
            for query, answers in zip(dataset.train_query_texts, dataset.train_answers, strict=True)
        ]

    def supply(self, dataset: Dataset) -> Interpreted:  # type: ignore[override]
        """Return the concepts of a dataset's documents, and what tells those of queries.

        Raises
        ------
        ModelError
            For a dataset without texts, concepts that are not there or have no word, an unknown language, or a missing
            package.
        DatasetError
            For a reference collection that cannot be read.
        """
        if dataset.doc_texts is None:
            raise ModelError(f"{dataset.name} consists of vectors, which have no words; use model=vectors")
        texts = self._concept_texts(dataset)
        words = self._words([texts[row] for row in evenly_spaced(len(texts), self.max_concepts)])
        number = numbered(words)
        if not number:
            raise ModelError(f"model.concepts={self.concepts}: these have no words (by {self.token_pattern!r})")
        interpreter = self._learned(words, number)
        docs = interpreter.concepts(self._words(dataset.doc_texts), self.k)
        docs = docs.with_weights(_unit(docs.weights, docs.rows, len(docs)))
        return Interpreted(docs, interpreter, interpreter.stored() if self._reference is None else None)

    def queries(self, interpreted: Interpreted, texts: Sequence[str]) -> SparseVectors:  # type: ignore[override]
        """Return the concepts of queries (m, C)."""
        return interpreted.interpreter.concepts(self._words(texts), self.k)

    def _learned(self, words: list[list[str]], number: dict[str, int]) -> Interpreter:
        if self.association == "bm25":
            concepts = self._weighted([[number[term] for term in text] for text in words], len(number))
            rarity = np.ones(len(number))
        else:
            counts = counted(words, number)
            rarity = np.log(len(words) / np.bincount(counts.terms, minlength=len(number)))
            # what a query is told by is what is stored
            rarity = rarity.astype(np.float16).astype(np.float64)
            weights = (1 + np.log(counts.weights)) * rarity[counts.terms]
            concepts = counts.with_weights(_unit(weights, counts.rows, len(counts)))
        association = concepts.to_csr().T.tocsr()
        association.data = association.data.astype(np.float16).astype(np.float32)
        association.eliminate_zeros()
        return Interpreter(number, rarity, association)


def _strongest(weights: Any, k: int) -> SparseVectors:
    """Return the k largest positive weights of each row of float32 (b, C); among equals the lower columns'."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :k]
    columns = np.sort(order, axis=1)
    values = np.take_along_axis(weights, columns, axis=1)
    kept = values > 0
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)
    return SparseVectors(indptr, columns[kept].astype(np.uint32), values[kept].astype(np.float32), weights.shape[1])


def _unit(weights: Any, rows: Any, n: int) -> Any:
    """Return the weights of rows, float32 (nnz,), scaled to unit length row by row."""
    lengths = np.sqrt(np.bincount(rows, np.square(weights, dtype=np.float64), minlength=n))
    return (weights / np.where(lengths > 0, lengths, 1)[rows]).astype(np.float32)


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
