"""Whether a code ranks by inner products where documents' lengths differ.

One that drops lengths, or compares by distance since that is the same between unit vectors, measures another metric.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from numpy.typing import NDArray

from harness.base.errors import ConfigError
from harness.base.memmap import take_vectors
from harness.base.sampling import evenly_spaced
from methods.base import Codec, Part, row_lengths

SAMPLE = 500
"""Documents that are looked at."""

LEAST_SPREAD = 0.02
"""Standard deviation over mean of lengths that are as good as equal: what they change in a ranking is lost in the
code's own error."""

LEAST_SLOPE = 0.04
"""Of decoded lengths over true ones, each over its mean. Over the catalogue, fitted on 600 documents whose lengths
vary as exp(.5 normal), the methods that normalise have at most .025; of the others the coarsest tables have .06
(dedup), .16 (dhe) and .29 (robe), and all the rest at least .38."""


def slope_of_lengths(codec: Codec, docs: NDArray[Any]) -> float:
    """Return how decoded lengths grow with true ones: 1 where they are kept, 0 where all come out alike.

    Parameters
    ----------
    codec : fitted Codec
    docs : float32 (n, d)
        Whose lengths differ.
    """
    true = row_lengths(docs)
    decoded = row_lengths(codec.doc_matrix(codec.encode(docs)))
    true, decoded = true / true.mean() - 1, decoded / max(float(decoded.mean()), 1e-30) - 1
    return float((true * decoded).sum() / (true**2).sum())


def compares_by_distance(codec: Part) -> bool:
    """Whether any tier of a codec ranks by Euclidean distance."""
    within = [getattr(codec, field.name) for field in dataclasses.fields(codec)]
    parts = [part for value in within for part in (value if isinstance(value, list) else [value])]
    nested = any(compares_by_distance(part) for part in parts if isinstance(part, Part))
    return nested or (isinstance(codec, Codec) and codec.by_distance)


def refuse_lost_lengths(codec: Codec, docs: NDArray[Any]) -> None:
    """Refuse a fitted codec that drops the lengths of documents (n, d) whose inner products depend on them.

    So is one that compares by distance refused.

    Raises
    ------
    ConfigError
        With the spread of the lengths, and what to do.
    """
    sample = take_vectors(docs, evenly_spaced(len(docs), SAMPLE))
    lengths = row_lengths(sample)
    if lengths.std() <= LEAST_SPREAD * lengths.mean():
        return
    if compares_by_distance(codec):
        wrong = "ranks by Euclidean distance, which is the order of inner products between unit vectors only"
    elif slope_of_lengths(codec, sample) < LEAST_SLOPE:
        wrong = "keeps the direction of a document and not its length"
    else:
        return
    raise ConfigError(
        f"this method {wrong}, but these documents' lengths differ ({lengths.min():.3g} to {lengths.max():.3g}) and "
        "their inner products depend on it, so that it would be measured by another metric than the one it is compared "
        "with: compare by cosine (dataset.metric=cosine, or model.normalize=true), or choose a method that keeps "
        "lengths (renormalize=false, int8, pq)"
    )
