"""Overrides as a person types them, made fit for Hydra's parser: paths may have any name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

PLAIN = re.compile(r"[\w./:@%+-]*", re.ASCII)
"""Values that mean the same with and without quotes."""

OVERRIDE = re.compile(r"([+~]{0,2}[\w./@-]+)=(.*)", re.ASCII | re.DOTALL)


def readable(arguments: Sequence[str]) -> list[str]:
    """Return overrides whose values Hydra's parser takes as they were meant.

    Hydra has a grammar of its own for values, in which `=`, `#`, brackets, quotes and more mean something. A value that
    it cannot parse, or that is the name of a file or folder which exists, is put in quotes; all others stay.
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
    if parts is None or PLAIN.fullmatch(parts[2]) or parts[2].startswith("${"):
        return text
    key, value = parts[1], parts[2]
    if _is_path(value) or not _parses(text):
        return f"{key}={quoted(value)}"
    return text


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
