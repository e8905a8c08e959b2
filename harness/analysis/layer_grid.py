"""A model cut after several of its layers: what each setting finds at each depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis import pareto
from harness.analysis.settings import Page, setting_name

if TYPE_CHECKING:
    import pandas as pd

OPTION = "layers="
"""What the label of a model that was cut has of it, see `model.layers`."""

MOST_SETTINGS = 24
"""Beside one another; of more, those that were measured at the most depths."""


@dataclass(frozen=True, eq=False)
class LayerGrid:
    """What settings find at each depth of a model.

    Attributes
    ----------
    collection, model : str
    quality : str
        The metric's column.
    values : DataFrame
        Quality (l, s), NaN where a setting was not measured at a depth. A row a depth, deepest first, by what tables
        call it; a column a setting, most bytes first.
    nbytes : sequence of float
        Of each setting, bytes a document.
    left_out : int
        Settings beyond `MOST_SETTINGS`.
    """

    collection: str
    model: str
    quality: str
    values: pd.DataFrame
    nbytes: Sequence[float]
    left_out: int = 0


def layer_grids(pages: Sequence[Page]) -> list[LayerGrid]:
    """Return a grid for each collection and model that was measured at several depths.

    Parameters
    ----------
    pages : sequence of Page
    """
    groups: dict[tuple[str, str, str], list[Page]] = {}
    for page in pages:
        if len(page.settings):
            first = page.settings.iloc[0]
            groups.setdefault((str(first["dataset"]), _split(str(first["model"]))[0], page.quality), []).append(page)
    return [_grid(*key, own) for key, own in groups.items() if len({_depth(page) for page in own}) > 1]


def _grid(collection: str, model: str, quality: str, pages: Sequence[Page]) -> LayerGrid:
    import pandas as pd

    cells: dict[str, dict[int | None, float]] = {}
    nbytes: dict[str, float] = {}
    for page in pages:
        for _, row in page.settings.iterrows():
            name = setting_name(row)
            cells.setdefault(name, {})[_depth(page)] = float(row[quality])
            nbytes[name] = max(nbytes.get(name, 0.0), float(row[pareto.COST]))
    chosen = sorted(cells, key=lambda name: -len(cells[name]))[:MOST_SETTINGS]
    chosen.sort(key=lambda name: (-nbytes[name], name))
    # a model that was not cut has all layers, however many these are
    depths = sorted({_depth(page) for page in pages}, key=lambda depth: (depth is not None, -(depth or 0)))
    rows = [[cells[name].get(depth, float("nan")) for name in chosen] for depth in depths]
    words = ["all" if depth is None else str(depth) for depth in depths]
    values = pd.DataFrame(rows, index=words, columns=chosen)
    return LayerGrid(collection, model, quality, values, [nbytes[name] for name in chosen], len(cells) - len(chosen))


def _depth(page: Page) -> int | None:
    return _split(str(page.settings.iloc[0]["model"]))[1]


def _split(label: str) -> tuple[str, int | None]:
    """Return a model's label without its depth, and the depth; None where it was not cut."""
    words = label.split(" ")
    depths = [word.removeprefix(OPTION) for word in words if word.startswith(OPTION)]
    if len(depths) != 1 or not depths[0].isdecimal():
        return label, None
    return " ".join(word for word in words if not word.startswith(OPTION)), int(depths[0])
