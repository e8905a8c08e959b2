"""Two settings against each other, on every collection on which both were measured."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import settings, statistics
from harness.analysis.significance import PerQuery, load_scores
from harness.base import formatting
from harness.base.errors import ConfigError, StoreError
from harness.base.suggestions import did_you_mean, nearest
from harness.evaluation.metric_registry import REGISTRY, Metric, find, names
from harness.report import markdown
from harness.report.table import Column, Table, numbers, words

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page


FIT_QUERIES = "fit_queries="


@dataclass(frozen=True)
class _Pair:
    """Both settings' scores on a collection, float64 (2, m), and what they are called there."""

    title: str
    metric: Metric
    scores: statistics.Float64
    names: tuple[str, str]


def versus_markdown(frame: pd.DataFrame, first: str, second: str, per_query: PerQuery, metric: str = "") -> str:
    """Return a comparison of two settings, query by query, as Markdown.

    A setting that was measured with `fit_queries=` stands for the one without, and the other way round, where both mean
    the same queries. Collections on which one of the two is missing are named.

    Parameters
    ----------
    frame : DataFrame
        One row a run, as `harness.runs.frame.load_runs` returns it.
    first, second : str
        Settings as tables call them, such as "pq m=48".
    per_query : callable
        Returns the queries' scores of a run id.
    metric : str
        By its name or label; "" is nDCG@10, or overlap@10 where there are no judgements.

    Raises
    ------
    ConfigError
        If a setting was not measured, or never on the same collection as the other, or there is no such metric, or it
        is not on record.
    StoreError
        If there is no run.
    """
    settings.check(frame)
    asked = _metric(metric) if metric else None
    pages = [page for page in settings.pages(frame) if len(page.settings)]
    known = sorted({settings.setting_name(row) for page in pages for _, row in page.settings.iterrows()})
    first, second = _named(first, known), _named(second, known)
    pairs, left_out = [], []
    for page in pages:
        found = [_place(page, name) for name in (first, second)]
        reasons = [reason for place, reason in found if place is None]
        if len(reasons) == 2 and not any(FIT_QUERIES in reason for reason in reasons):
            continue  # it has nothing to do with either
        if not reasons:
            entry = asked or find(page.quality)
            assert entry is not None
            rows = page.settings.iloc[[place for place, _ in found if place is not None]]
            values = load_scores(replace(page, settings=rows), per_query, [entry.name]).values[entry.name]
            if values.shape[1] and np.isfinite(values).all():
                names = [settings.setting_name(row) for _, row in rows.iterrows()]
                pairs.append(_Pair(page.title, entry, values, (names[0], names[1])))
                continue
            held = _held(rows, per_query)
            if asked is not None and held and entry.name not in held:
                reasons = [f"the records hold no {entry.label} of both; they hold {', '.join(held)}"]
            else:
                reasons = ["the queries differ, or their scores are not on record"]
        left_out.append(f"{page.title}: {'; '.join(reasons)}")
    if not pairs:
        raise ConfigError(
            f"'{first}' and '{second}' were never measured on the same collection with the same queries"
            + (f" by {asked.label}" if asked else "")
            + "".join(f"\n  {line}" for line in left_out)
        )
    return _page(first, second, pairs, left_out)


def _metric(asked: str) -> Metric:
    """Return a metric by its name or label, in capitals or not."""
    for entry in REGISTRY:
        if asked.casefold() in (entry.name.casefold(), entry.label.casefold()):
            return entry
    near = did_you_mean(nearest(asked, [name for entry in REGISTRY for name in (entry.name, entry.label)]))
    raise ConfigError(f"--metric: there is no metric '{asked}'{near or '; there are ' + ', '.join(names())}")


def _held(rows: pd.DataFrame, per_query: PerQuery) -> list[str]:
    """Return the metrics that all runs of the settings have scores by."""
    held = []
    for run_id in " ".join(rows["run_ids"]).split():
        try:
            held.append(set(per_query(run_id).columns))
        except (OSError, KeyError, StoreError):
            return []
    return [name for name in names() if all(name in columns for columns in held)]


def _place(page: Page, asked: str) -> tuple[int | None, str]:
    """Return which of a page's settings is the one that is asked for; None and why, if none is."""
    listed = [settings.setting_name(row) for _, row in page.settings.iterrows()]
    if asked in listed:
        return listed.index(asked), ""
    plain, wanted = _split(asked)
    auto = {_fitted_with(page, place) for place, name in enumerate(listed) if not _split(name)[1]} - {""}
    others = []
    for place, name in enumerate(listed):
        if _split(name)[0] != plain:
            continue
        used, stated = _fitted_with(page, place), _split(name)[1]
        # auto takes train queries first; what else it takes here is known from the runs that left it the choice
        if wanted and used.endswith(TOLD.get(wanted, wanted)):
            return place, ""
        if not wanted and stated and (used in auto or (not auto and stated == "train")):
            return place, ""
        others.append(name)
    if others:
        return None, f"'{asked}' was measured as {' and '.join(map(repr, others))} only, which may be another choice"
    return None, f"'{asked}' was not measured"


TOLD = {"train": "train queries"}
"""What records call a source of queries, where it is not its name."""


def _split(name: str) -> tuple[str, str]:
    """Return a setting's name without the queries that it states to be fitted with, and these."""
    parts = name.split(" ")
    stated = [part.removeprefix(FIT_QUERIES) for part in parts if part.startswith(FIT_QUERIES)]
    return " ".join(part for part in parts if not part.startswith(FIT_QUERIES)), "".join(stated)


def _fitted_with(page: Page, place: int) -> str:
    """Return which queries a setting was fitted with, such as "810 train queries"; "" for none."""
    if "fit_queries" not in page.runs:
        return ""
    runs = page.runs[page.runs["run_id"].isin(page.settings["run_ids"].iloc[place].split())]
    told = str(runs["fit_queries"].fillna("").iloc[0]) if len(runs) else ""
    return "" if told == "none" else told


def _named(asked: str, known: list[str]) -> str:
    """Return the full name of a setting, which may be given without its scoring."""
    for name in known:
        if asked in (name, name.rpartition(" (")[0]):
            return name
    near = difflib.get_close_matches(asked, known, n=3, cutoff=0.3)
    raise ConfigError(f"no run of '{asked}' is on record; did you mean {' or '.join(map(repr, near or known))}?")


def _page(first: str, second: str, pairs: Sequence[_Pair], left_out: Sequence[str]) -> str:
    found = [statistics.compare(pair.scores[:1], pair.scores[1]) for pair in pairs]
    corrected = statistics.holm([float(one.p[0]) for one in found])
    rows = list(zip(pairs, found, corrected.tolist(), strict=True))
    columns = [
        words("collection · model", lambda row: row[0].title),
        words("metric", lambda row: row[0].metric.label),
        Column(first, first, 4, of=lambda row: row[0].scores[0].mean(), verbatim=True),
        Column(second, second, 4, of=lambda row: row[0].scores[1].mean(), verbatim=True),
        numbers("difference", lambda row: row[1].difference.estimate[0], "{:+.4f}".format),
        words("95 % interval", lambda row: _interval(row[1].difference)),
        numbers("p", lambda row: markdown.p_value(row[2]).removeprefix("= ")),
        numbers("d", lambda row: row[1].effect[0], "{:+.2f}".format),
        words("queries better / same / worse", lambda row: _tally(row[0], row[1])),
        words("", lambda row: _verdict(row[0], row[1], row[2], first, second)),
    ]
    blocks = [f"# {markdown.cell(first)} against {markdown.cell(second)}", Table(columns, rows).markdown()]
    renamed = [
        f"{pair.title}: {used} stands for {asked}, fitted with the same queries."
        for pair in pairs
        for asked, used in zip((first, second), pair.names, strict=True)
        if used != asked
    ]
    if renamed or left_out:
        lines = [*renamed, *(f"Left out: {line}." for line in left_out)]
        blocks.append("\n".join(f"- {markdown.cell(line)}" for line in lines))
    blocks.append(
        "Paired over the queries. Interval: bootstrap, 10,000 resamples, BCa (Efron, 1987). p: randomisation test, "
        f"{statistics.FLIPS:,} sign flips{', with Holm correction over the collections' if len(pairs) > 1 else ''}. d: "
        "Cohen's, mean over standard deviation of the differences."
    )
    if len(pairs) > 1 and len({pair.metric for pair in pairs}) == 1:
        macro = statistics.macro_interval([pair.scores[:1] - pair.scores[1:] for pair in pairs])
        blocks.append(
            f"Mean difference over the {len(pairs)} collections: {macro.estimate[0]:+.4f}, 95 % interval "
            f"{_interval(macro)} over the choice of collections and of queries (hierarchical "
            "bootstrap, percentile"
            + ("; with fewer than five collections it is too narrow)." if len(pairs) < 5 else ").")
        )
    return "\n\n".join(blocks) + "\n"


def _interval(difference: statistics.Interval) -> str:
    return formatting.signed_interval(difference.low[0], difference.high[0], 4)


def _tally(pair: _Pair, one: statistics.Comparison) -> str:
    higher, lower = int(one.better[0]), int(one.worse[0])
    better, worse = (lower, higher) if pair.metric.better == "less" else (higher, lower)
    return f"{better} / {pair.scores.shape[1] - better - worse} / {worse}"


def _verdict(pair: _Pair, one: statistics.Comparison, p: float, first: str, second: str) -> str:
    if not one.better[0] + one.worse[0]:
        return "the same"
    if p < statistics.ALPHA:
        higher, lower = (first, second) if one.difference.estimate[0] > 0 else (second, first)
        return {"more": f"{higher} is better", "less": f"{lower} is better"}.get(
            pair.metric.better or "", f"{higher} has more"
        )
    # both ways round, as neither of them is the standard
    close = max(abs(float(one.ratio.low[0]) - 1), abs(float(one.ratio.high[0]) - 1)) < statistics.MARGIN
    return f"undecided, less than {100 * statistics.MARGIN:g} % apart" if close else "undecided"
