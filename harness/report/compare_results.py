"""Two results folders against each other: what changed, significantly or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import pareto, settings, statistics
from harness.analysis.significance import PerQuery, load_scores
from harness.evaluation.reference import REFERENCE
from harness.report import markdown

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
    header = ["collection · model", "setting", "metric", "before", "after", "difference", "95 % interval", "p"]
    header += ["bytes/vector before", "after", ""]
    cells = []
    for (key, first, second), one, p in zip(rows, found, corrected.tolist(), strict=True):
        title, quality, name = key
        interval, verdict = "–", "other queries"
        if one is not None:
            interval = f"{one.difference.low[0]:+.4f} to {one.difference.high[0]:+.4f}"
            verdict = "undecided" if p >= statistics.ALPHA else "better" if one.difference.estimate[0] > 0 else "worse"
            verdict = "the same" if not one.better[0] + one.worse[0] else verdict
        cells.append(
            [
                markdown.cell(title),
                markdown.cell(name),
                "nDCG@10" if quality == REFERENCE.judged_metric else "overlap@10",
                f"{first.quality:.4f}",
                f"{second.quality:.4f}",
                f"{second.quality - first.quality:+.4f}",
                interval,
                "–" if one is None else markdown.p_value(p).removeprefix("= "),
                f"{first.cost:,.1f}",
                f"{second.cost:,.1f}",
                verdict,
            ]
        )
    return markdown.table(header, cells, right={3, 4, 5, 7, 8, 9})


def _compared(first: _Measured, second: _Measured) -> statistics.Comparison | None:
    """Compare queries' scores; None where they are not on record, or not as many."""
    if first.scores.shape != second.scores.shape or not len(first.scores):
        return None
    if not (np.isfinite(first.scores).all() and np.isfinite(second.scores).all()):
        return None
    return statistics.compare(second.scores[None], first.scores)
