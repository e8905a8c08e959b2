"""The page on a collection's Pareto frontier: how likely each setting is on it, and what beats what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis import statistics
from harness.analysis.budgets import BUDGET_RULE, frontier_rule
from harness.base import formatting
from harness.report import markdown

if TYPE_CHECKING:
    import pandas as pd

from harness.analysis.frontier_uncertainty import (
    LEAST_BYTES,
    LEAST_SAVING,
    Shares,
    beaten_table,
    budget_table,
    family_table,
    frontier_table,
    kept_table,
)
from harness.report.table import Column, Table, numbers, words


def dominance_markdown(shares: Shares, margin: float = statistics.MARGIN, level: int = 1) -> str:
    """Return the whole analysis as Markdown; `level` is that of its first heading."""
    head = "#" * level
    blocks = [f"{head} What is worth its bytes: {markdown.cell(shares.title)}"]
    share = numbers(f"% of float32's {shares.measure}", "share", 1, 100)
    size = numbers("bytes/vector", "bytes_per_vector", _size)
    between = numbers("95 % interval", lambda row: _interval(row, "share"))
    columns = [words("", "on_frontier"), words("setting", "setting"), size, share, between]
    columns.append(numbers("on the frontier, % of resamples", "probability", 0, 100))
    blocks += [f"{head}# The frontier, and what might be on it", _markdown(columns, frontier_table(shares))]
    columns = [
        numbers("code bytes at most", "budget", "{:g}".format),
        words("best", lambda row: row["setting"] or "nothing measured"),
        *(size, share, between),
        numbers("best, % of resamples", "probability", 0, 100),
        words("next", lambda row: row["runner_up"] or formatting.UNKNOWN),
        numbers("keeps, %", "runner_up_share", 1, 100),
    ]
    blocks += [f"{head}# The best for a budget", _markdown(columns, budget_table(shares))]
    columns = [
        numbers("keeps at least", lambda row: f"{formatting.number(100 * row['keeps'], 0)} %"),
        words("smallest, with 95 % confidence", lambda row: row["setting"] or "nothing measured"),
        *(size, share, numbers("no less than, %", "share_bound", 1, 100)),
        words("even as the smallest of many", lambda row: row["joint_setting"] or formatting.UNKNOWN),
        numbers("bytes/vector", "joint_bytes", _size),
        words("smallest as measured", lambda row: row["measured_setting"] or formatting.UNKNOWN),
        numbers("bytes/vector", "measured_bytes", _size),
    ]
    blocks += [f"{head}# The smallest that keeps a share of float32", _markdown(columns, kept_table(shares))]
    columns = [words("family", "family"), numbers("settings", "settings", 0)]
    columns += [numbers("hypervolume", "hypervolume", 3), numbers("area, %", "area", 1, 100)]
    columns.append(numbers("95 % interval", lambda row: _interval(row, "area")))
    columns.append(numbers("first, % of resamples", "first", 0, 100))
    blocks += [f"{head}# Families in one number", _markdown(columns, family_table(shares))]
    sentences = beaten_table(shares, margin)["sentence"]
    blocks.append(f"{head}# What is beaten, and by what")
    blocks.append("\n".join(f"- {markdown.cell(sentence)}" for sentence in sentences) or "Nothing.")
    blocks.append(_notes(shares, margin))
    return "\n\n".join(blocks) + "\n"


def _markdown(columns: Sequence[Column], found: pd.DataFrame) -> str:
    return Table(columns, found.to_dict("records")).markdown()


def _size(value: float) -> str:
    return formatting.size(value, fixed=True)


def _interval(row: Mapping[str, Any], measure: str) -> str:
    ends = (formatting.number(100 * row[f"{measure}_{end}"], 1) for end in ("low", "high"))
    return " to ".join(ends)


def _notes(shares: Shares, margin: float) -> str:
    notes = [
        f"**The frontier**: {frontier_rule(shares.measure, 'setting')}. In a resample, only the best is.",
        f"**A budget**: {BUDGET_RULE[0].lower()}{BUDGET_RULE[1:]}.",
        f"**Resamples**: {shares.resampled.shape[1]:,} bootstrap resamples of the queries, the same for all settings. "
        "They say what other queries of the same kind would have shown, not other documents. Settings that are "
        "nearly equal share them among themselves.",
        "**Intervals and bounds** are BCa (Efron, 1987), each for one setting. The best or the smallest of many has "
        "more often than 5 % had some luck. **Even as the smallest of many**: the bounds hold for all settings at "
        "once (single step maximum over the resamples; Westfall and Young, 1993).",
        f"**Hypervolume**: between a family's frontier and the corner of float32's {shares.float32_bytes:,.0f} bytes "
        f"and nothing kept, a doubling of the bytes counting 1, from {LEAST_BYTES:g} bytes up. **Area**: the same over "
        "its width, which is what the family's best setting within a budget keeps, averaged over the budgets on a "
        "logarithmic scale; below its smallest setting a family keeps nothing. A family with more settings has an "
        "advantage.",
        f"**Beaten**: at least {100 * LEAST_SAVING:g} % fewer bytes and less than {100 * margin:g} % of the score "
        "lost with 95 % confidence (non-inferiority), or no more bytes and a significantly better score; corrected for "
        "the number of settings that it was compared with (Bonferroni).",
    ]
    return "\n".join(f"- {note}" for note in notes)
