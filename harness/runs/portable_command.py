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
    kept = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if key.lstrip("+~") in MACHINE or (key == "experiment" and named):
            continue
        path = unquoted(value)
        if PurePosixPath(path).is_absolute() or path.startswith("~"):
            value = f"PATH/{PurePosixPath(path).name}"
        elif PureWindowsPath(path).is_absolute():
            value = f"PATH/{PureWindowsPath(path).name}"
        kept.append(f"{key}{equals}{value}")
    return shlex.join([*program, *kept])
