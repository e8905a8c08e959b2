"""What a model's vectors are like on one collection: diagnosed from a composed configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from harness.analysis.long_mean import HALF, LONG_MEAN, switches_that_hold, switches_that_lose
from harness.base.errors import ConfigError, ModelError
from harness.base.sampling import sampled
from harness.data.models.encoder import kind_given
from harness.data.models.float16 import cached_as
from harness.runs.config import RunConfig, shared
from harness.runs.inputs import load_dataset, load_vectors
from methods.representations import IN_WORDS

if TYPE_CHECKING:
    from harness.analysis.diagnostics import Diagnosis


Float32 = NDArray[np.float32]

Int64 = NDArray[np.int64]

SIZES = (6, 12, 24, 48, 96, 192, 384, 768)
"""Bytes per vector at which the rate-distortion curve is printed, as far as 8 bits a dimension."""

LABELS = {
    "rankme": ("effective rank (RankMe)", "up to the dimensions; how many directions are in use"),
    "participation_ratio": ("participation ratio", "same, of the covariance; a few strong directions bring it down"),
    "dimension_two_nn": ("intrinsic dimension, two nearest", "degrees of freedom of the cloud at its finest scale"),
    "dimension_mle": ("intrinsic dimension, likelihood of 20", "same, from 20 neighbours"),
    "duplicates": ("repeated vectors left out of both", "within 1e-5 of an earlier one"),
    "mean_cosine": ("mean cosine of all pairs", "0 is isotropic"),
    "mean_norm_share": ("norm of the mean / RMS norm", "0 is centred; the share that subtracting the mean removes"),
    "partition_ratio": ("partition function, least / most", "1 is isotropic"),
    "hubness": ("hubness: skewness of 10-occurrence", "few documents in many top tens"),
    "hubness_by_chance": ("  by chance", "what so many lists give without hubs"),
    "never_found": ("share of documents in no top ten", "antihubs"),
    "kurtosis_median": ("kurtosis, median dimension", "0 is normal"),
    "kurtosis_max": ("kurtosis, highest", "heavy tails: clipping matters"),
    "constant_dimensions": ("constant dimensions", "left out of the kurtosis; they need no bits"),
    "outlier_dimensions": ("outlier dimensions", "|mean| or variance over median + 6 robust SD"),
    "norm_mean": ("mean norm", ""),
    "norm_spread": ("norm spread (SD / mean)", "0: inner product ranks as cosine does"),
}


@dataclass
class InspectConfig:
    """What `vecbudget inspect` takes. The groups `model` and `dataset` are those of a run.

    Attributes
    ----------
    other : node or None
        Another model of the same documents, to be compared with: `model@other=vectors other.path=FILE`.
    sample : int
        Of more documents, or more queries, so many are drawn at random, and always the same ones.
    out : str or None
        Folder for `inspect.md`, `inspect.json`, `inspect.png` and `inspect.svg`.
    cache_dtype, cache_dir : str
        What embeddings are kept as, and where.
    """

    model: Any = None
    other: Any = None
    dataset: Any = None
    sample: int = 20_000
    out: str | None = None
    cache_dtype: str = RunConfig.cache_dtype
    cache_dir: str = RunConfig.cache_dir


@dataclass(frozen=True, eq=False)
class Inspected:
    """One model's vectors of a dataset, diagnosed; the figures of queries are those of queries against documents."""

    model: str
    documents: Diagnosis
    queries: Diagnosis

    @property
    def mean_length(self) -> float:
        """Length of the mean of the documents, each of unit length: from their mean cosine. NaN of fewer than two."""
        n = self.documents.n
        return float(np.sqrt(max((1 + (n - 1) * self.documents.figures["mean_cosine"]) / n, 0.0)))


@dataclass(frozen=True, eq=False)
class Inspection:
    """All that a page says.

    Attributes
    ----------
    dataset : str
    n_docs, n_queries : int
        Before sampling.
    sets : sequence of Inspected
        The model's, then the other's.
    agreement : mapping of str to float
        linear_cka, linear_cka_unbiased and neighbour_overlap_at_10 of the two; empty where there is one.
    command : str
    """

    dataset: str
    n_docs: int
    n_queries: int
    sets: Sequence[Inspected]
    agreement: Mapping[str, float] = field(default_factory=dict)
    command: str = "vecbudget inspect"

    @property
    def warnings(self) -> list[str]:
        """What will go wrong with these vectors, and what to do; empty if nothing is known."""
        lose, hold = (", ".join(one.name for one in own) for own in (switches_that_lose(), switches_that_hold()))
        return [
            f"The mean document of {one.model} has length {one.mean_length:.2f}. From {LONG_MEAN:g} on codes about "
            f"zero lose ({HALF}): binary with centre=none, and of the stores' switches {lose} (floats that are read "
            "again make up for some of it). Codes that centre hold: binary as it is by default, rabitq, saq, int8, and "
            f"of the stores' binary switches {hold}."
            for one in self.sets
            if one.mean_length >= LONG_MEAN
        ]

    @property
    def sampling(self) -> str:
        """A sentence on what was drawn; empty if all rows were used."""
        first = self.sets[0]
        drawn = [
            f"{some.n:,} of {all_of_them:,} {name}"
            for some, all_of_them, name in (
                (first.documents, self.n_docs, "documents"),
                (first.queries, self.n_queries, "queries"),
            )
            if some.n < all_of_them
        ]
        return f"Computed on {' and '.join(drawn)}, drawn at random (seed 0)." if drawn else ""


def inspect(cfg: DictConfig, command: str = "vecbudget inspect") -> Inspection:
    """Load the vectors as a run does, from the same cache, and diagnose them.

    Raises
    ------
    ConfigError
        If fewer than 2 rows are asked for.
    ModelError
        If the other model's vectors are not of the same documents.
    """
    from harness.analysis.diagnostics import diagnose, linear_cka, neighbour_overlap

    if cfg.sample < 2:
        raise ConfigError(f"sample must be at least 2, got {cfg.sample}")
    dataset = load_dataset("dataset", cfg.dataset)
    documents = sampled(len(dataset.doc_ids), cfg.sample)
    queries = sampled(len(dataset.query_ids), cfg.sample)
    sets, docs = [], []
    for group in ("model", "other"):
        if cfg[group] is None and group == "other":
            continue
        encoder = cached_as(shared(group, cfg[group]), cfg.cache_dtype)
        if (kind := kind_given(encoder)) != "vectors":
            raise ConfigError(
                f"inspect diagnoses one vector a document, but {group}={encoder.name} gives {IN_WORDS[kind]}"
            )
        vectors = load_vectors(dataset, encoder, cfg.cache_dir)
        if len(vectors.docs) != len(dataset.doc_ids):
            raise ModelError(f"{encoder.label}: {len(vectors.docs)} vectors for {len(dataset.doc_ids)} documents")
        some = np.ascontiguousarray(vectors.docs[documents], dtype=np.float32)
        asked = np.ascontiguousarray(vectors.queries[queries])
        sets.append(Inspected(encoder.label, diagnose(some), diagnose(asked, some)))
        docs.append(some)
    agreement = {}
    if len(docs) == 2:
        biased, unbiased = linear_cka(docs[0], docs[1])
        agreement = {
            "linear_cka": biased,
            "linear_cka_unbiased": unbiased,
            "neighbour_overlap_at_10": neighbour_overlap(docs[0], docs[1]),
        }
    return Inspection(dataset.name, len(dataset.doc_ids), len(dataset.query_ids), sets, agreement, command)
