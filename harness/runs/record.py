"""What a record says of a run: its parts by name and type, how they lie in run.json, and what older ones are read as.

Schema 1, of version 0.1, had no key `schema`, and named classes by the modules that they lay in. Schema 2 has the key,
and public names. `Record.from_json` reads both, and is the one place where an older record becomes today's.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from harness.base.files import hasher
from harness.data.datasets import Dataset
from harness.evaluation import spectrum_record
from harness.evaluation.metric_registry import metric
from harness.evaluation.rate_distortion import ABOUT
from harness.evaluation.reference import REFERENCE
from methods.representations import SparseVectors
from methods.token_vectors import TokenVectors
from vecbudget.former_names import current_names

if TYPE_CHECKING:
    from harness.evaluation.cost import Costs
    from harness.evaluation.measure import Measurement, Problem

SCHEMA = 2
"""Of the records that are written; those without one are of schema 1."""

FILES, CHECKSUM = "files", "checksum"
"""In run.json: the xxh3_128 of each of a record's files, and of the rest of run.json. `Store.commit` adds them."""

STATUSES = ("ok", "failed", "skipped")
"""Skipped is a setting of an experiment's list that the vectors cannot carry; like a failed one, it is due again."""

WEIGHTS = ("content", "model", "mteb", "revision", "bm25", "esa")
"""Entries of a model's identity that say which model it is, whatever the collection."""

LEAST_POINTS = 39
"""Training points a centroid below which FAISS warns: with fewer, codebooks know their documents by heart."""

LEAST_VALUES = 10
"""Numbers learned from for each trained parameter below which networks know their documents by heart."""

SUSPICIOUS = 1.05
"""A code that scores so much above the vectors that it was made from is more likely measured by another metric."""

RESULTS = ("metrics", "float32", "retention", "limits", "spectrum", "training", "seconds", "peak_memory_bytes")
"""What a finished run writes, empty or not; a failed one has none of it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A JSON object with named, typed parts.

    Attributes
    ----------
    more : dict
        Its other keys: what this version does not know, it reads and writes as it is.
    """

    more: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what is written; parts that a record does not have are left out."""
        always = self._always()
        written = {}
        for name, _, default in _parts(type(self)):
            value = getattr(self, name)
            if default is MISSING or name in always or not (value is default or value == default):
                written[name] = value.to_json() if isinstance(value, Entry) else value
        return {**written, **self.more}

    def _always(self) -> Collection[str]:
        """Return the names of the parts that are written empty, too."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Identity(Entry):
    """Everything that determines a run's numbers: what its id is the hash of.

    Attributes
    ----------
    dataset : str
        The fingerprint of the collection.
    model : dict
        The encoder's identity by role, "document" and "query".
    method : dict
        All parameters of all parts of the method, defaults included.
    k : int
        Depth of the rankings.
    fit_dataset : str or None
        The fingerprint of the other dataset that the method was fitted on.
    fit_disjoint : bool
        Whether the documents for fitting left the collection.
    fit_sample : int or None
        Documents that the method was fitted on; None for all.
    fit_queries : dict or None
        The queries that the method was fitted with, if it wants any.
    """

    dataset: str = ""
    model: dict[str, dict[str, Any]] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    k: int = 0
    fit_dataset: str | None = None
    fit_disjoint: bool = False
    fit_sample: int | None = None
    fit_queries: dict[str, Any] | None = None

    @property
    def weights(self) -> dict[str, dict[str, Any]]:
        """What says by role which model it is, whatever the collection; empty for vectors that exist already."""
        by_role = {role: _weights(of) for role, of in self.model.items()}
        return by_role if any(by_role.values()) else {}

    @property
    def fitted_elsewhere(self) -> bool:
        """Whether the method was fitted on other documents than those searched."""
        return self.fit_disjoint or self.fit_dataset is not None or self.fit_sample is not None


@dataclass(frozen=True, kw_only=True)
class ModelEntry(Entry):
    """What tables call the embedding model."""

    name: str


@dataclass(frozen=True, kw_only=True)
class DatasetEntry(Entry):
    """A collection of `n_docs` documents and `n_queries` queries, as far as it was searched.

    `metric` is how a dataset's own vectors are compared ("dot", "cosine" or "l2"): their inner products rank so. Of a
    subset, `subset_of` names the whole, and `subset_seed` says how it was drawn.
    """

    name: str
    revision: str | None = None
    fingerprint: str | None = None
    n_docs: int
    n_queries: int
    has_qrels: bool | None = None
    metric: str = "dot"
    subset_of: str = ""
    subset_seed: int = 0

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Describe a dataset."""
        return cls(
            name=dataset.name,
            revision=dataset.revision,
            fingerprint=dataset.fingerprint,
            n_docs=len(dataset.doc_ids),
            n_queries=len(dataset.query_ids),
            has_qrels=dataset.qrels is not None,
            metric=dataset.metric,
            subset_of="" if dataset.whole is None else dataset.whole.name,
            subset_seed=dataset.subset_seed,
        )


@dataclass(frozen=True, kw_only=True)
class MethodEntry(Entry):
    """What tables call the method: its yaml's name, and the overrides that make it another than the yaml's."""

    name: str
    params: str
    seed: int | None = None
    family: str
    scoring: str

    def _always(self) -> Collection[str]:
        return ("seed",)

    @property
    def setting(self) -> str:
        """Name and parameters, such as "pq m=48"."""
        return f"{self.name} {self.params}".strip()


@dataclass(frozen=True, kw_only=True)
class StorageEntry(Entry):
    """Measured bytes; what a record lacks is NaN. See `harness.evaluation.index_files`."""

    code_bytes_per_vector: float = math.nan
    resident_bytes_per_vector: float = math.nan
    disk_bytes_per_vector: float = math.nan
    codes_file_bytes: float = math.nan
    codes_header_bytes: float = math.nan
    state_bytes: float = math.nan
    index_bytes: float = math.nan
    dictionary_bytes: float = 0
    token_vectors_per_doc: float = 0
    length_bytes_per_doc: float = 0
    structure_bytes_per_doc: float = 0
    structure_state_bytes: float = 0


@dataclass(frozen=True, kw_only=True)
class Record(Entry):
    """One run: what was run, with what, and what came out.

    Attributes
    ----------
    schema : int
    run_id : str
    status : {"ok", "failed", "skipped"}
    created : str
        When, as ISO 8601 in UTC.
    command : str
        Measures it again, on the machine where it ran.
    git_commit : str or None
    identity : Identity
    model, dataset, fit_dataset, method : entries
    fit_queries : str
        Number and source of the queries that the method was fitted with, such as "2034 titles".
    config : dict
        The composed configuration.
    versions, machine : dict
        See `harness.base.provenance`.
    dim : int or None
        Of the float32 vectors, or terms of the vocabulary; None for a run that did not finish.
    representation : str
        "vectors" (one a document), "terms" (with weights), "tokens" (a vector for each), or "hybrid": several of these.
    terms_per_doc, tokens_per_doc : float or None
        Mean number that the model gives; None for others.
    parts : list of str
        Run ids of a hybrid's parts; empty for others.
    metrics, float32 : dict of str to float
        Means over the queries of the run, and of an exact search of the float32 vectors.
    retention : float or None
        nDCG@10 over that of the float32 vectors; None without judgements.
    document_intervals : dict or None
        95 % intervals of some metrics over the choice of documents, where queries share their relevant ones, see
        `harness.evaluation.shared_documents`; None where they do not.
    storage : StorageEntry
    limits : dict
        Errors of documents and of scores, and how far from their bounds, see `harness.evaluation.rate_distortion`.
    spectrum : dict or None
        See `harness.evaluation.spectrum_record`.
    training : list of dict
        What learned parts report of their training.
    geometry : dict of str to float, or None
        See `harness.evaluation.geometry.Geometry`; None for other than vectors, and in records older than this.
    encoding : dict or None
        By role, what making the vectors took when they were made, see `harness.data.encoding_cost.measure`; None where
        nobody measured it then.
    limits_about : str or None
        "mean"; None in records of before version 0.3, whose errors and bounds are about zero.
    points_per_centroid : float or None
        Documents that the method was fitted on, or their vectors where each has several, for each centroid of its
        largest codebook; None without codebooks, and in records that are older than this.
    points_per_parameter : float or None
        Numbers that it was trained on for each number that gradient descent learned, see
        `harness.evaluation.measure.points_per_parameter`; None for other methods, and in older records.
    seconds : dict of str to float
        By stage.
    peak_memory_bytes : int or None
    cost : dict or None
        See `harness.evaluation.cost.Costs.as_record`.
    efforts : dict or None
        See `harness.evaluation.effort.EffortCurve.as_record`; None without an index structure.
    error, traceback : str or None
        Why it failed, or was skipped.
    files : dict of str to str, and checksum : str
        See `FILES`. Empty before they are written, and in records that are older than they.
    """

    schema: int = SCHEMA
    run_id: str
    status: str
    created: str = ""
    command: str = ""
    git_commit: str | None = None
    identity: Identity = field(default_factory=Identity)
    model: ModelEntry
    dataset: DatasetEntry
    fit_dataset: DatasetEntry | None = None
    method: MethodEntry
    fit_queries: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    dim: int | None = None
    representation: str = "vectors"
    terms_per_doc: float | None = None
    tokens_per_doc: float | None = None
    parts: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    float32: dict[str, float] = field(default_factory=dict)
    retention: float | None = None
    document_intervals: dict[str, dict[str, float]] | None = None
    storage: StorageEntry = field(default_factory=StorageEntry)
    limits: dict[str, dict[str, float | None] | None] = field(default_factory=dict)
    spectrum: dict[str, Any] | None = None
    training: list[dict[str, Any]] | None = None
    geometry: dict[str, float] | None = None
    encoding: dict[str, dict[str, Any]] | None = None
    limits_about: str | None = None
    points_per_centroid: float | None = None
    points_per_parameter: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    cost: dict[str, Any] | None = None
    efforts: dict[str, Any] | None = None
    error: str | None = None
    traceback: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    checksum: str = ""

    @classmethod
    def from_json(cls, content: Any, run_id: str) -> Self:
        """Read the content of a run.json, of this schema or an older one.

        Raises
        ------
        ValueError
            Saying what is wrong: no object, a part that is missing or of another type, another run's, another checksum
            than it says, a newer schema.
        """
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, got {type(content).__name__}")
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a character (an unpaired surrogate)") from None
        if FILES in content or CHECKSUM in content:  # older ones have none
            if content.get(CHECKSUM) != checksum(content):
                raise ValueError("its checksum differs: it was damaged or changed")
            if not isinstance(content.get(FILES), dict):
                raise ValueError(f"'{FILES}' does not list the files of a record")
        record = _read_entry(cls, _migrated(content), "")
        assert isinstance(record, cls)
        if record.run_id != run_id:
            raise ValueError(f"it is of the run '{record.run_id}'")
        if record.status not in STATUSES:
            raise ValueError(f"the status is '{record.status}'")
        return record

    def to_json(self) -> dict[str, Any]:
        """Return the content of run.json, but for the checksums: they are made of what is written."""
        return {name: value for name, value in super().to_json().items() if name not in (FILES, CHECKSUM)}

    def _always(self) -> Collection[str]:
        return ("schema", "git_commit", "fit_dataset", *(RESULTS if self.dim is not None else ()))

    @property
    def ok(self) -> bool:
        """Whether the run finished."""
        return self.status == "ok"

    def finished(self, measurement: Measurement, problem: Problem, costs: Costs | None) -> Self:
        """Return the record with what was measured."""
        means = {name: float(values.mean()) for name, values in measurement.per_query.items()}
        reference = problem.exact_metrics.get(REFERENCE.judged_metric)
        storage = measurement.storage
        sizes = (len(problem.docs), len(problem.queries), storage.code_bytes_per_vector, storage.state_file_bytes)
        return dataclasses.replace(
            self,
            dim=int(problem.docs.shape[1]),
            representation=problem.representation,
            terms_per_doc=problem.docs.nnz / len(problem.docs) if isinstance(problem.docs, SparseVectors) else None,
            tokens_per_doc=problem.docs.tokens / len(problem.docs) if isinstance(problem.docs, TokenVectors) else None,
            metrics=means,
            float32=problem.exact_metrics,
            retention=means[REFERENCE.judged_metric] / reference
            if reference and REFERENCE.judged_metric in means
            else None,
            storage=StorageEntry(
                code_bytes_per_vector=storage.code_bytes_per_vector,
                resident_bytes_per_vector=storage.resident_bytes_per_vector,
                disk_bytes_per_vector=storage.disk_bytes_per_vector,
                codes_file_bytes=storage.codes_file_bytes,
                codes_header_bytes=storage.codes_header_bytes,
                state_bytes=storage.state_file_bytes,
                dictionary_bytes=storage.dictionary_file_bytes,
                token_vectors_per_doc=measurement.token_vectors / storage.n,
                length_bytes_per_doc=storage.length_bytes / storage.n,
                structure_bytes_per_doc=storage.structure_bytes / storage.n,
                structure_state_bytes=storage.structure_state_bytes,
                index_bytes=storage.index_bytes,
            ),
            limits=measurement.limits,
            spectrum=spectrum_record.as_record(problem.limits.vector_spectrum, measurement.bits_per_axis)
            if problem.representation == "vectors"
            else None,
            training=measurement.training,
            geometry=None if problem.geometry is None else problem.geometry.as_record(),
            limits_about=ABOUT,
            points_per_centroid=measurement.points_per_centroid,
            points_per_parameter=measurement.points_per_parameter,
            seconds={stage: round(value, 6) for stage, value in measurement.seconds.items()},
            peak_memory_bytes=measurement.peak_memory_bytes,
            cost=None if costs is None else costs.as_record(*sizes),
            efforts=None if measurement.efforts is None else measurement.efforts.as_record(),
        )

    def summary(self) -> str:
        """Return size, quality and time of a finished run in a line."""
        parts = []
        if REFERENCE.judged_metric in self.metrics:
            kept = "" if self.retention is None else f" ({self.retention:.1%} of float32)"
            if self.retention is not None and self.retention > SUSPICIOUS:
                kept += " (better than what it was made from: is that plausible?)"
            parts.append(f"nDCG@10 {self.metrics[REFERENCE.judged_metric]:.5f}{kept}")
        if REFERENCE.unjudged_metric in self.metrics:
            parts.append(f"overlap@10 {self.metrics[REFERENCE.unjudged_metric]:.3f}")
        shared = (self.document_intervals or {}).get("recall_at_2")
        if shared is not None:
            between = f"95 % over documents {shared['low']:.3f} to {shared['high']:.3f}"
            parts.insert(0, f"recall@2 {self.metrics['recall_at_2']:.4f} ({between})")
        # of rankings that end above the tenth document
        shallow = [f"{metric(name).label} {value:.3f}" for name, value in self.metrics.items()][:2]
        quality = ", ".join(parts or shallow)
        if self.points_per_centroid is not None and self.points_per_centroid < LEAST_POINTS:
            what = "documents" if self.tokens_per_doc is None else "vectors"
            quality += f", fitted on only {self.points_per_centroid:.3g} {what} a centroid"
        elif self.points_per_parameter is not None and self.points_per_parameter < LEAST_VALUES:
            quality += f", trained on only {self.points_per_parameter:.3g} numbers a parameter"
        code_bytes, seconds = self.storage.code_bytes_per_vector, sum(self.seconds.values())
        unit = "B/vector" if self.representation == "vectors" else "B/document"
        return f"{code_bytes:7.1f} {unit}  {quality}  {seconds:.2f} s"


EMPTY = Record(
    run_id="",
    status="",
    model=ModelEntry(name=""),
    dataset=DatasetEntry(name="", n_docs=0, n_queries=0),
    method=MethodEntry(name="", params="", family="", scoring=""),
)
"""A record of nothing, for the columns of a frame without rows."""


def _weights(of: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a role's identity says of which model it is; of a hybrid's only if all of its parts say so."""
    parts = [_weights(part) for part in of.get("hybrid", [])]
    return {"hybrid": parts} if parts and all(parts) else {key: of[key] for key in WEIGHTS if key in of}


def checksum(content: Mapping[str, Any]) -> str:
    """Return the xxh3_128 of a run.json without its checksum, as JSON with sorted keys."""
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    digest = hasher()
    digest.update(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())
    return str(digest.hexdigest())


def scoring_of(settings: Mapping[str, Any]) -> str:
    """Return the scoring convention that a method's settings add up to."""
    own = settings.get("scoring", "asymmetric")
    inner = settings.get("codec")
    return scoring_of(inner) if own == "asymmetric" and isinstance(inner, dict) else str(own)


def params_of(overrides: list[str]) -> str:
    """Return what distinguishes this configuration from the method's yaml, such as "bits=4"."""
    changed = (text.lstrip("+~").removeprefix("method.") for text in overrides if _is_parameter(text))
    # a sweep writes Python's True where a person writes true
    return " ".join(sorted(re.sub(r"=(True|False)$", lambda found: found[0].lower(), text) for text in changed))


def _is_parameter(override: str) -> bool:
    key = override.partition("=")[0]
    return "method." in key or key.lstrip("+~").startswith("index.")


def _migrated(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of an older record as today's would be."""
    schema = content.get("schema", 1)
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise ValueError(f"the schema is {json.dumps(schema)[:40]}")
    if schema > SCHEMA:
        raise ValueError(f"it has schema {schema}, and this version knows {SCHEMA}: a newer vecbudget wrote it")
    # whatever the schema: a part may have been renamed since
    renamed: dict[str, Any] = current_names(content)
    return {**renamed, "schema": SCHEMA}


_known_parts: dict[type[Entry], list[tuple[str, Any, Any]]] = {}


def _parts(entry: type[Entry]) -> list[tuple[str, Any, Any]]:
    """Return name, type and default of each part of an entry; `MISSING` where it must be there."""
    if entry not in _known_parts:
        kinds = typing.get_type_hints(entry)
        _known_parts[entry] = [
            (item.name, kinds[item.name], item.default if item.default_factory is MISSING else item.default_factory())
            for item in dataclasses.fields(entry)
            if item.name != "more"
        ]
    return _known_parts[entry]


def _read_entry(entry: type[Entry], value: Any, name: str) -> Entry:
    if not isinstance(value, dict):
        raise ValueError(f"it is not complete: '{name}' is no object")
    parts = _parts(entry)
    given = {
        part: _read(kind, value.get(part), f"{name}.{part}" if name else part)
        for part, kind, default in parts
        # null is as good as nothing where nothing is good
        if default is MISSING or value.get(part) is not None
    }
    known = {part for part, _, _ in parts}
    return entry(**given, more={key: item for key, item in value.items() if key not in known})


def _read(kind: Any, value: Any, name: str) -> Any:
    """Return a JSON value as the type that a part has; raise `ValueError` for another type."""
    if kind is Any:
        return value
    if isinstance(kind, type) and issubclass(kind, Entry):
        return _read_entry(kind, value, name)
    arguments = typing.get_args(kind)
    if isinstance(kind, types.UnionType):  # all of them are "this or None"
        return None if value is None else _read(arguments[0], value, name)
    container = typing.get_origin(kind)
    if container is dict:
        if not isinstance(value, dict):
            raise ValueError(f"it is not complete: '{name}' is no object")
        if arguments[1] is Any:
            return value
        return {key: _read(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    wanted: Any = container or (int | float if kind is float else kind)
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"it is not complete: '{name}' is missing or of another type")
    return [_read(arguments[0], item, name) for item in value] if container is list else value
