"""What a search may vary: the yamls of the methods say it themselves, under `about.search`.

    about:
      search:
        m: b*8/bits            # this parameter fills the budget of b bytes
        bits: [4, 8]           # one of these
        codec.tail: {low: 8, high: 256, log: true}
        transforms.0: spectrum # one of the parts that `configs/search/spectrum.yaml` lists

A key is a place in the yaml. A method without `about.search` is not searched; one of the user's own, in the folder
`method` of a `--config-dir`, is searched as soon as its yaml has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf

from harness.base.errors import ConfigError
from harness.base.suggestions import not_among
from harness.runs.catalogue import members
from harness.runs.config import MethodSpec
from harness.runs.shares import EQUAL_PARTS

SIZE = re.compile(r"b(?:\*(\d+))?(?:/(\w+(?:\.\w+)*))?([+-]\d+)?")
"""Bytes, times, divided by a number or by another parameter, plus or minus: "b", "b*8", "b*8/bits", "b-2"."""

Scalar = str | int | float | bool | None


class Chooser(Protocol):
    """What decides: a trial of Optuna, or whoever takes what the yamls say."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return a whole number within the bounds."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number within the bounds."""


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`: whole ones if both are."""

    low: float
    high: float
    log: bool = False

    def choose(self, chooser: Chooser, name: str) -> float:
        """Return one of them."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return chooser.suggest_int(name, self.low, self.high, log=self.log)
        # what Optuna draws has 16 digits, which nobody wants to read or type
        return float(f"{chooser.suggest_float(name, float(self.low), float(self.high), log=self.log):.3g}")


@dataclass(frozen=True)
class Choices:
    """A few values."""

    values: tuple[Scalar, ...]

    def choose(self, chooser: Chooser, name: str) -> Scalar:
        """Return one of them."""
        chosen: Scalar = chooser.suggest_categorical(name, list(self.values))
        return chosen


@dataclass(frozen=True)
class Alternative:
    """A part that may stand in a place: what it is, what else it changes in the method, and what of it may vary."""

    part: Mapping[str, Any] | None
    changes: Mapping[str, Scalar] = field(default_factory=dict)
    ranges: Mapping[str, Interval | Choices] = field(default_factory=dict)


@dataclass(frozen=True)
class Alternatives:
    """Several parts for one place, by name."""

    parts: Mapping[str, Alternative]

    def of(self, part: Mapping[str, Any] | None) -> str:
        """Return which of them a yaml's part is: of the same class; the first where none is."""

        def target(one: Mapping[str, Any] | None) -> str | None:
            return None if one is None else str(one["_target_"])

        alike = [kind for kind, one in self.parts.items() if target(one.part) == target(part)]
        return [*alike, *self.parts][0]


Range = Interval | Choices | Alternatives


@dataclass(frozen=True)
class Candidate:
    """A method with all its settings.

    Attributes
    ----------
    method : str
        The name of its yaml.
    settings : mapping of str to value
        What was chosen, by place; names of alternatives for parts.
    node : DictConfig
        The method's node, to be run: its `about` is that of the yaml, without `search`.
    changed : tuple of str
        Places where that is not what the yaml says, and those that fill the budget.
    """

    method: str
    settings: Mapping[str, Scalar]
    node: DictConfig
    changed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What tables call it: the method and what is not as its yaml has it."""
        return " ".join([self.method, *(f"{place}={written(self.settings[place])}" for place in self.changed)])

    def spec(self, seed: int) -> MethodSpec:
        """Return the method, ready to be made, with the seed that a run of it would have."""
        whole = OmegaConf.create({"seed": seed})
        whole["method"] = self.node
        return MethodSpec(whole.method)


@dataclass(frozen=True)
class Member:
    """A method that may be searched.

    Attributes
    ----------
    name : str
    node : DictConfig
        Its yaml.
    sizes : mapping of str to str
        Parameters that fill the budget, as `SIZE`.
    ranges : mapping of str to range
        What else may vary.
    """

    name: str
    node: DictConfig
    sizes: Mapping[str, str]
    ranges: Mapping[str, Range]

    def candidate(self, chooser: Chooser, nbytes: int, width: int) -> Candidate:
        """Return the method with everything chosen.

        Parameters
        ----------
        chooser : Chooser
        nbytes : int
            The budget of a document's codes.
        width : int
            Dimensions of the vectors: parts of equal width must divide them.

        Raises
        ------
        ConfigError
            If the budget leaves nothing for a parameter that fills it.
        """
        node = OmegaConf.create(OmegaConf.to_container(self.node, resolve=False))
        assert isinstance(node, DictConfig)
        chosen: dict[str, Scalar] = {}
        usual: dict[str, Scalar] = {}
        as_written = Written(self)
        for place, values in self.ranges.items():
            name = f"{self.name}.{place}"
            if isinstance(values, Alternatives):
                kind = str(chooser.suggest_categorical(name, list(values.parts)))
                chosen[place] = kind
                usual[place] = as_written.suggest_categorical(name, list(values.parts))
                alternative = values.parts[kind]
                # the yaml's own part stays as it is there
                if kind != usual[place]:
                    _put(node, place, alternative.part)
                    for other, value in alternative.changes.items():
                        _put(node, other, value)
                for own, inner in alternative.ranges.items():
                    chosen[f"{place}.{own}"] = value = inner.choose(chooser, f"{name}.{kind}.{own}")
                    usual[f"{place}.{own}"] = inner.choose(as_written, f"{name}.{kind}.{own}")
                    _put(node, f"{place}.{own}", value)
            else:
                chosen[place] = value = values.choose(chooser, name)
                usual[place] = values.choose(as_written, name)
                _put(node, place, value)
        filled: dict[str, Scalar] = {}
        for place, formula in self.sizes.items():
            filled[place] = value = _size(formula, nbytes, width, node, place)
            _put(node, place, value)
        _drop_empty_parts(node)
        changed = (*filled, *(place for place, value in chosen.items() if value != usual[place]))
        return Candidate(self.name, {**filled, **chosen}, node, changed)

    def as_written(self, nbytes: int, width: int) -> Candidate:
        """Return the method as its yaml has it, but for what fills the budget."""
        return self.candidate(Written(self), nbytes, width)


@dataclass(frozen=True)
class Written:
    """The chooser that takes what a member's yaml says; of parts, the first alternative that is the yaml's."""

    member: Member

    def _value(self, name: str) -> Any:
        place = name.removeprefix(f"{self.member.name}.")
        return OmegaConf.select(self.member.node, place)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return what is written."""
        place = name.removeprefix(f"{self.member.name}.")
        values = self.member.ranges.get(place)
        return values.of(self._value(name)) if isinstance(values, Alternatives) else self._default(name, choices[0])

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return what is written."""
        return int(self._default(name, low))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return what is written."""
        return float(self._default(name, low))

    def _default(self, name: str, otherwise: Any) -> Any:
        place = name.removeprefix(f"{self.member.name}.")
        for outer, values in self.member.ranges.items():
            # an alternative's own ranges are named place.kind.parameter
            if isinstance(values, Alternatives) and place.startswith(f"{outer}."):
                kind, _, own = place.removeprefix(f"{outer}.").partition(".")
                written_part = self._value(f"{self.member.name}.{outer}")
                part = written_part if kind == values.of(written_part) else values.parts[kind].part
                return (part or {}).get(own, otherwise)
        found = self._value(name)
        return otherwise if found is None else found


def written(value: Scalar) -> str:
    """Return a value as one would type it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def space(names: Sequence[str] = (), config_dir: Path | None = None) -> list[Member]:
    """Return the methods that may be searched, in the order of their names.

    Parameters
    ----------
    names : sequence of str
        Only these; all if empty.
    config_dir : Path or None
        A folder whose `method/*.yaml` are searched too, as Hydra's `--config-dir`.

    Raises
    ------
    ConfigError
        If a name has no yaml, or its yaml does not say what may vary, or says it wrongly.
    """
    texts = {name: entry.read_text(encoding="utf-8") for name, entry in members("method").items()}
    if config_dir is not None:
        own = sorted((config_dir / "method").glob("*.yaml"))
        if not own:
            raise ConfigError(f"--config-dir {config_dir}: there is no method/*.yaml in it")
        texts |= {path.stem: path.read_text(encoding="utf-8") for path in own}
    for name in names:
        if name not in texts:
            raise ConfigError("--methods: there is no method " + not_among(name, list(texts), "vecbudget list methods"))
    found = [_member(name, text) for name, text in sorted(texts.items()) if not names or name in names]
    silent = [name for name, one in zip(sorted(names), found, strict=False) if one is None]
    if silent:
        raise ConfigError(
            f"--methods: {silent[0]} does not say what may vary; give its yaml about.search (docs/guides/tune.md)"
        )
    known = [one for one in found if one is not None]
    if not known:
        raise ConfigError("there is no method to search: none has about.search in its yaml")
    return known


def fixed(name: str) -> Member:
    """Return a method of which nothing varies, such as a vector store's preset."""
    node = OmegaConf.create(members("method")[name].read_text(encoding="utf-8"))
    assert isinstance(node, DictConfig)
    node.get("about", {}).pop("search", None)
    return Member(name, node, {}, {})


def _member(name: str, text: str) -> Member | None:
    if "search:" not in text:
        return None
    node = OmegaConf.create(text)
    assert isinstance(node, DictConfig)
    about = OmegaConf.to_container(node.get("about", OmegaConf.create({})), resolve=False)
    assert isinstance(about, dict)
    if "search" not in about:
        return None
    declared = {str(key): value for key, value in dict(about["search"] or {}).items()}
    del node.about["search"]
    sizes = {key: value for key, value in declared.items() if isinstance(value, str) and SIZE.fullmatch(value)}
    ranges = {key: _range(name, key, value) for key, value in declared.items() if key not in sizes}
    return Member(name, node, sizes, ranges)


def _range(name: str, place: str, value: Any) -> Range:
    """Return what a yaml says of one place."""
    where = f"method/{name}.yaml: about.search.{place}"
    if isinstance(value, list) and value and not any(isinstance(item, dict | list) for item in value):
        return Choices(tuple(value))
    if isinstance(value, dict) and {"low", "high"} <= value.keys() <= {"low", "high", "log"}:
        low, high = value["low"], value["high"]
        numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in (low, high))
        if numbers and low < high and not (value.get("log") and low <= 0):
            return Interval(low, high, bool(value.get("log", False)))
        raise ConfigError(f"{where} needs numbers low < high, above 0 with log, got {value}")
    if isinstance(value, str):
        return _alternatives(value, where)
    raise ConfigError(
        f"{where} must be a list of values, {{low: ..., high: ...}}, a size such as b*8/bits, or the name of a file of "
        f"configs/search, got {value!r}"
    )


def _alternatives(name: str, where: str) -> Alternatives:
    files = members("search")
    if name not in files:
        raise ConfigError(f"{where}: there are no alternatives " + not_among(name, list(files), "configs/search"))
    content = OmegaConf.to_container(OmegaConf.create(files[name].read_text(encoding="utf-8")), resolve=False)
    assert isinstance(content, dict)
    parts = {}
    for kind, own in content.items():
        ranges = {
            str(key): _range(name, ".".join((str(kind), str(key))), value)
            for key, value in own.get("search", {}).items()
        }
        simple = {key: one for key, one in ranges.items() if not isinstance(one, Alternatives)}
        parts[str(kind)] = Alternative(own.get("part"), own.get("changes", {}), simple)
    return Alternatives(parts)


def _size(formula: str, nbytes: int, width: int, node: DictConfig, place: str) -> int:
    match = SIZE.fullmatch(formula)
    assert match is not None
    times, over, more = match.groups()
    divisor = 1 if over is None else int(over) if over.isdecimal() else int(OmegaConf.select(node, over))
    value = nbytes * int(times or 1) // divisor + int(more or 0)
    name = place.rpartition(".")[2]
    if name in ("dim", *EQUAL_PARTS):
        value = min(value, width)
    if name in EQUAL_PARTS and value >= 1:
        value = max(n for n in range(1, value + 1) if width % n == 0)
    if value < 1:
        raise ConfigError(f"{nbytes} bytes leave nothing for {place}={formula}")
    return value


def _put(node: DictConfig, place: str, value: Any) -> None:
    """Set a value at a place such as transforms.0.dim; the place must exist."""
    path, _, last = place.rpartition(".")
    parent = OmegaConf.select(node, path) if path else node
    if parent is None:
        raise ConfigError(f"about.search names {place}, and the yaml has no {path}")
    if OmegaConf.is_list(parent):
        parent[int(last)] = value
    else:
        parent[last] = value


def _drop_empty_parts(node: DictConfig) -> None:
    """Leave out parts of a chain for which nothing was chosen."""
    transforms = node.get("transforms")
    if transforms is not None and any(part is None for part in transforms):
        node["transforms"] = [part for part in transforms if part is not None]
