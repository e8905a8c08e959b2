"""Files that are whole or refused: what a full disk says, what is waited for, and checksums."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import StoreError

BLOCK_BYTES = 1 << 24
"""Bytes read at a time for a checksum."""

UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems answer to a request that they do not know."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what fails while a file or folder is written into one line that names it.

    Raises
    ------
    StoreError
        For a full disk, a missing permission, and whatever else the system refuses.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).strip().partition("\n")[0]
        if re.fullmatch(r"\d+ requested and \d+ written", reason):
            # NumPy forgets why a file took a part only
            reason = f"{os.strerror(errno.ENOSPC)}: {reason}"
        raise StoreError(
            f"{path} cannot be written ({reason}); make room or choose another folder, then run it again"
        ) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield another name for a file, which becomes `path` once all of it is written and is gone otherwise."""
    draft = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder that becomes `out` when all went well, and is gone otherwise.

    Raises
    ------
    StoreError
        If `out` is there already and not an empty folder, or the system refuses to write.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} exists and is not an empty folder; nothing is overwritten: choose another --out")
    with writing(out):
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
        try:
            yield draft
            for path in (draft, *draft.rglob("*")):
                # mkdtemp and safetensors make what they write private
                path.chmod(0o755 if path.is_dir() else 0o644)
                sync(path)
            draft.replace(out)
            sync(out.absolute().parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk.

    Raises
    ------
    OSError
        If the disk is full or broken: some file systems tell so only now.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return  # Windows opens no folders
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            raise
        # some network file systems cannot
    finally:
        os.close(handle)


def reserve(path: Path, size: int) -> None:
    """Reserve a file's blocks, so that a full disk is known before hours of work rather than after them."""
    if not hasattr(os, "posix_fallocate") or size == 0:
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise


def array_checksum(array: NDArray[Any]) -> str:
    """Return the xxh3_128 of an array's bytes in C order; a memory-mapped one is not left resident."""
    from harness.base.memmap import release

    digest = hasher()
    rows = array.reshape(-1) if array.flags.c_contiguous else array
    # in blocks: of rows in reverse, as those of numbered documents are, a copy would be as large as the corpus
    step = max(1, BLOCK_BYTES // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        digest.update(np.ascontiguousarray(rows[start : start + step]).reshape(-1).view(np.uint8))
        release(array)
    return str(digest.hexdigest())


def file_checksum(path: Path) -> str:
    """Return the xxh3_128 of a file."""
    digest = hasher()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return str(digest.hexdigest())


def hasher() -> Any:
    """Return a new xxh3_128."""
    import xxhash

    return xxhash.xxh3_128()
