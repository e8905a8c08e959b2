"""Retrieval metrics against judgements, per query first; means are taken by whoever needs them.

Definitions are trec_eval's, and so MTEB's: linear gain, log2 discount, relevant means a grade above zero, recall and
average precision are over all relevant documents. The exponential gain, which other comparisons have, is asked for. A
ranking comes as row numbers, best first, with ties already in order (see `methods.topk`), so nothing here sorts by
score; `harness.evaluation.ties` says what that order brings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.data.datasets import Dataset

if TYPE_CHECKING:
    from harness.evaluation.rankings import Rankings

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
PerQuery = dict[str, Float64]

Gain = Callable[[Float64], Float64]

CUTOFFS = (1, 10, 100)


def linear(grades: Float64) -> Float64:
    """Return the grades as gains."""
    return grades


def exponential(grades: Float64) -> Float64:
    """Return the gains 2^grade - 1 (Burges et al., 2005), which are the grades where those are 0 or 1."""
    gains: Float64 = np.exp2(grades) - 1
    return gains


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
        """Return a dataset's judgements in arrays; None where it has none."""
        if dataset.qrels is None:
            return None
        judged = {doc_id for judgements in dataset.qrels.values() for doc_id in judgements}
        row_of = {doc_id: row for row, doc_id in enumerate(dataset.doc_ids) if doc_id in judged}
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
        in_depth = rank < ideal.shape[1]
        ideal[queries[order][in_depth], rank[in_depth]] = grades[order][in_depth]
        present = rows >= 0
        keys, present_grades = (queries * n + rows)[present], grades[present].astype(np.float64)
        by_key = np.argsort(keys)
        return cls(
            keys=keys[by_key],
            grades=present_grades[by_key],
            ideal=ideal,
            relevant=relevant,
            n=n,
        )

    def best(self, cutoff: int, gain: Gain = linear) -> Float64:
        """Return the highest DCG@cutoff that each query allows, (m,); 1 where that is 0, since every DCG is 0 then."""
        highest: Float64 = gain(self.ideal[:, :cutoff]) @ discounts(cutoff)
        return np.where(highest > 0, highest, 1.0)

    def gains(self, ranking: Int64, queries: Int64 | None = None) -> Float64:
        """Return the grade of each ranked document (m, k), float64; unjudged is 0. `queries` (m,): all, if None."""
        if not len(self.keys):
            return np.zeros(ranking.shape)
        asked = np.arange(len(ranking)) if queries is None else queries
        keys = asked[:, None] * self.n + ranking
        position = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where((self.keys[position] == keys) & (ranking >= 0), self.grades[position], 0.0)


def discounts(k: int) -> Float64:
    """Return 1 / log2(rank + 1) for ranks 1 to k."""
    weights: Float64 = 1 / np.log2(np.arange(2, k + 2))
    return weights


def ndcg(rankings: Rankings, cutoff: int, gain: Gain = linear) -> Float64:
    """Return nDCG@cutoff of each query, (m,) (Järvelin and Kekäläinen, 2002; with linear gains as in trec_eval)."""
    depth = min(rankings.gains.shape[1], cutoff)
    value: Float64 = gain(rankings.gains[:, :depth]) @ discounts(depth) / rankings.judged.best(cutoff, gain)
    return value


def recall(rankings: Rankings, cutoff: int) -> Float64:
    """Return the share of each query's relevant documents that are among the first `cutoff`, (m,)."""
    value: Float64 = (rankings.gains[:, :cutoff] > 0).sum(axis=1) / np.maximum(rankings.judged.relevant, 1)
    return value


def mrr_at_10(rankings: Rankings) -> Float64:
    """Return one over the place of each query's first relevant document, 0 beyond the tenth, (m,)."""
    hits = rankings.gains[:, :10] > 0
    first = np.where(hits.any(axis=1), hits.argmax(axis=1), np.inf)
    value: Float64 = 1 / (first + 1)
    return value


def map_at_100(rankings: Rankings) -> Float64:
    """Return the average precision of each query's first 100 documents, over all that are relevant, (m,)."""
    hits = rankings.gains > 0
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    value: Float64 = (precision * hits)[:, :100].sum(axis=1) / np.maximum(rankings.judged.relevant, 1)
    return value
