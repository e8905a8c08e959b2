"""Tables of settings over models: what each keeps, and which loses least where it loses most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.budgets import ACROSS, BUDGET_RULE
from harness.analysis.over_models import OverModels, over_models
from harness.evaluation.reference import REFERENCE
from harness.report.marks import ranks
from harness.report.table import Column
from harness.report.view import TableOptions, View

if TYPE_CHECKING:
    from harness.analysis.settings import Page


def model_views(
    pages: Sequence[Page], options: TableOptions | None = None, budgets: Sequence[float] = ACROSS
) -> list[View]:
    """Return the tables over models: all settings, and the best in the worst case within each budget.

    None with fewer than two models, or without a collection and a setting that all of them have.

    Parameters
    ----------
    pages : sequence of Page
    options : TableOptions or None
    budgets : sequence of float
    """
    options = options or TableOptions()
    found = over_models(pages)
    return [] if found is None else [_shares_view(found, options), _best_view(found, options, budgets)]


def _notes(found: OverModels) -> list[str]:
    names = ", ".join(found.collections)
    return [
        "Share of float32's quality, the mean over the collections that all models were measured on "
        f"({names}); worst: the lowest of the models' means.",
        "Bytes per vector of the model that takes least and of the one that takes most.",
    ]


def _shares_view(found: OverModels, options: TableOptions) -> View:
    raw = found.shares.drop(columns=["budget"])
    plain = REFERENCE.marks(raw["method"]).to_numpy(dtype=bool)
    decimals = max(options.decimals - 2, 0)
    shown = [Column(name, name, decimals, 100.0, ranked=True) for name in (*found.models, "mean", "worst")]
    columns = [
        Column("setting", "setting"),
        Column("least_bytes", "bytes/vector from", 1),
        Column("most_bytes", "to", 1),
        *shown,
    ]
    marks = {column.key: ranks(column, raw[column.key], plain) for column in shown}
    title = "% of float32 kept, over models"
    return View(columns, raw, marks, "over-models", title, _notes(found), plain.tolist())


def _best_view(found: OverModels, options: TableOptions, budgets: Sequence[float]) -> View:
    import pandas as pd

    chosen = [(budget, found.best(budget)) for budget in budgets]
    rows = [{"within": budget, **best.to_dict()} for budget, best in chosen if best is not None]
    raw = pd.DataFrame(rows, columns=["within", *found.shares.columns]).drop(columns=["budget"])
    decimals = max(options.decimals - 2, 0)
    columns = [
        Column("within", "within bytes/vector", 0),
        Column("setting", "setting"),
        *(Column(name, f"{name}, % of float32", decimals, 100.0) for name in ("worst", "mean")),
        Column("worst_model", "worst with"),
        *(Column(name, name, decimals, 100.0) for name in found.models),
    ]
    notes = [
        f"The setting whose worst case over models is best, chosen on these queries. {BUDGET_RULE}.",
        *_notes(found),
    ]
    title = "Best in the worst case over models"
    return View(columns, raw, {}, "over-models-best", title, notes, [False] * len(raw))
