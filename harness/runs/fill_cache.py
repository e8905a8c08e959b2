"""`vecbudget encode`: put the embeddings of a dataset into the cache, whole or in parts, and measure nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from harness.base.errors import ConfigError, VecbudgetError, was_interrupted
from harness.data.models.float16 import cached_as
from harness.data.shards import Shard
from harness.runs.config import RunConfig, shared
from harness.runs.inputs import load_dataset

log = logging.getLogger(__name__)

failures: list[str] = []
"""One line for each part that failed in this process."""


@dataclass
class EncodeConfig:
    """What `vecbudget encode` takes. The groups `model` and `dataset` are those of a run.

    Attributes
    ----------
    shard : str or None
        The part of the documents to encode, 3/8 for the third of eight; None for all. `shard=1-8/8` is a sweep over
        parts, which a launcher deals out to workers: `hydra/launcher=joblib`. Whoever finishes the last part joins
        them.
    measure : bool
        Time the model though its vectors are in the cache: what encoding takes is measured when vectors are made, and
        those of older versions lack it.
    seed : int
        Of a method that compresses the table of a static model.
    layers : list of int or None
        Fill the cache for `model.layers=K` for each of these K, by one pass of the whole model; 0 are the embeddings.
    cache_dtype, cache_dir : str
        As a run's.
    results_dir : str
        Where launchers keep their files.
    """

    model: Any = None
    dataset: Any = None
    shard: str | None = None
    measure: bool = False
    seed: int = 0
    layers: list[int] | None = None
    cache_dtype: str = RunConfig.cache_dtype
    cache_dir: str = RunConfig.cache_dir
    results_dir: str = RunConfig.results_dir


ConfigStore.instance().store(name="encode_schema", node=EncodeConfig)


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="encode")
def main(cfg: DictConfig) -> int:
    """Encode what Hydra composed; return 0, or 1 after saying in one line why it failed."""
    try:
        encode(cfg)
    except Exception as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        if not isinstance(error, VecbudgetError):
            raise
        failures.append(str(error))
        log.error("vecbudget: %s", error)
        return 1
    return 0


def encode(cfg: DictConfig) -> None:
    """Encode a dataset, or a part of it, unless the cache has it.

    Raises
    ------
    ConfigError
        For a part that is none or is to be timed, or another type than float32 and float16.
    ModelError, CacheError
        See `harness.data.embedding_cache.fill`.
    """
    from harness.data.embedding_cache import fill

    shard = None if cfg.shard is None else Shard.parse(cfg.shard)
    if cfg.layers is not None:
        if shard is not None or cfg.cache_dtype != "float32":
            raise ConfigError("layers=[...] encodes whole collections, as float32: leave shard and cache_dtype out")
        from harness.data.layer_pass import fill_layers

        dataset = load_dataset("dataset", cfg.dataset)
        fill_layers(dataset, shared("model", cfg.model), list(cfg.layers), Path(cfg.cache_dir).expanduser())
        return
    encoder = cached_as(shared("model", cfg.model), cfg.cache_dtype)
    if cfg.measure and shard is not None:
        raise ConfigError("measure=true times the model on the whole collection: leave shard out")
    cache_dir = Path(cfg.cache_dir).expanduser()
    fill(load_dataset("dataset", cfg.dataset), encoder, cache_dir, shard, measured=cfg.measure)


def is_sweep(overrides: Sequence[str]) -> bool:
    """Whether overrides ask for several encodings, or for a launcher of them."""
    values = [text.partition("=")[2] for text in overrides]
    # a comma in brackets divides a list
    several = any("," in value and not value.startswith("[") for value in values)
    return several or any(text.startswith("hydra/launcher=") for text in overrides)
