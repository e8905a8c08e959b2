"""Tables over representations: what one more byte buys on a collection, as a vector, as terms, or as both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.budgets import BUDGET_RULE
from harness.analysis.representations import Representations, representations
from harness.analysis.settings import file_stem, pages
from harness.analysis.significance import with_intervals
from harness.base import formatting
from harness.base.errors import ConfigError
from harness.evaluation.metric_registry import metric
from harness.report.table import Column
from harness.report.view import TableOptions, View

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page
    from harness.analysis.significance import PerQuery


def representation_views(found: Sequence[Page], options: TableOptions | None = None) -> list[View]:
    """Return a table for each collection that was measured under several representations.

    Parameters
    ----------
    found : sequence of Page
    options : TableOptions or None
    """
    options = options or TableOptions()
    return [_view(one, options) for one in representations(found)]


def recommendation_by_representation(
    frame: pd.DataFrame, budget: float, datasets: Sequence[str], per_query: PerQuery
) -> str:
    """Return in a few lines the best of each representation within a budget, for each collection.

    Parameters
    ----------
    frame : DataFrame
        See `harness.runs.frame.load_runs`.
    budget : float
        Bytes a document.
    datasets : sequence of str
        Collections; empty for all.
    per_query : callable
        Returns the queries' scores of a run.

    Raises
    ------
    ConfigError
        If nothing is within the budget.
    """
    own = frame[frame["dataset"].isin(datasets)] if datasets else frame
    found = representations([with_intervals(page, per_query) for page in pages(own)], [budget])
    lines = []
    for one in (one for one in found if len(one.best)):
        lines.append(f"{one.collection}, within {budget:g} bytes of codes a document:")
        for _, row in one.best.iterrows():
            sign = "*" if row["is_best"] else " "
            gain = "" if row["gain"] != row["gain"] else f", {_interval(row)} against one vector"
            size = f"{row['bytes']:.1f} B"
            score = f"{metric(one.quality).label} {row['quality']:.4f}"
            lines.append(f"{sign} {row['representation']:<19} {score}{gain}, {size}: {row['model']}, {row['setting']}")
    if not lines:
        raise ConfigError(f"nothing on record is within {budget:g} bytes a document")
    lines.append("  * best of these, chosen on these queries; --model NAME says more of one model's settings")
    return "\n".join(lines) + "\n"


def _view(found: Representations, options: TableOptions) -> View:
    quality = metric(found.quality).label
    columns = [
        Column("within", "within bytes/document", 0),
        Column("representation", "representation"),
        Column("model", "model"),
        Column("setting", "setting"),
        Column("bytes", "bytes/document", 1),
        Column("terms_share", "of them terms, %", 0, 100.0),
        Column("quality", quality, options.decimals + 1),
        Column("gain", "against one vector (95 %)", of=_interval, number=True),
    ]
    marks: dict[str, list[tuple[str, ...]]] = {"quality": [("best",) if best else () for best in found.best["is_best"]]}
    notes = [
        f"The best setting of each representation within each budget, chosen on these queries, of what is on record; "
        f"bold is the best of all. {BUDGET_RULE}.",
        "Against one vector: the difference to the best single vector within the same budget.",
        "A term dictionary and other shared state is spread over a million documents; runs.csv has the bytes of this "
        "corpus's own index.",
    ]
    title = f"{found.collection}: what one more byte buys"
    stem = file_stem(f"representations · {found.collection}", set())
    return View(columns, found.best, marks, stem, title, notes, [False] * len(found.best))


def _interval(row: pd.Series) -> str:
    if row["gain"] != row["gain"]:
        return formatting.UNKNOWN
    ends = "" if row["low"] != row["low"] else f" ({row['low']:+.3f} to {row['high']:+.3f})"
    return f"{row['gain']:+.3f}{ends}"
