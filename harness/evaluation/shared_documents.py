"""Intervals where queries share their relevant documents, and so are no independent draws.

Of LIMIT's 1,000 queries each document answers 45: a document that the model places badly costs 45 queries at once.
Resampling queries takes these for 45 observations. Documents are resampled instead, and a query counts as often as all
of its relevant documents together: the vertex bootstrap of Snijders and Borgatti (1999); Davezies, D'Haultfoeuille and
Guyonvarch (2021) show that such product weights are valid for arrays of pairs, triples and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Qrels = Mapping[str, Mapping[str, int]]

METRICS = ("recall_at_2", "ndcg_at_10", "recall_at_10", "recall_at_100")
"""Those that get such intervals; the first is LIMIT's headline."""

SHARED = 5.0
"""Queries a relevant document, in the mean, from which on intervals over queries mislead."""

MOST_RELEVANT = 5
"""Relevant documents of a query beyond which a product of their weights says nothing."""

RESAMPLES = 2_000

LEVELS = (0.025, 0.975)


def document_intervals(
    per_query: Mapping[str, Float64], query_ids: Sequence[str], qrels: Qrels | None
) -> dict[str, dict[str, float]] | None:
    """Return 95 % percentile intervals of the means over resamples of the relevant documents.

    Parameters
    ----------
    per_query : mapping of str to float64 (m,)
    query_ids : sequence of str
    qrels : mapping or None

    Returns
    -------
    dict or None
        For each of `METRICS` that there is `low` and `high`; None where queries share few documents (fewer than
        `SHARED` a document), or one has more than `MOST_RELEVANT`.
    """
    members = _members(query_ids, qrels)
    if members is None:
        return None
    rows, counts = members
    documents = int(rows.max()) + 1
    if len(rows) / documents < SHARED or counts.max() > MOST_RELEVANT:
        return None
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(documents, np.full(documents, 1 / documents), size=RESAMPLES).astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    weights = np.multiply.reduceat(drawn[:, rows], starts, axis=1)
    total = weights.sum(axis=1)
    usable = total > 0
    names = [name for name in METRICS if name in per_query]
    means = {name: weights[usable] @ per_query[name] / total[usable] for name in names}
    ends = {name: np.quantile(found, LEVELS) for name, found in means.items()}
    return {name: {"low": float(low), "high": float(high)} for name, (low, high) in ends.items()}


def _members(query_ids: Sequence[str], qrels: Qrels | None) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the numbers of all queries' relevant documents, one query after another, and how many each has."""
    if not qrels:
        return None
    relevant = [[doc for doc, grade in qrels[query].items() if grade > 0] for query in query_ids]
    if not all(relevant):
        return None
    number: dict[Any, int] = {}
    rows = [number.setdefault(doc, len(number)) for own in relevant for doc in own]
    return np.array(rows, dtype=np.int64), np.array([len(own) for own in relevant], dtype=np.int64)
