"""One run, from a composed configuration to a record."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import logging
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from harness import provenance, pseudo_queries, spectrum
from harness.config import MethodSpec, run_id, shared
from harness.datasets import Dataset
from harness.errors import ConfigError, VecbudgetError, was_interrupted
from harness.paging import take
from harness.pseudo_queries import FitQueries
from harness.rounded import cached_as
from harness.store import INDEX, Store
from harness.two_models import two_models
from methods.base import MethodError

if TYPE_CHECKING:
    from harness.cache import Vectors
    from harness.cost import Costs
    from harness.measure import Measurement, Problem

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
        See `harness.config.RunConfig`.
    method_name : str
        What tables call the method: the name of its yaml.
    overrides : list of str or None
        The overrides that made this configuration, for the record.
    """
    if cfg.k < 1:
        raise ConfigError(f"k must be at least 1, got {cfg.k}")
    pseudo_queries.check(cfg.fit_queries)
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
    from harness.measure import measure

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
    from harness.cost import measure_cost

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
    from harness.cost import exclusive

    return exclusive(Path(cfg.cache_dir).expanduser())


@dataclass(frozen=True, eq=False)
class Split:
    """A collection divided into documents that are searched and others that methods are fitted on."""

    searched: Dataset
    fitted: Dataset
    searched_rows: NDArray[np.int64]
    fitted_rows: NDArray[np.int64]


@functools.lru_cache(maxsize=2)
def _split(dataset: Dataset, count: int) -> Split:
    """Draw `count` documents for fitting, among those that no judgement names."""
    judged = {doc_id for judgements in (dataset.qrels or {}).values() for doc_id in judgements}
    free = np.array([row for row, doc_id in enumerate(dataset.doc_ids) if doc_id not in judged], dtype=np.int64)
    most = min(len(free), len(dataset.doc_ids) - 1)
    if not 1 <= count <= most:
        raise ConfigError(
            f"fit_sample must be 1 to {most} with fit_disjoint=true, the documents of {dataset.name} that no judgement "
            f"names, got {count}"
        )
    fitted = np.sort(np.random.default_rng(0).choice(free, count, replace=False))
    searched = np.setdiff1d(np.arange(len(dataset.doc_ids)), fitted)
    return Split(dataset.part(searched), dataset.part(fitted), searched, fitted)


def _drawn(dataset: Dataset, count: int | None) -> NDArray[np.int64] | None:
    """Return the rows of `count` documents, ascending, or None for all."""
    n = len(dataset.doc_ids)
    if count is None or count == n:
        return None
    if not 1 <= count < n:
        raise ConfigError(f"fit_sample must be 1 to {n}, the documents of {dataset.name}, got {count}")
    return np.sort(np.random.default_rng(0).choice(n, count, replace=False))


@functools.lru_cache(maxsize=2)
def _part(dataset: Dataset, count: int) -> Dataset:
    rows = _drawn(dataset, count)
    assert rows is not None
    return dataset.part(rows)


_fit_queries = functools.lru_cache(maxsize=8)(pseudo_queries.choose)


@functools.lru_cache(maxsize=2)
def _problem(dataset: Dataset, encoder: Any, cache_dir: str, k: int, split: Split | None) -> tuple[Vectors, Problem]:
    from harness.measure import Problem

    vectors = _vectors(dataset, encoder, cache_dir)
    if split is not None:
        docs = take(vectors.docs, split.searched_rows)
        return vectors, Problem.of(split.searched, docs, vectors.queries, k, vectors.old_queries)
    return vectors, Problem.of(dataset, vectors.docs, vectors.queries, k, vectors.old_queries)


@functools.lru_cache(maxsize=4)
def _vectors(dataset: Dataset, encoder: Any, cache_dir: str) -> Vectors:
    from harness.cache import embed

    return embed(dataset, encoder, Path(cache_dir).expanduser())


def model_of(cfg: DictConfig) -> Any:
    """Return the encoder that a configuration names."""
    queries = cfg.get("query_model")
    return two_models(
        cached_as(shared("model", cfg.model), cfg.cache_dtype),
        None if queries is None else cached_as(shared("query_model", queries), cfg.cache_dtype),
    )


def _dataset(group: str, node: DictConfig) -> Dataset:
    return _load(shared(group, node).load)


@functools.cache
def _load(load: Callable[[], Dataset]) -> Dataset:
    return load()


def _describe(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "revision": dataset.revision,
        "fingerprint": dataset.fingerprint,
        "n_docs": len(dataset.doc_ids),
        "n_queries": len(dataset.query_ids),
        "has_qrels": dataset.qrels is not None,
    }


def _results(measurement: Measurement, problem: Problem) -> dict[str, Any]:
    """Return the part of the record that the measurement fills."""
    means = {name: float(values.mean()) for name, values in measurement.per_query.items()}
    reference = problem.exact_metrics.get("ndcg_at_10")
    storage = measurement.storage
    return {
        "dim": int(problem.docs.shape[1]),
        "metrics": means,
        "float32": problem.exact_metrics,
        "retention": means["ndcg_at_10"] / reference if reference else None,
        "storage": {
            "code_bytes_per_vector": storage.code_bytes_per_vector,
            "resident_bytes_per_vector": storage.resident_bytes_per_vector,
            "disk_bytes_per_vector": storage.disk_bytes_per_vector,
            "codes_file_bytes": storage.codes_file_bytes,
            "codes_header_bytes": storage.codes_header_bytes,
            "state_bytes": storage.state_file_bytes,
            "index_bytes": storage.index_bytes,
        },
        "limits": measurement.limits,
        "spectrum": spectrum.as_record(problem.limits.vector_spectrum, measurement.bits_per_axis),
        "training": measurement.training,
        "seconds": {stage: round(value, 6) for stage, value in measurement.seconds.items()},
        "peak_memory_bytes": measurement.peak_memory_bytes,
    }


def _scoring(settings: Any) -> str:
    """Return the scoring convention that a method's settings add up to."""
    own = settings.get("scoring", "asymmetric")
    inner = settings.get("codec")
    return _scoring(inner) if own == "asymmetric" and isinstance(inner, dict) else str(own)


def _params(overrides: list[str]) -> str:
    """Return what distinguishes this configuration from the method's yaml, such as "bits=4"."""
    changed = (text.lstrip("+~").removeprefix("method.") for text in overrides if "method." in text.partition("=")[0])
    # a sweep writes Python's True where a person writes true
    return " ".join(sorted(re.sub(r"=(True|False)$", lambda found: found[0].lower(), text) for text in changed))


def _summary(record: dict[str, Any]) -> str:
    metrics, storage = record["metrics"], record["storage"]
    quality = f"overlap@10 {metrics['overlap_at_10']:.3f}"
    if "ndcg_at_10" in metrics:
        kept = f" ({record['retention']:.1%} of float32)" if record["retention"] is not None else ""
        quality = f"nDCG@10 {metrics['ndcg_at_10']:.5f}{kept}, {quality}"
    return f"{storage['code_bytes_per_vector']:7.1f} B/vector  {quality}  {sum(record['seconds'].values()):.2f} s"


if __name__ == "__main__":
    sys.exit(main())
