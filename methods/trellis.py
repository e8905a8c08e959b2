"""Trellis-coded quantisation: scalar levels in subsets, and a convolutional code that says which subset comes next.

A register of the last path bits walks through a trellis. A coordinate's levels are dealt out to four subsets in turn,
D0 D1 D2 D3 D0 ..., and the register says from which subset its level is taken: a level costs one path bit and the bits
of its number within the subset, but the encoder searches all paths at once (Viterbi's algorithm) and so packs
documents' space more tightly than one level after another can (Marcellin and Fischer, 1990; trellises of Ungerboeck,
1982).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.allocation import BYTE, allocate
from methods.base import Array, Codec, Codes, Float32, row_blocks

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

SUBSETS = 4

GENERATORS = {
    4: ((0o5, 0o2), (0o7, 0o7)),
    8: ((0o13, 0o4), (0o15, 0o12)),
    16: ((0o23, 0o4), (0o35, 0o4)),
    32: ((0o45, 0o10), (0o73, 0o6)),
    64: ((0o103, 0o24), (0o155, 0o42)),
    128: ((0o235, 0o126), (0o277, 0o116)),
    256: ((0o515, 0o362), (0o567, 0o202)),
}
"""By states: generators of a subset's high and low bit, for a step's first coordinate and for its second one.

The first pairs are Ungerboeck's (1982, Table I) parity checks h0 and h1 for amplitude modulation, as the feedforward
encoder of the same code. The second pairs are the best of some 500 random ones for a white Gaussian at 1/2 and 3/2
bits a coordinate.
"""

TRAINING_ROWS, TRAINING_STEPS, TRAINING_ROUNDS = 128, 256, 12
OVERSHOOT = 1.8
"""Lloyd's steps are lengthened by this: many levels move slowly."""


class Books(NamedTuple):
    """Levels for a rate, float32 (coordinates of a step, levels), for unit variance; and their squared error."""

    levels: Float32
    error: float


class Trellis:
    """Which coordinates a step covers, and the levels of each.

    Parameters
    ----------
    states : int
    steps : list of int64 (1,) or (2,)
        The coordinates of each step.
    levels : list of float32 (4 * 2**bits,)
        Ascending levels of each coordinate; number l is number l // 4 of subset l % 4. Empty for a coordinate
        that no step covers.
    """

    def __init__(self, states: int, steps: list[Int64], levels: list[Float32]) -> None:
        self.states = states
        self.steps = steps
        self.levels = levels
        window = np.arange(2 * states)
        self.subsets = [2 * _parity(window & high) + _parity(window & low) for high, low in GENERATORS[states]]
        self.coordinates = np.concatenate(steps)
        self.step_of = np.repeat(np.arange(len(steps)), [len(dims) for dims in steps])
        self.place = np.concatenate([np.arange(len(dims)) for dims in steps])
        self.bits = np.array([(len(levels[dim]) // SUBSETS).bit_length() - 1 for dim in self.coordinates])
        # the index bits follow the path bits, coordinate after coordinate
        self.first_bit = len(steps) + np.cumsum(self.bits) - self.bits
        self.total_bits = len(steps) + int(self.bits.sum())

    def search(self, columns: Float32) -> tuple[UInt8, UInt8]:
        """Return the best path and the levels' numbers within their subsets, by Viterbi's algorithm.

        Parameters
        ----------
        columns : float32 (d, n)

        Returns
        -------
        path : uint8 (steps, n)
            One bit a step.
        numbers : uint8 (coordinates, n)
            In the order of `coordinates`.
        """
        n, half = columns.shape[1], self.states // 2
        metric = np.full((self.states, n), np.inf, dtype=np.float32)
        metric[0] = 0
        branches = np.empty((half * 2, 2, n), dtype=np.float32)
        flat = branches.reshape(2, self.states, n)
        survivors = np.empty((len(self.steps), self.states, n), dtype=bool)
        nearest = []
        both = SUBSETS * self.subsets[0] + self.subsets[1]
        for dims, survivor in zip(self.steps, survivors, strict=True):
            errors, number = _nearest_in_subsets(columns[dims[0]], self.levels[dims[0]])
            nearest.append(number)
            labels = self.subsets[0]
            if len(dims) > 1:
                more, number = _nearest_in_subsets(columns[dims[1]], self.levels[dims[1]])
                nearest.append(number)
                errors, labels = (errors[:, None] + more).reshape(-1, n), both
            np.take(errors, labels, axis=0, out=flat.reshape(-1, n), mode="clip")
            branches += metric[:, None]
            # two branches end in a state, which differ in the oldest bit of the register
            np.less(flat[1], flat[0], out=survivor)
            np.minimum(flat[0], flat[1], out=metric)
        return self._trace_back(metric.argmin(axis=0), survivors, nearest)

    def _trace_back(self, state: Int64, survivors: NDArray[np.bool_], nearest: list[UInt8]) -> tuple[UInt8, UInt8]:
        columns = np.arange(len(state))
        path = np.empty((len(self.steps), len(state)), dtype=np.uint8)
        windows = np.empty((len(self.steps), len(state)), dtype=np.int64)
        for step in range(len(self.steps) - 1, -1, -1):
            windows[step] = survivors[step][state, columns] * self.states + state
            path[step] = state & 1
            state = windows[step] >> 1
        numbers = np.empty((len(nearest), len(state)), dtype=np.uint8)
        for row, number in enumerate(nearest):
            numbers[row] = number[self.subsets[self.place[row]][windows[self.step_of[row]]], columns]
        return path, numbers

    def levels_chosen(self, path: UInt8, numbers: UInt8) -> Int64:
        """Return the numbers of the levels, int64 (coordinates, n), that a path and numbers in subsets mean."""
        windows = np.zeros(path.shape, dtype=np.int64)
        for age in range(min((2 * self.states).bit_length() - 1, len(path))):
            windows[age:] |= path[: len(path) - age].astype(np.int64) << age
        chosen = SUBSETS * numbers.astype(np.int64)
        for place, subsets in enumerate(self.subsets):
            rows = self.place == place
            chosen[rows] += subsets[windows[self.step_of[rows]]]
        return chosen


def _parity(values: Int64) -> Int64:
    for shift in (8, 4, 2, 1):
        values = values ^ (values >> shift)
    return values & 1


def _nearest_in_subsets(values: Float32, levels: Float32) -> tuple[Float32, UInt8]:
    """Return the squared error of each subset's nearest level, float32 (4, n), and its number there, uint8 (4, n)."""
    errors = values - levels[:, None]
    errors *= errors
    errors = errors.reshape(-1, SUBSETS, len(values))
    if len(errors) == 1:
        return errors[0], np.zeros(errors[0].shape, dtype=np.uint8)
    return errors.min(axis=0), errors.argmin(axis=0).astype(np.uint8)


@functools.cache
def gaussian_books(states: int, half_bits: int) -> Books:
    """Return levels trained for a white Gaussian of unit variance, by Lloyd's iterations on synthetic documents.

    Parameters
    ----------
    states : int
    half_bits : int
        Rate in half bits a coordinate. Even: a step covers one coordinate; odd: it covers two.
    """
    size = 1 + half_bits % 2
    bits = (half_bits - 1) // 2
    count = SUBSETS << bits
    # the cube root of a Gaussian density is one of three times the variance (Panter and Dite, 1951)
    normal = NormalDist(sigma=3**0.5 if bits else 1)
    start = [normal.inv_cdf((number + 0.5) / count) for number in range(count)]
    levels = np.tile(np.array(start, dtype=np.float32), (size, 1))
    rng = np.random.default_rng(0)
    steps = list(np.arange(size * TRAINING_STEPS).reshape(-1, size))
    error = np.inf
    for _ in range(TRAINING_ROUNDS):
        docs = rng.standard_normal((size * TRAINING_STEPS, TRAINING_ROWS), dtype=np.float32)
        docs /= docs.std()
        trellis = Trellis(states, steps, list(np.tile(levels, (TRAINING_STEPS, 1))))
        chosen = trellis.levels_chosen(*trellis.search(docs))
        error = 0.0
        for place in range(size):
            values, cells = docs[place::size].ravel(), chosen[place::size].ravel()
            error += float(np.mean((values - levels[place][cells]) ** 2)) / size
            mass = np.bincount(cells, minlength=count)
            means = np.bincount(cells, values, minlength=count) / np.maximum(mass, 1)
            moved = levels[place] + OVERSHOOT * (means - levels[place])
            levels[place] = np.sort(np.where(mass > 0, moved, levels[place]))
    levels.flags.writeable = False
    return Books(levels, error)
