"""Finished runs, recognised from their overrides: a sweep need not compose a configuration to find it on record.

Beside the embeddings in the cache lies a note for each configuration that was composed: what became of it, as far as
the configuration says so, and the id of its run. A note's name is the hash of the overrides and of everything else that
composing reads: every yaml of the search path, the working directory, environment variables that a yaml asks for, and
this project's own code. Datasets and models are no part of the name: they are loaded, as for any run, and the run's id
is made of what they are now. So whatever changed, the worst is that the configuration is composed again; and whoever
deletes the notes loses nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from harness.base.errors import VecbudgetError
from harness.base.files import whole
from harness.base.own_code import code_hash
from harness.runs.config import MethodFacts, as_mapping
from harness.runs.inputs import Inputs
from harness.runs.record import Record
from harness.runs.store import Store
from methods.base import MethodError

FOLDER = "recognised"
"""Of the notes, in the cache."""

READ = (
    *("dataset", "corpus_share", "corpus_seed", "fit_dataset", "model", "query_model"),
    *("fit_queries", "fit_sample", "fit_disjoint", "k"),
)
"""Settings that, beside the method, make a run's id."""

ALSO_READ = ("cache_dtype", "cache_dir", "results_dir")

RECORDED = "%-28s recorded already%s: %s"
"""What is said of a run that need not be made: its setting, what it is called now, and where it lies."""

RESOLVER = re.compile(r"\$\{\s*([\w.]+)\s*:(?=([^,}]*))")
"""An interpolation that calls something, and its first argument as it is written."""

FUNCTIONS = ("oc.select", "oc.decode", "oc.deprecated", "oc.create", "oc.dict.keys", "oc.dict.values")
"""Resolvers whose results follow from the configuration."""


@dataclass(frozen=True)
class Finished:
    """A run that is on record: its folder, and what tables call its method."""

    path: Path
    setting: str


def note_name(overrides: Sequence[str], hydra: Any, runs: Iterable[str]) -> str | None:
    """Return the name of the note on a configuration; None where something unknown has a part in composing it.

    Parameters
    ----------
    overrides : sequence of str
        Of the task, as a job of a sweep has them.
    hydra : DictConfig or hydra.conf.HydraConf
        The node `hydra` of the composed configuration, that of the job or of its sweep.
    runs : iterable of str
        The experiment's list.
    """
    sources = tuple((str(source.schema), str(source.path)) for source in hydra.runtime.config_sources)
    read = _read(sources)
    if read is None:
        return None
    variables = _variables(overrides)
    if variables is None:
        return None
    content = {
        "read": read,
        "config": [str(hydra.job.config_name), str(hydra.runtime.cwd), str(Path.cwd())],
        "variables": variables,
        "overrides": list(overrides),
        "runs": list(runs),
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def note(name: str, cfg: DictConfig, inputs: Inputs, record: Record, efforts: Sequence[int] = ()) -> None:
    """Write down what became of a composed configuration whose run is on record; no note is no harm.

    A run is not noted whose method is of code that the name knows nothing of. `efforts` are those that an index
    structure was asked to be searched with.
    """
    if cfg.overwrite or not _is_ours(inputs.method.identity):
        return
    content = {
        "config": {key: _plain(cfg[key]) for key in (*READ, *ALSO_READ)},
        "method": dataclasses.asdict(inputs.method),
        "with_cost": bool(cfg.measure.cost),
        "efforts": list(efforts),
        "labels": _labels(record),
        "setting": record.method.setting,
        "run_id": inputs.run_id,
    }
    path = _path(Path(cfg.cache_dir).expanduser(), name)
    text = json.dumps(content)
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError:
        return


def recognised(name: str, cache_dir: Path) -> Finished | None:
    """Return the finished run of a configuration; None where there is no note, or anything is not as it was.

    Datasets and models are loaded, once in a process.
    """
    try:
        found = json.loads(_path(cache_dir, name).read_text(encoding="utf-8"))
        config, facts = found["config"], MethodFacts(**found["method"])
        wants = [facts.takes, facts.wants_queries, facts.wants_pairs, facts.wants_columns]
        circumstances = json.dumps([config, *wants])
        run_id = _inputs(circumstances).of_method(facts).run_id
        store = Store(Path(config["results_dir"]))
        if run_id != found["run_id"] or not store.path(run_id).is_dir():
            return None
        record = store.read(run_id)
        as_asked = record.ok and _labels(record) == found["labels"] and (bool(record.cost) or not found["with_cost"])
        as_asked &= set(found["efforts"]) <= set((record.efforts or {}).get("asked", []))
        return Finished(store.path(run_id), found["setting"]) if as_asked else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, VecbudgetError, MethodError):
        # whoever composes it finds the error again, and says it
        return None


def _path(cache_dir: Path, name: str) -> Path:
    return cache_dir / FOLDER / name[:2] / f"{name}.json"


def _labels(record: Record) -> list[str | None]:
    """Return the names that a command may have asked for, see `harness.runs.labels`."""
    fitted = record.fit_dataset
    return [record.dataset.name, None if fitted is None else fitted.name, record.model.name]


def _plain(value: Any) -> Any:
    return as_mapping(value) if isinstance(value, DictConfig) else value


def _is_ours(settings: Any) -> bool:
    """Whether all parts of a method are this project's."""
    if isinstance(settings, Mapping):
        return str(settings.get("_target_", "methods.")).startswith("methods.") and _is_ours(list(settings.values()))
    return not isinstance(settings, list | tuple) or all(_is_ours(item) for item in settings)


@functools.lru_cache(maxsize=64)
def _inputs(circumstances: str) -> Inputs:
    """Return what runs of equal circumstances have in common, with a method that stands for all of theirs."""
    config, *wants = json.loads(circumstances)
    facts = MethodFacts({}, *wants)
    return Inputs.of(config, facts)


@functools.cache
def _read(sources: tuple[tuple[str, str], ...]) -> list[str] | None:
    """Return hashes of all that composing reads beside the overrides; None where that is not known."""
    import hydra
    import omegaconf

    found = [hydra.__version__, omegaconf.__version__, code_hash()]
    for schema, path in sources:
        if schema == "pkg" and path != "hydra.conf":
            texts = dict(_texts(files(path.replace("/", ".")), ""))
        elif schema == "file":
            texts = dict(_texts(Path(path), ""))
        elif schema == "structured" or path == "hydra.conf":
            continue
        else:
            return None
        variables = _variables(texts.values())
        if variables is None:
            return None
        content = json.dumps([path, sorted(texts.items()), variables])
        found.append(hashlib.sha256(content.encode()).hexdigest())
    return found


def _texts(folder: Any, prefix: str) -> Iterable[tuple[str, str]]:
    """Yield the names and contents of the yamls in a folder and those below."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _texts(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith((".yaml", ".yml")):
            yield f"{prefix}{entry.name}", entry.read_text(encoding="utf-8")


def _variables(texts: Iterable[str]) -> dict[str, str | None] | None:
    """Return the environment variables that texts read; None where they call what may give anything."""
    calls = {call for text in texts if "${" in text for call in RESOLVER.findall(text)}
    names = sorted({name.strip() for function, name in calls if function == "oc.env"})
    known = all(function in ("oc.env", *FUNCTIONS) for function, _ in calls)
    # a name may be an interpolation itself
    if not known or not all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in names):
        return None
    return {name: os.environ.get(name) for name in names}
