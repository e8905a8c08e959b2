"""What a search looks at: the float ranking of queries that are no test queries, on documents of the collection.

Judgements are never read here. The queries are train queries, or texts of the documents, or documents that then leave
the collection; methods that learn from queries learn from others than those they are measured on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError
from harness.base.memmap import as_float32, in_memory, take_vectors
from harness.base.sampling import sampled
from harness.data.datasets import Dataset
from harness.data.embedding_cache import Vectors
from harness.data.models.encoder import Encoder
from harness.data.training_queries import MAX_QUERIES, choose
from harness.evaluation.exact_search import search, search_uncompressed
from harness.evaluation.fidelity import TOP, Comparison
from harness.evaluation.index_build import encode, teach
from harness.evaluation.kept_lengths import refuse_lost_lengths
from methods.base import Codec

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Answer = TypeVar("Answer")

MOST_DOCUMENTS = 20_000
"""Documents of a larger collection that are looked at: what ranks settings there ranks them on all."""

MOST_QUERIES = 400
"""Queries that settings are measured by."""

LEAST_QUERIES = 20
"""Fewer tell no two settings apart."""

SHARE_OF_QUERIES = 2
"""One of so many given queries at most is measured by; the others are left for fitting."""

SHARE_OF_DOCUMENTS = 7
"""Where documents are the queries, one in so many at most leaves the collection."""

FIRST_LOOK = 5_000
"""Documents of the first look at a setting; a collection of fewer than twice as many is looked at whole at once."""


@dataclass(frozen=True, eq=False)
class Look:
    """Documents and queries that a setting is measured on, and their ten nearest by the float vectors.

    Attributes
    ----------
    docs : float32 (n, d)
    queries : float32 (m, d)
        None of them is among those for fitting.
    nearest : int64 (m, min(10, n))
    fit_docs : float32 (f, d)
        `docs` themselves, as an index is built; others of a collection of which only a sample is looked at, since
        what is fitted on a sample would know it better than the rest.
    fit_queries : float32 (q, d)
    fit_pairs : int64 (p, 2)
        Rows of `fit_queries` and of `fit_docs` that answer them; never by test judgements.
    """

    docs: Float32
    queries: Float32
    nearest: Int64
    fit_docs: Float32
    fit_queries: Float32
    fit_pairs: Int64

    @classmethod
    def of(cls, docs: Float32, queries: Float32, fit_docs: Float32, fit_queries: Float32, fit_pairs: Int64) -> Look:
        """Rank with the float vectors."""
        _, nearest = search_uncompressed(queries, docs, min(TOP, len(docs)))
        return cls(docs, queries, nearest, fit_docs, fit_queries, fit_pairs)

    def part(self, documents: int) -> Look:
        """Return a look at some of the documents, drawn at random, and at half of the queries."""
        rows = sampled(len(self.docs), documents)
        fitted = rows if self.fit_docs is self.docs else sampled(len(self.fit_docs), documents)
        place = np.full(len(self.fit_docs), -1, dtype=np.int64)
        place[fitted] = np.arange(len(fitted))
        pairs = np.column_stack([self.fit_pairs[:, 0], place[self.fit_pairs[:, 1]]])
        docs = self.docs[rows]
        fit_docs = docs if self.fit_docs is self.docs else self.fit_docs[fitted]
        return Look.of(docs, self.queries[::2], fit_docs, self.fit_queries, pairs[pairs[:, 1] >= 0])


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a setting does.

    Attributes
    ----------
    code_bytes, resident_bytes : float
        Of a document: all of its codes, and those that a search holds in memory.
    state_bytes : int
        Of what `fit` learned.
    overlaps : float64 (m,)
        Share of the ten nearest that are found, for each query; empty for a setting that was too large to be searched.
    documents : int
        That it was measured on.
    fit_seconds, encode_seconds, search_seconds : float
        In all; see `documents_per_second` and `query_ms`.
    """

    code_bytes: float
    resident_bytes: float
    state_bytes: int
    overlaps: Float64
    documents: int
    fit_seconds: float
    encode_seconds: float
    search_seconds: float = 0.0

    @property
    def quality(self) -> float:
        """Mean overlap with the float ranking's ten best."""
        return float(self.overlaps.mean())

    @property
    def documents_per_second(self) -> float:
        """Documents encoded a second."""
        return self.documents / max(self.encode_seconds, 1e-9)

    @property
    def query_ms(self) -> float:
        """Milliseconds of a query, searched in one batch with the others."""
        return 1000 * self.search_seconds / max(len(self.overlaps), 1)


def measured(make: Callable[[], Codec], look: Look, max_bytes: float | None = None, turns: int = 1) -> Outcome:
    """Fit a method, encode the documents, search them.

    Parameters
    ----------
    make : callable
        Returns a new, unfitted codec.
    look : Look
    max_bytes : float or None
        Bytes of codes a document above which nothing is searched.
    turns : int
        So often documents are encoded and searched; the shortest time of each counts, since what else a machine does
        only ever adds to it.

    Raises
    ------
    MethodError
        If the method does not fit the data.
    """
    codec = make()
    begin = time.perf_counter()
    teach(codec, look.fit_docs, look.fit_queries, look.fit_pairs)
    refuse_lost_lengths(codec, look.docs)
    fit_seconds = time.perf_counter() - begin
    codes, encode_seconds = _fastest(lambda: encode(codec, look.docs), turns)
    arrays = codes.to_arrays()
    on_disk = codec.on_disk(arrays)
    n = len(look.docs)
    code_bytes = codes.nbytes / n
    resident = sum(array.nbytes for name, array in arrays.items() if name not in on_disk) / n
    state = sum(array.nbytes for array in codec.state().values())
    overlaps: Float64 = np.empty(0)
    search_seconds = 0.0
    if max_bytes is None or resident <= max_bytes:
        (_, rows), search_seconds = _fastest(lambda: search(codec, look.queries, codes, look.nearest.shape[1]), turns)
        overlaps = Comparison.of(rows, look.nearest).recall(TOP, TOP)
    return Outcome(code_bytes, resident, state, overlaps, n, fit_seconds, encode_seconds, search_seconds)


def _fastest(work: Callable[[], Answer], turns: int) -> tuple[Answer, float]:
    """Return the last answer of work done so many times, and the seconds of the fastest one."""
    seconds = []
    for _ in range(turns):
        begin = time.perf_counter()
        answer = work()
        seconds.append(time.perf_counter() - begin)
    return answer, min(seconds)


@dataclass(frozen=True, eq=False)
class Objective:
    """The looks that settings are measured by, from a quick one to the whole.

    Attributes
    ----------
    whole : Look
    source : str
        What its queries are: "train", "titles", "sentences" or "documents".
    documents : int
        Of the collection.
    """

    whole: Look
    source: str
    documents: int

    @cached_property
    def looks(self) -> tuple[Look, ...]:
        """The looks in order; the last one is `whole`."""
        if len(self.whole.docs) < 2 * FIRST_LOOK or len(self.whole.queries) < 4 * LEAST_QUERIES:
            return (self.whole,)
        return (self.whole.part(FIRST_LOOK), self.whole)

    @property
    def width(self) -> int:
        """Dimensions of the vectors."""
        return int(self.whole.docs.shape[1])

    @property
    def in_words(self) -> str:
        """What was looked at."""
        kind = {"train": "train queries", "documents": "documents held out as queries"}.get(self.source, self.source)
        return f"{len(self.whole.queries):,} {kind}, {len(self.whole.docs):,} of {self.documents:,} documents"

    @classmethod
    def of(cls, dataset: Dataset, encoder: Encoder, vectors: Vectors, source: str = "auto", seed: int = 0) -> Objective:
        """Collect what may be looked at.

        Parameters
        ----------
        dataset : Dataset
            Its test queries and judgements are used for one thing: no query that is looked at is one of them.
        encoder : Encoder
        vectors : Vectors
            Of the dataset.
        source : {"auto", "train", "titles", "sentences", "documents"}
            See `harness.data.training_queries.choose`.
        seed : int
            Of what is drawn.

        Raises
        ------
        ConfigError
            If the dataset has no such queries, or too few.
        """
        found = choose(source, dataset, encoder, dataset)
        if found.source == "none":
            raise ConfigError("a search needs queries to look at: --queries train, titles, sentences or documents")
        asked = found.vectors(vectors)
        assert asked is not None
        return cls.from_arrays(
            vectors.docs,
            asked,
            found.pairs,
            found.source,
            own=found.rows if found.source == "documents" else None,
            seed=seed,
        )

    @classmethod
    def from_arrays(
        cls,
        docs: Float32,
        queries: Float32 | None,
        pairs: Int64 | None = None,
        source: str = "documents",
        own: Int64 | None = None,
        seed: int = 0,
    ) -> Objective:
        """Divide documents and queries.

        Parameters
        ----------
        docs : float32 (n, d)
        queries : float32 (m, d) or None
            None: the documents themselves are the queries.
        pairs : int64 (p, 2) or None
            Rows of queries and of the documents that answer them.
        source : str
            What the queries are.
        own : int64 (m,) or None
            The document that each query is: it leaves the collection. None with `queries`: none is.
        seed : int
        """
        n, rng = len(docs), np.random.default_rng(seed)
        if queries is None:
            own = np.sort(rng.choice(n, min(n, MAX_QUERIES), replace=False))
            queries = take_vectors(docs, own)
        share = SHARE_OF_QUERIES if own is None else SHARE_OF_DOCUMENTS
        count = min(MOST_QUERIES, len(queries) // share)
        if count < LEAST_QUERIES:
            raise ConfigError(
                f"{len(queries)} {source} are too few to look at one in {share}: {share * LEAST_QUERIES} are needed"
            )
        order = rng.permutation(len(queries))
        tuned, taught = np.sort(order[:count]), np.sort(order[count:][:MAX_QUERIES])
        kept = np.arange(n) if own is None else np.setdiff1d(np.arange(n), own[tuned])
        drawn = kept[sampled(len(kept), 2 * MOST_DOCUMENTS)]
        apart = len(drawn) == 2 * MOST_DOCUMENTS
        rows, fitted = (drawn[::2], drawn[1::2]) if apart else (kept[sampled(len(kept), MOST_DOCUMENTS)],) * 2
        asked = in_memory(queries)
        searched = as_float32(take_vectors(docs, rows))
        whole = Look.of(
            searched,
            as_float32(asked[tuned]),
            as_float32(take_vectors(docs, fitted)) if apart else searched,
            as_float32(asked[taught]),
            _renumbered(pairs, taught, fitted, len(queries), n),
        )
        return cls(whole, source, n)


def _renumbered(pairs: Int64 | None, queries: Int64, docs: Int64, m: int, n: int) -> Int64:
    """Return pairs of rows of m queries and n documents as rows of some of both; those of others are left out."""
    if pairs is None:
        return np.empty((0, 2), dtype=np.int64)
    places = []
    for rows, count in ((queries, m), (docs, n)):
        place = np.full(count, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        places.append(place)
    renumbered = np.column_stack([places[0][pairs[:, 0]], places[1][pairs[:, 1]]])
    found: Int64 = renumbered[(renumbered >= 0).all(axis=1)]
    return found
