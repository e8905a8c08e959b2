"""The page that leads to all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
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
from harness.report.markdown import cell, p_value
from harness.report.page import provenance, unsuccessful
from harness.report.table import Cell, Table, linked, numbers, words
from harness.runs.distinct_names import marks


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
    blocks = ["# What each byte of an embedding buys", _pages_table(found, set(figures)), *marks(frame)]
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
    blocks += unsuccessful(frame, where=True)
    if len(measured):
        blocks.append("Tables for papers (Markdown, CSV, Parquet, LaTeX) are in [tables/](tables/).")
    blocks.append(f"All runs: [runs.csv](runs.csv). *{provenance(frame, command)}*")
    return "\n\n".join(blocks) + "\n"


def _pages_table(found: Sequence[Page], drawn: set[str]) -> str:
    def smallest(page: Page, share: float) -> str:
        row = pareto.smallest_keeping(page.settings, share)
        return "–" if row is None else f"{setting_name(row)}, {formatting.size(row[pareto.COST])} B"

    def files(page: Page) -> Cell:
        links = [("CSV", f"{page.stem}.csv")] if len(page.settings) else []
        return linked(*links, *([("plot", f"{page.stem}.png")] if page.stem in drawn else []))

    columns = [
        words("collection · model", lambda page: linked((page.title, f"{page.stem}.md"))),
        words("size", lambda page: page.size),
        numbers("configurations", lambda page: len(page.settings), 0),
        numbers("failed runs", lambda page: len(page.failed), 0),
        numbers("float32 nDCG@10", _float32_text),
        *(words(f"smallest keeping {100 * share:.0f} %", partial(smallest, share=share)) for share in SHARES),
        words("files", files),
    ]
    return Table(columns, found).markdown()


def _float32_text(page: Page) -> str:
    if page.settings.empty:
        return "–"
    return formatting.number(page.float32_score, 4) if page.judged else "no judgements"


def _overall_table(found: Sequence[Page]) -> str:
    import pandas as pd

    def mean(group: pd.DataFrame, measure: str, factor: float = 1) -> float:
        return float((factor * group[measure]).mean()) if len(group) == len(found) else np.nan

    def worst(group: pd.DataFrame) -> str:
        kept = 100 * group["retention"]
        if not kept.notna().any():
            return "–"
        lowest = int(np.nanargmin(kept))
        return f"{formatting.number(kept.iloc[lowest], 1)} ({group['page'].iloc[lowest]})"

    def order(group: pd.DataFrame) -> tuple[float, str]:
        return -group["compression_ratio"].mean(), cell(setting_name(group.iloc[0]))

    columns = [
        words("method", lambda group: setting_name(group.iloc[0])),
        numbers("× smaller", lambda group: _range(group["compression_ratio"])),
        numbers("measured on", lambda group: f"{len(group)} of {len(found)}"),
        numbers("% of float32, mean", lambda group: mean(group, "retention", 100), 1),
        words("worst", worst),
        numbers("overlap@10, mean", lambda group: mean(group, REFERENCE.unjudged_metric), 3),
    ]
    settings = pd.concat([page.settings.assign(page=page.title) for page in found])
    groups = [group for _, group in settings.groupby(SETTING, sort=True) if len(group) > 1]
    return Table(columns, sorted(groups, key=order)).markdown()


def _equals_table(equals: Equals) -> str:
    def letters(place: int) -> str:
        return "".join(_letter(number) for number, group in enumerate(equals.groups) if place in group)

    def name(place: int) -> str:
        method, params, scoring = equals.keys[place]
        return f"{method} {params}".strip() + (f" ({scoring})" if scoring in SCORINGS else "")

    between = equals.interval
    columns = [
        words("method", name),
        numbers("% of float32, mean", lambda place: between.estimate[place], 1, 100),
        words("95 % interval", lambda place: f"{100 * between.low[place]:.1f} to {100 * between.high[place]:.1f}"),
        numbers("lowest", lambda place: equals.shares[place].min(), 1, 100),
        numbers("mean rank", lambda place: equals.ranks[place], 2),
        numbers("Borda", lambda place: equals.points[place], "{:g}".format),
        words("group", letters),
    ]
    return Table(columns, np.argsort(equals.ranks, kind="stable").tolist()).markdown()


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
