"""Tables of a model's depths: what each setting finds with so many of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.layer_grid import LayerGrid, layer_grids
from harness.analysis.settings import file_stem
from harness.base import formatting
from harness.evaluation.metric_registry import metric
from harness.report.table import Column
from harness.report.view import TableOptions, View

if TYPE_CHECKING:
    from harness.analysis.settings import Page


def layer_views(pages: Sequence[Page], options: TableOptions | None = None) -> list[View]:
    """Return for each collection and model that was measured at several depths the table of its settings.

    Parameters
    ----------
    pages : sequence of Page
    options : TableOptions or None
    """
    options = options or TableOptions()
    return [_view(found, options) for found in layer_grids(pages)]


def _view(found: LayerGrid, options: TableOptions) -> View:
    raw = found.values.T.rename_axis("setting").reset_index()
    raw.insert(1, "bytes_per_vector", list(found.nbytes))
    columns = [Column("setting", "setting"), Column("bytes_per_vector", "bytes/vector", 1)]
    columns += [Column(depth, _words(depth), options.decimals + 1) for depth in found.values.index]
    notes = [f"{metric(found.quality).label} with the first so many layers of the model (model.layers)."]
    if found.left_out:
        notes.append(
            f"{formatting.count(found.left_out, 'setting')} more left out, which were measured at the fewest depths."
        )
    title = f"{found.collection} · {found.model}: layers"
    return View(columns, raw, {}, stem_of(found), title, notes, [False] * len(raw))


def _words(depth: str) -> str:
    return formatting.count(int(depth), "layer") if depth.isdecimal() else f"{depth} layers"


def stem_of(found: LayerGrid) -> str:
    """Return the name of a grid's files."""
    return file_stem(f"layers · {found.collection} · {found.model}", set())
