"""The `inspect` command: the diagnostics of a model's vectors of a dataset, printed and written."""

from __future__ import annotations

import io
import json
import logging
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from harness.base import formatting
from harness.base.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.analysis.diagnostics import Diagnosis

from harness.analysis.inspection import LABELS, SIZES, InspectConfig, Inspected, Inspection, inspect
from harness.report.table import Table, numbers, words

log = logging.getLogger(__name__)

ConfigStore.instance().store(name="inspect_schema", node=InspectConfig)


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="inspect")
def main(cfg: DictConfig) -> None:
    """Inspect what Hydra composed: print the tables, and write the files that `out` asks for."""
    overrides = list(HydraConfig.get().overrides.task)
    found = inspect(cfg, shlex.join(["vecbudget", "inspect", *overrides]))
    written = [] if cfg.out is None else write(found, Path(cfg.out).expanduser())
    sys.stdout.write(text(found))
    sys.stdout.writelines(f"{path}\n" for path in written)


def text(found: Inspection) -> str:
    """Return the page for a terminal."""
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(
        file=io.StringIO(),
        width=max(110, shutil.get_terminal_size((140, 24)).columns),
        color_system=None,
        highlight=False,
        markup=False,
    )
    console.print(_title(found))
    console.print(_size(found))
    for table in _tables(found):
        shown = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
        for place, column in enumerate(table.columns):
            explains = bool(place) and not column.is_right
            shown.add_column(column.label, justify="right" if column.is_right else "left", no_wrap=not explains)
        for row in table.cells:
            shown.add_row(*(cell.text for cell in row))
        console.print()
        console.print(shown)
    for line in _notes(found):
        console.print()
        console.print(line)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def markdown(found: Inspection) -> str:
    """Return the page in markdown."""
    from harness.report.markdown import cell

    parts = [f"# {cell(_title(found))}", f"{_size(found)} Written by `{found.command}`.", "![diagnostics](inspect.png)"]
    return "\n\n".join([*parts, *(table.markdown() for table in _tables(found)), *map(cell, _notes(found))]) + "\n"


def as_json(found: Inspection) -> dict[str, Any]:
    """Return all figures, spectra and curves; what is not a number is None."""
    return {
        "dataset": found.dataset,
        "n_docs": found.n_docs,
        "n_queries": found.n_queries,
        "command": found.command,
        "sets": [
            {
                "model": one.model,
                "mean_length": _finite(one.mean_length),
                "documents": _diagnosis_json(one.documents),
                "queries": _diagnosis_json(one.queries),
            }
            for one in found.sets
        ],
        "warnings": found.warnings,
        "agreement": {name: _finite(value) for name, value in found.agreement.items()},
    }


def write(found: Inspection, out: Path) -> list[Path]:
    """Write the page, the figures and the plots to a folder, made if need be; return their paths.

    Raises
    ------
    ConfigError
        If the folder cannot be written.
    """
    from harness.report.figures import style

    try:
        out.mkdir(parents=True, exist_ok=True)
        page, figures = out / "inspect.md", out / "inspect.json"
        page.write_text(markdown(found), encoding="utf-8", newline="\n")
        content = json.dumps(as_json(found), indent=1, ensure_ascii=False, allow_nan=False)
        figures.write_text(content + "\n", encoding="utf-8", newline="\n")
        return [page, figures, *style.save(draw(found), out / "inspect")]
    except OSError as error:
        raise ConfigError(f"out: {out} cannot be written ({error.strerror or error}); choose another folder") from error


def draw(found: Inspection) -> Figure:
    """Draw spectrum, rate-distortion curve, 10-occurrence and the moments of dimensions."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    from harness.report.figures import style

    with style.style():
        figure = Figure(figsize=(style.WIDTH, style.TALL), layout="constrained")
        figure.suptitle(_title(found), x=0.01, ha="left", fontsize=11)
        panels = figure.subplots(2, 2).ravel()
        for panel, (title, x, y) in zip(
            panels,
            (
                ("Spectrum", "direction", "share of the power"),
                ("Rate-distortion bound, Gaussian", "bytes per vector", "error / power, dB"),
                ("10-occurrence of documents", "in so many top tens", "share of documents"),
                ("Dimensions of documents", "|mean| / RMS of a dimension", "variance / mean variance"),
            ),
            strict=True,
        ):
            panel.set_title(title)
            panel.set_xlabel(x)
            panel.set_ylabel(y)
        for place, one in enumerate(found.sets):
            for role, line in (("documents", "-"), ("queries", "--")):
                name = role if len(found.sets) == 1 else f"{one.model}, {role}"
                colour = style.COLOURS[place if len(found.sets) > 1 else int(role == "queries")]
                _draw_set(panels, getattr(one, role), name, colour, line)
            _draw_dimensions(panels[3], one, style.COLOURS[place], one.model if len(found.sets) > 1 else "dimension")
        panels[0].set_xscale("log")
        panels[0].set_yscale("log")
        panels[2].set_xscale("symlog", linthresh=1)
        panels[2].set_yscale("log")
        for axis in (panels[0].xaxis, panels[0].yaxis, panels[2].xaxis, panels[2].yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
        for panel in panels:
            panel.legend()
    return figure


def _draw_set(panels: Sequence[Axes], one: Diagnosis, name: str, colour: str, line: str) -> None:
    shares = one.spectrum[one.spectrum > 0] / one.spectrum.sum()
    look: dict[str, Any] = {"color": colour, "linestyle": line, "linewidth": 1.4, "label": name}
    panels[0].plot(np.arange(1, len(shares) + 1), shares, **look)
    sizes = np.linspace(0, one.dim, 65)
    panels[1].plot(sizes, [10 * np.log10(max(one.distortion_share(size), 1e-12)) for size in sizes], **look)
    counts = np.bincount(one.occurrences) / len(one.occurrences)
    seen = np.flatnonzero(counts)
    panels[2].plot(seen, counts[seen], **{**look, "linestyle": "none", "marker": "o" if line == "-" else "x"}, ms=3.5)


def _draw_dimensions(panel: Axes, one: Inspected, colour: str, name: str) -> None:
    from harness.report.figures import style

    documents = one.documents
    alive = np.isfinite(documents.kurtosis)
    x = np.abs(documents.mean) / np.sqrt(np.where(alive, documents.mean**2 + documents.variance, 1.0))
    y = documents.variance / documents.variance[alive].mean() if alive.any() else documents.variance
    panel.plot(x[alive], y[alive], "o", color=colour, ms=3, alpha=0.5, mew=0, label=name)
    if len(documents.outliers):
        where = documents.outliers[alive[documents.outliers]]
        panel.plot(x[where], y[where], "o", mfc="none", mec=style.INK, ms=8, label="outlier")


def _title(found: Inspection) -> str:
    return f"{found.dataset} · {' and '.join(one.model for one in found.sets)}"


def _size(found: Inspection) -> str:
    dims = " and ".join(dict.fromkeys(str(one.documents.dim) for one in found.sets))
    size = f"{found.n_docs:,} documents and {found.n_queries:,} queries of {dims} dimensions."
    return f"{size} {found.sampling}".strip()


def _tables(found: Inspection) -> list[Table]:
    """Return the tables; a last column without a name explains the row."""
    sets = {
        role if len(found.sets) == 1 else f"{one.model} {role}": getattr(one, role)
        for one in found.sets
        for role in ("documents", "queries")
    }
    sizes = [size for size in SIZES if size <= max(one.dim for one in sets.values())]

    def figure(one: Diagnosis) -> Callable[[tuple[str, tuple[str, str]]], float]:
        return lambda row: one.figures[row[0]]

    def error(one: Diagnosis) -> Callable[[int], float]:
        return lambda size: one.distortion_share(size) if size <= one.dim else np.nan

    columns = [words("", lambda row: row[1][0])]
    columns += [numbers(name, figure(one), formatting.plain) for name, one in sets.items()]
    columns.append(words("", lambda row: row[1][1]))
    curve = [words("bytes per vector", str)]
    curve += [numbers(name, error(one), formatting.small_percent) for name, one in sets.items()]
    meaning = "mean squared error over power of the best code, were the set Gaussian"
    curve.append(words("", lambda size: meaning if size == sizes[0] else ""))
    tables = [Table(columns, LABELS.items()), Table(curve, sizes)]
    if found.agreement:
        labels = {
            "linear_cka": ("linear CKA", "1: the same up to rotation and scale"),
            "linear_cka_unbiased": ("linear CKA, unbiased", "0: unrelated"),
            "neighbour_overlap_at_10": ("overlap of the 10 nearest", "share of each document's neighbours in common"),
        }
        columns = [
            words("", lambda row: labels[row[0]][0]),
            numbers("documents of both", 1, formatting.plain),
            words("", lambda row: labels[row[0]][1]),
        ]
        tables.append(Table(columns, found.agreement.items()))
    return tables


def _notes(found: Inspection) -> list[str]:
    notes = [f"Warning: {warning}" for warning in found.warnings]
    for one in found.sets:
        for role in ("documents", "queries"):
            diagnosis: Diagnosis = getattr(one, role)
            if not len(diagnosis.outliers):
                continue
            size = np.abs(diagnosis.mean) + np.sqrt(diagnosis.variance)
            strongest = sorted(diagnosis.outliers, key=lambda d, size=size: -size[d])[:5]  # type: ignore[misc]
            listed = "; ".join(
                f"{d} (mean {diagnosis.mean[d]:.3g}, SD {np.sqrt(diagnosis.variance[d]):.3g})" for d in strongest
            )
            more = "" if len(diagnosis.outliers) <= len(strongest) else ", the strongest first"
            notes.append(f"Outlier dimensions of {one.model}'s {role}{more}: {listed}.")
    small = [
        f"{name}" for name in ("documents", "queries") if getattr(found.sets[0], name).n < found.sets[0].documents.dim
    ]
    if small:
        notes.append(f"There are fewer {' and '.join(small)} than dimensions: rank and spectrum are bounded by that.")
    notes.append("Intrinsic dimension and hubness depend on the number of rows: compare sets of about one size.")
    return notes


def _diagnosis_json(one: Diagnosis) -> dict[str, Any]:
    return {
        "n": one.n,
        "dim": one.dim,
        "figures": {name: _finite(value) for name, value in one.figures.items()},
        "outlier_dimensions": one.outliers.tolist(),
        "spectrum": one.spectrum.tolist(),
        "rate_distortion": {str(size): _finite(one.distortion_share(size)) for size in SIZES if size <= one.dim},
        "mean": one.mean.tolist(),
        "variance": one.variance.tolist(),
        "kurtosis": [_finite(float(value)) for value in one.kurtosis],
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
