"""Metrics of bare arrays, for tests."""

import numpy as np

from harness.evaluation.metric_registry import REGISTRY, computed
from harness.evaluation.rankings import ExactRanking, Rankings
from harness.evaluation.retrieval_metrics import Judgements, PerQuery
from harness.evaluation.ties import Collection


def retrieval(judgements: Judgements, ranking: np.ndarray) -> PerQuery:
    """Every metric that needs judgements alone, whatever its depth."""
    rankings = Rankings(ranking, np.zeros(ranking.shape, np.float32), judgements.n, judgements)
    return {entry.name: entry.compute(rankings) for entry in REGISTRY if entry.needs == ("qrels",)}


def fidelity(ranking: np.ndarray, scores: np.ndarray, queries: np.ndarray, docs: np.ndarray) -> PerQuery:
    """Every metric of a ranking against itself."""
    return computed(Rankings(ranking, scores, len(docs), reference=ExactRanking(ranking, scores, queries, docs)))


def tie_metrics(
    scores: np.ndarray, ranking: np.ndarray, collection: Collection, judgements: Judgements | None = None
) -> PerQuery:
    """Every metric of ties, whatever its depth."""
    rankings = Rankings(ranking, scores, collection.n, judgements, collection=collection)
    entries = [entry for entry in REGISTRY if "ties" in entry.needs and (judgements or "qrels" not in entry.needs)]
    return {entry.name: entry.compute(rankings) for entry in entries}
