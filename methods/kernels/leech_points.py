"""Compiled search of nearest points of the Leech lattice, and writing of their numbers.

The references are `nearest_leech` in `methods.transform_coding.lattices`, and `_LeechCodebook.nearest` and `_numbers`
in `methods.transform_coding.lattice_coded`.

A sextet splits the 24 coordinates into six columns of four. A Golay codeword has in all columns an even or in all an
odd number of ones; of the 8 patterns of a parity a pattern and its complement are one class, so that there are 4
classes a column, which for each parity make 64 of the 4**6 words over classes: the hexacode (Conway and Sloane, 1999,
chapter 11). Within one of those words a codeword takes the pattern or the complement in each column, so that the number
of complements is even or odd as the word says; and the sum of a Leech vector mod 8 says whether the number of
coordinates that are moved by 4 is even or odd. The sum of the columns' least errors, whatever the two parities, is a
bound (Vardy and Be'ery, 1993): of the 256 words, 64 for each parity and for even and odd vectors, but three or so have
one below the least error. Only where it is below the least error so far are the parities seen to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled
from methods.kernels.lattice_points import CLIP, INVERSES, SHIFTS, Book

Array = NDArray[Any]

DIMENSIONS = 24

LANES = 32
"""Points that are decoded together, each its own lane of vector instructions: a power of two.

Loops over lanes run to `lanes & LANES`, which is LANES: a length that is known is unrolled and then not made vector
instructions, and one that is not known is expected to be long.
"""

UNIT = 1 << 14
"""Coordinates are multiples of the inverse. All differences of squared errors are multiples of 4 / UNIT then, and as
such integers below 2**24, which float32 adds without error."""

MENDED = 1 << 29
"""The bit of a key which says that one coordinate is moved to its second nearest place. Below it are the codeword, in
24 bits, and in 5 the coordinate; above it the error."""

TINY = np.finfo(np.float64).tiny
"""What the squared length of a zero vector is taken for."""

WEIGHTS = np.array([{0: 0, 8: 1, 12: 2, 16: 3, 24: 4}.get(weight, 0) for weight in range(25)])
"""The family of even vectors by the weight of their codeword; odd ones are the last family."""

KEY_BITS, WORD_BIT = 30, 5

PATTERNS = np.array([0, 6, 10, 12, 2, 4, 8, 14])
"""Patterns of a column without a one in its first coordinate, which is the lowest bit: even ones, and odd ones. The
complement of each is 15 less it."""


class Sextet(NamedTuple):
    """The Golay code by the columns of a sextet.

    Attributes
    ----------
    places : int64 (6, 4)
        The coordinates of each column.
    classes : int64 (128, 6)
        The class of each column's patterns in the words of the hexacode, the 64 of even columns first: places among
        the four `PATTERNS` of their parity.
    pairs : int64 (128, 3)
        16 times the number of a pair of columns + 4 times its first class + its second one.
    bits : int64 (6, 16)
        What each pattern of a column adds to keys; see `MENDED`.
    complements : int64 (128,)
        Whether the number of columns with the second of the two is odd.
    """

    places: Array
    classes: Array
    pairs: Array
    bits: Array
    complements: Array


class Balls(NamedTuple):
    """A Leech codebook of B balls and 6 families as arrays, beside what its `Book` holds.

    Attributes
    ----------
    scales : float64 (B,)
        What integer coordinates are multiplied by.
    limits : float64 (B,)
        The largest squared norms of integer coordinates.
    gains : float64 (G,)
        Lengths, relative to the outermost shell, at which a point outside is tried again.
    fine_reach, coarse_from : float
        Lengths, relative to the first ball, up to which it is tried and from which the others are.
    digits : int64 (6, values)
        What each absolute value adds to the key of a class.
    keys : int64 (classes of all families,)
        Keys of the classes of each family, ascending.
    first_key : int64 (7,)
        Where each family's begin.
    numbers : int64 (B, classes of all families)
        The codebook's class for each key.
    word_numbers : int64 (4096,)
        The place of each codeword, by its last 12 bits, among those of its weight.
    """

    scales: Array
    limits: Array
    gains: Array
    fine_reach: float
    coarse_from: float
    digits: Array
    keys: Array
    first_key: Array
    numbers: Array
    word_numbers: Array


class Room(NamedTuple):
    """Scratch of `decode_lanes`; the last axis is lanes.

    Attributes
    ----------
    grid : float64 (24, LANES)
        Points in units of the grid, by coordinates.
    cells : float32 (2, 6, 4, 3, LANES)
        Of even and odd vectors, and of each coordinate: the distance to the first residue mod 4, and, for both
        residues, -1 where 4 is in the nearest such number an odd number of times and 1 elsewhere.
    base : float64 (2, LANES)
        Squared errors of the first residues.
    costs : float32 (2, 6, 8, 4, LANES)
        What each class of a column, the four of even patterns first, adds to those errors: with its first pattern and
        moves by 4 that are even and odd in number, and with the complement.
    least : float32 (2, 6, 8, LANES)
        The least of the four.
    pairs : float32 (48, LANES)
        Sums of those of two columns.
    bounds : float32 (4, 64, LANES)
        Sums of those of all columns: of even vectors with even and odd columns, and of odd vectors.
    halves : float32 (32 LANES,)
        Room for finding the least of them.
    lowest : float32 (4, LANES)
        The least of each 64.
    start : int64 (LANES,)
        Which of the four has the least bound of all.
    bar : float32 (LANES,)
        Bounds above it are of no interest.
    best : float64 (LANES,)
        The least squared error so far.
    tied : int64 (LANES,)
    ties : int64 (256, LANES)
        So many words of the hexacode have that error, and which.
    gathered : float32 (6, 4, LANES)
    errors : float32 (LANES,)
    of_lane, of_word : int64 (LANES,)
        The costs of words that wait for being judged, their least errors, and whose words they are and which.
    patterns : int64 (LANES,)
    words : int64 (2, LANES)
    total : int64 (4, LANES)
        See `_add_column`.
    keys, odd : int64 (LANES,)
        The key of the nearest vector, see `MENDED`, and whether it is odd.
    """

    grid: Array
    cells: Array
    base: Array
    costs: Array
    least: Array
    pairs: Array
    bounds: Array
    halves: Array
    lowest: Array
    start: Array
    bar: Array
    best: Array
    tied: Array
    ties: Array
    gathered: Array
    errors: Array
    of_lane: Array
    of_word: Array
    patterns: Array
    words: Array
    total: Array
    keys: Array
    odd: Array


@compiled
def make_room() -> Any:
    """Return a `Room`."""
    return Room(
        np.zeros((DIMENSIONS, LANES)),
        np.zeros((2, 6, 4, 3, LANES), np.float32),
        np.zeros((2, LANES)),
        np.zeros((2, 6, 8, 4, LANES), np.float32),
        np.zeros((2, 6, 8, LANES), np.float32),
        np.zeros((48, LANES), np.float32),
        np.zeros((4, 64, LANES), np.float32),
        np.zeros(32 * LANES, np.float32),
        np.zeros((4, LANES), np.float32),
        np.zeros(LANES, np.int64),
        np.zeros(LANES, np.float32),
        np.zeros(LANES),
        np.zeros(LANES, np.int64),
        np.zeros((256, LANES), np.int64),
        np.zeros((6, 4, LANES), np.float32),
        np.zeros(LANES, np.float32),
        np.zeros(LANES, np.int64),
        np.zeros(LANES, np.int64),
        np.zeros(LANES, np.int64),
        np.zeros((2, LANES), np.int64),
        np.zeros((4, LANES), np.int64),
        np.zeros(LANES, np.int64),
        np.zeros(LANES, np.int64),
    )


@compiled
def _less(one: Any, two: Any) -> Any:
    """Return the lesser one, by a comparison that vector instructions have."""
    return two if two < one else one


@compiled
def _fill_cells(points: Array, places: Array, grid: Array, cells: Array, base: Array) -> None:
    """Round each coordinate to its residues mod 4."""
    base[:] = 0.0
    for slot in range(DIMENSIONS):
        place = places[slot >> 2, slot & 3]
        for lane in range(LANES):
            grid[place, lane] = np.rint(points[place, lane] * UNIT)
        for half in range(2):
            for lane in range(LANES):
                at = grid[place, lane] - half * UNIT
                fours = np.rint(at * (0.25 / UNIT))
                gap = at - 4 * UNIT * fours
                sign = np.float32(1 - 4 * abs(0.5 * fours - np.rint(0.5 * fours)))
                # the other residue is above or below; midway between two of them, the one with an even number of fours
                other = np.float32(1) if gap == 0 else (-sign if gap < 0 else sign)
                base[half, lane] += gap * gap
                cells[half, slot >> 2, slot & 3, 0, lane] = np.float32(abs(gap))
                cells[half, slot >> 2, slot & 3, 1, lane] = sign
                cells[half, slot >> 2, slot & 3, 2, lane] = other


@compiled
def _coordinate(cells: Array, row: int, lane: int) -> Any:
    """Return what the first and the second residue of a coordinate add: error, half a repair, sign."""
    gap = cells[3 * LANES * row + lane]
    first, second = cells[3 * LANES * row + LANES + lane], cells[3 * LANES * row + 2 * LANES + lane]
    return (np.float32(0), np.float32(2 * UNIT) - gap, first), (np.float32(UNIT) - gap, gap, second)


@compiled
def _both(one: Any, two: Any) -> Any:
    """Return error, half the least repair, and sign of two parts together."""
    return one[0] + two[0], _less(one[1], two[1]), one[2] * two[2]


@compiled
def _write_class(costs: Array, least: Array, group: int, lane: int, one: Any, two: Any) -> None:
    """Write the costs of a pattern and its complement."""
    turned = one[1] * one[2]
    other = two[1] * two[2]
    costs[4 * LANES * group + lane] = one[0] + (one[1] - turned)
    costs[4 * LANES * group + LANES + lane] = one[0] + (one[1] + turned)
    costs[4 * LANES * group + 2 * LANES + lane] = two[0] + (two[1] - other)
    costs[4 * LANES * group + 3 * LANES + lane] = two[0] + (two[1] + other)
    least[LANES * group + lane] = _less(one[0], two[0])


@compiled
def _fill_costs(cells: Array, costs: Array, least: Array, lanes: int) -> None:
    """Sum errors over the patterns of a column: cells (12 LANES,), costs (32 LANES,), least (8 LANES,)."""
    for lane in range(lanes & LANES):
        a, b = _coordinate(cells, 0, lane), _coordinate(cells, 1, lane)
        c, d = _coordinate(cells, 2, lane), _coordinate(cells, 3, lane)
        # of two coordinates each, by their bits, the first the lowest
        e0, e1, e2, e3 = _both(a[0], b[0]), _both(a[1], b[0]), _both(a[0], b[1]), _both(a[1], b[1])
        f0, f1, f2, f3 = _both(c[0], d[0]), _both(c[1], d[0]), _both(c[0], d[1]), _both(c[1], d[1])
        # in the order of PATTERNS
        _write_class(costs, least, 0, lane, _both(e0, f0), _both(e3, f3))
        _write_class(costs, least, 1, lane, _both(e2, f1), _both(e1, f2))
        _write_class(costs, least, 2, lane, _both(e2, f2), _both(e1, f1))
        _write_class(costs, least, 3, lane, _both(e0, f3), _both(e3, f0))
        _write_class(costs, least, 4, lane, _both(e2, f0), _both(e1, f3))
        _write_class(costs, least, 5, lane, _both(e0, f1), _both(e3, f2))
        _write_class(costs, least, 6, lane, _both(e0, f2), _both(e3, f1))
        _write_class(costs, least, 7, lane, _both(e2, f3), _both(e1, f0))


@compiled
def _add_rows(one: Array, two: Array, to: Array, lanes: int) -> None:
    """Fill the sum of two rows of lanes."""
    for lane in range(lanes & LANES):
        to[lane] = one[lane] + two[lane]


@compiled
def _fill_bounds(
    words: Array, least: Array, parity: int, pairs: Array, bounds: Array, halves: Array, lowest: Array, lanes: int
) -> None:
    """Sum the least errors of columns over the words of one parity.

    Parameters
    ----------
    words : int64 (64, 3)
        The places of each word's sums in `pairs`.
    least : float32 (6, 8, LANES)
    """
    for pair in range(3):
        for one in range(4):
            for two in range(4):
                left, right = least[2 * pair, 4 * parity + one], least[2 * pair + 1, 4 * parity + two]
                _add_rows(left, right, pairs[16 * pair + 4 * one + two], lanes)
    for word in range(64):
        one, two, three = pairs[words[word, 0]], pairs[words[word, 1]], pairs[words[word, 2]]
        to = bounds[word]
        for lane in range(lanes & LANES):
            to[lane] = one[lane] + two[lane] + three[lane]
    flat, part = bounds.reshape(64 * LANES), 32 * LANES
    for at in range(part):
        halves[at] = flat[part + at] if flat[part + at] < flat[at] else flat[at]
    while part > LANES:
        part >>= 1
        for at in range(part):
            halves[at] = halves[part + at] if halves[part + at] < halves[at] else halves[at]
    lowest[:] = halves[:LANES]


@compiled
def _joined(left: Any, right: Any) -> Any:
    """Return the least sums for both parities of two things, each counted in both parts: parities add."""
    a, b, c, d = left
    e, f, g, h = right
    return (
        _less(_less(a + e, b + f), _less(c + g, d + h)),
        _less(_less(a + f, b + e), _less(c + h, d + g)),
        _less(_less(a + g, b + h), _less(c + e, d + f)),
        _less(_less(a + h, b + g), _less(c + f, d + e)),
    )


@compiled
def _of_word(costs: Array, column: int, at: int) -> Any:
    """Return the four costs of a column for the word that is a column `at` of `costs`, which is flat."""
    first = 4 * LANES * column + at
    return costs[first], costs[first + LANES], costs[first + 2 * LANES], costs[first + 3 * LANES]


@compiled
def _least_errors(costs: Array, errors: Array, lanes: int) -> None:
    """Fill the least errors of words with even parities, from their columns' costs, float32 (24 LANES,)."""
    for at in range(lanes & LANES):
        one = _joined(_of_word(costs, 0, at), _of_word(costs, 1, at))
        one = _joined(one, _joined(_of_word(costs, 2, at), _of_word(costs, 3, at)))
        two = _joined(_of_word(costs, 4, at), _of_word(costs, 5, at))
        errors[at] = _less(_less(one[0] + two[0], one[1] + two[1]), _less(one[2] + two[2], one[3] + two[3]))


@compiled
def _judge_words(base: Array, room: Any, waiting: int, lanes: int) -> None:
    """Find the errors of the words that wait, and keep the best of each lane."""
    best, tied, ties = room.best, room.tied, room.ties
    _least_errors(room.gathered.reshape(24 * LANES), room.errors, lanes)
    for at in range(waiting):
        lane, word = room.of_lane[at], room.of_word[at]
        total = base[word >> 7, lane] + 4 * UNIT * np.float64(room.errors[at])
        if total < best[lane]:
            best[lane], tied[lane] = total, 0
        if total == best[lane]:
            ties[tied[lane], lane] = word
            tied[lane] += 1


@compiled
def _with_row(cells: Array, other: Array, odd: Any, row: int, place: int, lane: int, bit: Any, sums: Any) -> Any:
    """Add a row of a column to (errors, least moves with their coordinates, signs) of a pattern and its complement."""
    at = 3 * LANES * row + lane
    gap, gap_odd, first, first_odd = cells[at], other[at], cells[at + LANES], other[at + LANES]
    second, second_odd = cells[at + 2 * LANES], other[at + 2 * LANES]
    distance = np.int64(gap_odd if odd else gap)
    first, second = first_odd if odd else first, second_odd if odd else second
    far, near = ((4 * UNIT - 2 * distance) << WORD_BIT) + place, (distance << (WORD_BIT + 1)) + place
    one, two, one_move, two_move, one_sign, two_sign = sums
    one += bit * (UNIT - distance)
    two += (1 - bit) * (UNIT - distance)
    here, there = near if bit else far, far if bit else near
    one_move, two_move = here if here < one_move else one_move, there if there < two_move else two_move
    return one, two, one_move, two_move, one_sign * (second if bit else first), two_sign * (first if bit else second)


@compiled
def _moved(move: Any) -> Any:
    """Return what a move, with its coordinate in the lowest bits, adds to a key."""
    return (move >> WORD_BIT << KEY_BITS) + MENDED + (move & 31)


@compiled
def _add_column(
    cells: Array, other: Array, places: Array, patterns: Array, words: Array, total: Array, lanes: int
) -> None:
    """Add a column to the least keys for all parities, int64 (4 LANES,); cells of even and of odd vectors are flat.

    Parameters
    ----------
    patterns : int64 (LANES,)
        The column's, and 16 where the vector is odd.
    words : int64 (2 LANES,)
        The words of the pattern, and those of its complement.
    """
    a, b, c, d = places[0], places[1], places[2], places[3]
    far = np.int64(1) << 60
    for lane in range(lanes & LANES):
        pattern = patterns[lane]
        odd = pattern >= 16
        sums = np.int64(0), np.int64(0), far, far, np.float32(1), np.float32(1)
        sums = _with_row(cells, other, odd, 0, a, lane, pattern & 1, sums)
        sums = _with_row(cells, other, odd, 1, b, lane, pattern >> 1 & 1, sums)
        sums = _with_row(cells, other, odd, 2, c, lane, pattern >> 2 & 1, sums)
        one, two, one_move, two_move, one_sign, two_sign = _with_row(
            cells, other, odd, 3, d, lane, pattern >> 3 & 1, sums
        )
        one, two = (one << KEY_BITS) + words[lane], (two << KEY_BITS) + words[LANES + lane]
        one_move, two_move = one + _moved(one_move), two + _moved(two_move)
        keys = (
            one if one_sign > 0 else one_move,
            one_move if one_sign > 0 else one,
            two if two_sign > 0 else two_move,
            two_move if two_sign > 0 else two,
        )
        before = total[lane], total[LANES + lane], total[2 * LANES + lane], total[3 * LANES + lane]
        after = _joined(before, keys)
        total[lane], total[LANES + lane] = after[0], after[1]
        total[2 * LANES + lane], total[3 * LANES + lane] = after[2], after[3]


@compiled
def _least_keys(sextet: Sextet, room: Any, lanes: int) -> None:
    """Find the nearest vectors' keys: of the words with the least error the least, even vectors first."""
    total, patterns, words, keys, odd = room.total, room.patterns, room.words, room.keys, room.odd
    most = np.int64(1)
    for lane in range(LANES):
        most = max(most, room.tied[lane])
        odd[lane] = 2
    for tie in range(most):
        total[:] = np.int64(1) << 60
        total[0] = 0
        for column in range(6):
            for lane in range(LANES):
                word = room.ties[min(tie, room.tied[lane] - 1), lane]
                pattern = PATTERNS[(word >> 4 & 4) + sextet.classes[word & 127, column]]
                patterns[lane] = pattern + (word >> 7 << 4)
                words[0, lane], words[1, lane] = sextet.bits[column, pattern], sextet.bits[column, 15 - pattern]
            cells, other = room.cells[0, column].reshape(12 * LANES), room.cells[1, column].reshape(12 * LANES)
            flat = words.reshape(2 * LANES), total.reshape(4 * LANES)
            _add_column(cells, other, sextet.places[column], patterns, flat[0], flat[1], lanes)
        for lane in range(LANES):
            word = room.ties[min(tie, room.tied[lane] - 1), lane]
            half = word >> 7
            here = total[2 * sextet.complements[word & 127] + half, lane]
            if half < odd[lane] or (half == odd[lane] and here < keys[lane]):
                keys[lane], odd[lane] = here, half


@compiled
def _any_below(row: Array, bar: Array, lanes: int) -> Any:
    """Return whether any lane is not above its bar."""
    found = False
    for lane in range(lanes & LANES):
        found |= row[lane] <= bar[lane]
    return found


@compiled
def _find_words(sextet: Sextet, room: Any, lanes: int) -> None:
    """Find the nearest vectors' keys."""
    base, bounds, lowest, start, bar = room.base, room.bounds, room.lowest, room.start, room.bar
    best, waiting = room.best, 0
    costs, gathered = room.costs.reshape(2 * 6 * 32 * LANES), room.gathered.reshape(24 * LANES)
    for lane in range(LANES):
        low = np.inf
        for part in range(4):
            total = base[part >> 1, lane] + 4 * UNIT * np.float64(lowest[part, lane])
            if total < low:
                start[lane], low = part, total
        best[lane], room.tied[lane] = np.inf, 0
    # words with the least bound come first, since their errors rule out most of the others
    for again in range(2):
        for part in range(4):
            half = part >> 1
            if again:
                for lane in range(LANES):
                    # whole numbers below 2**24 both, or too far apart to matter
                    bar[lane] = np.float32(np.floor((best[lane] - base[half, lane]) * (0.25 / UNIT)))
            else:
                for lane in range(LANES):
                    bar[lane] = lowest[part, lane] if start[lane] == part else -np.inf
            for word in range(64):
                row = bounds[part, word]
                if not _any_below(row, bar, lanes):
                    continue
                number = 64 * (part & 1) + word
                asked = 2 * sextet.complements[number] + half
                for lane in range(LANES):
                    if row[lane] > bar[lane] or (again and start[lane] == part and row[lane] == lowest[part, lane]):
                        continue
                    for column in range(6):
                        group = 8 * (6 * half + column) + 4 * (part & 1) + sextet.classes[number, column]
                        # states of the first column in the order that makes the parities asked for even ones
                        at, turn, to = 4 * LANES * group + lane, LANES * asked, 4 * LANES * column + waiting
                        turn = 0 if column else turn
                        gathered[to], gathered[to + LANES] = costs[at + turn], costs[at + (turn ^ LANES)]
                        gathered[to + 2 * LANES] = costs[at + (turn ^ 2 * LANES)]
                        gathered[to + 3 * LANES] = costs[at + (turn ^ 3 * LANES)]
                    room.of_lane[waiting], room.of_word[waiting] = lane, 64 * part + word
                    waiting += 1
                    if waiting == LANES:
                        _judge_words(base, room, waiting, lanes)
                        waiting = 0
        _judge_words(base, room, waiting, lanes)
        waiting = 0
    _least_keys(sextet, room, lanes)


@compiled
def _place(key: Array, odd: Array, grid: Array, place: int, near: Array, lanes: int) -> None:
    """Fill one coordinate of the nearest vectors."""
    for lane in range(lanes & LANES):
        residue = np.float64(odd[lane] + 2 * (key[lane] >> (place + WORD_BIT) & 1))
        at = grid[lane]
        value = residue + 4 * np.rint((at - residue * UNIT) * (0.25 / UNIT))
        mended = np.float64((key[lane] & MENDED != 0) & (key[lane] & 31 == place))
        near[lane] = value + mended * (-4.0 if at < value * UNIT else 4.0)


@compiled
def decode_lanes(points: Array, sextet: Sextet, room: Any, near: Array) -> None:
    """Fill the nearest Leech vectors of points, exactly; of several the one that `nearest_leech` takes.

    Parameters
    ----------
    points : float64 (24, LANES)
        About 2**31 at most.
    sextet : Sextet
    room : Room
    near : float64 (24, LANES)
    """
    places, words, lanes = sextet.places, sextet.pairs, points.shape[1]
    _fill_cells(points, places, room.grid, room.cells, room.base)
    for half in range(2):
        for column in range(6):
            cells, costs = room.cells[half, column].reshape(12 * LANES), room.costs[half, column].reshape(32 * LANES)
            _fill_costs(cells, costs, room.least[half, column].reshape(8 * LANES), lanes)
        for parity in range(2):
            of_parity, bounds = words[64 * parity : 64 * parity + 64], room.bounds[2 * half + parity]
            lowest = room.lowest[2 * half + parity]
            _fill_bounds(of_parity, room.least[half], parity, room.pairs, bounds, room.halves, lowest, lanes)
    _find_words(sextet, room, lanes)
    for place in range(DIMENSIONS):
        _place(room.keys, room.odd, room.grid[place], place, near[place], lanes)


@compiled
def _squared_distance(white: Array, near: Array, lane: int, scale: float) -> Any:
    """Return a point's squared distance from a vector times a scale: one coordinate is added after the other."""
    total = 0.0
    for place in range(DIMENSIONS):
        gap = white[lane, place] - near[lane, place] * scale
        total += gap * gap
    return total


@compiled
def _rank(vector: Array, off: Any, odd: Any, orders: Any, left: Array) -> Any:
    """Return the rank of the values on (0) or off (1) a vector's support; `left` is how often each occurs, used up."""
    rank, places = np.uint64(0), np.int64(0)
    for symbol in range(len(left)):
        places += np.int64(left[symbol])
    for place in range(DIMENSIONS):
        size = abs(vector[place])
        if not odd and (size >> 1 & 1) == off:
            continue
        symbol = size >> 1 if odd else size >> 2
        below = np.uint64(0)
        for lower in range(symbol):
            below += left[lower]
        shift, inverse = SHIFTS[places], INVERSES[places]
        rank += ((orders * below) >> shift) * inverse
        orders = ((orders * left[symbol]) >> shift) * inverse
        left[symbol] -= np.uint64(1)
        places -= 1
    return rank


@compiled
def _number(vector: Array, ball: int, balls: Balls, book: Book, on_left: Array, off_left: Array) -> Any:
    """Return the number of a codebook's vector, int64 (24,), at the scale of a ball."""
    odd, weight, word = vector[0] & 1, np.int64(0), np.int64(0)
    for place in range(DIMENSIONS):
        bit = (vector[place] - odd) >> 1 & 1
        weight += bit
        # the last 12 bits name the word
        word |= (bit << place) >> 12
    family = 5 if odd else WEIGHTS[weight]
    key = np.int64(0)
    for place in range(DIMENSIONS):
        key += balls.digits[family, abs(vector[place])]
    first, last = balls.first_key[family], balls.first_key[family + 1] - 1
    while first < last:
        middle = (first + last) >> 1
        if balls.keys[middle] < key:
            first = middle + 1
        else:
            last = middle
    member = balls.numbers[ball, first]
    for symbol in range(len(on_left)):
        on_left[symbol] = book.on[member, symbol]
    for symbol in range(len(off_left)):
        off_left[symbol] = book.off[member, symbol]
    on_orders, off_orders = np.uint64(book.on_orders[member]), np.uint64(book.off_orders[member])
    number = np.uint64(word if odd else balls.word_numbers[word])
    if not odd and weight:
        number = number * on_orders + _rank(vector, 0, odd, on_orders, on_left)
    number = number * off_orders + _rank(vector, 1, odd, off_orders, off_left)
    signs, free = np.int64(0), np.int64(0)
    if not odd:
        for off in range(2):
            passed = np.int64(0)
            for place in range(DIMENSIONS):
                size = abs(vector[place])
                if (size >> 1 & 1) == off or size == 0:
                    continue
                passed += 1
                # the last sign on the support follows from the others
                if off or passed < weight:
                    signs |= np.int64(vector[place] < 0) << free
                    free += 1
    return book.starts[member] + (np.int64(number) << book.sign_bits[member]) + signs


@compiled
def _next_ball(ball: int, relative: float, placed: Any, balls: Balls) -> Any:
    """Return the next ball that a point is tried in; their number if there is none."""
    ball += 1
    while 0 < ball < len(balls.scales) and placed and not relative > balls.coarse_from:
        ball += 1
    return ball


@compiled
def encode(
    docs: Array,
    mean: Array,
    deviation: Array,
    first_bits: Array,
    bits: int,
    dims: Array,
    sextet: Sextet,
    balls: Balls,
    book: Book,
    packed: Array,
) -> None:
    """Write the numbers of Leech vectors near to blocks that share a codebook.

    A lane takes the next block as soon as its own one has its vector.

    Parameters
    ----------
    docs : float32 (n, d)
    mean, deviation : float64 (d,)
    first_bits, dims : int64 (blocks,)
        Where each block's number and its 24 dimensions begin.
    bits : int
    sextet : Sextet
    balls : Balls
    book : Book
    packed : uint8 (n, nbytes)
        Zeros where the numbers go.
    """
    room, points, near = make_room(), np.zeros((DIMENSIONS, LANES)), np.zeros((DIMENSIONS, LANES))
    white, tried = np.zeros((LANES, DIMENSIONS)), np.zeros((LANES, DIMENSIONS))
    chosen, chosen_ball = np.zeros((LANES, DIMENSIONS), np.int64), np.zeros(LANES, np.int64)
    squares, relative, least = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    block_of, ball_of, step_of = np.full(LANES, -1), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    on_left, off_left = np.zeros(book.on.shape[1], np.uint64), np.zeros(book.off.shape[1], np.uint64)
    upcoming, total = np.int64(0), len(docs) * len(dims)
    while True:
        active = np.int64(0)
        for lane in range(LANES):
            if block_of[lane] < 0 and upcoming < total:
                row, dim = upcoming // len(dims), dims[upcoming % len(dims)]
                square = 0.0
                for place in range(DIMENSIONS):
                    value = (np.float64(docs[row, dim + place]) - mean[dim + place]) / deviation[dim + place]
                    white[lane, place] = min(max(value, -CLIP), CLIP)
                    square += white[lane, place] * white[lane, place]
                block_of[lane], squares[lane], least[lane], step_of[lane] = upcoming, square, np.inf, 0
                relative[lane] = np.sqrt(square / balls.limits[0]) / balls.scales[0]
                chosen_ball[lane] = -1
                ball_of[lane] = 0 if len(balls.scales) == 1 or relative[lane] < balls.fine_reach else 1
                upcoming += 1
            if block_of[lane] < 0:
                continue
            active += 1
            scale = balls.scales[ball_of[lane]]
            factor = 1.0
            if step_of[lane]:
                length = np.sqrt(max(squares[lane], TINY))
                factor = balls.gains[step_of[lane] - 1] * np.sqrt(balls.limits[ball_of[lane]]) * scale / length
            factor /= scale
            for place in range(DIMENSIONS):
                points[place, lane] = white[lane, place] * factor
        if active == 0:
            break
        decode_lanes(points, sextet, room, near)
        for lane in range(LANES):
            if block_of[lane] < 0:
                continue
            norm = 0.0
            for place in range(DIMENSIONS):
                tried[lane, place] = near[place, lane]
                norm += near[place, lane] * near[place, lane]
            ball, step_of[lane] = ball_of[lane], step_of[lane] + 1
            if 0 < norm <= balls.limits[ball]:
                error = _squared_distance(white, tried, lane, balls.scales[ball])
                if error < least[lane]:
                    least[lane], chosen_ball[lane] = error, ball
                    for place in range(DIMENSIONS):
                        chosen[lane, place] = np.int64(tried[lane, place])
            elif step_of[lane] <= len(balls.gains):
                continue
            step_of[lane] = 0
            ball_of[lane] = _next_ball(ball, relative[lane], chosen_ball[lane] >= 0, balls)
            if ball_of[lane] < len(balls.scales):
                continue
            if chosen_ball[lane] < 0:
                # no attempt placed it: the minimal vector along its two largest coordinates
                chosen_ball[lane] = 0
                chosen[lane] = 0
                for _ in range(2):
                    largest = -1
                    for place in range(DIMENSIONS):
                        free = chosen[lane, place] == 0
                        if free and (largest < 0 or abs(white[lane, place]) > abs(white[lane, largest])):
                            largest = place
                    chosen[lane, largest] = -4 if white[lane, largest] < 0 else 4
            number = _number(chosen[lane], chosen_ball[lane], balls, book, on_left, off_left)
            block = block_of[lane] % len(dims)
            first, row = first_bits[block], block_of[lane] // len(dims)
            byte, start = first >> 3, first & 7
            packed[row, byte] |= np.uint8(number << start & 255)
            # a number and its shift are more bits than an integer has
            number >>= 8 - start
            while number:
                byte += 1
                packed[row, byte] |= np.uint8(number & 255)
                number >>= 8
            block_of[lane] = -1
