"""Lloyd-Max levels: of the data, one dimension at a time, and of the two densities that rotated vectors have.

A set of levels is optimal for squared error when each level is the mean of the numbers that are nearest to it (Lloyd,
1957, published 1982; Max, 1960).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, row_blocks
from methods.kernels.packing import pack, packed_size, unpack

GAUSSIAN_HALF_WIDTH = (0.79788, 1.49353, 2.05107, 2.51400, 2.91615, 3.27798, 3.61110, 3.92221)
"""The outermost level of the best grid of 2, 4, ..., 256 equally spaced levels for N(0, 1) (Max, 1960)."""

SHARED_SAMPLE = 1 << 21
"""A codebook that all dimensions share is fitted on about this many numbers at most, evenly spaced rows."""


def uniform_half_levels(bits: int) -> Array:
    """Return the positive levels of the best equally spaced grid for N(0, 1), float64 (2**(bits - 1),)."""
    half = GAUSSIAN_HALF_WIDTH[bits - 1] * 2 / (2**bits - 1)
    return np.asarray((np.arange(2 ** (bits - 1)) + 0.5) * half)


@functools.cache
def gaussian_half_levels(bits: int) -> Array:
    """Return the positive Lloyd-Max levels for N(0, 1), float64 (2**(bits - 1),); the others are their negatives."""
    from scipy.special import ndtr, ndtri

    def density(z: Array) -> Array:
        return np.asarray(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))

    def upper_mass(z: Array) -> Array:
        return np.asarray(ndtr(-z))

    # for N(0, 1) the integral of z times the density, from z to infinity, is the density at z
    return _half_levels(bits, density, upper_mass, density, lambda p: np.asarray(ndtri(p)))


@functools.cache
def sphere_half_levels(bits: int, d: int) -> Array:
    """Return the positive Lloyd-Max levels for sqrt(d) times one entry of a uniformly random unit vector.

    The entry t has density proportional to (1 - t**2)**((d - 3) / 2), which TurboQuant (Zandieh et al., 2025, section
    3.1) uses in place of its limit N(0, 1/d); below three dimensions the limit is what is returned.
    """
    from scipy.special import betaincc, betaincinv, gammaln

    if d < 3:
        return gaussian_half_levels(bits)
    root, shape = np.sqrt(d), (d - 1) / 2
    constant = np.exp(gammaln(d / 2) - gammaln((d - 1) / 2)) / np.sqrt(np.pi)

    def density(z: Array) -> Array:
        return np.asarray(constant / root * np.maximum(0.0, 1 - (z / root) ** 2) ** ((d - 3) / 2))

    def upper_mass(z: Array) -> Array:
        return np.asarray(betaincc(shape, shape, (1 + z / root) / 2))

    def upper_mean(z: Array) -> Array:
        """Return the integral of z times the density, from z to the end."""
        inside = np.maximum(0.0, 1 - (z / root) ** 2)
        return np.asarray(root * constant / (d - 1) * inside ** ((d - 1) / 2))

    def quantile(p: Array) -> Array:
        return np.asarray((2 * betaincinv(shape, shape, p) - 1) * root)

    return _half_levels(bits, density, upper_mass, upper_mean, quantile)


def _half_levels(
    bits: int,
    density: Callable[[Array], Array],
    upper_mass: Callable[[Array], Array],
    upper_mean: Callable[[Array], Array],
    quantile: Callable[[Array], Array],
) -> Array:
    """Solve for the positive levels of a symmetric density by Newton's method on "each level is its cell's mean"."""
    count = 2 ** (bits - 1)
    # the best density of levels is the cube root of the numbers' (Panter and Dite, 1951): near N(0, 3)
    levels = np.sqrt(3) * quantile(0.5 + (np.arange(count) + 0.5) / (2 * count))
    # in few dimensions that lies beyond the end of the range: the numbers' own quantiles do not
    end = float(quantile(np.asarray(1.0)))
    levels = np.where(levels[-1] < end, levels, quantile(0.5 + (np.arange(count) + 0.5) / (2 * count)))
    for _ in range(1000):
        inner = (levels[1:] + levels[:-1]) / 2
        edges = np.concatenate([[0.0], inner])
        mass = -np.diff(np.append(upper_mass(edges), 0.0))
        moment = -np.diff(np.append(upper_mean(edges), 0.0))
        gradient = levels * mass - moment
        # how the two cells at an edge change as the edge moves with the two levels beside it
        below = density(inner) * (levels[1:] - levels[:-1]) / 4
        slope = np.diag(mass)
        slope[np.arange(count - 1), np.arange(count - 1)] -= below
        slope[np.arange(1, count), np.arange(1, count)] -= below
        slope[np.arange(count - 1), np.arange(1, count)] = -below
        slope[np.arange(1, count), np.arange(count - 1)] = -below
        # far from the solution Newton's step may run uphill or disorder the levels; Lloyd's never does
        update = moment / mass
        if np.linalg.eigvalsh(slope)[0] > 0:
            newton = levels - np.linalg.solve(slope, gradient)
            update = newton if newton[0] > 0 and newton[-1] < end and (np.diff(newton) > 0).all() else update
        moved = float(np.abs(update - levels).max())
        levels = update
        if moved < 1e-10:
            break
    levels.flags.writeable = False
    return np.asarray(levels)


def fit_levels(values: NDArray[np.floating], count: int, iterations: int) -> Array:
    """Return Lloyd-Max levels of the numbers themselves: one-dimensional k-means.

    Parameters
    ----------
    values : float (n,)
        In ascending order.
    count : int
    iterations : int
        Most of Lloyd's iterations; they stop once no level changes.

    Returns
    -------
    levels : float64 (count,)
        Ascending. With fewer distinct numbers than levels some levels are equal.
    """
    distinct = np.concatenate([values[:1], values[1:][np.diff(values) > 0]])
    if len(distinct) <= count:
        return np.pad(distinct.astype(np.float64), (0, count - len(distinct)), mode="edge")
    totals = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    levels = _spread(values, count)
    previous: Array = np.empty(0, dtype=np.int64)
    for _ in range(iterations):
        edges = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2, side="right")
        if np.array_equal(edges, previous):
            break
        previous = edges
        bounds = np.concatenate([[0], edges, [len(values)]])
        sizes = np.diff(bounds)
        # an empty cell keeps its level
        levels = np.where(sizes > 0, np.diff(totals[bounds]) / np.maximum(sizes, 1), levels)
    return levels


def _spread(values: NDArray[np.floating], count: int) -> Array:
    """Return starting levels, as dense as the cube root of the numbers' own density (Panter and Dite, 1951)."""
    # the distance between neighbouring quantiles is 1 / density, and the cube root integrates to distance**(2/3)
    picked_rows = np.linspace(0, len(values) - 1, min(len(values), 16 * count + 1)).astype(np.int64)
    points = values[picked_rows].astype(np.float64)
    reach = np.concatenate([[0.0], np.cumsum(np.diff(points) ** (2 / 3))])
    return np.asarray(np.interp((np.arange(count) + 0.5) / count * reach[-1], reach, points))


@dataclass(kw_only=True, eq=False)
class LloydMax(Codec):
    """The levels that represent the fitted documents' numbers best, rather than equally spaced ones.

    Parameters
    ----------
    bits : int
        1 to 8 bits a dimension.
    codebook : {"dimension", "shared"}
        Levels for each dimension (2**bits floats a dimension of state), or one set for all dimensions once each is
        standardised (two floats a dimension and 2**bits).
    iterations : int
        Upper bound on Lloyd's iterations.

    Notes
    -----
    Lloyd, 1982; Max, 1960. Deterministic: no random start.
    """

    bits: int = 4
    codebook: Literal["dimension", "shared"] = "dimension"
    iterations: int = 100

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")
        self._require_at_least(1, "iterations")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        n, d = docs.shape
        count = 2**self.bits
        if self.codebook == "dimension":
            levels = np.empty((d, count), dtype=np.float32)
            for j in range(d):
                levels[j] = fit_levels(np.sort(docs[:, j]), count, self.iterations)
        else:
            self.mean_ = docs.mean(axis=0, dtype=np.float64).astype(np.float32)
            deviation = docs.std(axis=0, dtype=np.float64)
            # a dimension that is constant but for rounding is nothing to standardise
            deviation[deviation <= 1e-7 * np.abs(self.mean_)] = 0
            self.deviation_ = deviation.astype(np.float32)
            step = max(1, n * d // SHARED_SAMPLE)
            numbers = np.sort(self._standardised(docs[::step]).ravel())
            levels = fit_levels(numbers, count, self.iterations)[None].astype(np.float32)
        self.levels_ = levels

    def _standardised(self, docs: Float32) -> Float32:
        if self.codebook == "dimension":
            return docs
        inverse = np.divide(1, self.deviation_, out=np.zeros_like(self.deviation_), where=self.deviation_ > 0)
        standardised: Float32 = (docs - self.mean_) * inverse
        return standardised

    def _encode(self, docs: Float32) -> Codes:
        n, d = docs.shape
        edges = ((self.levels_[:, 1:].astype(np.float64) + self.levels_[:, :-1]) / 2).astype(np.float32)
        packed = np.empty((n, packed_size(d, self.bits)), dtype=np.uint8)
        for start, stop in row_blocks(n, 4 * d):
            columns = np.ascontiguousarray(self._standardised(docs[start:stop]).T)
            values = np.empty((d, stop - start), dtype=np.uint8)
            for j in range(d):
                values[j] = np.searchsorted(edges[j % len(edges)], columns[j])
            packed[start:stop] = pack(values.T, self.bits)
        return Codes.packed(packed)

    def _decode(self, codes: Codes) -> Float32:
        numbers = unpack(codes.array, self.bits, self.dim_).astype(np.intp)
        if self.codebook == "shared":
            decoded: Float32 = self.levels_[0][numbers]
            decoded *= self.deviation_
            decoded += self.mean_
            return decoded
        numbers += np.arange(self.dim_) * 2**self.bits
        return np.asarray(self.levels_.ravel()[numbers])

    def _levels(self, codes: Codes) -> Float32:
        return unpack(codes.array, self.bits, self.dim_).astype(np.float32)
