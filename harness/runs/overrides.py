"""Overrides as a person types them, made fit for Hydra's parser: paths may have any name."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

PLAIN = re.compile(r"[\w./:@%+-]*", re.ASCII)
"""Values that mean the same with and without quotes."""

OVERRIDE = re.compile(r"([+~]{0,2}[\w./@-]+)=(.*)", re.ASCII | re.DOTALL)


NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d[\d_]*)?|[+-]?inf|nan|true|false", re.ASCII | re.I)
"""Values that Hydra's parser takes for a number, or for true or false."""

NO_TEXT = ("method", "hydra", "measure")
"""Groups whose settings have the types of their own values."""

FOLDERS = ("results_dir", "cache_dir", "out")
"""Settings beside the groups that are text."""


def readable(arguments: Sequence[str]) -> list[str]:
    """Return overrides whose values Hydra's parser takes as they were meant.

    Hydra has a grammar of its own for values, in which `=`, `#`, brackets, quotes and more mean something. A value that
    it cannot parse, or that is the name of a file or folder which exists, is put in quotes. So are numbers where a
    setting is text: a name, a path, a revision; `2024.10`, `007` and `1e5` stay what they are. All others stay.
    """
    return [_readable(text) for text in arguments]


def quoted(value: str) -> str:
    """Return a value in single quotes, as Hydra's parser reads them back."""
    # backslashes are escapes only in front of a quote, and at the end of the value
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", value)
    return "'" + re.sub(r"(\\+)$", lambda match: match[1] * 2, escaped) + "'"


def unquoted(value: str) -> str:
    """Return what a value in quotes means; any other value is returned as it is."""
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "'\"":
        return value
    quote, inner = value[0], value[1:-1]
    inner = re.sub(rf"(\\+){quote}", lambda match: match[1][: len(match[1]) // 2] + quote, inner)
    return re.sub(r"(\\+)$", lambda match: match[1][: len(match[1]) // 2], inner)


def _readable(text: str) -> str:
    parts = OVERRIDE.fullmatch(text)
    if parts is None or parts[2].startswith("${") or (PLAIN.fullmatch(parts[2]) and not NUMBER.fullmatch(parts[2])):
        return text
    key, value = parts[1], parts[2]
    items = value.split(",")
    if any(NUMBER.fullmatch(item) for item in items) and _is_text(key):
        return f"{key}={','.join(quoted(item) if NUMBER.fullmatch(item) else item for item in items)}"
    if _is_path(value) or not _parses(text):
        return f"{key}={quoted(value)}"
    return text


def _is_text(key: str) -> bool:
    """Whether a setting takes text and no number: that of a dataset or a model, or a folder."""
    group, _, name = key.lstrip("+").rpartition(".")
    if not group:
        return name in FOLDERS
    return group.partition(".")[0].partition("@")[0] not in NO_TEXT and name in _text_settings()


@functools.cache
def _text_settings() -> frozenset[str]:
    """Return the names of the datasets' and models' settings that take text and no number."""
    # imported here, so that commands without overrides do not wait for them
    from harness.base.options import Options, takes_text
    from harness.data import datasets, models
    from methods.base import field_types

    public = [getattr(module, name) for module in (datasets, models) for name in module.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, Options)]
    return frozenset(name for kind in kinds for name, hint in field_types(kind).items() if takes_text(hint))


def _is_path(value: str) -> bool:
    try:
        return Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _parses(text: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(text)
    except HydraException:
        return False
    return True
