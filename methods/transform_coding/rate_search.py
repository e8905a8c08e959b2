"""Quantising for the least squared error plus lambda times bits, and within a budget of bits for each document.

Numbers are chosen by what they cost in a given entropy code, not only by what is nearest (rate-distortion optimised
quantisation; Sullivan and Wiegand, 1998). With a trellis, two quantisers take turns: the parities of the numbers so far
say which of them holds the next one's levels, and Viterbi's algorithm searches all sequences at once. Their levels
together lie twice as densely as those of either, at the price in bits of one (entropy-coded trellis-coded quantisation:
Fischer and Wang, 1992; Marcellin, 1994; "dependent quantisation" in VVC: Schwarz et al., 2019).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Float32
from methods.kernels import bitfields, rate_paths
from methods.parallel import over_rows

Int64 = NDArray[np.int64]
Int16 = NDArray[np.int16]
UInt8 = NDArray[np.uint8]

UNGERBOECK = {
    4: (0o5, 0o2),
    8: (0o13, 0o4),
    16: (0o23, 0o4),
    32: (0o45, 0o10),
    64: (0o103, 0o24),
    128: (0o235, 0o126),
    256: (0o515, 0o362),
}
"""By states: parity checks of a number's parity and of which quantiser it belongs to (Ungerboeck, 1982, Table I)."""

CELLS = 1 << 13
"""Documents are searched in blocks of this many (state, document) pairs: what is counted depends on it by rounding."""

ROWS_PER_THREAD = 64
"""Documents for which a thread of its own is worth its start."""

NEVER = np.float32(1e12)
"""Bits of a number that pads a group."""

FREE = np.float32(1e12)
"""A slope at which the error counts for nothing."""


class Quantiser:
    """Levels and code lengths of the numbers -reach..reach of a coordinate, in one quantiser or in two that take turns.

    Parameters
    ----------
    levels : float (quantisers, 2 * reach + 1)
        In units of the step.
    probabilities : float (quantisers, 2 * reach + 1)

    Attributes
    ----------
    numbers : int16 (groups, w)
        A group is what a branch of the trellis may take: 2 * parity + quantiser. Without a trellis it is all numbers.
    levels, bits : float32 (groups, w)
    """

    def __init__(self, levels: Array, probabilities: Array) -> None:
        reach = levels.shape[1] // 2
        everything = np.arange(-reach, reach + 1)
        if len(levels) == 1:
            members = [(0, everything)]
        else:
            members = [(q, everything[everything % 2 == parity]) for parity in (0, 1) for q in (0, 1)]
        width = max(len(numbers) for _, numbers in members)
        self.numbers = np.zeros((len(members), width), dtype=np.int16)
        self.levels = np.zeros((len(members), width), dtype=np.float32)
        self.bits = np.full((len(members), width), NEVER, dtype=np.float32)
        for group, (q, numbers) in enumerate(members):
            self.numbers[group, : len(numbers)] = numbers
            self.levels[group, : len(numbers)] = levels[q, numbers + reach]
            self.bits[group, : len(numbers)] = -np.log2(probabilities[q, numbers + reach])

    def costs(self, column: Float32, slope: Float32) -> Float32:
        """Return the least cost of each group, float32 (groups, n)."""
        least: Float32 = np.full((len(self.levels), len(column)), np.inf, dtype=np.float32)
        for levels, bits in zip(self.levels.T, self.bits.T, strict=True):
            cost = column - levels[:, None]
            cost *= cost
            cost += bits[:, None] * slope
            np.minimum(least, cost, out=least)
        return least


@dataclass
class Choice:
    """Numbers chosen for documents: int16 (coordinates, n); their levels in steps, float32; and bits, float64 (n,)."""

    numbers: Int16
    levels: Float32
    bits: NDArray[np.float64]

    @property
    def arrays(self) -> tuple[Int16, Float32, NDArray[np.float64]]:
        """The three arrays."""
        return self.numbers, self.levels, self.bits

    def replace(self, where: NDArray[np.bool_] | Int64, replacement: Choice) -> None:
        """Overwrite the documents that `where` picks by those of a choice for as many documents."""
        self.numbers[:, where], self.levels[:, where], self.bits[where] = (
            replacement.numbers,
            replacement.levels,
            replacement.bits,
        )

    def __getitem__(self, where: NDArray[np.bool_]) -> Choice:
        return Choice(self.numbers[:, where], self.levels[:, where], self.bits[where])


class Search:
    """The quantisers of a document's coordinates, in the order in which they are coded.

    Parameters
    ----------
    states : int
        States of the trellis; 1 is no trellis.
    quantisers : list of Quantiser
        Those in pairs come first.
    """

    def __init__(self, states: int, quantisers: list[Quantiser]) -> None:
        self.states = states
        self.quantisers = quantisers
        self.coupled = sum(len(quantiser.levels) > 1 for quantiser in quantisers)
        # a window is a state and the path bit that leaves it; its last log2(states) bits are the next state
        window = np.arange(2 * states)
        parity_check, quantiser_check = UNGERBOECK.get(states, (0, 0))
        self.groups = 2 * bitfields.parity(window & parity_check) + bitfields.parity(window & quantiser_check)

    @property
    def transitions(self) -> list[tuple[int, tuple[int, int]]]:
        """The quantiser of each state, and the next states after an even number and after an odd one."""
        ends = np.argsort(self.groups.reshape(-1, 2) >> 1, axis=1) + 2 * np.arange(self.states)[:, None]
        quantiser_of = (self.groups[::2] & 1).tolist()
        return [(q, (even, odd)) for q, (even, odd) in zip(quantiser_of, (ends % self.states).tolist(), strict=True)]

    @property
    def rows(self) -> int:
        """How many documents are searched at once."""
        return max(32, CELLS // self.states)

    def paths(self, columns: Float32, slope: Float32) -> UInt8:
        """Return the groups that the best numbers come from, uint8 (coordinates, n), by Viterbi's algorithm.

        Parameters
        ----------
        columns : float32 (coordinates, n)
            In steps.
        slope : float32 (n,)
            Squared steps that a bit is worth, of each document.
        """
        n = columns.shape[1]
        groups = np.zeros(columns.shape, dtype=np.uint8)
        if not self.coupled:
            return groups
        metric = np.full((self.states, n), np.inf, dtype=np.float32)
        metric[0] = 0
        gathered = np.empty((2 * self.states, n), dtype=np.float32)
        branches, flat = gathered.reshape(self.states, 2, n), gathered.reshape(2, self.states, n)
        survivors = np.empty((self.coupled, self.states, n), dtype=bool)
        for column, quantiser, survivor in zip(columns, self.quantisers, survivors, strict=False):
            np.take(quantiser.costs(column, slope), self.groups, axis=0, out=gathered, mode="clip")
            branches += metric[:, None]
            np.less(flat[1], flat[0], out=survivor)
            np.minimum(flat[0], flat[1], out=metric)
        state, doc = metric.argmin(axis=0), np.arange(n)
        for row in range(self.coupled - 1, -1, -1):
            window = survivors[row][state, doc] * self.states + state
            groups[row] = self.groups[window]
            state = window >> 1
        return groups

    def choose(self, columns: Float32, groups: UInt8, slope: Float32) -> Choice:
        """Return the best numbers of the groups."""
        n = columns.shape[1]
        chosen = Choice(np.empty(columns.shape, np.int16), np.empty(columns.shape, np.float32), np.zeros(n))
        doc = np.arange(n)
        for row, (column, quantiser) in enumerate(zip(columns, self.quantisers, strict=True)):
            levels, bits = quantiser.levels[groups[row]].T, quantiser.bits[groups[row]].T
            cost = column - levels
            cost *= cost
            cost += bits * slope
            best = cost.argmin(axis=0)
            chosen.numbers[row] = quantiser.numbers[groups[row], best]
            chosen.levels[row] = levels[best, doc]
            chosen.bits += bits[best, doc]
        return chosen

    def best(self, columns: Float32, slope: Float32) -> tuple[Choice, UInt8]:
        """Return the numbers of the least squared error plus slope times bits, and the groups that they come from.

        The reference is `choose` on `paths`.
        """
        chosen, groups = self._empty(columns.shape), np.zeros(columns.shape, dtype=np.uint8)
        given = np.ascontiguousarray(columns), np.ascontiguousarray(slope), self._tables

        def work(start: int, stop: int) -> None:
            columns, slope, tables = given
            rate_paths.choose(columns, start, stop, slope, tables, True, groups, *chosen.arrays)

        over_rows(work, columns.shape[1], ROWS_PER_THREAD)
        return chosen, groups

    @staticmethod
    def _empty(shape: tuple[int, ...]) -> Choice:
        """Return a choice to be filled."""
        return Choice(np.empty(shape, np.int16), np.empty(shape, np.float32), np.empty(shape[1]))

    @functools.cached_property
    def _tables(self) -> rate_paths.Tables:
        """The quantisers as arrays."""
        distinct = list({id(quantiser): quantiser for quantiser in self.quantisers}.values())
        place = {id(quantiser): number for number, quantiser in enumerate(distinct)}
        sizes = [quantiser.levels.size for quantiser in distinct]

        def joined(arrays: list[Array], dtype: type) -> Array:
            return np.concatenate([np.empty(0, dtype), *(array.ravel() for array in arrays)]).astype(dtype)

        return rate_paths.Tables(
            kind=np.array([place[id(quantiser)] for quantiser in self.quantisers], dtype=np.int64),
            first=np.cumsum([0, *sizes], dtype=np.int64),
            groups=np.array([len(quantiser.levels) for quantiser in distinct], dtype=np.int64),
            width=np.array([quantiser.levels.shape[1] for quantiser in distinct], dtype=np.int64),
            levels=joined([quantiser.levels for quantiser in distinct], np.float32),
            bits=joined([quantiser.bits for quantiser in distinct], np.float32),
            numbers=joined([quantiser.numbers for quantiser in distinct], np.int16),
            windows=self.groups.astype(np.int64),
            coupled=self.coupled,
        )

    def cheapest(self) -> float:
        """Return the bits of the shortest code there is."""
        column = np.zeros((len(self.quantisers), 1), dtype=np.float32)
        return float(self.best(column, np.full(1, FREE, dtype=np.float32))[0].bits[0])

    def within(
        self, columns: Float32, slope: float, budget: NDArray[np.float64], passes: int, refinements: int
    ) -> Choice:
        """Return numbers of the least squared error whose bits stay within the budget, document by document.

        A document's own slope is searched for, from `slope`; then its path stays, and what is left of the budget is
        spent on the numbers along it with a smaller slope.

        Parameters
        ----------
        columns : float32 (coordinates, n)
        slope : float
        budget : float64 (n,)
            Bits of each document, at least `cheapest`.
        passes, refinements : int
            Searches of all paths, and of the numbers along one.
        """
        chosen, given = self._empty(columns.shape), np.ascontiguousarray(columns)

        def work(start: int, stop: int) -> None:
            rate_paths.within(
                given, start, stop, slope, float(FREE), budget, passes, refinements, self._tables, *chosen.arrays
            )

        over_rows(work, columns.shape[1], ROWS_PER_THREAD)
        return chosen

    def reference_within(
        self, columns: Float32, slope: float, budget: NDArray[np.float64], passes: int, refinements: int
    ) -> Choice:
        """Return what `within` does, by `paths` and `choose`."""
        n = columns.shape[1]
        free = np.full(n, FREE, dtype=np.float32)
        paths = self.paths(columns, free)
        final = self.choose(columns, paths, free)
        low, high = np.zeros(n), np.full(n, np.inf)
        low_bits, high_bits = np.full(n, np.inf), final.bits.copy()
        now, step = np.full(n, slope), 1.1
        todo = np.arange(n)
        for _ in range(passes):
            part, asked = columns[:, todo], now[todo].astype(np.float32)
            groups = self.paths(part, asked)
            tried = self.choose(part, groups, asked)
            fits = tried.bits <= budget[todo]
            good, bad = todo[fits], todo[~fits]
            final.replace(good, tried[fits])
            paths[:, good] = groups[:, fits]
            high[good], high_bits[good] = now[good], tried.bits[fits]
            low[bad], low_bits[bad] = now[bad], tried.bits[~fits]
            # bits fall by about a sixth when the slope doubles: a first guess that lies beyond the budget
            ratio = np.clip(tried.bits / budget[todo], 0.7, 1.4)
            flatter = now[todo] * ratio**2 * ratio**2 * ratio**2
            now[todo] = np.where(fits, 0.9 * flatter, np.maximum(1.1 * flatter, step * now[todo]))
            step *= 1.2
            inner = todo[(low[todo] > 0) & np.isfinite(high[todo])]
            share = (low_bits[inner] - budget[inner]) / np.maximum(low_bits[inner] - high_bits[inner], 1e-9)
            now[inner] = low[inner] + (high[inner] - low[inner]) * np.clip(share, 0.1, 0.9)
            todo = todo[final.bits[todo] < budget[todo] - 1]
            if not len(todo):
                break
        low, high = np.zeros(n), np.minimum(high, slope * 64)
        for _ in range(refinements):
            now = (low + high) / 2
            tried = self.choose(columns, paths, now.astype(np.float32))
            fits = tried.bits <= budget
            better = fits & (tried.bits >= final.bits)
            final.replace(better, tried[better])
            low, high = np.where(fits, low, now), np.where(fits, now, high)
        return final
