"""Compiled reading, writing and scanning of product codes: one table a byte, one row of it for each of 256 values.

The references are `transform_code.nearest_centroids`, and NumPy's indexing of each table by a column of codes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled, loose

Array = NDArray[Any]

VALUES = 256
"""Rows of a table."""

RUNS = 16
"""Every so manieth centroid makes a run, and most runs hold none that comes near the best."""

DOCS = 64
"""Documents that are assigned to one table's rows at a time, which stay in the processor's cache beside it."""


class Layout(NamedTuple):
    """A product code's tables as arrays.

    Attributes
    ----------
    starts : int64 (bytes + 1,)
        Where each byte's dimensions begin in `dims`.
    dims : int64 (w,)
        The dimensions that bytes stand for, byte after byte.
    tables : float32 (256 * w,)
        The centroids of each byte, (256, its dimensions), one after another.
    columns : float32 (w, 256)
        The same by dimension.
    """

    starts: Array
    dims: Array
    tables: Array
    columns: Array


def layout(groups: list[Array], centroids: Array) -> Layout:
    """Return the layout of each byte's dimensions, int64 (w',), and centroids, float32 (256 w,), which are kept."""
    return Layout(
        starts=np.cumsum([0, *map(len, groups)]),
        dims=np.concatenate(groups).astype(np.int64),
        tables=centroids,
        columns=np.concatenate([table.T for table in tables_of(groups, centroids)]),
    )


def tables_of(groups: list[Array], centroids: Array) -> list[Array]:
    """Return each byte's centroids, float32 (256, w'), as views of all of them, one byte's after another's."""
    ends = np.cumsum([len(dims) * VALUES for dims in groups])[:-1]
    return [table.reshape(VALUES, -1) for table in np.split(centroids, ends)]


def half_squares(tables: list[Array]) -> Array:
    """Return half the squared length of each centroid, float64 (bytes, 256)."""
    return np.stack([np.einsum("ij,ij->i", table, table, dtype=np.float64) / 2 for table in tables])


@compiled
def decode(packed: Array, layout: Layout, decoded: Array) -> None:
    """Fill the dimensions that bytes stand for, of float32 (n, d), from codes uint8 (n, bytes)."""
    starts, dims, tables, _ = layout
    for row in range(len(packed)):
        for byte in range(packed.shape[1]):
            first, last = starts[byte], starts[byte + 1]
            at = first * VALUES + np.int64(packed[row, byte]) * (last - first)
            for place in range(first, last):
                decoded[row, dims[place]] = tables[at]
                at += 1


@loose
def _rough_scores(values: Array, columns: Array, first: int, minus: Array, scores: Array, tops: Array) -> Any:
    """Fill each centroid's product with a document's values less `minus`, and the best of each run; return the best.

    Four dimensions are added at a time: a sum that waits in memory for each of them costs as much as the products. Of
    the bests the first `RUNS` are of use.
    """
    width = len(values)
    head, two, three, four = (width - 1) % 4 + 1, min(1, width - 1), min(2, width - 1), min(3, width - 1)
    p, q, r, s = values[0], values[two], values[three], values[four]
    one_of, two_of, three_of, four_of = (
        columns[first],
        columns[first + two],
        columns[first + three],
        columns[first + four],
    )
    if head == 1:
        for number in range(VALUES):
            scores[number] = p * one_of[number] - minus[number]
    elif head == 2:
        for number in range(VALUES):
            scores[number] = p * one_of[number] + q * two_of[number] - minus[number]
    elif head == 3:
        for number in range(VALUES):
            scores[number] = p * one_of[number] + q * two_of[number] + r * three_of[number] - minus[number]
    else:
        for number in range(VALUES):
            sums = p * one_of[number] + q * two_of[number] + r * three_of[number] + s * four_of[number]
            scores[number] = sums - minus[number]
    for place in range(head, width, 4):
        p, q, r, s = values[place], values[place + 1], values[place + 2], values[place + 3]
        at = first + place
        one_of, two_of, three_of, four_of = columns[at], columns[at + 1], columns[at + 2], columns[at + 3]
        for number in range(VALUES):
            scores[number] += p * one_of[number] + q * two_of[number] + r * three_of[number] + s * four_of[number]
    left = VALUES // 2
    for number in range(VALUES // 2):
        tops[number] = scores[left + number] if scores[left + number] > scores[number] else scores[number]
    while left > RUNS:
        left //= 2
        for number in range(left):
            tops[number] = tops[left + number] if tops[left + number] > tops[number] else tops[number]
    best = tops[0]
    for run in range(RUNS):
        best = tops[run] if tops[run] > best else best
    return best


@compiled
def assign(docs: Array, layout: Layout, half_squares: Array, packed: Array) -> None:
    """Fill the nearest centroid of each byte, uint8 (n, bytes), of documents float32 (n, d); see `half_squares`.

    What float32 leaves open is decided in float64; of equally near ones the first is taken.
    """
    starts, dims, _, columns = layout
    scores, minus, tops = (
        np.empty(VALUES, np.float32),
        np.empty(VALUES, np.float32),
        np.empty(VALUES // 2, np.float32),
    )
    values = np.empty(len(dims), np.float32)
    for start in range(0, len(docs), DOCS):
        for byte in range(len(starts) - 1):
            first, width = starts[byte], starts[byte + 1] - starts[byte]
            halves, part = half_squares[byte], values[:width]
            longest = 0.0
            for number in range(VALUES):
                minus[number] = halves[number]
                longest = max(longest, halves[number])
            for row in range(start, min(len(docs), start + DOCS)):
                square = 0.0
                for place in range(width):
                    part[place] = docs[row, dims[first + place]]
                    square += np.float64(part[place]) ** 2
                best = _rough_scores(part, columns, first, minus, scores, tops)
                # twice the bound (w + 2) u (|x| |c| + |c|^2 / 2) on the error of a score
                limit = np.float32(best - (width + 4) * 2.0**-22 * (np.sqrt(2 * square * longest) + longest))
                chosen, most = 0, -np.inf
                for run in range(RUNS):
                    if tops[run] < limit:
                        continue
                    for number in range(run, VALUES, RUNS):
                        if scores[number] >= limit:
                            score = -halves[number]
                            for place in range(width):
                                score += np.float64(part[place]) * np.float64(columns[first + place, number])
                            if score > most or (score == most and number < chosen):
                                chosen, most = number, score
                packed[row, byte] = chosen
