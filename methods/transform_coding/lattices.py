"""The Gosset lattice E8 and the Leech lattice: the densest packings in 8 and 24 dimensions, and very good quantisers.

A lattice's normalised second moment G is the squared error a dimension of rounding to it, at one point per unit volume:
1/12 for integers, 0.07168 for E8 and 0.06577 for Leech, that is 0.65 and 1.03 dB less, of the 1.53 dB that there are
(Conway and Sloane, 1999, table 2.3).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, MethodError
from methods.kernels.leech_points import PATTERNS, WORD_BIT, Sextet

Int64 = NDArray[np.int64]

GRID = 2.0**-14
"""Points are rounded to multiples of this before Leech decoding. What is summed for the codewords are then multiples of
2**-12 below 2**7: float32 sums of them are exact, in whatever order BLAS takes them."""

CACHED_ROWS = 64
"""Rows decoded at a time in the Leech lattice: their 4096 sums each stay in a processor's cache (twice as quick)."""

GOLAY_POLYNOMIAL = 0b110001110101
"""Generator polynomial of the binary Golay code of length 23, x^11 + x^10 + x^6 + x^5 + x^4 + x^2 + 1."""

GOLAY_WORDS = 4096
"""Codewords of the binary Golay code: 2^12 messages."""

PENALTY = np.float32(1024)
"""More than twice any codeword's sum of error differences, each of which is at most 4."""


def nearest_e8(points: Array) -> Array:
    """Return the nearest point of E8 to each row, by rounding to its two cosets of D8 (Conway and Sloane, 1982).

    E8 has the integer vectors of even sum, and those moved by (1/2, ..., 1/2): minimal norm 2, one point a unit volume.

    Parameters
    ----------
    points : float (n, 8)

    Returns
    -------
    float64 (n, 8)
    """
    wide = np.asarray(points, dtype=np.float64)
    integer = _nearest_d8(wide)
    half_integer = _nearest_d8(wide - 0.5) + 0.5
    nearer = ((wide - half_integer) ** 2).sum(axis=1) < ((wide - integer) ** 2).sum(axis=1)
    return np.where(nearer[:, None], half_integer, integer)


def _nearest_d8(points: Array) -> Array:
    """Return the nearest integer vectors of even sum, float64 (n, 8)."""
    rounded = np.rint(points)
    error = points - rounded
    odd = np.flatnonzero(rounded.sum(axis=1) % 2)
    worst = np.abs(error[odd]).argmax(axis=1)
    rounded[odd, worst] += np.where(error[odd, worst] < 0, -1, 1)
    return rounded


@functools.cache
def golay_codewords() -> NDArray[np.uint8]:
    """Return the extended binary Golay code, uint8 (4096, 24), in zeros and ones.

    Row m is the word whose last 12 bits are those of m, the first of them the lowest: words ascend as numbers whose bit
    i is the word's coordinate i, and row m is the sum of those rows 2**j for which m has bit j. Weights: 0, 8 (759
    words), 12 (2576), 16 and 24. Words are sums of shifts of a generator polynomial, with a parity bit each (Conway and
    Sloane, 1999, section 3.2.8).
    """
    shifts = [GOLAY_POLYNOMIAL << shift for shift in range(12)]
    basis = np.array([[word >> bit & 1 for bit in range(23)] for word in shifts])
    basis = np.column_stack([basis, basis.sum(axis=1) % 2])
    messages = np.arange(GOLAY_WORDS)[:, None] >> np.arange(12) & 1
    unordered = (messages @ basis % 2).astype(np.uint8)
    words: NDArray[np.uint8] = unordered[np.argsort(_word_keys(unordered))]
    words.flags.writeable = False
    return words


@functools.cache
def golay_sextet() -> Sextet:
    """Return the sextet of the first four coordinates, with the hexacode that belongs to it.

    Of the octads, the codewords of weight 8, five hold those four; the other four of each are the other columns.
    """
    words = golay_codewords()
    octads = words[(words.sum(axis=1) == 8) & (words[:, :4].sum(axis=1) == 4)]
    places = np.array([[0, 1, 2, 3], *sorted((4 + np.flatnonzero(octad[4:])).tolist() for octad in octads)])
    patterns = words[:, places].astype(np.int64) @ (1 << np.arange(4))
    turned = patterns & 1
    order = np.argsort(PATTERNS)
    group = order[np.searchsorted(PATTERNS[order], np.where(turned == 1, 15 - patterns, patterns))]
    # one codeword of each word over classes tells whether the number of complements is odd
    _, one = np.unique(group @ 8 ** np.arange(5, -1, -1), return_index=True)
    order = np.argsort(group[one, 0] >= 4, kind="stable")
    classes = group[one[order]] % 4
    pairs = 16 * np.arange(3) + 4 * classes[:, ::2] + classes[:, 1::2]
    rows = np.arange(16)[:, None] >> np.arange(4) & 1
    bits = (1 << places + WORD_BIT) @ rows.T
    return Sextet(places, classes, pairs, bits, turned[one[order]].sum(axis=1) % 2)


@functools.cache
def _parities() -> NDArray[np.bool_]:
    """Return whether m & s has an odd number of bits, for all 12-bit m (columns) and s (rows)."""
    numbers = np.arange(GOLAY_WORDS, dtype=np.uint16)
    odd: NDArray[np.bool_] = np.bitwise_count(numbers[:, None] & numbers) % 2 == 1
    return odd


@functools.cache
def _words_as_columns() -> NDArray[np.float32]:
    """Return the codewords in columns, float32 (24, 4096)."""
    return np.ascontiguousarray(golay_codewords().T, dtype=np.float32)


def nearest_leech(points: Array) -> Array:
    """Return the nearest point of the Leech lattice to each row, exactly.

    In these coordinates the lattice is sqrt(8) times the unimodular one: integer vectors, all even or all odd, that
    take one of the two residues mod 4 where a Golay codeword has a one and the other elsewhere, and whose sum is 0
    (even) or 4 (odd) mod 8 (Conway and Sloane, 1999, section 4.11). Minimal squared norm 32, volume 8**12.

    For each codeword every coordinate is rounded on its own, the squared errors are summed for all 4096 at once, and
    where the sum mod 8 is wrong one coordinate moves to its second nearest place: the cheapest one (Conway and Sloane,
    1984, with the codewords enumerated).

    Parameters
    ----------
    points : float (n, 24)
        About 2**31 at most.

    Returns
    -------
    float64 (n, 24)
    """
    nearest = np.empty((len(points), 24))
    for start in range(0, len(points), CACHED_ROWS):
        stop = start + CACHED_ROWS
        block = np.rint(np.asarray(points[start:stop], dtype=np.float64) / GRID) * GRID
        even, even_errors = _nearest_half_leech(block, 0)
        odd, odd_errors = _nearest_half_leech(block, 1)
        nearest[start:stop] = np.where((odd_errors < even_errors)[:, None], odd, even)
    return nearest


def _nearest_half_leech(points: Array, offset: int) -> tuple[Array, Array]:
    """Return (nearest points, squared errors) among the Leech vectors that are all even (0) or all odd (1)."""
    words = golay_codewords()
    # integers[c]: the nearest integers that are offset + 2c mod 4; turns[c]: how many times 4 is in them, mod 2
    shifts = np.array([offset, offset + 2])[:, None, None]
    quarters = np.rint((points - shifts) / 4)
    integers = shifts + 4 * quarters
    turns = quarters.astype(np.int64) & 1
    gaps = points - integers
    errors = gaps**2
    repairs = 16 - 8 * np.abs(gaps)

    sums = (errors[1] - errors[0]).astype(np.float32) @ _words_as_columns()
    syndromes = ((turns[0] ^ turns[1]) @ words[1 << np.arange(12)].T & 1) @ (1 << np.arange(12))
    wrong = _parities()[syndromes] ^ ((turns[0].sum(axis=1) & 1) != offset)[:, None]
    # no sum reaches the penalty; an addition is several times as quick as a masked assignment
    right = sums + wrong * PENALTY
    best = right.argmin(axis=1)
    least = right[np.arange(len(points)), best].astype(np.float64)
    # a codeword with the wrong sum wins only if it does so with the cheapest repair of all
    limits = (least - repairs.min(axis=(0, 2))).astype(np.float32)
    row, word = np.divmod(np.flatnonzero(wrong & (sums < limits[:, None])), GOLAY_WORDS)
    mended = sums[row, word] + np.where(words[word] == 1, repairs[1, row], repairs[0, row]).min(axis=1)
    first = np.lexsort((word, mended, row))
    first = first[np.diff(row[first], prepend=-1) != 0]
    first = first[mended[first] < least[row[first]]]
    best[row[first]] = word[first]
    least[row[first]] = mended[first]

    chosen = words[best] == 1
    nearest = np.where(chosen, integers[1], integers[0])
    to_mend = row[first]
    costs = np.where(chosen[to_mend], repairs[1, to_mend], repairs[0, to_mend])
    coordinate = costs.argmin(axis=1)
    nearest[to_mend, coordinate] += np.where(points[to_mend, coordinate] < nearest[to_mend, coordinate], -4, 4)
    return nearest, least + errors[0].sum(axis=1)


@dataclass(frozen=True, eq=False)
class Classes:
    """Lattice vectors that are each other's images under permutations and signs, and their numbering.

    The vectors of a class have the support of some `words` and on it the absolute values `on`, outside it the values
    `off`, in all orders; signs are free outside, and on the support their product is given.
    The odd vectors of the Leech lattice are the exception: their signs follow from the word (`signed_by_word`), which
    takes no part in the order.

    Attributes
    ----------
    words : uint8 (A, d)
        The words of zeros and ones, all of the same weight.
    weight : int
        Places that `on` fills: the words' weight, or 0 where words give the signs.
    on_values, off_values : int64 (V,) and (W,)
        The absolute values that can occur.
    on, off : int64 (K, V) and (K, W)
        How often each of them occurs in each class; rows sum to `weight` and d - `weight`.
    parity : int64 (K,)
        Whether the number of minus signs on the support is odd.
    """

    words: NDArray[np.uint8]
    weight: int
    signed_by_word: bool
    on_values: Int64
    off_values: Int64
    on: Int64
    off: Int64
    parity: Int64

    @functools.cached_property
    def norms(self) -> Int64:
        """Squared length of each class's vectors, int64 (K,)."""
        return self.on @ self.on_values**2 + self.off @ self.off_values**2

    @functools.cached_property
    def sign_bits(self) -> Int64:
        """How many signs of each class's vectors are free, int64 (K,)."""
        if self.signed_by_word:
            return np.zeros(len(self.off), dtype=np.int64)
        return max(self.weight - 1, 0) + self.off @ (self.off_values > 0)

    @functools.cached_property
    def orders(self) -> tuple[Array, Array]:
        """How many orders the values on and off the support have, exact Python integers (K,) each."""
        return _multinomials(self.on), _multinomials(self.off)

    @functools.cached_property
    def sizes(self) -> Array:
        """How many vectors each class has, exact Python integers (K,)."""
        on, off = self.orders
        sizes: Array = len(self.words) * on * off * np.array([1 << int(bits) for bits in self.sign_bits], dtype=object)
        return sizes

    @functools.cached_property
    def digits(self) -> Int64:
        """What each occurrence of a value on, and then off the support adds to the key of a class, int64 (V + W,).

        Raises
        ------
        MethodError
            If so many different values occur that counts of them do not fit into 63 bits.
        """
        base, values = self.words.shape[1] + 1, len(self.on_values) + len(self.off_values)
        if base**values >= 1 << 63:
            raise MethodError(f"{values} different values in {base - 1} dimensions are too many to tell classes by")
        digits: Int64 = base ** np.arange(values)
        return digits

    def find(self, vectors: Int64) -> Int64:
        """Return the class of each vector of this family, int64 (n,), or -1 for those of classes that are not here.

        Raises
        ------
        MethodError
            If so many different values occur that counts of them do not fit into 63 bits.
        """
        values, digits = np.concatenate([self.on_values, self.off_values]), self.digits
        digit_of = np.full(int(np.abs(vectors).max(initial=0)) + int(values.max(initial=0)) + 1, -1)
        digit_of[values] = digits
        each = digit_of[np.abs(vectors)]
        keys = np.where((each < 0).any(axis=1), -1, each.sum(axis=1))
        known = np.concatenate([self.on, self.off], axis=1) @ digits
        order = np.argsort(known)
        if not len(order):
            return np.full(len(vectors), -1)
        candidate = order[np.minimum(np.searchsorted(known[order], keys), len(order) - 1)]
        return np.where(known[candidate] == keys, candidate, -1)

    def number(self, vectors: Int64, members: Int64) -> Int64:
        """Return each vector's number within its class, int64 (n,): undone by `vectors`.

        Parameters
        ----------
        vectors : int64 (n, d)
        members : int64 (n,)
            The class of each vector.
        """
        absolute = np.abs(vectors)
        support = (vectors - 1) // 2 % 2 if self.signed_by_word else np.isin(absolute, self.on_values).astype(np.int64)
        words = np.searchsorted(self._word_keys, _word_keys(support))
        if self.weight and self.weight < vectors.shape[1]:
            order = np.argsort(1 - support, axis=1, kind="stable")
            vectors = np.take_along_axis(vectors, order, axis=1)
            absolute = np.abs(vectors)
        on, off = self._orders_as_int
        numbers: Int64 = words
        if self.weight:
            symbols = np.searchsorted(self.on_values, absolute[:, : self.weight])
            numbers = numbers * on[members] + _rank(symbols, self.on[members], on[members])
        symbols = np.searchsorted(self.off_values, absolute[:, self.weight :])
        numbers = numbers * off[members] + _rank(symbols, self.off[members], off[members])
        if self.signed_by_word:
            return numbers
        negative = (vectors < 0).astype(np.int64)
        signed = absolute > 0
        # the last sign on the support follows from the others
        signed[:, max(self.weight - 1, 0) : self.weight] = False
        sign_bit = np.cumsum(signed, axis=1) - 1
        signs: Int64 = ((negative & signed) << np.maximum(sign_bit, 0)).sum(axis=1)
        return (numbers << self.sign_bits[members]) + signs

    def vectors(self, numbers: Int64, members: Int64) -> Int64:
        """Return the vectors (n, d) of the given numbers within the given classes."""
        d, weight = self.words.shape[1], self.weight
        on, off = self._orders_as_int
        numbers, signs = numbers >> self.sign_bits[members], numbers & ((1 << self.sign_bits[members]) - 1)
        numbers, rank = np.divmod(numbers, off[members])
        ordered = np.empty((len(numbers), d), dtype=np.int64)
        if weight < d:
            ordered[:, weight:] = self.off_values[_unrank(rank, self.off[members], off[members], d - weight)]
        numbers, rank = np.divmod(numbers, on[members])
        if weight:
            ordered[:, :weight] = self.on_values[_unrank(rank, self.on[members], on[members], weight)]
        words = self.words[numbers]
        if self.signed_by_word:
            # 1 mod 4 without the word's bit, 3 mod 4 with it
            return np.where((ordered // 2 + words) % 2 == 1, -ordered, ordered)
        signed = ordered > 0
        signed[:, max(weight - 1, 0) : weight] = False
        sign_bit = np.maximum(np.cumsum(signed, axis=1) - 1, 0)
        negative = (signs[:, None] >> sign_bit & 1) * signed
        if weight:
            negative[:, weight - 1] = (negative[:, :weight].sum(axis=1) + self.parity[members]) % 2
        ordered = np.where(negative == 1, -ordered, ordered)
        if weight and weight < d:
            order = np.argsort(1 - words.astype(np.int64), axis=1, kind="stable")
            placed = np.empty_like(ordered)
            np.put_along_axis(placed, order, ordered, axis=1)
            return placed
        return ordered

    @functools.cached_property
    def _word_keys(self) -> Int64:
        """Each codeword as one integer, int64."""
        return _word_keys(self.words)

    @functools.cached_property
    def _orders_as_int(self) -> tuple[Int64, Int64]:
        """The orders on and off the support, int64 (K,) each; for classes whose numbers fit."""
        on, off = self.orders
        return on.astype(np.int64), off.astype(np.int64)


def _word_keys(words: Array) -> Int64:
    """Return each codeword as one integer, int64, its first bit the lowest."""
    return words.astype(np.int64) @ (1 << np.arange(words.shape[1]))


def _rank(symbols: Int64, counts: Int64, orders: Int64) -> Int64:
    """Return the rank of each row among the orders of its symbols, lexicographically, int64 (n,).

    Parameters
    ----------
    symbols : int64 (n, k)
        In [0, V).
    counts : int64 (n, V)
        How often each symbol occurs in the row; is used up.
    orders : int64 (n,)
        How many orders there are.
    """
    rows = np.arange(len(symbols))
    rank, orders_left = np.zeros(len(symbols), dtype=np.int64), orders
    for position in range(symbols.shape[1]):
        symbol, remaining = symbols[:, position], symbols.shape[1] - position
        same = counts[rows, symbol]
        below = np.cumsum(counts, axis=1)[rows, symbol] - same
        rank += orders_left * below // remaining
        orders_left = orders_left * same // remaining
        counts[rows, symbol] -= 1
    return rank


def _unrank(rank: Int64, counts: Int64, orders: Int64, length: int) -> Int64:
    """Return the symbols, int64 (n, length), of ranks that `_rank` returned."""
    rows = np.arange(len(rank))
    symbols, orders_left = np.empty((len(rank), length), dtype=np.int64), orders
    for position in range(length):
        remaining = length - position
        upto = np.cumsum(counts, axis=1)
        symbol = (rank[:, None] >= orders_left[:, None] * upto // remaining).sum(axis=1)
        same = counts[rows, symbol]
        rank = rank - orders_left * (upto[rows, symbol] - same) // remaining
        orders_left = orders_left * same // remaining
        counts[rows, symbol] -= 1
        symbols[:, position] = symbol
    return symbols


def _multinomials(counts: Int64) -> Array:
    """Return how many orders multisets of given counts (K, V) have, exact Python integers (K,)."""
    ways = [math.factorial(sum(row)) // math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return np.array(ways, dtype=object)


def _multisets(size: int, values: Int64, limit: int) -> Int64:
    """Return how often each of ascending `values` occurs, (K, V), in all multisets of squared norm up to `limit`."""
    multisets: list[list[int]] = []

    def fill(counts: list[int], places_left: int, room: int) -> None:
        """Append all ways to fill the places that are left within what is left of the squared norm, `room`."""
        value = len(values) - 1 - len(counts)
        if value == 0:
            if places_left * int(values[0]) ** 2 <= room:
                multisets.append([places_left, *counts[::-1]])
            return
        square = int(values[value]) ** 2
        # what is left must hold the smallest value at least
        for count in range(places_left + 1):
            if count * square + (places_left - count) * int(values[0]) ** 2 > room:
                break
            fill([*counts, count], places_left - count, room - count * square)

    fill([], size, limit)
    return np.array(multisets, dtype=np.int64).reshape(-1, len(values))


def _values(first: int, step: int, limit: int) -> Int64:
    """Return first, first + step, ... as far as the square is within the limit, and at least the first one."""
    return np.arange(first, max(math.isqrt(max(limit, 0)), first) + 1, step)


def e8_classes(limit: int, hole: bool = False) -> list[Classes]:
    """Return the classes of E8's vectors in doubled coordinates, of squared norm (4 times the true one) up to `limit`.

    Parameters
    ----------
    limit : int
    hole : bool
        Around a deep hole instead of a lattice point: E8 moved by (1, 0, ..., 0). Its nearest 16 vectors are the
        axes, at distance 1.
    """
    none, nothing = np.zeros((1, 0), dtype=np.int64), np.zeros(0, dtype=np.int64)
    whole, half = _values(0, 2, limit), _values(1, 2, limit)
    counts = _multisets(8, whole, limit)
    counts = counts[counts @ whole // 2 % 2 == hole]
    zero, ones = np.zeros((1, 8), dtype=np.uint8), np.ones((1, 8), dtype=np.uint8)
    unsigned = np.zeros(len(counts), dtype=np.int64)
    integers = Classes(zero, 0, False, nothing, whole, np.repeat(none, len(counts), 0), counts, unsigned)
    counts = _multisets(8, half, limit)
    parity = (counts @ half // 2 + hole) % 2
    halves = Classes(ones, 8, False, half, nothing, counts, np.repeat(none, len(counts), 0), parity)
    return [integers, halves]


def leech_classes(limit: int) -> list[Classes]:
    """Return the classes of Leech vectors, in the coordinates of `nearest_leech`, of squared norm up to `limit`."""
    codewords = golay_codewords()
    weights = codewords.sum(axis=1)
    families = []
    for weight in (0, 8, 12, 16, 24):
        twos, fours = _values(2, 4, limit), _values(0, 4, limit)
        on, off = _multisets(weight, twos, limit), _multisets(24 - weight, fours, limit)
        if weight == 0:
            on = on[:1]
        pairs = np.array(
            [(i, j) for i, a in enumerate(on @ twos**2) for j in np.flatnonzero(off @ fours**2 + a <= limit)],
            dtype=np.int64,
        )
        pairs = pairs.reshape(-1, 2)
        on, off = on[pairs[:, 0]], off[pairs[:, 1]]
        parity = (on @ twos + off @ fours) // 4 % 2
        if weight == 0:
            on, off, parity = on[parity == 0], off[parity == 0], parity[parity == 0]
        families.append(Classes(codewords[weights == weight], weight, False, twos, fours, on, off, parity))
    odd = _values(1, 2, limit)
    counts = _multisets(24, odd, limit)
    # with the zero word each number is 1 mod 4
    counts = counts[counts @ np.where(odd % 4 == 1, odd, -odd) % 8 == 4]
    on = np.zeros((len(counts), 0), dtype=np.int64)
    nothing = np.zeros(0, dtype=np.int64)
    families.append(Classes(codewords, 0, True, nothing, odd, on, counts, np.zeros(len(counts), dtype=np.int64)))
    return families
