"""SAQ: segments of the spectrum, each with as many bits as it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, MethodError, project
from methods.kernels.packing import pack, packed_size, unpack
from methods.rotated import grid_codes
from methods.transforms.linear import eigenbasis, random_rotation, second_moment
from methods.transforms.subspace import with_mean

Segment = tuple[int, int]
"""Dimensions of a segment, and bits for each."""

FACTOR_BYTES = {"float16": 2, "float32": 4, "two_float32": 8}
"""Bytes of a segment's factors, by their format."""

MAX_BITS = 8
"""A number of a code is a byte at most."""

MAX_SEGMENTS = 16
"""Most segments of a plan; each one more has factors to store, and the search tries every number of them."""


@dataclass(kw_only=True, eq=False)
class SAQ(Codec):
    """Rotate to the principal axes, cut them into segments, and code each on a grid of its own bits (Li et al., 2025).

    The documents are centred; variances fall along the axes; a dynamic programme chooses where to cut and how many bits
    each segment gets (`plan_segments`); the last segment may get none. Within a segment a random rotation evens
    the coordinates out, and a document's part is coded as a direction on a grid and one factor (see `grid_codes`).
    Decoded documents are in the rotated space, to which queries are projected.

    With one coded segment at one bit this is MRQ (Yang et al., 2024): RaBitQ on the leading principal axes. (MRQ keeps
    the norm of the rest too. It enters Euclidean distances; an inner product has no use for it.)

    Parameters
    ----------
    nbytes : int or None
        Bytes of a document, factors included, which the plan makes the best of. Segments are whole blocks, so that
        fewer may be written: 10 of 12 with blocks of 32, where the next larger plan takes 14.
    plan : list of [dimensions, bits] or None
        Segments given by hand instead. Exactly one of `nbytes` and `plan` is needed.
    objective : {"ip", "mse"}
        The sum over segments of variance times 2^-bits (the scale of inner-product errors, for queries distributed as
        the documents are) or times 4^-bits (squared error, reverse water-filling).
    block : int
        Segments are made of whole blocks of so many dimensions. The published code has 64.
    rotate : bool
    refine : {"adjust", "sweep", "none"}
    scale : {"unbiased", "least_squares", "norm"}
        How the factor is chosen; the original is unbiased.
    factors : {"float16", "float32", "two_float32"}
        What is stored with each segment. The original keeps two float32, the factor and the norm; the norm serves
        Euclidean distances and is dead weight here.
    seed : int
    """

    nbytes: int | None = None
    plan: list[list[int]] | None = None
    objective: Literal["ip", "mse"] = "ip"
    block: int = 32
    rotate: bool = True
    refine: grid_codes.Refine = "adjust"
    scale: grid_codes.Scale = "unbiased"
    factors: Literal["float16", "float32", "two_float32"] = "float16"
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require((self.nbytes is None) != (self.plan is None), "set either nbytes or plan")
        self._require_at_least(1, "nbytes", "block")
        for segment in self.plan or []:
            valid = len(segment) == 2 and segment[0] >= 1 and 1 <= segment[1] <= MAX_BITS
            self._require(valid, f"plan must hold segments [dimensions, bits from 1 to {MAX_BITS}], got {segment}")
        self._require(self.plan is None or len(self.plan) > 0, "plan has no segments")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        planned = sum(size for size, _ in self.plan or [])
        self._require(planned <= d, f"plan must have at most the {d} dimensions of the vectors, got {planned}")
        mean = docs.mean(axis=0, dtype=np.float64)
        variances, axes = eigenbasis(second_moment(docs) - np.outer(mean, mean))
        segments = self._segments(variances)
        rng = np.random.default_rng(self.seed)
        rotated, start, units = [], 0, []
        for size, _ in segments:
            part = axes[:, start : start + size]
            rotated.append(part @ random_rotation(size, rng) if self.rotate else part)
            units.append(np.sqrt(variances[start : start + size].mean()))
            start += size
        self.basis_, self.centre_ = with_mean(np.column_stack(rotated), mean)
        self.segments_: NDArray[np.int32] = np.array(segments, dtype=np.int32)
        # factors are stored in units of the segment's own spread, so that float16 neither overflows nor rounds to zero
        self.units_ = np.array([unit if unit > 0 else 1.0 for unit in units], dtype=np.float32)

    def bits_per_axis(self) -> Array:
        """Return the bits of each segment's axes; a rotation within the segment evens them out."""
        dim = self._check_fitted()
        sizes, bits = self.segments_.T
        return np.pad(np.repeat(bits.astype(np.float64), sizes), (0, dim - int(sizes.sum())))

    def _segments(self, variances: Array) -> list[Segment]:
        """Return the given plan, or the best one for the variances, float64 (d,)."""
        if self.plan is not None:
            return [(size, bits) for size, bits in self.plan]
        assert self.nbytes is not None
        segments = plan_segments(variances, self.nbytes, self.block, FACTOR_BYTES[self.factors], self.objective)
        if not segments:
            least = packed_size(min(self.block, len(variances)), 1) + FACTOR_BYTES[self.factors]
            raise MethodError(f"SAQ: nbytes={self.nbytes} does not hold one segment, which takes {least} bytes")
        return segments

    def _encode(self, docs: Float32) -> Codes:
        centred = project(docs, self.basis_) - self.centre_
        packed, stored, start = [], [], 0
        for (size, bits), unit in zip(self.segments_.tolist(), self.units_, strict=True):
            part = np.ascontiguousarray(centred[:, start : start + size])
            levels = grid_codes.encode(part, bits, self.refine)
            packed.append(pack(levels, bits))
            stored.append(grid_codes.factors(part, grid_codes.grid_points(levels, bits), self.scale) / unit)
            if self.factors == "two_float32":
                stored.append(np.sqrt(np.einsum("ij,ij->i", part, part, dtype=np.float64)) / unit)
            start += size
        dtype = "float16" if self.factors == "float16" else "float32"
        limit = float(np.finfo(dtype).max)
        factors = np.clip(np.column_stack(stored), -limit, limit).astype(dtype)
        return Codes(n=len(docs), rows={"codes": np.concatenate(packed, axis=1), "factors": factors})

    def _decode(self, codes: Codes) -> Float32:
        decoded = np.empty((codes.n, len(self.centre_)), dtype=np.float32)
        decoded[:] = self.centre_
        each = 2 if self.factors == "two_float32" else 1
        start = byte = 0
        for number, ((size, bits), unit) in enumerate(zip(self.segments_.tolist(), self.units_, strict=True)):
            width = packed_size(size, bits)
            points = grid_codes.grid_points(unpack(codes.array[:, byte : byte + width], bits, size), bits)
            points *= (codes.rows["factors"][:, each * number].astype(np.float32) * unit)[:, None]
            decoded[:, start : start + size] += points
            start, byte = start + size, byte + width
        return decoded

    def _project_queries(self, queries: Float32) -> Float32:
        return project(queries, self.basis_)


def plan_segments(
    variances: Array, nbytes: int, block: int, factor_bytes: int, objective: Literal["ip", "mse"]
) -> list[Segment]:
    """Return the best segments within a budget, by dynamic programming.

    Minimises the sum of V_s 2^-b_s ("ip") or V_s 4^-b_s ("mse") over consecutive segments s of whole blocks, V_s the
    variance in a segment; what comes after the last segment costs its variance. A plan with one more segment must
    be better by more than 1 %.

    Parameters
    ----------
    variances : float64 (d,), descending
    nbytes : int
        Bytes of all segments: packed codes, and `factor_bytes` for each.

    Returns
    -------
    list of (dimensions, bits)
        Empty if not even one segment fits.
    """
    edges = np.minimum(np.arange(0, len(variances) + block, block), len(variances))
    blocks = len(edges) - 1
    below = np.concatenate([[0.0], np.cumsum(variances)])[edges]
    error_share = np.exp2(-np.arange(MAX_BITS + 1) * (1 if objective == "ip" else 2))
    # cost[e, w]: least cost of the first e blocks when w bytes are spent on them, in a given number of segments
    cost = np.full((blocks + 1, nbytes + 1), np.inf)
    cost[0, 0] = 0.0
    best_cost, best_plan = np.inf, list[Segment]()
    steps: list[NDArray[np.int64]] = []
    for _ in range(min(blocks, MAX_SEGMENTS, nbytes // (factor_bytes + 1))):
        after = np.full_like(cost, np.inf)
        # the segment that got there: its first block and its bits in one number
        step = np.full(cost.shape, -1, dtype=np.int64)
        for start in range(blocks):
            for end in range(start + 1, blocks + 1):
                size = int(edges[end] - edges[start])
                for bits in range(1, MAX_BITS + 1):
                    spent = packed_size(size, bits) + factor_bytes
                    if spent > nbytes:
                        break
                    new = cost[start, : nbytes + 1 - spent] + (below[end] - below[start]) * error_share[bits]
                    wins = np.flatnonzero(new < after[end, spent:])
                    after[end, spent + wins] = new[wins]
                    step[end, spent + wins] = start * (MAX_BITS + 1) + bits
        steps.append(step)
        total = after + (below[-1] - below)[:, None]
        if total.min() < 0.99 * best_cost or not best_plan:
            best_cost = float(total.min())
            if np.isfinite(best_cost):
                end, spent = (int(i) for i in np.unravel_index(int(total.argmin()), total.shape))
                best_plan = _trace_back(steps, edges, end, spent, factor_bytes)
        cost = after
    return best_plan


def _trace_back(
    steps: list[NDArray[np.int64]], edges: NDArray[np.int64], end: int, spent: int, factor_bytes: int
) -> list[Segment]:
    """Return the segments, first dimensions first, on the way to the cheapest end of `plan_segments`."""
    segments: list[Segment] = []
    for step in reversed(steps):
        start, bits = divmod(int(step[end, spent]), MAX_BITS + 1)
        size = int(edges[end] - edges[start])
        segments.append((size, bits))
        end, spent = start, spent - packed_size(size, bits) - factor_bytes
    return segments[::-1]
