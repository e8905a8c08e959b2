"""Optimised scalar quantisation: an interval of its own for each vector, fitted to preserve inner products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, MethodError, row_blocks
from methods.kernels.packing import pack, packed_size, unpack
from methods.scalar.lloyd import GAUSSIAN_HALF_WIDTH


@dataclass(kw_only=True, eq=False)
class OSQ(Codec):
    """Equal steps between two numbers a and b of each vector's own, found by least squares (Lucene, Elasticsearch BBQ).

    For u = x - c with the documents' mean c, levels a + (b - a) k / (2**bits - 1) lose

        L = (1 - w) <u, u - u^>^2 / |u|^2 + w |u - u^|^2,    w = `orthogonal`,

    error along u counting in full and error across it less. From the best interval of a Gaussian, rounding and solving
    for (a, b), a 2 x 2 linear system, take turns while L falls. Kept are the codes, a, b and <x, c>; the score is

        <q, x> ~ <v^, u^> + <x, c> + <q, c> - <c, c>

    with the query's v = q - c as it is or encoded likewise. That is a dot product too: a document decodes to
    (u^, <x, c>, 1), a query becomes (v^, 1, <q, c> - <c, c>).

    Parameters
    ----------
    bits : int
        1 to 8 bits a dimension.
    query_bits : int
        0 is the float query; otherwise its bits (Lucene and Elasticsearch: 4 for 1, 2 and 4 bits, 7 or 8 for those).
    orthogonal : float
        The weight w, in [0, 1]. 1 is squared error.
    iterations : int
        Most turns of solving for the interval and rounding again.
    centre : {"mean", "unit_mean", "none"}
        *mean* is what Elasticsearch and OpenSearch do, *unit_mean*, the mean scaled to unit length, what Lucene does
        under its cosine similarity: that is worse, six points of recall at 1 bit.
    corrected : bool
        Keep <x, c>. Without it a document decodes to c + u^, which can be renormalised, and nothing but a, b is kept.
    corrections : {"float32", "float16"}
        How a, b and <x, c> are stored. (Lucene has float32 and keeps the sum of the codes too, 2 or 4 bytes: it follows
        from the codes and only saves time.)

    Notes
    -----
    Apache Lucene, `OptimizedScalarQuantizer` and `Lucene104ScalarQuantizedVectorScorer`; the same codes are
    Elasticsearch's BBQ and OpenSearch's 32x compression.
    """

    bits: int = 1
    query_bits: int = 4
    orthogonal: float = 0.1
    iterations: int = 5
    centre: Literal["mean", "unit_mean", "none"] = "mean"
    corrected: bool = True
    corrections: Literal["float32", "float16"] = "float32"

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")
        self._require(0 <= self.query_bits <= 8, f"query_bits must be 0 to 8, got {self.query_bits}")
        self._require(0 <= self.orthogonal <= 1, f"orthogonal must be in [0, 1], got {self.orthogonal}")
        self._require_at_least(0, "iterations")
        self._require(
            not (self.corrected and self.renormalize),
            "corrected=true needs renormalize=false: what is corrected is the score, not the document's vector",
        )

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        if self.centre == "none":
            return
        mean = docs.mean(axis=0, dtype=np.float64)
        length = float(np.linalg.norm(mean))
        if self.centre == "unit_mean" and length > 0:
            mean /= length
        self.mean_ = mean.astype(np.float32)

    @property
    def _centre(self) -> Float32:
        """The fitted centre, float32 (d,); zeros without one."""
        return self.mean_ if self.centre != "none" else np.zeros(self.dim_, dtype=np.float32)

    def _encode(self, docs: Float32) -> Codes:
        n, d = docs.shape
        centre = self._centre
        rows: dict[str, Array] = {
            "codes": np.empty((n, packed_size(d, self.bits)), dtype=np.uint8),
            "interval": np.empty((n, 2), dtype=self.corrections),
        }
        if self.corrected:
            along = np.empty(n)
        for start, stop in row_blocks(n, 48 * d):
            u = (docs[start:stop] - centre).astype(np.float64)
            rows["interval"][start:stop] = stored = self._fits(self._intervals(u, self.bits))
            rows["codes"][start:stop] = pack(_numbers(u, stored.astype(np.float64), self.bits), self.bits)
            if self.corrected:
                along[start:stop] = np.einsum("ij,j->i", docs[start:stop].astype(np.float64), centre.astype(np.float64))
        if self.corrected:
            rows["along"] = self._fits(along)
        return Codes(n=n, rows=rows)

    def _fits(self, values: Array) -> Array:
        """Return corrections in the format that is stored; raise `MethodError` where they are too large for it."""
        largest = float(np.abs(values).max())
        if largest > float(np.finfo(self.corrections).max):
            raise MethodError(f"OSQ: a correction of {largest:.3g} does not fit corrections={self.corrections}")
        return values.astype(self.corrections)

    def _intervals(self, u: Array, bits: int) -> Array:
        """Return each row's interval, float64 (n, 2), by this codec's parameters."""
        return intervals(u, bits, self.orthogonal, self.iterations)

    def _residuals(self, codes: Codes) -> Float32:
        """Return what codes decode to before the centre is added, u^ of the class's formulas, float32 (n, d)."""
        interval = codes.rows["interval"].astype(np.float32)
        decoded = unpack(codes.array, self.bits, self.dim_).astype(np.float32)
        decoded *= (interval[:, 1:] - interval[:, :1]) / np.float32(2**self.bits - 1)
        decoded += interval[:, :1]
        return decoded

    def _decode(self, codes: Codes) -> Float32:
        residuals = self._residuals(codes)
        if not self.corrected:
            return residuals + self._centre
        return np.column_stack([residuals, codes.rows["along"].astype(np.float32), np.ones(codes.n, np.float32)])

    def _levels(self, codes: Codes) -> Float32:
        return unpack(codes.array, self.bits, self.dim_).astype(np.float32)

    def _project_queries(self, queries: Float32) -> Float32:
        return self._prepared(queries, self.query_bits)

    def _query_matrix(self, queries: Float32) -> Float32:
        # a document's own form, (u^, <x, c>, 1), is not what a query needs even when it is encoded as a document is
        return self._prepared(queries, self.bits) if self.scoring == "symmetric" else super()._query_matrix(queries)

    def _prepared(self, queries: Float32, bits: int) -> Float32:
        """Return queries in the space of `decode`, less the centre rounded to `bits` if that is not 0."""
        centre = self._centre
        wide = queries.astype(np.float64)
        rounded = wide - centre
        for start, stop in row_blocks(len(queries) if bits else 0, 48 * queries.shape[1]):
            v = rounded[start:stop]
            ends = self._intervals(v, bits)
            step = (ends[:, 1:] - ends[:, :1]) / (2**bits - 1)
            rounded[start:stop] = ends[:, :1] + step * _numbers(v, ends, bits)
        if not self.corrected:
            return (rounded + centre).astype(np.float32)
        constant = np.einsum("ij,j->i", wide - centre, centre.astype(np.float64))
        return np.column_stack([rounded, np.ones(len(queries)), constant]).astype(np.float32)


def _numbers(u: Array, ends: Array, bits: int) -> NDArray[np.uint8]:
    """Return the nearest of 2**bits equal steps between the ends of each row, uint8 (n, d)."""
    low, high = ends[:, :1], ends[:, 1:]
    width = high - low
    shares = np.divide(u - low, width, out=np.zeros_like(u), where=width > 0)
    numbers: NDArray[np.uint8] = np.rint(np.clip(shares, 0, 1) * (2**bits - 1)).astype(np.uint8)
    return numbers


def intervals(u: Array, bits: int, orthogonal: float, iterations: int) -> Array:
    """Return each row's interval [a, b], float64 (n, 2): see `OSQ`.

    Parameters
    ----------
    u : float64 (n, d)
    bits : int
    orthogonal : float
        Weight of the error across u.
    iterations : int
    """
    mean, deviation = u.mean(axis=1), u.std(axis=1)
    reach = GAUSSIAN_HALF_WIDTH[bits - 1] * deviation
    low, high = u.min(axis=1), u.max(axis=1)
    ends = np.stack([np.clip(mean - reach, low, high), np.clip(mean + reach, low, high)], axis=1)
    energy = np.einsum("ij,ij->i", u, u)
    active = np.flatnonzero((energy > 0) & (ends[:, 1] > ends[:, 0]))
    lost = _loss(u[active], ends[active], energy[active], bits, orthogonal)
    for _ in range(iterations):
        if len(active) == 0:
            break
        rows = u[active]
        solved_ends, solvable = _solve(rows, ends[active], energy[active], bits, orthogonal)
        now = np.full(len(active), np.inf)
        now[solvable] = _loss(rows[solvable], solved_ends[solvable], energy[active[solvable]], bits, orthogonal)
        moved = (np.abs(solved_ends - ends[active]) > 1e-8).any(axis=1)
        better = solvable & (now <= lost)
        ends[active[better]] = solved_ends[better]
        go_on = better & moved
        active, lost = active[go_on], now[go_on]
    return ends


def _places(u: Array, ends: Array, bits: int) -> Array:
    """Return where in its interval each entry is rounded to, as a part of 1: float64 (n, d)."""
    return np.asarray(_numbers(u, ends, bits) / (2**bits - 1))


def _loss(u: Array, ends: Array, energy: Array, bits: int, orthogonal: float) -> Array:
    """Return each row's loss (see `OSQ`), float64 (n,): the error along it and all of it, mixed by `orthogonal`."""
    error = u - (ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * _places(u, ends, bits))
    along = np.einsum("ij,ij->i", u, error)
    lost: Array = (1 - orthogonal) * along**2 / energy + orthogonal * np.einsum("ij,ij->i", error, error)
    return lost


def _solve(u: Array, ends: Array, energy: Array, bits: int, orthogonal: float) -> tuple[Array, NDArray[np.bool_]]:
    """Return the best (a, b) for the codes of the present interval, and whether there is one."""
    s = _places(u, ends, bits)
    rest = 1 - s
    aa, ab, bb = (np.einsum("ij,ij->i", first, second) for first, second in ((rest, rest), (s, rest), (s, s)))
    ax, bx = np.einsum("ij,ij->i", u, rest), np.einsum("ij,ij->i", u, s)
    along = (1 - orthogonal) / energy
    m00, m01, m11 = (
        along * first * second + orthogonal * product
        for first, second, product in ((ax, ax, aa), (ax, bx, ab), (bx, bx, bb))
    )
    determinant = m00 * m11 - m01**2
    # relative, since rounding leaves no exact zero: all entries at one level, or w = 0
    solvable = determinant > 1e-12 * m00 * m11
    safe = np.where(solvable, determinant, 1)
    solved_ends = np.stack([(m11 * ax - m01 * bx) / safe, (m00 * bx - m01 * ax) / safe], axis=1)
    return solved_ends, solvable & (solved_ends[:, 1] > solved_ends[:, 0])
