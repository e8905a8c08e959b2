"""What is best, second best and not significantly worse in a column of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis import statistics

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page

from harness.report.table import SIGNS, Column
from harness.report.view import BASELINE_BEST, TableOptions, setting_names


def ranks(column: Column, values: pd.Series[Any], plain: NDArray[np.bool_]) -> list[tuple[str, ...]]:
    """Mark the best and the second best; what is shown alike ranks alike."""
    numbers = values.to_numpy(dtype=np.float64)
    competes = np.isfinite(numbers) & ~plain
    texts = [column.text(value) for value in numbers]
    order = sorted({float(text) for text, own in zip(texts, competes, strict=True) if own}, reverse=True)
    names = dict(zip(order[:2], (("best",), ("second",)), strict=False)) if len(order) > 1 else {}
    return [names.get(float(text), ()) if own else () for text, own in zip(texts, competes, strict=True)]


def marks_legend(marks: dict[str, list[tuple[str, ...]]], options: TableOptions) -> list[str]:
    """Return a note for each kind of mark that is used."""
    used = {name for column in marks.values() for row in column for name in row}
    against = "the best of its column" if options.baseline == BASELINE_BEST else options.baseline
    notes = ["Bold: best; underlined: second."] if "best" in used else []
    notes += [f"{SIGNS['not worse']}: not significantly worse than {against}."] if "not worse" in used else []
    notes += [f"{SIGNS['better']}: significantly better than {against}."] if "better" in used else []
    if used & set(SIGNS):
        percent = f"{100 * statistics.ALPHA:g} %"
        notes.append(f"Randomisation test over the queries, {percent}, with Holm's correction over the column.")
    return notes


class Significance:
    """Which settings are not worse than the baseline, by paired tests of their queries' scores."""

    def __init__(self, pages: Sequence[Page], options: TableOptions) -> None:
        self.pages, self.baseline = pages, options.baseline
        self.places: list[int | None] = [None] * len(pages)
        self.p: list[dict[tuple[int, int], float]] = [{} for _ in pages]
        if self.baseline in (BASELINE_BEST, "none"):
            return
        names = [setting_names(page.settings) for page in pages]
        self.places = [own.index(self.baseline) if self.baseline in own else None for own in names]

    def marks(
        self, page: int, columns: Sequence[NDArray[np.int64]], plain: Sequence[NDArray[np.bool_]]
    ) -> list[list[tuple[str, ...]]]:
        """Return the marks of each of several columns of settings; what was not tested before is tested at once.

        Parameters
        ----------
        page : int
        columns : sequence of int64 (r_i,)
            Places in the page's settings; the best is that of the highest quality.
        plain : sequence of bool (r_i,)
            What cannot be the best.
        """
        empty: list[list[tuple[str, ...]]] = [[()] * len(rows) for rows in columns]
        scores, quality = self.pages[page].scores, self.pages[page].quality
        if scores is None or self.baseline == "none" or not scores.values[quality].shape[1]:
            return empty
        values = scores.values[quality]
        means = values.mean(axis=1)
        known = self.p[page]
        wanted: list[tuple[int | None, list[tuple[int, int]]]] = []
        for rows, out in zip(columns, plain, strict=True):
            fixed = self.places[page]
            against = fixed
            if self.baseline == BASELINE_BEST:
                compete = rows[~out & np.isfinite(means[rows])]
                against = int(compete[np.argmax(means[compete])]) if len(compete) else None
            if against is None or not np.isfinite(means[against]):
                wanted.append((None, []))
                continue
            pairs = [(int(row), against) for row in rows if row != against and np.isfinite(means[row])]
            wanted.append((against, pairs))
        new = list(dict.fromkeys(pair for _, pairs in wanted for pair in pairs if pair not in known))
        if new:
            places = np.array(new, dtype=np.int64)
            p = statistics.randomisation_test(values[places[:, 0]] - values[places[:, 1]])
            known.update(zip(new, p.tolist(), strict=True))
        for found, rows, (against, pairs) in zip(empty, columns, wanted, strict=True):
            corrected = statistics.holm([known[pair] for pair in pairs])
            sure = {row: value for (row, _), value in zip(pairs, corrected, strict=True)}
            for place, row in enumerate(rows.tolist()):
                if row in sure and against is not None:
                    ahead = means[row] > means[against]
                    significant = sure[row] < statistics.ALPHA
                    if not significant or ahead:
                        found[place] = ("better",) if significant else ("not worse",)
        return empty
