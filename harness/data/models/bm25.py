"""Lexical representations: the terms of a document with the weights that BM25 gives them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from harness.base.errors import ConfigError, ModelError
from harness.base.options import Options
from harness.data.models.encoder import Identity, Role
from methods.representations import Kind, SparseVectors

if TYPE_CHECKING:
    from harness.data.datasets import Dataset

FORMAT = 1
"""Part of the identity: a change in how texts become terms and weights is another model."""

EXTRA = "model=bm25 needs the packages bm25s and PyStemmer: pip install 'vecbudget[lexical]'"


@dataclass(frozen=True, eq=False)
class Lexicon:
    """What a corpus taught: its terms, and what a term is worth in each document.

    Attributes
    ----------
    docs : SparseVectors (n, V)
    number : mapping of term to its number
        In alphabetical order.
    """

    docs: SparseVectors
    number: dict[str, int]

    @property
    def dictionary(self) -> bytes:
        """The terms, which a query cannot do without, a line each in the order of their numbers."""
        return "\n".join(self.number).encode()


@dataclass(kw_only=True, frozen=True)
class BM25Model(Options):
    """BM25 (Robertson and Zaragoza, 2009), as terms with weights: a score is an inner product with a query's counts.

    Document frequencies and lengths are those of the corpus that is searched, and stand in the documents' weights, so
    that a query is the number of times that it has each term. Terms of a query that no document has are dropped.

    Attributes
    ----------
    variant : {"lucene", "robertson", "atire", "bm25l", "bm25+"}
        The formulas of Kamphuis et al. (2020), as bm25s has them (Lu, 2024). bm25l and bm25+ give a document something
        for a term that it lacks: this is the same for all such documents and is left out, which no ranking sees.
    k1, b : float
        Saturation of term frequency; correction for length. Anserini's 0.9 and 0.4 by default.
    delta : float
        Of bm25l and bm25+.
    stemmer : str or None
        A Snowball stemmer, by language ("english", "german", "porter"); None takes words as they are.
    stopwords : str or None
        Language of the words that are left out, as bm25s has them ("en": Lucene's 33); None keeps all.
    token_pattern : str
        A regular expression of words in lower-case text.
    """

    variant: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = "lucene"
    k1: float = 0.9
    b: float = 0.4
    delta: float = 0.5
    stemmer: str | None = "english"
    stopwords: str | None = "en"
    token_pattern: str = r"(?u)\b\w+\b"

    gives: ClassVar[Kind] = "terms"

    def _check(self) -> None:
        if not self.k1 >= 0 or not 0 <= self.b <= 1 or not self.delta >= 0:
            raise ConfigError(
                f"model=bm25: k1 and delta must be at least 0 and b from 0 to 1, got k1={self.k1}, b={self.b}, "
                f"delta={self.delta}"
            )

    @property
    def name(self) -> str:
        """The family."""
        return "bm25"

    @property
    def label(self) -> str:
        """The name, and what is not as it is by default."""
        default = type(self)()._settings()
        changed = [f"{key}={value}" for key, value in self._settings().items() if value != default[key]]
        return " ".join([self.name, *changed])

    def _settings(self) -> dict[str, Any]:
        names = ("variant", "k1", "b", "delta", "stemmer", "stopwords", "token_pattern")
        return {name: getattr(self, name) for name in names}

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return the settings, and the versions of what cuts and stems words."""
        return {"bm25": {**self._settings(), "format": FORMAT, **_versions()}}

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> SparseVectors:
        """Refuse: what a term weighs depends on the whole corpus."""
        raise ModelError("model=bm25 weighs terms by a whole corpus and encodes no text alone")

    def supply(self, dataset: Dataset) -> Lexicon:
        """Return the terms of a dataset's documents with their weights.

        Raises
        ------
        ModelError
            For a dataset without texts or without a single word, an unknown language, or a missing package.
        """
        if dataset.doc_texts is None:
            raise ModelError(f"{dataset.name} consists of vectors, which have no words; use model=vectors")
        words = self._words(dataset.doc_texts)
        number = numbered(words)
        if not number:
            raise ModelError(f"the documents of {dataset.name} have no words (by {self.token_pattern!r})")
        return Lexicon(self._weighted([[number[term] for term in text] for text in words], len(number)), number)

    def queries(self, lexicon: Lexicon, texts: Sequence[str]) -> SparseVectors:
        """Return how often each query (m, V) has each term of the corpus."""
        return counted(self._words(texts), lexicon.number)

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the stemmed words of each text, in order, as strings."""
        try:
            import bm25s
            import Stemmer
        except ImportError as error:
            raise ModelError(EXTRA) from error
        stemmer = None
        if self.stemmer is not None:
            if self.stemmer not in Stemmer.algorithms():
                known = ", ".join(Stemmer.algorithms())
                raise ModelError(f"model.stemmer={self.stemmer}: there is none of that name; there are {known}")
            stemmer = Stemmer.Stemmer(self.stemmer)
        try:
            found = bm25s.tokenize(
                list(texts),
                token_pattern=self.token_pattern,
                stopwords=self.stopwords or [],
                stemmer=stemmer,
                show_progress=False,
            )
        except ValueError as error:
            raise ModelError(f"model.stopwords={self.stopwords}: {error}") from error
        word = {place: term for term, place in found.vocab.items()}
        return [[word[place] for place in text] for text in found.ids]

    def _weighted(self, ids: list[list[int]], width: int) -> SparseVectors:
        """Return the weights of documents, lists of term numbers with repetitions."""
        import bm25s
        from scipy.sparse import csc_array

        index = bm25s.BM25(method=self.variant, k1=self.k1, b=self.b, delta=self.delta)
        scores = index.build_index_from_ids(list(range(width)), ids, show_progress=False)
        matrix = csc_array((scores["data"], scores["indices"], scores["indptr"]), shape=(len(ids), width))
        # robertson's weights of a term that half of the documents have are 0, and say nothing
        return _positive(SparseVectors.from_csr(matrix))


def numbered(words: Iterable[Iterable[str]]) -> dict[str, int]:
    """Return the terms of texts with their numbers, in alphabetical order."""
    return {term: place for place, term in enumerate(sorted({term for text in words for term in text}))}


def counted(words: Sequence[Sequence[str]], number: Mapping[str, int]) -> SparseVectors:
    """Return how often each text (n, V) has each term that has a number."""
    counts = [np.unique([number[term] for term in text if term in number], return_counts=True) for text in words]
    return SparseVectors(
        np.concatenate([[0], np.cumsum([len(terms) for terms, _ in counts])]).astype(np.int64),
        np.concatenate([terms for terms, _ in counts]).astype(np.uint32),
        np.concatenate([often for _, often in counts]).astype(np.float32),
        len(number),
    )


def _positive(vectors: SparseVectors) -> SparseVectors:
    return vectors.kept(vectors.weights > 0)


def _versions() -> dict[str, str]:
    try:
        return {name: importlib.metadata.version(name) for name in ("bm25s", "PyStemmer")}
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(EXTRA) from error
