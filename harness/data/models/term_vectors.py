"""Terms with weights that exist already."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError, ModelError
from harness.data.models.encoder import Identity, Role, content_hash
from harness.data.models.own_files import OwnFiles, chosen_rows, existing_file
from harness.data.term_files.ciff import read_ciff
from harness.data.term_files.csr import Side, read_csr
from harness.data.term_files.jsonl import read_jsonl
from harness.data.term_files.stored import StoredTerms
from harness.data.text_lines import kind_of
from methods.base import VectorsError
from methods.representations import Kind, SparseVectors, as_sparse

if TYPE_CHECKING:
    from harness.data.datasets import Dataset

log = logging.getLogger(__name__)

Int64 = NDArray[np.int64]

READERS: dict[str, Callable[[Path, Side], StoredTerms]] = {
    ".npz": read_csr,
    ".jsonl": lambda path, side: read_jsonl(path),
    ".ciff": lambda path, side: read_ciff(path),
}


@dataclass(frozen=True, eq=False)
class SuppliedTerms:
    """The terms of a dataset's documents and queries.

    Attributes
    ----------
    docs, queries : SparseVectors
        Of one vocabulary, in dataset order.
    dictionary : bytes or None
        The words that have numbers, a line each in the order of these; None where the files have numbers.
    """

    docs: SparseVectors
    queries: SparseVectors
    dictionary: bytes | None


@dataclass(kw_only=True, frozen=True)
class TermVectorModel(OwnFiles):
    """No model: terms with weights exist already, in files beside a dataset.

    A .npz has the rows in the order of the source: documents, and its judged queries or all of its queries. Rows of
    other files are found by id. Words get numbers in alphabetical order; those of queries that no document has are
    dropped, which changes no score.

    Attributes
    ----------
    docs : str
        A .npz (`scipy.sparse.save_npz`), .jsonl (an `id` and a `vector` of terms and weights a line) or .ciff.
    queries : str or None
        A .npz or .jsonl of the queries; None where the .npz of the documents has both, as `docs_data`, `docs_indices`,
        `docs_indptr`, `docs_shape`, `queries_data` and so on.
    """

    NAME: ClassVar[str] = "term_vectors"
    HELD: ClassVar[str] = "terms"
    gives: ClassVar[Kind] = "terms"

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return the hash of the files: what terms are numbered by is in both."""
        return {"vectors": self._content}

    def supply(self, dataset: Dataset) -> SuppliedTerms:
        """Return the terms of documents and queries in dataset order.

        Raises
        ------
        ModelError
            For a missing or unreadable file, a number of rows that is not the dataset's, documents or queries that are
            not in it, words here and numbers there, or weights that are negative, NaN or infinite.
        """
        of_docs, of_queries = self.docs, self.queries or self.docs
        docs, queries = self._read(of_docs, "docs"), self._read(of_queries, "queries")
        if (docs.names is None) != (queries.names is None):
            words, numbers = ("documents", "queries") if queries.names is None else ("queries", "documents")
            raise ModelError(f"{of_docs}: terms of {words} are words and those of {numbers} are numbers")
        doc_rows = chosen_rows(
            docs, of_docs, dataset.doc_ids, [(len(dataset.doc_ids), dataset.source_rows)], "documents"
        )
        judged = (len(dataset.query_ids), dataset.query_source_rows)
        every = (dataset.source_queries, dataset.query_positions)
        query_rows = chosen_rows(queries, of_queries, dataset.query_ids, [judged, every], "judged queries")
        doc_numbers = query_numbers = dictionary = None
        if docs.names is None or queries.names is None:
            width = _width(of_docs, docs, queries)
        else:
            words_in_order = sorted(docs.names)
            number = {word: place for place, word in enumerate(words_in_order)}
            doc_numbers = np.array([number[word] for word in docs.names], dtype=np.int64)
            query_numbers = np.array([number.get(word, -1) for word in queries.names], dtype=np.int64)
            width, dictionary = len(number), "\n".join(words_in_order).encode()
            if unknown := int((query_numbers < 0).sum()):
                log.info(
                    "%d of %d terms of the queries are in no document and are left out", unknown, len(query_numbers)
                )
        return SuppliedTerms(
            _sound(docs.numbered(doc_numbers, width).take(doc_rows), of_docs, "docs"),
            _sound(queries.numbered(query_numbers, width).take(query_rows), of_queries, "queries"),
            dictionary,
        )

    def _read(self, name: str, side: Side) -> StoredTerms:
        path = existing_file(name, side)
        kind = kind_of(path)
        if side == "queries" and self.queries is None and kind in (".jsonl", ".ciff"):
            raise ModelError(f"model.queries is missing: {name} has the documents only")
        allowed = (".npz", ".jsonl", ".ciff") if side == "docs" else (".npz", ".jsonl")
        if kind not in allowed:
            raise ModelError(f"model.{side}: {name} is not {', '.join(allowed[:-1])} or {allowed[-1]}")
        try:
            return READERS[kind](path, side)
        except DatasetError as error:
            raise ModelError(str(error)) from error

    @cached_property
    def _content(self) -> str:
        files = [existing_file(self.docs, "docs")] + (
            [] if self.queries is None else [existing_file(self.queries, "queries")]
        )
        return hashlib.sha256(" ".join(content_hash(path) for path in files).encode()).hexdigest()


def _width(name: str, docs: StoredTerms, queries: StoredTerms) -> int:
    """Return the number of terms of numbered vocabularies."""
    if docs.width is not None and queries.width is not None and docs.width != queries.width:
        raise ModelError(
            f"{name}: the documents have a vocabulary of {docs.width} terms and the queries one of {queries.width}"
        )
    said = docs.width or queries.width
    largest = max((int(side.terms.max()) + 1 for side in (docs, queries) if len(side.terms)), default=1)
    if said is not None and largest > said:
        raise ModelError(f"{name}: term {largest - 1} is beyond the vocabulary of {said}")
    return said or largest


def _sound(terms: SparseVectors, name: str, side: Side) -> SparseVectors:
    try:
        return as_sparse(terms, f"{name}: '{side}'")
    except VectorsError as error:
        raise ModelError(str(error)) from None
