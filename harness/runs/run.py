"""One run, from a composed configuration to a record."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import shlex
import shutil
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from harness.base.errors import ConfigError, VecbudgetError, was_interrupted
from harness.base.memmap import take
from harness.data import training_queries
from harness.data.datasets import Dataset
from harness.data.training_queries import FitQueries
from harness.runs import provenance
from harness.runs.config import MethodSpec, run_id
from harness.runs.store import INDEX, Store
from methods.base import MethodError

if TYPE_CHECKING:
    from harness.evaluation.cost import Costs
    from harness.evaluation.measure import Measurement, Problem

from harness.runs.inputs import Split, _dataset, _drawn, _fit_queries, _part, _problem, _split, _vectors, model_of
from harness.runs.record import _describe, _params, _results, _scoring, _summary

log = logging.getLogger(__name__)

failures: list[str] = []
"""One line for each run that failed in this process."""


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="config")
def main(cfg: DictConfig) -> int:
    """Run one configuration, as Hydra composed it; return 0, or 1 after saying in one line why it failed."""
    choices = HydraConfig.get().runtime.choices
    overrides = list(HydraConfig.get().overrides.task)
    try:
        run(cfg, method_name=str(choices.get("method")), overrides=overrides)
    except Exception as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        # a bug in a method must not end a sweep; its traceback is in the record
        meant = isinstance(error, VecbudgetError | MethodError)
        failures.append(str(error) if meant else f"{type(error).__name__}: {error}")
    else:
        return 0
    log.error("vecbudget: %s", failures[-1])
    return 1


def run(cfg: DictConfig, method_name: str, overrides: list[str] | None = None) -> str:
    """Measure one configuration unless it is recorded already; return its run id.

    Parameters
    ----------
    cfg : DictConfig
        See `harness.runs.config.RunConfig`.
    method_name : str
        What tables call the method: the name of its yaml.
    overrides : list of str or None
        The overrides that made this configuration, for the record.
    """
    if cfg.k < 1:
        raise ConfigError(f"k must be at least 1, got {cfg.k}")
    training_queries.check(cfg.fit_queries)
    spec = MethodSpec(cfg.method)
    dataset = _dataset("dataset", cfg.dataset)
    fit_dataset = None if cfg.fit_dataset is None else _dataset("fit_dataset", cfg.fit_dataset)
    encoder = model_of(cfg)
    identity = {
        "dataset": dataset.fingerprint,
        "model": {role: encoder.identity(role, dataset.task) for role in ("document", "query")},
        "method": spec.identity(),
        "k": cfg.k,
    }
    conditions = []
    if fit_dataset is not None:
        identity["fit_dataset"] = fit_dataset.fingerprint
        conditions.append(f"fit_dataset={fit_dataset.name}")
    split, fit_rows = None, None
    if cfg.fit_disjoint:
        if fit_dataset is not None or cfg.fit_sample is None:
            wrong = "has no fit_sample=N" if cfg.fit_sample is None else "has a fit_dataset, which is disjoint anyway"
            raise ConfigError(f"fit_disjoint=true divides the collection's own documents, but this run {wrong}")
        split = _split(dataset, cfg.fit_sample)
        identity["fit_disjoint"] = True
    else:
        fit_rows = _drawn(fit_dataset or dataset, cfg.fit_sample)
    if split is not None or fit_rows is not None:
        identity["fit_sample"] = int(cfg.fit_sample)
        conditions.append(f"fit_sample={cfg.fit_sample}")
        conditions += ["fit_disjoint=true"] if split is not None else []
    fit_queries = None
    method = spec.make()
    if method.wants_queries:
        source = (fit_dataset or dataset) if split is None else split.fitted
        if fit_rows is not None:
            source = _part(source, len(fit_rows))
        fit_queries = _fit_queries(cfg.fit_queries, source, encoder, dataset)
        identity["fit_queries"] = fit_queries.identity(with_pairs=method.wants_pairs)
        if cfg.fit_queries != "auto":
            conditions.append(f"fit_queries={fit_queries.source}")
    params = " ".join([*conditions, _params(overrides or [])]).strip()
    identifier = run_id(identity)
    store = Store(Path(cfg.results_dir))
    label = f"{method_name} {params}".strip()
    if cfg.measure.repeats < 1:
        raise ConfigError(f"measure.repeats must be at least 1, got {cfg.measure.repeats}")
    known = store.has(identifier) and (not cfg.measure.cost or bool(store.read(identifier).get("cost")))
    if known and not cfg.overwrite:
        log.info("%-28s recorded already: %s", label, store.path(identifier))
        return identifier
    record: dict[str, Any] = {
        "run_id": identifier,
        "status": "ok",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["vecbudget", "run", *(overrides or [])]),
        "git_commit": provenance.git_commit(),
        "identity": identity,
        "model": {"name": encoder.label},
        "dataset": _describe(dataset if split is None else split.searched),
        "fit_dataset": None if fit_dataset is None else _describe(fit_dataset),
        "method": {
            "name": method_name,
            "params": params,
            "seed": spec.seed,
            "family": spec.about.get("family", ""),
            "scoring": _scoring(spec.settings),
        },
        "fit_queries": "none" if fit_queries is None else fit_queries.label,
        "config": OmegaConf.to_container(cfg, resolve=True),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
    }
    draft = store.draft(identifier)
    try:
        with _alone(cfg):
            measurement, problem, costs = _measure(
                cfg, spec, dataset, fit_dataset, split, fit_rows, fit_queries, encoder, draft
            )
        record |= _results(measurement, problem)
        if costs is not None:
            storage, (docs, queries) = measurement.storage, (problem.docs, problem.queries)
            record["cost"] = costs.as_record(
                len(docs), len(queries), storage.code_bytes_per_vector, storage.state_file_bytes
            )
    except BaseException as error:
        shutil.rmtree(draft)
        # an interruption leaves nothing; a failure leaves a record of itself
        if not was_interrupted(error):
            record |= {
                "status": "failed",
                "error": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(),
            }
            store.commit(identifier, store.draft(identifier), record)
        raise
    ranking = {"rows": measurement.ranking.astype(np.int32), "scores": measurement.scores}
    path = store.commit(identifier, draft, record, dataset.query_ids, measurement.per_query, ranking)
    log.info("%-28s %s  -> %s", label, _summary(record), path)
    return identifier


def _measure(
    cfg: DictConfig,
    spec: MethodSpec,
    dataset: Dataset,
    fit_dataset: Dataset | None,
    split: Split | None,
    fit_rows: NDArray[np.int64] | None,
    fit_queries: FitQueries | None,
    encoder: Any,
    draft: Path,
) -> tuple[Measurement, Problem, Costs | None]:
    """Return the measurement, what it was made on, and what it costs if that is asked for."""
    # imported here, so that a sweep over finished runs does not wait for them
    from harness.evaluation.measure import measure

    vectors, problem = _problem(dataset, encoder, cfg.cache_dir, cfg.k, split)
    fit_vectors = vectors if fit_dataset is None else _vectors(fit_dataset, encoder, cfg.cache_dir)
    fit_docs = None if fit_dataset is None else fit_vectors.docs
    if split is not None:
        fit_vectors = dataclasses.replace(vectors, docs=take(vectors.docs, split.fitted_rows))
        fit_docs = fit_vectors.docs
    if fit_rows is not None:
        fit_vectors = dataclasses.replace(fit_vectors, docs=take(fit_vectors.docs, fit_rows))
        fit_docs = fit_vectors.docs
    unseen = None
    if fit_rows is not None and fit_dataset is None:
        unseen = np.setdiff1d(np.arange(len(dataset.doc_ids)), fit_rows)
    taught = None if fit_queries is None else fit_queries.vectors(fit_vectors)
    answers = None if fit_queries is None else fit_queries.pairs
    measurement = measure(
        spec.make,
        problem,
        fit_docs=fit_docs,
        unseen_rows=unseen,
        fit_queries=taught,
        fit_pairs=answers,
        k=cfg.k,
        chunk_rows=cfg.chunk_rows,
        directory=draft / INDEX if cfg.keep_index else None,
    )
    if not cfg.measure.cost:
        return measurement, problem, None
    from harness.evaluation.cost import measure_cost

    costs = measure_cost(
        spec.make,
        problem.docs,
        problem.queries,
        fit_docs=problem.docs if fit_docs is None else fit_docs,
        fit_queries=taught,
        fit_pairs=answers,
        k=cfg.k,
        chunk_rows=cfg.chunk_rows,
        repeats=cfg.measure.repeats,
    )
    return measurement, problem, costs


def _alone(cfg: DictConfig) -> AbstractContextManager[None]:
    """Return what keeps other runs that measure cost from working meanwhile, quality included."""
    if not cfg.measure.cost:
        return nullcontext()
    from harness.evaluation.cost import exclusive

    return exclusive(Path(cfg.cache_dir).expanduser())


if __name__ == "__main__":
    sys.exit(main())
