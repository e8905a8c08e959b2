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
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "setting": [setting_name(row) for _, row in page.settings.iterrows()],
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
    if len(models) < 2 or rows.empty:
        return None
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
