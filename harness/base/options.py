"""Checked options: the base of everything that a config group instantiates, other than methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.base.errors import ConfigError
from methods.base import accepts, field_types, type_name


@dataclass(kw_only=True, frozen=True)
class Options:
    """A frozen dataclass whose fields have the annotated types; anything else is a `ConfigError`."""

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            value: Any = getattr(self, name)
            if not accepts(hint, value):
                raise ConfigError(f"{type(self).__name__}: {name} must be {type_name(hint)}, got {value!r}")
        self._check()

    def _check(self) -> None:
        """Refuse values that have the right type and no meaning."""
