"""The Common Index File Format (Lin et al., 2020): an inverted index as length-delimited messages of Protocol Buffers.

    Header                      2: number of postings lists, 3: number of documents
    a PostingsList each         1: term, 4: postings, each of 1: document's number less the one before, 2: weight
    a DocRecord each            1: document's number, 2: its id in the collection

Fields that are not named here are skipped. A field that is 0 is not written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.base.errors import DatasetError
from harness.data.term_files.stored import StoredTerms
from harness.data.text_lines import opened

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5


def read_ciff(path: Path) -> StoredTerms:
    """Read an index, plain or compressed; documents have ids, terms are words, and weights are whole numbers.

    Raises
    ------
    DatasetError
        For a file that is not of the format, ends early, or has postings of documents that it does not name.
    """
    try:
        with opened(path) as file:
            content = file.read()
        return _index(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot read: {error}") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise DatasetError(f"{path}: not an index in the Common Index File Format: {error}") from None


def _index(content: bytes) -> StoredTerms:
    start, stop, at = _message(content, 0)
    header = dict(_fields(content, start, stop))
    lists, n = _whole(header.get(2, 0)), _whole(header.get(3, 0))
    names: list[str] = []
    numbers: list[int] = []
    weights: list[int] = []
    counts: list[int] = []
    for _ in range(lists):
        start, stop, at = _message(content, at)
        before, document = len(numbers), 0
        name = ""
        for field, value in _fields(content, start, stop):
            if field == 1:
                name = _text(content, value)
            elif field == 4:
                gap, weight = _posting(content, value)
                document += gap
                numbers.append(document)
                weights.append(weight)
        names.append(name)
        counts.append(len(numbers) - before)
    place: dict[int, int] = {}
    ids: list[str] = []
    for _ in range(n):
        start, stop, at = _message(content, at)
        record = dict(_fields(content, start, stop))
        place[_whole(record.get(1, 0))] = len(ids)
        ids.append(_text(content, record[2]) if 2 in record else "")
    if at != len(content):
        raise ValueError(f"{len(content) - at} bytes follow the last document")
    if len(place) != n:
        raise ValueError("two documents have one number")
    if len(set(names)) != len(names):
        raise ValueError("a term has two postings lists")
    unknown = next((number for number in numbers if number not in place), None)
    if unknown is not None:
        raise ValueError(f"a posting names document {unknown}, which has no record")
    return StoredTerms(
        n=n,
        rows=np.array([place[number] for number in numbers], dtype=np.int64),
        terms=np.repeat(np.arange(lists), counts),
        weights=np.array(weights, dtype=np.float32),
        names=names,
        ids=ids,
    )


def _message(content: bytes, at: int) -> tuple[int, int, int]:
    """Return where a length-delimited message begins and ends, and where the next one begins."""
    if at >= len(content):
        raise ValueError("it ends before its last document")
    length, at = _varint(content, at)
    if at + length > len(content):
        raise ValueError(f"a message of {length} bytes begins {len(content) - at} bytes before the end")
    return at, at + length, at + length


Value = int | tuple[int, int]
"""Of a field: a number, or where its bytes begin and end."""


def _fields(content: bytes, at: int, stop: int) -> Iterator[tuple[int, Value]]:
    """Yield the (number, value) of each field of a message."""
    while at < stop:
        tag, at = _varint(content, at)
        kind = tag & 7
        value: Value
        if kind == VARINT:
            value, at = _varint(content, at)
        elif kind == DELIMITED:
            length, at = _varint(content, at)
            value, at = (at, at + length), at + length
        elif kind in (FIXED32, FIXED64):
            width = 4 if kind == FIXED32 else 8
            value, at = (at, at + width), at + width
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if at > stop:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, value


def _posting(content: bytes, value: Value) -> tuple[int, int]:
    start, stop = _bytes(value)
    if stop - start == 4:
        first, gap, second, weight = content[start:stop]
        if (first, second) == (8, 16) and gap < 128 and weight < 128:  # nearly all postings
            return gap, weight
    gap = weight = 0
    for field, number in _fields(content, start, stop):
        if field == 1:
            gap = _whole(number)
        elif field == 2:
            weight = _whole(number)
    return gap, weight


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number of 7 bits a byte that begins at a place, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            # negative numbers are written as of 64 bits
            return value - (1 << 64) if value >> 63 else value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _whole(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where a number is expected")
    return value


def _bytes(value: Value) -> tuple[int, int]:
    if isinstance(value, int):
        raise ValueError("a number where bytes are expected")
    return value


def _text(content: bytes, value: Value) -> str:
    start, stop = _bytes(value)
    return content[start:stop].decode()
