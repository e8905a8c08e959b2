"""Records as MTEB's task results, in the folders where its `ResultCache` looks for them.

OUT/results/<organisation__model>/<revision>/experiments/<compression>/<Task>.json, with a model_meta.json beside it
whose `experiment_kwargs` are the compression (mteb 2.26, `mteb.cache.ResultCache.get_task_result_path`).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from harness.base.errors import StoreError
from harness.exchange.mteb.naming import (
    NotInMtebError,
    Task,
    compression_of,
    model_meta,
    model_of,
    mteb_package,
    task_of,
)
from harness.runs.distinct_names import identity_columns, marked
from harness.runs.record import Record

MODEL_META = "model_meta.json"
EXPERIMENTS = "experiments"
STORAGE = ("code_bytes_per_vector", "resident_bytes_per_vector", "disk_bytes_per_vector", "state_bytes", "index_bytes")


@dataclass
class Export:
    """What was written and what was not.

    Attributes
    ----------
    files : list of Path
        One for each task, model and compression.
    skipped : mapping of run id to str
        Why a record has no place there.
    shared_names : list of str
        Tasks that several collections are called, each now with the begin of its fingerprint.
    """

    files: list[Path] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    shared_names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """Where a record belongs: task, model ("organisation/name"), its revision, and what names the compression."""

    record: Record
    task: Task
    model: str
    revision: str
    experiment: Mapping[str, Any]

    @classmethod
    def of(cls, record: Record, tasks: Mapping[str, str], models: Mapping[str, str]) -> Self:
        """Find it; raises `NotInMtebError`."""
        if not record.ok:
            raise NotInMtebError("it failed")
        task = task_of(record, tasks)
        if task.main_score not in record.metrics:
            why = f"{task.name} is ranked by {task.main_score}, which is not measured"
            raise NotInMtebError(why if record.dataset.has_qrels else "its collection has no judgements")
        return cls(record, task, *model_of(record, models), compression_of(record))


@dataclass
class _Result:
    """What goes into one file: the records of a model and compression on the subsets and splits of a task."""

    meta: Any
    task: str
    places: dict[tuple[str, str], tuple[Task, Record]] = field(default_factory=dict)


def export(
    records: Iterable[Record],
    out: Path,
    *,
    tasks: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
) -> Export:
    """Write records as MTEB's task results.

    A file holds the means that the record holds, under MTEB's names where it has one (nDCG, recall, MAP and MRR at
    the cutoffs measured), the sizes of the index, and the run's id; nothing is computed anew, and cutoffs that were
    not measured are not there.

    Parameters
    ----------
    records : iterable of Record
        See `harness.runs.store.Store.records`. A run that comes twice is written once.
    out : Path
        Root of the cache: `mteb.ResultCache(out)` reads it. Files of an earlier export of these runs are replaced.
    tasks, models : mapping of str to str, or None
        See `harness.exchange.mteb.naming.task_of` and `model_of`.

    Raises
    ------
    StoreError
        If two runs would have the same place, or a run of an earlier export would lose its place or share a task's
        name with another collection; nothing is written then.
    MissingExtraError
        Without the package mteb.
    """
    from tqdm import tqdm

    cache_of = mteb_package("export to its format").ResultCache
    done = Export()
    found: list[_Place] = []
    for record in records:
        try:
            found.append(_Place.of(record, tasks or {}, models or {}))
        except NotInMtebError as error:
            done.skipped[record.run_id] = str(error)
    places = _told_apart(found)
    named = zip(found, places, strict=True)
    done.shared_names = sorted({before.task.name for before, after in named if before.task.name != after.task.name})
    results: dict[Path, _Result] = {}
    cache = cache_of(out)
    for place in tqdm(places, desc="export", disable=None):
        task, record = place.task, place.record
        meta = model_meta(place.model, place.revision, place.experiment, embed_dim=record.dim)
        path = cache.get_task_result_path(task.name, meta)
        result = results.setdefault(path, _Result(meta, task.name))
        other = result.places.setdefault((task.split, task.subset), (task, record))[1]
        same_folder = (result.meta.name, result.meta.experiment_kwargs) == (meta.name, meta.experiment_kwargs)
        if other.run_id != record.run_id or not same_folder:
            raise StoreError(
                f"runs {other.run_id} and {record.run_id} are both {_setting(record)} with "
                f"{record.model.name} on {task.name}, but of other content; export one of them at a time"
            )
    _refuse_strangers(out, results)
    for path, result in results.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_json(path.parent / MODEL_META, result.meta.to_dict())
        task_result(result.places.values()).to_disk(path)
        done.files.append(path)
    return done


def _told_apart(places: list[_Place]) -> list[_Place]:
    """Return places whose names stand for one thing each, as `with_distinct_names` does it for tables.

    What MTEB puts together is what has one task's name, or one model's with one compression's: a collection's mark
    goes to the task, a model's and a setting's to the compression.
    """
    ids = [identity_columns(place.record) for place in places]
    tasks = marked([place.task.name for place in places], _collections(places), _plain_names(places))
    plain = [name.casefold() for name in tasks]
    names = [place.model for place in places]
    settings = [str(place.experiment.get("model_settings", "")) for place in places]
    settings = marked(settings, [of["weights_id"] for of in ids], zip(names, settings, strict=True))
    settings = marked(settings, [of["model_id"] for of in ids], zip(names, settings, plain, strict=True))
    params = [str(place.experiment.get("params", "")) for place in places]
    others = [
        tuple(sorted((key, value) for key, value in place.experiment.items() if key not in ("model_settings", "seed")))
        for place in places
    ]
    params = marked(params, [of["method_id"] for of in ids], zip(names, settings, plain, others, strict=True))
    apart = []
    for place, task, model, setting in zip(places, tasks, settings, params, strict=True):
        experiment = {**place.experiment, "model_settings": model, "params": setting}
        kept = {key: value for key, value in experiment.items() if value != ""}
        apart.append(replace(place, task=replace(place.task, name=task), experiment=kept))
    return apart


def _plain_names(places: Iterable[_Place]) -> list[str]:
    """Return the tasks' names without capitals, which not every file system tells apart."""
    return [place.task.name.casefold() for place in places]


def _collections(places: list[_Place]) -> list[str]:
    """Return which collection each place is on: a source's own revision, whose splits and subsets are one task.

    Where that does not tell apart what stands in one split and subset, or there are several of one name, it is the
    fingerprint.
    """
    revisions: dict[str, set[str]] = {}
    contents: dict[tuple[str, str, str], set[str]] = {}
    fingerprints = [place.record.dataset.fingerprint or place.record.identity.dataset for place in places]
    plain = _plain_names(places)
    for place, name, fingerprint in zip(places, plain, fingerprints, strict=True):
        revisions.setdefault(name, set()).add(place.task.revision)
        contents.setdefault((name, place.task.split, place.task.subset), set()).add(fingerprint)
    shared = {name for name, found in revisions.items() if len(found) > 1}
    shared |= {name for (name, *_), found in contents.items() if len(found) > 1}
    return [
        fingerprint if name in shared else place.task.revision
        for place, name, fingerprint in zip(places, plain, fingerprints, strict=True)
    ]


def _refuse_strangers(out: Path, results: Mapping[Path, _Result]) -> None:
    """Refuse to put results beside those of an earlier export that they would replace, or be taken for one with."""
    runs = {path: {record.run_id for _, record in result.places.values()} for path, result in results.items()}
    revisions = {result.task: {task.revision for task, _ in result.places.values()} for result in results.values()}
    for path in sorted(out.glob(f"results/*/*/{EXPERIMENTS}/*/*.json")):
        if path.name == MODEL_META or path.stem not in revisions:
            continue
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            known = {str(entry.get("vecbudget_run_id", "")) for split in held["scores"].values() for entry in split}
            revision = str(held["dataset_revision"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is no task result of MTEB; choose another --out") from error
        if path in runs and not known <= runs[path]:
            stranger = next(iter(sorted(known - runs[path]))) or "of another program"
            raise StoreError(
                f"{path} holds run {stranger}, which is not among those exported and would be lost; choose another "
                "--out, or delete it"
            )
        if known != {""} and revision not in revisions[path.stem]:
            raise StoreError(
                f"{path} is of another collection called {path.stem} (revision {revision}, not "
                f"{min(revisions[path.stem])}); choose another --out, or export both at once"
            )


def task_result(places: Iterable[tuple[Task, Record]]) -> Any:
    """Return a `mteb.TaskResult` of records of one task, one for each split and subset."""
    from mteb.results import TaskResult

    places = list(places)
    scores: dict[str, list[dict[str, Any]]] = {}
    for task, record in places:
        scores.setdefault(task.split, []).append(scores_of(task, record))
    task, record = places[0]
    version = mteb_package("export to its format").__version__
    return TaskResult(
        task_name=task.name,
        dataset_revision=task.revision,
        mteb_version=version,
        scores=scores,
        evaluation_time=sum(sum(record.seconds.values()) for _, record in places),
        date=max(datetime.datetime.fromisoformat(record.created) for _, record in places),
    )


def scores_of(task: Task, record: Record) -> dict[str, Any]:
    """Return the scores of one split and subset."""
    kept = {} if record.retention is None else {"retention": record.retention}
    storage = record.storage.to_json()
    return {
        **record.metrics,
        "main_score": record.metrics[task.main_score],
        "hf_subset": task.subset,
        "languages": list(task.languages),
        **kept,
        **{name: storage[name] for name in STORAGE if name in storage},
        "vecbudget_run_id": record.run_id,
        "vecbudget_version": record.versions["vecbudget"],
    }


def _setting(record: Record) -> str:
    seed = "" if record.method.seed is None else f" seed={record.method.seed}"
    return f"'{record.method.setting}{seed}'"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, default=str, indent=4), encoding="utf-8")
