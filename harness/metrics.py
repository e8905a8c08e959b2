"""Retrieval metrics, per query first; means are taken by whoever needs them.

Definitions are trec_eval's, and so MTEB's: linear gain, log2 discount, relevant means a grade above zero, recall and
average precision are over all relevant documents. A ranking comes as row numbers, best first, with ties already in
order (see `methods.topk`), so nothing here sorts by score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets import Dataset

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
PerQuery = dict[str, Float64]

CUTOFFS = (1, 10, 100)


@dataclass(frozen=True)
class Judgements:
    """Relevance grades in arrays.

    Attributes
    ----------
    keys : int64, ascending
        `query * n + row` of each judged pair with a grade above zero.
    grades : float64
        Grade of each pair.
    ideal : float64 (m, cutoff)
        Each query's grades, best first, padded with zeros.
    relevant : int64 (m,)
        Relevant documents of each query.
    n : int
        Documents in the corpus.
    """

    keys: Int64
    grades: Float64
    ideal: Float64
    relevant: Int64
    n: int

    @classmethod
    def of(cls, dataset: Dataset) -> Judgements | None:
        """Collect a dataset's judgements; None where it has none."""
        if dataset.qrels is None:
            return None
        row_of = {doc_id: row for row, doc_id in enumerate(dataset.doc_ids)}
        n, m = len(dataset.doc_ids), len(dataset.query_ids)
        # a judged document that the corpus lacks (row -1) is relevant and never found
        triples = [
            (query, row_of.get(doc_id, -1), grade)
            for query, query_id in enumerate(dataset.query_ids)
            for doc_id, grade in dataset.qrels[query_id].items()
            if grade > 0
        ]
        queries, rows, grades = np.array(triples, dtype=np.int64).reshape(-1, 3).T
        order = np.lexsort((-grades, queries))
        relevant = np.bincount(queries, minlength=m)
        rank = np.arange(len(order)) - np.repeat(np.cumsum(relevant) - relevant, relevant)
        ideal = np.zeros((m, max(CUTOFFS)))
        kept = rank < ideal.shape[1]
        ideal[queries[order][kept], rank[kept]] = grades[order][kept]
        present = rows >= 0
        keys, found = (queries * n + rows)[present], grades[present].astype(np.float64)
        by_key = np.argsort(keys)
        return cls(
            keys=keys[by_key],
            grades=found[by_key],
            ideal=ideal,
            relevant=relevant,
            n=n,
        )

    def best(self, cutoff: int) -> Float64:
        """Return the highest DCG@cutoff that each query allows, (m,); 1 where that is 0, since every DCG is 0 then."""
        highest: Float64 = self.ideal[:, :cutoff] @ discounts(cutoff)
        return np.where(highest > 0, highest, 1.0)

    def gains(self, ranking: Int64) -> Float64:
        """Return the grade of each ranked document, float64 (m, k); unjudged is 0."""
        if not len(self.keys):
            return np.zeros(ranking.shape)
        keys = np.arange(len(ranking))[:, None] * self.n + ranking
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where((self.keys[place] == keys) & (ranking >= 0), self.grades[place], 0.0)


def discounts(k: int) -> Float64:
    """Return 1 / log2(rank + 1) for ranks 1 to k."""
    weights: Float64 = 1 / np.log2(np.arange(2, k + 2))
    return weights


def retrieval(judgements: Judgements, ranking: Int64, scores: NDArray[Any]) -> PerQuery:
    """Return nDCG@{1,10,100}, recall@{1,10,100}, MRR@10, MAP@100 and nDCG@10's expectation over tie orders.

    Parameters
    ----------
    judgements : Judgements
    ranking : int64 (m, k)
        Row numbers, best first; -1 for no document.
    scores : (m, k)
        Their scores, for finding ties.
    """
    gains = judgements.gains(ranking)
    k = gains.shape[1]
    hits = gains > 0
    relevant = np.maximum(judgements.relevant, 1)
    values: PerQuery = {}
    for cutoff in CUTOFFS:
        depth = min(k, cutoff)
        values[f"ndcg_at_{cutoff}"] = gains[:, :depth] @ discounts(depth) / judgements.best(cutoff)
        values[f"recall_at_{cutoff}"] = hits[:, :depth].sum(axis=1) / relevant
    first = np.where(hits[:, :10].any(axis=1), hits[:, :10].argmax(axis=1), np.inf)
    values["mrr_at_10"] = 1 / (first + 1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    values["map_at_100"] = (precision * hits)[:, :100].sum(axis=1) / relevant
    values["ndcg_at_10_ties"] = _expected_over_ties(gains, scores, 10) / judgements.best(10)
    return values


def _expected_over_ties(gains: Float64, scores: NDArray[Any], cutoff: int) -> Float64:
    """Return the mean DCG@cutoff over random orders of equal scores (McSherry and Najork, 2008, section 3).

    Every place inside a tie holds the tie's mean gain in expectation. A tie that goes on beyond the ranking's depth
    counts with the documents that are in it.
    """
    m, k = gains.shape
    starts = np.ones((m, k), dtype=bool)
    starts[:, 1:] = scores[:, 1:] != scores[:, :-1]
    group = np.cumsum(starts.ravel()) - 1
    mean = np.bincount(group, weights=gains.ravel()) / np.bincount(group)
    depth = min(k, cutoff)
    expected: Float64 = mean[group].reshape(m, k)[:, :depth] @ discounts(depth)
    return expected


def tie_at_cut(scores: NDArray[Any], cutoff: int) -> Float64:
    """Return 1.0 for each query whose `cutoff`-th place is decided among equal scores, else 0.0."""
    if scores.shape[1] <= cutoff:
        return np.zeros(len(scores))
    tied: Float64 = (scores[:, cutoff - 1] == scores[:, cutoff]).astype(np.float64)
    return tied


def overlap(ranking: Int64, reference: Int64, cutoff: int, n: int) -> Float64:
    """Return the share of the reference's first `cutoff` documents that the ranking's first `cutoff` hold, (m,)."""
    depth = min(cutoff, ranking.shape[1], reference.shape[1])
    offsets = np.arange(len(ranking))[:, None] * n
    held = np.where(ranking < 0, -1, ranking + offsets)[:, :depth]
    wanted = reference[:, :depth]
    share: Float64 = (np.isin(wanted + offsets, held) & (wanted >= 0)).sum(axis=1) / depth
    return share


def fidelity(ranking: Int64, reference: Int64, n: int) -> PerQuery:
    """Return overlap@10 and overlap@100 with the float32 ranking; needs no judgements."""
    return {f"overlap_at_{cutoff}": overlap(ranking, reference, cutoff, n) for cutoff in (10, 100)}
