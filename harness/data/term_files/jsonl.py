"""JSON lines of {"id": ..., "vector": {term: weight}}, as Anserini and Pyserini write learned sparse vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.base.errors import DatasetError
from harness.data.term_files.stored import StoredTerms
from harness.data.text_lines import json_objects

IDS = ("_id", "id")

LAST_NUMBER = (1 << 32) - 1


def read_jsonl(path: Path) -> StoredTerms:
    """Read a file, plain or compressed; terms are words unless all of them are written as whole numbers.

    Raises
    ------
    DatasetError
        With file and line, for what is not such an object, an id that comes twice, or a weight that is no number.
    """
    places: dict[str, int] = {}
    known: dict[str, int] = {}
    rows: list[int] = []
    terms: list[int] = []
    weights: list[float] = []
    for line, _, record in json_objects(path, "'id' and 'vector'"):
        where = f"{path}:{line}"
        row = len(known)
        known[_row_id(record, known, where)] = row
        vector = record.get("vector")
        if not isinstance(vector, dict):
            raise DatasetError(f"{where}: 'vector' must be an object of terms and weights, got {type(vector).__name__}")
        for term, weight in vector.items():
            if type(weight) not in (int, float):
                raise DatasetError(f"{where}: the weight of term {term!r} is no number: {weight!r}")
            rows.append(row)
            terms.append(places.setdefault(term, len(places)))
            weights.append(weight)
    found = np.array(terms, dtype=np.int64)
    names: list[str] | None = list(places)
    if names and all(_is_number(name) for name in names):
        found, names = np.array([int(name) for name in names], dtype=np.int64)[found], None
    with np.errstate(over="ignore"):
        stored = np.array(weights, dtype=np.float64).astype(np.float32)
    return StoredTerms(len(known), np.array(rows, dtype=np.int64), found, stored, names, list(known))


def _row_id(record: dict[str, Any], known: dict[str, int], where: str) -> str:
    row_id = next((record[key] for key in IDS if key in record), None)
    if type(row_id) not in (str, int):
        raise DatasetError(f"{where}: 'id' must be text or a whole number, got {row_id!r}")
    if str(row_id) in known:
        raise DatasetError(f"{where}: the id '{row_id}' is there twice")
    return str(row_id)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name and int(name) <= LAST_NUMBER
