"""Vector stores' own switches: the presets among the methods, and the records that belong to them.

A run's id comes from its parameters and not from its name, so that presets with the same parameters share one record,
which bears the name of whichever ran first. A preset's record is therefore found by its parameters.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.base.errors import ConfigError
from harness.base.suggestions import did_you_mean, nearest
from harness.runs.catalogue import members, method_card, printed
from harness.runs.plain_yaml import parsed
from harness.runs.record import Record

DOCUMENTED = {
    "source": "its source code",
    "docs": "its documentation only",
    "paper": "the paper it cites only",
}
"""What a preset was made from."""


@dataclass(frozen=True)
class Preset:
    """A switch of a vector store, as its yaml describes it.

    Attributes
    ----------
    name : str
        Of the method.
    store, switch : str
        What it belongs to, and what its user sets.
    version, evidence : str
        What was followed, and how well it is known: a key of `DOCUMENTED`.
    setting : str
        The store's own configuration, to paste.
    summary, source, size : str
        What it does, where that was read, and its bytes as a formula.
    loses : bool
        Whether its codes find fewer documents where these are crowded around a long mean. The yaml says so, and
        `tests/test_long_mean.py` how it is found out: of the ten nearest of 2,000 documents the codes find less than
        84 % of what they do, once the same documents lie around a mean of length .9. What is read again is no part of
        that.
    """

    name: str
    store: str
    switch: str
    version: str
    evidence: str
    setting: str
    summary: str
    source: str
    size: str
    loses: bool = False

    @property
    def is_binary(self) -> bool:
        """Whether its codes take two bits a dimension or less."""
        found = re.match(r"(?:([\d.]+) )?d / (\d+)", self.size)
        return found is not None and 8 * float(found[1] or 1) / int(found[2]) <= 2


@dataclass(frozen=True)
class Match:
    """A preset that a record is of.

    Attributes
    ----------
    preset : Preset
    params : str
        Parameters that are not the preset's own; empty for the preset as it is.
    current : bool
        False for a record of the preset's name whose parameters it no longer has.
    """

    preset: Preset
    params: str = ""
    current: bool = True

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.preset.name} {self.params}".strip() + ("" if self.current else " (of another version)")


@functools.cache
def presets() -> dict[str, Preset]:
    """Return the presets by name, store by store."""
    cards = {name: method_card(entry) for name, entry in members("method").items()}
    found = [
        Preset(
            name=name,
            store=card["store"],
            switch=card["switch"],
            version=str(card["version"]),
            evidence=card["evidence"],
            setting=card["setting"].rstrip("\n"),
            summary=card["summary"],
            source=card["source"],
            size=card["bytes"],
            loses=card.get("long_mean") == "loses",
        )
        for name, card in cards.items()
        if "store" in card
    ]
    return {preset.name: preset for preset in sorted(found, key=lambda one: (one.store.lower(), one.name))}


def of_store(store: str) -> list[Preset]:
    """Return a store's presets."""
    return [preset for preset in presets().values() if preset.store == store]


def store_named(text: str) -> str:
    """Return the store that is meant: by its name, the first word of it, or what its presets' names begin with.

    Raises
    ------
    ConfigError
        If none is meant, or more than one.
    """
    stores = list(dict.fromkeys(preset.store for preset in presets().values()))
    wanted = _plain(text)
    exact = [store for store in stores if _plain(store) == wanted]
    meant = exact or [store for store in stores if wanted in _names(store)]
    if len(meant) != 1:
        owners = {name: store for store in stores for name in sorted(_names(store))}
        near: dict[str, str] = {}
        for name in nearest(wanted, owners, len(owners)):
            near.setdefault(owners[name], name)
        hint = did_you_mean([*meant, *near.values()][:3]) or ";"
        raise ConfigError(
            f"--database: there is no store '{text}'{hint} 'vecbudget list databases' shows all {len(stores)}"
        )
    return meant[0]


def _names(store: str) -> set[str]:
    names = [preset.name for preset in of_store(store)]
    words = zip(*(name.split("_") for name in names), strict=False)
    same = [column[0] for column in itertools.takewhile(lambda column: len(set(column)) == 1, words)]
    begin = "_".join(same[:-1] if len(names) == 1 else same)
    also = re.findall(r"\w+", store.partition("(")[2])
    return {_plain(store), _plain(store.split()[0]), _plain(begin), *map(_plain, also)}


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "_", text.lower()).strip("_")


def matches(record: Record) -> list[Match]:
    """Return the presets that a record is of: those with its parameters, or else the one of its name.

    A record of a method that was fitted on other documents than those searched is of none.
    """
    identity, method = record.identity, record.method
    if identity.fitted_elsewhere:
        return []
    same = _by_parameters().get(parameters_key(identity.method), ())
    if same:
        return [Match(presets()[name]) for name in same]
    preset = presets().get(method.name)
    return [] if preset is None else [Match(preset, method.params, current=bool(method.params))]


def own_name(record: Record) -> str | None:
    """Return what a record is called as one of the project's own methods; None if it is of a preset alone."""
    name = record.method.name
    return name if name not in presets() else _others().get(parameters_key(record.identity.method))


def parameters_key(identity: Any) -> str:
    """Return the parameters of a record's `identity.method` as text; runs that differ in their seed alone agree."""
    return json.dumps(_without_seeds(identity), sort_keys=True, separators=(",", ":"))


def _without_seeds(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_seeds(item) for key, item in value.items() if key != "seed"}
    return [_without_seeds(item) for item in value] if isinstance(value, list | tuple) else value


@functools.cache
def _by_parameters() -> dict[str, tuple[str, ...]]:
    """Return names of presets by their parameters."""
    found: dict[str, tuple[str, ...]] = {}
    for name in presets():
        key = parameters_key(preset_identity(name))
        found[key] = (*found.get(key, ()), name)
    return found


@functools.cache
def _others() -> dict[str, str]:
    """Return the names of the methods that are no presets by their parameters."""
    codes = (name for name, entry in members("method").items() if method_card(entry).get("takes") != "runs")
    return {parameters_key(preset_identity(name)): name for name in codes if name not in presets()}


@functools.cache
def preset_identity(name: str) -> dict[str, Any]:
    """Return all parameters of a method's yaml, defaults included, as a record's `identity.method` has them."""
    from omegaconf import OmegaConf

    from harness.runs.config import MethodSpec

    node = parsed(members("method")[name].read_text(encoding="utf-8"))
    # what describes a method is none of its parameters, and most of its yaml
    node = {key: value for key, value in node.items() if key != "about"}
    # presets and methods refer to the run's seed
    return MethodSpec(OmegaConf.create({"seed": 0, "method": node}).method).identity()


def listing() -> str:
    """Return the presets as a table for a terminal, store by store."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column, ratio in (("preset", None), ("switch", 5), ("bytes in memory; beside", 4), ("evidence", None)):
        table.add_column(column, overflow="fold", no_wrap=ratio is None, ratio=ratio)
    table.add_column("version", overflow="fold", ratio=3)
    table.add_column("what it does", overflow="fold", ratio=8)
    previous = ""
    for preset in presets().values():
        if preset.store != previous:
            table.add_row()
            table.add_row(f"-- {preset.store}")
            previous = preset.store
        table.add_row(preset.name, preset.switch, preset.size, preset.evidence, preset.version, preset.summary)
    words = "; ".join(f"{name}: {what}" for name, what in DOCUMENTED.items())
    return printed(table) + (
        "\nMeasure one by 'vecbudget run method=NAME', all by 'vecbudget sweep experiment=databases'. Evidence is what "
        f"a preset was made from ({words}).\n"
    )
