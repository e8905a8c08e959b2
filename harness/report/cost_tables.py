"""Tables of what settings cost: seconds, latency, memory, larger corpora."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis import pareto
from harness.base import formatting
from harness.runs.frame import CORPORA, PEAKS, QUERY_MS

if TYPE_CHECKING:
    import pandas as pd


from harness.analysis.settings import Page, setting_name
from harness.report.markdown import cell, table


def has_costs(page: Page) -> bool:
    """Whether a run of the page measured what it costs."""
    return "queries_per_second" in page.settings and bool(page.settings["queries_per_second"].notna().any())


def _with_costs(page: Page) -> pd.DataFrame:
    return page.settings[page.settings["queries_per_second"].notna()]


def _range_of(row: pd.Series[Any], measure: str, factor: float = 1) -> str:
    """Return a median and the range of its repeats."""
    ends = (formatting.digits(factor * row[f"{measure}{end}"]) for end in ("", "_low", "_high"))
    return "{} ({} to {})".format(*ends)


def cost_table(page: Page) -> str:
    """Return the table of measured costs, in Markdown."""
    header = ["method", "bytes/vector", "fit s", "encode vectors/s", "queries/s, in batch"]
    header += ["one query at a time, ms: p50", "p95", "p99", "load ms", "peak MB: fit", "encode", "search", ""]
    rows = []
    for _, row in _with_costs(page).iterrows():
        peaks = [formatting.digits(row[name] / 1e6) for name in PEAKS if not name.startswith("load")]
        rows.append(
            [
                cell(setting_name(row)),
                formatting.size(row[pareto.COST]),
                _range_of(row, "cost_fit_seconds"),
                _range_of(row, "docs_per_second"),
                _range_of(row, "queries_per_second"),
                *(_range_of(row, name) for name in QUERY_MS),
                _range_of(row, "cost_load_seconds", 1000),
                *peaks,
                "disturbed" if row["cost_disturbed"] > 0 else "",
            ]
        )
    return table(header, rows, right=set(range(1, len(header) - 1)))


def corpora_table(page: Page) -> str:
    """Return the table of costs extrapolated to larger corpora, in Markdown."""
    header = ["method"]
    for name in CORPORA:
        header += [f"{name} documents: index GB", "encode h", "s/query"]
    rows = []
    for _, row in _with_costs(page).iterrows():
        cells = [cell(setting_name(row))]
        for name in CORPORA:
            cells += [
                formatting.digits(row[f"index_bytes_at_{name}"] / 1e9),
                _range_of(row, f"encode_seconds_at_{name}", 1 / 3600),
                _range_of(row, f"search_seconds_at_{name}"),
            ]
        rows.append(cells)
    return table(header, rows, right=set(range(1, len(header))))


def cost_note(page: Page) -> str:
    """Return what a reader of both tables must know."""
    busy = (_with_costs(page)["cost_disturbed"] > 0).any()
    text = (
        "Medians of repeats after a warm-up, in brackets the least and the greatest, of exhaustive search; runs that "
        "measure cost wait for each other. Peaks are the whole process's resident memory, with libraries and float32 "
        "vectors. **On larger corpora** is extrapolated, not measured: lines through the times at a quarter, a half "
        "and all of the documents, on one machine like this one that has the memory; in brackets the flattest and the "
        "steepest line that the repeats allow. From few documents the range is wide."
    )
    if busy:
        text += " *disturbed*: other processes used more than a tenth of a core meanwhile; measure again in quiet."
    return text
