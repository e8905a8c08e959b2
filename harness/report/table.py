"""A table, declared once as columns and rows, and written as Markdown, CSV, Parquet, LaTeX and HTML.

A new table on a report's page is one added place: a list of columns (`words`, `numbers`) and the rows they read, put
as `Table(columns, rows).markdown()` among the blocks of that page (`page_markdown` in `harness.report.page` for one
collection and model, `summary_markdown` in `harness.report.summary` for all of them). Escapes, alignment and the other
formats follow from the columns. A table that is to be a file of its own in `tables/` is a
`harness.report.view.View` returned by `all_views` in `harness.report.views`.
"""

from __future__ import annotations

import html as html_module
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.base import formatting
from harness.report import markdown as markdown_module

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

SIGNS = {"not worse": "†", "better": "‡"}
"""How a mark is shown; best is bold, and second is underlined."""


@dataclass(frozen=True)
class Cell:
    """What stands in a place of a table.

    Attributes
    ----------
    text : str
        As people read it, without markup.
    marks : tuple of str
        "best" (bold), "second" (underlined), "code" (as typed), and the names of `SIGNS`.
    links : tuple of (str, str)
        Names and targets; the text is then those names, joined by commas.
    """

    text: str
    marks: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


def linked(*links: tuple[str, str]) -> Cell:
    """Return a cell of links, given their names and targets; a dash if there are none."""
    return Cell(", ".join(name for name, _ in links) or formatting.UNKNOWN, links=links)


def code(text: str) -> Cell:
    """Return a cell that shows something to be typed."""
    return Cell(text, ("code",))


def bold(text: str, where: bool) -> Cell:
    """Return a cell that is bold where so said."""
    return Cell(text, ("best",) if where else ())


@dataclass(frozen=True)
class Column:
    """A column: what it takes from a row, and how that is shown.

    Attributes
    ----------
    key : str
        Its name in CSV and Parquet.
    label : str
        Its heading.
    decimals : int or None
        Of its numbers; None for words, and where `show` says how they look.
    factor : float
        By which raw values are multiplied before they are shown; 100 for percentages.
    ranked : bool
        Whether the best and the second best are marked; more is better.
    of : str, int, callable or None
        What it takes from a row: the value at a key, or what a function returns; None for the value at `key`.
    show : callable or None
        Returns a value as it is shown; None for `decimals`.
    number : bool or None
        Whether it holds numbers, which need no escapes; None if there are decimals.
    right : bool or None
        Whether it is aligned to the right; None if it holds numbers.
    verbatim : bool
        Whether its heading is set in Markdown without escapes.
    """

    key: str
    label: str
    decimals: int | None = None
    factor: float = 1.0
    ranked: bool = False
    of: str | int | Callable[[Any], Any] | None = None
    show: Callable[[Any], str] | None = None
    number: bool | None = None
    right: bool | None = None
    verbatim: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.decimals is not None if self.number is None else self.number

    @property
    def is_right(self) -> bool:
        """Whether it is aligned to the right."""
        return self.is_number if self.right is None else self.right

    def value(self, row: Any) -> Any:
        """Return the value of a row, as on record; a `Cell` where the value is more than its text."""
        return self.of(row) if callable(self.of) else row[self.key if self.of is None else self.of]

    def text(self, value: Any) -> str:
        """Return a value as it is shown."""
        if isinstance(value, Cell):
            return value.text
        if self.show is not None:
            return self.show(value)
        if self.decimals is None:
            if isinstance(value, bool | np.bool_):
                return "●" if value else ""
            return value if isinstance(value, str) else formatting.UNKNOWN if _missing(value) else str(value)
        return formatting.number(round(self.factor * float(value), self.decimals) + 0.0, self.decimals)  # no -0.0

    def cell(self, value: Any, marks: Sequence[str] = ()) -> Cell:
        """Return a value as a cell, with marks besides its own."""
        own = value if isinstance(value, Cell) else Cell(self.text(value))
        return Cell(own.text, (*own.marks, *marks), own.links)


def _missing(value: Any) -> bool:
    return value is None or bool(value != value)


def words(label: str, of: str | int | Callable[[Any], Any], *, right: bool = False) -> Column:
    """Return a column of words, given its heading and the key or function that takes them from a row."""
    return Column(of if isinstance(of, str) else label, label, of=of, right=right)


def numbers(
    label: str, of: str | int | Callable[[Any], Any], show: Callable[[Any], str] | int | None = None, factor: float = 1
) -> Column:
    """Return a column of numbers; `show` is a function that returns one as it is shown, or the decimals it has.

    Without `show` they are text already: an interval, a value with its deviation.
    """
    key = of if isinstance(of, str) else label
    if isinstance(show, int):
        return Column(key, label, show, factor, of=of)
    return Column(key, label, of=of, show=show, number=True)


def by_place(labels: Iterable[str], right: Collection[int]) -> list[Column]:
    """Return columns of rows that are sequences of cells already: numbers in the places `right`, words elsewhere."""
    return [numbers(label, place) if place in right else words(label, place) for place, label in enumerate(labels)]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    columns : sequence of Column
        Those that are shown.
    rows : sequence or DataFrame
        One entry a line: whatever the columns take their values from (mappings, tuples, objects, Series). A DataFrame
        may have more columns than are shown; CSV and Parquet hold them too.
    marks : dict of str to list of tuple of str
        For a column's key and each row, marks as in `Cell`.
    stem : str
        Name of its files without the suffix.
    title : str
    notes : list of str
        What the reader has to know.
    reference : list of bool
        Which rows are there for comparison only: they come last.
    """

    columns: Sequence[Column]
    rows: Any
    marks: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    stem: str = ""
    title: str = ""
    notes: list[str] = field(default_factory=list)
    reference: Sequence[bool] = ()

    def values(self, column: Column) -> list[Any]:
        """Return the values of a column, as on record."""
        if not hasattr(self.rows, "iterrows"):
            return [column.value(row) for row in self.rows]
        if callable(column.of):
            return [column.of(row) for _, row in self.rows.iterrows()]
        return list(self.rows[column.key if column.of is None else column.of])

    @property
    def cells(self) -> list[list[Cell]]:
        """The cells as they are shown, row by row."""
        shown = []
        for column in self.columns:
            marks = self.marks.get(column.key) or itertools.repeat(())
            shown.append([column.cell(value, own) for value, own in zip(self.values(column), marks, strict=False)])
        return [list(row) for row in zip(*shown, strict=True)]

    @property
    def text(self) -> pd.DataFrame:
        """The cells as they are shown, without marks; columns by their keys."""
        import pandas as pd

        index = getattr(self.rows, "index", None)
        cells = {key: [column.text(value) for value in self.values(column)] for key, column in self._keyed()}
        return pd.DataFrame(cells, index=index if isinstance(index, pd.Index) else None, dtype=object)

    @property
    def frame(self) -> pd.DataFrame:
        """The values as on record, and a column `<name>_mark` of words after each marked one, for CSV and Parquet."""
        import pandas as pd

        values: dict[str, Any]
        if isinstance(self.rows, pd.DataFrame):
            values = {str(key): self.rows[key].to_numpy() for key in self.rows.columns}
        else:
            values = {
                key: [value.text if isinstance(value, Cell) else value for value in self.values(column)]
                for key, column in self._keyed()
            }
        parts: dict[str, Any] = {}
        for key, own in values.items():
            parts[key] = own
            if key in self.marks:
                parts[f"{key}_mark"] = [", ".join(marks) for marks in self.marks[key]]
        return pd.DataFrame(parts)

    def _keyed(self) -> Iterator[tuple[str, Column]]:
        """Yield the columns with keys that no other one has: a number follows the second of a name."""
        taken: dict[str, int] = {}
        for column in self.columns:
            taken[column.key] = taken.get(column.key, 0) + 1
            yield column.key + (f" {taken[column.key]}" if taken[column.key] > 1 else ""), column

    def markdown(self, level: int = 1) -> str:
        """Return the table as Markdown: best in bold, second underlined.

        One with a title is a section of its own, with a heading of that `level` and the notes.
        """
        header = [column.label if column.verbatim else markdown_module.cell(column.label) for column in self.columns]
        lines = [
            [_markdown(cell, escaped=not column.is_number) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.cells
        ]
        right = {place for place, column in enumerate(self.columns) if column.is_right}
        shown = markdown_module.table(header, lines, right)
        if not self.title:
            return shown
        notes = " ".join(markdown_module.cell(note) for note in self.notes)
        blocks = [f"{'#' * level} {markdown_module.cell(self.title)}", shown, notes]
        return "\n\n".join(block for block in blocks if block) + "\n"

    def html(self) -> str:
        """Return the table alone as HTML; cells of columns that are aligned to the right are of the class "number"."""

        def line(tag: str, contents: Sequence[str]) -> str:
            cells = (
                f"<{tag} class='number'>{content}</{tag}>" if column.is_right else f"<{tag}>{content}</{tag}>"
                for column, content in zip(self.columns, contents, strict=True)
            )
            return f"<tr>{''.join(cells)}</tr>\n"

        head = line("th", [html_module.escape(column.label) for column in self.columns])
        body = "".join(line("td", [_html(cell) for cell in row]) for row in self.cells)
        return f"<table>\n<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table>\n"

    def latex(self) -> str:
        r"""Return the table with caption and label as LaTeX, to be used by \input; see `harness.report.latex`."""
        from harness.report import latex

        return latex.table(self)

    def csv(self) -> str:
        """Return the values as on record, with all their digits, as CSV."""
        return str(self.frame.to_csv(index=False))

    def parquet(self, path: Path) -> None:
        """Write the values as on record to a Parquet file."""
        self.frame.to_parquet(path, index=False)


def _signs(cell: Cell) -> str:
    return "".join(sign for name, sign in SIGNS.items() if name in cell.marks)


def _markdown(cell: Cell, *, escaped: bool) -> str:
    shown = markdown_module.cell(cell.text).strip() if escaped and "code" not in cell.marks else cell.text
    if cell.links:
        shown = ", ".join(f"[{markdown_module.cell(name)}]({target})" for name, target in cell.links)
    if "code" in cell.marks:
        shown = "`" + cell.text.replace("|", r"\|") + "`"
    shown = f"**{shown}**" if "best" in cell.marks else f"<ins>{shown}</ins>" if "second" in cell.marks else shown
    return shown + _signs(cell)


def _html(cell: Cell) -> str:
    shown = html_module.escape(cell.text)
    if cell.links:
        escaped = ((html_module.escape(name), html_module.escape(target)) for name, target in cell.links)
        shown = ", ".join(f'<a href="{target}">{name}</a>' for name, target in escaped)
    shown = f"<code>{shown}</code>" if "code" in cell.marks else shown
    shown = f"<b>{shown}</b>" if "best" in cell.marks else f"<u>{shown}</u>" if "second" in cell.marks else shown
    return shown + _signs(cell)
