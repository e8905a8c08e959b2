"""Hybrids: runs of one collection under several models, with their rankings fused and their bytes added up.

A hybrid's parts are runs like any other, made first where they are not on record yet. What is fused is what two
indexes answer that are asked for their best documents each; nothing is searched again, and no byte is estimated. Ids
are no part of what codes cost here, so that parts that share them pay for them once.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from harness.base.errors import ConfigError
from harness.base.suggestions import not_among
from harness.data.datasets import Dataset
from harness.data.models.float16 import is_rounded
from harness.evaluation.exact_search import own_rows
from harness.evaluation.fusion import Fusion
from harness.evaluation.metric_registry import computed, metric
from harness.evaluation.rankings import Rankings
from harness.evaluation.reference import REFERENCE
from harness.evaluation.retrieval_metrics import Float64, Judgements, PerQuery
from harness.runs.catalogue import members
from harness.runs.config import run_id, shared
from harness.runs.inputs import load_dataset
from harness.runs.record import Identity, MethodEntry, ModelEntry, Record, StorageEntry
from harness.runs.store import Store

log = logging.getLogger(__name__)

Array = NDArray[Any]

OWN = "model"
"""The model of a part that is the run's own, whatever it is."""

FAMILY = "hybrid"

TRAIN, PSEUDO = "train", ("titles", "sentences")
"""In place of weights: those that are best on train queries, or on titles or sentences of the documents."""

WEIGHTS = tuple(step / 20 for step in range(21))
"""Of the second part, that are tried on these queries; of equals the smaller one is taken."""

SYNTAX = "MODEL:METHOD or MODEL:METHOD:parameter=value:..., such as 'bm25:sparse_linear:bits=4' or 'model:svd_binary'"


@dataclass(frozen=True)
class PartSpec:
    """A part as it is written: a model, a method, and what is changed in the method's yaml."""

    model: str
    method: str
    changed: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> PartSpec:
        """Read a part; raises `ConfigError`."""
        model, *rest = str(text).split(":")
        if not rest or not all(rest) or not model or any("=" not in word for word in rest[1:]):
            raise ConfigError(f"method.parts: '{text}' is no part; it is {SYNTAX}")
        for group, name in (("method", rest[0]), ("model", model)):
            if name not in members(group) and not (group == "model" and name == OWN):
                listed = f"vecbudget list {group}s"
                raise ConfigError(f"method.parts: {not_among(name, list(members(group)), listed)}")
        return cls(model, rest[0], tuple(rest[1:]))

    def config(self, cfg: DictConfig, overrides: Sequence[str], depth: int) -> tuple[DictConfig, list[str]]:
        """Return the part's configuration, and the overrides that make it, from those of the hybrid's run."""
        part = cfg.copy()
        part.k = max(cfg.k, depth)
        part.method = OmegaConf.create(members("method")[self.method].read_text(encoding="utf-8"))
        kept = [text for text in overrides if not _is_of("method", text)]
        if self.model != OWN:
            part.model = OmegaConf.create(members("model")[self.model].read_text(encoding="utf-8"))
            kept = [text for text in kept if not _is_of("model", text)] + [f"model={self.model}"]
        if cfg.cache_dtype != "float32" and not is_rounded(shared("model", part.model)):
            # it is asked for those parts that have vectors
            part.cache_dtype = "float32"
            kept = [text for text in kept if not _is_of("cache_dtype", text)]
        for change in self.changed:
            key, _, value = change.partition("=")
            OmegaConf.update(part.method, key, OmegaConf.from_dotlist([f"x={value}"]).x)
        return part, [*kept, f"method={self.method}", *(f"method.{change}" for change in self.changed)]


def _is_of(group: str, override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return key == group or key.startswith(f"{group}.")


def is_hybrid(cfg: DictConfig) -> bool:
    """Whether a configuration's method is a fusion of others."""
    return isinstance(cfg.method, DictConfig) and "parts" in cfg.method


def run_hybrid(
    cfg: DictConfig,
    name: str,
    overrides: Sequence[str],
    dataset: Dataset,
    run_part: Callable[[DictConfig, str, list[str]], str],
) -> str:
    """Run a hybrid's parts unless they are on record, fuse their rankings, and record the result; return its run id.

    Raises
    ------
    ConfigError
        For parts that are none, or a rule that makes no sense.
    """
    method = cfg.method
    specs = [PartSpec.of(text) for text in method.parts]
    store = Store(Path(cfg.results_dir))
    learned = ""
    if isinstance(method.weights, str):
        weights, learned = _learned_weights(cfg, specs, overrides, store, run_part)
    else:
        weights = tuple(float(weight) for weight in method.weights)
    fusion = Fusion(method.rule, weights, method.constant, method.depth)
    if len(specs) != len(fusion.weights):
        raise ConfigError(f"method.parts has {len(specs)} parts and method.weights {len(fusion.weights)} weights")
    ids = []
    for spec in specs:
        part, part_overrides = spec.config(cfg, overrides, fusion.depth)
        ids.append(run_part(part, spec.method, part_overrides))
    parts = [store.read(identifier) for identifier in ids]
    record = hybrid_record(parts, fusion, cfg.k)
    record = dataclasses.replace(
        record, command=shlex.join(["vecbudget", "run", *overrides]), fit_queries=learned or record.fit_queries
    )
    if not cfg.overwrite and store.has(record.run_id):
        log.info("%-28s recorded already: %s", record.method.setting, store.path(record.run_id))
        return record.run_id
    finished = fused(record, [store.ranking(identifier) for identifier in ids], fusion, dataset)
    path = commit(store, finished, dataset)
    log.info("%-28s %s  -> %s", record.method.setting, finished.record.summary(), path)
    return record.run_id


def _learned_weights(
    cfg: DictConfig,
    specs: Sequence[PartSpec],
    overrides: Sequence[str],
    store: Store,
    run_part: Callable[[DictConfig, str, list[str]], str],
) -> tuple[tuple[float, ...], str]:
    """Return the weights of two parts that are best on queries which are no test queries, and what these are.

    The parts are run on these queries as on any, and recorded so.
    """
    source = cfg.method.weights
    if len(specs) != 2 or source not in (TRAIN, *PSEUDO):
        raise ConfigError(
            f"method.weights is a number for each part, or for two parts {TRAIN}, {' or '.join(PSEUDO)}, got {source} "
            f"for {len(specs)} parts"
        )
    asked, given = cfg.copy(), [text for text in overrides if not _is_of("dataset", text)]
    if source == TRAIN:
        if "split" not in asked.dataset or asked.dataset.get("train_split") is None:
            raise ConfigError("method.weights=train is for a collection of splits, such as dataset=folder")
        given = [text for text in overrides if not text.lstrip("+").startswith("dataset.split=")]
        given.append(f"dataset.split={asked.dataset.train_split}")
        asked.dataset.split = asked.dataset.train_split
    else:
        loader = OmegaConf.to_container(cfg.dataset, resolve=True)
        asked.dataset = OmegaConf.create(members("dataset")["pseudo"].read_text(encoding="utf-8"))
        asked.dataset.of, asked.dataset.source = loader, source
        given += ["dataset=pseudo", f"dataset.of={_as_override(loader)}", f"dataset.source={source}"]
    tested, dataset = load_dataset("dataset", cfg.dataset), load_dataset("dataset", asked.dataset)
    # a test query that stands among them as well has no say
    same = {*tested.query_ids, *(tested.query_texts or [])}
    asked_texts = dataset.query_texts or dataset.query_ids
    free = [not {id_, text} & same for id_, text in zip(dataset.query_ids, asked_texts, strict=True)]
    if not any(free):
        raise ConfigError(f"method.weights={source}: {tested.name} has no such queries that are not test queries too")
    rankings = []
    for spec in specs:
        part, part_overrides = spec.config(asked, given, cfg.method.depth)
        rankings.append(store.ranking(run_part(part, spec.method, part_overrides)))
    judgements = Judgements.of(dataset)
    assert judgements is not None
    scores = []
    for weight in WEIGHTS:
        fusion = Fusion(cfg.method.rule, (1 - weight, weight), cfg.method.constant, cfg.method.depth)
        scores.append(float(fused_quality(rankings, fusion, judgements)[free].mean()))
    best = WEIGHTS[int(np.argmax(scores))]
    learned = f"{sum(free)} {'train queries' if source == TRAIN else source}"
    log.info("weights %.2f and %.2f by %s", 1 - best, best, learned)
    return (1 - best, best), learned


def _as_override(node: Any) -> str:
    """Return a mapping of plain values as Hydra reads it on a command line."""
    return "{" + ",".join(f"{key}:{json.dumps(value)}" for key, value in node.items()) + "}"


@dataclass(frozen=True, eq=False)
class Fused:
    """A hybrid's record, its metrics by query, and its ranking."""

    record: Record
    per_query: PerQuery
    ranking: Array
    scores: Array


def hybrid_record(parts: Sequence[Record], fusion: Fusion, k: int) -> Record:
    """Return what is known of a hybrid before its rankings are fused: its identity, and its bytes.

    Raises
    ------
    ConfigError
        For parts that were not measured on one collection.
    """
    first = parts[0]
    if len({part.identity.dataset for part in parts}) != 1:
        names = ", ".join(f"{part.method.setting} on {part.dataset.name}" for part in parts)
        raise ConfigError(f"a hybrid's parts must be measured on one collection, but these are not: {names}")
    identity = Identity(
        dataset=first.identity.dataset,
        model={
            role: {"hybrid": [part.identity.model.get(role, {}) for part in parts]} for role in ("document", "query")
        },
        method={
            "fusion": {**dataclasses.asdict(fusion), "weights": list(fusion.weights)},
            "parts": [part.run_id for part in parts],
        },
        k=k,
    )
    return Record(
        run_id=run_id(identity.to_json()),
        status="ok",
        created=max(part.created for part in parts),
        git_commit=first.git_commit,
        identity=identity,
        model=ModelEntry(name=" + ".join(dict.fromkeys(part.model.name for part in parts))),
        dataset=first.dataset,
        method=MethodEntry(name=FAMILY, params=_in_words(parts, fusion), family=FAMILY, scoring=fusion.rule),
        fit_queries="none",
        versions=first.versions,
        machine=first.machine,
        dim=sum(part.dim or 0 for part in parts),
        representation=FAMILY,
        parts=[part.run_id for part in parts],
        storage=_summed([part.storage for part in parts]),
    )


def _in_words(parts: Sequence[Record], fusion: Fusion) -> str:
    """Return what tables say of a hybrid: its parts with their weights, and the rule."""
    words = [
        f"{weight:g} × {part.model.name} {part.method.setting}"
        for weight, part in zip(fusion.weights, parts, strict=True)
    ]
    return f"{' + '.join(words)}, {fusion.rule}"


def _summed(storages: Sequence[StorageEntry]) -> StorageEntry:
    """Return the bytes of several indexes beside each other."""
    names = [item.name for item in dataclasses.fields(StorageEntry) if item.name != "more"]

    def total(name: str) -> float:
        return reduce(lambda whole, storage: whole + float(getattr(storage, name)), storages, 0.0)

    sums: dict[str, Any] = {name: total(name) for name in names}
    return StorageEntry(**sums)


def fused(record: Record, rankings: Sequence[dict[str, Array]], fusion: Fusion, dataset: Dataset) -> Fused:
    """Fuse the parts' rankings, and evaluate what comes out.

    Parameters
    ----------
    record : Record
        From `hybrid_record`.
    rankings : sequence of dict
        `rows` and `scores` (m, k) of each part.
    fusion : Fusion
    dataset : Dataset
        For its judgements.
    """
    ranking, scores = fusion.fuse(
        [found["rows"] for found in rankings], [found["scores"] for found in rankings], record.identity.k
    )
    judgements = Judgements.of(dataset)
    per_query: PerQuery = {}
    if judgements is not None:
        per_query = computed(Rankings(ranking, scores, len(dataset.doc_ids), judgements, None, None, own_rows(dataset)))
    means = {name: float(values.mean()) for name, values in per_query.items()}
    return Fused(dataclasses.replace(record, metrics=means), per_query, ranking, scores)


def fused_quality(rankings: Sequence[dict[str, Array]], fusion: Fusion, judgements: Judgements) -> Float64:
    """Return the headline metric of each query, (m,), if the parts' rankings are fused; no other is computed."""
    wanted = metric(REFERENCE.judged_metric)
    ranking, scores = fusion.fuse(
        [found["rows"] for found in rankings], [found["scores"] for found in rankings], wanted.depth
    )
    return computed(Rankings(ranking, scores, judgements.n, judgements), [wanted])[wanted.name]


def commit(store: Store, finished: Fused, dataset: Dataset) -> Path:
    """Write a hybrid's record."""
    ranking = {"rows": finished.ranking.astype(np.int32), "scores": finished.scores}
    draft = store.draft(finished.record.run_id)
    return store.commit(finished.record.run_id, draft, finished.record, dataset.query_ids, finished.per_query, ranking)


def shares(parts: Sequence[Record]) -> list[float]:
    """Return what share of a hybrid's bytes each part has."""
    sizes = [part.storage.code_bytes_per_vector for part in parts]
    whole = math.fsum(sizes)
    return [size / whole if whole else math.nan for size in sizes]
