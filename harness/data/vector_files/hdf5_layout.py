"""Where the arrays of a HDF5 file lie, read in a process of its own.

Of a damaged file the HDF5 library may read on for ever, or end the process: then that is the other process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SUFFIXES = (".hdf5", ".h5")

CPU_SECONDS = 2.0
"""What the library may take for a file's description; it needs milliseconds, whatever the file's size."""


@dataclass(frozen=True)
class Place:
    """An array that lies in one piece: bytes from the file's start, NumPy's name of its type, its shape."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """What the root of a HDF5 file holds.

    Attributes
    ----------
    places : mapping of str to Place or str
        By name; a str says why it is none, such as "is in chunks or compressed".
    distance : str or None
        The attribute "distance" of ann-benchmarks, in lower case.
    """

    places: Mapping[str, Place | str]
    distance: str | None


def read_layout(path: Path) -> Layout:
    """Return where a file's arrays lie.

    Raises
    ------
    MissingExtraError
        Without h5py.
    DatasetError
        For a file that is damaged.
    """
    from harness.base.errors import DatasetError

    try:
        state = path.stat()
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from None
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> Layout:
    from harness.base.errors import DatasetError, MissingExtraError

    if find_spec("h5py") is None:
        raise MissingExtraError("h5py", "hdf5", f"reading {path}")
    # -P: the modules beside this one are not to be taken for others of their names
    command = [sys.executable, "-P", __file__, str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        ended = done.returncode < 0 or not lines
        reason = f"the HDF5 library ended with {done.returncode}" if ended else lines[-1]
        raise DatasetError(f"{path}: not a readable HDF5 file: {reason}")
    found = json.loads(done.stdout)
    places = {
        name: place if isinstance(place, str) else Place(place[0], place[1], tuple(place[2]))
        for name, place in found["places"].items()
    }
    return Layout(places, found["distance"])


def _place(h5py: Any, file: Any, name: str) -> list[Any] | str:
    # a link may lead to any file of this machine, and so may an array with external storage
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return "is a link"
    array = file[name]
    if not isinstance(array, h5py.Dataset) or array.shape is None:
        return "is no array"
    if array.external or array.is_virtual:
        return "is in other files"
    if array.chunks is not None:
        return "is in chunks or compressed"
    offset = array.id.get_offset()
    return "is in no one piece" if offset is None else [int(offset), array.dtype.str, list(array.shape)]


def _main(path: str) -> None:
    import h5py

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        with h5py.File(path, "r") as file:
            places = {name: _place(h5py, file, name) for name in file}
            given = file.attrs.get("distance")
    except Exception as error:  # HDF5's errors come as nearly every class there is
        sys.exit(str(error).partition("\n")[0] or type(error).__name__)
    text = given.decode("utf-8", "replace") if isinstance(given, bytes) else given
    distance = None if text is None else str(text).strip().lower()
    sys.stdout.write(json.dumps({"places": places, "distance": distance}))


if __name__ == "__main__":
    _main(sys.argv[1])
