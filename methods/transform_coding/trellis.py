"""Trellis-coded quantisation: scalar levels in subsets, and a convolutional code that says which subset comes next.

A register of the last path bits walks through a trellis, and says from which subset a coordinate's level is taken. A
coordinate costs one path bit and the bits of the level's number within its subset; the encoder searches all paths at
once (Viterbi's algorithm), and its levels fill space more evenly than those of scalars. Marcellin and Fischer (1990)
deal the levels out to four subsets in turn, D0 D1 D2 D3 D0 ..., on the trellises of Ungerboeck (1982). Here each of the
four is cut in four again (in two for 4 states), and the register chooses among those too. That costs no bit, and the
finer choice of levels pays at higher rates: on a Gaussian at 256 states it gains nothing at one bit, 0.3 dB at two and
0.6 dB at three.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32
from methods.kernels import trellis_codes
from methods.kernels.bitfields import parity
from methods.parallel import over_rows
from methods.transform_coding.allocation import BYTE, allocate

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

GENERATORS: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    4: ((0o5, 0o2, 0o4), (0o7, 0o7, 0o4)),
    8: ((0o13, 0o4, 0o6, 0o7), (0o15, 0o12, 0o11, 0o13)),
    16: ((0o23, 0o4, 0o12, 0o30), (0o35, 0o4, 0o2, 0o33)),
    32: ((0o45, 0o10, 0o16, 0o54), (0o73, 0o6, 0o16, 0o72)),
    64: ((0o103, 0o24, 0o52, 0o66), (0o155, 0o42, 0o172, 0o63)),
    128: ((0o235, 0o126, 0o44, 0o14), (0o277, 0o116, 0o200, 0o253)),
    256: ((0o515, 0o362, 0o274, 0o741), (0o403, 0o302, 0o452, 0o677)),
    512: ((0o1737, 0o224, 0o11, 0o736), (0o1215, 0o442, 0o226, 0o410)),
    1024: ((0o3605, 0o714, 0o1312, 0o1016), (0o2337, 0o1224, 0o2702, 0o3054)),
    2048: ((0o4351, 0o176, 0o1044, 0o1017), (0o7313, 0o2612, 0o6670, 0o6366)),
    4096: ((0o12667, 0o5562, 0o17544, 0o2556), (0o10475, 0o2406, 0o6565, 0o2027)),
}
"""By states: generators of a subset's bits, high bit first, for a step's first coordinate and for its second one.

Up to 256 states the first coordinate's two high bits are Ungerboeck's (1982, Table I) parity checks h0 and h1 for
amplitude modulation, as the feedforward encoder of the same code. All other generators are the best of some hundred
random ones for a white Gaussian: the first coordinate's at 2 and 3 bits, the second one's at 3/2 and 5/2 bits.
"""

TRAINING_ROWS, TRAINING_STEPS, TRAINING_ROUNDS = 128, 256, 6
"""Synthetic documents that levels are trained on, their steps of the trellis, and Lloyd's iterations."""


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
    levels : list of float32 (subsets * 2**bits,)
        Ascending levels of each coordinate; level l is number l // subsets of subset l % subsets. Empty for a
        coordinate that no step covers.
    """

    def __init__(self, states: int, steps: list[Int64], levels: list[Float32]) -> None:
        self.states = states
        self.steps = steps
        self.levels = levels
        window = np.arange(2 * states)
        self.subsets = [
            np.bitwise_or.reduce([parity(window & mask) << age for age, mask in enumerate(reversed(generators))])
            for generators in GENERATORS[states]
        ]
        self.subset_count = subset_count(states)
        self.coordinates = np.concatenate(steps)
        self.step_of = np.repeat(np.arange(len(steps)), [len(dims) for dims in steps])
        self.place = np.concatenate([np.arange(len(dims)) for dims in steps])
        self.bits = np.array([(len(levels[dim]) // self.subset_count).bit_length() - 1 for dim in self.coordinates])
        # the index bits follow the path bits, coordinate after coordinate
        self.first_bit = len(steps) + np.cumsum(self.bits) - self.bits

    @property
    def layout(self) -> trellis_codes.Layout:
        """The same for compiled loops."""
        levels = [self.levels[dim] for dim in self.coordinates]
        sizes = np.array([len(one) for one in levels])
        return trellis_codes.Layout(
            sizes=np.array([len(dims) for dims in self.steps]),
            # steps of one coordinate have no use for the second row
            subsets=np.stack((*self.subsets, self.subsets[0])[:2]).astype(np.int64),
            coordinates=self.coordinates.astype(np.int64),
            levels=np.concatenate(levels),
            first_level=np.cumsum(sizes) - sizes,
            bits=self.bits.astype(np.int64),
            first_bit=self.first_bit.astype(np.int64),
            subset_count=self.subset_count,
        )

    def search(self, columns: Float32) -> tuple[UInt8, UInt8]:
        """Return the path of least squared error and the levels' numbers within their subsets, by Viterbi's algorithm.

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
        n = columns.shape[1]
        metric = np.full((self.states, n), np.inf, dtype=np.float32)
        metric[0] = 0
        gathered = np.empty((2, 2 * self.states, n), dtype=np.float32)
        branches, flat = gathered[0].reshape(self.states, 2, n), gathered[0].reshape(2, self.states, n)
        survivors = np.empty((len(self.steps), self.states, n), dtype=bool)
        nearest = []
        for dims, survivor in zip(self.steps, survivors, strict=True):
            for position, dim in enumerate(dims):
                errors, number = _nearest_in_subsets(columns[dim], self.levels[dim], self.subset_count)
                nearest.append(number)
                np.take(errors, self.subsets[position], axis=0, out=gathered[position], mode="clip")
            branches += metric[:, None]
            if len(dims) > 1:
                flat += gathered[1].reshape(flat.shape)
            # two branches end in a state, which differ in the oldest bit of the register
            np.less(flat[1], flat[0], out=survivor)
            np.minimum(flat[0], flat[1], out=metric)
        return self._trace_back(metric.argmin(axis=0), survivors, nearest)

    def _trace_back(self, state: Int64, survivors: NDArray[np.bool_], nearest: list[UInt8]) -> tuple[UInt8, UInt8]:
        """Return the path, uint8 (steps, n), that ends in a state (n,), and the numbers of the levels along it."""
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
        chosen = self.subset_count * numbers.astype(np.int64)
        for position, subsets in enumerate(self.subsets):
            rows = self.place == position
            chosen[rows] += subsets[windows[self.step_of[rows]]]
        return chosen

    def encode(self, docs: Float32, nbytes: int) -> UInt8:
        """Return codes, uint8 (n, nbytes): the reference of `trellis_codes.encode`."""
        path, numbers = self.search(np.ascontiguousarray(docs.T))
        stream = np.zeros((BYTE * nbytes, len(docs)), dtype=np.uint8)
        stream[: len(path)] = path
        for bit in range(int(self.bits.max())):
            has = self.bits > bit
            stream[self.first_bit[has] + bit] = numbers[has] >> bit & 1
        return np.ascontiguousarray(np.packbits(stream, axis=0, bitorder="little").T)

    def decode(self, packed: UInt8) -> Float32:
        """Return the coordinates that codes mean, float32 (coordinates, n): the reference of `trellis_codes.decode`."""
        stream = np.unpackbits(np.ascontiguousarray(packed.T), axis=0, bitorder="little")
        numbers = np.zeros((len(self.coordinates), len(packed)), dtype=np.uint8)
        for bit in range(int(self.bits.max())):
            has = self.bits > bit
            numbers[has] |= stream[self.first_bit[has] + bit] << bit
        table, first = self.layout.levels, self.layout.first_level[:, None]
        decoded: Float32 = table[first + self.levels_chosen(stream[: len(self.steps)], numbers)]
        return decoded


def subset_count(states: int) -> int:
    """Return how many subsets the levels are dealt out to."""
    return 1 << len(GENERATORS[states][0])


def _nearest_in_subsets(values: Float32, levels: Float32, subsets: int) -> tuple[Float32, UInt8]:
    """Return the squared error of each subset's nearest level, float32 (subsets, n), and its number there, uint8."""
    errors = values - levels[:, None]
    errors *= errors
    errors = errors.reshape(-1, subsets, len(values))
    best, number = errors[0], np.zeros(errors[0].shape, dtype=np.uint8)
    # a few passes over whole arrays are quicker than argmin along their first axis
    for candidate in range(1, len(errors)):
        np.copyto(number, candidate, where=errors[candidate] < best)
        np.minimum(best, errors[candidate], out=best)
    return best, number


def _step_size(half_bits: int) -> int:
    """Return how many coordinates of this rate share a step."""
    return 1 + half_bits % 2


def _subset_bits(half_bits: int) -> int:
    """Return the bits within a subset; the rest of the rate is the path bit, or its half."""
    return (half_bits - 1) // 2


@functools.cache
def gaussian_books(states: int, half_bits: int) -> Books:
    """Return levels trained for a white Gaussian of unit variance, by Lloyd's iterations on synthetic documents.

    Parameters
    ----------
    states : int
    half_bits : int
        Rate in half bits a coordinate. Even: a step covers one coordinate; odd: it covers two.
    """
    size, count = _step_size(half_bits), subset_count(states) << _subset_bits(half_bits)
    # quantiles of this Gaussian are within 0.1 dB of what Lloyd's iterations reach, which are slow for many levels
    normal = NormalDist(sigma=0.9 + half_bits / 20)
    start = [normal.inv_cdf((number + 0.5) / count) for number in range(count)]
    levels = np.tile(np.array(start, dtype=np.float32), (size, 1))
    rng = np.random.default_rng(0)
    steps = list(np.arange(size * TRAINING_STEPS).reshape(-1, size))
    error = np.inf
    for _ in range(TRAINING_ROUNDS):
        docs = rng.standard_normal((size * TRAINING_STEPS, TRAINING_ROWS), dtype=np.float32)
        docs /= docs.std()
        layout = Trellis(states, steps, list(np.tile(levels, (TRAINING_STEPS, 1)))).layout
        packed = np.zeros((TRAINING_ROWS, -(-int(layout.first_bit[-1] + layout.bits[-1]) // BYTE)), dtype=np.uint8)
        trellis_codes.encode(np.ascontiguousarray(docs.T), layout, packed)
        # decoded to levels' numbers in place of levels
        numbers = np.tile(np.arange(count, dtype=np.float32), len(docs))
        decoded = np.empty(docs.shape[::-1], dtype=np.float32)
        trellis_codes.decode(packed, layout._replace(levels=numbers), decoded)
        chosen = decoded.T.astype(np.int64)
        error = 0.0
        for position in range(size):
            values, cells = docs[position::size].ravel(), chosen[position::size].ravel()
            error += float(np.mean((values - levels[position][cells]) ** 2)) / size
            mass = np.bincount(cells, minlength=count)
            means = np.bincount(cells, values, minlength=count) / np.maximum(mass, 1)
            levels[position] = np.where(mass > 0, means, levels[position])
    levels.flags.writeable = False
    return Books(levels, error)


@dataclass(kw_only=True, eq=False)
class TrellisCoded(Codec):
    """Code coordinates one after another by trellis-coded quantisation (Marcellin and Fischer, 1990), at a fixed rate.

    Put `methods.SVD(dim=None)` before it in a `Chain`. Bits go to the dimensions by reverse water-filling on the
    errors that the quantiser itself has on a Gaussian. A dimension of b whole bits is a step of the trellis: one path
    bit, and b - 1 bits within the subset. Two dimensions of b + 1/2 bits share a step and its path bit; what follows
    from a path bit is then a pair of subsets, one for each. Dimensions without bits are decoded as their mean.

    The register starts with zeros, so that the first steps have few paths to choose from; steps come in ascending
    variance, since that costs least where there are few bits to a step.

    Every document takes exactly `nbytes` bytes: the path bits, then the bits within subsets. Decoding needs no search:
    a subset follows from the last log2(states) + 1 path bits.

    Parameters
    ----------
    nbytes : int
        Bytes of a document.
    states : int
        States of the trellis, a power of two from 4 to 4096. Above 64, twice the states take twice the time to encode
        and lower the error by some 0.04 dB.
    cap : int
        Most bits a dimension gets, 1 to 8.
    half_bits : bool
        Whether dimensions may have b + 1/2 bits. With whole bits only, as published, the error is some 0.1 dB higher.
    """

    nbytes: int
    states: int = 256
    cap: int = 6
    half_bits: bool = True

    def _check_parameters(self) -> None:
        self._require_at_least(1, "nbytes")
        known = ", ".join(map(str, GENERATORS))
        self._require(self.states in GENERATORS, f"states must be one of {known}, got {self.states}")
        self._require(1 <= self.cap <= BYTE, f"cap must be 1 to {BYTE} bits, got {self.cap}")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        room = d * self.cap
        self._require(
            BYTE * self.nbytes <= room, f"nbytes={self.nbytes} is more than {d} dimensions of {self.cap} bits can hold"
        )
        vars(self).pop("_layout", None)
        self.mean_ = docs.mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = docs.std(axis=0, dtype=np.float64)
        self.deviation_ = deviation.astype(np.float32)
        rates = self._allocation(deviation**2)
        self.rates_ = rates.astype(np.uint8)  # in half bits
        used = np.unique(rates[rates > 0]).tolist()
        self.levels_ = np.concatenate([gaussian_books(self.states, rate).levels.ravel() for rate in used])

    def _allocation(self, variances: Array) -> Int64:
        """Return half bits of each dimension, int64 (d,).

        Levels are trained only as far as the allocation reaches; further on each bit divides an error by four.
        """
        unit = 1 if self.half_bits else 2
        errors = 2.0 ** -np.arange(0, 2 * self.cap + 1, unit)
        known = 0
        while True:
            rates = allocate(variances[:, None] * errors, 2 * BYTE * self.nbytes // unit)
            goal = min(int(rates.max()) + 1, len(errors) - 1)
            if known >= goal:
                return rates * unit
            for rate in range(known + 1, goal + 1):
                errors[rate] = gaussian_books(self.states, rate * unit).error
            errors[goal:] = errors[goal] * 2.0 ** (-unit * np.arange(len(errors) - goal))
            known = goal

    def _bits_per_dimension(self) -> Array:
        return self.rates_ / 2

    def _tail(self) -> Float32:
        tail: Float32 = self.mean_[self._leading() :]
        return tail

    def _leading(self) -> int:
        return int(np.flatnonzero(self.rates_).max(initial=-1)) + 1

    def _trellis(self) -> Trellis:
        """Return the trellis of the fitted rates and levels."""
        books: dict[int, Float32] = {}
        start = 0
        for rate in np.unique(self.rates_[self.rates_ > 0]).tolist():
            size, count = _step_size(rate), subset_count(self.states) << _subset_bits(rate)
            books[rate] = self.levels_[start : start + size * count].reshape(size, count)
            start += size * count
        steps: list[list[int]] = []
        levels = [np.empty(0, dtype=np.float32)] * len(self.rates_)
        waiting: list[int] = []
        for dim in np.argsort(self.deviation_, kind="stable").tolist():
            rate = int(self.rates_[dim])
            if rate == 0:
                continue
            step = waiting if rate % 2 else []
            if not step:
                steps.append(step)
            levels[dim] = self.mean_[dim] + self.deviation_[dim] * books[rate][len(step)]
            step.append(dim)
            if len(waiting) == 2:
                waiting = []
        return Trellis(self.states, [np.array(dims) for dims in steps], levels)

    @functools.cached_property
    def _layout(self) -> trellis_codes.Layout:
        """The trellis of the fitted rates and levels as arrays."""
        return self._trellis().layout

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over fitted levels; the trellis is derived from them at first use."""
        vars(self).pop("_layout", None)
        return super().load_state(arrays)

    def _encode(self, docs: Float32) -> Codes:
        packed = np.zeros((len(docs), self.nbytes), dtype=np.uint8)
        layout = self._layout
        over_rows(lambda start, stop: trellis_codes.encode(docs[start:stop], layout, packed[start:stop]), len(docs), 64)
        return Codes.packed(packed)

    def _decode(self, codes: Codes) -> Float32:
        decoded = np.empty((codes.n, self.dim_), dtype=np.float32)
        decoded[:] = self.mean_
        layout, packed = self._layout, np.ascontiguousarray(codes.array)
        over_rows(
            lambda start, stop: trellis_codes.decode(packed[start:stop], layout, decoded[start:stop]), codes.n, 1024
        )
        return decoded
