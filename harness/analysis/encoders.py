"""What makes the vectors, weighed with what they take: model bytes and encoding time beside bytes a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.analysis import pareto
from harness.analysis.budgets import SAME_BUDGET, within
from harness.analysis.settings import Page, setting_name
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

BUDGETS = (48, 64)
"""Bytes a document at which models stand side by side."""

EFFORTS = {"model_bytes": "model bytes", "model_doc_cpu_ms": "encode time"}
"""Columns of what is spent on making a vector, and what tables call them."""


@dataclass(frozen=True, eq=False)
class Encoders:
    """The models that a collection was measured with.

    Attributes
    ----------
    collection : str
    quality : str
        The metric's column.
    models : DataFrame
        A row a model, smallest first: `model model_bytes query_model_bytes dim`, the columns of
        `harness.runs.frame.ENCODING_SPREADS` with their ends, `model_peak_bytes`, `whole` (the uncompressed vectors'
        quality, NaN if that was not measured), and for each of `BUDGETS` `best_<budget>` and `setting_<budget>`.
    frontier : DataFrame
        The settings that stand on a frontier: `model setting bytes_per_vector model_bytes model_doc_cpu_ms quality`,
        and whether they do with model bytes (`by_model_bytes`) and with encode time (`by_encode_time`) as third axis.
    """

    collection: str
    quality: str
    models: pd.DataFrame
    frontier: pd.DataFrame


def encoders(pages: Sequence[Page]) -> list[Encoders]:
    """Compare the models of each collection, as far as it is known what they take.

    Parameters
    ----------
    pages : sequence of Page
        Of one model and collection each; a collection of which no model's bytes are known is left out.
    """
    known = [page for page in pages if len(page.settings) and _known(page, "model_bytes")]
    collections = dict.fromkeys(str(page.settings["dataset"].iloc[0]) for page in known)
    found = []
    for collection in collections:
        own = [page for page in known if page.settings["dataset"].iloc[0] == collection]
        # scores against judgements and shares of a ranking are not on one scale
        judged = [page for page in own if page.judged] or own
        found.append(Encoders(collection, judged[0].quality, _models(judged), _on_frontiers(judged)))
    return found


def frontier(costs: ArrayLike, quality: ArrayLike) -> NDArray[np.bool_]:
    """Mark what is on the frontier of several costs and a quality.

    A row is not if another one has at least its quality for no more of any cost, where costs that differ by less than
    2 % are one (`harness.analysis.budgets`); of rows of equal quality the cheaper in the first cost comes first.

    Parameters
    ----------
    costs : float (r, c)
        Less is better; a row with a NaN is on no frontier.
    quality : float (r,)
        More is better.

    Returns
    -------
    ndarray of bool (r,)
    """
    spent, gained = np.asarray(costs, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    on = np.zeros(len(spent), dtype=np.bool_)
    usable = np.isfinite(spent).all(axis=1) & np.isfinite(gained)
    kept: list[int] = []
    for row in np.lexsort((*spent.T[::-1], -gained)):
        if usable[row] and not any((spent[other] < (1 + SAME_BUDGET) * spent[row]).all() for other in kept):
            kept.append(int(row))
    on[kept] = True
    return on


def _known(page: Page, column: str) -> bool:
    return column in page.settings and bool(page.settings[column].notna().any())


def _models(pages: Sequence[Page]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for page in pages:
        settings = page.settings
        # all runs of a page have the same vectors; the records of some may be older than the figures
        first = settings[settings["model_bytes"].notna()].iloc[0]
        plain = settings[REFERENCE.marks(settings["method"])]
        row = {name: first[name] for name in first.index if str(name).startswith(("model", "query_model"))}
        row |= {"dim": first["dim"], "whole": plain[page.quality].iloc[0] if len(plain) else np.nan}
        for budget in BUDGETS:
            fits = settings[within(settings[pareto.COST], settings["code_bytes_per_vector"], budget)]
            fits = fits[fits[page.quality].notna()].sort_values(page.quality, ascending=False, kind="stable")
            row[f"best_{budget}"] = fits[page.quality].iloc[0] if len(fits) else np.nan
            row[f"setting_{budget}"] = setting_name(fits.iloc[0]) if len(fits) else ""
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["model_bytes", "model"], kind="stable", ignore_index=True)


def _on_frontiers(pages: Sequence[Page]) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for page in pages:
        own = page.settings.assign(setting=[setting_name(row) for _, row in page.settings.iterrows()])
        own = own.rename(columns={page.quality: "quality"})
        for column in EFFORTS:
            own[column] = own[column].max() if column in own else np.nan
        parts.append(own[["model", "setting", pareto.COST, *EFFORTS, "quality"]])
    table = pd.concat(parts, ignore_index=True)
    on = [frontier(table[[pareto.COST, column]], table["quality"]) for column in EFFORTS]
    table = table.assign(by_model_bytes=on[0], by_encode_time=on[1])[np.logical_or(*on)]
    ordered: pd.DataFrame = table.sort_values([pareto.COST, "model_bytes"], kind="stable", ignore_index=True)
    return ordered
