"""Tokens as the nearest of many centroids and a few bits of what is left: ColBERTv2, PLAID, WARP, EMVB, ColBERTSaR."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, MethodError, Ragged, arrays_under, unit_rows
from methods.kernels.bitfields import index_bits
from methods.kernels.id_runs import pack_runs, string_lengths, unpack_runs
from methods.multivector.centroids import Nearest, k_means
from methods.multivector.codec import FIT_TOKENS, TOKENS, TokenCodec
from methods.multivector.token_rows import TokenRows
from methods.parallel import on_cores
from methods.token_vectors import TOKEN_BLOCK, TokenVectors, offsets_of

TYPICAL_LENGTH = 120
"""Tokens that ColBERT takes a document to have when it decides how many to sample."""

HELD_OUT, MOST_HELD_OUT = 20, 50_000
"""One token in so many, and no more than so many, are kept from k-means: their residuals are those of new tokens."""

POINTS_PER_CENTROID = 256
"""Tokens a centroid that k-means learns from at most, as in FAISS."""

Int64 = NDArray[np.int64]


@dataclass(kw_only=True, eq=False)
class ResidualTokens(TokenCodec):
    """A token is the number of its centroid, then the code of the difference from it (Santhanam et al., 2022).

    Stored for a document: the numbers of its tokens' centroids, then the residuals' codes, in one string of bytes.

    Parameters
    ----------
    residual : Codec or None
        Encodes residuals: `methods.PooledQuantiles` in ColBERTv2, product quantisation in EMVB (Nardini, Rulli and
        Venturini, 2024). It decodes to the space of its input. None: centroids only.
    centroids : int or None
        How many; None is ColBERT's rule: of 16 sqrt(tokens) the power of two that is not larger. Never more than the
        tokens that they are learnt from.
    iterations : int
        Of k-means.
    spherical : bool
        k-means by inner product with centroids of unit length, as in WARP; otherwise they are scaled afterwards.
    ids : {"bits", "int32", "int64"}
        How a centroid's number is stored: in as few bits as there are centroids for, or as ColBERT (int32) and
        fast-plaid (int64) do.
    fit_tokens : int or None
        Tokens that all is learnt from, at most; None is ColBERT's sample of 1 + 16 sqrt(120 n) documents, which is all
        of them up to 30,000.
    renormalize : bool or "auto"
        Scale each decoded token to unit length, as ColBERT and fast-plaid do and WARP does not.
    seed : int
        Seed of the sample and of k-means.
    """

    residual: Codec | None = None
    centroids: int | None = None
    iterations: int = 4
    spherical: bool = False
    ids: Literal["bits", "int32", "int64"] = "bits"
    fit_tokens: int | None = FIT_TOKENS
    renormalize: bool | Literal["auto"] = True
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require_at_least(1, "centroids", "fit_tokens")
        self._require_at_least(0, "iterations")
        if self.residual is None:
            return
        name = type(self.residual).__name__
        self._require(self.residual.takes == "vectors", "residual must be a code for one vector")
        self._require(
            self.residual.row_wise and not self.residual.searches_whole and not self.residual.wants_queries,
            f"residual must encode each vector on its own, and learn from nothing else, which {name} does not",
        )
        self._require(self.residual.scoring == "asymmetric", f"set scoring on the whole, not on {name}")

    def _fit(self, docs: TokenVectors, queries: Any) -> None:
        rng = np.random.default_rng(self.seed)
        self._forget()
        sample = self._sample(docs, rng)
        tokens = sample.float32().values[rng.permutation(sample.tokens)]
        if not len(tokens):
            raise MethodError("ResidualTokens: the documents have no vectors to learn centroids from")
        held = min(len(tokens) // HELD_OUT, MOST_HELD_OUT)
        learnt = tokens[held:]
        count = self.centroids or centroid_count(sample.tokens * len(docs) / len(sample))
        count = min(count, len(learnt))
        learnt = learnt[: POINTS_PER_CENTROID * count]
        found = k_means(learnt, count, self.iterations, self.spherical, rng)
        self.centroids_ = unit_rows(found).astype(np.float16)
        if self.residual is not None:
            # codebooks ask for more than a share of the sample
            apart = learnt if self.residual.codebook_size or not held else tokens[:held]
            self.residual.fit(np.concatenate([left for _, left in self._taken_apart(apart)]))

    def _sample(self, docs: TokenVectors, rng: np.random.Generator) -> TokenVectors:
        """Return the documents that are learnt from, in their order."""
        n = len(docs)
        count = min(n, 1 + int(16 * math.sqrt(TYPICAL_LENGTH * n)))
        if self.fit_tokens is not None:
            count = min(count, max(1, n * self.fit_tokens // max(1, docs.tokens)))
        return docs if count == n else docs.take(np.sort(rng.choice(n, count, replace=False)))

    def _forget(self) -> None:
        for name in ("_wide", "_nearest", "_rows"):
            vars(self).pop(name, None)

    @cached_property
    def _wide(self) -> Float32:
        """The centroids as they are used, float32 (k, d)."""
        return self.centroids_.astype(np.float32)

    @cached_property
    def _nearest(self) -> Nearest:
        return Nearest(self._wide)

    @cached_property
    def _rows(self) -> TokenRows | None:
        return None if self.residual is None else TokenRows(self.residual, self._check_fitted())

    @property
    def _id_bits(self) -> int:
        whole = {"int32": 32, "int64": 64}
        # a string's length must say how many tokens there are, and would not if several fitted a byte
        least = 8 if self.residual is None else 1
        return whole.get(self.ids) or max(least, index_bits(len(self.centroids_)))

    @property
    def _residual_bytes(self) -> int:
        return 0 if self._rows is None else self._rows.nbytes

    def _taken_apart(self, tokens: Float32) -> Any:
        """Yield (numbers of centroids, residuals float32) of blocks of vectors (n, d)."""

        def work(block: Float32) -> tuple[NDArray[np.int32], Float32]:
            _, which = self._nearest.of(block)
            return which, (block - self._wide[which]).astype(np.float32, copy=False)

        starts = range(0, len(tokens), TOKEN_BLOCK)
        return on_cores(work, ((tokens[start : start + TOKEN_BLOCK],) for start in starts))

    def _encode(self, docs: TokenVectors) -> Codes:
        which = np.empty(docs.tokens, np.int32)
        packed = np.empty((docs.tokens, self._residual_bytes), np.uint8)

        def work(place: slice, block: Float32) -> None:
            if not len(block):
                return
            _, which[place] = self._nearest.of(block)
            if self.residual is not None and self._rows is not None:
                packed[place] = self._rows.pack(self.residual.encode(block - self._wide[which[place]]))

        first = int(docs.offsets[0])
        blocks = (
            (slice(int(block.offsets[0]) - first, int(block.offsets[-1]) - first), block.float32().values)
            for _, block in docs.blocks()
        )
        for _ in on_cores(work, blocks):
            pass
        numbers = pack_runs(which, docs.counts, self._id_bits)
        lengths = self._lengths_of(docs.counts)
        strings = np.empty(int(lengths.sum()), np.uint8)
        is_number = self._where_numbers(docs.counts)
        strings[is_number], strings[~is_number] = numbers, packed.ravel()
        return Codes(n=len(docs), rows={}, ragged={TOKENS: Ragged.of(strings, lengths)})

    def _lengths_of(self, counts: Int64) -> Int64:
        return string_lengths(counts, self._id_bits) + counts * self._residual_bytes

    def _where_numbers(self, counts: Int64) -> NDArray[np.bool_]:
        """Return which bytes of the strings are centroids' numbers."""
        parts = np.stack([string_lengths(counts, self._id_bits), counts * self._residual_bytes], axis=1)
        return np.repeat(np.tile([True, False], len(counts)), parts.ravel())

    def token_counts(self, codes: Codes) -> Int64:
        """Return how many vectors each document has, int64 (n,)."""
        return codes.ragged[TOKENS].lengths.astype(np.int64) * 8 // (self._id_bits + 8 * self._residual_bytes)

    def _decode(self, codes: Codes) -> TokenVectors:
        from methods.kernels.buckets import add_rows

        counts, strings = self.token_counts(codes), codes.ragged[TOKENS].values
        is_number = self._where_numbers(counts)
        which = unpack_runs(strings[is_number], counts, self._id_bits)
        if self.residual is None or self._rows is None:
            return TokenVectors(self._wide[which], offsets_of(counts))
        packed = strings[~is_number].reshape(-1, self._residual_bytes)
        values = self.residual.decode(self._rows.unpack(packed))
        add_rows(values, self._wide, which)
        return TokenVectors(values, offsets_of(counts))

    def decode(self, codes: Codes) -> TokenVectors:  # type: ignore[override]
        """Return the vectors that the bytes stand for, float32."""
        from methods.kernels.buckets import normalise_rows

        self._check_fitted()
        decoded = self._decode(codes)
        if self.renormalizes:
            normalise_rows(decoded.values)
        return decoded

    def state(self) -> dict[str, Array]:
        """Return the centroids, and the residual code's state under the prefix `residual.`."""
        own = {} if self.residual is None else self.residual.state()
        return super().state() | {f"residual.{name}": array for name, array in own.items()}

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over centroids, and hand the residual code its own arrays."""
        self._forget()
        if self.residual is not None:
            self.residual.load_state(arrays_under(arrays, "residual."))
        return super().load_state({name: array for name, array in arrays.items() if "." not in name})


def centroid_count(tokens: float) -> int:
    """Return how many centroids ColBERT takes for so many tokens: 2^floor(log2(16 sqrt(tokens))), at least 1."""
    return 1 << max(0, math.floor(math.log2(16 * math.sqrt(max(tokens, 1 / 256)))))
