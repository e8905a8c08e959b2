"""The compressed index on disk: one safetensors file of codes, one of state, each with a JSON header.

A lexical model has a third, of the corpus's terms: without them no query has numbers.

What a method costs is read off these files. A safetensors file is an 8-byte length, a JSON header of that length, and
the arrays one after another; the arrays of the codes file are the bytes that grow with the corpus.

`checksums.json` beside them has the xxh3_128 of each file's header and of each array. It is no part of what is
searched, and so of no figure. Every array has its own, since the arrays of a streamed file grow side by side: nothing
that was written is read again.
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

from harness.base.errors import StoreError
from harness.base.files import BLOCK_BYTES, array_checksum, hasher, reserve, writing
from harness.base.memmap import release
from methods.base import Codec, Codes, MethodError
from vecbudget.tensors import DTYPES, HEADER_LIMIT, TensorFileError, read

CODES_FILE = "codes.safetensors"
STATE_FILE = "state.safetensors"
DICTIONARY_FILE = "dictionary.safetensors"
CHECKSUMS_FILE = "checksums.json"

Checksums = dict[str, str]
"""Checksums of a file: that of its header under "", and that of each array under its name."""


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
    dictionary_file_bytes : int
        The file of a lexical model's terms; 0 without one.
    length_bytes : int
        The part of the codes file that says how long documents of varying length are.
    structure_bytes, structure_state_bytes : int
        The parts of both files that belong to an index structure: ids and lengths of lists or links, and centroids.
    """

    n: int
    codes_file_bytes: int
    codes_header_bytes: int
    state_file_bytes: int
    short_list_bytes: int = 0
    dictionary_file_bytes: int = 0
    length_bytes: int = 0
    structure_bytes: int = 0
    structure_state_bytes: int = 0

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
        """Bytes of all files."""
        return self.codes_file_bytes + self.state_file_bytes + self.dictionary_file_bytes


def write_index(
    directory: Path,
    codec: Codec,
    codes: Codes | Iterable[Codes],
    n: int | None = None,
    dictionary: bytes | None = None,
    state: Mapping[str, NDArray[Any]] | None = None,
) -> Storage:
    """Write codes and state, and size the files.

    Parameters
    ----------
    directory : Path
    codec : fitted Codec
    codes : Codes or iterable of Codes
        All at once, or chunk by chunk in order: then no more than a chunk is in memory.
    n : int or None
        Documents in all chunks.
    dictionary : bytes or None
        A lexical model's terms.
    state : mapping of str to ndarray, or None
        The codec's state as a file of it has it: one that was loaded can return its numbers in other types. None asks
        the codec.

    Raises
    ------
    StoreError
        If the folder cannot be written, or the chunks have another number of documents.
    """
    sums = {}
    # of an index that stood here before
    for name in (CHECKSUMS_FILE, DICTIONARY_FILE):
        (directory / name).unlink(missing_ok=True)
    sums[CODES_FILE] = write_codes(directory / CODES_FILE, codes, n)
    with writing(directory / STATE_FILE):
        sums[STATE_FILE] = _write(directory / STATE_FILE, codec.state() if state is None else state, {})
    if dictionary is not None:
        with writing(directory / DICTIONARY_FILE):
            terms = {"terms": np.frombuffer(dictionary, dtype=np.uint8)}
            sums[DICTIONARY_FILE] = _write(directory / DICTIONARY_FILE, terms, {})
    with writing(directory / CHECKSUMS_FILE):
        (directory / CHECKSUMS_FILE).write_text(_as_text(sums), encoding="utf-8")
    return storage_of(directory, codec)


def write_codes(path: Path, codes: Codes | Iterable[Codes], n: int | None = None) -> Checksums:
    """Write a file of codes, all at once or chunk by chunk as in `write_index`; return its checksums.

    Raises
    ------
    StoreError
        If it cannot be written, or the chunks have another number of documents.
    """
    with writing(path):
        if isinstance(codes, Codes):
            return _write(path, codes.to_arrays(), {"n": str(codes.n)})
        assert n is not None
        chunks = iter(codes)
        first = next(chunks)
        if not first.ragged:
            return _write_chunks(path, itertools.chain([first], chunks), n)
        # where a byte string lies in the file depends on all others
        whole = Codes.concatenate([first, *chunks])
        if whole.n != n:
            raise StoreError(f"{path}: {whole.n} documents were encoded, expected {n}")
        return _write(path, whole.to_arrays(), {"n": str(whole.n)})


def write_state(path: Path, codec: Codec) -> None:
    """Write a file of a fitted codec's state alone; raises `StoreError` if it cannot be written."""
    with writing(path):
        _write(path, codec.state(), {})


def storage_of(directory: Path, codec: Codec) -> Storage:
    """Read the sizes of an index off its files."""
    codes, state, dictionary = (directory / name for name in (CODES_FILE, STATE_FILE, DICTIONARY_FILE))
    header_bytes, _, header = _header(codes)
    sizes, learned = _sizes(header), _sizes(_header(state)[2])
    return Storage(
        n=int(header["__metadata__"]["n"]),
        codes_file_bytes=codes.stat().st_size,
        codes_header_bytes=header_bytes,
        state_file_bytes=state.stat().st_size,
        short_list_bytes=sum(sizes[name] for name in codec.on_disk(sizes)),
        dictionary_file_bytes=dictionary.stat().st_size if dictionary.exists() else 0,
        length_bytes=sum(size for name, size in sizes.items() if name.startswith("lengths.")),
        structure_bytes=sum(sizes[name] for name in codec.structure_codes(sizes)),
        structure_state_bytes=sum(learned[name] for name in codec.structure_state(learned)),
    )


def _sizes(header: Mapping[str, Any]) -> dict[str, int]:
    """Return the bytes of each array that a safetensors header describes."""
    places = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return {name: end - start for name, (start, end) in places.items()}


def read_index(directory: Path, fresh: Codec, mapped: bool = False) -> tuple[Codec, Codes]:
    """Load the files into a fresh, unfitted codec; all that it will know of the documents is in them.

    With `mapped` the codes stay on disk, as memory-mapped arrays. Every byte is compared with its checksum, which for
    mapped codes is one pass over the file, as long as an exhaustive search of it; an index that has no
    checksums, as older ones, is read without.

    Raises
    ------
    StoreError
        For files that are damaged, or not of such a codec.
    """
    path, state = directory / CODES_FILE, directory / STATE_FILE
    arrays, learned = _read(path, mapped), _read(state)
    dictionary = {name: _read(directory / name) for name in (DICTIONARY_FILE,) if (directory / name).exists()}
    _verify(directory, {CODES_FILE: arrays, STATE_FILE: learned, **dictionary})
    codes = _codes(path, arrays)
    return _with_state(state, learned, fresh), codes


def read_codes(path: Path, mapped: bool = False) -> Codes:
    """Return the codes of a file; raises `StoreError` for one that is damaged. No checksum is compared."""
    return _codes(path, _read(path, mapped))


def read_state(path: Path, fresh: Codec) -> Codec:
    """Load a file of state into a fresh codec; raises `StoreError` if it is damaged. No checksum is compared."""
    return _with_state(path, _read(path), fresh)


def _codes(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Codes:
    """Return the codes that arrays of a file are."""
    n = _contents(path)[1].get("n", "")
    if not (n.isascii() and n.isdecimal() and len(n) < 19):
        raise StoreError(f"{path}: not a readable index file (it says '{n[:40]}' where it has the number of documents)")
    try:
        return Codes.from_arrays(int(n), arrays)
    except (MethodError, TypeError) as error:
        raise StoreError(f"{path}: not a readable index file ({error})") from error


def _with_state(state: Path, learned: Mapping[str, NDArray[Any]], fresh: Codec) -> Codec:
    """Return a codec with what a file says that it learned."""
    for name in learned:
        # other attributes of a codec are its methods
        if not re.fullmatch(r"([A-Za-z0-9]\w*\.)*[A-Za-z]\w*_", name):
            raise StoreError(f"{state}: not a readable index file ('{name}' is no name of a fitted parameter)")
    try:
        return fresh.load_state(learned)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise StoreError(f"{state}: not the state of {type(fresh).__name__} ({error})") from error


def verify_index(directory: Path) -> None:
    """Compare an index with its checksums, if it has any, without loading it.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    names = [CODES_FILE, STATE_FILE, *(name for name in (DICTIONARY_FILE,) if (directory / name).exists())]
    _verify(directory, {name: _read(directory / name, mapped=True) for name in names})


def _verify(directory: Path, files: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
    """Raise `StoreError` where files, by name with the arrays that were read, differ from their checksums."""
    path = directory / CHECKSUMS_FILE
    try:
        if not path.exists():
            return
        with path.open("rb") as file:
            expected = file.read(HEADER_LIMIT)
        headers = {name: _header(directory / name)[1] for name in files}
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not a readable list of checksums ({error})") from error
    sums = {
        name: {"": header} | {key: array_checksum(array) for key, array in files[name].items()}
        for name, header in headers.items()
    }
    if expected == _as_text(sums).encode():
        return
    try:
        recorded = json.loads(expected)["xxh3_128"]
        # its own checksum tells whether it is the list that is damaged
        list_is_sound = expected == _as_text(recorded).encode()
        differ = [(name, key) for name in sums for key in sums[name] if recorded[name].get(key) != sums[name][key]]
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        list_is_sound, differ = False, []
    if not (list_is_sound and differ):
        raise StoreError(f"{path}: not the list of checksums that was written; it is damaged, so make the index again")
    name, key = differ[0]
    part = f"the array '{key}'" if key else "the header"
    raise StoreError(f"{directory / name}: {part} differs from its checksum; it is damaged, so make the index again")


def _as_text(sums: Mapping[str, Checksums]) -> str:
    """Return the list of checksums as it is written, with one of itself."""
    digest = hasher()
    digest.update(json.dumps(sums, sort_keys=True).encode())
    return json.dumps({"xxh3_128": sums, "own": digest.hexdigest()}, indent=1, sort_keys=True) + "\n"


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> Checksums:
    """Write arrays and metadata to a safetensors file, and return its checksums."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    save_file(dict(arrays), path, dict(metadata))
    return {"": _header(path)[1]} | {name: array_checksum(array) for name, array in arrays.items()}


def _write_chunks(path: Path, chunks: Iterator[Codes], n: int) -> Checksums:
    """Write the file that `_write` would write of all chunks together, a chunk at a time."""
    first = next(chunks)
    # an array's place follows from its row's shape; the header's from a file of no rows, which is a valid one
    _write(path, {name: array[:0] for name, array in first.to_arrays().items()}, {"n": str(n)})
    header = _header(path)[2]
    rows = dict(first.rows)
    sizes = {name: n * array[:1].nbytes for name, array in rows.items()}
    names = [name for name in header if name != "__metadata__"]
    end = 0
    for name in names:
        header[name] |= {"shape": [n, *rows[name].shape[1:]], "data_offsets": [end, end + sizes[name]]}
        end += sizes[name]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    with path.open("wb") as file:
        file.truncate(start + end)
    reserve(path, start + end)
    done, digests = 0, {name: hasher() for name in names}
    with path.open("r+b") as file:
        for chunk in itertools.chain([first], chunks):
            for name in names:
                array = np.ascontiguousarray(chunk.rows[name])
                file.seek(start + header[name]["data_offsets"][0] + done * array[:1].nbytes)
                octets = array.reshape(-1).view(np.uint8)
                for first_byte in range(0, len(octets), BLOCK_BYTES):
                    block = octets[first_byte : first_byte + BLOCK_BYTES]
                    digests[name].update(block)
                    file.write(block.data)
                    release(array)
            done += chunk.n
        if done != n:
            raise StoreError(f"{path}: {done} documents were encoded, expected {n}")
        # last: what was interrupted is no safetensors file
        file.seek(0)
        file.write(struct.pack("<Q", len(text)) + text)
    return {"": _header(path)[1]} | {name: digest.hexdigest() for name, digest in digests.items()}


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


def _header(path: Path) -> tuple[int, str, dict[str, Any]]:
    """Return the size of a safetensors file's header, its checksum, and what it says."""
    with path.open("rb") as file:
        start = file.read(8)
        (length,) = struct.unpack("<Q", start)
        text = file.read(min(length, HEADER_LIMIT))
    digest = hasher()
    digest.update(start + text)
    header: dict[str, Any] = json.loads(text)
    return 8 + int(length), digest.hexdigest(), header
