"""One run, from a composed configuration to a record."""

from __future__ import annotations

import datetime
import logging
import shlex
import shutil
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from harness.base import provenance
from harness.base.errors import ConfigError, VecbudgetError, was_interrupted
from harness.runs import recognition
from harness.runs.config import MethodSpec, as_mapping
from harness.runs.hybrid import is_hybrid, run_hybrid
from harness.runs.inputs import Inputs, load_dataset, width_of
from harness.runs.labels import relabelled
from harness.runs.named_settings import named_settings
from harness.runs.parts import IndexInParts, Parts, checked, estimate
from harness.runs.recognition import RECORDED
from harness.runs.record import DatasetEntry, MethodEntry, ModelEntry, Record, params_of, scoring_of
from harness.runs.shares import ShareError, with_numbers
from harness.runs.store import INDEX, Store
from methods.base import MethodError

if TYPE_CHECKING:
    from harness.evaluation.cost import Costs
    from harness.evaluation.measure import Measurement

log = logging.getLogger(__name__)

MEANT = (VecbudgetError, MethodError)
"""Errors that say all there is to say; of others, the name of the class is part of it."""

failures: list[str] = []
"""One line for each run that failed in this process."""


@dataclass(frozen=True)
class Asked:
    """A run that is asked for.

    Attributes
    ----------
    cfg : DictConfig
        See `harness.runs.config.RunConfig`.
    spec : MethodSpec
    method_name : str
    overrides : list of str
        Those that the record names.
    listed : bool
        Whether it is one of an experiment's list, see `run`.
    """

    cfg: DictConfig
    spec: MethodSpec
    method_name: str
    overrides: list[str]
    listed: bool

    def naming(self) -> AbstractContextManager[None]:
        """Return what has errors name the settings as they were asked for."""
        return named_settings(self.cfg.method, self.method_name, self.overrides, self.cfg.index)

    @property
    def efforts(self) -> list[int]:
        """The efforts that an index structure is to be searched with."""
        if not self.spec.index:
            return []
        return self.spec.efforts if self.cfg.measure.efforts is None else list(self.cfg.measure.efforts)


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="config")
def main(cfg: DictConfig) -> int:
    """Run one configuration, as Hydra composed it; return 0, or 1 after saying in one line why it failed."""
    choices = HydraConfig.get().runtime.choices
    overrides = list(HydraConfig.get().overrides.task)
    method = str(choices.get("method"))
    try:
        run(cfg, method_name=method, overrides=overrides, listed=_is_listed(method), note=_note_name(overrides))
    except Exception as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        # a bug in a method must not end a sweep; its traceback is in the record
        failures.append(str(error) if isinstance(error, MEANT) else f"{type(error).__name__}: {error}")
    else:
        return 0
    log.error("vecbudget: %s", failures[-1])
    return 1


def _is_listed(method: str) -> bool:
    """Whether an experiment's list names a method, and not the person who called it up."""
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    entries = HydraConfig.get().sweeper.get("runs") or []
    words = [word for entry in entries for word in entry.split() if word.startswith("method=")]
    return any(method in word.removeprefix("method=").split(",") for word in words)


def _note_name(overrides: list[str]) -> str | None:
    """Return the name of the note by which a sweep recognises the run another time; a single run takes none."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None
    return recognition.note_name(overrides, hydra, hydra.sweeper.get("runs") or [])


def run(
    cfg: DictConfig,
    method_name: str,
    overrides: list[str] | None = None,
    listed: bool = False,
    note: str | None = None,
) -> str:
    """Measure one configuration unless it is recorded already; return its run id, "" for one without parameters.

    Parameters
    ----------
    cfg : DictConfig
        See `harness.runs.config.RunConfig`.
    method_name : str
        What tables call the method: the name of its yaml.
    overrides : list of str or None
        The overrides that made this configuration, for the record.
    listed : bool
        Whether it is one of an experiment's list, which is for vectors of any width: its defaults are then scaled with
        the dimensions where its yaml says how, and if it does not fit the vectors it is skipped, with the reason.
    note : str or None
        Name of the note that is left once the run is on record, see `harness.runs.recognition`.
    """
    if is_hybrid(cfg):
        if cfg.get("corpus_share") is not None or cfg.get("parts", 1) != 1:
            raise ConfigError("corpus_share and parts are for one model's runs, not for a hybrid of several")
        return run_hybrid(cfg, method_name, overrides or [], load_dataset("dataset", cfg.dataset), run)
    if cfg.measure.repeats < 1:
        raise ConfigError(f"measure.repeats must be at least 1, got {cfg.measure.repeats}")
    try:
        cfg, overrides = with_numbers(cfg, overrides or [], partial(width_of, cfg), scaled=listed)
        with named_settings(cfg.method, method_name, overrides, cfg.index):
            spec = MethodSpec(cfg.method, cfg.index)
            config = as_mapping(cfg)
            inputs = Inputs.of(config, spec.facts)
    except (ShareError, MethodError) as error:
        if not listed:
            raise
        # without parameters there is no identity, and so no record
        log.info("%-28s skipped: %s", f"{method_name} {params_of(overrides or [])}".strip(), error)
        return ""
    parts = _parts(cfg, spec)
    # how the work was dealt out says nothing of what came out of it
    config = {key: value for key, value in config.items() if key not in DEALT_OUT}
    overrides = [text for text in overrides if text.lstrip("+~").partition("=")[0] not in DEALT_OUT]
    store = Store(Path(cfg.results_dir))
    asked = Asked(cfg, spec, method_name, overrides, listed)
    record = _begun(inputs, config, _named(inputs, asked), overrides)
    if not cfg.overwrite and _is_recorded(store, inputs.run_id, asked):
        renamed = relabelled(store, record)
        log.info(RECORDED, record.method.setting, renamed, store.path(inputs.run_id))
        if note is not None:
            recognition.note(note, cfg, inputs, record, asked.efforts)
        return inputs.run_id
    if parts is not None and cfg.get("estimate"):
        estimate(parts, inputs, spec)
        return ""
    builder = None if parts is None else _builder(parts, inputs, asked)
    with nullcontext() if builder is None else builder.parts.alone(builder.key):
        # another process may have dealt out the same parts meanwhile
        if builder is not None and not cfg.overwrite and _is_recorded(store, inputs.run_id, asked):
            log.info(RECORDED, record.method.setting, "", store.path(inputs.run_id))
            return inputs.run_id
        ended = _carried_out(store, record, inputs, asked, builder)
        if builder is not None and ended:
            builder.folder.remove()
    if note is not None and ended:
        recognition.note(note, cfg, inputs, record, asked.efforts)
    return inputs.run_id


def _carried_out(store: Store, record: Record, inputs: Inputs, asked: Asked, builder: IndexInParts | None) -> bool:
    """Measure a run and put it on record; return whether it finished. One that failed leaves a record and raises."""
    setting, draft = record.method.setting, store.draft(inputs.run_id)
    try:
        with _alone(asked.cfg), asked.naming():
            measurement, costs = _measure(inputs, asked, draft, builder)
        problem = inputs.problem(None if builder is None else builder.parts)
        record = replace(
            record.finished(measurement, problem, costs),
            encoding=inputs.encoding,
            document_intervals=_document_intervals(measurement, inputs),
        )
    except BaseException as error:
        shutil.rmtree(draft)
        # an interruption leaves nothing; a failure leaves a record of itself
        if not was_interrupted(error):
            reason = str(error) if isinstance(error, MEANT) else f"{type(error).__name__}: {error}"
            skipped = asked.listed and isinstance(error, MethodError)
            ended = replace(record, status="skipped" if skipped else "failed", error=reason)
            ended = ended if skipped else replace(ended, traceback=traceback.format_exc())
            store.commit(inputs.run_id, store.draft(inputs.run_id), ended)
            if skipped:
                log.info("%-28s skipped: %s", setting, reason)
                return False
        raise
    ranking = {"rows": measurement.ranking.astype(np.int32), "scores": measurement.scores}
    path = store.commit(inputs.run_id, draft, record, inputs.dataset.query_ids, measurement.per_query, ranking)
    log.info("%-28s %s  -> %s", setting, record.summary(), path)
    return True


DEALT_OUT = ("parts", "part", "estimate")
"""Options that say who works at a run, as its launcher does: no part of its record."""


def _parts(cfg: DictConfig, spec: MethodSpec) -> Parts | None:
    """Return how a run is dealt out; None where it is not, or cannot be."""
    # the configuration on a record does not say it
    of = checked(cfg.get("parts", 1))
    if of == 1 and not cfg.get("estimate"):
        return None
    codec = spec.make()
    if codec.takes == "vectors" and codec.row_wise:
        return Parts(of, Path(cfg.cache_dir).expanduser())
    why = "it encodes all documents together" if codec.takes == "vectors" else "parts are for one vector a document"
    log.info("parts=%d: this process does all of it, since %s", of, why)
    return None


def _builder(parts: Parts, inputs: Inputs, asked: Asked) -> IndexInParts:
    """Return what builds a run's index in parts."""
    return IndexInParts(parts, parts.key("index", inputs.run_id), asked.spec.settings, asked.cfg.overwrite)


def _named(inputs: Inputs, asked: Asked) -> MethodEntry:
    """Return what tables call the method, how it was fitted, and what was changed in its yaml."""
    spec = asked.spec
    return MethodEntry(
        name=asked.method_name,
        params=" ".join([*inputs.conditions, *_index(spec), params_of(asked.overrides)]).strip(),
        seed=spec.seed,
        family=spec.about.get("family", ""),
        scoring=scoring_of(spec.settings),
    )


def _index(spec: MethodSpec) -> list[str]:
    """Return what tables say of the structure that the codes are in."""
    return [f"index={spec.index}"] if spec.index else []


def _begun(inputs: Inputs, config: dict[str, Any], method: MethodEntry, overrides: list[str]) -> Record:
    """Return what is known of a run before it."""
    return Record(
        run_id=inputs.run_id,
        status="ok",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=shlex.join(["vecbudget", "run", *overrides]),
        git_commit=provenance.git_commit(),
        identity=inputs.identity,
        model=ModelEntry(name=inputs.encoder.label),
        dataset=DatasetEntry.of(inputs.searched),
        fit_dataset=None if inputs.fit_dataset is None else DatasetEntry.of(inputs.fit_dataset),
        method=method,
        fit_queries="none" if inputs.fit_queries is None else inputs.fit_queries.label,
        config=config,
        versions=provenance.versions(),
        machine=provenance.machine(),
    )


def _is_recorded(store: Store, run_id: str, asked: Asked) -> bool:
    """Whether a run finished, and has its cost and curve of efforts where these are asked for."""
    with_cost, efforts = asked.cfg.measure.cost, asked.efforts
    if not store.has(run_id) or not (with_cost or efforts):
        return store.has(run_id)
    record = store.read(run_id)
    measured = (record.efforts or {}).get("asked", [])
    return (not with_cost or bool(record.cost)) and set(efforts) <= set(measured)


def _measure(
    inputs: Inputs, asked: Asked, draft: Path, builder: IndexInParts | None
) -> tuple[Measurement, Costs | None]:
    """Return the measurement, and what the method costs if that is asked for."""
    # imported here, so that a sweep over finished runs does not wait for them
    from harness.evaluation.measure import measure

    cfg, spec = asked.cfg, asked.spec
    problem, fit_data = inputs.problem(None if builder is None else builder.parts), inputs.fit_data()
    measurement = measure(
        spec.make,
        problem,
        fit_docs=fit_data.docs,
        unseen_rows=fit_data.unseen_rows,
        fit_queries=fit_data.queries,
        fit_pairs=fit_data.pairs,
        k=cfg.k,
        chunk_rows=cfg.chunk_rows,
        directory=draft / INDEX if cfg.keep_index else None,
        efforts=asked.efforts,
        builder=builder,
    )
    if not cfg.measure.cost:
        return measurement, None
    from harness.evaluation.cost import measure_cost

    costs = measure_cost(
        spec.make,
        problem.docs,
        problem.queries,
        fit_docs=problem.docs if fit_data.docs is None else fit_data.docs,
        fit_queries=fit_data.queries,
        fit_pairs=fit_data.pairs,
        k=cfg.k,
        chunk_rows=cfg.chunk_rows,
        repeats=cfg.measure.repeats,
    )
    return measurement, costs


def _document_intervals(measurement: Measurement, inputs: Inputs) -> dict[str, dict[str, float]] | None:
    """Return the intervals over documents where queries share these."""
    from harness.evaluation.shared_documents import document_intervals

    return document_intervals(measurement.per_query, inputs.searched.query_ids, inputs.searched.qrels)


def _alone(cfg: DictConfig) -> AbstractContextManager[None]:
    """Return what keeps other runs that measure cost from working meanwhile, quality included."""
    if not cfg.measure.cost:
        return nullcontext()
    from harness.evaluation.cost import exclusive

    return exclusive(Path(cfg.cache_dir).expanduser())


if __name__ == "__main__":
    sys.exit(main())
