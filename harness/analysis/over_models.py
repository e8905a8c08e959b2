"""What settings keep on several models: the mean, and the worst case, of collections that all models have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import pareto
from harness.analysis.budgets import least_budget
from harness.analysis.settings import setting_name
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page


@dataclass(frozen=True, eq=False)
class OverModels:
    """Settings measured with every model.

    Attributes
    ----------
    models : list of str
    collections : list of str
        Those that every model was measured on; what others say is left out, so that models differ in nothing else.
    shares : DataFrame
        A row a setting, in the order of the worst case: `setting method`, a column for each model (mean share of
        float32's quality over the collections), `mean` and `worst` over models, `worst_model`, `least_bytes` and
        `most_bytes` per vector (what counts dimensions takes more where there are more), and `budget`, the least budget
        that it is within with every model.
    """

    models: list[str]
    collections: list[str]
    shares: pd.DataFrame

    def best(self, budget: float) -> pd.Series | None:
        """Return the setting whose worst case is best within a budget of bytes; None if there is none."""
        fitting = self.shares[(self.shares["budget"] <= budget) & ~REFERENCE.marks(self.shares["method"])]
        return None if fitting.empty else fitting.iloc[0]


def over_models(pages: Sequence[Page]) -> OverModels | None:
    """Compare settings over the models of some pages; None with fewer than two models, or nothing in common.

    Parameters
    ----------
    pages : sequence of Page
        Of one model and collection each.
    """
    shared = _in_common(pages)
    if shared is None:
        return None
    rows, models, collections = shared
    measured = rows.groupby("setting")[["model", "collection"]].apply(lambda own: len(own.drop_duplicates()))
    rows = rows[rows["setting"].isin(measured.index[measured == len(models) * len(collections)])]
    if rows.empty:
        return None
    shares = rows.pivot_table(index="setting", columns="model", values="share", aggfunc="mean")[models]
    worst, mean = shares.min(axis=1), shares.mean(axis=1)
    worst_model = [models[place] for place in np.argmin(shares.to_numpy(), axis=1)]
    own = rows.groupby("setting").agg(
        method=("method", "first"),
        least_bytes=("bytes", "min"),
        most_bytes=("bytes", "max"),
        budget=("budget", "max"),
    )
    table = shares.assign(mean=mean, worst=worst, worst_model=worst_model).join(own).reset_index()
    table = table.sort_values(["worst", "mean", "setting"], ascending=[False, False, True], ignore_index=True)
    return OverModels(models, collections, table)


@dataclass(frozen=True, eq=False)
class MethodsOverModels:
    """The best of each method within a budget, with every model.

    Attributes
    ----------
    budget : float
        Bytes of codes per vector.
    models, collections : list of str
        As of `OverModels`.
    shares : DataFrame
        A row a method, the best of the worst case first: `method`, a column for each model (share of float32's quality
        that its best setting keeps, the mean over the collections), `mean` and `worst` over models.
    ranks : DataFrame
        The same rows: `method`, a column for each model (1 is the best; equals share the better place), and `moved`,
        how many places lie between the best and the worst of them.
    left_out : list of str
        Methods that some model has within the budget on some collection, but not every model on all.
    """

    budget: float
    models: list[str]
    collections: list[str]
    shares: pd.DataFrame
    ranks: pd.DataFrame
    left_out: list[str]

    @property
    def many(self) -> int:
        """So many places are many: a quarter of the methods, and three at least."""
        return max(3, len(self.ranks) // 4)

    @property
    def constant(self) -> int:
        """How many methods have the same place with every model."""
        return int((self.ranks["moved"] == 0).sum())

    def most_moved(self, most: int = 3) -> list[tuple[str, tuple[str, int], tuple[str, int]]]:
        """Return the methods that change places most: each with the model and place of its best and its worst."""
        found = []
        for _, row in (
            self.ranks[self.ranks["moved"] > 0].sort_values("moved", ascending=False, kind="stable").iterrows()
        ):
            places = [int(row[model]) for model in self.models]
            best, worst = int(np.argmin(places)), int(np.argmax(places))
            ends = ((self.models[best], places[best]), (self.models[worst], places[worst]))
            found.append((str(row["method"]), *ends))
        return found[:most]


def methods_over_models(pages: Sequence[Page], budget: float) -> MethodsOverModels | None:
    """Compare methods over the models of some pages, each by its best setting within a budget.

    A method counts if every model has a setting of it within the budget on every collection; the reference is none.
    None with fewer than two models or two methods.

    Parameters
    ----------
    pages : sequence of Page
        Of one model and collection each.
    budget : float
        Bytes of codes per vector.
    """
    shared = _in_common(pages)
    if shared is None:
        return None
    rows, models, collections = shared
    rows = rows[(rows["budget"] <= budget) & ~REFERENCE.marks(rows["method"])]
    best = rows.groupby(["method", "model", "collection"], sort=False)["share"].max().unstack(["model", "collection"])
    if best.shape[1] < len(models) * len(collections):
        return None
    everything = set(best.index)
    best = best.dropna()
    if len(best) < 2:
        return None
    shares = best.T.groupby(level="model").mean().T[models]
    table = shares.assign(mean=shares.mean(axis=1), worst=shares.min(axis=1)).rename_axis("method").reset_index()
    table = table.sort_values(["worst", "mean", "method"], ascending=[False, False, True], ignore_index=True)
    ranks = table[models].rank(ascending=False, method="min").astype(int)
    ranks.insert(0, "method", table["method"])
    ranks["moved"] = ranks[models].max(axis=1) - ranks[models].min(axis=1)
    return MethodsOverModels(budget, models, collections, table, ranks, sorted(everything - {*best.index}))


def _in_common(pages: Sequence[Page]) -> tuple[pd.DataFrame, list[str], list[str]] | None:
    """Return all settings on the collections that every model was measured on, the models and these collections.

    None with fewer than two models, or nothing in common.
    """
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "setting": [setting_name(row) for row in page.settings.to_dict("records")],
                "method": page.settings["method"].to_numpy(),
                "model": page.settings["model"].to_numpy(),
                "collection": page.settings["dataset"].to_numpy(),
                "share": page.settings[pareto.share_column(page.settings)].to_numpy(dtype=float),
                "bytes": page.settings[pareto.COST].to_numpy(dtype=float),
                "budget": least_budget(page.settings[pareto.COST], page.settings["code_bytes_per_vector"]),
            }
        )
        for page in pages
        if len(page.settings) and page.judged
    ]
    if not parts:
        return None
    rows = pd.concat(parts, ignore_index=True)
    models = list(dict.fromkeys(rows["model"]))
    having = rows.groupby("collection", sort=False)["model"].nunique()
    collections = [str(name) for name in having.index[having == len(models)]]
    rows = rows[rows["collection"].isin(collections)]
    return None if len(models) < 2 or rows.empty else (rows, models, collections)
