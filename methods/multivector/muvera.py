"""One vector instead of many: MUVERA's fixed dimensional encodings, and the mean of all vectors."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Float32, Transform, project, unit_rows
from methods.parallel import one_thread
from methods.representations import Kind
from methods.token_vectors import TokenVectors

BLOCK_NUMBERS = 1 << 24
"""Numbers of encodings that are made at a time before a final projection."""

BLOCK_TOKENS = 1 << 13

MOST_SIGNS = 1 << 27
"""Numbers of a dense final projection: 1 GB."""

MOST_BUCKETS = 16
"""Bits of a bucket's number: 2^16 buckets a repetition."""

Fill = Literal["token", "bucket", "none"]
Draw = tuple[NDArray[np.float64], NDArray[np.float64] | None]
"""Hyperplanes (d, repetitions x k_sim), and projections (d, repetitions x dim_proj) or None."""


@dataclass(kw_only=True, eq=False)
class Muvera(Transform):
    """Fixed dimensional encodings: inner products of two of them estimate MaxSim (Dhulipala et al., 2024).

    In each repetition, `k_sim` random hyperplanes divide the space into 2^k_sim buckets. A query's encoding has the sum
    of its vectors in each bucket, a document's the mean; both are projected to `dim_proj` numbers by random signs. The
    buckets of all repetitions stand one after another. Encodings have no unit length, and it is the inner product that
    estimates MaxSim; stores that compare them by cosine (Weaviate, Qdrant's documentation) rank otherwise.

    Hyperplanes and signs follow from the seed, and so are no state: with `np.random.default_rng(seed)`, normal numbers
    (d, k_sim) for each repetition in turn, then signs (repetitions, d, dim_proj), as fastembed draws them. Bit j of a
    bucket's number is the side of the j-th hyperplane. Google's numbers are a permutation of these (Gray codes), which
    changes no score. A checksum of what was drawn is state, since NumPy may one day draw other numbers.

    Parameters
    ----------
    k_sim : int
    dim_proj : int or None
        None leaves vectors as they are.
    repetitions : int
    fill : {"token", "bucket", "none"}
        What an empty bucket of a document gets: the vector of the *token* in the nearest bucket by bits that differ, of
        equals the first of the text (Google, Weaviate); or the first vector of the nearest *bucket*, of equals that
        with the least number (fastembed). Queries are never filled.
    projection : {"dense", "sketch"}
        *dense*: all numbers with random signs, over sqrt(dim_proj) (the paper, fastembed, Weaviate). *sketch*: each
        number goes to one of the `dim_proj` with a random sign (Google's code, its AMS_SKETCH).
    final_dim : int or None
        Project the whole encoding to so many numbers.
    final_projection : {"sketch", "dense"}
        As `projection`; the paper's is dense, Google's code sketches.
    centre : bool
        Take the mean of all documents' vectors from documents first: it adds the same to every score of a query, whose
        vectors stay as they are and are put into buckets about that mean.
    seed : int
    """

    k_sim: int = 5
    dim_proj: int | None = 16
    repetitions: int = 20
    fill: Fill = "token"
    projection: Literal["dense", "sketch"] = "dense"
    final_dim: int | None = None
    final_projection: Literal["sketch", "dense"] = "sketch"
    centre: bool = False
    seed: int = 42

    takes: ClassVar[Kind] = "tokens"

    def _check_parameters(self) -> None:
        self._require_at_least(0, "k_sim")
        self._require(self.k_sim <= MOST_BUCKETS, f"k_sim must be at most {MOST_BUCKETS}, got {self.k_sim}")
        self._require_at_least(1, "dim_proj", "repetitions", "final_dim")

    @property
    def encoding_dim(self) -> int:
        """Numbers of an encoding before a final projection."""
        return self.repetitions * (1 << self.k_sim) * (self.dim_proj or self._check_fitted())

    def _fit(self, docs: TokenVectors, queries: Any) -> None:
        vars(self).pop("centre_", None)
        self._require(
            self.dim_proj is None or self.dim_proj <= docs.width,
            f"dim_proj={self.dim_proj} is wider than the vectors, which have {docs.width} dimensions",
        )
        rows = self.repetitions * (1 << self.k_sim) * (self.dim_proj or docs.width)
        self._require(
            self.final_dim is None or self.final_projection == "sketch" or rows * self.final_dim <= MOST_SIGNS,
            f"final_projection=dense needs {rows} x {self.final_dim} numbers: use sketch, or fewer dimensions",
        )
        self._forget()
        self.check_ = _checksum(self._draw(docs.width))
        if self.centre:
            total = np.zeros(docs.width)
            for _, block in docs.blocks():
                total += block.flat().sum(axis=0, dtype=np.float64)
            self.centre_ = (total / max(1, docs.tokens)).astype(np.float32)

    def _forget(self) -> None:
        for name in ("_drawn", "_final"):
            vars(self).pop(name, None)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over the state; what follows from the seed is drawn again when it is needed."""
        self._forget()
        return super().load_state(arrays)

    def _draw(self, dim: int) -> Draw:
        rng = np.random.default_rng(self.seed)
        planes = [rng.normal(size=(dim, self.k_sim)) for _ in range(self.repetitions)]
        hyperplanes = np.concatenate(planes, axis=1)
        # fastembed leaves vectors that are no wider as they are
        if self.dim_proj is None or self.dim_proj >= dim:
            return hyperplanes, None
        shape = (self.repetitions, dim, self.dim_proj)
        signs = rng.choice([-1, 1], size=shape).astype(np.float64)
        if self.projection == "sketch":
            place = rng.integers(self.dim_proj, size=shape[:2])
            signs = signs * (place[:, :, None] == np.arange(self.dim_proj))
        else:
            signs /= np.sqrt(self.dim_proj)
        return hyperplanes, signs.transpose(1, 0, 2).reshape(dim, -1)

    @cached_property
    def _drawn(self) -> Draw:
        draw = self._draw(self._check_fitted())
        self._require(
            _checksum(draw) == vars(self).get("check_"),
            f"NumPy {np.__version__} draws other numbers from seed={self.seed} than documents were encoded with: "
            "use the version that encoded them, or encode them again",
        )
        return draw

    @cached_property
    def _final(self) -> Any:
        """The final projection (encoding_dim, final_dim): a scipy matrix with one number a row, or a dense one."""
        assert self.final_dim is not None
        rng, rows = np.random.default_rng([self.seed, self.repetitions]), self.encoding_dim
        if self.final_projection == "dense":
            return rng.choice([-1.0, 1.0], size=(rows, self.final_dim)) / np.sqrt(self.final_dim)
        from scipy.sparse import csr_array

        place, sign = rng.integers(self.final_dim, size=rows), rng.choice([-1.0, 1.0], size=rows)
        return csr_array((sign, place, np.arange(rows + 1)), shape=(rows, self.final_dim))

    def _transform_docs(self, docs: TokenVectors) -> Float32:
        return self._encodings(docs, means=True)

    def _transform_queries(self, queries: TokenVectors) -> Float32:
        return self._encodings(queries, means=False)

    def _encodings(self, docs: TokenVectors, means: bool) -> Float32:
        """Return the encodings of documents (means) or queries, float32 (n, d')."""
        width = self.final_dim or self.encoding_dim
        encodings = np.empty((len(docs), width), np.float32)
        with one_thread():
            step = max(1, BLOCK_NUMBERS // self.encoding_dim)
            for start in range(0, len(docs), step):
                for first, block in docs[start : start + step].blocks(BLOCK_TOKENS):
                    own = self._encoded(block.float32(), means)
                    if self.final_dim is not None:
                        own = (own.astype(np.float64) @ self._final).astype(np.float32)
                    encodings[start + first : start + first + len(own)] = own
        return encodings

    def _encoded(self, docs: TokenVectors, means: bool) -> Float32:
        from methods.kernels import muvera as kernel

        hyperplanes, projections = self._drawn
        values, tokens = docs.values, docs.tokens
        about = values - self.centre_ if "centre_" in vars(self) else values
        sides = project(about, hyperplanes).reshape(tokens, self.repetitions, self.k_sim) > 0
        buckets = sides @ (1 << np.arange(self.k_sim)) if self.k_sim else np.zeros(sides.shape[:2], np.int64)
        # what is taken from documents alone adds the same to all scores of a query
        values = about if means else values
        own = values[:, None] if projections is None else project(values, projections)
        width = self.dim_proj or docs.width
        own = np.ascontiguousarray(own).reshape(tokens, 1 if projections is None else self.repetitions, width)
        encodings = np.empty((len(docs), self.encoding_dim), np.float32)
        fill = {"none": kernel.NONE, "token": kernel.TOKEN, "bucket": kernel.BUCKET}[self.fill if means else "none"]
        kernel.bucket_sums(own, buckets.astype(np.int64), docs.offsets, 2**self.k_sim, means, fill, encodings)
        return encodings


def _checksum(draw: Draw) -> int:
    """Return a checksum of signs, which are the same on every machine where the generator is."""
    signs = np.concatenate([part.ravel() > 0 for part in draw if part is not None])
    return zlib.crc32(np.packbits(signs).tobytes())


@dataclass(kw_only=True, eq=False)
class MeanOfTokens(Transform):
    """The mean of a document's vectors, as most models with one vector give it: the floor of one instead of many.

    Parameters
    ----------
    renormalize : bool
        Scale it to unit length. A document without vectors is zero.
    """

    renormalize: bool = True

    takes: ClassVar[Kind] = "tokens"

    def _transform_docs(self, docs: TokenVectors) -> Float32:
        means = np.zeros((len(docs), docs.width), np.float32)
        for first, block in docs.blocks():
            filled = np.flatnonzero(block.counts)
            if len(filled):
                own = block.float32()
                sums = np.add.reduceat(own.values.astype(np.float64), own.offsets[:-1][filled], axis=0)
                means[first + filled] = sums / own.counts[filled, None]
        return unit_rows(means) if self.renormalize else means
