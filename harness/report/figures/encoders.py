"""Quality against the bytes of the model, a colour for what is stored of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.encoders import BUDGETS, Encoders
from harness.evaluation.metric_registry import metric
from harness.report.figures.style import COLOURS, MARKERS, QUIET, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_MODELS = 2


def can_draw_encoders(found: Encoders) -> bool:
    """Whether there are models of several sizes to compare."""
    return bool(found.models["model_bytes"].nunique() >= LEAST_MODELS)


def draw_encoders(found: Encoders) -> Figure:
    """Draw each model of a collection: its bytes, and its quality whole and within each budget.

    Parameters
    ----------
    found : Encoders
    """
    from matplotlib.ticker import FuncFormatter, NullLocator

    label, models = metric(found.quality).label, found.models
    megabytes = models["model_bytes"].to_numpy(dtype=float) / 1e6
    series = {"whole": "float32"} | {f"best_{budget}": f"best within {budget} bytes" for budget in reversed(BUDGETS)}
    with style():
        figure = new_figure(9.0, 5.2)
        axes = figure.add_subplot()
        for (column, name), colour, marker in zip(series.items(), COLOURS, MARKERS, strict=False):
            quality = models[column].to_numpy(dtype=float)
            if np.isfinite(quality).any():
                axes.plot(megabytes, quality, marker, color=colour, linestyle="none", markersize=6, label=name)
        highest = models[list(series)].max(axis="columns").to_numpy(dtype=float)
        for x, y, name in zip(megabytes, highest, models["model"], strict=True):
            if np.isfinite(y):
                axes.annotate(
                    str(name), (x, y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8, color=QUIET
                )
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.15, y=0.12)
        axes.set_xlabel("model, MB")
        axes.set_ylabel(label)
        title = f"{found.collection}: the model's bytes and its vectors'"
        figure.suptitle(title, fontsize=12, fontweight="bold", ha="left", x=0.02)
        axes.legend(loc="lower right")
    return figure
