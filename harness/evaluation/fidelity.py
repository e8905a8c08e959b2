"""How well a method keeps the float32 ranking, per query; needs no judgements.

Equal scores stand in the order that the ranking has them in, except in Kendall's tau, which knows ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.base.memmap import take_vectors
from harness.evaluation.retrieval_metrics import Float64, Int64
from methods import max_sim, topk
from methods.base import row_blocks
from methods.representations import SparseVectors, pair_scores
from methods.token_vectors import TokenVectors

if TYPE_CHECKING:
    from harness.evaluation.rankings import Rankings

Float32 = NDArray[np.float32]

TOP = 10
OVERSAMPLING = (2, 4, 10)
"""How many times as many documents as `TOP` a short list for rescoring holds."""

PERSISTENCE = 0.9
"""p of rank-biased overlap: 86 % of the weight is on the first ten places (Webber et al., 2010, eq. 21)."""
TAU_DEPTH = 100


@dataclass(frozen=True)
class Comparison:
    """A ranking and the float32 ranking of the same documents, matched.

    Attributes
    ----------
    place : int64 (m, k)
        Place of each ranked document in the reference, counted from 0; beyond its end where it is not there.
    real : bool (m, k')
        Whether there is a document at each place of the reference; a collection may be too small.
    """

    place: Int64
    real: NDArray[np.bool_]

    @classmethod
    def of(cls, ranking: Int64, reference: Int64) -> Comparison:
        """Match rows (m, k) with rows (m, k'), both best first; row -1 is no document."""
        wide = reference.shape[1]
        order = np.argsort(reference, axis=1)
        span = max(int(ranking.max(initial=0)), int(reference.max(initial=0))) + 2
        base = np.arange(len(ranking))[:, None] * span + 1
        keys = (np.take_along_axis(reference, order, axis=1) + base).ravel()
        wanted = ranking + base
        at = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
        place = np.where((keys[at] == wanted) & (ranking >= 0), order.ravel()[at], wide)
        return cls(place, reference >= 0)

    def recall(self, top: int, depth: int) -> Float64:
        """Return the share of the reference's first `top` documents that the ranking's first `depth` hold, (m,)."""
        held = (self.place[:, :depth] < min(top, self.real.shape[1])).sum(axis=1)
        share: Float64 = held / np.maximum(self.real[:, :top].sum(axis=1), 1)
        return share

    def rank_biased_overlap(self, persistence: float) -> Float64:
        """Return extrapolated rank-biased overlap, RBO_ext of lists of even length (Webber et al., 2010, eq. 23), (m,).

        RBO_ext = A_k p^k + (1 - p) / p sum_{d=1}^{k} A_d p^d, with A_d the overlap at depth d, k the depth of the
        rankings, p the persistence.
        """
        m, depth = len(self.place), min(self.place.shape[1], self.real.shape[1])
        shared_from = np.maximum(self.place[:, :depth], np.arange(depth))
        query, at = np.nonzero(shared_from < depth)
        new = np.bincount(query * depth + shared_from[query, at], minlength=m * depth).reshape(m, depth)
        agreement = np.cumsum(new, axis=1) / np.maximum(np.cumsum(self.real[:, :depth], axis=1), 1)
        weights = persistence ** np.arange(1, depth + 1)
        overlap: Float64 = agreement[:, -1] * weights[-1] + (1 - persistence) / persistence * (agreement @ weights)
        return overlap

    def kendall_tau(self, scores: Float32, reference_scores: Float32, top: int) -> Float64:
        """Return Kendall's tau-b between both scores of the reference's first `top` documents (Kendall, 1945), (m,).

        A document that the ranking lacks scores less than those it has, and ties with others that it lacks (the
        bottom bucket of Fagin, Kumar and Sivakumar, 2003). Where one side orders no pair tau is 0/0: it is given as 0,
        or 1 if the other side orders none either.

        Parameters
        ----------
        scores, reference_scores : float32 (m, k), (m, k')
            Of the ranking and the reference, best first.
        top : int
        """
        from harness.evaluation import counting  # numba takes a while to import

        m, depth = len(self.real), min(top, self.real.shape[1])
        query, at = np.nonzero(self.place < depth)
        ours = np.full((m, depth), scores.shape[1], dtype=np.int32)
        ours[query, self.place[query, at]] = _levels(scores)[query, at]
        counts = np.empty((m, 3), dtype=np.int64)
        theirs, real = _levels(reference_scores[:, :depth]), np.ascontiguousarray(self.real[:, :depth])
        counting.ordered_pairs(ours, theirs, real, counts)
        agree, ordered_here, ordered_there = counts.T
        pairs = np.sqrt(ordered_here.astype(np.float64) * ordered_there)
        neither = (ordered_here == 0) & (ordered_there == 0)
        tau: Float64 = np.where(neither, 1.0, agree / np.where(pairs > 0, pairs, 1.0))
        return tau


def _levels(scores: Float32) -> NDArray[np.int32]:
    """Return the number of each score among the distinct ones of its row, which descend; counted from 0."""
    levels = np.zeros(scores.shape, dtype=np.int32)
    np.cumsum(scores[:, 1:] != scores[:, :-1], axis=1, out=levels[:, 1:])
    return levels


def score_error(scores: Float32, truth: Float32, real: NDArray[np.bool_]) -> Float64:
    """Return the relative error of the scores that a method gives the documents it ranks first, (m,).

    The root mean square difference between the float32 scores of these documents and the method's, over the root mean
    square of the former. Methods' scores have their own units, so they are first multiplied by the one factor, for all
    queries, that makes the squared error least.

    Parameters
    ----------
    scores, truth : float32 (m, c)
        The method's and the float32 vectors' scores of the same documents.
    real : bool (m, c)
        Whether there is a document.
    """
    found, true = (np.where(real, values, 0).astype(np.float64) for values in (scores, truth))
    power = float((found**2).sum())
    factor = float((found * true).sum()) / power if power else 0.0
    total = (true**2).sum(axis=1)
    error: Float64 = np.sqrt(((true - factor * found) ** 2).sum(axis=1) / np.where(total > 0, total, 1.0))
    return error


def score_loss(truth: Float32, best: Float32) -> Float64:
    """Return how much less the documents found score, in float32, than the best ones, (m,).

    1 - (sum of the float32 scores of the documents ranked first) / (sum of as many highest ones): the relative error of
    ann-benchmarks (Aumüller, Bernhardsson and Faithfull, 2020) with scores in place of distances. 0 is no loss.

    Parameters
    ----------
    truth, best : float32 (m, c)
        Float32 scores of the documents found and of the reference; 0 where there is none.
    """
    highest = best.sum(axis=1, dtype=np.float64)
    size = np.abs(best).sum(axis=1, dtype=np.float64)
    # the same documents in another order may sum to something else in the last bit
    loss: Float64 = np.maximum(highest - truth.sum(axis=1, dtype=np.float64), 0.0) / np.where(size > 0, size, 1.0)
    return loss


def true_scores(queries: Any, docs: Any, ranking: Int64) -> Float32:
    """Return the float32 vectors' scores of ranked documents (m, c), as `topk` rounds them; 0 for row -1."""
    m, width = ranking.shape
    scores = np.zeros((m, width), dtype=np.float32)
    if isinstance(docs, TokenVectors):
        there = ranking >= 0
        owner = np.broadcast_to(np.arange(m)[:, None], ranking.shape)[there]
        scores[there] = max_sim.pair_scores(queries, docs, owner, ranking[there])
        return scores
    for start, stop in row_blocks(m, 16 * width * docs.shape[1]):
        rows = ranking[start:stop]
        wanted = np.maximum(rows, 0).ravel()
        if isinstance(docs, SparseVectors):
            pairs = pair_scores(queries, docs, np.repeat(np.arange(start, stop), width), wanted)
        else:
            pairs = topk.pair_scores(np.repeat(queries[start:stop], width, axis=0), take_vectors(docs, wanted))
        scores[start:stop] = np.where(rows >= 0, pairs.reshape(rows.shape), 0)
    return scores


def overlap(rankings: Rankings, top: int, depth: int) -> Float64:
    """Return the share of float32's first `top` documents that the ranking's first `depth` hold, (m,).

    With equal numbers it is overlap@top; with more it is what rescoring a short list of `depth` could bring back.
    """
    return rankings.compared.recall(top, depth)


def rbo(rankings: Rankings) -> Float64:
    """Return extrapolated rank-biased overlap with the float32 ranking, p = 0.9, (m,)."""
    return rankings.compared.rank_biased_overlap(PERSISTENCE)


def tau(rankings: Rankings) -> Float64:
    """Return Kendall's tau-b on float32's first hundred documents, (m,)."""
    return rankings.compared.kendall_tau(rankings.scores, rankings.exact.scores, TAU_DEPTH)


def score_error_at_top(rankings: Rankings) -> Float64:
    """Return `score_error` of the first `TOP` documents, (m,)."""
    return score_error(rankings.scores[:, :TOP], rankings.true_scores, rankings.ranking[:, :TOP] >= 0)


def score_loss_at_top(rankings: Rankings) -> Float64:
    """Return `score_loss` of the first `TOP` documents, (m,)."""
    exact = rankings.exact
    best = np.where(exact.ranking[:, :TOP] >= 0, exact.scores[:, :TOP], 0).astype(np.float32)
    return score_loss(rankings.true_scores, best)
