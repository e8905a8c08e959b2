"""A heat map of depths and settings: what a model that runs fewer layers loses, at each size of its vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.layer_grid import LayerGrid
from harness.base.formatting import number
from harness.evaluation.metric_registry import metric
from harness.report.figures.style import new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_layers(found: LayerGrid) -> Figure:
    """Draw what each setting finds at each depth, most bytes on the left and the deepest on top.

    Parameters
    ----------
    found : LayerGrid
    """
    values = found.values.to_numpy(dtype=float)
    depths, count = values.shape
    with style():
        figure = new_figure(max(5.0, 2.2 + 0.62 * count), 2.6 + 0.34 * depths)
        axes = figure.add_subplot()
        shown = axes.imshow(np.ma.masked_invalid(values), aspect="auto", cmap="viridis")
        names = [f"{name} · {number(size, 0)} B" for name, size in zip(found.values, found.nbytes, strict=True)]
        axes.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(depths), list(found.values.index))
        axes.grid(visible=False)
        middle = (np.nanmin(values) + np.nanmax(values)) / 2
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                shade = "black" if value > middle else "white"
                axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=8, color=shade)
        axes.set_ylabel("layers that are run")
        figure.colorbar(shown, ax=axes, label=metric(found.quality).label)
        title = f"{found.collection} · {found.model}: layers and what is stored"
        figure.suptitle(title, fontsize=12, fontweight="bold", ha="left", x=0.02)
    return figure
