"""The commands in records, made fit for another machine."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath, PureWindowsPath

from harness.runs.overrides import unquoted

BUILT_IN = "stdlib"
MACHINE = ("results_dir", "cache_dir", "overwrite", "keep_index")
"""Options that say where a run's files lay, not what was measured."""


def portable(command: str, dataset: str) -> str:
    """Return a record's command without what belongs to the machine where it ran.

    Absolute paths become `PATH/name`. An experiment is a list of runs, of which the command is one: it is left out,
    unless the collection is named nowhere else.

    Parameters
    ----------
    command : str
        Such as "vecbudget run method=pq method.m=48 experiment=quick results_dir=/tmp/results".
    dataset : str
        What the collection is called.
    """
    program, overrides = shlex.split(command)[:2], shlex.split(command)[2:]
    named = dataset == BUILT_IN or any(text.startswith("dataset=") for text in overrides)
    kept: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if key.lstrip("+~") in MACHINE or (key == "experiment" and named):
            continue
        if equals:
            text = f"{key}={_portable_path(unquoted(value), value)}"
        # the value of an option such as --config-dir
        elif kept and kept[-1].startswith("--"):
            text = _portable_path(text, text)
        kept.append(text)
    return shlex.join([*program, *kept])


def _portable_path(path: str, otherwise: str) -> str:
    """Return an absolute path as `PATH/name`."""
    if PurePosixPath(path).is_absolute() or path.startswith("~"):
        return f"PATH/{PurePosixPath(path).name}"
    return f"PATH/{PureWindowsPath(path).name}" if PureWindowsPath(path).is_absolute() else otherwise
