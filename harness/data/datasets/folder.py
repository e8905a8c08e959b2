"""Collections in BEIR's layout: corpus, queries and judgements in a folder, as BEIR, MTEB or the hub lay them out."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.base.errors import DatasetError
from harness.base.options import Options
from harness.data.datasets.dataset import Dataset, answers, document_text, unseen_queries
from harness.data.datasets.qrels import KINDS, TABLES, TEXTS, read_qrels
from harness.data.text_lines import COMPRESSED, json_objects, kind_of, table_rows

LAYOUT = (
    "the layout is corpus.jsonl (_id, title, text), queries.jsonl (_id, text) "
    "and qrels/SPLIT.tsv (query-id, corpus-id, score)"
)

ID_NAMES = ("_id", "id", "doc_id", "docid", "query_id", "corpus-id", "query-id")
"""What files call the id of a document or query, the first of these that there is."""


@dataclass(kw_only=True, frozen=True)
class Folder(Options):
    """Read a folder in BEIR's layout (Thakur et al., 2021).

    Corpus and queries are corpus.jsonl and queries.jsonl, or Parquet files; or folders of those names with several, or
    shards such as corpus-00000-of-00002.parquet. Judgements are qrels/SPLIT.tsv, or one of the other kinds that
    `harness.data.datasets.qrels.read_qrels` knows. Text files may be compressed (.gz, .zst).

    Parameters
    ----------
    path : str
        The folder.
    qrels : str or None
        Where the judgements are: a folder of splits, or one file; None is the folder's own `qrels`. The hub keeps them
        in a repository of their own.
    split : str
        Judgements to measure with: qrels/<split>.tsv.
    name : str or None
        What tables call the dataset; None is the folder's name.
    train_split : str
        Where qrels/<train_split>.tsv exists, its queries are the ones that a method may see, other than those that
        the test split repeats.
    skip_identical_ids : bool
        A document with the query's own id is not a result, as ArguAna, Quora and their like need it.
    unknown_docs : "refuse" or "count"
        What becomes of a judgement whose document the corpus lacks (ArguAna has five): an error, or a relevant
        document that nobody can find, as MTEB counts it.
    unknown_queries : "refuse" or "skip"
        What becomes of judgements whose query the queries file lacks: an error, or nothing.
    """

    path: str
    qrels: str | None = None
    split: str = "test"
    name: str | None = None
    train_split: str = "train"
    skip_identical_ids: bool = False
    unknown_docs: Literal["refuse", "count"] = "refuse"
    unknown_queries: Literal["refuse", "skip"] = "refuse"

    def load(self) -> Dataset:
        """Read the folder; raises `DatasetError` with the file and line of whatever is malformed."""
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            what = "a file, not a folder" if folder.exists() else "not there"
            raise DatasetError(f"{folder} is {what}; {LAYOUT}")
        corpus_files, queries_files = _files(folder, "corpus"), _files(folder, "queries")
        qrels_folder = folder / "qrels" if self.qrels is None else Path(self.qrels).expanduser()
        judged_file = qrels_folder if qrels_folder.is_file() else _split_file(folder, qrels_folder, self.split)
        doc_ids, titles, texts = _documents(corpus_files)
        queries = {
            query_id: _string(record, "text", path, line) for path, line, query_id, record in _records(queries_files)
        }
        known = set(doc_ids)
        qrels = self._qrels(judged_file, known, queries)
        train_file = None if qrels_folder.is_file() else _split(qrels_folder, self.train_split)
        train = {} if train_file is None else self._qrels(train_file, known, queries)
        unseen = unseen_queries(
            {query_id: text for query_id, text in queries.items() if query_id in train},
            {query_id: queries[query_id] for query_id in qrels},
        )
        return Dataset.build(
            name=self.name or folder.resolve().name,
            doc_ids=doc_ids,
            doc_texts=texts,
            titles=titles,
            query_ids=list(queries),
            query_texts=list(queries.values()),
            qrels=qrels,
            train_query_texts=unseen.values(),
            train_answers=[answers(train[query_id]) for query_id in unseen],
            skip_identical_ids=self.skip_identical_ids,
            count_unknown_docs=self.unknown_docs == "count",
        )

    def _qrels(self, path: Path, doc_ids: Container[str], query_ids: Container[str]) -> dict[str, dict[str, int]]:
        qrels: dict[str, dict[str, int]] = {}
        for line, query_id, doc_id, grade in read_qrels(path):
            if query_id not in query_ids:
                if self.unknown_queries == "skip":
                    continue
                raise DatasetError(
                    f"{path}:{line}: query '{query_id}' is not in the queries file "
                    "(dataset.unknown_queries=skip leaves such judgements out)"
                )
            judged = qrels.setdefault(query_id, {})
            if doc_id not in doc_ids and self.unknown_docs != "count":
                raise DatasetError(
                    f"{path}:{line}: document '{doc_id}' is not in the corpus "
                    "(dataset.unknown_docs=count takes it for relevant and never found, as MTEB does)"
                )
            judged[doc_id] = grade
        if not qrels:
            raise DatasetError(f"{path}: no query of the queries file is judged")
        return qrels


def corpus_texts(path: str) -> list[str]:
    """Return the texts of the documents of a folder that may have neither queries nor judgements, in its order.

    Raises
    ------
    DatasetError
        If it has no corpus, or one that is malformed.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    return _documents(_files(folder, "corpus"))[2]


def _documents(files: list[Path]) -> tuple[list[str], list[str], list[str]]:
    """Return ids, titles and texts, title and body joined."""
    doc_ids: list[str] = []
    titles: list[str] = []
    texts: list[str] = []
    for path, line, doc_id, record in _records(files):
        title = _string(record, "title", path, line, optional=True)
        doc_ids.append(doc_id)
        titles.append(title)
        texts.append(document_text(title, _string(record, "text", path, line)))
    if not doc_ids:
        raise DatasetError(f"{files[0]} holds no documents")
    return doc_ids, titles, texts


def _files(folder: Path, stem: str) -> list[Path]:
    """Return the files of the corpus or the queries: one, or all shards, of one kind."""
    kinds = [".jsonl", *(f".jsonl{ending}" for ending in COMPRESSED), *TABLES]
    for kind in kinds:
        if (path := folder / f"{stem}{kind}").is_file():
            return [path]
    for kind in kinds:
        shards = sorted((*folder.glob(f"{stem}-*{kind}"), *(folder / stem).glob(f"*{kind}")))
        if shards:
            return shards
    raise DatasetError(f"{folder} has no {stem}.jsonl; {LAYOUT}; there is {_listing(folder)}")


def _split_file(folder: Path, qrels: Path, split: str) -> Path:
    if not qrels.is_dir():
        raise DatasetError(
            f"{folder} has no folder qrels; {LAYOUT}; there is {_listing(folder)}; "
            "judgements that lie elsewhere: dataset.qrels=FILE or FOLDER"
            if qrels.parent == folder
            else f"dataset.qrels: there is no file or folder {qrels}"
        )
    path = _split(qrels, split)
    if path is None:
        splits = sorted({entry.name.partition(".")[0] for entry in qrels.iterdir() if kind_of(entry) in KINDS})
        there = f"the splits are {', '.join(splits)}" if splits else f"there is {_listing(qrels)}"
        raise DatasetError(f"{qrels} has no split '{split}'; {there}")
    return path


def _split(qrels: Path, split: str) -> Path | None:
    """Return the file of a split, such as test.tsv, or None; several files of one split are refused."""
    names = [f"{split}{kind}" for kind in KINDS]
    names += [f"{split}{kind}{ending}" for kind in TEXTS for ending in COMPRESSED]
    for name in names:
        if (qrels / name).is_file():
            return qrels / name
    shards = sorted(path for kind in TABLES for path in qrels.glob(f"{split}-*{kind}"))
    if len(shards) > 1:
        raise DatasetError(f"{qrels}: the split '{split}' is in {len(shards)} files; name one: dataset.qrels=FILE")
    return shards[0] if shards else None


def _listing(folder: Path) -> str:
    names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in folder.iterdir())
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "nothing"


def _records(paths: list[Path]) -> Iterator[tuple[Path, int, str, dict[str, Any]]]:
    """Yield (file, line or row number, id, record) of JSON-lines or table files whose ids are unique."""
    first_place: dict[str, tuple[Path, int]] = {}
    for path in paths:
        for line, raw, record in _objects(path):
            given_name = next((name for name in ID_NAMES if name in record), "_id")
            given = record.get(given_name)
            # written by many as a number, although BEIR has strings
            record["_id"] = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
            identifier = _string(record, "_id", path, line)
            if "\\u" in raw:
                _refuse_surrogates(record, path, line)
            earlier = first_place.setdefault(identifier, (path, line))
            if earlier != (path, line):
                where = f"line {earlier[1]}" if earlier[0] == path else f"{earlier[0]}:{earlier[1]}"
                raise DatasetError(f"{path}:{line}: id '{identifier}' is taken by {where}")
            yield path, line, identifier, record


def _objects(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    if kind_of(path) in TABLES:
        return ((row, "", record) for row, record in table_rows(path))
    return json_objects(path, "_id and text")


def _string(record: dict[str, Any], key: str, path: Path, line: int, optional: bool = False) -> str:
    value = record.get(key)
    if isinstance(value, str):
        return value
    if value is None and optional:
        return ""
    if value is None:
        wrong = "is null" if key in record and key != "_id" else "is missing"
        raise DatasetError(f"{path}:{line}: '{key}' {wrong}; a line needs _id and text")
    raise DatasetError(f"{path}:{line}: '{key}' must be a string, got {json.dumps(value)[:40]}")


def _refuse_surrogates(record: dict[str, Any], path: Path, line: int) -> None:
    """Refuse half of a character: JSON can say it, but no tokenizer takes it."""
    for key in ("_id", "title", "text"):
        value = record.get(key)
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise DatasetError(f"{path}:{line}: '{key}' has an unpaired surrogate {error.reason}") from None
