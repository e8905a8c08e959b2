"""Codes for the weights of terms: a symbol of a few bits each, and what tells its meaning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Float32, Part
from methods.representations import Kind, SparseVectors

Int64 = NDArray[np.int64]


@dataclass(kw_only=True, eq=False)
class WeightCode(Part, ABC):
    """A code for positive weights."""

    takes: ClassVar[Kind] = "terms"

    @property
    @abstractmethod
    def symbol_bits(self) -> int:
        """Bits of a weight's symbol."""

    def kept(self, docs: SparseVectors) -> SparseVectors:
        """Return documents without the terms whose weight this code takes for 0, if it does so for any."""
        return docs

    @abstractmethod
    def symbols(self, docs: SparseVectors) -> tuple[Int64, dict[str, Array]]:
        """Return a symbol for each weight, int64 (nnz,), and arrays that are stored for each document, (n,)."""

    @abstractmethod
    def weights(self, symbols: Int64, terms: Int64, rows: Int64, stored: Mapping[str, Array]) -> Float32:
        """Return the weights, float32 (nnz,), that symbols stand for, given the term and the document of each."""


@dataclass(kw_only=True, eq=False)
class Floats(WeightCode):
    """Each weight in a floating-point format, rounded to nearest even; too small or too large ones take the next."""

    dtype: Literal["float32", "float16", "bfloat16"] = "float32"

    @property
    def _format(self) -> np.dtype[np.generic]:
        return np.dtype(getattr(np, self.dtype, None) or getattr(ml_dtypes, self.dtype))

    @property
    def symbol_bits(self) -> int:
        """Bits of the format."""
        return 8 * self._format.itemsize

    def symbols(self, docs: SparseVectors) -> tuple[Int64, dict[str, Array]]:
        """Return the formats' bits as numbers."""
        finite = ml_dtypes.finfo(self._format)
        # the bits of a positive float, taken for a number, ascend with it: 1 is the smallest
        bits = np.minimum(docs.weights, np.float32(finite.max)).astype(self._format).view(f"u{self._format.itemsize}")
        return np.maximum(bits, 1).astype(np.int64), {}

    def weights(self, symbols: Int64, terms: Int64, rows: Int64, stored: Mapping[str, Array]) -> Float32:
        """Return the numbers of the format."""
        return symbols.astype(f"u{self._format.itemsize}").view(self._format).astype(np.float32)
