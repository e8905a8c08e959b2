"""A search from a composed configuration to a record: what `vecbudget tune` does."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from harness.base.errors import ConfigError
from harness.base.files import whole
from harness.runs.inputs import load_dataset, load_vectors, model_of
from harness.runs.run import run
from harness.runs.store import Store
from harness.tuning.objective import Objective
from harness.tuning.result import Result, Tested
from harness.tuning.space import Candidate, space
from harness.tuning.study import Limits, Sampler, Speed, Study, Trial, best_of
from methods.representations import kind_of

log = logging.getLogger(__name__)

USUAL = "transform_coding"
"""What one would take without a search: the best that is scanned as fast as product codes."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is asked for.

    Attributes
    ----------
    limits : Limits
    trials, minutes : int, float or None
        When to stop.
    methods : tuple of str
        Those that are tried; all that say what may vary, if empty.
    queries : str
        What the queries that are looked at are made of, see `harness.data.training_queries.choose`.
    sampler : str
    speed : {"search", "encode"} or None
        A third objective, beside bytes and overlap.
    processes : int
        That share the search.
    out : Path or None
        The study's folder; None is one in the results folder.
    config_dir : Path or None
        With methods of the user's own.
    """

    limits: Limits
    trials: int | None = None
    minutes: float | None = None
    methods: tuple[str, ...] = ()
    queries: str = "auto"
    sampler: Sampler = "tpe"
    speed: Speed | None = None
    processes: int = 1
    out: Path | None = None
    config_dir: Path | None = None


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came out of a search, and where it lies.

    Attributes
    ----------
    search : Search
    result : Result
    dataset, model : str
    looked_at : str
        Queries and documents.
    folder : Path
    name : str
        Of the winner's yaml, in `folder/method`.
    results_dir : str
    """

    search: Search
    result: Result
    dataset: str
    model: str
    looked_at: str
    folder: Path
    name: str
    results_dir: str


def tuned(search: Search, overrides: Sequence[str], worker: bool = False) -> Tuned | None:
    """Search, and measure the winner on the test queries.

    Parameters
    ----------
    search : Search
    overrides : sequence of str
        Model, dataset and so on, as for a run; no method.
    worker : bool
        Whether this process only tries settings, for another one that reads them: nothing is returned.

    Raises
    ------
    ConfigError
        If nothing that was tried keeps to the limits, or there is nothing to look at.
    """
    cfg = _composed(overrides)
    dataset, encoder = load_dataset("dataset", cfg.dataset), model_of(cfg)
    vectors = load_vectors(dataset, encoder, cfg.cache_dir)
    if kind_of(vectors.docs) != "vectors":
        raise ConfigError(f"a search is for one vector a document, and {encoder.name} gives another representation")
    objective = Objective.of(dataset, encoder, vectors, search.queries, cfg.seed)
    nbytes = search.limits.max_bytes
    folder = search.out or Path(cfg.results_dir) / "tune" / f"{dataset.name}--{encoder.name}--{nbytes}".replace(
        "/", "-"
    )
    members = [
        one
        for one in space(search.methods, search.config_dir)
        # a second tier is on disk, for which there must be room
        if search.limits.max_disk_bytes or one.node.get("about", {}).get("family") != "two tiers" or search.methods
    ]
    study = Study(folder, members, search.limits, cfg.seed, search.sampler, search.speed)
    identity = {
        "dataset": dataset.fingerprint,
        "model": {role: dict(encoder.identity(role, dataset.task)) for role in ("document", "query")},
        "queries": objective.source,
        "seed": cfg.seed,
        "sampler": search.sampler,
    }
    first = [USUAL] if any(one.name == USUAL for one in members) else []
    log.info("%s x %s, %d B: looking at %s", dataset.name, encoder.name, nbytes, objective.in_words)
    helpers = [] if worker else _helpers(search, overrides, folder)
    try:
        study.search(objective, identity, trials=search.trials, minutes=search.minutes, first=first)
    finally:
        for helper in helpers:
            helper.wait()
    if worker:
        return None
    trials = study.tried()
    result = Result.of(trials, best_of(trials, search.limits), USUAL, search.speed)
    name = f"tuned_{nbytes}"
    (folder / "method").mkdir(exist_ok=True)
    for trial in (result.best, *result.front):
        own = name if trial is result.best else f"{name}_trial{trial.number}"
        with whole(folder / "method" / f"{own}.yaml") as path:
            path.write_text(_yaml(trial), encoding="utf-8")
    compared = [result.best] if result.usual in (None, result.best) else [result.best, result.usual]
    tested = {}
    for trial in compared:
        assert trial is not None
        if trial is result.best:
            # of a method that is no file of this program, the command names the folder
            stated = ["--config-dir", str(folder), f"method={name}"]
        else:
            settings = trial.candidate.settings
            stated = [f"method={USUAL}", *(f"method.{place}={settings[place]}" for place in trial.candidate.changed)]
        tested[trial.number] = _test(cfg, trial.candidate, [*stated, *overrides])
    result = dataclasses.replace(result, tested=tested)
    return Tuned(search, result, dataset.name, encoder.name, objective.in_words, folder, name, cfg.results_dir)


def _composed(overrides: Sequence[str]) -> DictConfig:
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from harness.runs.config import RunConfig
    from harness.runs.hydra_command import explained
    from harness.runs.overrides import readable

    if any(text.lstrip("+").startswith("method") for text in overrides):
        raise ConfigError("tune looks for the method: leave method= out, or name some by --methods opq,saq")
    given = readable(list(overrides))
    try:
        with initialize_config_module("configs", version_base="1.3"):
            return compose("config", overrides=given)
    except (HydraException, OmegaConfBaseException) as error:
        options = [item.name for item in dataclasses.fields(RunConfig)]
        raise ConfigError(explained(error, given, options)) from error


def _helpers(search: Search, overrides: Sequence[str], folder: Path) -> list[Popen[bytes]]:
    """Start the other processes that share the search."""
    limits = search.limits
    options: Mapping[str, Any] = {
        "--max-bytes": limits.max_bytes,
        "--max-disk-bytes": limits.max_disk_bytes,
        "--min-docs-per-second": limits.min_docs_per_second,
        "--max-query-ms": limits.max_query_ms,
        "--corpus-size": limits.corpus_size,
        "--trials": search.trials,
        "--minutes": search.minutes,
        "--methods": ",".join(search.methods) or None,
        "--queries": search.queries,
        "--sampler": search.sampler,
        "--speed": search.speed,
        "--config-dir": search.config_dir,
        "--out": folder,
    }
    given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    command = [sys.executable, "-m", "harness.cli", "tune", "--worker", *given, *overrides]
    return [Popen(command) for _ in range(search.processes - 1)]


def _yaml(trial: Trial) -> str:
    """Return a method's yaml with what was chosen."""
    node = OmegaConf.create(OmegaConf.to_container(trial.candidate.node, resolve=False))
    assert isinstance(node, DictConfig)
    with open_dict(node):
        node.about.pop("shares", None)
        node.about.summary = f"Found by vecbudget tune: {trial.candidate.name}"
    return OmegaConf.to_yaml(node)


def _test(cfg: DictConfig, candidate: Candidate, overrides: list[str]) -> Tested:
    """Measure a setting on the test queries, as any run: this is the only place where they are looked at."""
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.method = candidate.node
    name = next(text for text in overrides if text.startswith("method=")).removeprefix("method=")
    run_id = run(cfg, name, overrides)
    per_query = Store(Path(cfg.results_dir)).per_query(run_id)
    metrics = {
        metric: per_query[metric].to_numpy(dtype=float)
        for metric in ("overlap_at_10", "ndcg_at_10")
        if metric in per_query.columns
    }
    return Tested(run_id, metrics)
