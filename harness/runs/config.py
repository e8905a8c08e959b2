"""The schema of a run's configuration, and what becomes of its groups."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import get_class, get_object, instantiate
from omegaconf import MISSING, DictConfig, OmegaConf

from harness.base.errors import ConfigError, VecbudgetError
from harness.base.part_identity import describe
from methods.base import Codec, MethodError, Part, field_types
from methods.representations import Kind
from methods.token_vectors import TokenColumn
from vecbudget.former_names import current_names, hashed_names

RECORD_FORMAT = 1
"""Part of every run id: a change in how numbers are made gets new ids."""


@dataclass
class MeasureConfig:
    """What is measured beyond quality and bytes; it has no part in a run's id."""

    cost: bool = False
    repeats: int = 5
    efforts: list[int] | None = None


@dataclass
class RunConfig:
    """One run. The groups `model`, `dataset`, `method` and `index` hold what Hydra instantiates.

    Attributes
    ----------
    index : node or None
        What chooses the codes that a search looks at (`held_by`); None is all of them.
    fit_dataset : node or None
        Another dataset whose documents methods are fitted on, as in `dataset@fit_dataset=folder fit_dataset.path=DIR`;
        None is the measured corpus itself, which is how an index is built.
    query_model : node or None
        Another model that encodes the queries, as in `model@query_model=minilm`: an index that outlived its model. The
        float32 ranking that results are compared with is the old model's own. A method such as `query_map` learns to
        bring the new queries to the old documents, by documents that both models encode (fit_queries=documents).
    corpus_share : float or None
        Search a share of the documents: all that are judged, and others drawn with `corpus_seed`
        (`harness.data.datasets.subset`). None, or 1, is all.
    corpus_seed : int
        Of the documents that are drawn; it has no part in what methods draw.
    fit_sample : int or None
        Fit on so many documents, drawn without replacement (and always the same ones); None fits on all. The record
        then also has the error on documents that were not drawn.
    fit_disjoint : bool
        The documents of `fit_sample` leave the collection that is searched; they are drawn among those that no
        judgement names.
    fit_queries : {"auto", "train", "titles", "sentences", "documents", "none"}
        What methods that learn from queries see, as in `harness.data.training_queries.choose`. auto is the first
        of them that the dataset has.
    seed : int
        For the methods that draw random numbers; a method without any keeps its run id whatever the seed.
    k : int
        Depth of the rankings that are kept.
    chunk_rows : int or None
        Documents encoded and searched at a time.
    parts : int
        Documents are encoded and searched in so many parts (`harness.runs.parts`); with a launcher, workers do them. It
        changes no number, and has no part in a run's id or record.
    estimate : bool
        Only say what the parts would take: bytes, seconds, workers. The method is fitted for it, and stays so.
    part : str or None
        What a run with `parts` tells its workers.
    cache_dtype : {"float32", "float16"}
        What embeddings are kept as. float16 takes half the disk and rounds them: they are another model's to a run's id
        and in tables (`harness.data.models.float16`). Not for `model=vectors`.
    results_dir, cache_dir : str
        Where records and embeddings go.
    keep_index : bool
        Leave the compressed index beside the record.
    overwrite : bool
        Measure again what is recorded already.
    measure : node
        `cost`: measure every stage's seconds with warm-up and repeats, latency of single queries and memory, too, while
        no other run does (`harness.evaluation.cost`); a record without them is then measured again. `repeats`: of each
        stage. `efforts`: with which lists or a graph are searched (`harness.evaluation.effort`), in one run and without
        making them again; null is those that the index's yaml names, [] is none.
    """

    model: Any = None
    dataset: Any = None
    method: Any = None
    index: Any = None
    fit_dataset: Any = None
    query_model: Any = None
    corpus_share: float | None = None
    corpus_seed: int = 0
    fit_sample: int | None = None
    fit_disjoint: bool = False
    fit_queries: str = "auto"
    seed: int = 0
    k: int = 100
    chunk_rows: int | None = None
    parts: int = 1
    estimate: bool = False
    part: str | None = None
    cache_dtype: str = "float32"
    results_dir: str = "results"
    cache_dir: str = "${oc.env:VECBUDGET_CACHE,${oc.env:HOME,.}/.cache/vecbudget}"
    keep_index: bool = False
    overwrite: bool = False
    measure: MeasureConfig = field(default_factory=MeasureConfig)


ConfigStore.instance().store(name="run_schema", node=RunConfig)


def run_id(identity: Mapping[str, Any]) -> str:
    """Return the hash of everything that determines a run's numbers."""
    content = {"format": RECORD_FORMAT, **hashed_names(identity)}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def build(node: Any, group: str) -> Any:
    """Instantiate a `model` or `dataset` node; the constructor's own error is what the user sees."""
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigError(f"{group}: choose one of the group, as in {group}=NAME ('vecbudget list {group}s')")
    settings = as_mapping(node)
    try:
        if settings.get("table") is not None:
            settings["table"] = _without_decoration(settings["table"])
        return instantiated(settings)
    except (ConfigError, MethodError) as error:
        # the person set an option of the group, whatever our class is called
        kind = str(node["_target_"]).rpartition(".")[2]
        raise ConfigError(str(error).replace(f"{kind}: ", f"{group}.", 1)) from error


def instantiated(settings: Any) -> Any:
    """Return the object that settings with a `_target_` describe; the constructor's own error is what the user sees."""
    settings = current_names(settings)
    try:
        # Hydra's own takes a hundred times as long: it makes a configuration of what is plain data already
        return _made(settings) if _is_plain(settings) else instantiate(settings, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, VecbudgetError | MethodError):
            raise cause from None
        if isinstance(cause, TypeError):
            raise _misfit(settings, cause) from None
        raise
    except TypeError as error:
        raise _misfit(settings, error) from error


def _is_plain(settings: Any) -> bool:
    """Whether settings name classes and their arguments, and ask for nothing else that Hydra can do."""
    if isinstance(settings, dict):
        known = all(key == "_target_" or not str(key).startswith("_") for key in settings)
        return known and all(_is_plain(value) for value in settings.values())
    return all(_is_plain(item) for item in settings) if isinstance(settings, list) else True


def _made(settings: Any) -> Any:
    if isinstance(settings, list):
        return [_made(item) for item in settings]
    if not isinstance(settings, dict):
        return settings
    arguments = {key: _made(value) for key, value in settings.items() if key != "_target_"}
    return get_object(settings["_target_"])(**arguments) if "_target_" in settings else arguments


def _misfit(settings: Any, cause: TypeError) -> Exception:
    """Return the error for settings that a constructor does not take: of which part, and what it has instead."""
    unknown = re.search(r"^(?:\w+\.)*(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(cause))
    missing = re.search(r"^(?:\w+\.)*(\w+)\.__init__\(\) missing \d+ required .*?: (.+)$", str(cause))
    found = unknown or missing
    if found is None:
        return ConfigError(f"{settings['_target_']}: {cause}")
    if missing:
        names = found[2].replace("'", "")
        return MethodError(f"{found[1]}: {names} must be given")
    return MethodError(f"{found[1]}: {found[2]} is no parameter of it")


@dataclass(frozen=True)
class MethodFacts:
    """What the rest of a run must know of its method.

    Attributes
    ----------
    identity : dict
        All parameters of all parts, defaults included: what determines the method, whatever its yaml says.
    takes : Kind
        What represents the documents that it is given.
    wants_queries, wants_pairs : bool
        See `methods.base.Part`.
    wants_columns : sequence of TokenColumn
        What it reads of tokens beside their vectors.
    """

    identity: dict[str, Any]
    takes: Kind
    wants_queries: bool
    wants_pairs: bool
    wants_columns: Sequence[TokenColumn] = ()


class MethodSpec:
    """A `method` node, made usable: its settings without decoration, and codecs on demand.

    A method's yaml is what its class takes, and two more things: `about`, which describes it, and parameters of its
    own that only feed interpolations (a chain's `dim`, say, which its SVD reads as `${...dim}`).
    """

    def __init__(self, node: DictConfig, index: DictConfig | None = None) -> None:
        if "_target_" not in node:
            raise ConfigError("method: choose one of the group, as in method=NAME ('vecbudget list methods')")
        self.about, self.settings = _settings(node, "method")
        self.index = ""
        """The name of the index structure that holds the method; "" where there is none."""
        self.efforts: list[int] = []
        """Efforts with which that is searched, if a run does not name others."""
        if index is not None and "_target_" in index:
            about, structure = _settings(index, "index", given=("codec",))
            self.index, self.efforts = str(about.get("name", "index")), list(about.get("efforts", []))
            self.settings = held_by(structure, self.settings)
        self.seed: int | None = _find_seed(self.settings)

    @cached_property
    def facts(self) -> MethodFacts:
        """What the rest of a run must know of it."""
        codec = self._pristine
        columns = tuple(codec.wants_columns)
        return MethodFacts(describe(codec), codec.takes, codec.wants_queries, codec.wants_pairs, columns)

    def identity(self) -> dict[str, Any]:
        """Return what determines the method, see `MethodFacts`."""
        return self.facts.identity

    def make(self) -> Codec:
        """Return a new, unfitted codec."""
        # composing objects from settings takes Hydra much longer than copying parameters
        return copy.deepcopy(self._pristine)

    @cached_property
    def _pristine(self) -> Codec:
        """The codec that is copied, and never fitted itself."""
        codec = instantiated(self.settings)
        if not (isinstance(codec, Part) and hasattr(codec, "search")):
            raise ConfigError(f"method: {self.settings['_target_']} is not a Codec")
        # a code for terms with weights answers to the same calls
        return cast(Codec, codec)


def _settings(node: DictConfig, group: str, given: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a yaml says of itself, and what its class takes; `given` are parameters that it gets otherwise."""
    raw = as_mapping(node, resolve=False)
    settings = current_names(as_mapping(node))
    about: dict[str, Any] = settings.pop("about", {})
    raw.pop("about", None)
    try:
        taken = [name for name in field_types(get_class(settings["_target_"])) if name not in given]
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{group}: cannot load {settings['_target_']}: {error}") from error
    own = [key for key in settings if key not in taken and key != "_target_"]
    used = set(_interpolated_keys(raw))
    for key in own:
        if key not in used:
            known = ", ".join(sorted({*taken, *(used & set(raw))}))
            raise ConfigError(f"{group}: unknown parameter '{key}'; its parameters are {known}")
    return about, {key: value for key, value in settings.items() if key not in own}


def _without_decoration(method: Any) -> Any:
    """Return what the class of a method takes of its resolved yaml: a method inside a model (`model.table`)."""
    if not isinstance(method, dict) or "_target_" not in method:
        raise ConfigError("model.table must be a method, as in +method@model.table=pq")
    taken = field_types(get_class(current_names(method)["_target_"]))
    return {key: value for key, value in method.items() if key in taken or key == "_target_"}


def held_by(structure: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a method whose codes an index structure holds.

    The structure goes around the method; in one of two tiers, around the tier that is scanned; in one that first makes
    vectors of something else, as a fixed dimensional encoding does of token vectors, around the code of these. A
    structure that holds residuals gets the method's `renormalize`: only the whole document has a length that is known.
    """
    target = method["_target_"]
    if target == "methods.Rescore":
        return {**method, "first": held_by(structure, method["first"])}
    if target == "methods.Chain" and instantiated(method).takes != "vectors":
        return {**method, "codec": held_by(structure, method["codec"])}
    if not structure.get("residual"):
        return {**structure, "codec": dict(method)}
    plain, renormalize = _without_renormalize(method)
    return {**structure, "codec": plain, "renormalize": renormalize}


def _without_renormalize(method: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return the settings of a codec that renormalizes nothing, and what it and the codecs inside it did."""
    own = method.get("renormalize", False)
    plain = {**method, "renormalize": False} if own else dict(method)
    if not isinstance(method.get("codec"), Mapping):
        return plain, own
    plain["codec"], inner = _without_renormalize(method["codec"])
    return plain, next((value for value in (True, "auto") if value in (own, inner)), False)


def as_mapping(node: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """Return a node as plain data, interpolations resolved or as they are written."""
    container = OmegaConf.to_container(node, resolve=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _interpolated_keys(value: Any) -> list[str]:
    """Return the last name of each interpolation in a container, such as `dim` for `${...dim}`."""
    if isinstance(value, dict):
        return [key for item in value.values() for key in _interpolated_keys(item)]
    if isinstance(value, list):
        return [key for item in value for key in _interpolated_keys(item)]
    if isinstance(value, str) and "${" in value:
        return [part.partition("}")[0].rsplit(".", 1)[-1] for part in value.split("${")[1:]]
    return []


def _find_seed(settings: Any) -> int | None:
    children = settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list) else []
    if isinstance(settings, dict) and settings.get("seed") is not None:
        return int(settings["seed"])
    return next((seed for child in children if (seed := _find_seed(child)) is not None), None)


def shared(group: str, node: Any) -> Any:
    """Instantiate a node, composed or plain, once in a process for equal nodes: runs of a sweep share what they use."""
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    missing = next(_missing(plain, group), None)
    if missing is not None:
        raise ConfigError(f"{missing} must be given, as in {missing}=VALUE")
    return _shared(group, json.dumps(plain, sort_keys=True))


def _missing(node: Any, name: str) -> Iterator[str]:
    """Yield the names of settings that have no value, in alphabetical order."""
    if isinstance(node, Mapping):
        for key in sorted(node):
            yield from _missing(node[key], f"{name}.{key}")
    elif node == MISSING:
        yield name


@functools.cache
def _shared(group: str, node: str) -> Any:
    return build(OmegaConf.create(json.loads(node)), group)
