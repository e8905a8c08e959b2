"""Collections in BEIR's layout: a folder with corpus.jsonl, queries.jsonl and qrels/<split>.tsv."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from harness.base.errors import DatasetError
from harness.base.options import Options
from harness.data.datasets.dataset import Dataset, answers, document_text, unseen_queries

LAYOUT = (
    "the layout is corpus.jsonl (_id, title, text), queries.jsonl (_id, text) "
    "and qrels/SPLIT.tsv (query-id, corpus-id, score)"
)

LINE_BYTES = 1 << 28
"""Longest line that is read: a few megabytes of a gzipped file can be gigabytes without a line's end."""


@dataclass(kw_only=True, frozen=True)
class Folder(Options):
    """Read a folder in BEIR's layout (Thakur et al., 2021); the jsonl files may be gzipped.

    Parameters
    ----------
    path : str
        The folder.
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
    """

    path: str
    split: str = "test"
    name: str | None = None
    train_split: str = "train"
    skip_identical_ids: bool = False
    unknown_docs: Literal["refuse", "count"] = "refuse"

    def load(self) -> Dataset:
        """Read the folder; raises `DatasetError` with the file and line of whatever is malformed."""
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            what = "a file, not a folder" if folder.exists() else "not there"
            raise DatasetError(f"{folder} is {what}; {LAYOUT}")
        corpus_file = _jsonl(folder, "corpus")
        queries_file = _jsonl(folder, "queries")
        judged_file = _split_file(folder, self.split)
        doc_ids: list[str] = []
        titles: list[str] = []
        texts: list[str] = []
        for line, doc_id, record in _records(corpus_file):
            title = _string(record, "title", corpus_file, line, optional=True)
            doc_ids.append(doc_id)
            titles.append(title)
            texts.append(document_text(title, _string(record, "text", corpus_file, line)))
        if not doc_ids:
            raise DatasetError(f"{corpus_file} holds no documents")
        queries = {
            query_id: _string(record, "text", queries_file, line) for line, query_id, record in _records(queries_file)
        }
        known = set(doc_ids)
        count_unknown = self.unknown_docs == "count"
        qrels = _qrels(judged_file, known, queries, count_unknown)
        train_file = _qrels_folder(folder) / f"{self.train_split}.tsv"
        train = _qrels(train_file, known, queries, count_unknown) if train_file.is_file() else {}
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
            count_unknown_docs=count_unknown,
        )


class Judgement(NamedTuple):
    """One line of a qrels file."""

    line: int
    query_id: str
    doc_id: str
    grade: int


def read_qrels(path: Path) -> list[Judgement]:
    """Read a qrels file of three columns (query-id, corpus-id, score) with tabs between, with or without a header.

    Raises
    ------
    DatasetError
        With file and line, for another number of columns, a score that is no whole number, or two different scores
        of one pair.
    """
    judgements: list[Judgement] = []
    seen: dict[tuple[str, str], Judgement] = {}
    for line, raw in _lines(path):
        fields = raw.rstrip("\r\n").split("\t")
        if len(fields) != 3:
            raise DatasetError(
                f"{path}:{line}: expected query-id, corpus-id and score with tabs between, got {len(fields)} column(s)"
            )
        query_id, doc_id, score = fields
        grade = _grade(score)
        if grade is None:
            if line == 1:
                continue  # the header
            raise DatasetError(f"{path}:{line}: the score must be a whole number, got '{score}'")
        judgement = Judgement(line, query_id, doc_id, grade)
        first = seen.setdefault((query_id, doc_id), judgement)
        if first.grade != grade:
            raise DatasetError(
                f"{path}:{line}: query '{query_id}' and document '{doc_id}' have score {grade}, "
                f"but {first.grade} in line {first.line}"
            )
        if first is judgement:
            judgements.append(judgement)
    if not judgements:
        raise DatasetError(f"{path} holds no judgements")
    return judgements


def _grade(score: str) -> int | None:
    try:
        value = float(score)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _qrels(
    path: Path, doc_ids: Container[str], query_ids: Container[str], count_unknown_docs: bool
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for line, query_id, doc_id, grade in read_qrels(path):
        if query_id not in query_ids:
            raise DatasetError(f"{path}:{line}: query '{query_id}' is not in the queries file")
        judged = qrels.setdefault(query_id, {})
        if doc_id not in doc_ids and not count_unknown_docs:
            raise DatasetError(
                f"{path}:{line}: document '{doc_id}' is not in the corpus "
                "(dataset.unknown_docs=count takes it for relevant and never found, as MTEB does)"
            )
        judged[doc_id] = grade
    return qrels


def _jsonl(folder: Path, stem: str) -> Path:
    for suffix in (".jsonl", ".jsonl.gz"):
        if (path := folder / f"{stem}{suffix}").is_file():
            return path
    raise DatasetError(f"{folder} has no {stem}.jsonl; {LAYOUT}; there is {_listing(folder)}")


def _qrels_folder(folder: Path) -> Path:
    return folder / "qrels"


def _split_file(folder: Path, split: str) -> Path:
    qrels = _qrels_folder(folder)
    if not qrels.is_dir():
        raise DatasetError(f"{folder} has no folder qrels; {LAYOUT}; there is {_listing(folder)}")
    path = qrels / f"{split}.tsv"
    if not path.is_file():
        splits = sorted(entry.stem for entry in qrels.glob("*.tsv"))
        there = f"the splits are {', '.join(splits)}" if splits else f"there is {_listing(qrels)}"
        raise DatasetError(f"{qrels} has no split '{split}'; {there}")
    return path


def _listing(folder: Path) -> str:
    names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in folder.iterdir())
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "nothing"


def _records(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield (line number, id, record) of a JSON-lines file whose ids are unique."""
    first_line: dict[str, int] = {}
    for line, raw in _lines(path):
        try:
            record = json.loads(raw)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}:{line}: not JSON: {error.msg} (column {error.colno})") from None
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}:{line}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise DatasetError(f"{path}:{line}: expected an object with _id and text, got {type(record).__name__}")
        given = record.get("_id")
        # written by many as a number, although BEIR has strings
        record["_id"] = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
        identifier = _string(record, "_id", path, line)
        if "\\u" in raw:
            _refuse_surrogates(record, path, line)
        earlier = first_line.setdefault(identifier, line)
        if earlier != line:
            raise DatasetError(f"{path}:{line}: id '{identifier}' is taken by line {earlier}")
        yield line, identifier, record


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


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of the lines that are not blank."""
    line = 0
    try:
        with path.open("rb") if path.suffix != ".gz" else cast(BinaryIO, gzip.open(path, "rb")) as file:
            for line, raw in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b""), start=1):
                if len(raw) > LINE_BYTES:
                    raise DatasetError(f"{path}:{line}: a line of more than {LINE_BYTES:,} bytes")
                if not raw.isspace():
                    yield line, (raw if line > 1 else raw.removeprefix(codecs.BOM_UTF8)).decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}:{line}: not UTF-8: {error.reason} at byte {error.start + 1}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}:{line + 1}: cannot read: {error}") from None
