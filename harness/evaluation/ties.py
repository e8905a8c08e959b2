"""What ties do to a ranking: whether one cuts its top, and its nDCG over all orders of equal scores.

The headline is trec_eval's order, in which documents of equal score come in descending order of their id. That order
is arbitrary: where codes are short and scores tie, the expectation over all orders says what luck it brought.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.base.memmap import take
from harness.evaluation.exact_search import search_uncompressed
from harness.evaluation.retrieval_metrics import Float64, Int64, Judgements, discounts
from methods.base import Codec, Codes

if TYPE_CHECKING:
    from harness.evaluation.rankings import Rankings

Float32 = NDArray[np.float32]

CUTOFF = 10
RUN_ROWS = 1 << 14
"""Documents that are searched at a time for the rest of a tie."""
PAIRS = 1 << 21
"""Scores that are held at a time for it."""
GROWTH = 4


@dataclass(frozen=True)
class Collection:
    """What a ranking was drawn from, searched again where a tie goes on beyond the ranking's end.

    Attributes
    ----------
    runs : list of slice
        Runs of rows that can be searched one by one; together they are all rows.
    best : callable
        Takes query numbers (q,), one of the runs and a depth; returns float32 and int64 (q, depth): the best scores in
        that run and their rows, counted in the collection. Scores must be those of the ranking, to the last bit.
    """

    runs: list[slice]
    best: Callable[[Int64, slice, int], tuple[Float32, Int64]]

    @classmethod
    def of_codes(cls, codec: Codec, queries: Any, codes: Codes, chunk_rows: int | None = None) -> Self:
        """Search codes, in runs where the codec allows; `chunk_rows` bounds a run as it bounds the search."""

        def best(which: Int64, rows: slice, depth: int) -> tuple[Float32, Int64]:
            searched = codes if rows == slice(0, codes.n) else codes[rows]
            scores, found = codec.search(take(queries, which), searched, depth)
            return scores, found + rows.start

        whole = not codec.row_wise or codec.searches_whole
        return cls(_runs(codes.n, codes.n if whole else min(RUN_ROWS, chunk_rows or RUN_ROWS)), best)

    @classmethod
    def of_vectors(cls, queries: Any, docs: Any) -> Self:
        """Search what the model gives."""

        def best(which: Int64, rows: slice, depth: int) -> tuple[Float32, Int64]:
            scores, found = search_uncompressed(take(queries, which), docs[rows], depth)
            return scores, found + rows.start

        return cls(_runs(len(docs), RUN_ROWS), best)

    @property
    def n(self) -> int:
        """Number of documents."""
        return int(self.runs[-1].stop)


def _runs(n: int, length: int) -> list[slice]:
    return [slice(start, min(n, start + length)) for start in range(0, n, length)]


@dataclass(frozen=True)
class Tie:
    """The documents that have the score of the last place above a cutoff, in the whole collection.

    Attributes
    ----------
    cutoff : int
    first : int64 (m,)
        Documents that score higher.
    size : int64 (m,)
        Documents with that score: 1 where nothing ties, 0 where the ranking has no such place.
    gain : float64 (m,)
        Sum of their grades.
    """

    cutoff: int
    first: Int64
    size: Int64
    gain: Float64

    @property
    def cuts(self) -> NDArray[np.bool_]:
        """Whether some of them are above the cutoff and some below, (m,)."""
        return self.first + self.size > self.cutoff

    def expected_dcg(self, gains: Float64, scores: NDArray[Any]) -> Float64:
        """Return the mean DCG@cutoff over all orders of equal scores (McSherry and Najork, 2008, section 3).

        In expectation each place inside a tie holds the tie's mean gain.

        Parameters
        ----------
        gains, scores : (m, k), k >= cutoff
            Of the ranking that the tie was found in.
        """
        gains, scores = gains[:, : self.cutoff], scores[:, : self.cutoff]
        starts = np.ones(gains.shape, dtype=bool)
        starts[:, 1:] = scores[:, 1:] != scores[:, :-1]
        group = np.cumsum(starts.ravel()) - 1
        mean = (np.bincount(group, weights=gains.ravel()) / np.bincount(group))[group].reshape(gains.shape)
        of_last = (self.gain / np.maximum(self.size, 1))[:, None]
        mean = np.where(np.arange(self.cutoff) < self.first[:, None], mean, of_last)
        expected: Float64 = mean @ discounts(self.cutoff)
        return expected


def tie_at(
    scores: Float32,
    ranking: Int64,
    cutoff: int,
    collection: Collection,
    judgements: Judgements | None = None,
    own: Int64 | None = None,
) -> Tie:
    """Find the tie at each query's `cutoff`-th place, or at its last where the ranking is shorter.

    Parameters
    ----------
    scores, ranking : float32, int64 (m, k)
        Best first; row -1 is no document.
    cutoff : int
    collection : Collection
        Searched again for the queries whose tie reaches the end of the ranking, if they need more than is in it.
    judgements : Judgements or None
        Without them gains are 0, and a tie that cuts is not followed to its end.
    own : int64 (m,) or None
        A row that is no result of each query.
    """
    cutoff = min(cutoff, ranking.shape[1])
    level = scores[:, cutoff - 1]
    tied = (scores == level[:, None]) & (ranking >= 0)
    gain = np.zeros(len(ranking)) if judgements is None else (judgements.gains(ranking) * tied).sum(axis=1)
    found = Tie(cutoff, (scores > level[:, None]).sum(axis=1), tied.sum(axis=1), gain)
    # a list that ends in its tie may end before it; whether the tie cuts is known by then if the list is long enough
    unfinished = tied[:, -1] if ranking.shape[1] < collection.n else np.zeros(len(ranking), dtype=bool)
    if judgements is None:
        unfinished = unfinished & ~found.cuts
    which = np.flatnonzero(unfinished)
    if not len(which):
        return found
    size, gain = _counted(which, level[which], GROWTH * ranking.shape[1], collection, judgements, own)
    # fewer than are listed: the codec scores a query by the queries beside it (see `methods.composed.conventions`),
    # and the list is all there is to know
    again = size >= found.size[which]
    which = which[again]
    found.size[which], found.gain[which] = size[again], gain[again]
    return found


def _counted(
    queries: Int64,
    level: Float32,
    depth: int,
    collection: Collection,
    judgements: Judgements | None,
    own: Int64 | None,
) -> tuple[Int64, Float64]:
    """Return how many documents of the collection score `level` with each query, (q,), and the sum of their grades.

    Each run of rows is searched to a depth that grows until the list goes past the tie.
    """
    size, gain = np.zeros(len(queries), dtype=np.int64), np.zeros(len(queries))
    for run in collection.runs:
        rows, wanted, unfinished = run.stop - run.start, depth, np.arange(len(queries))
        while len(unfinished):
            wanted = min(wanted, rows)
            step, later = max(1, PAIRS // wanted), []
            for part in (unfinished[start : start + step] for start in range(0, len(unfinished), step)):
                which = queries[part]
                scores, found = collection.best(which, run, wanted)
                tied = (scores == level[part, None]) & (found >= 0)
                # a list of the whole run has nothing after it
                ends = (scores[:, -1] < level[part]) | (wanted == rows)
                later.append(part[~ends])
                done, tied, found = part[ends], tied[ends], found[ends]
                if own is not None:
                    tied &= found != own[queries[done], None]
                size[done] += tied.sum(axis=1)
                if judgements is not None:
                    gain[done] += (judgements.gains(found, queries[done]) * tied).sum(axis=1)
            unfinished, wanted = np.concatenate(later), GROWTH * wanted
    return size, gain


def ndcg_at_10_ties(rankings: Rankings) -> Float64:
    """Return expected nDCG@10 over all orders of equal scores, ties counted to their end, (m,)."""
    return rankings.tie.expected_dcg(rankings.gains, rankings.scores) / rankings.judged.best(CUTOFF)


def tie_at_10(rankings: Rankings) -> Float64:
    """Return 1 where a tie decides what is among the first ten documents, else 0, (m,)."""
    return rankings.tie.cuts.astype(np.float64)
