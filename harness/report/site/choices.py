"""What a reader of the leaderboard chooses among where several models were measured on one collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis import pareto
from harness.analysis.over_models import MethodsOverModels
from harness.analysis.settings import Page, Scores, file_stem
from harness.analysis.significance import told_apart
from harness.base.formatting import count
from harness.evaluation import metric_registry

if TYPE_CHECKING:
    import pandas as pd

OWN = frozenset(metric_registry.names("float32 ranking"))
"""Metrics that compare a model with itself: between models they say nothing."""


@dataclass(frozen=True, eq=False)
class Collection:
    """The same documents and queries with every model that they were measured with.

    Attributes
    ----------
    title : str
    pages : list of Page
        One a model.
    labels : list of str
        What the pages' models are called, each of them another.
    """

    title: str
    pages: list[Page]
    labels: list[str]

    @property
    def comparable(self) -> bool:
        """Whether quality is absolute, so that models can be compared; without judgements it is not."""
        return all(page.judged for page in self.pages)

    @cached_property
    def together(self) -> Page:
        """The settings of all models as if they were of one, page after page; the frontier is drawn anew."""
        import pandas as pd

        settings = pd.concat([page.settings for page in self.pages], ignore_index=True)
        scores = self._scores()
        quality = self.pages[0].quality
        apart = None if scores is None else partial(told_apart, scores.values[quality])
        settings["on_frontier"] = pareto.frontier(settings[pareto.COST], settings[quality], apart)
        runs = pd.concat([page.runs for page in self.pages], ignore_index=True)
        return Page(file_stem(self.title, set()), self.title, runs, settings, scores)

    def _scores(self) -> Scores | None:
        """Return the queries' scores of all settings; None where not all pages have them of the same queries."""
        known = [page.scores for page in self.pages if page.scores is not None]
        quality = self.pages[0].quality
        widths = {scores.values[quality].shape[1] for scores in known if quality in scores.values}
        if len(known) < len(self.pages) or len(widths) != 1 or widths == {0}:
            return None
        return Scores({quality: np.concatenate([scores.values[quality] for scores in known])}, None)

    def best(self, budget: float) -> tuple[Page, pd.Series[Any]] | None:
        """Return the best setting of any model within a budget, and the page that it is of."""
        found = pareto.best_within(self.together.settings, budget)
        if found is None:
            return None
        place = int(str(found.name))
        for page in self.pages:
            if place < len(page.settings):
                return page, page.settings.iloc[place]
            place -= len(page.settings)
        raise AssertionError("a row of no page")


def collections(pages: Sequence[Page]) -> list[Collection]:
    """Gather pages of the same documents and queries; an empty list where no two models can be compared.

    Parameters
    ----------
    pages : sequence of Page
        With settings, of one model and collection each.
    """
    gathered: dict[tuple[str, int, int], list[Page]] = {}
    for page in pages:
        row = page.settings.iloc[0]
        gathered.setdefault((str(row["dataset"]), int(row["n_docs"]), int(row["n_queries"])), []).append(page)
    if all(len(own) == 1 for own in gathered.values()):
        return []
    names = [dataset for dataset, _, _ in gathered]
    return [
        Collection(
            dataset if names.count(dataset) == 1 else f"{dataset} ({n_docs:,} documents, {n_queries:,} queries)",
            own,
            _labels(own),
        )
        for (dataset, n_docs, n_queries), own in gathered.items()
    ]


def moves(table: MethodsOverModels) -> list[str]:
    """Return in sentences which methods change places between models, and which could not be placed."""
    n, same = len(table.ranks), table.constant
    said = [f"{count(same, 'method')} of {n} {'has' if same == 1 else 'have'} one place with all models."]
    if moved := table.most_moved():
        named = (f"{method}, {high[1]} with {high[0]} and {low[1]} with {low[0]}" for method, high, low in moved)
        said.append(f"Most places between models: {'; '.join(named)}.")
    if table.left_out:
        said.append(f"Left out, as not every model has them there on all collections: {', '.join(table.left_out)}.")
    return said


def usual_budget(tables: Sequence[MethodsOverModels], asked: float) -> float:
    """Return the budget that is shown first: the largest that is no more than what pages ask for first."""
    budgets = [table.budget for table in tables]
    return max((budget for budget in budgets if budget <= asked), default=min(budgets))


def _labels(pages: Sequence[Page]) -> list[str]:
    models = [str(page.settings["model"].iloc[0]) for page in pages]
    return [
        model if models.count(model) == 1 else f"{model}, {page.settings['dim'].iloc[0]:.0f} dimensions"
        for model, page in zip(models, pages, strict=True)
    ]
