"""What the model, the collection and the compression of a record are called in MTEB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.base.errors import MissingExtraError, VecbudgetError
from harness.runs.record import Record

MTEB_TASK = "harness.data.datasets.MtebTask"
MINILM = "harness.data.models.Minilm"
MINILM_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
"""`Minilm` checks its weights against the published ones, so it is that model."""

UNFIT = r'[<>:"|?*\\/\0]'
"""What MTEB leaves out of the names of files."""

FULL_DEPTH = 100
"""Depth of a ranking that needs no mention: the default of `RunConfig.k`."""

UNDETERMINED = "und-Zyyy"
"""Language and script of a collection that MTEB does not know (ISO 639-3, ISO 15924)."""


class NotInMtebError(VecbudgetError):
    """A record that has no counterpart in MTEB; says why."""


@dataclass(frozen=True)
class Task:
    """Where in MTEB a record's scores belong.

    Attributes
    ----------
    name, split, subset : str
    revision : str
        Of the data; "vecbudget-<fingerprint>" where their source names none.
    languages : tuple of str
        Such as "eng-Latn".
    main_score : str
        The metric by which MTEB ranks.
    """

    name: str
    split: str
    subset: str
    revision: str
    languages: tuple[str, ...]
    main_score: str


def task_of(record: Record, tasks: Mapping[str, str]) -> Task:
    """Return where a record's scores belong.

    Parameters
    ----------
    record : Record
        See `harness.runs.store.Store.read`.
    tasks : mapping of dataset name to MTEB's task name
        For collections that were not loaded by MTEB and yet are its tasks; others keep their name.

    Raises
    ------
    NotInMtebError
        For a collection of which a part was not searched, or a subset that is not known.
    MissingExtraError
        Without the package mteb.
    """
    config, dataset = record.config["dataset"], record.dataset
    if record.identity.fit_disjoint:
        raise NotInMtebError("its documents for fitting were left out of the search (fit_disjoint=true)")
    by_mteb = config.get("_target_") == MTEB_TASK
    name = tasks.get(dataset.name, config["name"] if by_mteb else re.sub(UNFIT, "_", dataset.name))
    split, subset = config.get("split"), config.get("subset")
    known = _task_metadata(name)
    revision = dataset.revision or f"vecbudget-{dataset.fingerprint}"
    if known is None:
        return Task(name, split or "test", subset or "default", revision, (UNDETERMINED,), "ndcg_at_10")
    subsets = known.hf_subsets_to_langscripts
    if subset is None:
        if len(subsets) > 1:
            raise NotInMtebError(f"{name} has {len(subsets)} subsets, and the record does not say which this is")
        subset = next(iter(subsets))
    return Task(
        name=name,
        split=split or known.eval_splits[0],
        subset=subset,
        revision=revision,
        languages=tuple(subsets.get(subset, (UNDETERMINED,))),
        main_score=known.main_score,
    )


def model_of(record: Record, models: Mapping[str, str]) -> tuple[str, str]:
    """Return a record's model as "organisation/name", and its revision.

    A model of the hub or of MTEB's registry has both already. A folder, or a file of vectors, becomes "local/name",
    and its revision is made of the hash of its content.

    Parameters
    ----------
    record : Record
    models : mapping of model name, as tables call it, to "organisation/name"
        Overrules the rest.
    """
    label, identity = record.model.name, record.identity.model["document"]
    base = label.partition(" ")[0]
    given = models.get(label, models.get(base))
    name = given or name_of(base, identity, record.config["model"].get("_target_"))
    return name, revision_of(identity, record.dataset.fingerprint or "")


def name_of(label: str, identity: Mapping[str, Any], target: str | None = None) -> str:
    """Return "organisation/name" of a model from its identity; see `harness.data.models.encoder.Encoder`."""
    if target == MINILM:
        return MINILM_HUB_NAME
    name = str(identity.get("model") or identity.get("mteb") or label)
    return name if "/" in name else f"local/{name}"


def revision_of(identity: Mapping[str, Any], dataset_fingerprint: str = "") -> str:
    """Return the revision of a model from its identity: a commit, or a mark made of the hash of its content."""
    if identity.get("revision"):
        return str(identity["revision"])
    for key in ("content", "vectors"):
        if key in identity:
            content = str(identity[key])
            # vectors that are a dataset's own are in its fingerprint
            return f"{key}-{content[:12] if content.isalnum() else dataset_fingerprint}"
    return "no_revision_available"


def compression(
    method: str, params: str, scoring: str, seed: int | None, code_bytes_per_vector: float | None = None, **more: Any
) -> dict[str, Any]:
    """Return the entries of `ModelMeta.experiment_kwargs` that name a compression; what is empty is left out."""
    entries = {
        "method": method,
        "params": params,
        "scoring": scoring,
        "seed": seed,
        "code_bytes_per_vector": None if code_bytes_per_vector is None else round(code_bytes_per_vector, 4),
        **more,
    }
    return {key: value for key, value in entries.items() if value not in (None, "")}


def compression_of(record: Record) -> dict[str, Any]:
    """Return the same of a record, with the settings that change the model's vectors or the depth of the ranking."""
    method, depth = record.method, record.identity.k
    return compression(
        method.name,
        method.params,
        method.scoring,
        method.seed,
        record.storage.code_bytes_per_vector,
        model_settings=record.model.name.partition(" ")[2],
        k=None if depth == FULL_DEPTH else depth,
    )


def model_meta(name: str, revision: str, experiment: Mapping[str, Any] | None, **more: Any) -> Any:
    """Return a `mteb.ModelMeta`: the registry's entry where it has one, else an empty one, with these entries."""
    from mteb.models.model_meta import ModelMeta

    entries = {"revision": revision, "experiment_kwargs": dict(experiment) if experiment else None, **more}
    try:
        return mteb_package("naming its models").get_model_meta(name).model_copy(update=entries)
    except KeyError:
        return ModelMeta.create_empty({"name": name, **entries})


def mteb_package(purpose: str) -> Any:
    """Return the package mteb; raises `MissingExtraError` without it."""
    try:
        import mteb
    except ImportError as error:
        raise MissingExtraError("mteb", "mteb", purpose) from error
    return mteb


def _task_metadata(name: str) -> Any:
    try:
        return mteb_package("exchange with MTEB").get_task(name).metadata
    except KeyError:
        return None
