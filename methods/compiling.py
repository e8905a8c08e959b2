"""Compiling loops with numba, once for each version of them and each machine."""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from numba import config, njit

Loop = TypeVar("Loop", bound=Callable[..., object])

COMPILES = re.compile(r"^from (?:numba|llvmlite|methods\.compiling)\b", re.MULTILINE)
IMPORTS = re.compile(r"^from (methods[\w.]*) import (\([^)]*\)|[^\n]+)", re.MULTILINE)

LOCATOR = f"{__name__}.ByContent"


def machine_code_folder() -> str:
    """Return where compiled loops are kept: with the harness's cache, or as NUMBA_CACHE_DIR says; "": nowhere."""
    if config.CACHE_DIR:
        return str(config.CACHE_DIR)
    try:
        folder = Path(os.environ.get("VECBUDGET_CACHE") or "~/.cache/vecbudget").expanduser() / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""


@functools.cache
def _say_that_nothing_is_kept() -> None:
    """Warn once that each process compiles anew."""
    logging.getLogger(__name__).warning(
        "compiled loops cannot be kept, so that every process compiles them anew, some seconds for each: "
        "no folder for them can be written; set VECBUDGET_CACHE or NUMBA_CACHE_DIR to one"
    )


@functools.cache
def _loops() -> bytes:
    """Return the content of all modules with loops here, and of what they import of `methods`.

    Compiled loops hold what they call of other modules, and their numbers.
    """
    folder = Path(__file__).parent
    found = {
        f"methods.{'.'.join(path.relative_to(folder).with_suffix('').parts)}": path for path in folder.rglob("*.py")
    }
    texts = {name: path.read_text(encoding="utf-8") for name, path in found.items()}
    seen = {name for name, text in texts.items() if COMPILES.search(text)}
    waiting = sorted(seen)
    while waiting:
        for package, names in IMPORTS.findall(texts[waiting.pop()]):
            named = {package, *(f"{package}.{name}" for name in re.findall(r"\w+", names))} & texts.keys() - seen
            seen |= named
            waiting += sorted(named)
    return "".join(texts[name] for name in sorted(seen)).encode()


class ByContent:
    """Tells numba (from 0.62 on) where machine code is kept: by what was compiled, not by where the source lies.

    So that clones and environments of one version share what is compiled, and none has loops of another version.
    """

    def __init__(self, folder: str, function: Callable[..., object], source: bytes) -> None:
        self._line = function.__code__.co_firstlineno
        self._digest = hashlib.sha256(source + _loops()).hexdigest()[:32]
        self._folder = Path(folder) / self._digest
        # for the warnings of numba
        self._py_file = function.__code__.co_filename

    @classmethod
    def from_function(cls, function: Callable[..., object], file: str) -> Self | None:
        """Return the place of a function of a file, or of a notebook; None where its source is not to be had."""
        try:
            source = Path(file).read_bytes() if Path(file).is_file() else inspect.getsource(function).encode()
            place = cls(config.CACHE_DIR, function, source)
            place.ensure_cache_path()
        except OSError:
            return None
        return place

    def ensure_cache_path(self) -> None:
        """Make the folder; OSError where nothing can be written into it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=self._folder).close()

    def get_cache_path(self) -> str:
        """Return the folder."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """Return what must be equal for machine code to be current."""
        return self._digest

    def get_disambiguator(self) -> str:
        """Return what tells functions of one name and file apart."""
        return str(self._line)


def compiled(loop: Loop) -> Loop:
    """Return a function over arrays that is compiled at its first call, which takes seconds, once on each machine.

    It looks at no bounds: for arrays that have been checked.
    """
    return _compiled(loop, boundscheck=False)


def guarded(loop: Loop) -> Loop:
    """Return what `compiled` does, for bytes of a file, which may be damaged: IndexError where an array ends."""
    return _compiled(loop, boundscheck=True)


def loose(loop: Loop) -> Loop:
    """Return what `compiled` does, with sums in the order that is quickest, which differs by machine: for bounds."""
    return _compiled(loop, boundscheck=False, fastmath={"reassoc", "contract", "nnan", "nsz"})


def _compiled(loop: Loop, boundscheck: bool, fastmath: bool | set[str] = False) -> Loop:
    # Python's check of each divisor would keep a loop from being turned into vector instructions
    error_model = "python" if boundscheck else "numpy"
    # numba itself would keep the machine code in the folder of the source: a repository's, or an installation's
    before = config.CACHE_DIR, getattr(config, "CACHE_LOCATOR_CLASSES", "")
    folder = machine_code_folder()
    if not folder:
        _say_that_nothing_is_kept()
    config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = folder, before[1] or LOCATOR
    try:
        made: Loop = njit(
            nogil=True, boundscheck=boundscheck, fastmath=fastmath, error_model=error_model, cache=bool(folder)
        )(loop)
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = before
    return made
