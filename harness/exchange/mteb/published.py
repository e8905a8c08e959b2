"""Our float32 figures beside those that MTEB has published: does a model here do what it does there?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.base.errors import StoreError
from harness.evaluation.reference import REFERENCE
from harness.exchange.mteb.export import EXPERIMENTS
from harness.exchange.mteb.naming import NotInMtebError, model_of, mteb_package, task_of
from harness.runs.distinct_names import identity_columns, marked
from harness.runs.record import Record

TOLERANCE = 1e-3
"""MTEB's runs differ by less among machines; prompts, text fields and cut-off lengths change more."""

HEADLINE = REFERENCE.judged_metric


@dataclass(frozen=True)
class Baseline:
    """One published figure beside ours.

    Attributes
    ----------
    model, dataset : str
        As our tables call them.
    task, split, subset, revision : str
        What was published, and for which revision of the model ("" where the file does not say).
    ours, published : mapping of metric to float
        The metrics that both have.
    path : Path
    """

    model: str
    dataset: str
    task: str
    split: str
    subset: str
    revision: str
    ours: Mapping[str, float]
    published: Mapping[str, float]
    path: Path

    @property
    def differences(self) -> dict[str, float]:
        """Ours less the published figure, metric by metric."""
        return {name: self.ours[name] - self.published[name] for name in self.ours}

    def off(self, tolerance: float = TOLERANCE) -> dict[str, float]:
        """Return the differences that are larger than the tolerance."""
        return {name: value for name, value in self.differences.items() if abs(value) > tolerance}


@dataclass(frozen=True)
class _Published:
    """A published result: a `mteb.TaskResult`, the model ("" if it is not said) and its revision, and the file."""

    result: Any
    model: str
    revision: str
    path: Path


@dataclass(frozen=True)
class _Float32:
    """Our own float32 figures of a model on a task."""

    model: str
    hub_name: str
    dataset: str
    task: str
    split: str
    subset: str
    metrics: Mapping[str, float]
    ids: Mapping[str, str]


def compare_published(
    records: Iterable[Record],
    path: Path,
    *,
    tasks: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
) -> tuple[list[Baseline], list[str]]:
    """Compare the float32 figures on record with published ones.

    Parameters
    ----------
    records : iterable of Record
        See `harness.runs.store.Store.records`; every record holds the figures of its float32 vectors.
    path : Path
        A result of MTEB's, or a folder of such (a copy of MTEB's results repository, or a cache of `mteb`). Results
        under experiments/ are none of the model itself and left out.
    tasks, models : mapping of str to str, or None
        See `harness.exchange.mteb.naming.task_of` and `model_of`. Names are compared without regard to capitals.

    Returns
    -------
    baselines : list of Baseline
    without : list of str
        "model on dataset" of what has no published figure there.

    Raises
    ------
    StoreError
        If the path does not exist, a file is no task result, or a lone file does not say which of several models it
        is of.
    MissingExtraError
        Without the package mteb.
    """
    wanted = _told_apart(_float32_figures(records, tasks or {}, models or {}))
    if not wanted:
        raise StoreError("no run on record has judgements, so there is no float32 figure to compare")
    found = _read(path, {item.task.casefold() for item in wanted})
    if any(not item.model for item in found) and len({item.model for item in wanted}) > 1:
        raise StoreError(
            f"{path} does not say of which model it is, and there are several on record; put it in MTEB's layout, "
            "MODEL/REVISION/TASK.json"
        )
    baselines, without = [], []
    for ours in wanted:
        matching = [baseline for item in found if (baseline := _beside(ours, item)) is not None]
        baselines += matching
        if not matching:
            without.append(f"{ours.model} on {ours.dataset}")
    return baselines, without


def _float32_figures(
    records: Iterable[Record], tasks: Mapping[str, str], models: Mapping[str, str]
) -> Iterable[_Float32]:
    """Yield each model's figures on each collection once."""
    seen = set()
    for record in records:
        key = (record.model.name, json.dumps(record.identity.model), record.identity.dataset)
        if not record.ok or HEADLINE not in record.float32 or key in seen:
            continue
        try:
            task = task_of(record, tasks)
        except NotInMtebError:
            continue
        seen.add(key)
        yield _Float32(
            model=record.model.name,
            hub_name=model_of(record, models)[0],
            dataset=record.dataset.name,
            task=task.name,
            split=task.split,
            subset=task.subset,
            metrics=record.float32,
            ids=identity_columns(record),
        )


def _told_apart(found: Iterable[_Float32]) -> list[_Float32]:
    """Return figures whose models and datasets have names of their own."""
    items = list(found)
    ids = [item.ids for item in items]
    datasets, models = [item.dataset for item in items], [item.model for item in items]
    datasets = marked(datasets, [of["dataset_id"] for of in ids], datasets)
    models = marked(models, [of["weights_id"] for of in ids], models)
    models = marked(models, [of["model_id"] for of in ids], zip(models, datasets, strict=True))
    return [replace(item, dataset=name, model=by) for item, name, by in zip(items, datasets, models, strict=True)]


def _beside(ours: _Float32, item: _Published) -> Baseline | None:
    if item.result.task_name.casefold() != ours.task.casefold():
        return None
    if item.model and item.model.casefold() != ours.hub_name.casefold():
        return None
    scores = next((s for s in item.result.scores.get(ours.split, []) if s["hf_subset"] == ours.subset), None)
    if scores is None:
        return None
    shared = [name for name in ours.metrics if isinstance(scores.get(name), int | float)]
    if not shared:
        return None
    return Baseline(
        model=ours.model,
        dataset=ours.dataset,
        task=item.result.task_name,
        split=ours.split,
        subset=ours.subset,
        revision=item.revision,
        ours={name: float(ours.metrics[name]) for name in shared},
        published={name: float(scores[name]) for name in shared},
        path=item.path,
    )


def _read(path: Path, tasks: set[str]) -> list[_Published]:
    """Read one file, or those of a folder that are named for one of the tasks."""
    if path.is_file():
        return [_published(path)]
    if not path.is_dir():
        raise StoreError(f"there is no file or folder {path}")
    found = []
    for folder, below, files in os.walk(path):
        below[:] = sorted(name for name in below if name != EXPERIMENTS and not name.startswith("."))
        found += [
            _published(Path(folder) / name)
            for name in sorted(files)
            if name.endswith(".json") and name.removesuffix(".json").casefold() in tasks
        ]
    return found


def _published(path: Path) -> _Published:
    mteb_package("reading its results")
    from mteb.results import TaskResult

    try:
        result = TaskResult.from_disk(path)
        model, revision = _model_of_file(path)
    except Exception as error:  # of pydantic, of json, or of the conversion of results before mteb 1.11
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StoreError(f"{path} is no task result of MTEB: {reason}") from error
    return _Published(result, model, revision, path)


def _model_of_file(path: Path) -> tuple[str, str]:
    """Return the model and revision that the file beside a result names, or else the folders it lies in."""
    beside = path.parent / "model_meta.json"
    if beside.is_file():
        meta = json.loads(beside.read_text(encoding="utf-8"))
        return str(meta["name"]), str(meta.get("revision") or "")
    organisation, separator, name = path.absolute().parent.parent.name.partition("__")
    return (f"{organisation}/{name}", path.absolute().parent.name) if separator else ("", "")


def published_text(baselines: Iterable[Baseline], without: Iterable[str], tolerance: float = TOLERANCE) -> str:
    """Return the comparison in words, a line for each figure; what differs is said in capitals."""
    lines = [_line(baseline, tolerance) for baseline in baselines]
    lines += [f"{name}: nothing published there" for name in without]
    return "\n".join(lines) + "\n"


def _line(baseline: Baseline, tolerance: float) -> str:
    off, differences = baseline.off(tolerance), baseline.differences
    headline = HEADLINE if HEADLINE in differences else next(iter(differences))
    revision = f" (revision {baseline.revision[:12]})" if baseline.revision else ""
    start = (
        f"{baseline.model} on {baseline.dataset}: float32 {headline} {baseline.ours[headline]:.5f}, published "
        f"{baseline.published[headline]:.5f}{revision}"
    )
    if not off:
        largest = max(abs(value) for value in differences.values())
        return f"{start}: agrees, {len(differences)} metrics within {max(largest, 1e-6):.0e}"
    named = ", ".join(f"{name} by {value:+.4f}" for name, value in off.items())
    return (
        f"{start}: DIFFERS in {named}; compare the prompts, the tokens read, the text fields and the revisions of "
        "model and data"
    )
