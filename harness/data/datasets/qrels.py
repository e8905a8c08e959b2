"""Judgements from files: BEIR's three columns, TREC's four, CSV, JSON lines, Parquet, true neighbours."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.base.errors import DatasetError
from harness.data.text_lines import json_objects, kind_of, lines, table_rows

TABLES = (".parquet", ".arrow", ".feather")
TEXTS = (".tsv", ".txt", ".trec", ".qrels", ".csv", ".jsonl")
KINDS = (*TEXTS, *TABLES)
"""Endings of files that hold judgements, each also with .gz or .zst behind it if it is text."""

NAMES = {
    "query": ("query-id", "queryid", "query", "qid", "q-id", "topic", "topic-id"),
    "document": ("corpus-id", "corpusid", "doc-id", "docid", "document-id", "docno", "did", "pid", "passage-id", "doc"),
    "score": ("score", "relevance", "rel", "grade", "label", "judgement", "judgment", "relevant"),
}
"""What headers call the three columns, in lower case and with hyphens."""

GREATEST_GRADE = 1 << 31
"""Grades are small numbers; trec_eval keeps them in 32 bits."""


class Judgement(NamedTuple):
    """One line of a qrels file; of a table, `line` is the row, from 0."""

    line: int
    query_id: str
    doc_id: str
    grade: int


def read_qrels(path: Path) -> list[Judgement]:
    """Read a qrels file.

    A text file has query-id, corpus-id and score with tabs, commas or spaces between, or TREC's four columns (query,
    iteration, document, relevance). A header may name the columns in any order; without one they are in this order.
    JSON lines, Parquet, Arrow and Feather files name them. Quotes around a field belong to the file's format.

    Raises
    ------
    DatasetError
        With file and line, for columns that are not these, a score that is no whole number, or two different scores
        of one pair.
    """
    kind = kind_of(path)
    if kind in TABLES:
        rows = _named_rows(path, ((row, values) for row, values in table_rows(path)))
    elif kind == ".jsonl":
        rows = _named_rows(
            path, ((line, values) for line, _, values in json_objects(path, "query-id, corpus-id, score"))
        )
    else:
        rows = _text_rows(path)
    judgements: list[Judgement] = []
    seen: dict[tuple[str, str], Judgement] = {}
    for line, query_id, doc_id, score in rows:
        judgement = Judgement(line, query_id, doc_id, _grade(path, line, score))
        first = seen.setdefault((query_id, doc_id), judgement)
        if first.grade != judgement.grade:
            raise DatasetError(
                f"{path}:{line}: query '{query_id}' and document '{doc_id}' have score {judgement.grade}, "
                f"but {first.grade} in line {first.line}"
            )
        if first is judgement:
            judgements.append(judgement)
    if not judgements:
        raise DatasetError(f"{path} holds no judgements")
    return judgements


def neighbours_as_qrels(path: Path, neighbours: np.ndarray, k: int) -> list[Judgement]:
    """Return the first `k` true neighbours of each query, rows of an int (m, k') array, as judgements of grade 1."""
    if k > neighbours.shape[1]:
        raise DatasetError(f"{path} has {neighbours.shape[1]} neighbours a query, fewer than dataset.neighbours={k}")
    return [
        Judgement(row, str(row), str(doc), 1) for row, docs in enumerate(neighbours[:, :k].tolist()) for doc in docs
    ]


def _named_rows(path: Path, records: Iterator[tuple[int, dict[str, object]]]) -> Iterator[tuple[int, str, str, str]]:
    columns: list[str] | None = None
    for line, values in records:
        if columns is None or not set(columns) <= set(values):
            places = _columns(path, line, list(values))
            columns = [list(values)[place] for place in places]
        query_id, doc_id, score = (values[name] for name in columns)
        for what, value in (("query", query_id), ("document", doc_id)):
            if not isinstance(value, str | int) or isinstance(value, bool):
                raise DatasetError(f"{path}:{line}: the id of a {what} must be a string, got {str(value)[:40]!r}")
        yield line, str(query_id), str(doc_id), str(score)


def _text_rows(path: Path) -> Iterator[tuple[int, str, str, str]]:
    separator: str | None = None
    places: Sequence[int] = ()
    width = 0
    for number, (line, raw) in enumerate(lines(path)):
        text = raw.rstrip("\r\n")
        if number == 0:
            separator = "\t" if "\t" in text else "," if "," in text else " "
        fields = _fields(text, separator)
        if number == 0:
            width = len(fields)
            if _is_header(fields):
                places = _columns(path, line, fields)
                continue
            if width not in (3, 4):
                raise DatasetError(
                    f"{path}:{line}: expected query-id, corpus-id and score with tabs between, or TREC's four columns "
                    f"(query, iteration, document, relevance), got {width} column(s)"
                )
            places = (0, 1, 2) if width == 3 else (0, 2, 3)
        if len(fields) != width:
            raise DatasetError(
                f"{path}:{line}: expected {width} columns as in the first line, got {len(fields)} column(s)"
            )
        query_id, doc_id, score = (fields[place] for place in places)
        yield line, query_id, doc_id, score


def _fields(text: str, separator: str | None) -> list[str]:
    if separator == " ":
        return text.split()
    if separator == ",":
        return next(csv.reader([text]))
    return [
        field[1:-1].replace('""', '"') if len(field) > 1 and field[0] == field[-1] == '"' else field
        for field in text.split("\t")
    ]


def _is_header(fields: Sequence[str]) -> bool:
    """Whether a first line names columns: none of its fields is a number, and two names are known."""
    known = sum(_meaning(field) is not None for field in fields)
    return known >= 2 and not any(_is_number(field) for field in fields)


def _meaning(name: str) -> str | None:
    plain = re.sub(r"[\s_]+", "-", name.strip().strip("#").strip().lower())
    return next((meaning for meaning, names in NAMES.items() if plain in names), None)


def _columns(path: Path, line: int, names: Sequence[str]) -> list[int]:
    """Return the places of query, document and score among named columns; of two documents' names, the first."""
    meanings = [_meaning(name) for name in names]
    missing = [what for what in NAMES if what not in meanings]
    if missing:
        raise DatasetError(
            f"{path}:{line}: the columns {', '.join(names)[:200]} do not say which is the {' and the '.join(missing)}; "
            "name them query-id, corpus-id and score"
        )
    return [meanings.index(what) for what in NAMES]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _grade(path: Path, line: int, score: str) -> int:
    value = float(score) if _is_number(score) else float("nan")
    if not value.is_integer():
        raise DatasetError(f"{path}:{line}: the score must be a whole number, got '{score[:40]}'")
    if abs(value) > GREATEST_GRADE:
        raise DatasetError(f"{path}:{line}: a score of {score[:40]} is no grade of relevance; they are small numbers")
    return int(value)
