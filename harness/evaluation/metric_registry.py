"""Every metric: what it is called, how it is shown, what it needs, and the function that computes it per query.

A new metric is one entry of `REGISTRY` and its function from `Rankings` to a number a query. Records, the frame over
them, tables, significance and the leaderboard read the entries and name no metric themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from harness.evaluation import fidelity, retrieval_metrics, ties
from harness.evaluation.rankings import Rankings
from harness.evaluation.retrieval_metrics import Float64, PerQuery

Need = Literal["qrels", "float32 ranking", "ties"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name : str
        Its column in records and frames, such as "ndcg_at_10".
    label : str
        What tables call it, such as "nDCG@10".
    compute : callable
        From `Rankings` to a value a query, float64 (m,).
    needs : tuple of {"qrels", "float32 ranking", "ties"}
        What there must be.
    depth : int
        Documents a query that it looks at: a shorter ranking has no such metric, unless it holds the whole corpus.
    better : {"more", "less"} or None
        Which values are better; None for one that says how certain others are.
    decimals : int
        With which it is shown beside other metrics.
    unit : str
        "" for a number without one.
    ranked : bool
        Whether tables mark its best value.
    headline : int
        Place among the few whose scores are compared query by query, with intervals; 0 is none of them.
    listed : bool
        Whether it is among the columns of settings in reports; all are in the frame.
    """

    name: str
    label: str
    compute: Callable[[Rankings], Float64]
    needs: tuple[Need, ...]
    depth: int = 1
    better: Literal["more", "less"] | None = "more"
    decimals: int = 3
    unit: str = ""
    ranked: bool = True
    headline: int = 0
    listed: bool = True


def _ndcg(cutoff: int, **more: Any) -> Metric:
    compute = partial(retrieval_metrics.ndcg, cutoff=cutoff)
    return Metric(f"ndcg_at_{cutoff}", f"nDCG@{cutoff}", compute, ("qrels",), cutoff, decimals=4, **more)


def _recall(cutoff: int, **more: Any) -> Metric:
    compute = partial(retrieval_metrics.recall, cutoff=cutoff)
    return Metric(f"recall_at_{cutoff}", f"recall@{cutoff}", compute, ("qrels",), cutoff, **more)


def _overlap(top: int, **more: Any) -> Metric:
    compute = partial(fidelity.overlap, top=top, depth=top)
    return Metric(f"overlap_at_{top}", f"overlap@{top}", compute, ("float32 ranking",), top, **more)


def _top_recall(depth: int) -> Metric:
    compute = partial(fidelity.overlap, top=fidelity.TOP, depth=depth)
    name = f"top{fidelity.TOP}_recall_at_{depth}"
    return Metric(name, name.replace("_at_", "@").replace("_", " "), compute, ("float32 ranking",), depth)


REGISTRY: list[Metric] = [
    _ndcg(1, listed=False),
    _ndcg(10, headline=1),
    _ndcg(100, listed=False),
    Metric(
        "ndcg_exp_at_10",
        "nDCG@10, gain 2^grade - 1",
        partial(retrieval_metrics.ndcg, cutoff=10, gain=retrieval_metrics.exponential),
        ("qrels",),
        10,
        decimals=4,
        listed=False,
    ),
    _recall(1, listed=False),
    _recall(2, listed=False),
    _recall(10, listed=False),
    _recall(100, headline=3),
    Metric("mrr_at_10", "MRR@10", retrieval_metrics.mrr_at_10, ("qrels",), 10),
    Metric("map_at_100", "MAP@100", retrieval_metrics.map_at_100, ("qrels",), 100),
    Metric("ndcg_at_10_ties", "nDCG@10 over ties", ties.ndcg_at_10_ties, ("qrels", "ties"), ties.CUTOFF),
    _overlap(fidelity.TOP, headline=2),
    _overlap(100),
    *(_top_recall(factor * fidelity.TOP) for factor in fidelity.OVERSAMPLING),
    Metric("rbo", "RBO", fidelity.rbo, ("float32 ranking",)),
    Metric("kendall_tau", "kendall tau", fidelity.tau, ("float32 ranking",)),
    Metric(
        f"score_error_at_{fidelity.TOP}",
        f"score error@{fidelity.TOP}",
        fidelity.score_error_at_top,
        ("float32 ranking",),
        fidelity.TOP,
        better="less",
        ranked=False,
    ),
    Metric(
        f"score_loss_at_{fidelity.TOP}",
        f"score loss@{fidelity.TOP}",
        fidelity.score_loss_at_top,
        ("float32 ranking",),
        fidelity.TOP,
        better="less",
        ranked=False,
    ),
    Metric("tie_at_10", "tie@10", ties.tie_at_10, ("ties",), ties.CUTOFF, better=None, ranked=False),
]
"""In the order of frames and files."""


def names(need: Need | None = None) -> tuple[str, ...]:
    """Return the names of all metrics, or of those that need something."""
    return tuple(entry.name for entry in REGISTRY if need is None or need in entry.needs)


def headlines() -> list[Metric]:
    """Return the metrics whose scores are compared query by query, the first one first."""
    return sorted((entry for entry in REGISTRY if entry.headline), key=lambda entry: entry.headline)


def find(name: str) -> Metric | None:
    """Return a metric by its name; None if it is none."""
    return next((entry for entry in REGISTRY if entry.name == name), None)


def metric(name: str) -> Metric:
    """Return a metric by its name.

    Raises
    ------
    KeyError
        With the names there are, for any other.
    """
    entry = find(name)
    if entry is None:
        raise KeyError(f"there is no metric '{name}'; there are {', '.join(names())}")
    return entry


def computed(rankings: Rankings, wanted: Iterable[Metric] | None = None) -> PerQuery:
    """Return every metric that the rankings have what it needs for, float64 (m,) each.

    A metric that looks deeper than the rankings go is left out.
    """
    present: set[Need] = set()
    present |= {"qrels"} if rankings.judgements is not None else set()
    present |= {"float32 ranking"} if rankings.reference is not None else set()
    present |= {"ties"} if rankings.collection is not None else set()
    return {
        entry.name: entry.compute(rankings)
        for entry in (REGISTRY if wanted is None else wanted)
        if present.issuperset(entry.needs) and entry.depth <= rankings.depth
    }
