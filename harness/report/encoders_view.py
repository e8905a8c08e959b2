"""Tables of models: what they take beside what their vectors are worth, whole and within budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis.budgets import BUDGET_RULE, SAME_BUDGET
from harness.analysis.encoders import BUDGETS, EFFORTS, Encoders, encoders
from harness.analysis.settings import file_stem
from harness.base import formatting
from harness.evaluation.metric_registry import metric
from harness.report.table import Column
from harness.report.view import TableOptions, View

if TYPE_CHECKING:
    from harness.analysis.settings import Page


def encoder_views(pages: Sequence[Page], options: TableOptions | None = None) -> list[View]:
    """Return for each collection the table of its models, and that of the frontier over what they take.

    None where no record knows its model's bytes.

    Parameters
    ----------
    pages : sequence of Page
    options : TableOptions or None
    """
    options = options or TableOptions()
    return [view for one in encoders(pages) for view in (_models_view(one, options), _frontier_view(one, options))]


def _models_view(found: Encoders, options: TableOptions) -> View:
    label = metric(found.quality).label
    columns = [
        Column("model", "model"),
        Column("model_bytes", "model MB", 1, 1e-6),
        Column("dim", "dimensions", 0),
        _spread("model_docs_per_second", "documents/s"),
        _spread("model_queries_per_second", "queries/s"),
        _spread("model_query_ms", "ms a query alone"),
        _spread("model_doc_cpu_ms", "CPU ms a document"),
        Column("model_peak_bytes", "peak memory, MB", 0, 1e-6),
        Column("whole", f"{label}, float32", options.decimals + 1),
    ]
    for budget in BUDGETS:
        columns += [
            Column(f"best_{budget}", f"{label} at {budget} bytes", options.decimals + 1),
            Column(f"setting_{budget}", f"with ({budget})"),
        ]
    notes = [
        "Model MB: the files as they would be shipped; of a cut or compressed model what is left.",
        "Speeds were measured when the vectors were made, on that machine (run.json says which): median, and least to "
        "greatest of the repeats. Peak memory is the process's.",
        f"At so many bytes: the best setting within the budget, chosen on these queries. {BUDGET_RULE}.",
    ]
    title = f"{found.collection}: what makes the vectors"
    stem = file_stem(f"encoders · {found.collection}", set())
    return View(columns, found.models, {}, stem, title, notes, [False] * len(found.models))


def _frontier_view(found: Encoders, options: TableOptions) -> View:
    columns = [
        Column("bytes_per_vector", "bytes/document", 1),
        Column("model_bytes", "model MB", 1, 1e-6),
        Column("model_doc_cpu_ms", "CPU ms a document", 3),
        Column("model", "model"),
        Column("setting", "setting"),
        Column("quality", metric(found.quality).label, options.decimals + 1),
        *(Column(f"by_{name.replace(' ', '_')}", f"frontier by {name}") for name in EFFORTS.values()),
    ]
    notes = [
        "On a frontier: no other setting of any model has at least its quality for no more bytes a document and no "
        f"more model bytes (or CPU time a document), where what differs by less than {100 * SAME_BUDGET:g} % is one. "
        "Chosen on these queries, without a test of the differences.",
    ]
    title = f"{found.collection}: bytes a document, the model and the quality"
    stem = file_stem(f"encoders · {found.collection}-frontier", set())
    return View(columns, found.frontier, {}, stem, title, notes, [False] * len(found.frontier))


def _spread(key: str, label: str) -> Column:
    def shown(row: Any) -> str:
        if row[key] != row[key]:
            return formatting.UNKNOWN
        low, high = row[f"{key}_low"], row[f"{key}_high"]
        return f"{formatting.digits(row[key])} ({formatting.digits(low)}–{formatting.digits(high)})"

    return Column(key, label, of=shown, number=True)
