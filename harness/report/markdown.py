"""Markdown: tables, cells, p-values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass


def p_value(p: float) -> str:
    """Return what follows the letter p."""
    return "unknown" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"= {p:.3f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: set[int]) -> str:
    """Return a Markdown table; the columns in `right` are aligned to the right."""
    rule = ["---:" if index in right else "---" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def cell(text: str) -> str:
    """Keep a name or message from being read as Markdown."""
    return re.sub(r"([\\|*_`<>\[\]])", r"\\\1", text)
