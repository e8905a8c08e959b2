"""A table: the same cells as raw values, as text, as Markdown and as LaTeX."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.settings import SETTING, setting_name
from harness.base.errors import ConfigError
from harness.base.options import Options
from harness.report import markdown as markdown_module

if TYPE_CHECKING:
    import pandas as pd


BASELINE_BEST = "best"

DASH = "–"

SIGNS = {"not worse": "†", "better": "‡"}
"""How a mark is shown; best is bold, and second is underlined."""


@dataclass(kw_only=True, frozen=True)
class TableOptions(Options):
    """What is in a table, and how its numbers look.

    Attributes
    ----------
    columns : tuple of str
        Of a table of settings; empty for the usual ones. Any column of `harness.analysis.settings.configurations`, and
        `setting`.
    filter : str
        Which settings are in it, see `harness.analysis.filters.selected`; empty for all.
    baseline : str
        What significance is against: "best", the best of each column; a setting's name, such as "pq m=48"; or "none".
    decimals : int
        Of scores between 0 and 1. Percentages have two fewer.
    """

    columns: tuple[str, ...] = ()
    filter: str = ""
    baseline: str = BASELINE_BEST
    decimals: int = 3

    def _check(self) -> None:
        if not 0 <= self.decimals <= 10:
            raise ConfigError(f"decimals must be between 0 and 10, got {self.decimals}")


@dataclass(frozen=True)
class Column:
    """A column as it is shown.

    Attributes
    ----------
    key : str
        In the raw values.
    label : str
        Its heading.
    decimals : int or None
        Of its numbers; None for words.
    factor : float
        By which raw values are multiplied before they are shown; 100 for percentages.
    ranked : bool
        Whether the best and the second best are marked; more is better.
    """

    key: str
    label: str
    decimals: int | None = None
    factor: float = 1.0
    ranked: bool = False

    def text(self, value: Any) -> str:
        """Return a value as it is shown."""
        if self.decimals is None:
            if isinstance(value, bool | np.bool_):
                return "●" if value else ""
            return value if isinstance(value, str) else DASH if value is None or value != value else str(value)
        number = float(value)
        return f"{round(self.factor * number, self.decimals) + 0.0:.{self.decimals}f}" if np.isfinite(number) else DASH


@dataclass(frozen=True)
class View:
    """A table.

    Attributes
    ----------
    stem : str
        Name of its files without the suffix.
    title : str
    columns : list of Column
        Those that are shown.
    raw : DataFrame
        Values as on record, one row a line of the table; may have more columns than are shown.
    marks : dict of str to list of tuple of str
        For each ranked column and each row, which of "best", "second", "not worse" and "better" it is.
    notes : list of str
        What the reader has to know.
    reference : list of bool
        Which rows are there for comparison only: they come last.
    """

    stem: str
    title: str
    columns: list[Column]
    raw: pd.DataFrame
    marks: dict[str, list[tuple[str, ...]]]
    notes: list[str]
    reference: list[bool] = field(default_factory=list)

    @property
    def text(self) -> pd.DataFrame:
        """The cells as they are shown, without marks; columns as in `raw`."""
        import pandas as pd

        cells = {column.key: [column.text(value) for value in self.raw[column.key]] for column in self.columns}
        return pd.DataFrame(cells, index=self.raw.index, dtype=object)

    @property
    def frame(self) -> pd.DataFrame:
        """The raw values, and a column `<name>_mark` of words after each ranked one, for CSV and Parquet."""
        import pandas as pd

        parts: dict[str, Any] = {}
        for name in self.raw.columns:
            parts[name] = self.raw[name].to_numpy()
            if name in self.marks:
                parts[f"{name}_mark"] = [", ".join(marks) for marks in self.marks[name]]
        return pd.DataFrame(parts)

    def markdown(self, level: int = 1) -> str:
        """Return the view as a section of Markdown: best in bold, second underlined; `level` is that of its heading."""
        text = self.text
        rows = []
        for place in range(len(text)):
            cells = []
            for column in self.columns:
                shown = markdown_module.cell(text[column.key].iloc[place])
                marks = self.marks[column.key][place] if column.key in self.marks else ()
                shown = f"**{shown}**" if "best" in marks else f"<ins>{shown}</ins>" if "second" in marks else shown
                cells.append(shown + "".join(sign for name, sign in SIGNS.items() if name in marks))
            rows.append(cells)
        right = {place for place, column in enumerate(self.columns) if column.decimals is not None}
        table = markdown_module.table([markdown_module.cell(column.label) for column in self.columns], rows, right)
        blocks = [
            f"{'#' * level} {markdown_module.cell(self.title)}",
            table,
            " ".join(markdown_module.cell(note) for note in self.notes),
        ]
        return "\n\n".join(block for block in blocks if block) + "\n"


def setting_names(settings: pd.DataFrame) -> list[str]:
    """Return what tables call each of the settings."""
    return [setting_name(row) for _, row in settings[SETTING].iterrows()]
