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
Float64 = NDArray[np.float64]

LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(kw_only=True, eq=False)
class WeightCode(Part, ABC):
    """A code for positive weights. `fit` sees what pruning left."""

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
        """Return the weights, float32 (nnz,), that symbols stand for, given the term and document of each; 0: none."""


@dataclass(kw_only=True, eq=False)
class Floats(WeightCode):
    """Each weight in a floating-point format, rounded to nearest even; too small or too large ones take the next."""

    dtype: Literal["float32", "float16", "bfloat16"] = "float32"

    @property
    def _format(self) -> np.dtype[np.generic]:
        dtype: np.dtype[np.generic] = np.dtype(getattr(np, self.dtype, None) or getattr(ml_dtypes, self.dtype))
        return dtype

    @property
    def symbol_bits(self) -> int:
        """Bits of the format."""
        return 8 * self._format.itemsize

    def symbols(self, docs: SparseVectors) -> tuple[Int64, dict[str, Array]]:
        """Return the format's bits as numbers."""
        largest = np.float32(ml_dtypes.finfo(self._format).max)
        bits = np.minimum(docs.weights, largest).astype(self._format).view(f"u{self._format.itemsize}")
        # the bits of positive floats, taken for numbers, are in their order: 1 is the smallest
        return np.maximum(bits, 1).astype(np.int64), {}

    def weights(self, symbols: Int64, terms: Int64, rows: Int64, stored: Mapping[str, Array]) -> Float32:
        """Return the numbers of the format."""
        return symbols.astype(f"u{self._format.itemsize}").view(self._format).astype(np.float32)


@dataclass(kw_only=True, eq=False)
class SignificantBits(WeightCode):
    """The first bits of a float32, the rest cut off: Lucene's feature fields keep 9 significant bits as 17.

    Parameters
    ----------
    bits : int
        Of the float32's 32, the sign's included, which no weight needs and none stores.
    """

    bits: int = 17

    def _check_parameters(self) -> None:
        self._require(10 <= self.bits <= 32, f"bits must be from 10 to 32, got {self.bits}")

    @property
    def symbol_bits(self) -> int:
        """Bits without the sign."""
        return self.bits - 1

    def symbols(self, docs: SparseVectors) -> tuple[Int64, dict[str, Array]]:
        """Return the first bits as numbers."""
        return np.maximum(docs.weights.view(np.uint32) >> np.uint32(32 - self.bits), 1).astype(np.int64), {}

    def weights(self, symbols: Int64, terms: Int64, rows: Int64, stored: Mapping[str, Array]) -> Float32:
        """Return the floats whose further bits are 0."""
        return (symbols.astype(np.uint32) << np.uint32(32 - self.bits)).view(np.float32)


@dataclass(kw_only=True, eq=False)
class FixedSteps(WeightCode):
    """Whole multiples of a step, the nearest even, saturating.

    Parameters
    ----------
    bits : int
        1 to 16.
    step : float or None
        1/64 with 8 bits is fixed point Q2.6, to 3.98 (Seismic); 3/255 reaches to 3 (OpenSearch). None: the largest
        multiple is the largest weight of the documents of `fit`, as engines make 8-bit impacts; a number of state.
    zero : {"drop", "store", "raise"}
        What becomes of a weight that rounds to 0: its term is dropped; it is stored, number and all, to no use, as
        stores do; or it takes the smallest weight above 0.
    """

    bits: int = 8
    step: float | None = 1 / 64
    zero: Literal["drop", "store", "raise"] = "drop"

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 16, f"bits must be from 1 to 16, got {self.bits}")
        self._require_positive("step")

    @property
    def symbol_bits(self) -> int:
        """Bits of a weight."""
        return self.bits

    def _fit(self, docs: SparseVectors, queries: object) -> None:
        if self.step is None:
            largest = float(docs.weights.max()) if docs.nnz else 1.0
            self.step_ = largest / (2**self.bits - 1)

    @property
    def _step(self) -> float:
        return float(self.step_) if self.step is None else self.step

    def kept(self, docs: SparseVectors) -> SparseVectors:
        """Return documents without the terms that round to 0, if these are dropped."""
        return docs.kept(self._multiples(docs) > 0) if self.zero == "drop" else docs

    def _multiples(self, docs: SparseVectors) -> Float64:
        multiples: Float64 = np.rint(docs.weights.astype(np.float64) / self._step)
        return multiples

    def symbols(self, docs: SparseVectors) -> tuple[Int64, dict[str, Array]]:
        """Return the multiples."""
        least = 0 if self.zero == "store" else 1
        return np.clip(self._multiples(docs), least, 2**self.bits - 1).astype(np.int64), {}

    def weights(self, symbols: Int64, terms: Int64, rows: Int64, stored: Mapping[str, Array]) -> Float32:
        """Return the multiples as weights."""
        return (symbols * self._step).astype(np.float32)


@dataclass(kw_only=True, eq=False)
class Levels(WeightCode):
    """Equally spaced levels between a smallest and a largest weight; there is none for 0, so no term is lost.

    Parameters
    ----------
    bits : int
        1 to 8.
    scale : {"collection", "term", "document"}
        Whose smallest and largest weights: two numbers of state; two float16 for each term of the vocabulary, as state;
        or float16 for each document, beside its codes. Terms that `fit` did not see have the collection's.
    low : {"smallest", "step"}
        *smallest*: the first level is the smallest weight that pruning left. *step*: it is the largest weight by the
        number of levels, as if a level for 0 had been left out; only the largest weight is then stored.
    """

    bits: int = 8
    scale: Literal["collection", "term", "document"] = "collection"
    low: Literal["smallest", "step"] = "smallest"

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8, f"bits must be from 1 to 8, got {self.bits}")

    @property
    def symbol_bits(self) -> int:
        """Bits of a level's number."""
        return self.bits

    def _fit(self, docs: SparseVectors, queries: object) -> None:
        weights = docs.weights if docs.nnz else np.ones(1, np.float32)
        whole = np.array([weights.min(), weights.max()], dtype=np.float32)
        if self.scale == "collection":
            self.ends_ = whole if self.low == "smallest" else whole[1:]
        if self.scale == "term":
            ends = extremes(docs.transposed(), whole)
            self.ends_ = as_halves(ends if self.low == "smallest" else ends[:, 1:])

    def _stored(self, docs: SparseVectors) -> dict[str, Array]:
        if self.scale != "document":
            return {}
        ends = as_halves(extremes(docs, np.ones(2, np.float32)))
        return {"largest": ends[:, 1]} if self.low == "step" else {"largest": ends[:, 1], "smallest": ends[:, 0]}

    def _ends(self, terms: Array, rows: Int64, stored: Mapping[str, Array]) -> tuple[Float64, Float64]:
        """Return the first and the last level of each weight, float64 (nnz,) or (1,)."""
        if self.scale == "document":
            high = stored["largest"].astype(np.float64)[rows]
            low = None if self.low == "step" else stored["smallest"].astype(np.float64)[rows]
        else:
            ends = np.asarray(self.ends_, dtype=np.float64)
            ends = ends[terms] if self.scale == "term" else ends[None]
            high, low = ends[:, -1], None if self.low == "step" else ends[:, 0]
        return (high / 2**self.bits if low is None else low), high

    def symbols(self, docs: SparseVectors) -> tuple[Int64, dict[str, Array]]:
        """Return the numbers of the nearest levels."""
        stored = self._stored(docs)
        low, high = self._ends(docs.terms, docs.rows, stored)
        last = 2**self.bits - 1
        span = np.where(high > low, high - low, 1.0)
        return np.clip(np.rint((docs.weights - low) / span * last), 0, last).astype(np.int64), stored

    def weights(self, symbols: Int64, terms: Int64, rows: Int64, stored: Mapping[str, Array]) -> Float32:
        """Return the levels."""
        low, high = self._ends(terms, rows, stored)
        levels: Float32 = (low + (high - low) * symbols / (2**self.bits - 1)).astype(np.float32)
        return levels


@dataclass(kw_only=True, eq=False)
class LogLevels(WeightCode):
    """Levels by Lloyd's and Max's rule for the logarithms of weights; each stands for its weights' mean.

    Parameters
    ----------
    bits : int
        1 to 8.

    Notes
    -----
    Lloyd, 1982 (1957); Max, 1960. Weights are skewed, so equal steps leave the many small ones few levels. The mean of
    the weights, and not of their logarithms, keeps scores right on average. State: 2^bits float32.
    """

    bits: int = 4

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8, f"bits must be from 1 to 8, got {self.bits}")

    @property
    def symbol_bits(self) -> int:
        """Bits of a level's number."""
        return self.bits

    def _fit(self, docs: SparseVectors, queries: object) -> None:
        weights = np.sort(docs.weights.astype(np.float64)) if docs.nnz else np.ones(1)
        logs = np.log(weights)
        sums = np.concatenate([[0.0], np.cumsum(logs)])
        count = 2**self.bits
        centres = logs[np.arange(count) * (len(logs) - 1) // max(1, count - 1)]
        for _ in range(100):
            ends = np.searchsorted(logs, (centres[1:] + centres[:-1]) / 2)
            ends = np.concatenate([[0], ends, [len(logs)]])
            held = np.diff(ends)
            means = np.divide(np.diff(sums[ends]), held, out=centres.copy(), where=held > 0)
            if np.array_equal(means, centres):
                break
            centres = means
        ends = np.concatenate([[0], np.searchsorted(logs, (centres[1:] + centres[:-1]) / 2), [len(logs)]])
        totals, held = np.concatenate([[0.0], np.cumsum(weights)]), np.diff(ends)
        means = np.divide(np.diff(totals[ends]), held, out=np.exp(centres), where=held > 0)
        self.levels_ = np.maximum.accumulate(means).astype(np.float32)

    def symbols(self, docs: SparseVectors) -> tuple[Int64, dict[str, Array]]:
        """Return the numbers of the nearest levels, by ratio."""
        levels = np.asarray(self.levels_, dtype=np.float64)
        return np.searchsorted(np.sqrt(levels[1:] * levels[:-1]), docs.weights.astype(np.float64)), {}

    def weights(self, symbols: Int64, terms: Int64, rows: Int64, stored: Mapping[str, Array]) -> Float32:
        """Return the levels."""
        return np.asarray(self.levels_, dtype=np.float32)[symbols]


@dataclass(kw_only=True, eq=False)
class Presence(WeightCode):
    """No bits: a term that a document has counts with a mean weight, the collection's or the term's own.

    Parameters
    ----------
    mean : {"collection", "term"}
        A number of state, or a float16 for each term of the vocabulary; one that `fit` did not see has the
        collection's.
    """

    mean: Literal["collection", "term"] = "term"

    @property
    def symbol_bits(self) -> int:
        """None."""
        return 0

    def _fit(self, docs: SparseVectors, queries: object) -> None:
        mean = float(docs.weights.mean(dtype=np.float64)) if docs.nnz else 1.0
        if self.mean == "collection":
            self.mean_ = np.array([mean], dtype=np.float32)
            return
        counts = np.bincount(docs.terms, minlength=docs.width)
        sums = np.bincount(docs.terms, docs.weights.astype(np.float64), minlength=docs.width)
        self.mean_ = as_halves(np.divide(sums, counts, out=np.full(docs.width, mean), where=counts > 0))

    def symbols(self, docs: SparseVectors) -> tuple[Int64, dict[str, Array]]:
        """Return zeros of no bits."""
        return np.zeros(docs.nnz, np.int64), {}

    def weights(self, symbols: Int64, terms: Int64, rows: Int64, stored: Mapping[str, Array]) -> Float32:
        """Return the means."""
        means = np.asarray(self.mean_).astype(np.float32)
        return np.full(len(terms), means[0]) if self.mean == "collection" else means[terms]


def extremes(docs: SparseVectors, missing: Float32) -> Float32:
    """Return each row's smallest and largest weight, float32 (n, 2); a row without terms has the `missing` ones."""
    ends = np.tile(missing, (len(docs), 1)).astype(np.float32)
    filled = np.flatnonzero(docs.counts)
    if len(filled):
        starts = docs.indptr[filled]
        ends[filled, 0] = np.minimum.reduceat(docs.weights, starts)
        ends[filled, 1] = np.maximum.reduceat(docs.weights, starts)
    return ends


def as_halves(values: Array) -> Array:
    """Return positive numbers as float16, within its range and above 0."""
    smallest = float(np.finfo(np.float16).smallest_subnormal)
    return np.clip(values, smallest, LARGEST_HALF).astype(np.float16)
