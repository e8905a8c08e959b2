"""Compiling loops with numba, once for each version of them and each machine."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from numba import config, njit

Loop = TypeVar("Loop", bound=Callable[..., object])


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
    before = config.CACHE_DIR
    folder = machine_code_folder()
    if not folder:
        _say_that_nothing_is_kept()
    config.CACHE_DIR = folder
    try:
        made: Loop = njit(
            nogil=True, boundscheck=boundscheck, fastmath=fastmath, error_model=error_model, cache=bool(folder)
        )(loop)
    finally:
        config.CACHE_DIR = before
    return made
