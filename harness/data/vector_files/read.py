"""One matrix out of a file, several files, a folder or a pattern."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError
from harness.base.memmap import Growing
from harness.data.text_lines import kind_of
from harness.data.vector_files import hdf5_layout
from harness.data.vector_files.arrays import read_npy, read_npz, read_pt, read_safetensors
from harness.data.vector_files.big_ann import BINS, VECS, read_bin, read_vecs
from harness.data.vector_files.columns import TABLE_READERS
from harness.data.vector_files.finite import refuse_non_finite
from harness.data.vector_files.hdf5 import read_hdf5
from harness.data.vector_files.remote import RemoteFile, is_remote, read_remote, remote_files
from harness.data.vector_files.source import NamedFile, Reader, StoredVectors, VectorSource, as_matrix

READERS: dict[str, Reader] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".pt": read_pt,
    ".pth": read_pt,
    **dict.fromkeys(VECS, read_vecs),
    **dict.fromkeys(BINS, read_bin),
    **TABLE_READERS,
    **dict.fromkeys(hdf5_layout.SUFFIXES, read_hdf5),
}
"""Readers by the ending of a file, in lower case, without that of a compression."""


def existing_files(given: str | Sequence[str]) -> list[Path]:
    """Return the files that a path, a list of paths, a folder or a pattern such as "part-*.parquet" means, in order.

    Of a folder these are all files of the one kind that it holds, in the order of their names.

    Raises
    ------
    DatasetError
        If there is none, or a folder holds several kinds.
    """
    if not isinstance(given, str):
        if not given:
            raise DatasetError("an empty list of files")
        return [path for item in given for path in existing_files(item)]
    path = Path(given).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return _of_folder(path)
    matches = [Path(name) for name in sorted(glob.glob(str(path))) if Path(name).is_file()]  # noqa: PTH207
    if matches:
        return matches
    where = path.parent
    near = sorted(entry.name for entry in where.iterdir() if entry.is_file()) if where.is_dir() else []
    there = f"; {where} has {', '.join(near[:10])}{' ...' if len(near) > 10 else ''}" if near else ""
    raise DatasetError(f"there is no file {path}{there}")


def vector_files(given: str | Sequence[str]) -> list[Path | RemoteFile]:
    """Return the files that `existing_files` does, and those of other file systems (`remote`) where URLs name them."""
    if not isinstance(given, str):
        return [path for item in given for path in vector_files(item)] if given else [*existing_files(given)]
    return [*remote_files(given)] if is_remote(given) else [*existing_files(given)]


def _of_folder(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and kind_of(path) in READERS)
    kinds = sorted({kind_of(path) for path in files})
    if len(kinds) == 1:
        return files
    what = f"files of several kinds ({', '.join(kinds)})" if kinds else "no files of vectors"
    raise DatasetError(f"{folder} holds {what}; name them, as in {folder}/*{kinds[0] if kinds else '.npy'}")


def read_vectors(
    paths: Sequence[Path | RemoteFile], source: VectorSource, packed_bits: bool | None = None, checked: bool = True
) -> StoredVectors:
    """Read the vectors of one role from files, one below the other.

    Parameters
    ----------
    paths : sequence of Path or RemoteFile
    source : VectorSource
    packed_bits : bool or None
        Whether bytes are eight bits each, as `numpy.packbits` packs them, and not numbers; they become +1 and -1,
        scaled to unit length. None refuses bytes (uint8) of a format that does not say.
    checked : bool
        False leaves it to whoever reads all rows next to look for NaN and infinity.

    Raises
    ------
    DatasetError
        For files that are of unknown kinds, malformed or of different widths or kinds of ids, NaN or infinity (with
        file and row), and bytes of which it is not known whether they are packed bits.
    """
    parts = [_one(path, source, packed_bits, checked) for path in paths]
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    rows = Growing(first.vectors.shape[1], first.vectors.dtype)
    for path, part in zip(paths, parts, strict=True):
        if part.vectors.shape[1] != rows.width:
            raise DatasetError(
                f"{path} has vectors of {part.vectors.shape[1]} dimensions, but {paths[0]} of {rows.width}"
            )
        if (part.ids is None) != (first.ids is None):
            which, other = (path, paths[0]) if part.ids is None else (paths[0], path)
            raise DatasetError(f"{which} has no ids, but {other} has")
        if part.vectors.dtype != first.vectors.dtype:
            raise DatasetError(f"{path} holds {part.vectors.dtype}, but {paths[0]} {first.vectors.dtype}")
        if part.metric != first.metric:
            raise DatasetError(f"{path} is for the distance '{part.metric}', but {paths[0]} for '{first.metric}'")
        for start in range(0, len(part.vectors), 1 << 14):
            rows.append(part.vectors[start : start + (1 << 14)])
    ids = None if first.ids is None else [name for part in parts for name in part.ids or ()]
    return replace(first, vectors=rows.matrix(), ids=ids)


def _one(path: Path | RemoteFile, source: VectorSource, packed_bits: bool | None, checked: bool) -> StoredVectors:
    if isinstance(path, RemoteFile):
        stored = read_remote(path, source)
    else:
        reader = READERS.get(kind_of(path))
        if reader is None:
            raise DatasetError(f"{path}: unknown kind of file '{path.suffix}'; there are {', '.join(READERS)}")
        stored = reader(path, source)
    vectors = as_matrix(path, stored.vectors)
    if packed_bits:
        vectors = _unpacked(path, vectors)
    elif vectors.dtype == np.uint8 and not stored.numbers and packed_bits is None:
        raise DatasetError(
            f"{path} holds bytes (uint8): numbers from 0 to 255 (dataset.packed_bits=false), or eight bits each, as "
            "numpy.packbits packs them (dataset.packed_bits=true)?"
        )
    if checked:
        refuse_non_finite(path, vectors)
    return replace(stored, vectors=vectors)


def _unpacked(path: NamedFile, values: NDArray[Any]) -> NDArray[np.float32]:
    """Return bits as +1 and -1 of unit length; int8 are the bytes less 128, as sentence-transformers writes them."""
    if values.dtype not in (np.uint8, np.int8):
        raise DatasetError(f"{path}: dataset.packed_bits=true is for bytes, but it holds {values.dtype}")
    width = 8 * values.shape[1]
    rows = Growing(width, np.float32)
    for start in range(0, len(values), 1 << 14):
        part = np.asarray(values[start : start + (1 << 14)])
        packed = part if part.dtype == np.uint8 else (part.astype(np.int16) + 128).astype(np.uint8)
        rows.append((2.0 * np.unpackbits(packed, axis=1) - 1.0) / np.sqrt(width))
    return rows.matrix()
