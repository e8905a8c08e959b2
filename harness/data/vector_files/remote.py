"""Parquet and npy files of object stores and web servers (s3://, gs://, hf://, https://), read in ranges by fsspec.

No file is copied whole to this machine: of a Parquet file the wanted columns are read, of a npy file runs of rows. What
comes of it is the matrix that a local file gives: in memory, or in a temporary file beyond `memmap.HELD_BYTES`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from harness.base.errors import DatasetError, MissingExtraError
from harness.base.memmap import Growing
from harness.data.vector_files.columns import batches_as_vectors, choose_columns
from harness.data.vector_files.source import StoredVectors, VectorSource

RANGE_BYTES = 1 << 24
"""Bytes of a npy file that are asked for at a time."""

HEADER_BYTES = 1 << 16
"""First bytes of a npy file, in which its header ends."""

ENDINGS = (".parquet", ".npy")


def is_remote(given: object) -> bool:
    """Whether a name is a URL of another file system."""
    return isinstance(given, str) and "://" in given


@dataclass(frozen=True)
class RemoteFile:
    """A file by its URL.

    Attributes
    ----------
    url : str
    system : fsspec file system
    size : int
        Bytes.
    """

    url: str
    system: Any
    size: int

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return PurePosixPath(self.url.partition("?")[0]).name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The name's ending, with its point."""
        return PurePosixPath(self.name).suffix

    def range(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`.

        Raises
        ------
        DatasetError
            If they cannot be had, or others come than were asked for.
        """
        with reading(self.url):
            octets: bytes = self.system.cat_file(self.url, start=start, end=stop)
        if len(octets) != stop - start:
            raise DatasetError(
                f"{self.url}: asked for the bytes {start:,} to {stop:,}, got {len(octets):,} of them; was the "
                "connection lost, or does the server not read in ranges?"
            )
        return octets


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn what fails while a URL is read into one line that names it."""
    try:
        yield
    except DatasetError:
        raise
    except ImportError as error:
        # fsspec knows the file system, and its package is not here
        package = (error.name or str(error)).partition(".")[0]
        raise MissingExtraError(package, "remote", f"reading {url}") from error
    except Exception as error:  # each store has errors of its own
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DatasetError(f"{url}: cannot be read ({reason})") from error


def remote_files(given: str) -> list[RemoteFile]:
    """Return the files that a URL, a URL of a folder, or a pattern of URLs means, in the order of their names.

    Raises
    ------
    DatasetError
        If there is none, a folder holds several kinds, or the store cannot be read.
    MissingExtraError
        If the package of such a store is not installed.
    """
    with reading(given):
        import fsspec

        system, path = fsspec.core.url_to_fs(given)
        if "*" in given:
            found = sorted(system.glob(path))
        elif PurePosixPath(path).suffix.lower() in ENDINGS:
            found = [path]
        else:
            found = sorted(entry["name"] for entry in system.ls(path, detail=True) if entry["type"] == "file")
            found = [name for name in found if PurePosixPath(name).suffix.lower() in ENDINGS]
        if not found:
            raise DatasetError(
                f"there is no file {given}; what is read of another file system ends in .parquet or .npy"
            )
        kinds = sorted({PurePosixPath(name).suffix.lower() for name in found})
        if len(kinds) > 1:
            raise DatasetError(
                f"{given} holds files of several kinds ({', '.join(kinds)}); name them, as in *{kinds[0]}"
            )
        files = []
        for name in found:
            url = system.unstrip_protocol(name)
            size = system.size(name)
            if size is None:
                raise DatasetError(
                    f"{url}: the server does not say how long it is, so that it cannot be read in ranges"
                )
            files.append(RemoteFile(url, system, int(size)))
        return files


def read_remote(file: RemoteFile, source: VectorSource) -> StoredVectors:
    """Read the vectors of one role from a remote file.

    Raises
    ------
    DatasetError
        For a kind of file that is read only where it is local, one that is cut off or malformed, and a read that fails.
    """
    reader = {".parquet": _read_parquet, ".npy": _read_npy}.get(file.suffix.lower())
    if reader is None:
        raise DatasetError(f"{file}: of another file system .parquet and .npy are read; copy it to this machine")
    return reader(file, source)


def _read_npy(file: RemoteFile, source: VectorSource) -> StoredVectors:
    head = io.BytesIO(file.range(0, min(HEADER_BYTES, file.size)))
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, fortran, dtype = read_header[np.lib.format.read_magic(head)](head)
    except Exception as error:  # numpy's parser of headers fails in many ways
        reason = str(error).strip().partition("\n")[0]
        raise DatasetError(f"{file}: not a readable .npy file of numbers: {reason}") from None
    if len(shape) != 2 or 0 in shape or dtype.kind not in "fiu":
        raise DatasetError(f"{file}: expected a matrix of real numbers with something in it, got {dtype}, {shape}")
    if fortran:
        raise DatasetError(f"{file}: its matrix lies column by column, and cannot be read in runs of rows")
    start, width = head.tell(), shape[1] * dtype.itemsize
    needed = start + shape[0] * width
    if file.size != needed:
        raise DatasetError(
            f"{file} says that it has {shape[0]} rows of {shape[1]} numbers, {needed:,} bytes, but it has "
            f"{file.size:,}; is it cut off?"
        )
    rows, step = Growing(shape[1], dtype), max(1, RANGE_BYTES // width)
    for first in range(0, shape[0], step):
        last = min(shape[0], first + step)
        octets = file.range(start + first * width, start + last * width)
        rows.append(np.frombuffer(octets, dtype).reshape(last - first, shape[1]))
    return StoredVectors(rows.matrix())


def _read_parquet(file: RemoteFile, source: VectorSource) -> StoredVectors:
    import pyarrow.parquet as pq

    with reading(file.url), file.system.open(file.url, "rb") as opened, pq.ParquetFile(opened) as table:
        chosen = choose_columns(file, table.schema_arrow, source)
        wanted = [*chosen.vectors, *([chosen.ids] if chosen.ids else [])]
        return batches_as_vectors(file, chosen, table.iter_batches(columns=wanted))
