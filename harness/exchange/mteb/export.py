"""Records as MTEB's task results, in the folders where its `ResultCache` looks for them.

OUT/results/<organisation__model>/<revision>/experiments/<compression>/<Task>.json, with a model_meta.json beside it
whose `experiment_kwargs` are the compression (mteb 2.26, `mteb.cache.ResultCache.get_task_result_path`).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from harness.runs.record import Record

MODEL_META = "model_meta.json"
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
    """

    files: list[Path] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


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
        Root of the cache: `mteb.ResultCache(out)` reads it. Files of an earlier export are replaced.
    tasks, models : mapping of str to str, or None
        See `harness.exchange.mteb.naming.task_of` and `model_of`.

    Raises
    ------
    StoreError
        If two runs would have the same place; nothing is written then.
    MissingExtraError
        Without the package mteb.
    """
    from tqdm import tqdm

    cache_of = mteb_package("export to its format").ResultCache
    done = Export()
    results: dict[Path, _Result] = {}
    cache = cache_of(out)
    for record in tqdm(list(records), desc="export", disable=None):
        try:
            task, meta = _place(record, tasks or {}, models or {})
        except NotInMtebError as error:
            done.skipped[record.run_id] = str(error)
            continue
        path = cache.get_task_result_path(task.name, meta)
        result = results.setdefault(path, _Result(meta, task.name))
        other = result.places.setdefault((task.split, task.subset), (task, record))[1]
        if other.run_id != record.run_id:
            raise StoreError(
                f"runs {other.run_id} and {record.run_id} are both {_setting(record)} with "
                f"{record.model.name} on {task.name}, but of other content; export one of them at a time"
            )
    for path, result in results.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_json(path.parent / MODEL_META, result.meta.to_dict())
        task_result(result.places.values()).to_disk(path)
        done.files.append(path)
    return done


def _place(record: Record, tasks: Mapping[str, str], models: Mapping[str, str]) -> tuple[Task, Any]:
    if not record.ok:
        raise NotInMtebError("it failed")
    task = task_of(record, tasks)
    if task.main_score not in record.metrics:
        why = f"{task.name} is ranked by {task.main_score}, which is not measured"
        raise NotInMtebError(why if record.dataset.has_qrels else "its collection has no judgements")
    name, revision = model_of(record, models)
    return task, model_meta(name, revision, compression_of(record), embed_dim=record.dim)


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
