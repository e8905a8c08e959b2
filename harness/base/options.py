"""Checked options: the base of everything that a config group instantiates, other than methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.base.errors import ConfigError
from methods.base import accepts, field_types, type_name


@dataclass(kw_only=True, frozen=True)
class Options:
    """A frozen dataclass whose fields have the annotated types; anything else is a `ConfigError`.

    Where text is wanted and no number, a number is taken for the text that it is written as: names may be years.
    """

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            value: Any = _as_text(hint, getattr(self, name))
            if not accepts(hint, value):
                raise ConfigError(f"{type(self).__name__}: {name} must be {type_name(hint)}, got {value!r}")
            if value is not getattr(self, name):
                object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        """Refuse values that have the right type and no meaning."""


def takes_text(hint: Any) -> bool:
    """Return whether a field of this type takes any text, and no number."""
    return accepts(hint, "any text") and not accepts(hint, 1)


def _as_text(hint: Any, value: Any) -> Any:
    """Return a number as text where text is wanted, also in a list; any other value as it is."""
    if isinstance(value, list) and takes_text(hint):
        return [_as_text(hint, item) for item in value] if any(_is_number(item) for item in value) else value
    return str(value) if _is_number(value) and takes_text(hint) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
