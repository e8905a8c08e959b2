"""The page on a collection's Pareto frontier: how likely each setting is on it, and what beats what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis import statistics
from harness.base import formatting
from harness.report import markdown

if TYPE_CHECKING:
    pass

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


def dominance_markdown(shares: Shares, margin: float = statistics.MARGIN, level: int = 1) -> str:
    """Return the whole analysis as Markdown; `level` is that of its first heading."""
    head = "#" * level
    blocks = [f"{head} What is worth its bytes: {markdown.cell(shares.title)}"]
    share = f"% of float32's {shares.measure}"
    rows = [
        [
            "●" if row["on_frontier"] else "",
            markdown.cell(row["setting"]),
            formatting.size(row["bytes_per_vector"], fixed=True),
            formatting.number(100 * row["share"], 1),
            f"{formatting.number(100 * row['share_low'], 1)} to {formatting.number(100 * row['share_high'], 1)}",
            formatting.number(100 * row["probability"], 0),
        ]
        for row in frontier_table(shares).to_dict("records")
    ]
    header = ["", "setting", "bytes/vector", share, "95 % interval", "on the frontier, % of resamples"]
    blocks += [f"{head}# The frontier, and what might be on it", markdown.table(header, rows, {2, 3, 4, 5})]
    rows = [
        [
            f"{row['budget']:g}",
            markdown.cell(row["setting"]) or "nothing measured",
            formatting.size(row["bytes_per_vector"], fixed=True),
            formatting.number(100 * row["share"], 1),
            f"{formatting.number(100 * row['share_low'], 1)} to {formatting.number(100 * row['share_high'], 1)}",
            formatting.number(100 * row["probability"], 0),
            markdown.cell(row["runner_up"]) or "–",
            formatting.number(100 * row["runner_up_share"], 1),
        ]
        for row in budget_table(shares).to_dict("records")
    ]
    header = [
        "at most, bytes",
        "best",
        "bytes/vector",
        share,
        "95 % interval",
        "best, % of resamples",
        "next",
        "keeps, %",
    ]
    blocks += [f"{head}# The best for a budget", markdown.table(header, rows, {0, 2, 3, 4, 5, 7})]
    rows = [
        [
            f"{formatting.number(100 * row['keeps'], 0)} %",
            markdown.cell(row["setting"]) or "nothing measured",
            formatting.size(row["bytes_per_vector"], fixed=True),
            formatting.number(100 * row["share"], 1),
            formatting.number(100 * row["share_bound"], 1),
            markdown.cell(row["joint_setting"]) or "–",
            formatting.size(row["joint_bytes"], fixed=True),
            markdown.cell(row["measured_setting"]) or "–",
            formatting.size(row["measured_bytes"], fixed=True),
        ]
        for row in kept_table(shares).to_dict("records")
    ]
    header = ["keeps at least", "smallest, with 95 % confidence", "bytes/vector", share, "no less than, %"]
    header += ["even as the smallest of many", "bytes/vector", "smallest as measured", "bytes/vector"]
    blocks += [f"{head}# The smallest that keeps a share of float32", markdown.table(header, rows, {0, 2, 3, 4, 6, 8})]
    rows = [
        [
            markdown.cell(row["family"]),
            str(row["settings"]),
            f"{row['hypervolume']:.3f}",
            formatting.number(100 * row["area"], 1),
            f"{formatting.number(100 * row['area_low'], 1)} to {formatting.number(100 * row['area_high'], 1)}",
            formatting.number(100 * row["first"], 0),
        ]
        for row in family_table(shares).to_dict("records")
    ]
    header = ["family", "settings", "hypervolume", "area, %", "95 % interval", "first, % of resamples"]
    blocks += [f"{head}# Families in one number", markdown.table(header, rows, {1, 2, 3, 4, 5})]
    sentences = beaten_table(shares, margin)["sentence"]
    blocks.append(f"{head}# What is beaten, and by what")
    blocks.append("\n".join(f"- {markdown.cell(sentence)}" for sentence in sentences) or "Nothing.")
    blocks.append(_notes(shares, margin))
    return "\n\n".join(blocks) + "\n"


def _notes(shares: Shares, margin: float) -> str:
    notes = [
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
