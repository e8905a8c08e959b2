"""Vectors that exist already, from files of every kind that `harness.data.vector_files` reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError, DatasetError
from harness.base.options import Options
from harness.data.datasets.dataset import Dataset
from harness.data.datasets.qrels import Judgement, neighbours_as_qrels, read_qrels
from harness.data.datasets.row_numbers import RowNumbers
from harness.data.metric import Comparable, Metric, for_inner_products
from harness.data.vector_files import VectorSource, hdf5, hdf5_layout, read_vectors
from harness.data.vector_files.arrays import npz_names, tensor_names
from harness.data.vector_files.finite import refuse_non_finite
from harness.data.vector_files.read import existing_files, vector_files
from harness.data.vector_files.remote import RemoteFile
from harness.data.vector_files.source import NamedFile

Array = NDArray[Any]
Files = str | list[str]

COPIED_BYTES = 1 << 31
"""Documents of up to so many bytes are copied to take a random sample out of them."""

GROUND_TRUTH = (".ivecs", ".ibin")
"""Endings of files that hold the true neighbours of each query."""


@dataclass(kw_only=True, frozen=True)
class VectorFiles(Options):
    """Read documents' and queries' vectors, one row each.

    Rows without ids are known by their number, counted from 0, with zeros in front, so that the order of ids is the
    order of rows; judgements may give the number with or without the zeros.

    Parameters
    ----------
    docs : str or list of str
        A file, several, a folder of them or a pattern such as "part-*.parquet": .npy, .npz, .safetensors, .pt, .fvecs,
        .bvecs, .fbin, .u8bin, .i8bin, .parquet, .arrow, .feather, .csv, .jsonl, or .hdf5 or .h5 as ann-benchmarks
        publishes it. A file of named arrays has "docs" or only one; a HDF5 file has its documents in "train". A URL
        (s3://, gs://, hf://, https://) is a .parquet or .npy file, a folder of them, or a pattern, read in ranges.
    queries : str, list of str or None
        Likewise. None is the array "queries" of a file of named arrays that has one, or "test" of a HDF5 file; without
        it, `held_out` documents leave the corpus and are the queries: drawn at random (always the same), but the last
        ones of a corpus of more than `COPIED_BYTES`, which is not copied. If that one is sorted, give queries instead.
    metric : {"auto", "dot", "cosine", "l2"}
        How vectors are compared. Searches are by inner product; for cosine both sides are scaled to unit length, for
        l2 one more dimension holds what the lengths change. auto is what the file says, else unit length decides; where
        neither does, an error asks. See `harness.data.metric`.
    qrels : str or None
        Judgements (see `harness.data.datasets.qrels.read_qrels`), or ground truth in .ivecs or .ibin: the first
        `neighbours` of each query are then judged relevant. None measures fidelity only.
    neighbours : int
        See `qrels`.
    doc_ids, query_ids : str or None
        Text files with one id a line, where the vectors' files have none.
    vector_column, id_column : str or None
        Columns of tables. None is the only column of lists, or else the numeric columns of one name with numbers behind
        it; and a column named "id" or "_id", or a named index of pandas. A pattern such as "emb_*" chooses among
        several groups of numbered columns.
    query_vector_column, query_id_column : str or None
        Likewise of the queries' files; None is the same as the documents'.
    packed_bits : bool or None
        Whether bytes are eight bits each, as `numpy.packbits` packs them; None refuses bytes that may be either.
    held_out : int
        See `queries`.
    any_distance : bool
        The same as metric=dot, for a HDF5 file whose "distance" is another one.
    skip_identical_ids : bool
        A document with the query's own id is not a result.
    unknown_docs : "refuse" or "count"
        What becomes of a judgement whose document is not there: an error, or a relevant document that nobody can find.
    unknown_queries : "refuse" or "skip"
        What becomes of judgements whose query is not there: an error, or nothing.
    name : str or None
        What tables call the dataset; None is the name of `docs` without its suffix.
    """

    docs: Files
    queries: Files | None = None
    metric: Metric = "auto"
    qrels: str | None = None
    neighbours: int = 10
    doc_ids: str | None = None
    query_ids: str | None = None
    vector_column: str | None = None
    id_column: str | None = None
    query_vector_column: str | None = None
    query_id_column: str | None = None
    packed_bits: bool | None = None
    held_out: int = 200
    any_distance: bool = False
    skip_identical_ids: bool = False
    unknown_docs: Literal["refuse", "count"] = "refuse"
    unknown_queries: Literal["refuse", "skip"] = "refuse"
    name: str | None = None

    def load(self) -> Dataset:
        """Read the files.

        Raises
        ------
        DatasetError
            For a file that is missing, of an unknown kind or malformed, NaN or infinity (with file and row), docs and
            queries of different widths, a judgement (with file and line) of an unknown row, a metric that is not known,
            or a HDF5 file whose vectors are in chunks or compressed.
        MissingExtraError
            For a file whose reader is not installed.
        """
        # a large corpus is read once for its fingerprint and this check, where nothing else looks at all of it before
        at_once = self.metric == "dot" and self.queries is not None
        docs = self._read(self.docs, "docs", self.doc_ids, checked=not at_once)
        name = self.name or docs.path.stem
        queries: _Rows | None = None
        if self.queries is not None:
            queries = self._read(self.queries, "queries", self.query_ids)
        elif _holds_queries(docs.path):
            queries = self._read(self.docs, "queries", self.query_ids)
        if queries is None:
            if self.qrels is not None or self.query_ids is not None:
                raise DatasetError(f"{name}: judgements or ids of queries need dataset.queries, the queries' vectors")
            return self._hold_out(name, docs)
        if docs.vectors.shape[1] != queries.vectors.shape[1]:
            raise DatasetError(
                f"{queries.path} has vectors of {queries.vectors.shape[1]} dimensions, "
                f"but {docs.path} of {docs.vectors.shape[1]}"
            )
        comparable = self._comparable(docs, queries.vectors)
        dataset = Dataset.build(
            name=name,
            revision=comparable.note,
            doc_ids=docs.names(),
            doc_vectors=comparable.docs,
            query_ids=queries.names(),
            query_vectors=comparable.queries,
            qrels=None if self.qrels is None else self._judgements(docs, queries),
            skip_identical_ids=self.skip_identical_ids,
            count_unknown_docs=self.unknown_docs == "count",
            metric=comparable.metric,
            asked=comparable.asked,
        )
        if at_once and not dataset.finite:
            refuse_non_finite(docs.path, docs.vectors)
        return dataset

    def _check(self) -> None:
        for name in ("docs", "queries"):
            if isinstance(getattr(self, name), list):
                # a frozen dataclass is hashed by its fields
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("held_out", "neighbours"):
            if getattr(self, name) < 1:
                raise ConfigError(f"dataset.{name} must be at least 1, got {getattr(self, name)}")

    def _read(self, files: str | Sequence[str], role: str, ids_file: str | None, checked: bool = True) -> _Rows:
        paths = vector_files(files)
        query = role == "queries"
        source = VectorSource(
            role,
            (self.query_vector_column if query else None) or self.vector_column,
            (self.query_id_column if query else None) or self.id_column,
            "dataset.query_" if query and (self.query_vector_column or self.query_id_column) else "dataset.",
        )
        # of several files, what is wrong is told of the one that has it
        stored = read_vectors(paths, source, self.packed_bits, checked or len(paths) > 1)
        ids = stored.ids if ids_file is None else _read_ids(ids_file)
        if ids is not None:
            if len(ids) != len(stored.vectors):
                raise DatasetError(f"{ids_file or paths[0]}: {len(ids)} ids for {len(stored.vectors)} vectors")
            _refuse_repeated(ids_file or str(paths[0]), ids)
        path: NamedFile = paths[0]
        if len(paths) > 1 and isinstance(files, str):
            path = replace(path, url=files) if isinstance(path, RemoteFile) else Path(files)
        return _Rows(path=path, vectors=stored.vectors, ids=ids, metric=stored.metric)

    def _comparable(self, docs: _Rows, queries: Array) -> Comparable:
        metric: Metric = "dot" if self.any_distance and self.metric == "auto" else self.metric
        return for_inner_products(
            docs.vectors, queries, metric, word=docs.metric, source=str(docs.path), option="dataset.metric"
        )

    def _hold_out(self, name: str, docs: _Rows) -> Dataset:
        n = len(docs.vectors)
        if self.held_out >= n:
            raise DatasetError(
                f"{docs.path} has {n} rows, of which {self.held_out} cannot be held out as queries; "
                "give dataset.queries, or a smaller dataset.held_out"
            )
        names = docs.names()
        if docs.vectors.nbytes > COPIED_BYTES:
            remaining, drawn = slice(n - self.held_out), slice(n - self.held_out, n)
            what = f"the last {self.held_out} of {n} rows held out as queries"
            doc_ids = RowNumbers(n - self.held_out) if docs.ids is None else names[remaining]
            query_ids = names[drawn]
            doc_vectors, query_vectors = docs.vectors[remaining], np.array(docs.vectors[drawn])
        else:
            chosen = np.zeros(n, dtype=bool)
            chosen[np.random.default_rng(0).choice(n, self.held_out, replace=False)] = True
            what = f"{self.held_out} of {n} rows held out as queries"
            doc_ids = [names[row] for row in np.flatnonzero(~chosen).tolist()]
            query_ids = [names[row] for row in np.flatnonzero(chosen).tolist()]
            doc_vectors, query_vectors = docs.vectors[~chosen], docs.vectors[chosen]
        comparable = self._comparable(_Rows(docs.path, doc_vectors, None, docs.metric), query_vectors)
        return Dataset.build(
            name=f"{name}-heldout{self.held_out}",
            revision=f"{comparable.note}; {what}" if comparable.note else what,
            doc_ids=doc_ids,
            doc_vectors=comparable.docs,
            query_ids=query_ids,
            query_vectors=comparable.queries,
            qrels=None,
            metric=comparable.metric,
            asked=comparable.asked,
        )

    def _judgements(self, docs: _Rows, queries: _Rows) -> dict[str, dict[str, int]]:
        (path,) = existing_files(str(self.qrels))
        find_query, find_doc = queries.finder(), docs.finder()
        qrels: dict[str, dict[str, int]] = {}
        for line, query, doc, grade in self._read_judgements(path):
            query_id, doc_id = find_query(query), find_doc(doc)
            if query_id is None:
                if self.unknown_queries == "skip":
                    continue
                raise DatasetError(f"{path}:{line}: query '{query}' is no {queries.kind_of_id}")
            if doc_id is None:
                if self.unknown_docs == "refuse":
                    raise DatasetError(f"{path}:{line}: document '{doc}' is no {docs.kind_of_id}")
                doc_id = doc
            qrels.setdefault(query_id, {})[doc_id] = grade
        if not qrels:
            raise DatasetError(f"{path}: none of its queries is among those of {queries.path}")
        return qrels

    def _read_judgements(self, path: Path) -> list[Judgement]:
        if path.suffix.lower() not in GROUND_TRUTH:
            return read_qrels(path)
        neighbours = read_vectors([path], VectorSource("neighbours")).vectors
        return neighbours_as_qrels(path, neighbours, self.neighbours)


@dataclass(frozen=True, eq=False)
class _Rows:
    """What one file holds; `ids` is None where rows are known by their number, `metric` is the file's own word."""

    path: NamedFile
    vectors: Array
    ids: list[str] | None
    metric: str | None = None

    def names(self) -> Sequence[str]:
        return RowNumbers(len(self.vectors)) if self.ids is None else self.ids

    @property
    def kind_of_id(self) -> str:
        kind = "id" if self.ids is not None else f"row (they are 0 to {len(self.vectors) - 1})"
        return f"{kind} of {self.path}"

    def finder(self) -> Callable[[str], str | None]:
        """Return a function from an id, as a qrels file writes it, to the row's id, or None."""
        names = self.names()
        if self.ids is not None:
            known = set(names)
            return lambda given: given if given in known else None
        # Python refuses numbers of thousands of digits
        return lambda given: (
            names[int(given)] if given.isdecimal() and len(given) < 20 and int(given) < len(names) else None
        )


def _holds_queries(path: NamedFile) -> bool:
    """Whether a file of documents has queries beside them."""
    if not isinstance(path, Path):
        return False  # those of other file systems hold one matrix each
    suffix = path.suffix.lower()
    if suffix in (".safetensors", ".npz"):
        return "queries" in (tensor_names(path) if suffix == ".safetensors" else npz_names(path))
    return suffix in hdf5_layout.SUFFIXES and hdf5.holds_queries(path)


def _refuse_repeated(source: str, ids: list[str]) -> None:
    first: dict[str, int] = {}
    for row, identifier in enumerate(ids):
        if (earlier := first.setdefault(identifier, row)) != row:
            raise DatasetError(f"{source}: rows {earlier} and {row} (from 0) both have the id '{identifier}'")


def _read_ids(file: str) -> list[str]:
    (path,) = existing_files(file)
    try:
        return path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8: {error.reason}") from None
