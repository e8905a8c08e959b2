"""Tables of what settings cost: seconds, latency, memory, larger corpora."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.analysis import pareto
from harness.base import formatting
from harness.runs.frame import CORPORA, PEAKS, QUERY_MS

if TYPE_CHECKING:
    import pandas as pd


from harness.analysis.settings import Page, setting_name
from harness.report.table import Column, Table, numbers, words


def has_costs(page: Page) -> bool:
    """Whether a run of the page measured what it costs."""
    return "queries_per_second" in page.settings and bool(page.settings["queries_per_second"].notna().any())


def _with_costs(page: Page) -> pd.DataFrame:
    return page.settings[page.settings["queries_per_second"].notna()]


def _ranged(label: str, measure: str, factor: float = 1) -> Column:
    """Return a column of medians and the range of their repeats."""

    def text(row: pd.Series[Any]) -> str:
        ends = (formatting.digits(factor * row[f"{measure}{end}"]) for end in ("", "_low", "_high"))
        return "{} ({} to {})".format(*ends)

    return numbers(label, text)


def _in(unit: float) -> Callable[[float], str]:
    return lambda value: formatting.digits(value / unit)


def cost_table(page: Page) -> str:
    """Return what each setting costs here, as Markdown."""
    fit, encode, search = (name for name in PEAKS if not name.startswith("load"))
    p50, p95, p99 = QUERY_MS
    columns = [
        words("method", setting_name),
        numbers("bytes/vector", pareto.COST, formatting.size),
        _ranged("fit s", "cost_fit_seconds"),
        _ranged("encode vectors/s", "docs_per_second"),
        _ranged("queries/s, in batch", "queries_per_second"),
        _ranged("one query at a time, ms: p50", p50),
        _ranged("p95", p95),
        _ranged("p99", p99),
        _ranged("load ms", "cost_load_seconds", 1000),
        numbers("peak MB: fit", fit, _in(1e6)),
        numbers("encode", encode, _in(1e6)),
        numbers("search", search, _in(1e6)),
        words("", lambda row: "disturbed" if row["cost_disturbed"] > 0 else ""),
    ]
    return Table(columns, _with_costs(page)).markdown()


def corpora_table(page: Page) -> str:
    """Return what each setting would cost on larger corpora, as Markdown."""
    columns = [words("method", setting_name)]
    for name in CORPORA:
        columns += [
            numbers(f"{name} documents: index GB", f"index_bytes_at_{name}", _in(1e9)),
            _ranged("encode h", f"encode_seconds_at_{name}", 1 / 3600),
            _ranged("s/query", f"search_seconds_at_{name}"),
        ]
    return Table(columns, _with_costs(page)).markdown()


def cost_note(page: Page) -> str:
    """Return what the two tables mean."""
    busy = (_with_costs(page)["cost_disturbed"] > 0).any()
    text = (
        "Medians of repeats after a warm-up, in brackets the least and the greatest, of exhaustive search, or of what "
        "lists and graphs look at with the effort that is set; runs that measure cost wait for each other. Peaks are "
        "the whole process's resident memory, with libraries and float32 vectors. **On larger corpora** is "
        "extrapolated, not measured: lines through the times at a quarter, a half and all of the documents, on one "
        "machine like this one that has the memory; in brackets the flattest and the steepest line that the repeats "
        "allow. From few documents the range is wide. Lists and graphs: lines through the documents scored, which grow "
        "as the corpus in lists and as its logarithm in graphs."
    )
    if busy:
        text += " *disturbed*: other processes used more than a tenth of a core meanwhile; measure again in quiet."
    return text
