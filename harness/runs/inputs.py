"""What a run works on: dataset, model, the rows and queries that methods are fitted with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from harness.base.errors import ConfigError
from harness.base.memmap import take
from harness.base.sampling import sampled
from harness.data import training_queries
from harness.data.datasets import Dataset
from harness.data.models.float16 import cached_as
from harness.data.models.query_model import two_models
from harness.runs.config import shared

if TYPE_CHECKING:
    from harness.data.embedding_cache import Vectors
    from harness.evaluation.measure import Problem


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
    return sampled(n, count)


@functools.lru_cache(maxsize=2)
def _part(dataset: Dataset, count: int) -> Dataset:
    rows = _drawn(dataset, count)
    assert rows is not None
    return dataset.part(rows)


_fit_queries = functools.lru_cache(maxsize=8)(training_queries.choose)


@functools.lru_cache(maxsize=2)
def _problem(dataset: Dataset, encoder: Any, cache_dir: str, k: int, split: Split | None) -> tuple[Vectors, Problem]:
    from harness.evaluation.measure import Problem

    vectors = _vectors(dataset, encoder, cache_dir)
    if split is not None:
        docs = take(vectors.docs, split.searched_rows)
        return vectors, Problem.of(split.searched, docs, vectors.queries, k, vectors.old_queries)
    return vectors, Problem.of(dataset, vectors.docs, vectors.queries, k, vectors.old_queries)


@functools.lru_cache(maxsize=4)
def _vectors(dataset: Dataset, encoder: Any, cache_dir: str) -> Vectors:
    from harness.data.embedding_cache import embed

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
