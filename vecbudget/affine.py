"""What a method does to queries, as a matrix: the form in which other libraries take it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
TOLERANCE = 1e-4
"""Largest relative difference that rounding is taken for."""


@dataclass(frozen=True, eq=False)
class Affine:
    """The affine map q @ matrix + bias of queries.

    Attributes
    ----------
    matrix : float32 (d, d')
    bias : float32 (d',)
    scaled : bool
        Whether the method scales each result as well, by a number above zero of the query's own: no ranking depends on
        that, but scores do.
    """

    matrix: Float32
    bias: Float32
    scaled: bool

    @property
    def is_identity(self) -> bool:
        """Whether the map leaves queries as they are."""
        d, wide = self.matrix.shape
        return d == wide and not self.bias.any() and np.array_equal(self.matrix, np.eye(d, dtype=np.float32))


def affine(function: Callable[[Float32], Float32], d: int) -> Affine | None:
    """Return a function of rows of `d` numbers as an affine map, or None if it is no such map.

    It is read off the unit vectors, and compared with the function on random ones.
    """
    bias = function(np.zeros((1, d), dtype=np.float32))[0]
    matrix = function(np.eye(d, dtype=np.float32)) - bias
    inputs = np.random.default_rng(0).standard_normal((64, d)).astype(np.float32)
    outputs = function(inputs).astype(np.float64)
    predicted = inputs.astype(np.float64) @ matrix + bias
    lengths = np.linalg.norm(outputs, axis=1, keepdims=True)
    if (np.abs(predicted - outputs) <= TOLERANCE * lengths).all():
        return Affine(matrix, bias, scaled=False)
    factor = np.linalg.norm(predicted, axis=1, keepdims=True) / np.where(lengths > 0, lengths, 1)
    if (np.abs(predicted - factor * outputs) <= TOLERANCE * factor * lengths).all():
        return Affine(matrix, bias, scaled=True)
    return None
