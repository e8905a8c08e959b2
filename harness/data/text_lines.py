"""Lines of text files and objects of JSON-lines files, plain or compressed, with the place of whatever is wrong."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from harness.base.errors import DatasetError

COMPRESSED = (".gz", ".zst")
"""Endings of compressed files that are read as they are."""

LINE_BYTES = 1 << 28
"""Longest line that is read: a few megabytes of a gzipped file can be gigabytes without a line's end."""


def kind_of(path: Path) -> str:
    """Return a file's ending in lower case without that of its compression: ".jsonl" of corpus.jsonl.gz."""
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return Path(name).suffix


def opened(path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    """Open a file for reading bytes, decompressed if its name ends in .gz or .zst."""
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix.lower() == ".zst":
        import io

        import pyarrow as pa

        return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(str(path), "zstd"), 1 << 20))
    return path.open("rb")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of the lines that are not blank.

    Raises
    ------
    DatasetError
        With file and line, for what is not UTF-8, is damaged, or has a line of more than `LINE_BYTES`.
    """
    line = 0
    try:
        with opened(path) as file:
            for line, raw in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b""), start=1):
                if len(raw) > LINE_BYTES:
                    raise DatasetError(f"{path}:{line}: a line of more than {LINE_BYTES:,} bytes")
                if not raw.isspace():
                    yield line, (raw if line > 1 else raw.removeprefix(codecs.BOM_UTF8)).decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}:{line}: not UTF-8: {error.reason} at byte {error.start + 1}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}:{line + 1}: cannot read: {error}") from None


def json_objects(path: Path, expected: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield (line number, the line, object) of a JSON-lines file; `expected` says what an object should hold.

    Raises
    ------
    DatasetError
        With file and line, for what is not JSON or no object.
    """
    for line, raw in lines(path):
        try:
            record = json.loads(raw)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}:{line}: not JSON: {error.msg} (column {error.colno})") from None
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}:{line}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise DatasetError(f"{path}:{line}: expected an object with {expected}, got {type(record).__name__}")
        yield line, raw, record


def table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 0, values by column) of a Parquet, Arrow or Feather file, a batch at a time.

    Raises
    ------
    DatasetError
        For a file that cannot be read.
    """
    import pyarrow as pa

    row = 0
    try:
        for batch in record_batches(path):
            for values in batch.to_pylist():
                yield row, values
                row += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DatasetError(f"{path}: not a readable {path.suffix.lstrip('.')} file: {reason}") from None


def record_batches(path: Path, columns: list[str] | None = None) -> Iterator[Any]:
    """Yield the record batches of a Parquet, Arrow or Feather file; pyarrow's own errors pass."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(columns=columns)
        return
    # the datasets library of Hugging Face writes streams, Feather and most others files
    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            batches = iter(pa.ipc.open_stream(source))
        for batch in batches:
            # a damaged file may say anything of its own offsets, which are followed without a look
            batch.validate(full=True)
            yield batch if columns is None else batch.select(columns)
