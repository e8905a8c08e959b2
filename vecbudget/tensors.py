"""Arrays of a safetensors file, in memory or memory-mapped, with its header checked before anything is allocated."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = {
    **{f"U{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"I{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    "BOOL": "?",
}
"""NumPy's names of safetensors' types."""
HEADER_LIMIT = 1 << 24
"""Bytes; a header of this project's has a few thousand."""


class TensorFileError(ValueError):
    """A safetensors file that is damaged, or that holds something else than it says."""


def read(path: Path, mapped: bool = False) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by name.

    Parameters
    ----------
    path : Path
    mapped : bool
        Leave them on disk, as read-only memory maps.

    Raises
    ------
    TensorFileError
        If the file is no safetensors file, is cut off, or has an array that does not lie inside it.
    """
    start, entries = _header(path)
    inside = path.stat().st_size - start
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in entries.items():
        try:
            dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            sound = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        except (KeyError, TypeError, ValueError) as error:
            raise TensorFileError(f"{path}: the header's entry '{name[:40]}' is not one of an array") from error
        if not sound or len(shape) > 8 or end > inside or end - begin != math.prod(shape) * dtype.itemsize:
            raise TensorFileError(f"{path}: the array '{name[:40]}' does not lie inside the file, says its header")
        if begin == end:
            arrays[name] = np.empty(shape, dtype)
            continue
        array = np.memmap(path, dtype=dtype, mode="r", offset=start + begin, shape=shape)
        arrays[name] = array if mapped else np.array(array)
    return arrays


def _header(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return where the arrays begin, and their entries."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if not 2 <= length <= min(HEADER_LIMIT, size - 8):
                raise TensorFileError(f"{path}: not a safetensors file (a header of {length} bytes in {size})")
            header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, TensorFileError):
            raise
        raise TensorFileError(f"{path}: not a readable safetensors file ({type(error).__name__})") from error
    if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        raise TensorFileError(f"{path}: the header is not that of a safetensors file")
    header.pop("__metadata__", None)
    return 8 + length, header
