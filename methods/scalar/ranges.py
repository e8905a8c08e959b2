"""Rules by which stores choose the interval that scalar quantisation divides: one for all dimensions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from methods.base import Float32, Part


@dataclass(kw_only=True, eq=False)
class Range(Part, ABC):
    """A rule for the two ends; it has parameters and no state, which is its codec's."""

    @abstractmethod
    def ends(self, docs: Float32) -> tuple[float, float]:
        """Return (low, high) for documents (n, d)."""


@dataclass(kw_only=True, eq=False)
class Fixed(Range):
    """Ends that do not depend on the documents: -1 and 1 hold any unit vector, and most use little of that range.

    usearch, ClickHouse, sqlite-vec and Voyager do this; an embedding's vendor may know better ones.
    """

    low: float = -1.0
    high: float = 1.0

    def _check_parameters(self) -> None:
        self._require(self.low < self.high, f"low must be less than high, got {self.low} and {self.high}")

    def ends(self, docs: Float32) -> tuple[float, float]:
        """Return the parameters."""
        return self.low, self.high


@dataclass(kw_only=True, eq=False)
class Extremes(Range):
    """The smallest and the largest number, or the ones that a share of the numbers lies beyond.

    Parameters
    ----------
    outside : float
        Percent of all numbers left out, half of them at each end (Azure AI Search: 1).
    """

    outside: float = 0.0

    def _check_parameters(self) -> None:
        self._require(0 <= self.outside < 100, f"outside must be in [0, 100) percent, got {self.outside}")

    def ends(self, docs: Float32) -> tuple[float, float]:
        """Return two quantiles of all numbers."""
        if self.outside == 0:
            return float(docs.min()), float(docs.max())
        low, high = np.quantile(docs, [self.outside / 200, 1 - self.outside / 200])
        return float(low), float(high)


@dataclass(kw_only=True, eq=False)
class TailCut(Range):
    """Qdrant's: as many numbers are cut off at each end as the quantile says of *documents*, not of numbers.

    From the numbers of a sample of s documents, max(1, floor(s (1 - quantile) / 2)) go at each end: 25 of 1.9 million
    for 0.99, 5,000 documents and 384 dimensions. Below 127 documents nothing is cut.

    Parameters
    ----------
    quantile : float
    sample : int
        Documents looked at.
    seed : int
    """

    quantile: float = 0.99
    sample: int = 5000
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require(0.5 <= self.quantile <= 1, f"quantile must be in [0.5, 1], got {self.quantile}")
        self._require_at_least(1, "sample")

    def ends(self, docs: Float32) -> tuple[float, float]:
        """Return the ends of what the cut leaves."""
        drawn = sampled(docs, self.sample, self.seed)
        numbers = drawn.ravel()
        cut = 0 if len(docs) < 127 or self.quantile == 1 else max(1, int(len(drawn) * (1 - self.quantile) / 2 + 1e-6))
        cut = min(cut, (len(numbers) - 1) // 2)
        end_ranks = [cut, len(numbers) - 1 - cut]
        ordered = np.partition(numbers, end_ranks)
        return float(ordered[end_ranks[0]]), float(ordered[end_ranks[1]])


@dataclass(kw_only=True, eq=False)
class ChunkQuantiles(Range):
    """Lucene's until 10.3: quantiles of the numbers of 20 documents at a time, averaged, which damps outliers.

    Its first version, 9.9, took those of the whole sample at once: chunk = sample.

    Parameters
    ----------
    confidence : float or None
        Share of the numbers inside; None is 1 - 1 / (d + 1).
    chunk, sample : int
        Documents in a chunk, and in all.
    seed : int
    """

    confidence: float | None = None
    chunk: int = 20
    sample: int = 25_000
    seed: int = 0

    def _check_parameters(self) -> None:
        inside = self.confidence is None or 0 < self.confidence <= 1
        self._require(inside, f"confidence must be in (0, 1], got {self.confidence}")
        self._require_at_least(1, "chunk", "sample")

    def ends(self, docs: Float32) -> tuple[float, float]:
        """Return the averages of the chunks' quantiles."""
        confidence = 1 - 1 / (docs.shape[1] + 1) if self.confidence is None else self.confidence
        low, high = chunk_quantiles(sampled(docs, self.sample, self.seed), self.chunk, [confidence])[0]
        return low, high


@dataclass(kw_only=True, eq=False)
class ScoreCorrelation(Range):
    """Lucene's "dynamic" interval, its default for 4 bits until 10.3: the one that keeps the nearest documents' scores.

    Between the intervals of confidence 1 - 1 / (d + 1) and 1 - min(32, d / 10) / (d + 1), 17 lower and 17 upper ends
    are tried, every fourth at first and then those around the best; what is maximised is the mean over sampled
    documents of 1 - Var(quantised score - score) / Var(score) over their ten nearest neighbours.

    Parameters
    ----------
    steps : int
        Steps that the interval is divided into, 15 at 4 bits.
    sample : int
        Documents looked at.
    chunk : int
        Documents of a chunk of `ChunkQuantiles`.
    neighbours : int
    seed : int

    Notes
    -----
    Apache Lucene 9.9 to 10.3, `ScalarQuantizer.fromVectorsAutoInterval`. There the candidates are jittered at random.
    """

    steps: int = 15
    sample: int = 1000
    chunk: int = 20
    neighbours: int = 10
    seed: int = 0

    def ends(self, docs: Float32) -> tuple[float, float]:
        """Return the ends whose scores are closest to the exact ones."""
        d = docs.shape[1]
        drawn = sampled(docs, self.sample, self.seed)
        if len(drawn) <= self.neighbours:
            return float(drawn.min()), float(drawn.max())
        wide, narrow = chunk_quantiles(drawn, self.chunk, [1 - 1 / (d + 1), 1 - min(32, d / 10) / (d + 1)])
        lows, highs = np.linspace(wide[0], narrow[0], 17), np.linspace(narrow[1], wide[1], 17)
        alike = drawn @ drawn.T
        np.fill_diagonal(alike, -np.inf)
        near = np.argpartition(-alike, self.neighbours, axis=1)[:, : self.neighbours]
        exact = np.einsum("ijk,ik->ij", drawn[near].astype(np.float64), drawn.astype(np.float64))
        spread = exact.var(axis=1)

        def kept(low: float, high: float) -> float:
            step = (high - low) / self.steps
            if step <= 0:
                return -np.inf
            decoded = low + step * np.rint((np.clip(drawn, low, high) - low) / step)
            correction = ((np.clip(drawn, low, high) - decoded) * (decoded - low)).sum(axis=1)
            scores = np.einsum("ijk,ik->ij", decoded[near], decoded) + correction[near] + correction[:, None]
            lost = np.divide((scores - exact).var(axis=1), spread, out=np.zeros(len(spread)), where=spread > 0)
            return float(1 - lost.mean())

        tried = {(i, j): kept(lows[i], highs[j]) for i in range(0, 17, 4) for j in range(0, 17, 4)}
        i, j = max(tried, key=lambda pair: tried[pair])
        around = [(a, b) for a in range(max(0, i - 3), min(17, i + 4)) for b in range(max(0, j - 3), min(17, j + 4))]
        tried |= {(a, b): kept(lows[a], highs[b]) for a, b in around if (a, b) not in tried}
        i, j = max(tried, key=lambda pair: tried[pair])
        return float(lows[i]), float(highs[j])


def chunk_quantiles(docs: Float32, chunk: int, confidences: list[float]) -> list[tuple[float, float]]:
    """Return, for each confidence, the mean over chunks of documents of the two quantiles that enclose that share."""
    chunks = [docs[start : start + chunk] for start in range(0, len(docs), chunk)]
    ranges = []
    for confidence in confidences:
        ends = np.array([np.quantile(part, [(1 - confidence) / 2, (1 + confidence) / 2]) for part in chunks])
        low, high = ends.mean(axis=0)
        ranges.append((float(low), float(high)))
    return ranges


def sampled(docs: Float32, size: int, seed: int) -> Float32:
    """Return `size` of the documents drawn without replacement, in their order, or all if there are no more."""
    if len(docs) <= size:
        return docs
    return docs[np.sort(np.random.default_rng(seed).choice(len(docs), size, replace=False))]
