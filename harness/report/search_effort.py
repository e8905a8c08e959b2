"""Lists and graphs: bytes of each part, what is found and how fast, by search effort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.search_effort import SLACK, Choice, Searched, choices, surface
from harness.base import formatting
from harness.report.markdown import cell
from harness.report.page import provenance
from harness.report.table import Table, bold, numbers, words

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page

BUDGETS = (32, 64, 96, 128, 192, 256, 512, 1024, 2048)
"""Bytes a document in all, for which a choice is named."""


def frame(points: Sequence[Searched]) -> pd.DataFrame:
    """Return the points with all their figures, one row each."""
    import pandas as pd

    rows = [{**vars(one), "total_bytes": one.total_bytes} for one in points]
    return pd.DataFrame(rows).assign(on_surface=surface(points))


def markdown(page: Page, points: Sequence[Searched], figure: str, command: str) -> str:
    """Return the page of a collection's lists and graphs; `figure` is the name of its plot."""
    budgets = [budget for budget in BUDGETS if budget <= 2 * max(one.total_bytes for one in points)]
    found = choices(points, budgets)
    blocks = [
        f"# Lists and graphs: {cell(page.title)}",
        f"{page.size}. Bytes are those of the files, for each document of this corpus. Found is the mean share of "
        "float32's ten best documents; the codes' loss is what an exhaustive search of the same codes would have found "
        "less, and the structure's what lists or graph lost of that. Queries a second are of one thread that is given "
        "all queries at once, in its own processor time.",
        "## Under so many bytes in all, take this",
        _choices(found),
        f"Fastest: of all that find at most {SLACK:g} less. Chosen on these queries.",
        f"![What is found, against speed, at like bytes]({figure})",
        "## Every setting and effort",
        _points(points),
        "Bold: no other has as few bytes, finds as much and is as fast (the Pareto surface of three objectives). "
        "Shared: centroids, codebooks and headers, over the documents of this corpus. A flat code's speed is that of "
        "an exhaustive search in the run of a structure over the same codes. Codes are scored as they lie; where their "
        "bytes are neither whole numbers nor tables, a graph is walked over documents decoded in memory, and lists are "
        "decoded as they are read.",
        f"*{provenance(page.runs, command)}*",
    ]
    return "\n\n".join(blocks) + "\n"


def _choices(found: Sequence[Choice]) -> str:
    columns = [
        numbers("bytes in all", lambda choice: choice.budget, 0),
        words("finds most", lambda choice: f"{choice.best.setting}, {choice.best.effort}"),
        numbers("bytes", lambda choice: choice.best.total_bytes, 1),
        numbers("found, %", lambda choice: choice.best.found, 1, 100.0),
        numbers("queries/s", lambda choice: choice.best.queries_per_second, _rate),
        words("fastest", lambda choice: f"{choice.fastest.setting}, {choice.fastest.effort}"),
        numbers("found, % ", lambda choice: choice.fastest.found, 1, 100.0),
        numbers("queries/s ", lambda choice: choice.fastest.queries_per_second, _rate),
    ]
    return Table(columns, list(found)).markdown()


def _points(points: Sequence[Searched]) -> str:
    best = dict(zip(map(id, points), surface(points), strict=True))
    ordered = sorted(points, key=lambda one: (one.total_bytes, one.setting, one.visited))
    columns = [
        words("setting", lambda one: bold(one.setting, best[id(one)])),
        words("structure", lambda one: one.structure),
        numbers("codes", lambda one: one.code_bytes, 1),
        numbers("ids, links", lambda one: one.structure_bytes, 1),
        numbers("shared", lambda one: one.shared_bytes, 1),
        numbers("bytes in all", lambda one: one.total_bytes, 1),
        words("effort", lambda one: one.effort),
        numbers("found, %", lambda one: f"{100 * one.found:.1f} ± {196 * one.found_error:.1f}"),
        numbers("codes lost", lambda one: 1 - one.codes_find, 1, 100.0),
        numbers("structure lost", lambda one: 1 - one.of_codes, 1, 100.0),
        numbers("nDCG@10", lambda one: one.quality, 3),
        numbers("scored", lambda one: one.visited, 0),
        numbers("queries/s", lambda one: one.queries_per_second, _rate),
    ]
    return Table(columns, ordered).markdown()


def _rate(value: float) -> str:
    return formatting.UNKNOWN if not np.isfinite(value) else f"{float(f'{value:.2g}'):,.0f}"
