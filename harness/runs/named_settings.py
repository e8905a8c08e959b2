"""A method's errors in the words of who set it: parameters by the names that are typed, and no class of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from harness.runs.config import as_mapping
from methods import HOMES
from methods.base import MethodError
from vecbudget.former_names import current_names


@dataclass(frozen=True)
class _Node:
    """A part of a yaml: the name of its class, its group, where it lies, and what each of its fields is typed as."""

    kind: str
    group: str
    path: str
    typed: Mapping[str, str]
    values: Mapping[str, Any]


@contextmanager
def named_settings(
    method: DictConfig, name: str, overrides: Sequence[str], index: DictConfig | None = None
) -> Iterator[None]:
    """Let errors of the block name the settings that were typed.

    Parameters
    ----------
    method : DictConfig
        The node of the method, as composed.
    name : str
        The name of its yaml.
    overrides : sequence of str
        Of the run; those of the method begin the message.
    index : DictConfig or None
        The node of the index structure, as composed.

    Raises
    ------
    MethodError
        "method=pq method.m=7: method.m=7 does not divide the 100 dimensions of the vectors", say, in place of what a
        part says of itself.
    """
    try:
        yield
    except MethodError as error:
        typed = [text.lstrip("+") for text in overrides if text.lstrip("+").startswith(("method.", "index"))]
        told = in_settings(str(error), method, index)
        raise MethodError(f"{' '.join([f'method={name}', *typed])}: {told}") from error


def in_settings(message: str, method: DictConfig, index: DictConfig | None = None) -> str:
    """Return what a part of a method says, with its fields by the names that they are set by, and without its class.

    A field that the yaml reads off a parameter of its own goes by the name of that: `method.dim` for the `dim` of a
    chain's SVD. Any other goes by its place, such as `method.codec.bits`.
    """
    nodes = list(_nodes(current_names(as_mapping(method, resolve=False)), as_mapping(method), "", "method"))
    if index is not None:
        nodes += _nodes(as_mapping(index, resolve=False), as_mapping(index), "", "index")
    kind, colon, rest = message.partition(": ")
    said = [node for node in nodes if node.kind == kind] if colon else []
    text = rest if said or (colon and kind.isidentifier() and kind in HOMES) else message
    names: dict[str, list[_Node]] = {}
    for node in said or nodes:
        for field in node.typed:
            names.setdefault(field, []).append(node)

    def typed(match: re.Match[str]) -> str:
        field, value = match[1], match[2]
        # of several parts with such a field, the one that has the value
        alike = [node for node in names[field] if value is None or _text(node.values.get(field)) == value]
        return (alike or names[field])[0].typed[field] + match[0].removeprefix(field)

    if names:
        longest = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
        text = re.sub(rf"(?<![\w.])({longest})(?:=([^\s,;:)]+)|(?= must| needs| has | and \w+ must))", typed, text)
    for node in nodes:
        name = f"{node.group}.{node.path}" if node.path else f"the {node.group}"
        text = re.sub(rf"(?<![\w.]){node.kind}(?![\w.])", name, text)
    return text


def _nodes(raw: Mapping[str, Any], resolved: Mapping[str, Any], path: str, group: str) -> Iterator[_Node]:
    """Yield the parts of a yaml, outer ones first."""
    if isinstance(resolved.get("_target_"), str):
        kind = get_class(current_names({"_target_": resolved["_target_"]})["_target_"])
        named = (
            [item.name for item in fields(kind)] if is_dataclass(kind) else [key for key in raw if key != "_target_"]
        )
        typed = {field: _typed(raw.get(field), f"{path}{field}", group) for field in named}
        yield _Node(kind.__name__, group, path.rstrip("."), typed, resolved)
    for key, value in resolved.items():
        inner = raw.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping) and key != "about":
            yield from _nodes(inner, value, f"{path}{key}.", group)
        elif isinstance(value, list) and isinstance(inner, list):
            for place, (item, written) in enumerate(zip(value, inner, strict=True)):
                if isinstance(item, Mapping) and isinstance(written, Mapping):
                    yield from _nodes(written, item, f"{path}{key}.{place}.", group)


def _typed(written: Any, place: str, group: str) -> str:
    """Return the name by which a field is set: of the parameters that the yaml reads, or else its place."""
    if isinstance(written, list):
        own = f"{group}.{place}"
        read = [name for item in written for name in [_typed(item, place, group)] if name != own]
        return " and ".join(dict.fromkeys(read)) or own
    found = re.fullmatch(r"\$\{(\.*)([\w.]+)\}", written) if isinstance(written, str) else None
    if found is None:
        return f"{group}.{place}"
    return f"{group}.{found[2]}" if found[1] else found[2]


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
