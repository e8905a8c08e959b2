"""Folders of parts that runs have left in the cache: what is in them, and their removal (`harness.runs.parts`)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.base.errors import StoreError
from harness.base.formatting import amount, count
from harness.evaluation.part_files import PartsFolder
from harness.runs.parts import FOLDER

KEY = re.compile(r"p[0-9a-f]{23}")
"""Names of such folders; nothing else in a cache is touched."""


@dataclass(frozen=True)
class Left:
    """A folder of parts.

    Attributes
    ----------
    folder : PartsFolder
    size : int
        Bytes of its files.
    touched : float
        When the last of them was written, in seconds since 1970.
    in_use : bool
        Whether a process is dealing its parts out.
    what : str
        What the parts are of, in words.
    """

    folder: PartsFolder
    size: int
    touched: float
    in_use: bool
    what: str

    def line(self) -> str:
        """Return it in a line."""
        when = datetime.datetime.fromtimestamp(self.touched, datetime.UTC).isoformat(sep=" ", timespec="minutes")[:16]
        state = ", at work" if self.in_use else ""
        return f"{self.folder.path.name}  {amount(self.size):>9}  {when}  {self.what}{state}"


def left_parts(cache_dir: Path) -> list[Left]:
    """Return the folders of parts in a cache, the one that was touched last at the end."""
    folders = [path for path in (cache_dir / FOLDER).glob("p*") if KEY.fullmatch(path.name) and path.is_dir()]
    return sorted(map(_looked_at, folders), key=lambda one: (one.touched, one.folder.path.name))


def remove(left: Iterable[Left]) -> list[Left]:
    """Remove folders of parts, and return those that were: none that a process is working at."""
    from filelock import FileLock, Timeout

    removed = []
    for one in left:
        lock = one.folder.path.with_suffix(".lock")
        try:
            with FileLock(lock).acquire(timeout=0):
                # the lock's file stays: whoever waits for it has it open
                one.folder.remove()
        except Timeout:
            continue
        removed.append(one)
    return removed


def _looked_at(path: Path) -> Left:
    size, touched = 0, path.stat().st_mtime
    for place in path.rglob("*"):
        try:
            known = place.stat()
        except FileNotFoundError:
            continue  # a worker has just renamed or removed it
        size += known.st_size if place.is_file() else 0
        touched = max(touched, known.st_mtime)
    folder = PartsFolder(path)
    try:
        plan = folder.read_plan()
    except StoreError:
        what = "no readable plan: of no use"
    else:
        done = sum(folder.finished(number) for number in range(1, plan.of + 1))
        kind = "float32 ranking" if plan.method is None else str(plan.method.get("_target_", "a method")).split(".")[-1]
        what = f"{done} of {count(plan.of, 'part')} of {plan.n:,} documents, {kind}, {plan.docs.file}"
    return Left(folder, size, touched, _in_use(path.with_suffix(".lock")), what)


def _in_use(lock: Path) -> bool:
    from filelock import FileLock, Timeout

    if not lock.exists():
        return False
    try:
        with FileLock(lock).acquire(timeout=0):
            return False
    except Timeout:
        return True
