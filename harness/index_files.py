"""The compressed index on disk: one safetensors file of codes, one of state, each with a JSON header.

What a method costs is read off these files. A safetensors file is an 8-byte length, a JSON header of that length, and
the arrays one after another; the arrays of the codes file are the bytes that grow with the corpus.
"""

from __future__ import annotations

import itertools
import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import StoreError
from methods.base import Codec, Codes, MethodError
from vecbudget.tensors import DTYPES, TensorFileError, read

CODES_FILE = "codes.safetensors"
STATE_FILE = "state.safetensors"


@dataclass(frozen=True)
class Storage:
    """Sizes of an index, read off its files.

    Attributes
    ----------
    n : int
        Documents.
    codes_file_bytes, state_file_bytes : int
        The two files as they lie on disk.
    codes_header_bytes : int
        The part of the codes file that does not grow with the corpus: its header.
    short_list_bytes : int
        The part of the codes file that a search reads for a short list only, and that may so stay on disk.
    """

    n: int
    codes_file_bytes: int
    codes_header_bytes: int
    state_file_bytes: int
    short_list_bytes: int = 0

    @property
    def disk_bytes_per_vector(self) -> float:
        """Bytes of each document that a search reads for a short list only."""
        return self.short_list_bytes / self.n

    @property
    def resident_bytes_per_vector(self) -> float:
        """Bytes of each document that must be in memory."""
        return self.code_bytes_per_vector - self.disk_bytes_per_vector

    @property
    def code_bytes_per_vector(self) -> float:
        """Bytes of the codes file, less its header, for each document."""
        return (self.codes_file_bytes - self.codes_header_bytes) / self.n

    @property
    def index_bytes(self) -> int:
        """Bytes of both files."""
        return self.codes_file_bytes + self.state_file_bytes


def write_index(directory: Path, codec: Codec, codes: Codes | Iterable[Codes], n: int | None = None) -> Storage:
    """Write codes and state, and size the files.

    Parameters
    ----------
    directory : Path
    codec : fitted Codec
    codes : Codes or iterable of Codes
        All at once, or chunk by chunk in order: then no more than a chunk is in memory.
    n : int or None
        Documents in all chunks.
    """
    if isinstance(codes, Codes):
        _write(directory / CODES_FILE, codes.to_arrays(), {"n": str(codes.n)})
    else:
        assert n is not None
        _write_chunks(directory / CODES_FILE, iter(codes), n)
    _write(directory / STATE_FILE, codec.state(), {})
    return storage_of(directory, codec)


def storage_of(directory: Path, codec: Codec) -> Storage:
    """Read the sizes of an index off its files."""
    codes, state = directory / CODES_FILE, directory / STATE_FILE
    header_bytes, header = _header(codes)
    arrays = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return Storage(
        n=int(header["__metadata__"]["n"]),
        codes_file_bytes=codes.stat().st_size,
        codes_header_bytes=header_bytes,
        state_file_bytes=state.stat().st_size,
        short_list_bytes=sum(arrays[name][1] - arrays[name][0] for name in codec.on_disk(arrays)),
    )


def read_index(directory: Path, fresh: Codec, mapped: bool = False) -> tuple[Codec, Codes]:
    """Load the files into a fresh, unfitted codec; all that it will know of the documents is in them.

    With `mapped` the codes stay on disk, as memory-mapped arrays.

    Raises
    ------
    StoreError
        For files that are damaged, or not of such a codec.
    """
    path, state = directory / CODES_FILE, directory / STATE_FILE
    arrays = _read(path, mapped)
    n = _contents(path)[1].get("n", "")
    if not (n.isascii() and n.isdecimal() and len(n) < 19):
        raise StoreError(f"{path}: not a readable index file (it says '{n[:40]}' where it has the number of documents)")
    try:
        codes = Codes.from_arrays(int(n), arrays)
    except (MethodError, TypeError) as error:
        raise StoreError(f"{path}: not a readable index file ({error})") from error
    learned = _read(state)
    for name in learned:
        # other attributes of a codec are its methods
        if not re.fullmatch(r"([A-Za-z0-9]\w*\.)*[A-Za-z]\w*_", name):
            raise StoreError(f"{state}: not a readable index file ('{name}' is no name of a fitted parameter)")
    try:
        return fresh.load_state(learned), codes
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise StoreError(f"{state}: not the state of {type(fresh).__name__} ({error})") from error


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}, path, dict(metadata))


def _write_chunks(path: Path, chunks: Iterator[Codes], n: int) -> None:
    """Write the file that `_write` would write of all chunks together, a chunk at a time."""
    first = next(chunks)
    # an array's place follows from its row's shape; the header's from a file of no rows, which is a valid one
    _write(path, {name: array[:0] for name, array in first.to_arrays().items()}, {"n": str(n)})
    _, header = _header(path)
    rows = dict(first.rows)
    sizes = {name: n * array[:1].nbytes for name, array in rows.items()}
    names = [name for name in header if name != "__metadata__"]
    place = 0
    for name in names:
        header[name] |= {"shape": [n, *rows[name].shape[1:]], "data_offsets": [place, place + sizes[name]]}
        place += sizes[name]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + place)
    done = 0
    with path.open("r+b") as file:
        for chunk in itertools.chain([first], chunks):
            for name in names:
                array = np.ascontiguousarray(chunk.rows[name])
                file.seek(8 + len(text) + header[name]["data_offsets"][0] + done * array[:1].nbytes)
                file.write(array.tobytes())
            done += chunk.n
    if done != n:
        raise StoreError(f"{path}: {done} documents were encoded, expected {n}")


def _read(path: Path, mapped: bool = False) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file, in memory or memory-mapped."""
    for name, kind in _contents(path)[0].items():
        if kind not in DTYPES:
            raise StoreError(f"{path}: not a readable index file ('{name}' is of type {kind})")
    try:
        return read(path, mapped)
    except (TensorFileError, OSError) as error:
        raise StoreError(f"{path}: not a readable index file ({error})") from error


def _contents(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the type of each array and the metadata; the offsets have then been checked against the file's size."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            return kinds, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path}: not a readable index file ({error})") from error


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the size of a safetensors file's header and what it says."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    return 8 + int(length), header
