"""Learned methods by what they were shown: nothing, a few documents, all of them (FEET).

The protocol of Lee, Lee and Chiang (2024, arXiv 2411.01322) for foundation models, carried over to codes: *frozen* is a
code that learns nothing from the collection (or its mean alone), *few-shot* one fitted on n documents
(`fit_sample=n`), *full* one fitted on all; and the change against frozen, in per cent, at equal bytes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis import pareto, statistics
from harness.analysis.budgets import one_budget
from harness.analysis.settings import ELSEWHERE, Page, setting_name
from harness.evaluation.reference import REFERENCE
from harness.runs.catalogue import members, method_card

if TYPE_CHECKING:
    import pandas as pd

SHOTS = re.compile(r"(?:^|\s)fit_sample=(\d+)")


@dataclass(frozen=True, eq=False)
class Feet:
    """The table of one page.

    Attributes
    ----------
    page : Page
    shots : tuple of int
        Documents that settings were fitted on, ascending, without all of them.
    table : DataFrame
        A row a setting: `setting bytes_per_vector frozen frozen_setting full`, and `shot_<n>` for each of `shots`; and
        with `_change` behind the last ones the change against frozen, 0.1 being 10 %, and with `_change_low` and
        `_change_high` the ends of its 95 % interval over paired queries. NaN is what is not known.
    """

    page: Page
    shots: tuple[int, ...]
    table: pd.DataFrame


def feet(pages: Sequence[Page]) -> list[Feet]:
    """Return the tables of the pages on which a method was fitted on several numbers of documents.

    Parameters
    ----------
    pages : sequence of Page
    """
    return [found for page in pages if len(page.settings) and (found := _of(page)) is not None]


def _of(page: Page) -> Feet | None:
    import pandas as pd

    settings = page.settings
    shots = [_shots(params) for params in settings["params"]]
    counts = tuple(sorted({count for count in shots if count is not None}))
    if not counts:
        return None
    by_setting: dict[str, dict[int | None, int]] = {}
    for place, (count, (_, row)) in enumerate(zip(shots, settings.iterrows(), strict=True)):
        plain = " ".join(part for part in str(row["params"]).split() if not part.startswith(ELSEWHERE))
        other = [part for part in str(row["params"]).split() if part.startswith(ELSEWHERE)]
        # another collection, or documents that left this one, are another question
        if len(other) == (0 if count is None else 1) and not _is_frozen(str(row["method"])):
            by_setting.setdefault(setting_name({**row, "params": plain}), {})[count] = place
    quality = settings[page.quality].to_numpy(dtype=np.float64)
    learn_nothing = np.array([_is_frozen(str(method)) for method in settings["method"]])
    frozen = learn_nothing & ~REFERENCE.marks(settings["method"]).to_numpy() & np.isfinite(quality)
    rows = []
    for name, found in by_setting.items():
        if not any(count is not None for count in found):
            continue
        cost = float(settings[pareto.COST].iloc[next(iter(found.values()))])
        same = np.flatnonzero(frozen & np.asarray(one_budget(settings["code_bytes_per_vector"], cost)))
        best = int(same[np.argmax(quality[same])]) if len(same) else None
        base = np.nan if best is None else float(quality[best])
        entry: dict[str, Any] = {
            "setting": name,
            pareto.COST: cost,
            "frozen": base,
            "frozen_setting": "" if best is None else setting_name(settings.iloc[best]),
        }
        for key, count in (*((f"shot_{count}", count) for count in counts), ("full", None)):
            entry[key] = float(quality[found[count]]) if count in found else np.nan
            entry[f"{key}_change"] = entry[key] / base - 1 if base > 0 else np.nan
            ends = _ends(page, found.get(count), best)
            entry |= {f"{key}_change_low": ends[0], f"{key}_change_high": ends[1]}
        rows.append(entry)
    if not rows:
        return None
    return Feet(page, counts, pd.DataFrame(rows).sort_values([pareto.COST, "setting"], ignore_index=True))


def _ends(page: Page, place: int | None, frozen: int | None) -> tuple[float, float]:
    """Return the ends of the interval of a setting's change against the frozen one, given by their rows."""
    if page.scores is None or place is None or frozen is None:
        return np.nan, np.nan
    own, base = page.scores.values[page.quality][[place, frozen]]
    if not np.isfinite([own, base]).all() or not len(base) or base.mean() <= 0:
        return np.nan, np.nan
    found = statistics.compare([own], base).ratio
    return float(found.low[0]) - 1, float(found.high[0]) - 1


def _shots(params: str) -> int | None:
    found = SHOTS.search(params)
    return None if found is None else int(found[1])


@functools.cache
def _is_frozen(method: str) -> bool:
    """Whether a method learns nothing, as its yaml says, or the documents' mean at most, as rotations do."""
    entry = members("method").get(method)
    card = {} if entry is None else method_card(entry)
    return (card.get("training") is False or card.get("family") == "rotation") and not card.get("queries")
