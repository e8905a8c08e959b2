"""What a part of a method is: all its parameters as JSON, and in a few words."""

from __future__ import annotations

import dataclasses
from typing import Any

from methods import public_name
from methods.base import Part

LEFT_OUT = ("seed", "renormalize", "scoring")
"""Parameters that a short name leaves out."""


def describe(value: Any) -> Any:
    """Return a part's class and all its parameters as JSON, defaults included; of other values themselves."""
    if isinstance(value, Part):
        parameters = {name: describe(parameter) for name, parameter in value.parameters().items()}
        return {"_target_": public_name(type(value)), **parameters}
    return [describe(item) for item in value] if isinstance(value, list | tuple) else value


def short_name(value: Any) -> str:
    """Return a part's class and the parameters that are not its defaults, such as "FaissCodec(factory=PQ48x8np)"."""
    if isinstance(value, list | tuple):
        return "+".join(short_name(item) for item in value)
    if not isinstance(value, Part):
        return str(value)
    defaults = {item.name: item.default for item in dataclasses.fields(value)}
    changed = {
        name: parameter
        for name, parameter in value.parameters().items()
        if name not in LEFT_OUT and parameter != defaults[name]
    }
    inside = ",".join(
        short_name(item) if isinstance(item, Part | list | tuple) else f"{name}={short_name(item)}"
        for name, item in changed.items()
    )
    return type(value).__name__ + (f"({inside})" if inside else "")
