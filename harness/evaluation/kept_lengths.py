"""Whether a code keeps how long documents are: where lengths count, one that drops them measures another metric."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from harness.base.errors import ConfigError
from harness.base.memmap import take_vectors
from harness.base.sampling import evenly_spaced
from methods.base import Codec, row_lengths

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


def refuse_lost_lengths(codec: Codec, docs: NDArray[Any]) -> None:
    """Refuse a fitted codec that drops the lengths of documents (n, d) whose inner products depend on them.

    Raises
    ------
    ConfigError
        With the spread of the lengths, and what to do.
    """
    sample = take_vectors(docs, evenly_spaced(len(docs), SAMPLE))
    lengths = row_lengths(sample)
    if lengths.std() <= LEAST_SPREAD * lengths.mean() or slope_of_lengths(codec, sample) >= LEAST_SLOPE:
        return
    raise ConfigError(
        "this method keeps the direction of a document and not its length, but these documents' lengths differ "
        f"({lengths.min():.3g} to {lengths.max():.3g}) and their inner products depend on it, so that it would be "
        "measured by another metric than the one it is compared with: compare by cosine (dataset.metric=cosine, or "
        "model.normalize=true), or choose a method that keeps lengths (renormalize=false, int8, pq)"
    )
