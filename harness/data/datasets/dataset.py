"""The `Dataset` that every loader returns, its checks and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError
from harness.base.files import hasher
from harness.base.memmap import blocks, take_vectors
from harness.data.datasets.row_numbers import RowNumbers
from harness.data.metric import Asked
from harness.data.vector_files.finite import all_finite

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> graded relevance."""


class Loader(Protocol):
    """A member of the `dataset` config group."""

    def load(self) -> Dataset:
        """Read the collection; raises `DatasetError`."""
        ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """A retrieval collection in memory. Make one with `Dataset.build`, which checks and orders it.

    Documents are in descending order of their id, so that "score, then lower row" is the order in which trec_eval
    ranks ties. Queries without a judgement are dropped, as MTEB drops them; one whose judgements are all of grade 0
    stays and scores 0, as it does there.

    Attributes
    ----------
    name, revision : str
        What tables call it, and the source's own version mark ("" where it has none).
    doc_ids : list of str
        n unique ids, descending.
    doc_texts : list of str or None
        What the model reads, title and body joined as MTEB joins them; None for a dataset of vectors.
    query_ids, query_texts : list of str
        The m test queries, in the order of the source.
    qrels : mapping or None
        Judgements of the test queries; None where there are none (then only fidelity is measured).
    titles : list of str or None
        Documents' titles ("" where one has none), for pseudo queries.
    train_query_texts : list of str
        Queries that are not test queries: the only real queries that a method may see.
    train_answers : list of (list of str)
        For each of these, the ids of the documents judged relevant to it; empty lists where that is not known.
    source_rows : int64 (n,)
        Position of each document in the source, for vectors that were made in that order.
    query_source_rows : int64 (m,)
        Likewise for queries, counted among the judged ones.
    skip_identical_ids : bool
        A document with the query's own id is not a result (MTEB's rule for ArguAna and its like).
    task : str or None
        MTEB's task name, by which its models choose prompts.
    metric : str
        How a dataset's own vectors are compared, "dot", "cosine" or "l2"; their inner products rank so.
    asked : Asked
        What was done to a dataset's own query vectors for it.
    query_positions : int64 (m,)
        Position of each query among all `source_queries` of the source, judged or not.
    source_queries : int
    doc_vectors, query_vectors : array (n, d), (m, d), or None
        For a dataset that consists of vectors, of the type that they are stored as (`harness.base.memmap.blocks`).
    whole : Dataset or None
        The collection that this is a subset of (`harness.data.datasets.subset`), drawn with `subset_seed`.
    whole_rows : int64 (n,) or None
        The documents' rows in it.
    """

    name: str
    revision: str
    doc_ids: Sequence[str]
    doc_texts: list[str] | None
    query_ids: list[str]
    query_texts: list[str] | None
    qrels: Qrels | None
    titles: list[str] | None
    train_query_texts: list[str]
    train_answers: list[list[str]]
    source_rows: NDArray[np.int64]
    query_source_rows: NDArray[np.int64]
    skip_identical_ids: bool = False
    task: str | None = None
    metric: str = "dot"
    asked: Asked = field(default_factory=Asked)
    query_positions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    source_queries: int = 0
    doc_vectors: NDArray[np.float32] | None = field(default=None, repr=False)
    query_vectors: NDArray[np.float32] | None = field(default=None, repr=False)
    whole: Dataset | None = field(default=None, repr=False)
    whole_rows: NDArray[np.int64] | None = field(default=None, repr=False)
    subset_seed: int = 0

    @classmethod
    def build(
        cls,
        *,
        name: str,
        doc_ids: Sequence[str],
        query_ids: Sequence[str],
        qrels: Qrels | None,
        doc_texts: Sequence[str] | None = None,
        query_texts: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
        train_query_texts: Iterable[str] = (),
        train_answers: Sequence[Sequence[str]] | None = None,
        revision: str = "",
        skip_identical_ids: bool = False,
        task: str | None = None,
        doc_vectors: NDArray[np.float32] | None = None,
        query_vectors: NDArray[np.float32] | None = None,
        count_unknown_docs: bool = False,
        metric: str = "dot",
        asked: Asked | None = None,
    ) -> Dataset:
        """Check a collection and put it in order.

        `count_unknown_docs` keeps judgements of documents that the corpus lacks, as MTEB does: they are relevant
        documents that nobody can find. Otherwise they are an error.

        Raises
        ------
        DatasetError
            For an empty corpus, no (judged) query, a duplicate id, a judgement of an unknown document, or parts of
            different lengths.
        """
        if not doc_ids:
            raise DatasetError(f"{name}: the corpus is empty")
        _refuse_duplicates(name, "document", doc_ids)
        _refuse_duplicates(name, "query", query_ids)
        for label, part, ids in (
            ("document texts", doc_texts, doc_ids),
            ("titles", titles, doc_ids),
            ("document vectors", doc_vectors, doc_ids),
            ("query texts", query_texts, query_ids),
            ("query vectors", query_vectors, query_ids),
        ):
            if part is not None and len(part) != len(ids):
                raise DatasetError(f"{name}: {len(part)} {label} for {len(ids)} ids")
        train_texts = list(train_query_texts)
        if train_answers is not None and len(train_answers) != len(train_texts):
            raise DatasetError(f"{name}: answers to {len(train_answers)} of {len(train_texts)} train queries")
        judged: list[int] = list(range(len(query_ids)))
        if qrels is not None:
            known = doc_ids if isinstance(doc_ids, RowNumbers) else set(doc_ids)
            for query_id, judgements in qrels.items():
                for doc_id in judgements:
                    if doc_id not in known and not count_unknown_docs:
                        raise DatasetError(
                            f"{name}: the judgements of query '{query_id}' name document '{doc_id}', "
                            "which is not in the corpus"
                        )
            judged = [row for row in judged if qrels.get(query_ids[row])]
            qrels = {query_ids[row]: dict(qrels[query_ids[row]]) for row in judged}
        if not judged:
            raise DatasetError(f"{name}: no query is judged")
        ordered_ids: Sequence[str]
        if isinstance(doc_ids, RowNumbers):
            rows, ordered_ids = np.arange(len(doc_ids) - 1, -1, -1), doc_ids.reverse()
        else:
            order = sorted(range(len(doc_ids)), key=doc_ids.__getitem__, reverse=True)
            rows, ordered_ids = np.array(order, dtype=np.int64), [doc_ids[i] for i in order]
        return cls(
            name=name,
            revision=revision,
            doc_ids=ordered_ids,
            doc_texts=None if doc_texts is None else [doc_texts[i] for i in rows.tolist()],
            query_ids=[query_ids[i] for i in judged],
            query_texts=None if query_texts is None else [query_texts[i] for i in judged],
            qrels=qrels,
            titles=None if titles is None else [titles[i] for i in rows.tolist()],
            train_query_texts=train_texts,
            train_answers=[[] for _ in train_texts] if train_answers is None else [list(ids) for ids in train_answers],
            source_rows=rows,
            query_source_rows=np.arange(len(judged), dtype=np.int64),
            skip_identical_ids=skip_identical_ids,
            task=task,
            metric=metric,
            asked=asked or Asked(),
            query_positions=np.array(judged, dtype=np.int64),
            source_queries=len(query_ids),
            doc_vectors=None if doc_vectors is None else _in_order(doc_vectors, rows),
            query_vectors=None if query_vectors is None else take_vectors(query_vectors, np.array(judged)),
        )

    def part(self, rows: NDArray[np.int64]) -> Dataset:
        """Return the collection with these documents only, ascending rows; queries and judgements stay as they are."""

        def of(items: list[str] | None) -> list[str] | None:
            return None if items is None else [items[row] for row in rows]

        return replace(
            self,
            doc_ids=[self.doc_ids[row] for row in rows],
            doc_texts=of(self.doc_texts),
            titles=of(self.titles),
            source_rows=self.source_rows[rows],
            doc_vectors=None if self.doc_vectors is None else self.doc_vectors[rows],
            whole_rows=None if self.whole_rows is None else self.whole_rows[rows],
        )

    @property
    def fingerprint(self) -> str:
        """Hash of everything that a measurement depends on: ids, texts, vectors, judgements, train queries."""
        return self._sums.fingerprint

    @property
    def finite(self) -> bool:
        """Whether all numbers of the documents' vectors are finite; true without vectors."""
        return self._sums.finite

    def checksum_of(self, docs: Any) -> str | None:
        """Return `harness.base.files.array_checksum` of documents that are this collection's own float32 vectors."""
        own = self.doc_vectors
        if own is None or not isinstance(docs, np.ndarray) or docs.dtype != np.float32:
            return None
        places = [(array.ctypes.data, array.shape, array.strides, array.dtype) for array in (own, docs)]
        return self._sums.checksum if places[0] == places[1] else None

    @cached_property
    def _sums(self) -> _Sums:
        """What is known from one reading of vectors that may be larger than memory."""
        digest = hashlib.sha256(b'{"doc_ids": ')
        own = self.doc_ids
        for text in own.as_json() if isinstance(own, RowNumbers) else (_as_json(list(own)),):
            digest.update(text)
        rest = {
            "format": 1,
            "doc_texts": self.doc_texts,
            "query_ids": self.query_ids,
            "query_texts": self.query_texts,
            "qrels": self.qrels,
            "train": self.train_query_texts,
            "skip_identical_ids": self.skip_identical_ids,
        }
        # "doc_ids" is the first of all keys, sorted
        digest.update(b", " + _as_json(rest)[1:])
        checksum, finite = hasher(), True
        # SHA-256 takes longer than all the rest: it has a thread to itself, a block behind
        with ThreadPoolExecutor(1) as aside, np.errstate(over="ignore"):  # of float64 that nobody has looked at
            for vectors in (self.doc_vectors, self.query_vectors):
                if vectors is None:
                    continue
                behind = aside.submit(digest.update, repr(vectors.shape).encode())
                for _, block in blocks(vectors):
                    if vectors is self.doc_vectors:
                        checksum.update(block.data)
                        finite = finite and all_finite(block)
                    behind.result()
                    behind = aside.submit(digest.update, block.data)
                behind.result()
        return _Sums(digest.hexdigest()[:16], checksum.hexdigest(), finite)


class _Sums(NamedTuple):
    """A collection's fingerprint, xxh3_128 of its documents' vectors as float32, and whether these are finite."""

    fingerprint: str
    checksum: str
    finite: bool


def _as_json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _in_order(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return rows in another order: without a copy where it is the reverse, as for numbered rows."""
    n = len(vectors)
    return vectors[::-1] if np.array_equal(rows, np.arange(n - 1, -1, -1)) else vectors[rows]


def document_text(title: str | None, text: str) -> str:
    """Join a document's title and body as MTEB joins them (`mteb._create_dataloaders`, version 2)."""
    return f"{title} {text}".strip() if title else text.strip()


def unseen_queries(train: Mapping[str, str], test: Mapping[str, str]) -> dict[str, str]:
    """Return the train queries' texts by their ids, without those that a test query repeats by its id or its text.

    Parameters
    ----------
    train, test : mapping of str to str
        Texts by query id. `test` holds every judged query of the test split, dropped ones included.
    """
    seen = {text.strip() for text in test.values()}
    return {query_id: text for query_id, text in train.items() if query_id not in test and text.strip() not in seen}


def answers(judgements: Mapping[str, int]) -> list[str]:
    """Return the documents that a query's judgements call relevant: those of a grade above 0."""
    return [doc_id for doc_id, grade in judgements.items() if grade > 0]


def _refuse_duplicates(name: str, kind: str, ids: Sequence[str]) -> None:
    if isinstance(ids, RowNumbers) or len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for position, item in enumerate(ids, start=1):
        if item in seen:
            raise DatasetError(f"{name}: {kind} id '{item}' occurs twice (second time at entry {position})")
        seen.add(item)
