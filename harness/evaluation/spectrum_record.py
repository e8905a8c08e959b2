"""The spectrum of a collection and the bits that a method gives to its axes, small enough for every record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

ALONE, GROUPS = 48, 48
"""The strongest axes are kept one by one, and the others in so many groups, ever wider ones."""

MOST_RUNS = 128
"""Most runs that are recorded exactly; figures with more of them are averaged over groups of axes."""

DIGITS = 4
"""Significant digits of a share of the power, and decimals of bits."""


@dataclass(frozen=True, eq=False)
class Steps:
    """A figure of each axis, constant over runs of neighbouring ones.

    Attributes
    ----------
    axes : int64 (r,)
        How many axes each run has.
    values : float64 (r,)
        Figure of each axis in a run.
    """

    axes: Int64
    values: Float64

    @classmethod
    def means(cls, values: ArrayLike) -> Self:
        """Return figures of axes (d,), averaged over groups where there are many."""
        figures = np.asarray(values, dtype=np.float64)
        starts = np.unique(np.rint(np.geomspace(ALONE, max(len(figures), ALONE), GROUPS + 1)).astype(np.int64))
        edges = np.concatenate([np.arange(min(ALONE, len(figures))), starts[starts < len(figures)], [len(figures)]])
        widths = np.diff(np.unique(edges))
        return cls(widths, np.add.reduceat(figures, np.cumsum(widths) - widths) / widths)

    @classmethod
    def runs(cls, values: ArrayLike) -> Self:
        """Return figures of axes (d,), exactly; as means over groups if they change too often for that."""
        figures = np.asarray(values, dtype=np.float64)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(figures)) + 1])
        if len(starts) > MOST_RUNS:
            return cls.means(figures)
        return cls(np.diff(np.append(starts, len(figures))), figures[starts])

    @classmethod
    def read(cls, part: Mapping[str, Any]) -> Self:
        """Return the steps that a part of a record holds."""
        return cls(np.array(part["axes"], dtype=np.int64), np.array(part["values"], dtype=np.float64))

    @property
    def edges(self) -> Int64:
        """The number of the axis before each run, and the last one's: int64 (r + 1,)."""
        return np.concatenate([[0], np.cumsum(self.axes)])

    @property
    def each(self) -> Float64:
        """The figure of each axis, float64 (d,)."""
        return np.repeat(self.values, self.axes)


def as_record(eigenvalues: ArrayLike, bits: ArrayLike | None) -> dict[str, Any]:
    """Return the part of a record that says where the power of the vectors is, and where a method puts its bits.

    Parameters
    ----------
    eigenvalues : array_like of float (d,)
        Eigenvalues of the documents' covariance, in any order (of before version 0.3: of their second moment).
    bits : array_like of float (d,) or None
        See `methods.base.Codec.bits_per_axis`.

    Returns
    -------
    dict
        *power*: the share of each axis, in falling order. *bits*: likewise, or None. Both hold how many `axes` have
        one of the `values`, see `Steps`.
    """
    values = np.sort(np.maximum(np.asarray(eigenvalues, dtype=np.float64), 0.0))[::-1]
    total = float(values.sum())
    power = Steps.means(values / total if total > 0 else values)
    record: dict[str, Any] = {
        "power": {"axes": power.axes.tolist(), "values": [float(f"{value:.{DIGITS}g}") for value in power.values]},
        "bits": None,
    }
    if bits is not None:
        spent = Steps.runs(np.round(np.asarray(bits, dtype=np.float64), DIGITS))
        record["bits"] = {"axes": spent.axes.tolist(), "values": np.round(spent.values, DIGITS).tolist()}
    return record
