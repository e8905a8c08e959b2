"""What methods complain of; `methods.base` has these names too."""

from __future__ import annotations


class MethodError(ValueError):
    """A method was asked for something that it cannot do; the message names the parameter and the value."""


class NotFittedError(MethodError):
    """A part was used before `fit` or `load_state`."""


class VectorsError(MethodError):
    """Documents or queries that no method takes: empty, misshapen, the wrong width or kind, NaN or infinite."""
