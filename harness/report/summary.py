"""The page that leads to all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import pareto
from harness.analysis.significance import at_equal_bytes
from harness.base import formatting
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.significance import Equals

from harness.analysis.settings import SCORINGS, SETTING, SHARES, Page, setting_name
from harness.report.markdown import cell, p_value, table
from harness.report.page import failed_table, provenance


def summary_markdown(
    found: Sequence[Page],
    frame: pd.DataFrame,
    figures: Iterable[str],
    command: str,
    overall: Sequence[tuple[str, str]] = (),
    analyses: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the page that leads to all others.

    `overall` are the headings and names of plots over several pages, `analyses` the titles and names of Pareto analyses
    over several collections.
    """
    drawn = set(figures)
    rows = []
    for page in found:
        links = [f"[CSV]({page.stem}.csv)"] if len(page.settings) else []
        links += [f"[plot]({page.stem}.png)"] if page.stem in drawn else []
        smallest = [pareto.smallest_keeping(page.settings, share) for share in SHARES]
        rows.append(
            [
                f"[{cell(page.title)}]({page.stem}.md)",
                page.size,
                str(len(page.settings)),
                str(len(page.failed)),
                _float32_cell(page),
                *(
                    "–" if row is None else f"{cell(setting_name(row))}, {formatting.size(row[pareto.COST])} B"
                    for row in smallest
                ),
                ", ".join(links) or "–",
            ]
        )
    header = ["collection · model", "size", "configurations", "failed runs", "float32 nDCG@10"]
    header += [f"smallest keeping {100 * share:.0f} %" for share in SHARES] + ["files"]
    blocks = ["# What each byte of an embedding buys", table(header, rows, right={2, 3, 4})]
    measured = [page for page in found if len(page.settings)]
    if len(measured) > 1:
        blocks += [f"## Over all {len(measured)} collections and models", _overall_table(measured)]
        blocks.append(
            "What was measured on at least two of them. Means are over all, and left out where one is missing. "
            "*worst*: the lowest share, and where."
        )
        for heading, name in overall:
            blocks += [f"### {heading}", f"![{heading}]({name})"]
        blocks += [f"[What is worth its bytes: {cell(title)}]({name})" for title, name in analyses]
        for equals in at_equal_bytes(measured):
            blocks += [f"## At {formatting.size(equals.size)} code bytes", _equals_table(equals), _equals_note(equals)]
    failed = frame[frame["status"] != "ok"]
    if len(failed):
        blocks += [f"## Failed runs: {len(failed)}", failed_table(failed, where=True)]
    if len(measured):
        blocks.append("Tables for papers (Markdown, CSV, Parquet, LaTeX) are in [tables/](tables/).")
    blocks.append(f"All runs: [runs.csv](runs.csv). *{provenance(frame, command)}*")
    return "\n\n".join(blocks) + "\n"


def _float32_cell(page: Page) -> str:
    if page.settings.empty:
        return "–"
    return formatting.number(page.float32_score, 4) if page.judged else "no judgements"


def _overall_table(found: Sequence[Page]) -> str:
    import pandas as pd

    parts = [page.settings.assign(page=page.title) for page in found]
    rows = []
    for key, group in pd.concat(parts).groupby(SETTING, sort=True):
        if len(group) < 2:
            continue
        complete = len(group) == len(found)
        kept, overlap = 100 * group["retention"], group[REFERENCE.unjudged_metric]
        worst = "–"
        if kept.notna().any():
            lowest = int(np.nanargmin(kept))
            worst = f"{formatting.number(kept.iloc[lowest], 1)} ({cell(group['page'].iloc[lowest])})"
        rows.append(
            (
                -group["compression_ratio"].mean(),
                [
                    cell(setting_name(pd.Series(dict(zip(SETTING, key, strict=True))))),
                    _range(group["compression_ratio"]),
                    f"{len(group)} of {len(found)}",
                    formatting.number(kept.mean(), 1) if complete else "–",
                    worst,
                    formatting.number(overlap.mean(), 3) if complete else "–",
                ],
            )
        )
    header = ["method", "× smaller", "measured on", "% of float32, mean", "worst", "overlap@10, mean"]
    return table(header, [cells for _, cells in sorted(rows)], right={1, 2, 3, 5})


def _equals_table(equals: Equals) -> str:
    header = ["method", "% of float32, mean", "95 % interval", "lowest", "mean rank", "Borda", "group"]
    letters: list[str] = ["" for _ in equals.keys]
    for number, group in enumerate(equals.groups):
        for place in group:
            letters[place] += _letter(number)
    rows = []
    for place in np.argsort(equals.ranks, kind="stable").tolist():
        method, params, scoring = equals.keys[place]
        name = f"{method} {params}".strip() + (f" ({scoring})" if scoring in SCORINGS else "")
        low, high = 100 * equals.interval.low[place], 100 * equals.interval.high[place]
        rows.append(
            [
                cell(name),
                f"{100 * equals.interval.estimate[place]:.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{100 * equals.shares[place].min():.1f}",
                f"{equals.ranks[place]:.2f}",
                f"{equals.points[place]:g}",
                letters[place],
            ]
        )
    return table(header, rows, right={1, 3, 4, 5})


def _equals_note(equals: Equals) -> str:
    return (
        f"Settings measured on all {len(equals.pages)} collections with float32. The interval is over the choice of "
        "collections and of queries (hierarchical bootstrap, 10,000 resamples, percentile); with fewer than five "
        f"collections it is too narrow. Friedman's test that all are the same: p {p_value(equals.p)}. Mean ranks "
        f"that differ by less than {equals.critical_difference:.2f} share a letter (Nemenyi's test at 5 %; Demsar, "
        "2006). **Borda**: how many others a method beats, summed over the collections."
    )


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"


def _range(values: pd.Series[float]) -> str:
    return "–".join(dict.fromkeys((formatting.ratio(values.min()), formatting.ratio(values.max()))))
