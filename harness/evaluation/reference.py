"""What everything is compared against: the uncompressed setting, and the metric that speaks for quality.

Reports, statistics and recommendations ask here; nothing else names float32 or a headline metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.evaluation.metric_registry import metric

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Reference:
    """A reference.

    Attributes
    ----------
    method_of : mapping of str to str
        The method that keeps what the model gives as it is, exactly searched, by what that is as records call it:
        vectors, terms with weights, or a vector for each token.
    judged_metric : str
        The quality where there are relevance judgements: MTEB's for retrieval.
    unjudged_metric : str
        The quality where there are none: the share of the reference's ten best documents that are found.
    """

    method_of: Mapping[str, str] = field(
        default_factory=lambda: {"vectors": "float32", "terms": "sparse_float32", "tokens": "tokens_float32"}
    )
    judged_metric: str = "ndcg_at_10"
    unjudged_metric: str = "overlap_at_10"

    def method(self, representation: str) -> str:
        """Return the method for what a record calls its representation; a hybrid's parts are compared with vectors."""
        return self.method_of.get(representation, self.method_of["vectors"])

    @property
    def methods(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self.method_of.values())

    def marks(self, methods: pd.Series[str]) -> pd.Series[bool]:
        """Return which of some methods are the reference."""
        return methods.isin(self.methods)

    def quality_label(self, judged: bool) -> str:
        """Return what tables call the quality, with relevance judgements or without."""
        return metric(self.judged_metric if judged else self.unjudged_metric).label


REFERENCE = Reference()
"""The one that all records are compared with."""
