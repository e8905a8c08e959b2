"""What "near" means for vectors that exist already: searches are by inner product, and this makes other metrics so.

A cosine is the inner product of vectors scaled to unit length. A Euclidean distance is one in one more dimension, since
-|q - x|^2 / 2 = <q, x> - |x|^2 / 2 - |q|^2 / 2, whose last term is the same for all documents.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError
from harness.base.memmap import Growing, blocks, mapping_of
from methods.base import row_lengths, unit_rows

Array = NDArray[Any]
Metric = Literal["auto", "dot", "cosine", "l2"]

WORDS: dict[str, Metric] = {
    **dict.fromkeys(("dot", "ip", "inner_product", "innerproduct", "normalized", "dot_product"), "dot"),
    **dict.fromkeys(("angular", "cosine", "cos"), "cosine"),
    **dict.fromkeys(("euclidean", "l2", "squared_l2", "sqeuclidean"), "l2"),
}
"""Metrics by what files call them: those of ann-benchmarks and of collections that follow its layout."""

UNIT_TOLERANCE = 5e-3
"""Lengths this near to 1 are 1: rounding to bfloat16 moves each number by up to 2^-9, and a length by less."""


@dataclass(frozen=True)
class Lengths:
    """How long vectors are: the least, the mean and the greatest Euclidean length, rows of zeros left out."""

    least: float
    mean: float
    greatest: float
    mean_square: float

    @classmethod
    def of(cls, vectors: Array) -> Lengths:
        """Measure vectors (n, d) in blocks."""
        least, greatest, total, squares, count = np.inf, 0.0, 0.0, 0.0, 0
        for _, block in blocks(vectors):
            lengths = row_lengths(block)
            lengths = lengths[lengths > 0]
            if len(lengths):
                least, greatest = min(least, float(lengths.min())), max(greatest, float(lengths.max()))
                total, squares = total + float(lengths.sum()), squares + float((lengths**2).sum())
                count += len(lengths)
        if not count:
            return cls(0.0, 0.0, 0.0, 0.0)
        return cls(least, total / count, greatest, squares / count)

    @property
    def unit(self) -> bool:
        """Whether all are 1, up to rounding."""
        return abs(self.least - 1) <= UNIT_TOLERANCE and abs(self.greatest - 1) <= UNIT_TOLERANCE

    @property
    def equal(self) -> bool:
        """Whether all are the same, up to rounding."""
        return self.greatest - self.least <= UNIT_TOLERANCE * self.greatest

    def __str__(self) -> str:
        return f"lengths from {self.least:.3g} to {self.greatest:.3g}, {self.mean:.3g} on average"


@dataclass(frozen=True)
class Asked:
    """What becomes of a query before its inner products with the documents rank as a metric does.

    Attributes
    ----------
    unit : bool
        It is scaled to unit length.
    appended : float or None
        One more number that it gets at its end.
    """

    unit: bool = False
    appended: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what an exported index says of it: empty where a query stays as it is."""
        appended = {} if self.appended is None else {"appended": self.appended}
        return {**({"unit": True} if self.unit else {}), **appended}

    def __str__(self) -> str:
        if self.appended is not None:
            return f"before it is compared, a query gets one more number at its end: {self.appended!r}"
        return "before it is compared, a query is scaled to unit length" if self.unit else ""


@dataclass(frozen=True, eq=False)
class Comparable:
    """Documents and queries whose inner products rank as a metric does.

    Attributes
    ----------
    docs, queries : array (n, d'), (m, d')
        d' is d, or d + 1 for the Euclidean distance.
    metric : {"dot", "cosine", "l2"}
    note : str
        What was done to the vectors; "" if nothing.
    asked : Asked
        What was done to the queries, and is to be done to others.
    """

    docs: Array
    queries: Array
    metric: str
    note: str
    asked: Asked = Asked()


def for_inner_products(
    docs: Array, queries: Array, metric: Metric, *, word: str | None = None, source: str, option: str
) -> Comparable:
    """Return vectors whose inner products rank as the metric does.

    Parameters
    ----------
    docs, queries : array (n, d), (m, d)
        Of any type of real numbers, memory-mapped or not.
    metric : {"auto", "dot", "cosine", "l2"}
        *auto* is the file's own word, or else the documents' lengths decide: where these are equal all metrics rank
        alike.
    word : str or None
        What the file calls its distance.
    source, option : str
        For errors: where the vectors are from, and the option that names their metric.

    Raises
    ------
    DatasetError
        If *auto* does not decide, or the file's own word is not known here.
    """
    # a pass over a corpus that may be larger than memory: made where lengths decide something
    doc_lengths = functools.cache(lambda: Lengths.of(docs))
    if metric == "auto":
        metric = _decided(word, doc_lengths, source, option)
    if metric == "dot" or (metric == "cosine" and doc_lengths().unit and Lengths.of(queries).unit):
        other = word is not None and WORDS.get(word) != metric
        return Comparable(docs, queries, metric, f"{word} in the file, compared by {metric}" if other else "")
    if metric == "cosine":
        return Comparable(
            _mapped(docs, unit_rows),
            _mapped(queries, unit_rows),
            metric,
            "cosine: scaled to unit length",
            Asked(unit=True),
        )
    if doc_lengths().equal:
        return Comparable(
            docs, queries, metric, "l2: documents are equally long, so that the inner product ranks alike"
        )
    mean_square = doc_lengths().mean_square
    scale = float(np.sqrt(mean_square))

    def lengthened(block: Array) -> Array:
        squares = row_lengths(block) ** 2
        return np.column_stack([block, (mean_square - squares) / (2 * scale)])

    asked = _mapped(queries, lambda block: np.column_stack([block, np.full(len(block), scale)]))
    note = "l2: as an inner product, with the squared length in one more dimension"
    return Comparable(_mapped(docs, lengthened), asked, metric, note, Asked(appended=float(np.float32(scale))))


def _decided(word: str | None, lengths: Callable[[], Lengths], source: str, option: str) -> Metric:
    if word is not None:
        known = WORDS.get(word)
        if known is None:
            raise DatasetError(
                f"{source} is for the distance '{word}', which is none of dot, cosine and l2; {option}=dot searches by "
                "inner product all the same"
            )
        return known
    docs = lengths()
    if docs.equal:
        return "dot"
    raise DatasetError(
        f"{source}: are these vectors compared by inner product, by cosine or by Euclidean distance? Their lengths "
        f"differ ({docs}), so that it matters: {option}=dot, "
        f"{option}=cosine or {option}=l2"
    )


def _mapped(vectors: Array, change: Callable[[Array], Array]) -> Array:
    """Return what a function makes of vectors, block by block."""
    rows: Growing | None = None
    for _, block in blocks(vectors):
        changed = change(block)
        if rows is None:
            # what was not in memory before does not come there now
            rows = Growing(changed.shape[1], np.float32, held_bytes=0 if mapping_of(vectors) is not None else None)
        rows.append(changed)
    assert rows is not None
    return rows.matrix()
