"""Packages of extras that tests import when they run: collecting tests in each worker is to take no seconds for it."""

import importlib
import importlib.util
from typing import Any

import pytest


class LazyPackage:
    """A package that is imported at its first use; `mark` skips a test, or a module's tests, where it is missing."""

    def __init__(self, name: str) -> None:
        self._name = name
        missing = importlib.util.find_spec(name) is None
        self.mark = pytest.mark.skipif(missing, reason=f"{name} is not installed")

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)
