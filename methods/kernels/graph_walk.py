"""Compiled walks through graphs of documents, and Vamana's construction.

Graphs are rows of links: `indptr` int64 (n + 1,), and `links` int64. Scores are inner products, float64 rounded once to
float32, in an order of sums that is the same on every machine (`methods.selection.dot`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled
from methods.selection import dot

Array = NDArray[Any]


@compiled
def place_in(scores: Array, rows: Array, held: int, score: Any, row: int) -> int:
    """Return where a document belongs in a list of `held`: the score descending, then the row ascending."""
    low, high = 0, held
    while low < high:
        middle = (low + high) // 2
        if scores[middle] > score or (scores[middle] == score and rows[middle] < row):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def shift_in(scores: Array, rows: Array, open_: Array, held: int, place: int, score: Any, row: int) -> int:
    """Put an unread document at a place of a list, whose last one falls out if it is full; return the new length."""
    last = min(held, len(scores) - 1)
    for at in range(last, place, -1):
        scores[at], rows[at], open_[at] = scores[at - 1], rows[at - 1], open_[at - 1]
    scores[place], rows[place], open_[place] = score, row, True
    return last + 1


@compiled
def walk(
    query: Array,
    docs: Array,
    indptr: Array,
    links: Array,
    start: int,
    scores: Array,
    rows: Array,
    open_: Array,
    seen: Array,
    stamp: Any,
) -> tuple[int, int]:
    """Search a graph best first: read the best unread document of a list, score its neighbours, until all are read.

    Parameters
    ----------
    query, docs : float32 (d,), (n, d)
    indptr, links : the graph
    start : int
    scores, rows, open_ : float32, int64, bool (ef,)
        The list, filled in order: the best `ef` documents seen.
    seen : uint32 (n,)
        Where a document's entry is `stamp`, this query has scored it.
    stamp : uint32

    Returns
    -------
    int, int
        Documents in the list, and documents scored.
    """
    scores[0], rows[0], open_[0] = np.float32(dot(query, docs[start])), start, True
    seen[start] = stamp
    held, scored, at = 1, 1, 0
    while at < held:
        if not open_[at]:
            at += 1
            continue
        open_[at] = False
        row = rows[at]
        first = at + 1
        for position in range(indptr[row], indptr[row + 1]):
            other = links[position]
            if seen[other] == stamp:
                continue
            seen[other] = stamp
            scored += 1
            score = np.float32(dot(query, docs[other]))
            place = place_in(scores, rows, held, score, other)
            if place < len(scores):
                held = shift_in(scores, rows, open_, held, place, score, other)
                first = min(first, place)
        at = first
    return held, scored


@compiled
def search(
    queries: Array,
    docs: Array,
    indptr: Array,
    links: Array,
    starts: Array,
    ef: int,
    out_scores: Array,
    out_rows: Array,
    scored: Array,
) -> None:
    """Fill the best documents that a walk from each query's start finds, float32 and int64 (m, k), and add its work.

    Where there are fewer, scores are -inf and rows -1. `scored`, int64 (m,), grows by the documents scored.
    """
    k = out_scores.shape[1]
    scores, rows, open_ = np.empty(ef, np.float32), np.empty(ef, np.int64), np.empty(ef, np.bool_)
    seen = np.zeros(len(docs), np.uint32)
    for query in range(len(queries)):
        held, work = walk(
            queries[query], docs, indptr, links, starts[query], scores, rows, open_, seen, np.uint32(query + 1)
        )
        scored[query] += work
        found = min(k, held)
        out_scores[query, :found], out_rows[query, :found] = scores[:found], rows[:found]
        out_scores[query, found:], out_rows[query, found:] = -np.inf, -1


@compiled
def descend(
    queries: Array,
    docs: Array,
    first: Array,
    indptr: Array,
    links: Array,
    entry: int,
    top: int,
    starts: Array,
    scored: Array,
) -> None:
    """Fill where each query enters the lowest level: on each level above it, the document that no neighbour betters.

    Parameters
    ----------
    queries, docs : float32 (m, d), (n, d)
    first : int64 (n,)
        The row of a document's links on level 1; those of the next level are in the next row.
    indptr, links : the links of all levels above 0
    entry, top : int
        A document of the highest level, and that level.
    starts, scored : int64 (m,)
        Filled; the documents scored are added.
    """
    for query in range(len(queries)):
        vector = queries[query]
        best, score = entry, np.float32(dot(vector, docs[entry]))
        if top > 0:
            scored[query] += 1
        for level in range(top, 0, -1):
            moved = True
            while moved:
                moved = False
                row = first[best] + level - 1
                for position in range(indptr[row], indptr[row + 1]):
                    other = links[position]
                    found = np.float32(dot(vector, docs[other]))
                    scored[query] += 1
                    if found > score:
                        best, score, moved = other, found, True
        starts[query] = best


@compiled
def prune(docs: Array, squares: Array, row: int, near: Array, count: int, alpha: float, out: Array) -> int:
    """Fill the neighbours that Vamana keeps of `count` candidates, and return their number (algorithm 2, RobustPrune).

    A candidate p' is dropped where a kept one p* has alpha d(p*, p') <= d(p, p').

    Parameters
    ----------
    docs, squares : float32 (n, d), float64 (n,)
        Squared lengths.
    row : int
        p.
    near : int64 (c,)
        Candidates, p not among them; changed.
    alpha : float
    out : int32 (r,)
    """
    gaps = np.empty(count)
    for place in range(count):
        other = near[place]
        gaps[place] = max(0.0, squares[row] + squares[other] - 2 * dot(docs[row], docs[other]))
    order = np.argsort(gaps, kind="mergesort")
    dropped = np.zeros(count, np.bool_)
    kept = 0
    for first in range(count):
        one = order[first]
        if dropped[one]:
            continue
        out[kept] = near[one]
        kept += 1
        if kept == len(out):
            break
        for second in range(first + 1, count):
            two = order[second]
            if not dropped[two]:
                gap = squares[near[one]] + squares[near[two]] - 2 * dot(docs[near[one]], docs[near[two]])
                # squares of distances
                dropped[two] = alpha * alpha * max(0.0, gap) <= gaps[two]
    return kept


@compiled
def approach(
    docs: Array,
    squares: Array,
    links: Array,
    degrees: Array,
    start: int,
    row: int,
    scores: Array,
    rows: Array,
    open_: Array,
    seen: Array,
    stamp: Any,
    read: Array,
) -> tuple[int, int]:
    """Walk towards a document by Euclidean distance: the nearest v to u has the largest 2 <u, v> - |v|^2.

    Parameters
    ----------
    docs, squares : float32 (n, d), float64 (n,)
    links, degrees : int32 (n, r), int64 (n,)
    start, row : int
        From where, and towards which document.
    scores, rows, open_ : float64, int64, bool (ef,)
        The list, filled with the nearest documents that were seen, in order.
    seen, stamp : as in `walk`
    read : int64 (n,)
        Filled with the documents whose links were read.

    Returns
    -------
    int, int
        Documents in the list, and documents read.
    """
    scores[0] = 2 * dot(docs[row], docs[start]) - squares[start]
    rows[0], open_[0] = start, True
    seen[start] = stamp
    held, at, count = 1, 0, 0
    while at < held:
        if not open_[at]:
            at += 1
            continue
        open_[at] = False
        current = rows[at]
        read[count] = current
        count += 1
        first = at + 1
        for position in range(degrees[current]):
            other = links[current, position]
            if seen[other] == stamp:
                continue
            seen[other] = stamp
            score = 2 * dot(docs[row], docs[other]) - squares[other]
            place = place_in(scores, rows, held, score, other)
            if place < len(scores):
                held = shift_in(scores, rows, open_, held, place, score, other)
                first = min(first, place)
        at = first
    return held, count


@compiled
def build_vamana(
    docs: Array,
    squares: Array,
    order: Array,
    start: int,
    alpha: float,
    ef: int,
    most: int,
    links: Array,
    degrees: Array,
) -> None:
    """Improve a graph by one pass over its documents (algorithm 3): walk to each, prune what was read, link back.

    Parameters
    ----------
    docs, squares : float32 (n, d), float64 (n,)
    order : int64 (n,)
        In which the documents are inserted.
    start : int
        Where walks begin.
    alpha : float
    ef : int
        Length of the list of a walk.
    most : int
        Links that a document may have.
    links, degrees : int32 (n, at least most), int64 (n,)
        The graph, changed in place.
    """
    n = len(docs)
    scores, rows, open_ = np.empty(ef, np.float64), np.empty(ef, np.int64), np.empty(ef, np.bool_)
    seen = np.zeros(n, np.uint32)
    read, near = np.empty(n, np.int64), np.empty(n + most, np.int64)
    kept, back = np.empty(most, np.int32), np.empty(most + 1, np.int64)
    for turn in range(n):
        row = order[turn]
        _, count = approach(
            docs, squares, links, degrees, start, row, scores, rows, open_, seen, np.uint32(turn + 1), read
        )
        # what was read, and the neighbours so far
        many = 0
        for place in range(count):
            if read[place] != row:
                near[many] = read[place]
                many += 1
        for position in range(degrees[row]):
            other = links[row, position]
            known = False
            for place in range(count):
                known |= read[place] == other
            if not known:
                near[many] = other
                many += 1
        degrees[row] = prune(docs, squares, row, near, many, alpha, kept)
        links[row, : degrees[row]] = kept[: degrees[row]]
        for position in range(degrees[row]):
            other = links[row, position]
            linked = False
            for place in range(degrees[other]):
                linked |= links[other, place] == row
            if linked:
                continue
            if degrees[other] < most:
                links[other, degrees[other]] = row
                degrees[other] += 1
                continue
            for place in range(most):
                back[place] = links[other, place]
            back[most] = row
            degrees[other] = prune(docs, squares, other, back, most + 1, alpha, kept)
            links[other, : degrees[other]] = kept[: degrees[other]]


@compiled
def mark(links: Array, degrees: Array, row: int, reached: Array, stack: Array) -> None:
    """Mark a document and all that links lead to from it, bool (n,); `stack` is int64 (n,), for use here."""
    reached[row] = True
    stack[0] = row
    waiting = 1
    while waiting:
        waiting -= 1
        current = stack[waiting]
        for position in range(degrees[current]):
            other = links[current, position]
            if not reached[other]:
                reached[other] = True
                stack[waiting] = other
                waiting += 1


@compiled
def connect(docs: Array, squares: Array, start: int, ef: int, links: Array, degrees: Array) -> int:
    """Link each document that no walk from the start reaches, and return how many links that took.

    The link is from the nearest document with room that a walk towards it finds, or else the first one that is reached
    and has room; every document must have room for one more link.

    Parameters
    ----------
    docs, squares : float32 (n, d), float64 (n,)
    start, ef : int
        Where walks begin, and the length of their lists.
    links, degrees : int32 (n, r), int64 (n,)
        The graph, changed in place.
    """
    n, most = links.shape
    scores, rows, open_ = np.empty(ef, np.float64), np.empty(ef, np.int64), np.empty(ef, np.bool_)
    seen, read, stack = np.zeros(n, np.uint32), np.empty(n, np.int64), np.empty(n, np.int64)
    reached = np.zeros(n, np.bool_)
    mark(links, degrees, start, reached, stack)
    added = 0
    for row in range(n):
        if reached[row]:
            continue
        added += 1
        held, _ = approach(docs, squares, links, degrees, start, row, scores, rows, open_, seen, np.uint32(added), read)
        place = 0
        while place < held and degrees[rows[place]] == most:
            place += 1
        if place < held:
            source = rows[place]
        else:
            source = 0
            while not reached[source] or degrees[source] == most:
                source += 1
        links[source, degrees[source]] = row
        degrees[source] += 1
        mark(links, degrees, row, reached, stack)
    return added
