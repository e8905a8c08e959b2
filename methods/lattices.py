"""The Gosset lattice E8 and the Leech lattice: the densest packings in 8 and 24 dimensions, and very good quantisers.

A lattice's normalised second moment G is the squared error a dimension of rounding to it, at one point per unit volume:
1/12 for integers, 0.07168 for E8 and 0.06577 for Leech, that is 0.65 and 1.03 dB less, of the 1.53 dB that there are
(Conway and Sloane, 1999, table 2.3).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, row_blocks

GRID = 2.0**-20
"""Points are rounded to multiples of this first: their squared distances to integers then have less than 53 bits, and
float64 sums of them are exact, in whatever order BLAS takes them. An answer does not depend on the rows beside it."""

GOLAY_POLYNOMIAL = 0b110001110101
GOLAY_WORDS = 4096


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
    whole = _nearest_d8(wide)
    half = _nearest_d8(wide - 0.5) + 0.5
    nearer = ((wide - half) ** 2).sum(axis=1) < ((wide - whole) ** 2).sum(axis=1)
    return np.where(nearer[:, None], half, whole)


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

    Row m is the sum of those basis words j, the rows 2**j, for which m has bit j. Weights: 0, 8 (759 words), 12 (2576),
    16 and 24. The basis words are shifts of the cyclic code's generator polynomial, with a parity bit each (Conway and
    Sloane, 1999, section 3.2.8).
    """
    shifts = [GOLAY_POLYNOMIAL << shift for shift in range(12)]
    basis = np.array([[word >> place & 1 for place in range(23)] for word in shifts])
    basis = np.column_stack([basis, basis.sum(axis=1) % 2])
    messages = np.arange(GOLAY_WORDS)[:, None] >> np.arange(12) & 1
    words: NDArray[np.uint8] = (messages @ basis % 2).astype(np.uint8)
    words.flags.writeable = False
    return words


@functools.cache
def _parities() -> NDArray[np.bool_]:
    """Return whether m & s has an odd number of bits, for all 12-bit m (columns) and s (rows)."""
    numbers = np.arange(GOLAY_WORDS, dtype=np.uint16)
    odd: NDArray[np.bool_] = np.bitwise_count(numbers[:, None] & numbers) % 2 == 1
    return odd


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
    # six temporaries of one float64 per codeword, kept within a processor's cache
    for start, stop in row_blocks(len(points), 6 * 16 * 8 * GOLAY_WORDS):
        block = np.rint(np.asarray(points[start:stop], dtype=np.float64) / GRID) * GRID
        even, even_errors = _nearest_half_leech(block, 0)
        odd, odd_errors = _nearest_half_leech(block, 1)
        nearest[start:stop] = np.where((odd_errors < even_errors)[:, None], odd, even)
    return nearest


def _nearest_half_leech(points: Array, offset: int) -> tuple[Array, Array]:
    """Return (nearest points, squared errors) among the Leech vectors that are all even (0) or all odd (1)."""
    words = golay_codewords()
    # places[c]: the nearest integers that are offset + 2c mod 4; turns[c]: how many times 4 is in them, mod 2
    shifts = np.array([offset, offset + 2])[:, None, None]
    quarters = np.rint((points - shifts) / 4)
    places = shifts + 4 * quarters
    turns = quarters.astype(np.int64) & 1
    gaps = points - places
    errors = gaps**2
    repairs = 16 - 8 * np.abs(gaps)

    sums = (errors[1] - errors[0]) @ words.T.astype(np.float64)
    syndromes = ((turns[0] ^ turns[1]) @ words[1 << np.arange(12)].T & 1) @ (1 << np.arange(12))
    wrong = _parities()[syndromes] ^ ((turns[0].sum(axis=1) & 1) != offset)[:, None]
    rows = np.arange(len(points))
    right = np.where(wrong, np.inf, sums)
    best = right.argmin(axis=1)
    least = right[rows, best]
    # a codeword with the wrong sum wins only if it does so with the cheapest repair of all
    limits = least - repairs.min(axis=(0, 2))
    row, word = np.nonzero(wrong & (sums < limits[:, None]))
    mended = sums[row, word] + np.where(words[word] == 1, repairs[1, row], repairs[0, row]).min(axis=1)
    first = np.lexsort((word, mended, row))
    first = first[np.diff(row[first], prepend=-1) != 0]
    first = first[mended[first] < least[row[first]]]
    best[row[first]] = word[first]
    least[row[first]] = mended[first]

    chosen = words[best] == 1
    nearest = np.where(chosen, places[1], places[0])
    to_mend = row[first]
    costs = np.where(chosen[to_mend], repairs[1, to_mend], repairs[0, to_mend])
    coordinate = costs.argmin(axis=1)
    nearest[to_mend, coordinate] += np.where(points[to_mend, coordinate] < nearest[to_mend, coordinate], -4, 4)
    return nearest, least + errors[0].sum(axis=1)
