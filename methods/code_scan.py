"""Scans of documents by their codes, and of some documents by some queries, list by list.

Rough scores (`methods.code_scores`) leave few documents open, which `methods.topk.decided` decodes. The reference is
`methods.topk.search` over decoded documents.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from methods import code_scores
from methods.compiling import compiled
from methods.parallel import over_rows
from methods.selection import dot, replace_worst
from methods.stored_rows import StoredRows
from methods.vector_instructions import STRIDE, any_reaches

Array = NDArray[Any]

QUERIES_PER_THREAD = 8
"""Queries for which a thread of its own is worth its start."""

RUN = 256
"""Documents of a list that are scored by their codes at a time."""


ROUNDING = 2.0**-22
"""Twice the bound on the error of a sum of a few parts, of each unit of their size."""


class Scored(NamedTuple):
    """How a search scores documents by their codes.

    Attributes
    ----------
    form : see `methods.code_scores`
    offsets : methods.code_scores.Own
    longest, largest_offset : float
        Bounds on lengths of what codes stand for, and on sizes of offsets.
    cost : float
        See `methods.code_scores.cost`.
    """

    form: Any
    offsets: code_scores.Own
    longest: float
    largest_offset: float
    cost: float

    @classmethod
    def of(cls, rows: StoredRows, offsets: Array | None = None) -> Self:
        """Take what a codec says of its codes, and a number for each document, float16 or float32 (n,)."""
        form, own = code_scores.form_of(rows), code_scores.own_numbers(offsets)
        return cls(form, own, code_scores.reach(form), code_scores.largest_of(own), code_scores.cost(form))


def scan(
    scored: Scored, asked: Array, probed: Array, indptr: Array, queries: Array, centroids: Array, k: int, spare: int
) -> tuple[Array, Array]:
    """Return the places of all documents that may be among the `k` best of each query in its lists.

    Parameters
    ----------
    scored : Scored
    asked : float32 (m, w)
        Queries as the form scores by them.
    probed, indptr, k : see `scan_codes`
    queries, centroids : float32 (m, d), float32 (lists, d)
        Its `wholes` and `centroids`.
    spare : int
        Places beside k.

    Returns
    -------
    listed, found : int64 (m, k + spare), int64 (m,)
        Of which the first `found` count; -1 where there are more.
    """
    of_asked, of_queries, of_centroids = (
        np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (asked, queries, centroids)
    )
    slack = of_asked * scored.longest + scored.largest_offset + of_queries * of_centroids.max(initial=0)
    listed, found = np.empty((len(queries), k + spare), np.int64), np.empty(len(queries), np.int64)
    wholes = np.ascontiguousarray(queries)

    def work(start: int, stop: int) -> None:
        own = slice(start, stop)
        scan_codes(
            scored.form,
            asked[own],
            probed[own],
            indptr,
            wholes[own],
            centroids,
            scored.offsets,
            ROUNDING * slack[own],
            k,
            listed[own],
            found[own],
        )

    over_rows(work, len(queries), QUERIES_PER_THREAD)
    return listed, found


@compiled
def enter_some(
    queries: Array,
    chosen: Array,
    docs: Array,
    same: Array,
    own: Array,
    ids: Array,
    rough: Array,
    margin: Array,
    scores: Array,
    rows: Array,
) -> None:
    """Let documents enter the heaps of the queries that look at them; see `methods.selection.enter`.

    Parameters
    ----------
    queries : float32 (m, d + s + o)
    chosen : int64 (c,)
        Which queries.
    docs, ids : float32 (n, d), int64 (n,)
    same : float32 (s,)
        What all of them have in the next dimensions.
    own : float32 (n, o)
        What each has after that.
    rough : float32 (c, n)
        Scores with errors of at most `margin` / 2.
    margin : float64 (c,)
    scores, rows : float32 (m, k), int64 (m, k)
        Heaps, changed in place; an empty place has the score -inf and the highest row number there is.
    """
    n, d = rough.shape[1], docs.shape[1]
    last = d + len(same)
    beside = queries.shape[1] > d
    whole = np.empty(queries.shape[1], np.float32)
    if beside:
        whole[d:last] = same
    for place in range(len(chosen)):
        query = chosen[place]
        heap, heap_rows, line = scores[query], rows[query], rough[place]
        limit = np.float32(np.float64(heap[0]) - margin[place])
        for start in range(0, n, STRIDE):
            if start + STRIDE <= n and not any_reaches(line, start, limit):
                continue
            run = line[start : start + STRIDE]
            for at in range(len(run)):
                if run[at] >= limit:
                    if beside:
                        whole[:d], whole[last:] = docs[start + at], own[start + at]
                        score = np.float32(dot(queries[query], whole))
                    else:
                        score = np.float32(dot(queries[query], docs[start + at]))
                    row = ids[start + at]
                    if score > heap[0] or (score == heap[0] and row < heap_rows[0]):
                        replace_worst(heap, heap_rows, score, row)
                        limit = np.float32(np.float64(heap[0]) - margin[place])


@compiled
def scan_codes(
    form: Any,
    queries: Array,
    probed: Array,
    indptr: Array,
    wholes: Array,
    centroids: Array,
    offsets: code_scores.Own,
    slack: Array,
    k: int,
    listed: Array,
    found: Array,
) -> None:
    """Fill the stored places of all documents that may be among the `k` best of each query in its lists.

    Parameters
    ----------
    form : documents, or what is left of them, see `methods.code_scores`
    queries : float32 (m, w)
        As the form scores by them.
    probed : int64 (m, nprobe)
        The lists of each query.
    indptr : int64 (lists + 1,)
        Where each list begins.
    wholes, centroids : float32 (m, d), float32 (lists, d)
        Queries as they meet centroids, whose products are part of scores; (0, d) where no centroid is.
    offsets : methods.code_scores.Own
        A part of each document's score, or empty.
    slack : float64 (m,)
        How far off a sum of these parts may be, besides what the form is.
    k : int
    listed : int64 (m, width)
        Of which the first `found` are filled.
    found : int64 (m,)
        How many; -1 where there are more than `width`.
    """
    prepared = code_scores.room(form)
    places, near = np.empty(RUN, np.int64), np.empty(RUN)
    heap, heap_places = np.empty(k), np.empty(k, np.int64)
    width = listed.shape[1]
    values = np.empty(width)
    for query in range(len(queries)):
        code_scores.prepare(form, queries[query], prepared)
        gap = 2 * (prepared.numbers[code_scores.ERROR] + slack[query])
        heap[:], heap_places[:] = -np.inf, -1
        limit, held, line = -np.inf, 0, listed[query]
        for turn in range(probed.shape[1]):
            number = probed[query, turn]
            beside = dot(wholes[query], centroids[number]) if len(centroids) else 0.0
            for start in range(indptr[number], indptr[number + 1], RUN):
                count = min(RUN, indptr[number + 1] - start)
                for at in range(count):
                    places[at] = start + at
                code_scores.score(form, prepared, places, count, near)
                for at in range(count):
                    near[at] += beside
                if len(offsets.whole) or len(offsets.half):
                    for at in range(count):
                        near[at] += code_scores.own_number(offsets, start + at)
                for at in range(count):
                    value = near[at]
                    if value < limit or held < 0:
                        continue
                    if value > heap[0]:
                        replace_worst(heap, heap_places, value, start + at)
                        limit = heap[0] - gap
                    if held == width:
                        held = keep(line, values, held, limit)
                    if held == width:
                        held = -1
                    else:
                        line[held], values[held] = start + at, value
                        held += 1
        found[query] = keep(line, values, held, limit) if held >= 0 else -1


@compiled
def keep(places: Array, values: Array, held: int, limit: float) -> int:
    """Move those of the first `held` places whose values reach a limit to the front; return how many."""
    kept = 0
    for at in range(held):
        if values[at] >= limit:
            places[kept], values[kept] = places[at], values[at]
            kept += 1
    return kept
