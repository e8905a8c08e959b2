"""Compiled walks through graphs of documents, and Vamana's construction.

Searches walk over codes as `methods.code_scores` scores them; Vamana is made of float32 documents, by inner
products summed in float64 in an order that is the same on every machine (`methods.selection.dot`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods import code_scores
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


class LinkTables(NamedTuple):
    """A graph as a walk reads it.

    Attributes
    ----------
    lowest : int32 (n, r)
        Neighbours of each document; -1 ends a row that has fewer.
    nodes : int32 (u,)
        Documents of the levels above, ascending; none in a graph of one level.
    first : int32 (u,)
        The row of such a document's links on level 1; those of the next level are in the next row.
    upper : int32 (rows, s)
        Neighbours on these levels.
    entry, top : int
        Where walks begin: a document of the highest level, and that level.
    """

    lowest: Array
    nodes: Array
    first: Array
    upper: Array
    entry: int
    top: int


@compiled
def descend(form: Any, prepared: Any, graph: LinkTables, fresh: Array, fresh_scores: Array) -> tuple[int, int]:
    """Return where a query enters the lowest level, and how many documents were scored for that.

    On each level above it, a walk goes to the document that no neighbour betters. `fresh` and `fresh_scores` are room
    for the neighbours of one, int64 and float64.
    """
    nodes, first, upper, best, scored = graph.nodes, graph.first, graph.upper, graph.entry, 0
    if graph.top == 0:
        return best, scored
    fresh[0] = best
    code_scores.score(form, prepared, fresh, 1, fresh_scores)
    found, scored = fresh_scores[0], 1
    for level in range(graph.top, 0, -1):
        moved = True
        while moved:
            moved = False
            row, count = first[np.searchsorted(nodes, best)] + level - 1, 0
            while count < upper.shape[1] and upper[row, count] >= 0:
                fresh[count] = upper[row, count]
                count += 1
            code_scores.score(form, prepared, fresh, count, fresh_scores)
            scored += count
            for place in range(count):
                if fresh_scores[place] > found:
                    best, found, moved = fresh[place], fresh_scores[place], True
    return best, scored


ROWS = 0x7FFFFFFF
"""The largest row number, and the bits of a float32 besides its sign."""


@compiled
def key_of(score: float, row: int) -> Any:
    """Return a whole number by which unread documents stand in order: the score descending, then the row ascending.

    From the highest bit: the bits of the float32, as a number of the same order; the row, counted down; 1 for unread.
    """
    # of the two zeros the one
    bits = np.int64(np.float32(score + 0.0).view(np.int32))
    return (bits if bits >= 0 else bits ^ ROWS) << 32 | np.int64(ROWS - row) << 1 | 1


@compiled
def row_of(key: int) -> int:
    """Return the row in a key."""
    return ROWS - ((key & 0xFFFFFFFF) >> 1)


@compiled
def score_of(key: int) -> Any:
    """Return the score in a key, float32."""
    bits = key >> 32
    return np.int32(bits if bits >= 0 else bits ^ ROWS).view(np.float32)


@compiled
def walk(
    form: Any,
    prepared: Any,
    links: Array,
    start: int,
    keys: Array,
    seen: Array,
    stamp: Any,
    fresh: Array,
    fresh_scores: Array,
) -> tuple[int, int]:
    """Search a graph best first: read the best unread document of a list, score its neighbours, until all are read.

    Parameters
    ----------
    form, prepared : documents and a query, see `methods.code_scores`
    links : int32 (n, r)
        See `LinkTables`.
    start : int
    keys : int64 (ef,)
        The list, filled in order: the best `ef` documents seen, see `key_of`.
    seen : uint8 (n,)
        Where a document's entry is `stamp`, this query has scored it.
    stamp : uint8
    fresh, fresh_scores : int64, float64 (r,)
        Room for the neighbours that are new.

    Returns
    -------
    int, int
        Documents in the list, and documents scored.
    """
    most, room = links.shape[1], len(keys)
    fresh[0] = start
    code_scores.score(form, prepared, fresh, 1, fresh_scores)
    keys[0] = key_of(fresh_scores[0], start)
    seen[start] = stamp
    held, scored, at = 1, 1, 0
    while at < held:
        if not keys[at] & 1:
            at += 1
            continue
        row = row_of(keys[at])
        keys[at] -= 1
        count = 0
        for position in range(most):
            other = np.intp(links[row, position])
            if other < 0:
                break
            if seen[other] != stamp:
                seen[other] = stamp
                fresh[count] = other
                count += 1
        code_scores.score(form, prepared, fresh, count, fresh_scores)
        scored += count
        first = at + 1
        for position in range(count):
            key = key_of(fresh_scores[position], fresh[position])
            if held < room:
                held += 1
            elif key < keys[held - 1]:
                continue
            place = held - 1
            while place > 0 and keys[place - 1] < key:
                keys[place] = keys[place - 1]
                place -= 1
            keys[place] = key
            first = min(first, place)
        at = first
    return held, scored


@compiled
def search(
    form: Any,
    queries: Array,
    graph: LinkTables,
    ef: int,
    k: int,
    listed: Array,
    found: Array,
    scored: Array,
) -> None:
    """Fill the documents that a walk of each query finds: all that may be among its `k` best, and how many.

    Parameters
    ----------
    form : documents, see `methods.code_scores`
    queries : float32 (m, d)
    graph : LinkTables
    ef : int
        Length of the list of a walk.
    k : int
    listed : int64 (m, ef)
        Their rows in the order of the scores, of which the first `found` are filled.
    found, scored : int64 (m,)
        Filled: how many, and how many documents were scored.
    """
    lowest, keys = graph.lowest, np.empty(ef, np.int64)
    seen = np.zeros(len(lowest), np.uint8)
    most = max(1, lowest.shape[1], graph.upper.shape[1])
    fresh, fresh_scores = np.empty(most, np.int64), np.empty(most)
    prepared = code_scores.room(form)
    stamp = 0
    for query in range(len(queries)):
        if stamp == 255:
            seen[:] = 0
            stamp = 0
        stamp += 1
        code_scores.prepare(form, queries[query], prepared)
        start, before = descend(form, prepared, graph, fresh, fresh_scores)
        held, work = walk(form, prepared, lowest, start, keys, seen, np.uint8(stamp), fresh, fresh_scores)
        scored[query] = before + work
        kept = min(k, held)
        least = np.float64(score_of(keys[kept - 1])) - 2 * prepared.numbers[code_scores.ERROR]
        while kept < held and np.float64(score_of(keys[kept])) >= least:
            kept += 1
        for place in range(kept):
            listed[query, place] = row_of(keys[place])
        found[query] = kept


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
