"""Vectors in tables: Parquet, Arrow, Feather, CSV and JSON lines.

Which columns are the vectors is decided by evidence, since a column of numbers may as well be a label, a year, or the
index that pandas wrote: one column of lists, or numeric columns of one name with numbers behind it (`emb_0`, `emb_1`,
...). Where that does not decide, an error asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError
from harness.base.memmap import Growing
from harness.data.text_lines import json_objects, opened, record_batches
from harness.data.vector_files.source import NamedFile, StoredVectors, VectorSource

ID_COLUMNS = ("id", "_id")
"""Columns that hold ids unless `id_column` says otherwise; else a named index of pandas."""

PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls an index without a name."""


@dataclass(frozen=True)
class Chosen:
    """Columns of a table: those of the vectors, in order, and the one of ids, if there is one."""

    vectors: list[str]
    ids: str | None
    lists: bool


def read_table(path: Path, source: VectorSource) -> StoredVectors:
    """Read a Parquet, Arrow or Feather file, a batch of rows at a time."""
    import pyarrow as pa

    try:
        chosen = choose_columns(path, schema_of(path), source)
        wanted = [*chosen.vectors, *([chosen.ids] if chosen.ids else [])]
        return batches_as_vectors(path, chosen, record_batches(path, wanted))
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DatasetError(f"{path}: not a readable {path.suffix.lower().lstrip('.')} file: {reason}") from None


def read_csv(path: Path, source: VectorSource) -> StoredVectors:
    """Read a CSV file with a header: a column a dimension, or a column of lists written as text."""
    import pyarrow as pa
    import pyarrow.csv

    try:
        with opened(path) as file, pa.csv.open_csv(file) as batches:
            schema = batches.schema
            first = batches.read_next_batch()
            texts = [name for place, name in enumerate(schema.names) if _holds_lists(first.column(place))]
            chosen = choose_columns(path, schema, source, texts)
            return batches_as_vectors(path, chosen, _chain(first, batches))
    except StopIteration:
        raise DatasetError(f"{path} holds no rows") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DatasetError(f"{path}: not a readable csv file: {reason}") from None


def read_jsonl(path: Path, source: VectorSource) -> StoredVectors:
    """Read JSON lines, each with a list of numbers."""
    column: str | None = source.vector_column
    ids: list[str] = []
    rows: Growing | None = None
    id_column = source.id_column
    for line, _, record in json_objects(path, "a list of numbers"):
        if rows is None:
            if column is None:
                lists = [name for name, value in record.items() if _is_vector(value)]
                column = _only_list(path, lists, source)
            id_column = id_column or next((name for name in ID_COLUMNS if name in record), None)
        value = record.get(column or "")
        if not _is_vector(value):
            raise DatasetError(f"{path}:{line}: '{column}' is no list of numbers")
        if rows is None:
            rows = Growing(len(value), np.float32)
        if len(value) != rows.width:
            raise DatasetError(f"{path}:{line}: '{column}' has {len(value)} numbers, the first has {rows.width}")
        rows.append(np.array([value], dtype=np.float64))
        if id_column is not None:
            if not isinstance(record.get(id_column), str | int):
                raise DatasetError(f"{path}:{line}: has no '{id_column}'")
            ids.append(str(record[id_column]))
    if rows is None:
        raise DatasetError(f"{path} holds no rows")
    return StoredVectors(rows.matrix(), ids if id_column is not None else None)


def choose_columns(path: NamedFile, schema: Any, source: VectorSource, list_texts: Sequence[str] = ()) -> Chosen:
    """Return which columns of a table are vectors and ids.

    Parameters
    ----------
    path : Path or RemoteFile
        For errors.
    schema : pyarrow.Schema
    source : VectorSource
        Its `vector_column` is a column of lists, or a pattern such as "emb_*" of a column a dimension.
    list_texts : sequence of str
        Columns of text that hold lists.

    Raises
    ------
    DatasetError
        If a named column is not there, or the evidence does not decide.
    """
    import pyarrow as pa

    kinds = {field.name: field.type for field in schema}
    repeated = next((name for name in kinds if schema.names.count(name) > 1), None)
    if repeated is not None:
        raise DatasetError(f"{path} has {schema.names.count(repeated)} columns of the name '{repeated}'")
    named_index, nameless_index = _pandas_index(schema)
    ids = source.id_column or next((name for name in ID_COLUMNS if name in kinds), None)
    if ids is None and len(named_index) == 1 and named_index[0] in kinds:
        ids = named_index[0]
    wanted = source.vector_column
    for option, column in (("vector_column", wanted), ("id_column", source.id_column)):
        if column is not None and column not in kinds and not (option == "vector_column" and "*" in column):
            raise DatasetError(f"{path} has no column '{column}' ({source.option}{option}); it has {', '.join(kinds)}")
    usable = {name: kind for name, kind in kinds.items() if name not in (ids, *named_index, *nameless_index)}
    numeric = [name for name, kind in usable.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)]
    if wanted is not None and "*" in wanted:
        members = _numbered(numeric).get(wanted.replace("*", ""), {})
        if not members or wanted.count("*") != 1:
            raise DatasetError(
                f"{path} has no numeric columns '{wanted}' ({source.option}vector_column), such as "
                f"'{wanted.replace('*', '0')}'; it has {', '.join(kinds)}"
            )
        return Chosen([members[number] for number in sorted(members)], ids, False)
    if wanted is not None:
        if not _is_list(kinds[wanted]) and wanted not in list_texts:
            raise DatasetError(f"{path}: column '{wanted}' holds {kinds[wanted]}, not lists of numbers")
        return Chosen([wanted], ids, True)
    lists = [name for name, kind in usable.items() if (_is_list(kind) and _has_numbers(kind)) or name in list_texts]
    if lists:
        return Chosen([_only_list(path, lists, source)], ids, True)
    groups = {
        prefix: members
        for prefix, members in _numbered(numeric).items()
        if len(members) > 1 and sorted(members) in (list(range(len(members))), list(range(1, len(members) + 1)))
    }
    if len(groups) == 1:
        ((_, members),) = groups.items()
        return Chosen([members[number] for number in sorted(members)], ids, False)
    shown = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())[:300]
    patterns = ", ".join(f"{prefix}*" for prefix in groups)
    raise DatasetError(
        f"{path}: which columns are the vectors? "
        + (
            f"There are {len(groups)} groups of numbered columns: choose one of {patterns}"
            if groups
            else f"None holds lists of numbers, and none are numbered as emb_0, emb_1, ...; it has {shown}"
        )
        + f"; {source.option}vector_column=NAME of a column of lists, or a pattern such as emb_*"
    )


def _pandas_index(schema: Any) -> tuple[list[str], list[str]]:
    """Return the columns that pandas wrote for its index: those with a name of their own, and the others."""
    try:
        columns = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError):
        columns = []
    stored = {name for name in columns if isinstance(name, str)}
    nameless = [name for name in schema.names if PANDAS_INDEX.fullmatch(name)]
    return sorted(stored - set(nameless)), nameless


def _numbered(names: Iterable[str]) -> dict[str, dict[int, str]]:
    """Return columns whose names end in a number, by what stands before it and by the number."""
    groups: dict[str, dict[int, str]] = {}
    for name in names:
        parts = re.fullmatch(r"(.*?)(\d{1,6})", name)
        if parts:
            groups.setdefault(parts[1], {})[int(parts[2])] = name
    return groups


def _only_list(path: NamedFile, lists: Sequence[str], source: VectorSource) -> str:
    if len(lists) == 1:
        return lists[0]
    if not lists:
        raise DatasetError(f"{path}: no column holds lists of numbers; name it with {source.option}vector_column")
    raise DatasetError(
        f"{path} has {len(lists)} columns of lists; choose one of {', '.join(lists)} with {source.option}vector_column"
    )


def schema_of(path: Path) -> Any:
    """Return the schema of a Parquet, Arrow or Feather file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as file:
        try:
            return pa.ipc.open_file(file).schema
        except pa.ArrowInvalid:
            return pa.ipc.open_stream(file).schema


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _has_numbers(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def _holds_lists(column: Any) -> bool:
    """Whether a column of text begins with a list of numbers."""
    import pyarrow as pa

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) or not len(column):
        return False
    text = column[0].as_py()
    return isinstance(text, str) and text.strip().startswith("[") and _parsed_list(text) is not None


def _parsed_list(text: str) -> NDArray[np.float64] | None:
    """Return the numbers of "[1, 2]", or "[1 2]" as NumPy prints it; None if they are none."""
    inner = text.strip()
    if not (inner.startswith("[") and inner.endswith("]")) or "..." in inner:
        return None
    words = inner[1:-1].replace(",", " ").split()
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        return None


def _is_vector(value: object) -> TypeGuard[list[float]]:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)
    )


def _chain(first: Any, others: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from others


def batches_as_vectors(path: NamedFile, chosen: Chosen, batches: Iterable[Any]) -> StoredVectors:
    """Return the matrix and the ids of a table whose batches come one after another."""
    rows: Growing | None = None
    ids: list[str] = []
    part: Callable[[NamedFile, Chosen, Any, int], NDArray[Any]] = _list_rows if chosen.lists else _column_rows
    for batch in batches:
        if not batch.num_rows:
            continue
        count = 0 if rows is None else rows.n
        matrix = part(path, chosen, batch, count)
        if rows is None:
            rows = Growing(matrix.shape[1], matrix.dtype)
        if matrix.shape[1] != rows.width:
            raise DatasetError(
                f"{path}: row {count} (from 0) of '{chosen.vectors[0]}' has {matrix.shape[1]} numbers, "
                f"the first has {rows.width}"
            )
        rows.append(matrix)
        if chosen.ids is not None:
            column = batch.column(chosen.ids)
            _refuse_nulls(path, chosen.ids, column, count)
            ids += [str(value) for value in column.to_pylist()]
    matrix = np.empty((0, 0), dtype=np.float32) if rows is None else rows.matrix()
    return StoredVectors(matrix, None if chosen.ids is None else ids)


def _column_rows(path: NamedFile, chosen: Chosen, batch: Any, count: int) -> NDArray[Any]:
    columns = []
    for name in chosen.vectors:
        column = batch.column(name)
        _refuse_nulls(path, name, column, count)
        columns.append(column.to_numpy(zero_copy_only=False))
    return np.column_stack(columns)


def _list_rows(path: NamedFile, chosen: Chosen, batch: Any, count: int) -> NDArray[Any]:
    """Return a column of equally long lists as a matrix."""
    import pyarrow as pa
    import pyarrow.compute as pc

    (name,) = chosen.vectors
    column = batch.column(name)
    _refuse_nulls(path, name, column, count)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        parsed = [_parsed_list(text) for text in column.to_pylist()]
        wrong = next((row for row, values in enumerate(parsed) if values is None), None)
        if wrong is not None:
            raise DatasetError(f"{path}: row {count + wrong} (from 0) of '{name}' is no list of numbers")
        widths = np.array([len(values) for values in parsed if values is not None])
        flat = np.concatenate([values for values in parsed if values is not None])
    else:
        if not _has_numbers(column.type):
            raise DatasetError(f"{path}: column '{name}' holds lists of {column.type.value_type}, not of numbers")
        widths = np.asarray(pc.list_value_length(column))
        # a null among the numbers becomes NaN, which is refused with its row
        flat = column.flatten().to_numpy(zero_copy_only=False)
    if (widths != widths[0]).any():
        row = int(np.argmax(widths != widths[0]))
        raise DatasetError(
            f"{path}: row {count + row} (from 0) of '{name}' has {widths[row]} numbers, the first has {widths[0]}"
        )
    matrix: NDArray[Any] = flat.reshape(len(widths), int(widths[0]))
    return matrix


def _refuse_nulls(path: NamedFile, name: str, column: Any, count: int) -> None:
    if column.null_count:
        row = count + int(np.argmax(np.asarray(column.is_null())))
        raise DatasetError(f"{path}: row {row} (from 0) has no '{name}'")


TABLE_READERS = {
    ".parquet": read_table,
    ".arrow": read_table,
    ".feather": read_table,
    ".csv": read_csv,
    ".jsonl": read_jsonl,
}
"""By the ending of a file, without that of its compression (`kind_of`)."""
