"""What one more byte buys on a collection, whatever represents its documents: vectors, terms with weights, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import pareto, statistics
from harness.analysis.budgets import within
from harness.analysis.settings import Page, setting_name

if TYPE_CHECKING:
    import pandas as pd

    from harness.evaluation.retrieval_metrics import Float64

BUDGETS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Bytes a document."""

LARGE_BUDGETS = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
"""And those at which a document may have many vectors."""

DENSE = "vectors"

TOKENS = "tokens"

NAMES = {DENSE: "one vector", "terms": "terms with weights", TOKENS: "a vector for each token", "hybrid": "hybrid"}
"""What tables call representations, in their order; others come after these, under their own names."""


@dataclass(frozen=True, eq=False)
class Representations:
    """The best of each representation on one collection.

    Attributes
    ----------
    collection : str
    quality : str
        The metric's column.
    best : DataFrame
        A row for each budget and representation that has a setting within it: `within representation model setting
        bytes code_bytes quality`, `is_best` of all within the budget, and against the best single vector within the
        budget `gain low high` (difference of the means, and its 95 % interval), NaN where that is not known. Of a
        hybrid `terms_share` is what part of its bytes are terms' with weights.
    """

    collection: str
    quality: str
    best: pd.DataFrame


def representations(pages: Sequence[Page], budgets: Sequence[float] | None = None) -> list[Representations]:
    """Compare representations on each judged collection that was measured under more than one of them.

    Parameters
    ----------
    pages : sequence of Page
        Of one model and collection each.
    budgets : sequence of float or None
        Bytes a document; None is `BUDGETS`, and `LARGE_BUDGETS` where there are token vectors.
    """
    found = []
    judged = [page for page in pages if len(page.settings) and page.judged]
    for collection in dict.fromkeys(_of(page, "dataset") for page in judged):
        own = [page for page in judged if _of(page, "dataset") == collection]
        if len({kind_of_page(page) for page in own}) > 1:
            usual = BUDGETS + (LARGE_BUDGETS if TOKENS in {kind_of_page(page) for page in own} else ())
            found.append(Representations(collection, own[0].quality, _best(own, budgets or usual)))
    return found


def kind_of_page(page: Page) -> str:
    """Return what represents the documents of a page, as records call it."""
    # a report's runs.csv of before there was a choice has no such column, and what failed does not know it
    known = page.runs[page.runs["status"] == "ok"] if "representation" in page.runs else page.runs.iloc[:0]
    return str(known["representation"].iloc[0]) if len(known) else DENSE


def kinds_of(pages: Sequence[Page]) -> dict[str, str]:
    """Return the representations of some pages and what tables call them, in the order of tables."""
    found = {kind_of_page(page) for page in pages}
    return {
        kind: NAMES.get(kind, kind) for kind in (*(kind for kind in NAMES if kind in found), *sorted(found - {*NAMES}))
    }


def unit_of_page(page: Page) -> str:
    """Return what bytes are counted by: documents, where these are not one vector each."""
    return "bytes/vector" if kind_of_page(page) == DENSE else "bytes/document"


def _of(page: Page, column: str) -> str:
    return str(page.runs[column].iloc[0])


def _best(pages: Sequence[Page], budgets: Sequence[float]) -> pd.DataFrame:
    import pandas as pd

    runs = pd.concat([page.runs for page in pages], ignore_index=True).drop_duplicates("run_id").set_index("run_id")
    names, rows = kinds_of(pages), []
    for budget in budgets:
        chosen: dict[str, tuple[Page, int]] = {}
        for kind in names:
            candidates = [
                (page, place)
                for page in pages
                if kind_of_page(page) == kind and (place := _best_place(page, budget)) is not None
            ]
            if candidates:
                chosen[kind] = max(candidates, key=lambda found: _quality(*found))
        if not chosen:
            continue
        highest = max(_quality(*found) for found in chosen.values())
        dense = chosen.get(DENSE)
        for kind, (page, place) in chosen.items():
            setting = page.settings.iloc[place]
            gain = statistics.Interval(*(np.full(1, np.nan) for _ in range(3)))
            if dense is not None and kind != DENSE:
                gain = _gain(_scores(page, place), _scores(*dense), _quality(page, place) - _quality(*dense))
            rows.append(
                {
                    "within": budget,
                    "representation": names[kind],
                    "model": setting["model"],
                    "setting": setting_name(setting),
                    "bytes": setting[pareto.COST],
                    "code_bytes": setting["code_bytes_per_vector"],
                    "quality": _quality(page, place),
                    "is_best": _quality(page, place) == highest,
                    "gain": gain.estimate[0],
                    "low": gain.low[0],
                    "high": gain.high[0],
                    "terms_share": _terms_share(str(setting["run_ids"]).split()[0], runs),
                }
            )
    return pd.DataFrame(rows)


def _best_place(page: Page, budget: float) -> int | None:
    """Return the row of a page's best setting within a budget; of equals the smaller one."""
    fitting = within(page.settings[pareto.COST], page.settings["code_bytes_per_vector"], budget)
    places = np.flatnonzero(fitting & page.settings[page.quality].notna().to_numpy(dtype=bool))
    if not len(places):
        return None
    quality = page.settings[page.quality].to_numpy(dtype=float)[places]
    cost = page.settings[pareto.COST].to_numpy(dtype=float)[places]
    return int(places[np.lexsort((cost, -quality))[0]])


def _terms_share(run_id: str, runs: pd.DataFrame) -> float:
    """Return what part of a hybrid's bytes are terms'; NaN for others, and where its parts are not at hand."""
    parts = str(runs.loc[run_id, "parts"]).split()
    if not parts or not set(parts) <= set(runs.index):
        return float("nan")
    own = runs.loc[parts]
    return float(
        own.loc[own["representation"] == "terms", "code_bytes_per_vector"].sum() / own["code_bytes_per_vector"].sum()
    )


def _quality(page: Page, place: int) -> float:
    return float(page.settings[page.quality].iloc[place])


def _scores(page: Page, place: int) -> Float64 | None:
    """Return the queries' scores of a setting, None where they are not on record."""
    if page.scores is None or page.quality not in page.scores.values:
        return None
    values = page.scores.values[page.quality][place]
    return values if len(values) and np.isfinite(values).all() else None


def _gain(scores: Float64 | None, dense: Float64 | None, difference: float) -> statistics.Interval:
    if scores is None or dense is None or len(scores) != len(dense):
        unknown = np.full(1, np.nan)
        return statistics.Interval(np.full(1, difference), unknown, unknown)
    return statistics.compare(scores[None], dense).difference
