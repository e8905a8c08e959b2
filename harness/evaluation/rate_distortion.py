"""How far a method's error is from the least that any code of as many bits could reach: rate-distortion theory.

The bound is that of a Gaussian source with the measured vectors' covariance, by reverse water-filling (Cover and
Thomas, 2006, section 10.3.3). Power and error are about the mean as well: what all documents share costs no bits, and
what an answer is off by for all of them alike changes no ranking. (Until version 0.3 they were about zero, so that a
model whose mean document has length .9 looked five times easier than it is.) Three things to know when reading a
distance to it:

- Of all sources with a given covariance the Gaussian is the hardest to compress. Real vectors have more structure
  (clusters) and can be coded below the bound.
- What all documents share (codebooks, matrices, the code itself) counts nothing: a method may learn it by heart.
- It holds for codes of many vectors at once. A code of each vector on its own cannot quite reach it.

The bound on errors of scores takes the second moment of the very queries that are asked. Where they are fewer than the
dimensions, only a code made for them could come near, and the distance to it compares methods of one size, no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.base.memmap import take, take_vectors
from harness.base.sampling import evenly_spaced
from methods.base import Codec, Codes, row_blocks

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

MAX_DOCS = 20_000
MAX_QUERIES = 1_000
"""Documents and queries that errors are measured on; where there are more, so many are taken, evenly spaced."""

KEPT_BYTES = 1 << 26
"""Scores of so many bytes at most are kept for the next method."""

ROUNDING = 1e-9
"""An error below this share of the power is float32's rounding, and no distance is given for it."""

ABOUT = "mean"
"""What powers, errors and bounds are about, as records name it."""

LINEAR = 1e-4
"""Largest deviation from linearity, as a share of the largest score, that rounding may cause."""


def distortion(eigenvalues: ArrayLike, bits: float) -> float:
    """Return the least mean squared error of a Gaussian vector coded with so many bits, D(R).

    Reverse water-filling: each component keeps an error of at most the water level theta, and those below it get no
    bits, D = sum_i min(theta, lambda_i) where R = sum_i max(0, log2(lambda_i / theta) / 2).

    Source: Cover and Thomas, 2006, theorem 10.3.3.

    Parameters
    ----------
    eigenvalues : array_like of float (d,)
        Eigenvalues of the second moment, in any order; what is not above zero needs no bits.
    bits : float
        For the whole vector.
    """
    values, tails = _sorted(eigenvalues)
    if not len(values):
        return 0.0
    k, level = _water_level(values, bits)
    return float(k * level + tails[k])


def water_level(eigenvalues: ArrayLike, bits: float) -> float:
    """Return the level theta of `distortion`, the error that no component exceeds; 0 if no eigenvalue is above zero.

    Component i takes log2(lambda_i / theta) / 2 bits, and those below the level take none.
    """
    values, _ = _sorted(eigenvalues)
    return _water_level(values, bits)[1] if len(values) else 0.0


def _water_level(values: Float64, bits: float) -> tuple[int, float]:
    """Return how many of the positive eigenvalues (k,), in descending order, get bits, and the level."""
    active = np.arange(1, len(values) + 1)
    logs = np.cumsum(np.log2(values))
    # what it takes to bring the level down to each component
    needed = (logs - active * np.log2(values)) / 2
    k = max(1, int(np.searchsorted(needed, bits, side="right")))
    return k, float(2.0 ** ((logs[k - 1] - 2 * bits) / k))


def rate(eigenvalues: ArrayLike, error: float) -> float:
    """Return the fewest bits that code a Gaussian vector with a mean squared error, R(D): the inverse of `distortion`.

    It is 0 for an error of at least the power, and infinite for none.
    """
    values, tails = _sorted(eigenvalues)
    if error >= tails[0]:
        return 0.0
    if error <= 0:
        return float("inf")
    active = np.arange(1, len(values) + 1)
    # the error while the level is at each component; falls from the power to d times the last eigenvalue
    k = int(np.count_nonzero(active * values + tails[1:] > error))
    level = (error - tails[k]) / k
    return float(np.log2(values[:k] / level).sum() / 2)


def _sorted(eigenvalues: ArrayLike) -> tuple[Float64, Float64]:
    """Return the positive eigenvalues (k,) in descending order, and the sum of those from each on, (k + 1,)."""
    spectrum = np.asarray(eigenvalues, dtype=np.float64)
    values = np.sort(spectrum[spectrum > 0])[::-1]
    return values, np.append(np.cumsum(values[::-1])[::-1], 0.0)


def covariance(vectors: Float32) -> Float64:
    """Return the covariance of vectors (n, d), float64 (d, d): their second moment about the mean."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    return second_moment(vectors) - np.outer(mean, mean)


def second_moment(vectors: Float32) -> Float64:
    """Return the uncentred second moment of vectors (n, d), float64 (d, d)."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start, stop in row_blocks(len(vectors), 8 * vectors.shape[1]):
        block = vectors[start:stop].astype(np.float64)
        total += block.T @ block
    return total / len(vectors)


@dataclass(frozen=True)
class Distance:
    """A measured mean squared error beside its bound.

    Attributes
    ----------
    power : float
        Variance of what was to be reproduced; the error of answering the mean.
    distortion : float
        Mean squared error, after the best factor for all (which any decoder could have applied) and, for each question,
        what is best added for all documents (which no ranking sees).
    bound : float
        D(R) at the bits that the codes take.
    db_over_bound : float or None
        10 log10(distortion / bound); None where the error is float32's rounding.
    excess_bits_per_dim : float or None
        Bits that the codes take and R(D) at the measured error does not, over d.
    """

    power: float
    distortion: float
    bound: float
    db_over_bound: float | None
    excess_bits_per_dim: float | None

    @classmethod
    def of(cls, sums: Sums, spectrum: Float64, bits: float, dim: int) -> Distance | None:
        """Compare sums over all documents with the bound; None if they are not finite."""
        power, error = sums.power / sums.n, sums.error / sums.n
        if not np.isfinite([power, error]).all():
            return None
        bound = distortion(spectrum, bits)
        if error <= ROUNDING * power or bound <= 0:
            return cls(power, error, bound, None, None)
        excess = (bits - rate(spectrum, error)) / dim
        return cls(power, error, bound, float(10 * np.log10(error / bound)), excess)


class Sums:
    """Products of truths and answers about their means, collected block by block in float64.

    Parameters
    ----------
    questions : int
        Columns of what is added.
    """

    def __init__(self, questions: int) -> None:
        self.n = 0
        self._products = np.zeros((3, questions))
        """Sums of truth^2, truth answer and answer^2, by question."""
        self._totals = np.zeros((2, questions))
        """Sums of truths and of answers to each question."""

    def add(self, truth: Float32, answer: Float32) -> None:
        """Add the products of true scores and of a method's answers, both float32 (rows, questions)."""
        from harness.evaluation import counting  # numba takes a while to import

        self.n += len(truth)
        counting.add_moments(
            np.ascontiguousarray(truth, dtype=np.float32),
            np.ascontiguousarray(answer, dtype=np.float32),
            self._totals,
            self._products,
        )

    def _about_means(self) -> tuple[float, float, float]:
        truths, answers = self._totals
        shared = np.array([truths @ truths, truths @ answers, answers @ answers]) / max(self.n, 1)
        products = self._products.sum(axis=1)
        truth, mixed, answer = products - shared
        # what is left of answers that are all alike is rounding
        says_nothing = answer <= ROUNDING * products[2]
        return max(float(truth), 0.0), float(mixed), 0.0 if says_nothing else float(answer)

    @property
    def power(self) -> float:
        """Sum of squared truths about their means."""
        return self._about_means()[0]

    @property
    def error(self) -> float:
        """Sum of squared differences between truths and the best multiple of the answers, both about their means."""
        truth, mixed, answer = self._about_means()
        return float(np.maximum(truth - mixed**2 / answer, 0.0)) if answer else truth


@dataclass(frozen=True, eq=False)
class Limits:
    """What the errors of all methods on one collection are compared with.

    Attributes
    ----------
    rows : int64 (s,)
        Documents on which errors are measured.
    docs : float32 (s, d)
    queries : float32 (m, d)
        Test queries, for the errors of scores: this is measuring, and no method sees them.
    probes : float32 (p, d), p <= m
        Vectors with the second moment of the queries: what is linear in the query needs no more of them than d.
    vector_spectrum, score_spectrum : float64 (d,)
        Eigenvalues of Sx, and of Sq^1/2 Sx Sq^1/2, where Sx is the covariance of documents and Sq the second moment of
        queries: an error e in a document is an error of mean square e' Sq e in its scores.
    """

    rows: Int64
    docs: Float32
    queries: Float32
    probes: Float32
    vector_spectrum: Float64
    score_spectrum: Float64

    @classmethod
    def of(cls, docs: Float32, queries: Float32) -> Limits:
        """Return the bounds for documents (n, d) and queries (m, d)."""
        rows = evenly_spaced(len(docs), MAX_DOCS)
        sampled_docs = np.ascontiguousarray(docs if len(rows) == len(docs) else take(docs, rows), dtype=np.float32)
        sampled_queries = np.ascontiguousarray(queries[evenly_spaced(len(queries), MAX_QUERIES)])
        of_docs, of_queries = covariance(sampled_docs), second_moment(sampled_queries)
        values, vectors = np.linalg.eigh(of_queries)
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        return cls(
            rows=rows,
            docs=sampled_docs,
            queries=sampled_queries,
            probes=sampled_queries / np.float32(np.sqrt(len(sampled_queries)))
            if len(sampled_queries) <= len(root)
            else root.astype(np.float32),
            vector_spectrum=np.linalg.eigvalsh(of_docs).astype(np.float64),
            score_spectrum=np.linalg.eigvalsh(root @ of_docs @ root.T).astype(np.float64),
        )

    def on(self, docs: Float32, rows: Int64) -> Limits:
        """Return the same bounds for the errors on some of the documents (n, d) only."""
        sampled_rows = rows[evenly_spaced(len(rows), MAX_DOCS)]
        return replace(self, rows=sampled_rows, docs=take_vectors(docs, sampled_rows))

    def distances(self, codec: Codec, codes: Codes, code_bytes_per_vector: float) -> dict[str, dict[str, Any] | None]:
        """Measure a method against both bounds.

        Parameters
        ----------
        codec : fitted Codec
        codes : Codes
            Codes of all documents of the collection.
        code_bytes_per_vector : float

        Returns
        -------
        dict
            Two `Distance`s. *vector*: of the reconstruction, which is what the method scores for the unit vectors as
            queries; None where its scores are not linear in the query. *score*: of its scores of the test queries.
        """
        dim, bits = self.docs.shape[1], 8 * code_bytes_per_vector
        vector, score = Sums(dim), Sums(len(self.probes))
        if is_linear(codec, codes, dim):
            for rows, reconstructed, answers in self._answers(codec, codes, self.probes, np.eye(dim, dtype=np.float32)):
                vector.add(self.docs[rows], reconstructed)
                score.add(self._true_scores(rows), answers)
        else:
            score = Sums(len(self.queries))
            weight = np.float32(1 / np.sqrt(len(self.queries)))
            for rows, _, answers in self._answers(codec, codes, self.queries, self.queries[:0]):
                score.add(weight * (self.docs[rows] @ self.queries.T), weight * answers)
        by_kind = {
            "vector": Distance.of(vector, self.vector_spectrum, bits, dim) if vector.n else None,
            "score": Distance.of(score, self.score_spectrum, bits, dim),
        }
        return {name: None if distance is None else asdict(distance) for name, distance in by_kind.items()}

    def _answers(
        self, codec: Codec, codes: Codes, queries: Float32, axes: Float32
    ) -> Iterator[tuple[slice, Float32, Float32]]:
        """Yield runs of `rows`, and what the method scores these for axes and for queries: (b, axes), (b, queries)."""
        runs = row_blocks(len(self.rows), 4 * (len(queries) + 2 * self.docs.shape[1]))
        if type(codec).score is Codec.score and codec.row_wise:
            # its scores are products of two matrices; the first is often the axes themselves
            asked, along = codec.query_matrix(queries), codec.query_matrix(axes) if len(axes) else axes
            as_they_are = np.array_equal(along, axes)
            for start, stop in runs:
                docs = codec.doc_matrix(_picked(codes, self.rows[start:stop]))
                yield slice(start, stop), docs if as_they_are else docs @ along.T, docs @ asked.T
            return
        both = np.vstack([axes, queries])
        all_scores = None if codec.row_wise else codec.score(both, codes)
        for start, stop in runs:
            rows = self.rows[start:stop]
            scores = codec.score(both, _picked(codes, rows)) if all_scores is None else all_scores[:, rows]
            yield slice(start, stop), scores[: len(axes)].T, scores[len(axes) :].T

    def _true_scores(self, rows: slice) -> Float32:
        """Return the documents' scores of the probes, (b, p); they are kept for the next method if they are few."""
        kept = self._kept_scores
        scores: Float32 = self.docs[rows] @ self.probes.T if kept is None else kept[rows]
        return scores

    @cached_property
    def _kept_scores(self) -> Float32 | None:
        if 4 * len(self.docs) * len(self.probes) > KEPT_BYTES:
            return None
        scores: Float32 = self.docs @ self.probes.T
        return scores


def is_linear(codec: Codec, codes: Codes, dim: int) -> bool:
    """Whether scores are linear in the query, up to rounding; false where queries are quantised, centred or normalised.

    Tried on random vectors a and b: f(a + b) = f(a) + f(b) and f(2a) = 2 f(a).
    """
    a, b = np.random.default_rng(0).standard_normal((2, dim)) / np.sqrt(dim)
    sampled_codes = _picked(codes, evenly_spaced(codes.n, 100)) if codec.row_wise else codes
    of_a, of_b, of_sum, of_double = codec.score(np.array([a, b, a + b, 2 * a], dtype=np.float32), sampled_codes)
    deviation = np.abs([of_a + of_b - of_sum, 2 * of_a - of_double]).max()
    return bool(deviation <= LINEAR * np.abs([of_a, of_b]).max())


def _picked(codes: Codes, rows: Int64) -> Codes:
    """Return the codes of some rows."""
    if len(rows) == codes.n:
        return codes
    return Codes(n=len(rows), rows={name: take(array, rows) for name, array in codes.rows.items()}, shared=codes.shared)
