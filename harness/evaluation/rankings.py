"""One method's rankings of all queries, with what metrics are computed from; each intermediate is computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.fidelity import TOP, Comparison, true_scores
from harness.evaluation.retrieval_metrics import Float64, Int64, Judgements
from harness.evaluation.ties import CUTOFF, Collection, Tie, tie_at

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ExactRanking:
    """The float32 ranking that fidelity is measured against, and the vectors that it was made of.

    Attributes
    ----------
    ranking, scores : int64, float32 (m, k')
    queries, docs : float32 (m, d), (n, d)
    """

    ranking: Int64
    scores: Float32
    queries: Float32
    docs: Float32


@dataclass(frozen=True, eq=False)
class Rankings:
    """The best documents of each query.

    Attributes
    ----------
    ranking, scores : int64, float32 (m, k)
        Rows, best first, -1 for no document; and what the method scores them.
    n : int
        Documents in the corpus.
    judgements : Judgements or None
    reference : Reference or None
    collection : Collection or None
        For ties that reach the end of a ranking; None where metrics of ties are not asked for.
    own : int64 (m,) or None
        See `harness.evaluation.exact_search.own_rows`.
    """

    ranking: Int64
    scores: Float32
    n: int
    judgements: Judgements | None = None
    reference: ExactRanking | None = None
    collection: Collection | None = None
    own: Int64 | None = None

    @property
    def depth(self) -> float:
        """Documents a query; without bound where all of the corpus is ranked."""
        # a query's own document may be missing at the end of a ranking of the whole collection
        return np.inf if self.ranking.shape[1] >= self.n - 1 else self.ranking.shape[1]

    @property
    def judged(self) -> Judgements:
        """The judgements, which a metric says it needs."""
        assert self.judgements is not None
        return self.judgements

    @cached_property
    def gains(self) -> Float64:
        """The grade of each ranked document, (m, k)."""
        return self.judged.gains(self.ranking)

    @property
    def exact(self) -> ExactRanking:
        """The float32 ranking, which a metric says it needs."""
        assert self.reference is not None
        return self.reference

    @cached_property
    def compared(self) -> Comparison:
        """The ranking matched with the float32 ranking."""
        return Comparison.of(self.ranking, self.exact.ranking)

    @cached_property
    def true_scores(self) -> Float32:
        """Float32 scores of the first `TOP` documents found, (m, TOP)."""
        return true_scores(self.exact.queries, self.exact.docs, self.ranking[:, :TOP])

    @cached_property
    def tie(self) -> Tie:
        """The tie at the tenth place."""
        assert self.collection is not None
        return tie_at(self.scores, self.ranking, CUTOFF, self.collection, self.judgements, self.own)
