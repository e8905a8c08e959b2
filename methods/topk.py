"""Exact top-k by inner product, with ties and rounding under control.

A float32 matrix product rounds differently with the shape of the operands, so the same document can get two scores
that differ in the last bit, and then equal documents no longer tie and a ranking depends on how it was chunked. Here
the float32 product only *nominates*: everything within its error bound of the k-th best is scored again in float64 and
rounded once. Equal vectors get equal scores, whatever the block, the thread count or the BLAS.

Order everywhere: score descending, then row ascending. With documents kept in descending id order that is the order in
which trec_eval ranks ties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.parallel import over_rows

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

QUERY_BLOCK = 1024
"""Queries multiplied at a time, so that the product with a block of documents stays small."""

QUERIES_PER_THREAD = 8
"""Queries for which a thread of its own is worth its start."""

LEAST_TAIL = 16
"""Dimensions from which on it is worth while to multiply a tail as one."""

TINY = 1e-20
"""Tails of numbers below this are multiplied as they are."""

PIECE_BYTES = 16 << 20
"""Documents are multiplied in pieces of at most about this many bytes."""

LISTED_BYTES = 4 << 20
"""Documents that rough scores leave open are decoded in blocks of about this many."""

NO_ROW = np.iinfo(np.int64).max
"""Row number of an empty place, which loses to every document."""


def _loops() -> ModuleType:
    """Return the compiled loops; numba takes a while to import."""
    from methods import selection

    return selection


def search(
    queries: Float32, blocks: Iterable[tuple[int, Float32]], k: int, tail: Float32 | None = None
) -> tuple[Float32, Int64]:
    """Return the `k` best rows of each query over blocks of documents.

    Parameters
    ----------
    queries : float32 (m, d)
    blocks : iterable of (first row number, float32 (rows, d))
        Consumed once, so that each block may be decoded just before use.
    k : int
        At most the number of documents in all blocks.
    tail : float32 (t,) or None
        What the last dimensions of every document are, up to a factor of each document: they are then multiplied as
        one. The result is the same.

    Returns
    -------
    scores : float32 (m, k), rows : int64 (m, k)
    """
    m = len(queries)
    scores, rows = np.full((m, k), -np.inf, dtype=np.float32), np.full((m, k), NO_ROW, dtype=np.int64)
    queries = np.ascontiguousarray(queries)
    near = queries if tail is None else _with_tail_as_one(queries, tail)
    from methods.byte_scores import ByteScores  # numba takes a while to import

    by_bytes, each = ByteScores.of(queries, near, k), rounding_margin(queries, 1.0)
    for first, docs in _pieces(blocks):
        longest = _loops().longest(docs)
        margin = each * longest
        if by_bytes is not None and by_bytes.are_worth_while(docs, longest) and np.isfinite(margin).all():
            by_bytes.enter(docs, first, margin / 2, scores, rows)
            continue
        for start in range(0, m, QUERY_BLOCK):
            part = slice(start, min(m, start + QUERY_BLOCK))
            _enter(queries[part], near[part], docs, margin[part], first, scores[part], rows[part])
    return ordered(scores, rows, k)


def _pieces(blocks: Iterable[tuple[int, Float32]]) -> Iterator[tuple[int, Float32]]:
    """Yield blocks in C order, and large ones in pieces: the products of all documents at once may fill the memory."""
    for first, docs in blocks:
        step = max(1, PIECE_BYTES // (4 * max(1, docs.shape[1])))
        for start in range(0, len(docs), step):
            yield first + start, np.ascontiguousarray(docs[start : start + step])


def _with_tail_as_one(queries: Float32, tail: Float32) -> Float32:
    """Return queries for the first dimensions of documents: the last of these stands for the tail that follows, too.

    Two roundings are added to each product, and `LEAST_TAIL` at least are left out, so that `rounding_margin` for all
    dimensions still holds.
    """
    sizes = np.abs(tail)
    largest = float(sizes.max(initial=0.0))
    start = queries.shape[1] - len(tail)
    if len(tail) < LEAST_TAIL or 0 < largest < TINY:
        return queries
    if largest == 0:
        return np.ascontiguousarray(queries[:, :start])
    # what is divided by lies far above what loses bits when a factor makes it smaller
    first = int(np.argmax(sizes >= largest / 1024))
    if len(tail) - first < LEAST_TAIL:
        return queries
    part = queries[:, start + first :].astype(np.float64) @ tail[first:].astype(np.float64)
    along = (part / float(tail[first])).astype(np.float32)
    return np.hstack([queries[:, : start + first], along[:, None]])


def _enter(
    queries: Float32,
    near: Float32,
    docs: Float32,
    margin: NDArray[np.float64],
    first: int,
    scores: Float32,
    rows: Int64,
) -> None:
    """Let documents enter the heaps of queries, which `near` are nearly the same as."""
    rough = near @ docs[:, : near.shape[1]].T

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        off = margin[part] / 2
        _loops().enter(queries[part], docs, rough[part], off, off, first, scores[part], rows[part])

    over_rows(work, len(queries), QUERIES_PER_THREAD)


def search_scored(
    m: int,
    blocks: Iterable[tuple[int, slice, Float32]],
    exact: Callable[[Int64, Int64], Float32],
    margin: NDArray[np.float64],
    k: int,
) -> tuple[Float32, Int64]:
    """Return the `k` best rows of each query where something else than a matrix product made the rough scores.

    Parameters
    ----------
    m : int
        Queries.
    blocks : iterable of (first row number, which queries, rough scores as float32 (rows, queries))
    exact : callable
        Scores of pairs (query numbers, row numbers), float32. Asked once, for the few that are left at the end.
    margin : float64 (m,)
        Twice the largest error of a rough score of each query.
    k : int
        Length of each query's list, at most the number of documents in all blocks.
    """
    candidates = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    floor = np.full(m, -np.inf)
    pending: list[Pairs] = []
    for first, part, rough in blocks:
        least = floor[part]
        if len(rough) >= k and not np.isfinite(least).all():
            least = np.maximum(least, np.partition(rough, -k, axis=0)[-k].astype(np.float64))
        doc_ids, query_ids = np.nonzero(rough >= (least - margin[part]).astype(np.float32))
        pending.append(Pairs(query_ids + part.start, doc_ids + first, rough[doc_ids, query_ids]))
        # sorting the lists for every handful of newcomers would take longer than finding them
        if sum(len(pairs.owner) for pairs in pending) > m * k // 2:
            candidates, floor = _prune(_concatenated([candidates, *pending]), margin, k)
            pending = []
            if len(candidates.owner) > 4 * m * k:
                # degenerate data (a great many ties): decide between them now, or all of them will be kept
                candidates = _best(candidates, exact, m, k)
    candidates, _ = _prune(_concatenated([candidates, *pending]), margin, k)
    best = _best(candidates, exact, m, k)
    return best.value.reshape(m, k), best.row.reshape(m, k)


class Pairs(NamedTuple):
    """Pairs of a query and a document: owner int64 (p,), row int64 (p,), value float32 (p,), its score."""

    owner: Int64
    row: Int64
    value: Float32


def _concatenated(parts: list[Pairs]) -> Pairs:
    """Return the pairs of all parts, in their order."""
    return Pairs(
        np.concatenate([part.owner for part in parts]),
        np.concatenate([part.row for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def _best(pairs: Pairs, exact: Callable[[Int64, Int64], Float32], m: int, k: int) -> Pairs:
    """Return the k best pairs of each query by their exact scores; an empty place has row -1 and score -inf."""
    scores, rows = _merge_pairs(*_empty_lists(m, k), pairs.owner, pairs.row, exact(pairs.owner, pairs.row), 0)
    return Pairs(np.repeat(np.arange(m), k), rows.ravel(), scores.ravel())


def _prune(pairs: Pairs, margin: NDArray[np.float64], k: int) -> tuple[Pairs, NDArray[np.float64]]:
    """Return the pairs that can still be among the k best of their query, and each query's k-th best so far."""
    order = np.lexsort((-pairs.value, pairs.owner))
    owner, row, value = pairs.owner[order], pairs.row[order], pairs.value[order]
    ends = np.searchsorted(owner, np.arange(len(margin) + 1))
    kth = ends[:-1] + k - 1
    full = kth < ends[1:]
    floor = np.full(len(margin), -np.inf)
    floor[full] = value[kth[full]]
    can_win = value >= (floor - margin).astype(np.float32)[owner]
    return Pairs(owner[can_win], row[can_win], value[can_win]), floor


def rounding_margin(queries: Float32, longest: float) -> NDArray[np.float64]:
    """Return twice the bound d * u * |q| * |x| on the error of a float32 dot product (Higham, 2002, section 3.1)."""
    query_norms = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
    margin: NDArray[np.float64] = (2.0 * queries.shape[1] * 2.0**-24 * longest) * query_norms
    return margin


def pair_scores(queries: Float32, docs: Float32) -> Float32:
    """Return the dot product of each row of one with the same row of the other, summed in float64, float32 (n,)."""
    scores = np.empty(len(queries), dtype=np.float32)
    _loops().pair_scores(np.ascontiguousarray(queries), np.ascontiguousarray(docs), scores)
    return scores


def decided(
    matrix: Callable[[Int64], Float32], asked: Float32, listed: Int64, found: Int64, k: int, ids: Int64 | None = None
) -> tuple[Float32, Int64]:
    """Return the k best of the documents that rough scores left open, with the scores that their codes decode to.

    Parameters
    ----------
    matrix : callable
        From places of documents to these as they enter the dot product, float32 (places, d').
    asked : float32 (m, d')
        Queries as they enter the dot product.
    listed : int64 (m, width)
        Places by query, of which the first `found` count.
    found : int64 (m,)
    k : int
    ids : int64 (n,) or None
        The row of the document at each place; None where that is the place.

    Returns
    -------
    float32, int64 (m, k)
        Descending, the lower row first among equal ones; -inf and -1 where there are fewer.
    """
    width = max(k, int(found.max(initial=0)))
    there = np.arange(width) < found[:, None]
    scores, rows = np.full(there.shape, -np.inf, np.float32), np.full(there.shape, NO_ROW, np.int64)
    owners, wanted = np.nonzero(there)[0], listed[:, :width][there[:, : listed.shape[1]]]
    exact = np.empty(len(wanted), np.float32)
    step = max(1, LISTED_BYTES // (8 * asked.shape[1]))
    for start in range(0, len(wanted), step):
        some = slice(start, start + step)
        exact[some] = pair_scores(asked[owners[some]], matrix(wanted[some]))
    scores[there], rows[there] = exact, wanted if ids is None else ids[wanted]
    scores, rows = ordered(scores, rows, k)
    return scores, np.where(rows == NO_ROW, -1, rows)


def _empty_lists(m: int, k: int) -> tuple[Float32, Int64]:
    """Return lists without a document, float32 (m, k) and int64 (m, k): scores of -inf and rows of -1."""
    return np.full((m, k), -np.inf, dtype=np.float32), np.full((m, k), -1, dtype=np.int64)


def _merge_pairs(
    scores: Float32, rows: Int64, query_ids: Int64, doc_ids: Int64, new_scores: Float32, first: int
) -> tuple[Float32, Int64]:
    """Return the lists (m, k) after pairs (p,) have entered them; `first` is added to the pairs' document numbers."""
    m, k = scores.shape
    listed_owner = np.repeat(np.arange(m), k)
    owner = np.concatenate([listed_owner, query_ids])
    value = np.concatenate([scores.ravel(), new_scores])
    row = np.concatenate([rows.ravel(), doc_ids + first])
    # an empty place (row -1, score -inf) loses to every document
    order = np.lexsort((np.where(row < 0, np.iinfo(np.int64).max, row), -value, owner))
    owner = owner[order]
    start_of = np.searchsorted(owner, np.arange(m))
    best = order[(start_of[:, None] + np.arange(k)[None, :])]
    return value[best], row[best]


def merge(scores: Float32, rows: Int64, more_scores: Float32, more_rows: Int64, k: int) -> tuple[Float32, Int64]:
    """Return the k best of two top lists per query, each (m, any width)."""
    value = np.concatenate([scores, more_scores], axis=1)
    row = np.concatenate([rows, more_rows], axis=1)
    return ordered(value, row, k)


def ordered(scores: Float32, rows: Int64, k: int) -> tuple[Float32, Int64]:
    """Return the first `k` columns once each query's list is in order: score descending, then row ascending."""
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def search_kernel(
    kernel: Callable[[int], tuple[Float32, Int64]],
    exhaustive: Callable[[Int64], tuple[Float32, Int64]],
    n: int,
    k: int,
) -> tuple[Float32, Int64]:
    """Make a third-party kernel's top-k exact in its ties.

    A kernel that keeps a heap returns *some* of the documents that tie at the k-th place. It is asked for more than k;
    where even the longer list ends inside the tie, those queries are searched again without it.

    Parameters
    ----------
    kernel : takes the number wanted, returns (scores, rows) of each query
    exhaustive : takes the numbers of queries, returns their exact (scores, rows), each k wide
    n : int
        Number of documents.
    k : int
        Length of each query's list.
    """
    wanted = min(n, k + max(16, k // 4))
    scores, rows = kernel(wanted)
    cut = np.flatnonzero((scores[:, k - 1] <= scores[:, -1]) & (wanted < n))
    scores, rows = ordered(scores, rows, k)
    if len(cut):
        scores[cut], rows[cut] = exhaustive(cut)
    return scores, rows
