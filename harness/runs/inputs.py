"""What a run works on: dataset, model, method, and the rows and queries that the method is fitted with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
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
from harness.data.datasets.subset import subset
from harness.data.models.bm25 import BM25Model
from harness.data.models.encoder import kind_given
from harness.data.models.float16 import cached_as
from harness.data.models.query_model import two_models
from harness.data.token_columns import refuse_missing_columns, with_columns
from harness.data.training_queries import FitQueries
from harness.runs.config import MethodFacts, MethodSpec, as_mapping, run_id, shared
from harness.runs.record import Identity
from methods.representations import IN_WORDS, INSTEAD

if TYPE_CHECKING:
    from harness.data.embedding_cache import Vectors
    from harness.evaluation.measure import Problem
    from harness.runs.parts import Parts

Float32 = NDArray[np.float32]

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """A collection divided into documents that are searched and others that methods are fitted on."""

    searched: Dataset
    fitted: Dataset
    searched_rows: Int64
    fitted_rows: Int64


@dataclass(frozen=True, eq=False)
class FitData:
    """What a method is fitted with.

    Attributes
    ----------
    docs : float32 (f, d) or None
        None for the documents that are searched.
    unseen_rows : int64 or None
        Rows of the searched documents that are not among them; None where that has no meaning.
    queries : float32 (q, d) or None
    pairs : int64 (p, 2) or None
        Rows of queries and of the documents that answer them.
    """

    docs: Float32 | None
    unseen_rows: Int64 | None
    queries: Float32 | None
    pairs: Int64 | None


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a configuration stands for, but for the method. Nothing is encoded before `problem` and `fit_data`.

    Attributes
    ----------
    dataset : Dataset
        The whole collection.
    fit_dataset : Dataset or None
        Another one that the method is fitted on.
    encoder : harness.data.models.encoder.Encoder
    method : MethodFacts
    split : Split or None
        Where the documents for fitting leave the collection.
    fit_rows : int64 or None
        Rows of `fit_dataset`, or else of the collection, that the method is fitted on; None for all.
    fit_queries : FitQueries or None
        None for a method that wants none.
    wanted_queries : str
        Which of them the configuration asks for, "auto" and so on.
    k : int
        Depth of the rankings.
    cache_dir : str
    """

    dataset: Dataset
    fit_dataset: Dataset | None
    encoder: Any
    method: MethodFacts
    split: Split | None
    fit_rows: Int64 | None
    fit_queries: FitQueries | None
    wanted_queries: str
    k: int
    cache_dir: str

    @classmethod
    def of(cls, cfg: DictConfig | Mapping[str, Any], method: MethodFacts | None = None) -> Inputs:
        """Resolve a composed configuration, see `harness.runs.config.RunConfig`.

        Parameters
        ----------
        cfg : DictConfig, or the same as plain data
        method : MethodFacts or None
            Of its method; None reads them off its node.

        Raises
        ------
        ConfigError
            For a setting that is out of range, or at odds with another.
        DatasetError, ModelError
            If a dataset or a model cannot be loaded.
        """
        if isinstance(cfg, DictConfig):
            method = method or MethodSpec(cfg.method, cfg.index).facts
            cfg = as_mapping(cfg)
        if cfg["k"] < 1:
            raise ConfigError(f"k must be at least 1, got {cfg['k']}")
        training_queries.check(cfg["fit_queries"])
        assert method is not None
        dataset = collection_of(cfg)
        if dataset.whole is not None and method.wants_columns:
            raise ConfigError("corpus_share: this method reads more of tokens than vectors, which subsets do not have")
        fit_dataset = None if cfg["fit_dataset"] is None else load_dataset("fit_dataset", cfg["fit_dataset"])
        encoder = model_of(cfg)
        split, fit_rows = None, None
        if cfg["fit_disjoint"]:
            if fit_dataset is not None or cfg["fit_sample"] is None:
                lacks = cfg["fit_sample"] is None
                wrong = "has no fit_sample=N" if lacks else "has a fit_dataset, which is disjoint anyway"
                raise ConfigError(f"fit_disjoint=true divides the collection's own documents, but this run {wrong}")
            split = split_off(dataset, cfg["fit_sample"])
        else:
            fit_rows = _drawn(fit_dataset or dataset, cfg["fit_sample"])
        fit_queries = None
        _check_kinds(method, encoder)
        if method.wants_columns:
            refuse_missing_columns(method.wants_columns, encoder)
        if method.wants_queries:
            source = (fit_dataset or dataset) if split is None else split.fitted
            if fit_rows is not None:
                source = _part(source, len(fit_rows))
            fit_queries = _fit_queries(cfg["fit_queries"], source, encoder, dataset)
        return cls(
            dataset=dataset,
            fit_dataset=fit_dataset,
            encoder=encoder,
            method=method,
            split=split,
            fit_rows=fit_rows,
            fit_queries=fit_queries,
            wanted_queries=cfg["fit_queries"],
            k=cfg["k"],
            cache_dir=cfg["cache_dir"],
        )

    @cached_property
    def identity(self) -> Identity:
        """Everything that determines the numbers."""
        roles = ("document", "query")
        return Identity(
            dataset=self.dataset.fingerprint,
            model={role: dict(self.encoder.identity(role, self.dataset.task)) for role in roles},
            method=self.method.identity,
            k=self.k,
            fit_dataset=None if self.fit_dataset is None else self.fit_dataset.fingerprint,
            fit_disjoint=self.split is not None,
            fit_sample=self.fit_sample,
            fit_queries=None if self.fit_queries is None else self.fit_queries.identity(self.method.wants_pairs),
        )

    @cached_property
    def run_id(self) -> str:
        """The hash of the identity."""
        return run_id(self.identity.to_json())

    def of_method(self, method: MethodFacts) -> Inputs:
        """Return the same for another method, which takes and wants what this one does."""
        return dataclasses.replace(self, method=method)

    @property
    def fit_sample(self) -> int | None:
        """Documents that were drawn for fitting; None where all are taken."""
        rows = self.fit_rows if self.split is None else self.split.fitted_rows
        return None if rows is None else len(rows)

    @property
    def conditions(self) -> list[str]:
        """What tables say of the fitting, beside the method's own parameters."""
        stated = [] if self.fit_dataset is None else [f"fit_dataset={self.fit_dataset.name}"]
        stated += [] if self.fit_sample is None else [f"fit_sample={self.fit_sample}"]
        stated += [] if self.split is None else ["fit_disjoint=true"]
        if self.fit_queries is not None and self.wanted_queries != "auto":
            stated.append(f"fit_queries={self.fit_queries.source}")
        return stated

    @property
    def searched(self) -> Dataset:
        """The documents that are searched, and the queries."""
        return self.dataset if self.split is None else self.split.searched

    def problem(self, parts: Parts | None = None) -> Problem:
        """Return vectors, exact ranking and judgements that methods are measured on; kept for the next run of them.

        With `parts` the ranking is made in these.
        """
        found = _problem(self.dataset, self.encoder, self.cache_dir, self.k, self.split, parts)
        if not self.method.wants_columns:
            return found
        docs = self._with_columns(load_vectors(self.dataset, self.encoder, self.cache_dir).docs, self.dataset)
        return dataclasses.replace(found, docs=docs if self.split is None else take(docs, self.split.searched_rows))

    def vectors(self) -> Vectors:
        """Return the vectors that are searched, and the queries', without ranking anything."""
        return _searched_vectors(self.dataset, self.encoder, self.cache_dir, self.split)

    @property
    def encoding(self) -> dict[str, dict[str, Any]] | None:
        """What making the vectors took, by role; None where that is not known."""
        found = load_vectors(self.dataset, self.encoder, self.cache_dir).encoding
        return {role: dict(cost) for role, cost in found.items()} or None

    def _with_columns(self, docs: Any, dataset: Dataset) -> Any:
        """Return documents with what the method reads of tokens beside their vectors."""
        if not self.method.wants_columns:
            return docs
        return with_columns(docs, self.method.wants_columns, dataset, self.encoder, Path(self.cache_dir).expanduser())

    def fit_data(self) -> FitData:
        """Return the vectors that the method is fitted with."""
        source = self.fit_dataset or self.dataset
        vectors = load_vectors(source, self.encoder, self.cache_dir)
        vectors = dataclasses.replace(vectors, docs=self._with_columns(vectors.docs, source))
        rows = self.fit_rows if self.split is None else self.split.fitted_rows
        if rows is not None:
            vectors = dataclasses.replace(vectors, docs=take(vectors.docs, rows))
        unseen = None
        if self.fit_rows is not None and self.fit_dataset is None:
            unseen = _others(len(self.dataset.doc_ids), self.fit_rows)
        return FitData(
            docs=None if rows is None and self.fit_dataset is None else vectors.docs,
            unseen_rows=unseen,
            queries=None if self.fit_queries is None else self.fit_queries.vectors(vectors),
            pairs=None if self.fit_queries is None else self.fit_queries.pairs,
        )


def _check_kinds(method: MethodFacts, encoder: Any) -> None:
    """Refuse a method that does not take what the model gives."""
    gives = kind_given(encoder)
    if method.takes != gives:
        raise ConfigError(
            f"this method takes {IN_WORDS[method.takes]}, but {encoder.name} gives {IN_WORDS[gives]}: choose "
            f"{INSTEAD[gives]}"
        )


def load_dataset(group: str, node: Any) -> Dataset:
    """Return the dataset that a configuration's node names, composed or plain, loaded once in a process."""
    return _load(shared(group, node).load)


def collection_of(cfg: DictConfig | Mapping[str, Any]) -> Dataset:
    """Return the collection that a configuration measures on, or the subset of it that is asked for."""
    dataset = load_dataset("dataset", cfg["dataset"])
    # configurations of before there were subsets do not say it
    share = cfg.get("corpus_share")
    return dataset if share is None else _subset(dataset, share, cfg["corpus_seed"])


def model_of(cfg: DictConfig | Mapping[str, Any]) -> Any:
    """Return the encoder that a configuration names."""
    queries = cfg.get("query_model")
    return two_models(
        cached_as(shared("model", cfg["model"]), cfg["cache_dtype"]),
        None if queries is None else cached_as(shared("query_model", queries), cfg["cache_dtype"]),
    )


def width_of(cfg: DictConfig) -> int:
    """Return the dimensions of the vectors that a configuration compresses.

    They are read off the dataset or the model where these know them; otherwise the vectors come from the cache, or are
    encoded into it, as the run itself will want them.
    """
    dataset, encoder = load_dataset("dataset", cfg.dataset), model_of(cfg)
    if dataset.doc_vectors is not None:
        return int(dataset.doc_vectors.shape[1])
    known = getattr(encoder, "width", None)
    return int(load_vectors(dataset, encoder, cfg.cache_dir).docs.shape[1] if known is None else known)


@functools.lru_cache(maxsize=4)
def load_vectors(dataset: Dataset, encoder: Any, cache_dir: str) -> Vectors:
    """Return a dataset's vectors, from the cache or encoded into it; those of a subset are taken from the whole's."""
    from harness.data.embedding_cache import embed

    # how a lexical model weighs terms depends on the documents that there are
    if dataset.whole is not None and dataset.whole_rows is not None and not isinstance(encoder, BM25Model):
        vectors = load_vectors(dataset.whole, encoder, cache_dir)
        return dataclasses.replace(vectors, docs=take(vectors.docs, dataset.whole_rows))
    return embed(dataset, encoder, Path(cache_dir).expanduser())


@functools.lru_cache(maxsize=2)
def split_off(dataset: Dataset, count: int) -> Split:
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
    searched = _others(len(dataset.doc_ids), fitted)
    return Split(dataset.part(searched), dataset.part(fitted), searched, fitted)


def _others(n: int, rows: Int64) -> Int64:
    """Return the rows of n that are not among some, ascending."""
    left = np.ones(n, dtype=bool)
    left[rows] = False
    return np.flatnonzero(left)


def _drawn(dataset: Dataset, count: int | None) -> Int64 | None:
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


_subset = functools.lru_cache(maxsize=4)(subset)

_fit_queries = functools.lru_cache(maxsize=8)(training_queries.choose)


@functools.lru_cache(maxsize=2)
def _problem(
    dataset: Dataset, encoder: Any, cache_dir: str, k: int, split: Split | None, parts: Parts | None
) -> Problem:
    # imported here, so that a sweep over finished runs does not wait for it
    from harness.evaluation.measure import Problem

    vectors = _searched_vectors(dataset, encoder, cache_dir, split)
    searched = dataset if split is None else split.searched
    cache = Path(cache_dir).expanduser()
    large_search = None if parts is None else parts.exact
    docs, queries, old_queries = vectors.docs, vectors.queries, vectors.old_queries
    return Problem.of(searched, docs, queries, k, old_queries, vectors.dictionary, cache, large_search)


def _searched_vectors(dataset: Dataset, encoder: Any, cache_dir: str, split: Split | None) -> Vectors:
    """Return a dataset's vectors, less the documents that left for fitting."""
    vectors = load_vectors(dataset, encoder, cache_dir)
    return vectors if split is None else dataclasses.replace(vectors, docs=take(vectors.docs, split.searched_rows))


@functools.cache
def _load(load: Callable[[], Dataset]) -> Dataset:
    return load()
