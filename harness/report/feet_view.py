"""FEET: learned methods frozen, few-shot and fully fitted, and what each regime adds to frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis.budgets import SAME_BUDGET
from harness.analysis.feet import Feet, feet
from harness.base import formatting
from harness.evaluation.metric_registry import metric
from harness.report.table import Column
from harness.report.view import TableOptions, View

if TYPE_CHECKING:
    from harness.analysis.settings import Page


def feet_views(pages: Sequence[Page], options: TableOptions | None = None) -> list[View]:
    """Return for each page on which methods were fitted on several numbers of documents its table and its delta.

    Parameters
    ----------
    pages : sequence of Page
    options : TableOptions or None
    """
    options = options or TableOptions()
    return [view for one in feet(pages) for view in (_view(one, options, False), _view(one, options, True))]


def _view(found: Feet, options: TableOptions, delta: bool) -> View:
    label = metric(found.page.quality).label
    regimes = [(f"shot_{count}", f"{count:,} documents") for count in found.shots] + [("full", "all documents")]
    columns = [Column("setting", "setting"), Column("bytes_per_vector", "bytes/vector", 1)]
    columns += [Column("frozen", f"frozen, {label}", options.decimals + 1), Column("frozen_setting", "which is")]
    if delta:
        columns += [_change(f"{key}_change", f"{words}, %") for key, words in regimes]
    else:
        columns += [Column(key, words, options.decimals + 1) for key, words in regimes]
    notes = [
        "Frozen: the best setting that learns nothing from the collection but its mean, of the same bytes (less than "
        f"{100 * SAME_BUDGET:g} % apart), chosen on these queries. Then the setting fitted on so many documents, drawn "
        "without replacement, and on all of them (FEET: Lee, Lee and Chiang, 2024).",
    ]
    if delta:
        notes.append("In brackets the ends of 95 % intervals over paired queries, where these are on record.")
    what = "Delta FEET, change against frozen" if delta else "FEET"
    stem = f"{found.page.stem}-feet{'-delta' if delta else ''}"
    return View(columns, found.table, {}, stem, f"{found.page.title}: {what}", notes, [False] * len(found.table))


def _change(key: str, label: str) -> Column:
    def shown(row: Any) -> str:
        if row[key] != row[key]:
            return formatting.UNKNOWN
        text = f"{100 * row[key]:+.1f}"
        low, high = row[f"{key}_low"], row[f"{key}_high"]
        return text if low != low else f"{text} ({formatting.signed_interval(low, high, 1, 100)})"

    return Column(key, label, of=shown, number=True)
