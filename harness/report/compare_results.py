"""Two results folders against each other: what changed, significantly or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import pareto, settings, statistics
from harness.analysis.significance import PerQuery, load_scores
from harness.base import formatting
from harness.evaluation.metric_registry import metric
from harness.report import markdown
from harness.report.table import Table, numbers, words
from harness.runs.distinct_names import with_distinct_names

if TYPE_CHECKING:
    import pandas as pd

SAME = 1e-6
"""Scores and bytes that differ by less are the same: another machine rounds otherwise."""


@dataclass(frozen=True)
class _Measured:
    """A setting's mean score, its queries' scores float64 (m,), and its bytes per vector."""

    quality: float
    scores: statistics.Float64
    cost: float


Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Change:
    """A setting in both folders; their comparison if the queries are the same, and its corrected p."""

    key: Key
    before: _Measured
    after: _Measured
    compared: statistics.Comparison | None
    p: float

    @property
    def interval(self) -> str:
        if self.compared is None:
            return "–"
        return formatting.signed_interval(self.compared.difference.low[0], self.compared.difference.high[0], 4)

    @property
    def verdict(self) -> str:
        one = self.compared
        if one is None:
            return "other queries"
        if not one.better[0] + one.worse[0]:
            return "the same"
        return "undecided" if self.p >= statistics.ALPHA else "better" if one.difference.estimate[0] > 0 else "worse"


def changes_markdown(
    before: pd.DataFrame, after: pd.DataFrame, queries_before: PerQuery, queries_after: PerQuery
) -> str:
    """Return what differs between two frames of runs, as Markdown.

    Parameters
    ----------
    before, after : DataFrame
        One row a run, as `harness.runs.frame.load_runs` returns it.
    queries_before, queries_after : callable
        Return the queries' scores of a run id.

    Raises
    ------
    StoreError
        If there is no run in one of them.
    """
    before, after = _named_alike(before, after)
    first, second = _measured(before, queries_before), _measured(after, queries_after)
    common = [key for key in first if key in second]
    changed = [key for key in common if _differs(first[key], second[key])]
    blocks = ["# What changed"]
    blocks.append(
        f"{len(common):,} settings are in both, {len(common) - len(changed):,} of them the same; "
        f"{len(changed):,} differ."
    )
    if changed:
        blocks.append(_table([(key, first[key], second[key]) for key in changed]))
        blocks.append(
            "Paired over the queries where these are the same ones. Interval: bootstrap, 10,000 resamples, BCa (Efron, "
            "1987); p: randomisation test, with Holm's correction over the rows."
        )
    for heading, keys in (
        ("Only before", [key for key in first if key not in second]),
        ("Only after", [key for key in second if key not in first]),
    ):
        if keys:
            names = [f"- {markdown.cell(title)}: {markdown.cell(name)}" for title, _, name in keys]
            blocks += [f"## {heading}: {len(keys)}", "\n".join(names)]
    return "\n\n".join(blocks) + "\n"


def _named_alike(before: pd.DataFrame, after: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both with names that stand for the same thing in both: other data of the same name is no change of it."""
    import pandas as pd

    both = with_distinct_names(pd.concat([before, after], ignore_index=True), copies="keep")
    return both.iloc[: len(before)], both.iloc[len(before) :].reset_index(drop=True)


def _measured(frame: pd.DataFrame, per_query: PerQuery) -> dict[Key, _Measured]:
    settings.check(frame)
    found: dict[Key, _Measured] = {}
    for page in settings.pages(frame):
        if page.settings.empty:
            continue
        values = load_scores(page, per_query).values[page.quality]
        for place, (_, row) in enumerate(page.settings.iterrows()):
            key = (f"{row['dataset']} · {row['model']}", page.quality, settings.setting_name(row))
            found[key] = _Measured(float(row[page.quality]), values[place], float(row[pareto.COST]))
    return found


def _differs(first: _Measured, second: _Measured) -> bool:
    return abs(first.quality - second.quality) > SAME or abs(first.cost - second.cost) > SAME * max(1, first.cost)


def _table(rows: list[tuple[Key, _Measured, _Measured]]) -> str:
    found = [_compared(first, second) for _, first, second in rows]
    corrected = statistics.holm([np.nan if one is None else float(one.p[0]) for one in found])
    changes = [_Change(*row, one, p) for row, one, p in zip(rows, found, corrected.tolist(), strict=True)]
    columns = [
        words("collection · model", lambda row: row.key[0]),
        words("setting", lambda row: row.key[2]),
        words("metric", lambda row: metric(row.key[1]).label),
        numbers("before", lambda row: row.before.quality, 4),
        numbers("after", lambda row: row.after.quality, 4),
        numbers("difference", lambda row: row.after.quality - row.before.quality, "{:+.4f}".format),
        words("95 % interval", lambda row: row.interval),
        numbers("p", lambda row: "–" if row.compared is None else markdown.p_value(row.p).removeprefix("= ")),
        numbers("bytes/vector before", lambda row: row.before.cost, "{:,.1f}".format),
        numbers("after", lambda row: row.after.cost, "{:,.1f}".format),
        words("", lambda row: row.verdict),
    ]
    return Table(columns, changes).markdown()


def _compared(first: _Measured, second: _Measured) -> statistics.Comparison | None:
    """Compare queries' scores; None where they are not on record, or not as many."""
    if first.scores.shape != second.scores.shape or not len(first.scores):
        return None
    if not (np.isfinite(first.scores).all() and np.isfinite(second.scores).all()):
        return None
    return statistics.compare(second.scores[None], first.scores)
