"""Compiled k-means (Lloyd, 1982), and the nearest centroid of each point.

`lloyd` and `nearest` are compiled; `reference_lloyd` and `reference_nearest` do the same in NumPy, to the byte. What
float32 leaves open is decided in float64, so that neither the processor nor what was left out changes a centroid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled, loose
from methods.parallel import on_cores, over_rows

Array = NDArray[Any]

Float32 = NDArray[np.float32]

MOST_POINTS = 256
"""Points for each centroid that k-means looks at, as in FAISS: beyond them they are drawn."""

SPLIT = 1 / 1024
"""By how much of their numbers the halves of a split cell's centroid differ from its mean, as in FAISS."""

POINTS = 128
"""Points that are looked at together, side by side in vector instructions."""

DOCS = 1024
"""Documents that are given their codes at a time, which stay in the processor's cache from one part to the next."""

STEP = 8
"""Dimensions that the last pass over the scores adds; vectors are filled up with zeros to a multiple."""

FARTHEST = np.float32(3e38)
"""Half the squared length of what fills up an odd number of centroids, and is no point's nearest."""

LOWEST = np.float32(np.finfo(np.float32).min)


def codebooks(docs: Float32, m: int, size: int, seed: int, iterations: int, start: Float32 | None = None) -> Float32:
    """Return a product quantiser's codebooks, float32 (m, size, d / m), each of k-means on its part of the dimensions.

    They start from FAISS's choice of documents (`Clustering`, Douze et al., 2024), and so end where its do but for
    rounding. Parts are dealt to the processor's cores, which changes nothing.

    Parameters
    ----------
    docs : float32 (n, d)
        At least `size` documents.
    m, size : int
        Parts, and centroids of each.
    seed : int
        Of the choice of documents, at least 0.
    iterations : int
    start : float32 (m, size, d / m) or None
        Codebooks to go on from.
    """
    n, width = len(docs), docs.shape[1] // m
    rows = _permuted(n, seed)[: size * MOST_POINTS] if n > size * MOST_POINTS else np.arange(n)
    first = rows[_permuted(len(rows), seed + 1)[:size]]

    def learned(part: int) -> Float32:
        columns = slice(part * width, (part + 1) * width)
        book = docs[first, columns] if start is None else start[part]
        centroids = np.array(book, dtype=np.float32, order="C")
        lloyd(np.ascontiguousarray(docs[rows, columns], dtype=np.float32), centroids, iterations)
        return centroids

    return np.stack(list(on_cores(learned, ((part,) for part in range(m)))))


def codes(docs: Float32, books: Sequence[Float32], groups: Sequence[Array] | None = None) -> NDArray[np.uint8]:
    """Return the number of each part's nearest centroid, the first of equally near ones, uint8 (n, m).

    Parameters
    ----------
    docs : float32 (n, d)
    books : sequence of float32 (size, w), of length m
        Centroids of each part, at most 256.
    groups : sequence of int64 (w,), of length m, or None
        The dimensions of each part. None: they follow each other.
    """
    ends = np.cumsum([book.shape[1] for book in books])
    parts: Sequence[Any] = groups or [slice(end - len(book.T), end) for book, end in zip(books, ends, strict=True)]
    found = np.empty((len(docs), len(books)), dtype=np.uint8)

    def fill(first: int, last: int) -> None:
        for start in range(first, last, DOCS):
            block = docs[start : min(start + DOCS, last)]
            cells = np.empty(len(block), dtype=np.int64)
            for part, (dims, book) in enumerate(zip(parts, books, strict=True)):
                nearest(np.ascontiguousarray(block[:, dims], dtype=np.float32), book, cells)
                found[start : start + len(block), part] = cells

    over_rows(fill, len(docs), DOCS)
    return found


def _permuted(n: int, seed: int) -> NDArray[np.int32]:
    """Return the numbers below n as FAISS shuffles them."""
    import faiss

    order = np.empty(n, dtype=np.int32)
    library: Any = faiss
    library.rand_perm(library.swig_ptr(order), n, seed)
    return order


@loose
def _two_best(
    block: Array, centroids: Array, halves: Array, sums: Array, best: Array, chosen: Array, others: Array
) -> None:
    """Fill each point's best score, the place of its centroid, and the best score of the others.

    Parameters
    ----------
    block : float32 (w, POINTS)
    centroids, halves : float32 (m, w), (m,)
        Some centroids, an even number, and half their squared lengths: a score is x c - |c|^2 / 2.
    sums : float32 (2, POINTS)
        Scratch.
    best, chosen, others : float32, int32, float32 (POINTS,)
    """
    last = len(block) - STEP
    x0, x1, x2, x3 = block[last], block[last + 1], block[last + 2], block[last + 3]
    x4, x5, x6, x7 = block[last + 4], block[last + 5], block[last + 6], block[last + 7]
    left_sums, right_sums = sums[0], sums[1]
    for point in range(POINTS):
        best[point], chosen[point], others[point] = LOWEST, 0, LOWEST
    # two at a time: what is loaded of the points serves both
    for number in range(0, len(centroids), 2):
        left, right = centroids[number], centroids[number + 1]
        left_half, right_half = halves[number], halves[number + 1]
        for point in range(POINTS):
            left_sums[point], right_sums[point] = -left_half, -right_half
        for place in range(0, last, 4):
            l0, l1, l2, l3 = left[place], left[place + 1], left[place + 2], left[place + 3]
            r0, r1, r2, r3 = right[place], right[place + 1], right[place + 2], right[place + 3]
            w, x, y, z = block[place], block[place + 1], block[place + 2], block[place + 3]
            for point in range(POINTS):
                left_sums[point] += (l0 * w[point] + l1 * x[point]) + (l2 * y[point] + l3 * z[point])
                right_sums[point] += (r0 * w[point] + r1 * x[point]) + (r2 * y[point] + r3 * z[point])
        l0, l1, l2, l3 = left[last], left[last + 1], left[last + 2], left[last + 3]
        l4, l5, l6, l7 = left[last + 4], left[last + 5], left[last + 6], left[last + 7]
        r0, r1, r2, r3 = right[last], right[last + 1], right[last + 2], right[last + 3]
        r4, r5, r6, r7 = right[last + 4], right[last + 5], right[last + 6], right[last + 7]
        for point in range(POINTS):
            one = left_sums[point] + (
                ((l0 * x0[point] + l1 * x1[point]) + (l2 * x2[point] + l3 * x3[point]))
                + ((l4 * x4[point] + l5 * x5[point]) + (l6 * x6[point] + l7 * x7[point]))
            )
            two = right_sums[point] + (
                ((r0 * x0[point] + r1 * x1[point]) + (r2 * x2[point] + r3 * x3[point]))
                + ((r4 * x4[point] + r5 * x5[point]) + (r6 * x6[point] + r7 * x7[point]))
            )
            at = number + 1 if two > one else number
            high, low = two if two > one else one, one if two > one else two
            before = best[point]
            better = high > before
            beaten = before if better else high
            beaten = low if low > beaten else beaten
            others[point] = beaten if beaten > others[point] else others[point]
            chosen[point] = at if better else chosen[point]
            best[point] = high if better else before


@compiled
def _score(point: Array, centroid: Array, half: float) -> Any:
    score = -half
    for place in range(len(point)):
        score += np.float64(point[place]) * np.float64(centroid[place])
    return score


@compiled
def _improve(
    points: Array,
    lengths: Array,
    rows: Array,
    centroids: Array,
    halves: Array,
    among: Array,
    cells: Array,
    reached: Array,
) -> None:
    """Give points the best of their cells' centroids and of those numbered `among`, and fill the scores of these.

    Parameters
    ----------
    points, centroids : float32 (n, w), (k, w)
    lengths : float64 (n,)
        Of the points.
    rows : int64 (r,)
        The points that are looked at.
    halves : float64 (k,)
    among : int64 (m,)
        Ascending.
    cells, reached : int64, float64 (n,)
        Before: each point's cell and its centroid's score; -1 and -inf where it has none.
    """
    if not len(among):
        return
    width = points.shape[1]
    filled = max(STEP, (width + STEP - 1) // STEP * STEP)
    even = (len(among) + 1) // 2 * 2
    some, some_halves = np.zeros((even, filled), np.float32), np.full(even, FARTHEST)
    longest = 0.0
    for at in range(len(among)):
        some[at, :width] = centroids[among[at]]
        some_halves[at] = halves[among[at]]
        longest = max(longest, halves[among[at]])
    reach = np.sqrt(2 * longest)
    block = np.zeros((filled, POINTS), np.float32)
    sums, best, others = np.empty((2, POINTS), np.float32), np.empty(POINTS, np.float32), np.empty(POINTS, np.float32)
    chosen = np.empty(POINTS, np.int32)
    for start in range(0, len(rows), POINTS):
        count = min(POINTS, len(rows) - start)
        for point in range(count):
            for place in range(width):
                block[place, point] = points[rows[start + point], place]
        _two_best(block, some, some_halves, sums, best, chosen, others)
        for point in range(count):
            row = rows[start + point]
            # more than twice the bound (w + 2) u (|x| |c| + |c|^2 / 2) on the error of a score
            slack = (filled + 4) * 2.0**-22 * (lengths[row] * reach + longest)
            number, top, second = among[chosen[point]], np.float64(best[point]), np.float64(others[point])
            if number == cells[row]:
                if top - second > slack:
                    continue
            elif reached[row] - top > slack:
                continue
            elif top - max(second, reached[row]) > slack:
                cells[row], reached[row] = number, _score(points[row], centroids[number], halves[number])
                continue
            for at in range(len(among)):
                score = _score(points[row], centroids[among[at]], halves[among[at]])
                if score > reached[row] or (score == reached[row] and among[at] < cells[row]):
                    cells[row], reached[row] = among[at], score


@compiled
def _lengths(points: Array) -> Array:
    lengths: Array = np.sqrt(2 * _half_squares(points))
    return lengths


@compiled
def nearest(points: Array, centroids: Array, cells: Array) -> None:
    """Fill the number of each point's nearest centroid, the first of equally near ones.

    Parameters
    ----------
    points, centroids : float32 (n, w), (k, w)
    cells : int64 (n,)
    """
    cells[:] = -1
    _improve(
        points,
        _lengths(points),
        np.arange(len(points)),
        centroids,
        _half_squares(centroids),
        np.arange(len(centroids)),
        cells,
        np.full(len(points), -np.inf),
    )


@compiled
def _half_squares(centroids: Array) -> Array:
    halves = np.zeros(len(centroids))
    for number in range(len(centroids)):
        for place in range(centroids.shape[1]):
            halves[number] += np.float64(centroids[number, place]) ** 2
        halves[number] /= 2
    return halves


@compiled
def lloyd(points: Array, centroids: Array, iterations: int) -> int:
    """Move centroids to the means of the points nearest to them; return how many iterations were made.

    It ends early once no point changes its cell. A cell that is left empty takes half of the fullest one. A point
    whose own centroid has not gone away from it is only compared with those that have moved (Kaukoranta, Fränti and
    Nevalainen, 2000).

    Parameters
    ----------
    points : float32 (n, w)
    centroids : float32 (k, w)
        Where they start, and where they are in the end.
    iterations : int
    """
    n, everything, lengths = len(points), np.arange(len(centroids)), _lengths(points)
    cells, reached = np.full(n, -1, np.int64), np.full(n, -np.inf)
    moved = np.ones(len(centroids), np.bool_)
    rows, left = np.empty(n, np.int64), np.empty(n, np.int64)
    for iteration in range(iterations):
        halves, before = _half_squares(centroids), cells.copy()
        near, gone = 0, 0
        for row in range(n):
            cell = cells[row]
            if cell < 0 or not moved[cell]:
                rows[near] = row
                near += 1
                continue
            score = _score(points[row], centroids[cell], halves[cell])
            if score >= reached[row]:
                rows[near] = row
                near += 1
            else:
                left[gone] = row
                gone += 1
            reached[row] = score
        _improve(points, lengths, rows[:near], centroids, halves, np.flatnonzero(moved), cells, reached)
        _improve(points, lengths, left[:gone], centroids, halves, everything, cells, reached)
        if np.array_equal(before, cells):
            return iteration
        _to_means(points, cells, centroids, moved)
    return iterations


@compiled
def _to_means(points: Array, cells: Array, centroids: Array, moved: Array) -> None:
    """Put centroids where the means of their cells are; fill which of them have moved."""
    size, width = centroids.shape
    sums, counts = np.zeros((size, width)), np.zeros(size, np.int64)
    for row in range(len(points)):
        cell = cells[row]
        counts[cell] += 1
        for place in range(width):
            sums[cell, place] += points[row, place]
    for number in range(size):
        for place in range(width):
            sums[number, place] /= max(1, counts[number])
    for number in range(size):
        if not counts[number]:
            fullest = np.argmax(counts)
            for place in range(width):
                mean, apart = sums[fullest, place], SPLIT if place % 2 else -SPLIT
                sums[number, place] = mean * (1 - apart)
                sums[fullest, place] = mean * (1 + apart)
            counts[number] = counts[fullest] // 2
            counts[fullest] -= counts[number]
    for number in range(size):
        moved[number] = False
        for place in range(width):
            mean = np.float32(sums[number, place])
            moved[number] |= mean != centroids[number, place]
            centroids[number, place] = mean


def reference_nearest(points: Array, centroids: Array) -> Array:
    """Return what `nearest` fills, int64 (n,)."""
    wide = centroids.astype(np.float64)
    scores = np.zeros((len(points), len(centroids)))
    for place in range(points.shape[1]):
        scores -= wide[:, place] ** 2
    scores /= 2
    for place in range(points.shape[1]):
        scores += points[:, place, None].astype(np.float64) * wide[:, place]
    cells: Array = scores.argmax(axis=1)
    return cells


def reference_lloyd(points: Array, centroids: Array, iterations: int) -> int:
    """Do what `lloyd` does, with every distance."""
    width, size = points.shape[1], len(centroids)
    cells = np.full(len(points), -1)
    for iteration in range(iterations):
        before, cells = cells, reference_nearest(points, centroids)
        if np.array_equal(before, cells):
            return iteration
        counts = np.bincount(cells, minlength=size)
        sums = np.column_stack([np.bincount(cells, points[:, place], size) for place in range(width)])
        means = sums / np.maximum(1, counts)[:, None]
        apart = np.where(np.arange(width) % 2, SPLIT, -SPLIT)
        for empty in np.flatnonzero(counts == 0):
            fullest = counts.argmax()
            means[empty], means[fullest] = means[fullest] * (1 - apart), means[fullest] * (1 + apart)
            counts[empty] = counts[fullest] // 2
            counts[fullest] -= counts[empty]
        centroids[:] = means
    return iterations
