"""Two settings against each other, on every collection on which both were measured."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import settings, statistics
from harness.analysis.significance import PerQuery, load_scores
from harness.base import formatting
from harness.base.errors import ConfigError
from harness.report import markdown
from harness.report.table import Column, Table, numbers, words

if TYPE_CHECKING:
    import pandas as pd


def versus_markdown(frame: pd.DataFrame, first: str, second: str, per_query: PerQuery) -> str:
    """Return a comparison of two settings, query by query, as Markdown.

    Parameters
    ----------
    frame : DataFrame
        One row a run, as `harness.runs.frame.load_runs` returns it.
    first, second : str
        Settings as tables call them, such as "pq m=48".
    per_query : callable
        Returns the queries' scores of a run id.

    Raises
    ------
    ConfigError
        If a setting was not measured, or never on the same collection as the other.
    StoreError
        If there is no run.
    """
    settings.check(frame)
    pages = [page for page in settings.pages(frame) if len(page.settings)]
    names = [[settings.setting_name(row) for _, row in page.settings.iterrows()] for page in pages]
    known = sorted({name for listed in names for name in listed})
    first, second = _named(first, known), _named(second, known)
    pairs, titles, metrics = [], [], []
    for page, listed in zip(pages, names, strict=True):
        if first not in listed or second not in listed:
            continue
        values = load_scores(page, per_query).values[page.quality]
        pair = values[[listed.index(first), listed.index(second)]]
        if pair.shape[1] and np.isfinite(pair).all():
            pairs.append(pair)
            titles.append(page.title)
            metrics.append(page.quality_label)
    if not pairs:
        raise ConfigError(f"'{first}' and '{second}' were never measured on the same collection with the same queries")
    return _page(first, second, titles, metrics, pairs)


def _named(asked: str, known: list[str]) -> str:
    """Return the full name of a setting, which may be given without its scoring."""
    for name in known:
        if asked in (name, name.rpartition(" (")[0]):
            return name
    near = difflib.get_close_matches(asked, known, n=3, cutoff=0.3)
    raise ConfigError(f"no run of '{asked}' is on record; did you mean {' or '.join(map(repr, near or known))}?")


def _page(first: str, second: str, titles: list[str], metrics: list[str], pairs: Sequence[statistics.Float64]) -> str:
    found = [statistics.compare(pair[:1], pair[1]) for pair in pairs]
    corrected = statistics.holm([float(one.p[0]) for one in found])
    rows = list(zip(titles, metrics, pairs, found, corrected.tolist(), strict=True))
    columns = [
        words("collection · model", 0),
        words("metric", 1),
        Column(first, first, 4, of=lambda row: row[2][0].mean(), verbatim=True),
        Column(second, second, 4, of=lambda row: row[2][1].mean(), verbatim=True),
        numbers("difference", lambda row: row[3].difference.estimate[0], "{:+.4f}".format),
        words("95 % interval", lambda row: _interval(row[3].difference)),
        numbers("p", lambda row: markdown.p_value(row[4]).removeprefix("= ")),
        numbers("d", lambda row: row[3].effect[0], "{:+.2f}".format),
        words("queries better / same / worse", lambda row: _tally(row[3], row[2].shape[1])),
        words("", lambda row: _verdict(row[3], row[4], first, second)),
    ]
    blocks = [f"# {markdown.cell(first)} against {markdown.cell(second)}", Table(columns, rows).markdown()]
    blocks.append(
        "Paired over the queries. Interval: bootstrap, 10,000 resamples, BCa (Efron, 1987). p: randomisation test, "
        f"{statistics.FLIPS:,} sign flips{', with Holm correction over the collections' if len(pairs) > 1 else ''}. d: "
        "Cohen's, mean over standard deviation of the differences."
    )
    if len(pairs) > 1 and len(set(metrics)) == 1:
        macro = statistics.macro_interval([pair[:1] - pair[1:] for pair in pairs])
        blocks.append(
            f"Mean difference over the {len(pairs)} collections: {macro.estimate[0]:+.4f}, 95 % interval "
            f"{_interval(macro)} over the choice of collections and of queries (hierarchical "
            "bootstrap, percentile"
            + ("; with fewer than five collections it is too narrow)." if len(pairs) < 5 else ").")
        )
    return "\n\n".join(blocks) + "\n"


def _interval(difference: statistics.Interval) -> str:
    return formatting.signed_interval(difference.low[0], difference.high[0], 4)


def _tally(one: statistics.Comparison, queries: int) -> str:
    better, worse = int(one.better[0]), int(one.worse[0])
    return f"{better} / {queries - better - worse} / {worse}"


def _verdict(one: statistics.Comparison, p: float, first: str, second: str) -> str:
    if not one.better[0] + one.worse[0]:
        return "the same"
    if p < statistics.ALPHA:
        return f"{first if one.difference.estimate[0] > 0 else second} is better"
    # both ways round, as neither of them is the standard
    close = max(abs(float(one.ratio.low[0]) - 1), abs(float(one.ratio.high[0]) - 1)) < statistics.MARGIN
    return f"undecided, less than {100 * statistics.MARGIN:g} % apart" if close else "undecided"
