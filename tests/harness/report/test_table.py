"""One declaration of a table gives the same cells in every format."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from harness.report.latex import escape
from harness.report.markdown import cell
from harness.report.page import page_markdown
from harness.report.table import Column, Table, bold, code, linked, numbers, words
from harness.report.view import View

ROWS = [
    {"method": "pq m=48", "bytes": 48.5, "kept": 0.9712, "run": "a_b|c"},
    {"method": "<b>svd_binary</b>", "bytes": 1536.0, "kept": float("nan"), "run": "50 % & more"},
]


def table(rows: object = ROWS, **more: object) -> Table:
    columns = [
        words("method", lambda row: bold(row["method"], row["bytes"] < 100)),
        numbers("bytes/vector", "bytes", "{:,.1f}".format),
        numbers("% kept", "kept", 1, 100),
        words("run_id", "run"),
    ]
    return Table(columns, rows, **more)  # type: ignore[arg-type]


EXPECTED = [["pq m=48", "48.5", "97.1", "a_b|c"], ["<b>svd_binary</b>", "1,536.0", "–", "50 % & more"]]
HEADINGS = ["method", "bytes/vector", "% kept", "run_id"]


class _Cells(HTMLParser):
    """Collects the text of cells, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.rows[-1][-1] += data


def test_the_same_cells_as_markdown_html_and_latex() -> None:
    shown = table()
    assert [[one.text for one in row] for row in shown.cells] == EXPECTED

    header, rule, *lines = shown.markdown().split("\n")
    assert header == r"| method | bytes/vector | % kept | run\_id |" and rule == "| --- | ---: | ---: | --- |"
    marked = [[cell(EXPECTED[0][0]), *EXPECTED[0][1:3]], [cell(EXPECTED[1][0]), *EXPECTED[1][1:3]]]
    marked[0][0] = f"**{marked[0][0]}**"
    expected = [[*row, cell(texts[3])] for row, texts in zip(marked, EXPECTED, strict=True)]
    assert lines == ["| " + " | ".join(row) + " |" for row in expected]

    parser = _Cells()
    parser.feed(shown.html())
    assert parser.rows == [HEADINGS, *EXPECTED]
    assert "<b>pq m=48</b>" in shown.html() and shown.html().count("class='number'") == 6

    body = shown.latex().split("\\midrule\n")[1].split("\\bottomrule")[0]
    found = [re.sub(r"\\textbf\{(.*?)\}", r"\1", line).removesuffix(r" \\") for line in body.strip().split("\n")]
    wanted = [" & ".join([escape(a), escape(b), "{--}" if c == "–" else c, escape(d)]) for a, b, c, d in EXPECTED]
    assert found == wanted and r"\textbf{pq m=48}" in body


def test_csv_and_parquet_hold_the_values_that_the_cells_are_made_from(tmp_path: Path) -> None:
    shown = table()
    shown.parquet(tmp_path / "t.parquet")
    for frame in (pd.read_csv(io.StringIO(shown.csv())), pd.read_parquet(tmp_path / "t.parquet")):
        assert frame.columns.tolist() == ["method", "bytes", "kept", "run"]
        assert frame["method"].tolist() == [row[0] for row in EXPECTED]
        values = frame.to_dict("records")
        again = [[column.text(row[column.key]) for column in shown.columns] for row in values]
        assert again == EXPECTED


def test_rows_may_be_a_frame_whose_other_columns_are_kept() -> None:
    frame = pd.DataFrame(ROWS).assign(seed=[1, 2])
    shown = table(frame)
    assert shown.markdown() == table().markdown() and shown.html() == table().html()
    assert shown.frame.columns.tolist() == ["method", "bytes", "kept", "run", "seed"]
    assert shown.text.to_numpy().tolist() == EXPECTED


def test_marks_stand_in_every_format() -> None:
    view = View(
        [Column("name", "name"), Column("score", "score", 2, ranked=True)],
        pd.DataFrame({"name": ["a", "b"], "score": [0.5, 0.25]}),
        {"score": [("best", "better"), ("second",)]},
        "t",
        "A title",
        ["A note."],
    )
    assert view.markdown(2).startswith("## A title\n\n| name | score |\n")
    assert "| a | **0.50**‡ |\n| b | <ins>0.25</ins> |\n\nA note.\n" in view.markdown()
    assert "<td class='number'><b>0.50</b>‡</td>" in view.html() and "<u>0.25</u>" in view.html()
    assert r"\bfseries 0.50" in view.latex() and r"\vbsecond{0.25}" in view.latex()
    assert view.csv() == 'name,score,score_mark\na,0.5,"best, better"\nb,0.25,second\n'


def test_links_and_code() -> None:
    rows = [linked(("a_b", "x.md"), ("CSV", "x.csv")), linked(), code("pq m=48 <x>")]
    shown = Table([words("what", lambda row: row)], rows)
    assert [row[0].text for row in shown.cells] == ["a_b, CSV", "–", "pq m=48 <x>"]
    assert shown.markdown().split("\n")[2:] == [r"| [a\_b](x.md), [CSV](x.csv) |", "| – |", "| `pq m=48 <x>` |"]
    assert '<a href="x.md">a_b</a>, <a href="x.csv">CSV</a>' in shown.html()
    assert (
        "<code>pq m=48 &lt;x&gt;</code>" in shown.html()
        and r"\texttt{pq m=48 \textless{}x\textgreater{}}" in shown.latex()
    )


def test_columns_of_one_name_are_told_apart() -> None:
    shown = Table([numbers("bytes", 0, 0), numbers("bytes", 1, 0)], [(1, 2)])
    assert shown.csv() == "bytes,bytes 2\n1,2\n" and shown.text.columns.tolist() == ["bytes", "bytes 2"]


@pytest.mark.parametrize("rows", [[], pd.DataFrame({"method": [], "bytes": [], "kept": [], "run": []})])
def test_a_table_without_rows_has_its_headings(rows: object) -> None:
    assert table(rows).markdown().count("\n") == 1
    assert table(rows).html().count("<th") == 5 and table(rows).frame.empty


def test_a_table_on_a_page_is_one_added_place() -> None:
    """What the docstring of the module says where tables are added names functions that there are."""
    import harness.report.table as module
    from harness.report.summary import summary_markdown
    from harness.report.views import all_views

    assert module.__doc__ is not None
    for function in (page_markdown, summary_markdown, all_views):
        assert f"`{function.__name__}` in `{function.__module__}`" in " ".join(module.__doc__.split())
