"""Commands that hand over to Hydra: their arguments, and one line for what Hydra refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.base.errors import ConfigError, was_interrupted
from harness.base.suggestions import not_among
from harness.runs.overrides import readable, unquoted

GROUPS = {
    "methods": "method",
    "models": "model",
    "datasets": "dataset",
    "indexes": "index",
    "experiments": "experiment",
}

TAKE_A_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--info", "-i"),
)
"""Flags of Hydra's."""


def with_swept_parameters(arguments: Sequence[str]) -> list[str]:
    """Return Hydra's arguments with parameters of a swept group marked as swept: `method=pq,opq method.m=24`.

    Hydra first composes all that is not swept. There the parameter would meet the default method, which lacks it.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import OverrideType
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed = {}
    for text in arguments:
        # flags and their values are not overrides; what is wrong with an override Hydra says better itself
        with contextlib.suppress(HydraException):
            parsed[text] = parser.parse_override(text)
    swept = {item.package or item.key_or_group for item in parsed.values() if item.is_sweep_override()}

    def marked(text: str) -> str:
        item = parsed.get(text)
        if item is None or item.type != OverrideType.CHANGE or item.is_sweep_override():
            return text
        group, dot, _ = item.key_or_group.partition(".")
        key, _, value = text.partition("=")
        return f"{key}=choice({value})" if dot and value and group in swept else text

    return [marked(text) for text in arguments]


def with_mode(arguments: Sequence[str], mode: str) -> list[str]:
    """Return Hydra's arguments with its mode among the overrides: its parser takes them in one piece, flags around."""
    arguments = readable(arguments)
    if mode == "MULTIRUN":
        arguments = with_swept_parameters(arguments)
    for place, text in enumerate(arguments):
        flag = arguments[place - 1] if place else ""
        if flag not in TAKE_A_VALUE and not text.startswith("-") and (text.startswith("~") or "=" in text):
            return [*arguments[:place], f"hydra.mode={mode}", *arguments[place:]]
    return [*arguments, f"hydra.mode={mode}"]


def hand_over(application: Callable[[], Any], schema: type, arguments: Sequence[str]) -> None:
    """Run a Hydra application.

    Parameters
    ----------
    application : callable
        Decorated with `hydra.main`.
    schema : type
        The dataclass of its configuration.
    arguments : sequence of str
        Overrides and Hydra's flags, its mode among them: see `with_mode`.

    Raises
    ------
    ConfigError
        For what Hydra or OmegaConf refuse, in one line.
    KeyboardInterrupt
        Where it was an interruption that they refused.
    """
    # with this, errors reach us, and we make one line of them
    os.environ["HYDRA_FULL_ERROR"] = "1"
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from methods.base import MethodError

    program = sys.argv
    sys.argv = ["vecbudget", *arguments]
    try:
        application()
    except (HydraException, OmegaConfBaseException) as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        options = [item.name for item in dataclasses.fields(schema)]
        raise ConfigError(explained(error, arguments, options)) from error
    except MethodError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        # Hydra makes the results folder before anything of ours runs
        folder = next((text.partition("=")[2] for text in arguments if text.startswith("results_dir=")), "results")
        named = error.filename is not None and Path(str(error.filename)).is_relative_to(Path(unquoted(folder)))
        if not named and Path(unquoted(folder)).resolve() not in Path(str(error.filename)).resolve().parents:
            raise
        raise ConfigError(
            f"results_dir={folder} cannot be written ({error.strerror}); choose another folder: results_dir=DIR"
        ) from error
    finally:
        sys.argv = program


def explained(error: Exception, overrides: Sequence[str], options: Sequence[str]) -> str:
    """Return one line for an error of Hydra's or OmegaConf's: what is wrong, and what there is instead."""
    from harness.runs.catalogue import members, parameters

    chosen = {text.lstrip("+~").partition("=")[0]: text.partition("=")[2] for text in overrides}
    listed = {group: f"vecbudget list {plural}" for plural, group in GROUPS.items()}
    for key, names in chosen.items():
        group = key.partition("@")[0]
        for name in names.split(","):
            if group in listed and f"'{group}/{name}'" in str(error):
                return f"there is no {group} " + not_among(name, list(members(group)), listed[group])
    unknown = re.search(r"Could not override '([\w./]+)'", str(error))
    if unknown:
        group, _, key = unknown[1].rpartition(".")
        if not group:
            return "there is no option " + not_among(key, options, "--cfg job")
        there = members(group) if group in listed else {}
        known = {name: parameters(there[name]) for name in chosen.get(group, "").split(",") if name in there}
        name = next((name for name, names in known.items() if key not in names), "")
        shows = f"vecbudget run {group}={name} --cfg job"
        return f"{group} has no parameter " + not_among(key, known.get(name, []), shows, "It has")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    merging = re.fullmatch(r"Error merging override \+*([^=]+)=.*", lines[0])
    if merging and error.__cause__ is not None:
        return f"{merging[1]}: {str(error.__cause__).splitlines()[0]}"
    return "; ".join(lines[:3])
