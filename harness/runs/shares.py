"""Parameters that are shares of the vectors' dimensions: `method.m=d/8` is 48 of 384, and 12 of 96.

A share becomes its number before anything else looks at it, so that run ids, tables and commands hold numbers only, and
the same ones as if the number had been typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from harness.base.errors import ConfigError
from harness.runs.config import as_mapping

SHARE = re.compile(r"d(?:\*(\d+))?(?:/(\d+))?([+-]\d+)?")
"""Dimensions, times, divided by, plus or minus: "d", "d/8", "d*3/4", "d/4-16"."""

EQUAL_PARTS = ("m", "num_sub_vectors", "segments")
"""Parameters that count the parts of equal width that a vector is cut into."""

FARTHEST = 1.5
"""A number of equal parts may be so many times more or fewer than the share says, to divide the dimensions."""


class ShareError(ConfigError):
    """A share of the dimensions that comes to nothing."""


def is_share(value: Any) -> bool:
    """Return whether a parameter's value is a share of the dimensions."""
    return isinstance(value, str) and SHARE.fullmatch(value.strip()) is not None


def number_of(share: str, d: int, parameter: str) -> int:
    """Return what a share of d dimensions comes to, rounded down.

    A number of equal parts (see `EQUAL_PARTS`) is the divisor of d that is nearest to the share, by ratio, if it is at
    most `FARTHEST` times more or fewer; so methods that need no equal parts are compared at the same bytes.

    Parameters
    ----------
    share : str
        As `SHARE`, or several for ranges of d: "d/4 below 768, d/6 below 2048, d/8". A plain number is itself.
    d : int
    parameter : str
        What the number is for.

    Raises
    ------
    ShareError
        If nothing is left: the share is less than 1.
    """
    pieces = (piece.strip().partition(" below ") for piece in share.split(","))
    chosen = next(text for text, below, limit in pieces if not below or d < int(limit))
    if chosen.isdecimal():
        return int(chosen)
    parts = SHARE.fullmatch(chosen)
    if parts is None:
        raise ConfigError(f"method.{parameter}={share} is no share of the dimensions, such as d/8")
    times, over, more = (int(text) if text else usual for text, usual in zip(parts.groups(), (1, 1, 0), strict=True))
    wanted = d * times / over + more
    if parameter.rpartition(".")[2] in EQUAL_PARTS and wanted > 0:
        nearest = min((n for n in range(1, d + 1) if d % n == 0), key=lambda n: max(n / wanted, wanted / n))
        if max(nearest / wanted, wanted / nearest) <= FARTHEST:
            return nearest
    number = d * times // over + more
    if number < 1:
        raise ShareError(f"method.{parameter}={chosen} is {number} of {d} dimensions: it must be at least 1")
    return number


def with_numbers(
    cfg: DictConfig, overrides: Sequence[str], width: Callable[[], int], scaled: bool = False
) -> tuple[DictConfig, list[str]]:
    """Return a configuration, and the overrides that made it, with numbers for the shares of its method.

    Parameters
    ----------
    cfg : DictConfig
        It is not changed.
    overrides : sequence of str
    width : callable
        Returns the dimensions of the vectors; called only if there is a share.
    scaled : bool
        Whether defaults that the yaml calls a share of the dimensions (`about.shares`) are scaled, too. What that
        changes is among the overrides then.
    """
    if not isinstance(cfg.method, DictConfig):
        return cfg, list(overrides)
    given = {text.lstrip("+").partition("=")[0] for text in overrides}
    found = dict(_shares(as_mapping(cfg.method, resolve=False), ""))
    defaults = {
        str(key): str(share)
        for key, share in (cfg.method.get("about", {}).get("shares") or {}).items()
        if scaled and f"method.{key}" not in given and key not in found
    }
    if not found and not defaults:
        return cfg, list(overrides)
    d = width()
    cfg, stated = cfg.copy(), list(overrides)
    with open_dict(cfg):
        for key, share in found.items():
            number = number_of(share, d, key)
            OmegaConf.update(cfg.method, key, number)
            stated = [_with_number(text, f"method.{key}", number) for text in stated]
        for key, share in defaults.items():
            number = number_of(share, d, key)
            if number != cfg.method[key]:
                cfg.method[key] = number
                stated.append(f"method.{key}={number}")
    return cfg, stated


def _shares(node: Any, path: str) -> list[tuple[str, str]]:
    """Return the places in a method's node that hold a share, and the shares."""
    if not isinstance(node, dict):
        return []
    found = []
    for key, value in node.items():
        if path or key != "about":
            if is_share(value):
                found.append((f"{path}{key}", str(value)))
            found += _shares(value, f"{path}{key}.")
    return found


def _with_number(text: str, key: str, number: int) -> str:
    """Return an override of this key with the number that it comes to."""
    name, equals, _ = text.partition("=")
    return f"{name}={number}" if equals and name.lstrip("+") == key else text
