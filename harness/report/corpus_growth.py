"""Quality against the number of documents, as a page of tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.corpus_growth import Growth, GrowthPage, growth_pages
from harness.analysis.settings import file_stem
from harness.base.files import whole, writing
from harness.evaluation.metric_registry import metric
from harness.report.figures import style
from harness.report.figures.corpus_growth import draw_corpus_growth
from harness.report.markdown import cell
from harness.report.page import provenance
from harness.report.table import Column, Table, numbers, words

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd


def write_growth(frame: pd.DataFrame, out: Path, per_query: Callable[[str], pd.DataFrame], command: str) -> list[Path]:
    """Write a page, a table and a plot for each collection and model of which subsets were searched.

    Parameters
    ----------
    frame : DataFrame
        Of `harness.runs.frame.load_runs` with `subsets`.
    out : Path
        The report's folder, made if need be.
    per_query : callable
        Returns the queries' scores of a run id.
    command : str
        What the pages name as the command that wrote them.
    """
    written: list[Path] = []
    taken: set[str] = set()
    for page in growth_pages(frame, per_query):
        stem = f"corpus-size--{file_stem(page.title, taken)}"
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            written += style.save(draw_corpus_growth(page), out / stem)
            for ending, text in ((".md", markdown(page, f"{stem}.png", command)), (".csv", csv(page))):
                with whole(out / f"{stem}{ending}") as draft:
                    draft.write_text(text, encoding="utf-8")
                written.append(out / f"{stem}{ending}")
    return written


def csv(page: GrowthPage) -> str:
    """Return a row for each setting and number of documents, searched or beyond."""
    import pandas as pd

    rows = []
    for one in page.curves:
        for extrapolated, sizes, scores, lost in (
            (False, one.sizes, one.score, one.lost),
            (True, one.beyond, one.score_beyond, one.lost_beyond),
        ):
            for place, size in enumerate(sizes):
                row = {"setting": one.setting, "bytes_per_vector": one.bytes_per_vector, "documents": int(size)}
                row |= {"extrapolated": extrapolated, "metric": page.metric}
                row |= dict(zip(("score", "score_low", "score_high"), scores[place], strict=True))
                if lost:
                    row |= dict(zip(("lost", "lost_low", "lost_high"), lost[place], strict=True))
                if not extrapolated:
                    row |= {"subsets": one.draws[place], "spread_over_subsets": one.spread[place]}
                rows.append(row)
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.10g")


def markdown(page: GrowthPage, figure: str, command: str) -> str:
    """Return the page; `figure` is the name of its plot."""
    label = metric(page.metric).label
    blocks = [
        f"# Quality against corpus size: {cell(page.title)}",
        f"Subsets hold every judged document, and others drawn at random, nested under each seed. Figures are means of "
        f"{label} over queries and over the subsets of a size, with half of the 95 % interval over queries.",
        f"![{label} against the number of documents]({figure})",
        f"## {label}",
        _table(page, lost=False),
    ]
    if any(one.lost for one in page.curves):
        blocks += [
            f"## Lost against float32 on the same subset ({label})",
            _table(page, lost=True),
            "Paired by query: an interval that leaves out 0 is a loss; whether it grows along a row is the question.",
        ]
    if any(one.beyond for one in page.curves):
        blocks.append(
            "Columns with ≈ are *extrapolated*: a straight line over the logarithm of the number of documents, fitted "
            "to the sizes that were searched. Nothing was searched there; the interval is that of the line, over "
            "queries, and does not cover that scores may leave it."
        )
    blocks += [
        f"*{provenance(page.runs, command)}*",
    ]
    return "\n\n".join(blocks) + "\n"


def _table(page: GrowthPage, lost: bool) -> str:
    curves = [one for one in page.curves if one.lost or not lost]
    sizes = sorted({size for one in curves for size in one.sizes})
    beyond = sorted({size for one in curves for size in one.beyond})
    columns: list[Column] = [
        words("setting", lambda one: one.setting),
        numbers("bytes", lambda one: one.bytes_per_vector, 1),
        *(numbers(f"{size:,}", _reader(size, lost, False)) for size in sizes),
        *(numbers(f"≈ {size:,.0f}", _reader(size, lost, True)) for size in beyond),
    ]
    return Table(columns, sorted(curves, key=lambda one: -one.bytes_per_vector)).markdown()


def _reader(size: float, lost: bool, extrapolated: bool) -> Callable[[Growth], str]:
    """Return what takes a figure with half of its interval from a curve; "" where it has none at a size."""

    def figure(one: Growth) -> str:
        sizes = one.beyond if extrapolated else one.sizes
        values = (one.lost_beyond if lost else one.score_beyond) if extrapolated else (one.lost if lost else one.score)
        if size not in sizes:
            return ""
        mean, low, high = values[sizes.index(size)]
        return f"{mean:.3f} ± {(high - low) / 2:.3f}"

    return figure
