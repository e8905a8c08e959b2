"""Fixed-rate lattice quantisation: blocks of 8 or 24 dimensions are coded as the nearest of 2**b points of E8 or Leech.

At one to three bits a dimension a good quantiser of few dimensions is lost on a Gaussian for two reasons: its cells are
cubes, and its 2**b levels end at a cube. Points of a lattice inside a ball lose less on both accounts. E8 points for
quantisation are QuIP#'s idea (Tseng et al., 2024), Leech shells that of van der Ouderaa et al. (2026).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, row_blocks
from methods.kernels import lattice_points, leech_points
from methods.kernels.lattice_points import CLIP, GRID
from methods.parallel import over_rows
from methods.transform_coding.allocation import BYTE, allocate
from methods.transform_coding.lattices import (
    Classes,
    e8_classes,
    golay_codewords,
    golay_sextet,
    leech_classes,
    nearest_leech,
)

Int64 = NDArray[np.int64]
Lattice = Literal["e8", "leech"]

WIDTH = {"e8": 8, "leech": 24}
UNIT = {"e8": 2.0, "leech": math.sqrt(8)}
"""What the integer coordinates of `methods.transform_coding.lattices` are divided by for one point a unit volume."""

SCALE_GRID = 2.0**11
"""Scales of codebooks are multiples of the inverse; see `lattice_points.GRID`."""

GROWTH = 1.35
"""From one annulus of an E8 codebook to the next, spacing grows so much."""

CURVATURE = 20.0
"""Squared radius over which the best spacing for a Gaussian grows by e: 2 (k + 2) in k dimensions (Panter and Dite)."""

REACH = 48.0
"""Squared radius, in 8 dimensions of variance 1, beyond which an E8 codebook has no points."""

HALF_WORD = 32
"""Numbers of more bits are written in two parts, so that a part and its shift within a byte fit into 64 bits."""

TABLE_BITS = 10
"""Codebooks of up to so many bits are decoded by a table of all their points."""

MOST_CLASSES = 1024
"""E8's nearest points are searched by compiled loops among so many classes at most: codebooks of up to 26 bits."""

MOST_PATTERNS = 1 << 18
"""Absolute values of so many points at most are kept, without their signs, and looked up: E8 of up to 24 bits."""

GUIDE_BITS = 12
"""A point's class is looked for from where the first bits of its number say."""

GAINS = tuple(1.1 - 0.05 * step for step in range(11)) + tuple(1.09 - 0.02 * step for step in range(25))
"""Lengths, relative to the outermost Leech shell, at which a vector outside the codebook is tried again, in order."""

NORM_STEP = 16
"""Squared norms of Leech vectors in integer coordinates are multiples of this; shell 2 is the first."""

SPREAD = 1.3
"""Spacing of the large ball's points relative to the small ball's."""

FINE_REACH, COARSE_FROM = 1.25, 0.95
"""Radii, relative to the small ball's, up to which it and from which the large one is tried."""


class _Rate(NamedTuple):
    """A codebook: spacing times 2**(bits / width), and its mean squared error a dimension on N(0, 1)."""

    spacing: float
    error: float
    shells: tuple[int, ...] = ()
    hole: bool = True


E8_RATES = {
    4: _Rate(2.44, 0.6035),
    7: _Rate(2.30, 0.4051, hole=False),
    8: _Rate(2.51, 0.3208, hole=False),
    10: _Rate(2.79, 0.2525),
    11: _Rate(2.70, 0.207),
    12: _Rate(2.79, 0.1733),
    13: _Rate(2.79, 0.1464),
    14: _Rate(2.75, 0.1237),
    15: _Rate(2.84, 0.1045),
    16: _Rate(2.79, 0.0897),
    17: _Rate(2.84, 0.0734),
    18: _Rate(2.84, 0.062),
    19: _Rate(2.84, 0.0521),
    20: _Rate(2.84, 0.0439),
    21: _Rate(2.88, 0.0375),
    22: _Rate(2.88, 0.0317),
    23: _Rate(2.84, 0.0269),
    24: _Rate(2.84, 0.0229),
    26: _Rate(2.93, 0.0163),
    28: _Rate(2.93, 0.0116),
    30: _Rate(2.93, 0.0082),
    32: _Rate(2.93, 0.0058),
    34: _Rate(2.93, 0.0041),
}
LEECH_RATES = {
    18: _Rate(3.15, 0.411, (2,)),
    25: _Rate(3.60, 0.3, (3,)),
    29: _Rate(3.75, 0.234, (4,)),
    30: _Rate(3.30, 0.223, (4, 4)),
    34: _Rate(3.60, 0.1818, (5, 5)),
    38: _Rate(3.75, 0.1372, (7, 6)),
    41: _Rate(3.45, 0.1158, (8, 8)),
    44: _Rate(3.75, 0.0968, (10, 9)),
    46: _Rate(3.75, 0.0883, (11, 10)),
    48: _Rate(3.60, 0.0788, (12, 12)),
    50: _Rate(3.75, 0.0696, (14, 13)),
    52: _Rate(3.90, 0.0624, (16, 14)),
    54: _Rate(3.75, 0.0558, (18, 16)),
    56: _Rate(3.75, 0.0492, (20, 19)),
    58: _Rate(3.75, 0.0443, (22, 22)),
    60: _Rate(3.75, 0.0405, (25, 23)),
    62: _Rate(3.75, 0.0361, (28, 26)),
}
RATES = {"e8": E8_RATES, "leech": LEECH_RATES}


@dataclass(kw_only=True, eq=False)
class LatticeCoded(Codec):
    """Code blocks of consecutive dimensions by lattice points, each block with as many bits as it is worth.

    Put `methods.SVD(dim=None)` before it in a `Chain`. Dimensions are centred and scaled by their deviations;
    a block takes the nearest point of a codebook for a white Gaussian. Nothing but means, deviations and bits is
    learned. Every document takes exactly `nbytes` bytes.

    Codebooks of E8 have 4 to 34 bits for 8 dimensions: the vectors around a deep hole (at 7 and 8 bits around 0: the
    240 minimal vectors), spaced more widely in annuli further out, as suits a Gaussian. The nearest point is found
    exactly, by sorting. Codebooks of the Leech lattice have 18 bits (its 196,560 minimal vectors) to 62 bits (28
    shells) for 24 dimensions. What lies inside takes the nearest lattice point; what lies outside is made shorter
    until its nearest lattice point is in the codebook.

    Parameters
    ----------
    lattice : {"e8", "leech"}
        *leech*: blocks of 24 wherever they lose less than three blocks of E8 do; the steep head and the tail of a
        spectrum mostly stay with E8.
    nbytes : int
        Bytes of a document.
    """

    lattice: Lattice = "e8"
    nbytes: int

    def _check_parameters(self) -> None:
        self._require_at_least(1, "nbytes")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        room = -(-d // WIDTH["e8"]) * max(E8_RATES)
        self._require(
            BYTE * self.nbytes <= room,
            f"nbytes={self.nbytes} is more than {d} dimensions can hold: at most {room // BYTE} bytes",
        )
        vars(self).pop("_blocks", None)
        self.mean_ = docs.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.deviation_ = docs.std(axis=0, dtype=np.float64).astype(np.float32)
        plan = plan_blocks(self.deviation_.astype(np.float64) ** 2, BYTE * self.nbytes, self.lattice == "leech")
        self.widths_ = np.array([width for width, _ in plan], dtype=np.uint8)
        self.bits_ = np.array([bits for _, bits in plan], dtype=np.uint8)

    def _bits_per_dimension(self) -> Array:
        # a block's bits are those of all its dimensions together
        return np.repeat(self.bits_ / self.widths_, self.widths_)[: self.dim_]

    def _tail(self) -> Float32:
        tail: Float32 = self.mean_[self._leading() :]
        return tail

    def _leading(self) -> int:
        last = np.flatnonzero(self.bits_).max(initial=-1)
        return int(self.widths_[: last + 1].sum(dtype=np.int64))

    def _groups(self) -> list[tuple[_Codebook, Int64, Int64]]:
        """Return (codebook, first dimensions, first bits) of all blocks that share a codebook."""
        last_dim, last_bit = np.cumsum(self.widths_, dtype=np.int64), np.cumsum(self.bits_, dtype=np.int64)
        groups = []
        for width, bits in sorted(set(zip(self.widths_.tolist(), self.bits_.tolist(), strict=True))):
            if bits:
                blocks = np.flatnonzero((self.widths_ == width) & (self.bits_ == bits))
                groups.append((codebook(width, bits), last_dim[blocks] - width, last_bit[blocks] - bits))
        return groups

    @functools.cached_property
    def _blocks(self) -> list[tuple[Int64, int, Int64, lattice_points.Book]]:
        """What `lattice_points.decode` is told of the blocks that share a codebook."""
        return [(bits, book.bits, dims, book.arrays) for book, dims, bits in self._groups()]

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over what was fitted; what is derived from it is derived at first use."""
        vars(self).pop("_blocks", None)
        return super().load_state(arrays)

    def _encode(self, docs: Float32) -> Codes:
        packed = np.zeros((len(docs), self.nbytes), dtype=np.uint8)
        deviation = np.where(self.deviation_ > 0, self.deviation_, 1).astype(np.float64)
        mean = self.mean_.astype(np.float64)
        groups = self._groups()

        def work(start: int, stop: int) -> None:
            for book, dims, bits in groups:
                book.write(docs[start:stop], mean, deviation, bits, dims, packed[start:stop])

        over_rows(work, len(docs), 64)
        return Codes.packed(packed)

    def _decode(self, codes: Codes) -> Float32:
        decoded = np.empty((codes.n, self.dim_), dtype=np.float32)
        decoded[:] = np.zeros_like(self.mean_) * self.deviation_ + self.mean_
        missing = max(0, lattice_points.CODE_BYTES - self.nbytes)
        packed = np.pad(codes.array, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(codes.array)
        blocks = self._blocks

        def work(start: int, stop: int) -> None:
            rows = slice(start, stop)
            for shared in blocks:
                lattice_points.decode(packed[rows], *shared, self.deviation_, self.mean_, decoded[rows])

        over_rows(work, codes.n, 256)
        return decoded


def write_bits(packed: NDArray[np.uint8], numbers: Int64, bit: int, bits: int) -> None:
    """Put numbers (n,) at a bit position of each row, lowest bit first."""
    if bits > HALF_WORD:
        write_bits(packed, numbers >> HALF_WORD, bit + HALF_WORD, bits - HALF_WORD)
        numbers, bits = numbers & ((1 << HALF_WORD) - 1), HALF_WORD
    shifted = numbers.astype(np.uint64) << np.uint64(bit % BYTE)
    for byte in range(-(-(bit % BYTE + bits) // BYTE)):
        packed[:, bit // BYTE + byte] |= (shifted >> np.uint64(BYTE * byte)).astype(np.uint8)


def read_bits(packed: NDArray[np.uint8], bit: int, bits: int) -> Int64:
    """Return the numbers, int64 (n,), that `write_bits` put at a bit position of each row."""
    if bits > HALF_WORD:
        high = read_bits(packed, bit + HALF_WORD, bits - HALF_WORD)
        return high << HALF_WORD | read_bits(packed, bit, HALF_WORD)
    joined = np.zeros(len(packed), dtype=np.uint64)
    for byte in range(-(-(bit % BYTE + bits) // BYTE)):
        joined |= packed[:, bit // BYTE + byte].astype(np.uint64) << np.uint64(BYTE * byte)
    return (joined >> np.uint64(bit % BYTE)).astype(np.int64) & ((1 << bits) - 1)


def plan_blocks(variances: Array, total_bits: int, leech: bool) -> list[tuple[int, int]]:
    """Return (width, bits) of consecutive blocks, for Gaussian dimensions of the given variances.

    With `leech`, runs of 24 dimensions are one block or three: whichever has the lower error plus price times bits, at
    the price per bit at which all runs together spend the budget (Shoham and Gersho, 1988).

    Parameters
    ----------
    variances : float64 (d,)
        A last block that is not full has dimensions without variance beside them.
    total_bits : int
        Bits to spend, at most what blocks of 8 dimensions can take.
    """
    small, large = WIDTH["e8"], WIDTH["leech"]
    runs = len(variances) // large if leech else 0
    padded = np.zeros(-(-len(variances) // small) * small)
    padded[: len(variances)] = variances
    eights = padded.reshape(-1, small).sum(axis=1)[:, None] * _errors("e8")
    wholes = padded[: runs * large].reshape(-1, large).sum(axis=1)[:, None] * _errors("leech")

    def plan(as_one: NDArray[np.bool_]) -> tuple[float, list[tuple[int, int]]]:
        rows = [row for run in range(runs) for row in _run_rows(run, as_one[run], wholes, eights)]
        rows += list(eights[3 * runs :])
        if sum(len(row) - 1 for row in rows) < total_bits:
            return math.inf, []
        bits = _spend(rows, total_bits)
        widths = [width for run in range(runs) for width in ([large] if as_one[run] else [small] * 3)]
        widths += [small] * (len(eights) - 3 * runs)
        return sum(float(row[b]) for row, b in zip(rows, bits, strict=True)), list(zip(widths, bits, strict=True))

    as_one = np.zeros(runs, dtype=bool)
    low, high = 0.0, float(eights.max(initial=0.0))
    for _ in range(60 * bool(runs)):
        price = (low + high) / 2
        (costs, spent), (whole_costs, whole_spent) = (_cheapest(errors, price) for errors in (eights, wholes))
        as_one = whole_costs < costs[: 3 * runs].reshape(-1, 3).sum(axis=1)
        total = spent.sum() + (whole_spent - spent[: 3 * runs].reshape(-1, 3).sum(axis=1))[as_one].sum()
        low, high = (price, high) if total > total_bits else (low, price)
    best, as_one = min(((plan(one), one) for one in (as_one, np.zeros(runs, dtype=bool))), key=lambda pair: pair[0])
    # with few runs the price is a rough guide: see whether one of them is better the other way
    for run in range(runs):
        flipped = plan(as_one ^ (np.arange(runs) == run))
        if flipped[0] < best[0]:
            best, as_one[run] = flipped, not as_one[run]
    return best[1]


def _run_rows(run: int, as_one: bool, wholes: Array, eights: Array) -> list[Array]:
    """Return the errors of a run's blocks: those of one block of 24 dimensions, or of three of 8."""
    return [wholes[run]] if as_one else list(eights[3 * run : 3 * run + 3])


def _errors(lattice: Lattice) -> Array:
    """Return the error for 0, 1, ... bits a block, float64: that of the last rate which exists."""
    rates = RATES[lattice]
    at = [max((rate for rate in rates if rate <= bits), default=0) for bits in range(max(rates) + 1)]
    return np.array([rates[rate].error if rate else 1.0 for rate in at])


def _cheapest(errors: Array, price: float) -> tuple[Array, Int64]:
    """Return (least error + price * bits, the bits) of each row."""
    costs = errors + price * np.arange(errors.shape[1])
    return costs.min(axis=1, initial=np.inf), costs.argmin(axis=1)


def _spend(rows: Sequence[Array], total_bits: int) -> list[int]:
    """Return the bits of each block, among the rates that exist; rows end at a block's largest rate."""
    cap = max(len(row) for row in rows) - 1
    errors = np.stack([np.pad(row, (0, cap + 1 - len(row)), mode="edge") for row in rows])
    bits = allocate(errors, total_bits)
    # where nothing is gained from one bit to the next there is no codebook: back to the last that there is
    starts = np.concatenate([np.ones((len(errors), 1), dtype=bool), np.diff(errors, axis=1) < 0], axis=1)
    exists = np.maximum.accumulate(np.where(starts, np.arange(cap + 1), 0), axis=1)
    bits = exists[np.arange(len(bits)), bits]
    while (unspent := total_bits - int(bits.sum())) > 0:
        reach = exists[np.arange(len(bits)), np.minimum(bits + unspent, cap)]
        gains = errors[np.arange(len(bits)), bits] - errors[np.arange(len(bits)), reach]
        block = int(gains.argmax())
        if gains[block] <= 0:
            break
        bits[block] = reach[block]
    return [int(b) for b in bits]


@functools.cache
def codebook(width: int, bits: int) -> _Codebook:
    """Return the codebook of so many bits for a white Gaussian of 8 or 24 dimensions."""
    return _E8Codebook(bits) if width == WIDTH["e8"] else _LeechCodebook(bits)


class _Codebook:
    """Whole classes of lattice vectors, each at a scale, numbered one after the other.

    Attributes
    ----------
    families : list of Classes
    family, member : int64 (K,)
        Which classes: the family, and the class within it.
    scales : float64 (K,)
        What a class's integer coordinates are multiplied with.
    starts : int64 (K,)
        The number of each class's first point.
    """

    width: int
    bits: int

    def _number(self, families: list[Classes], classes: list[tuple[int, int]], scales: Sequence[float]) -> None:
        """Set out the points' numbers: those of (family, class) pairs one after the other, each class at its scale."""
        self.families = families
        self.family = np.array([family for family, _ in classes])
        self.member = np.array([member for _, member in classes])
        self.scales = np.array(scales)
        sizes = [int(families[family].sizes[member]) for family, member in classes]
        self.size = sum(sizes)
        self.starts = np.cumsum([0, *sizes[:-1]], dtype=np.int64)

    def write(
        self, docs: Float32, mean: Array, deviation: Array, first_bits: Int64, dims: Int64, packed: NDArray[np.uint8]
    ) -> None:
        """Write the numbers that `nearest` finds for blocks.

        Parameters
        ----------
        docs : float32 (n, d)
        mean, deviation : float64 (d,)
        first_bits, dims : int64 (blocks,)
            Where each block's number and its dimensions begin. Dimensions that a last block lacks are 0.
        packed : uint8 (n, nbytes)
            Zeros where the numbers go.
        """
        d, places = docs.shape[1], dims[:, None] + np.arange(self.width)
        for start, stop in row_blocks(len(docs), 64 * (d + self.width)):
            white = np.zeros((stop - start, d + self.width))
            white[:, :d] = (docs[start:stop] - mean) / deviation
            numbers = self.nearest(white[:, places].reshape(-1, self.width)).reshape(-1, len(dims))
            for block, bit in enumerate(first_bits.tolist()):
                write_bits(packed[start:stop], numbers[:, block], bit, self.bits)

    def nearest(self, points: Array) -> Int64:
        """Return the numbers of the codebook's points for points of white dimensions (n, width), int64 (n,)."""
        raise NotImplementedError

    def points(self, numbers: Int64) -> Float32:
        """Return the points of given numbers, float32 (n, width)."""
        if self.bits <= TABLE_BITS:
            decoded: Float32 = self._table[numbers]
            return decoded
        return self._compute(numbers)

    @functools.cached_property
    def arrays(self) -> lattice_points.Book:
        """The codebook for compiled loops."""
        most_on, most_off = (
            max(counts.shape[1] for counts in part)
            for part in ([family.on for family in self.families], [family.off for family in self.families])
        )
        orders = [family._orders_as_int for family in self.families]
        pairs = list(zip(self.family.tolist(), self.member.tolist(), strict=True))

        def padded(rows: list[Array], width: int) -> Int64:
            return np.array([np.pad(row, (0, width - len(row))) for row in rows], dtype=np.int64).reshape(-1, width)

        def of_members(pick: Callable[[Classes], Array]) -> Int64:
            return np.array([pick(self.families[family])[member] for family, member in pairs], dtype=np.int64)

        words = np.concatenate([classes.words for classes in self.families])
        found = np.argsort(np.argsort(1 - words.astype(np.int64), axis=1, kind="stable"), axis=1)
        patterns, first_pattern, sign_row = self._patterns()
        guide_shift = max(0, self.bits - GUIDE_BITS)
        guide = np.searchsorted(self.starts, np.arange(0, 1 << self.bits, 1 << guide_shift), side="right") - 1
        return lattice_points.Book(
            size=self.size,
            starts=self.starts,
            family=self.family.astype(np.int64),
            parity=of_members(lambda classes: classes.parity),
            sign_bits=of_members(lambda classes: classes.sign_bits),
            on_orders=np.array([orders[family][0][member] for family, member in pairs], dtype=np.int64),
            off_orders=np.array([orders[family][1][member] for family, member in pairs], dtype=np.int64),
            scales=self.scales.astype(np.float64),
            on=padded([self.families[family].on[member] for family, member in pairs], most_on),
            off=padded([self.families[family].off[member] for family, member in pairs], most_off),
            on_values=padded([classes.on_values for classes in self.families], most_on),
            off_values=padded([classes.off_values for classes in self.families], most_off),
            weight=np.array([classes.weight for classes in self.families], dtype=np.int64),
            first_word=np.cumsum([0, *(len(classes.words) for classes in self.families[:-1])], dtype=np.int64),
            signed_by_word=np.array([classes.signed_by_word for classes in self.families]),
            words=words,
            word_bits=words.astype(np.uint64) @ (np.uint64(1) << np.arange(self.width, dtype=np.uint64)),
            found=found.astype(np.uint8),
            table=self._table if self.bits <= TABLE_BITS else np.empty((0, self.width), dtype=np.float32),
            guide=guide.astype(np.int16),
            guide_shift=guide_shift,
            patterns=patterns,
            first_pattern=first_pattern,
            sign_row=sign_row,
        )

    def _patterns(self) -> tuple[NDArray[np.int8], Int64, NDArray[np.int16]]:
        """Return the absolute values of points in the order of their numbers without signs, and where classes begin.

        And each one's row of `lattice_points.SIGNS`.
        """
        none = np.empty((0, self.width), dtype=np.int8), np.zeros(len(self.family), np.int64), np.empty(0, np.int16)
        counts, starts = list[int](), list[int]()
        for family, member in zip(self.family.tolist(), self.member.tolist(), strict=True):
            classes = self.families[family]
            if classes.signed_by_word or len(classes.words) > 1:
                return none
            starts.append(sum(counts))
            counts.append(int(classes.sizes[member]) >> int(classes.sign_bits[member]))
            if sum(counts) > MOST_PATTERNS:
                return none
        patterns, sign_row = np.empty((sum(counts), self.width), dtype=np.int8), np.empty(sum(counts), dtype=np.int16)
        each = zip(self.family.tolist(), self.member.tolist(), starts, counts, strict=True)
        for family, member, start, count in each:
            classes, part = self.families[family], slice(start, start + count)
            numbers = np.arange(count, dtype=np.int64) << classes.sign_bits[member]
            patterns[part] = np.abs(classes.vectors(numbers, np.full(count, member)))
            support = (patterns[part] > 0) @ (1 << np.arange(self.width))
            follows = (lattice_points.EVEN, lattice_points.ODD)[int(classes.parity[member])]
            sign_row[part] = follows if classes.weight else support
        return patterns, np.array(starts, dtype=np.int64), sign_row

    @functools.cached_property
    def _table(self) -> Float32:
        """All points of a small codebook, float32 (2**bits, width)."""
        return self._compute(np.arange(1 << self.bits))

    def _compute(self, numbers: Int64) -> Float32:
        """Return the points of numbers (n,), float32 (n, width), without the table."""
        numbers = np.minimum(numbers, self.size - 1)
        class_of = np.searchsorted(self.starts, numbers, side="right") - 1
        vectors = np.empty((len(numbers), self.width), dtype=np.int64)
        for family, classes in enumerate(self.families):
            rows = np.flatnonzero(self.family[class_of] == family)
            vectors[rows] = classes.vectors(numbers[rows] - self.starts[class_of[rows]], self.member[class_of[rows]])
        points: Float32 = (vectors * self.scales[class_of][:, None]).astype(np.float32)
        return points

    def _numbers(self, vectors: Int64, class_of: Int64) -> Int64:
        """Return the numbers of integer vectors (n, width) of known classes."""
        numbers = self.starts[class_of]
        for family, classes in enumerate(self.families):
            rows = np.flatnonzero(self.family[class_of] == family)
            numbers[rows] += classes.number(vectors[rows], self.member[class_of[rows]])
        return numbers


def _squared(rows: Array) -> Array:
    """Return squared lengths, float64 (n,): one coordinate is added after the other, as compiled loops do."""
    total = np.zeros(len(rows))
    for column in rows.T:
        total += column**2
    return total


class _E8Codebook(_Codebook):
    """Classes of E8 in annuli, from the middle outwards for as long as they fit."""

    width = WIDTH["e8"]

    def __init__(self, bits: int) -> None:
        self.bits = bits
        rate = E8_RATES[bits]
        step = CURVATURE * math.log(GROWTH)
        edges = np.arange(step / 2, REACH + step, step)
        spacings = rate.spacing * 2 ** (-bits / self.width) * GROWTH ** np.arange(len(edges))
        scales = np.rint(spacings * SCALE_GRID) / SCALE_GRID / UNIT["e8"]
        families = e8_classes(int((np.minimum(edges, REACH) / scales**2).max()), rate.hole)
        inner = np.concatenate([[0.0], edges[:-1]])
        candidates = []
        for low, high, scale in zip(inner, edges, scales, strict=True):
            for family, classes in enumerate(families):
                squares = classes.norms * scale**2
                for member in np.flatnonzero((squares >= low) & (squares < high)).tolist():
                    candidates.append((squares[member], scale, family, member))
        room, members = 1 << bits, []
        for square, scale, family, member in sorted(candidates):
            size = int(families[family].sizes[member])
            if size <= room:
                members.append((square, scale, family, member))
                room -= size
        self._number(
            families, [(family, member) for *_, family, member in members], [scale for _, scale, *_ in members]
        )
        # -1: signs are free
        self.parity = np.array([int(families[f].parity[m]) if families[f].weight else -1 for *_, f, m in members])
        leaders = np.array([self._leader(index) for index in range(len(members))])
        self.values = leaders.astype(np.int64)
        self.weights = self._weights(leaders * self.scales[:, None])

    def _leader(self, index: int) -> Array:
        """Return a class's absolute values, largest first."""
        classes, member = self.families[self.family[index]], self.member[index]
        return np.repeat(
            np.concatenate([classes.on_values, classes.off_values]),
            np.concatenate([classes.on[member], classes.off[member]]),
        )[::-1]

    def write(
        self, docs: Float32, mean: Array, deviation: Array, first_bits: Int64, dims: Int64, packed: NDArray[np.uint8]
    ) -> None:
        if self.search is None:
            super().write(docs, mean, deviation, first_bits, dims, packed)
        else:
            lattice_points.encode_eights(docs, mean, deviation, first_bits, self.bits, dims, self.search, packed)

    @functools.cached_property
    def search(self) -> lattice_points.Search | None:
        """The codebook for the compiled search; None where its weights are too many for a processor's cache."""
        if len(self.scales) > MOST_CLASSES:
            return None
        of_class = [self.families[family] for family in self.family.tolist()]
        values = [classes.on_values if classes.weight else classes.off_values for classes in of_class]
        each = list(zip(of_class, self.member.tolist(), strict=True))
        counts = [(classes.on if classes.weight else classes.off)[member] for classes, member in each]
        kinds = max(map(len, counts))
        return lattice_points.Search(
            # what `nearest` weighs by the least size with its sign, and by that with the other sign, is one
            weights=np.vstack([self.weights[:8], self.weights[8] - self.weights[9], self.weights[10]]),
            parity=self.parity.astype(np.int64),
            values=self.values,
            symbols=np.array([np.searchsorted(own, row) for own, row in zip(values, self.values, strict=True)]),
            counts=np.array([np.pad(row, (0, kinds - len(row))) for row in counts]).astype(np.uint64),
            starts=self.starts,
            sign_bits=np.array([classes.sign_bits[member] for classes, member in each], dtype=np.int64),
            orders=np.array(
                [classes.orders[0 if classes.weight else 1][member] for classes, member in each], np.uint64
            ),
        )

    def _weights(self, leaders: Array) -> Array:
        """Return the matrix (11, K) by which `nearest` weighs a point's features for each class."""
        smallest = leaders[:, -1:] * (self.parity[:, None] == [-1, 0, 1])
        return np.column_stack([leaders[:, :-1], smallest, -(leaders**2).sum(axis=1) / 2]).T

    def nearest(self, points: Array) -> Int64:
        """Return the nearest points' numbers.

        Of a class, the nearest point has its values in the order of the coordinates' sizes, with the coordinates'
        signs; where the product of the signs is given and is another one, the smallest coordinate has the other sign.
        """
        numbers = np.empty(len(points), dtype=np.int64)
        for start, stop in row_blocks(len(points), 8 * len(self.scales)):
            block = np.rint(np.clip(points[start:stop], -CLIP, CLIP) * GRID) / GRID
            absolute = np.abs(block)
            order = np.argsort(-absolute, axis=1, kind="stable")
            absolute = np.take_along_axis(absolute, order, axis=1)
            negative = block < 0
            odd = negative.sum(axis=1) % 2
            last = absolute[:, -1]
            turned = np.where(odd == 1, -last, last)
            class_of = (np.column_stack([absolute, turned, -turned, np.ones(len(block))]) @ self.weights).argmax(axis=1)
            vectors = np.empty((len(block), self.width), dtype=np.int64)
            np.put_along_axis(vectors, order, self.values[class_of], axis=1)
            vectors[negative] *= -1
            wrong = np.flatnonzero(self.parity[class_of] == 1 - odd)
            vectors[wrong, order[wrong, -1]] *= -1
            numbers[start:stop] = self._numbers(vectors, class_of)
        return numbers


class _LeechCodebook(_Codebook):
    """The shells of the Leech lattice inside a ball, or inside two: a small one of close points, a large one of wide.

    Two balls are what annuli are for E8, and catch what lies far out.
    """

    width = WIDTH["leech"]

    def __init__(self, bits: int) -> None:
        self.bits = bits
        rate = LEECH_RATES[bits]
        spacing = rate.spacing * 2 ** (-bits / self.width) / UNIT["leech"]
        self.balls = [(spacing * SPREAD**ball, NORM_STEP * shells) for ball, shells in enumerate(rate.shells)]
        families = leech_classes(NORM_STEP * max(rate.shells))
        members = [
            (ball, family, member)
            for ball, (_, limit) in enumerate(self.balls)
            for family, classes in enumerate(families)
            for member in np.flatnonzero((classes.norms > 0) & (classes.norms <= limit)).tolist()
        ]
        scales = [self.balls[ball][0] for ball, *_ in members]
        self._number(families, [(family, member) for _, family, member in members], scales)
        # classes_of[ball][family]: the codebook's class for each class of the family
        self.classes_of = [[np.full(len(classes.norms), -1) for classes in families] for _ in self.balls]
        for index, (ball, family, member) in enumerate(members):
            self.classes_of[ball][family][member] = index

    def write(
        self, docs: Float32, mean: Array, deviation: Array, first_bits: Int64, dims: Int64, packed: NDArray[np.uint8]
    ) -> None:
        leech_points.encode(
            docs, mean, deviation, first_bits, self.bits, dims, golay_sextet(), self._search, self.arrays, packed
        )

    @functools.cached_property
    def _search(self) -> leech_points.Balls:
        """The balls for the compiled search."""
        known = [np.concatenate([classes.on, classes.off], axis=1) @ classes.digits for classes in self.families]
        orders = [np.argsort(keys) for keys in known]
        largest = max(int(max(classes.on_values.max(initial=0), classes.off_values.max())) for classes in self.families)
        digits = np.zeros((len(self.families), largest + 1), dtype=np.int64)
        for family, classes in enumerate(self.families):
            digits[family, np.concatenate([classes.on_values, classes.off_values])] = classes.digits
        weights = golay_codewords().sum(axis=1)
        return leech_points.Balls(
            scales=np.array([scale for scale, _ in self.balls]),
            limits=np.array([limit for _, limit in self.balls], dtype=np.float64),
            gains=np.array(GAINS),
            fine_reach=FINE_REACH,
            coarse_from=COARSE_FROM,
            digits=digits,
            keys=np.concatenate([keys[order] for keys, order in zip(known, orders, strict=True)]),
            first_key=np.cumsum([0, *map(len, known)]),
            numbers=np.array(
                [
                    np.concatenate([index[order] for index, order in zip(classes_of, orders, strict=True)])
                    for classes_of in self.classes_of
                ]
            ),
            word_numbers=np.array([np.count_nonzero(weights[:m] == weights[m]) for m in range(len(weights))]),
        )

    def nearest(self, points: Array) -> Int64:
        """Return the numbers of the nearest points, or of near ones for points outside the codebook's balls."""
        white = np.clip(points, -CLIP, CLIP)
        squares = _squared(white)
        least = np.full(len(white), np.inf)
        vectors = np.zeros(white.shape, dtype=np.int64)
        balls = np.zeros(len(white), dtype=np.int64)
        for ball, (scale, limit) in enumerate(self.balls):
            relative = np.sqrt(squares / self.balls[0][1]) / self.balls[0][0]
            if ball == 0:
                pending = np.flatnonzero(relative < FINE_REACH) if len(self.balls) > 1 else np.arange(len(white))
            else:
                pending = np.flatnonzero((relative > COARSE_FROM) | np.isinf(least))
            for gain in (None, *GAINS):
                factors = np.ones(len(pending))
                if gain is not None:
                    lengths = np.sqrt(np.maximum(squares[pending], np.finfo(np.float64).tiny))
                    factors = gain * math.sqrt(limit) * scale / lengths
                near = nearest_leech(white[pending] * (factors / scale)[:, None])
                norms = (near**2).sum(axis=1)
                inside = (norms > 0) & (norms <= limit)
                rows, near = pending[inside], near[inside]
                errors = _squared(white[rows] - near * scale)
                better = errors < least[rows]
                rows = rows[better]
                least[rows], vectors[rows], balls[rows] = errors[better], near[better], ball
                pending = pending[~inside]
        # no attempt placed it: the minimal vector along its two largest coordinates
        lost = np.flatnonzero(np.isinf(least))[:, None]
        largest = np.argsort(-np.abs(white[lost[:, 0]]), axis=1, kind="stable")[:, :2]
        vectors[lost, largest] = np.where(white[lost, largest] < 0, -4, 4)
        return self._numbers(vectors, self._which(vectors, balls))

    def _which(self, vectors: Int64, balls: Int64) -> Int64:
        """Return the class of each vector, int64 (n,)."""
        class_of = np.empty(len(vectors), dtype=np.int64)
        odd = vectors[:, 0] % 2 == 1
        weight = np.where(odd, 0, (vectors % 4 == 2).sum(axis=1))
        for family, classes in enumerate(self.families):
            rows = np.flatnonzero((weight == classes.weight) & (odd == classes.signed_by_word))
            members = classes.find(vectors[rows])
            for ball, classes_of in enumerate(self.classes_of):
                here = balls[rows] == ball
                class_of[rows[here]] = classes_of[family][members[here]]
        return class_of
