"""Results of several people in one folder, if they can stand in one table.

Two records can where what they call by one name is the same: the collection, the model's vectors, the run. Everything
is checked before anything is copied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.base.errors import StoreError
from harness.base.files import writing
from harness.runs.config import run_id
from harness.runs.record import Identity, Record
from harness.runs.store import INDEX, PER_QUERY, RANKING, Store

TOLERANCE = 1e-6
SHOWN = 5
"""Conflicts that are spelt out."""


@dataclass
class Merged:
    """What became of the records.

    Attributes
    ----------
    copied : list of str
        Run ids that were new in the target.
    replaced : list of str
        Those that were there, and of which another folder had more: success after failure, costs, metrics.
    present : list of str
        Those that were there already.
    repeated : int
        Records of the sources beyond the first of their run.
    """

    copied: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    repeated: int = 0


@dataclass(frozen=True)
class _Found:
    """A record and the folder that it lies in."""

    record: Record
    store: Store
    results_dir: Path

    @property
    def wealth(self) -> tuple[bool, bool, int]:
        """How much it holds, for choosing among records of one run."""
        return self.record.ok, bool(self.record.cost), len(self.record.metrics)


def merge(sources: Sequence[Path], target: Path) -> Merged:
    """Bring the records of several results folders into one.

    A record that comes more than once is kept once: the one that holds most, else the first. Each is copied whole or
    not at all, so that after an interruption the same call does the rest.

    Parameters
    ----------
    sources : sequence of Path
        Results folders; they are not changed.
    target : Path
        Made if need be. Records that it has take part in every check.

    Raises
    ------
    StoreError
        If a source holds no records, a record is not readable or its id is not that of its content, or records
        disagree: one dataset name for two contents, one model name for two models, one run with two outcomes. Nothing
        is copied then.
    """
    from tqdm import tqdm

    folders = [target]
    folders += [path for path in sources if path.resolve() not in {known.resolve() for known in folders}]
    runs: dict[str, list[_Found]] = {}
    for folder in folders:
        found = list(_records(folder))
        if not found and folder != target:
            raise StoreError(f"no runs are on record in {folder}")
        for item in found:
            runs.setdefault(item.record.run_id, []).append(item)
    conflicts = [*_conflicts_of_names(runs), *_conflicts_of_runs(runs)]
    if conflicts:
        more = f"; and {len(conflicts) - SHOWN} more" if len(conflicts) > SHOWN else ""
        raise StoreError(f"nothing was merged, since records disagree: {'; '.join(conflicts[:SHOWN])}{more}")
    given = [sum(item.results_dir != target for item in items) for items in runs.values()]
    merged = Merged(repeated=sum(max(0, count - 1) for count in given))
    into = Store(target)
    for identifier, items in tqdm(runs.items(), desc="merge", disable=None):
        best = max(items, key=lambda item: item.wealth)
        known = items[0].results_dir == target
        if best.results_dir == target:
            merged.present.append(identifier)
            continue
        _copy(best, identifier, into)
        (merged.replaced if known else merged.copied).append(identifier)
    return merged


def _records(folder: Path) -> Iterator[_Found]:
    """Yield a folder's records, after checking that they are what their ids say."""
    store = Store(folder)
    for record in store.records():
        identifier, expected = record.run_id, run_id(record.identity.to_json())
        if record.identity == Identity() or not record.model.name or not record.dataset.name:
            raise StoreError(f"{store.path(identifier)} is not complete; delete it and run again")
        if identifier != expected or not store.path(identifier).is_dir():
            raise StoreError(
                f"{store.path(identifier)} does not have the id of what it says it measured ({expected}): it was "
                "changed by hand, or made by another version; measure it again"
            )
        yield _Found(record, store, folder)


def _conflicts_of_names(runs: Mapping[str, Sequence[_Found]]) -> list[str]:
    """Return what is called by one name, in several folders or in one, and is not the same."""
    meanings: dict[tuple[str, ...], dict[str, list[_Found]]] = {}
    for items in runs.values():
        for item in items:
            for name, meaning in _named(item.record):
                meanings.setdefault(name, {}).setdefault(meaning, []).append(item)
    differ = {name: by_meaning for name, by_meaning in meanings.items() if len(by_meaning) > 1}
    # a folder that has all of them lives with it already: reports mark names that stand for several things
    differ = {name: by_meaning for name, by_meaning in differ.items() if not _in_one_folder(by_meaning)}
    found = []
    for (kind, *names), by_meaning in differ.items():
        if len(names) > 1 and ("model", names[0]) in differ:
            continue  # another model has other vectors on every collection: said once
        sides = " but ".join(f"{_short(meaning)} in {_where(items)}" for meaning, items in by_meaning.items())
        found.append(f"{kind} '{' on '.join(names)}' is {sides}")
    if found:
        # names are labels: see `harness.runs.labels`
        found[-1] += (
            ". Give one of the two another name: its command again with dataset.name=... relabels what is recorded"
        )
    return found


def _in_one_folder(by_meaning: Mapping[str, Sequence[_Found]]) -> bool:
    """Return whether some folder has records of every meaning."""
    folders = [{item.results_dir for item in items} for items in by_meaning.values()]
    return bool(set.intersection(*folders))


def _named(record: Record) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what a record calls by a name, and what it means by it."""
    identity, model, dataset = record.identity, record.model.name, record.dataset.name
    # of the whole collection, where a part was searched
    yield ("dataset", dataset), identity.dataset
    if record.fit_dataset is not None:
        yield ("dataset", record.fit_dataset.name), str(identity.fit_dataset)
    if identity.weights:
        yield ("model", model), json.dumps(identity.weights, sort_keys=True)
    yield ("the encoding by model", model, dataset), json.dumps(identity.model, sort_keys=True)


def _short(meaning: str) -> str:
    """Return a fingerprint as it is, and of an identity what can be told apart at a glance."""
    if not meaning.startswith("{"):
        return meaning
    roles = json.loads(meaning)
    shown = roles["document"] if roles.get("document") == roles.get("query") else roles
    return json.dumps(shown, sort_keys=True)


def _where(items: Sequence[_Found]) -> str:
    folders = list(dict.fromkeys(str(item.results_dir) for item in items))
    return f"{' and '.join(folders)} (run {items[0].record.run_id})"


def _conflicts_of_runs(runs: Mapping[str, Sequence[_Found]]) -> list[str]:
    """Return the runs that have more than one outcome."""
    found = []
    for identifier, items in runs.items():
        finished = [item for item in items if item.record.ok]
        for other in finished[1:]:
            first = finished[0]
            number = _first_difference(first.record, other.record)
            if number is not None:
                a, b = _numbers(first.record)[number], _numbers(other.record)[number]
                found.append(
                    f"run {identifier} ({first.record.method.setting} on {first.record.dataset.name}) has {number} "
                    f"{a:.9g} in {first.results_dir} but {b:.9g} in {other.results_dir}"
                )
                break
    return found


def _first_difference(first: Record, other: Record) -> str | None:
    """Return the first number that both hold and that is another; what only one holds is no contradiction."""
    a, b = _numbers(first), _numbers(other)
    return next((name for name in a if name in b and not abs(a[name] - b[name]) <= TOLERANCE), None)


def _numbers(record: Record) -> dict[str, float]:
    """Return a record's outcome: quality and size. Seconds and memory are the machine's."""
    parts = {"": record.metrics, "float32 ": record.float32, "storage ": record.storage.to_json()}
    return {prefix + name: float(value) for prefix, part in parts.items() for name, value in part.items()}


def _copy(item: _Found, identifier: str, into: Store) -> None:
    """Copy a record's own files into a draft, then give it its name."""
    # its checksums are made anew with the copy
    item.store.verify(identifier)
    source, draft = item.store.path(identifier), into.draft(identifier)
    try:
        with writing(into.path(identifier)):
            for name in (PER_QUERY, RANKING):
                if (source / name).is_file():
                    shutil.copyfile(source / name, draft / name)
            if (source / INDEX).is_dir():
                shutil.copytree(source / INDEX, draft / INDEX)
        into.commit(identifier, draft, item.record)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def merged_text(merged: Merged, target: Path) -> str:
    """Return what became of the records, in a line."""
    parts = [f"{len(merged.copied)} runs copied into {target}"]
    parts += [f"{len(merged.replaced)} replaced by a fuller record"] if merged.replaced else []
    parts += [f"{len(merged.present)} were there already"] if merged.present else []
    parts += [f"{merged.repeated} came more than once"] if merged.repeated else []
    return ", ".join(parts) + "\n"
