"""One number a document times a pattern of levels: the family of TurboQuant, EDEN, RaBitQ and CAQ.

All of them rotate at random (`methods.RandomRotation`), round every entry to one of 2^b levels s, and decode a document
as c + f s, with c a common centre (or none). They differ in the levels, in how the rounding is improved, and in f:

| method | levels | start | refine | scale |
|---|---|---|---|---|
| TurboQuant-mse | sphere | norm | none | constant |
| EDEN (DRIVE at 1 bit) | gaussian | norm | none | unbiased, or least_squares (the biased variant) |
| RaBitQ | uniform | norm | sweep | unbiased |
| CAQ | uniform | absmax | adjust | unbiased |
| VectorChord's rabitq4 and rabitq8 | uniform | absmax | none | norm |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, MethodError, row_blocks
from methods.kernels.packing import pack, unpack
from methods.rotated import grid_codes
from methods.scalar.lloyd import gaussian_half_levels, sphere_half_levels, uniform_half_levels
from methods.stored_rows import PACKED, PackedNumbers, StoredRows, byte_tables

CLIPS = tuple(round(1 - 0.05 * i, 2) for i in range(13))
"""Parts of the largest magnitude that start="clip" tries: 1 down to 0.4."""


@dataclass(kw_only=True, eq=False)
class ScaledLevels(Codec):
    """Round a document's entries to levels common to all, and keep one factor, or none.

    Parameters
    ----------
    bits : int
        1 to 8 bits a dimension.
    levels : {"gaussian", "sphere", "uniform"}
        The Lloyd-Max levels of N(0, 1); those of one entry of a random unit vector; or equally spaced ones.
    start : {"norm", "absmax", "clip"}
        The scale of the levels against a document's entries z. *norm*: best for Gaussian entries of z's mean square.
        Only for uniform levels: *absmax*, cells that just reach z's largest magnitude; *clip*, cells that reach that
        part of it, 1 down to 0.4, which gives the largest cosine of z and s.
    refine : {"none", "adjust", "sweep"}
        Only for uniform levels. *adjust*: from the start, move single entries by one level while the cosine grows
        (CAQ). *sweep*: the largest cosine over all scales, exactly (RaBitQ), whatever the start; its time grows as
        2^bits, and start=clip with refine=adjust comes as close.
    scale : {"unbiased", "least_squares", "norm", "constant", "unit"}
        The factor f. Stored with each document: *unbiased*, |z|^2 / <z, s>; *least_squares*, <z, s> / |s|^2; *norm*,
        |z| / |s|. Nothing stored: *constant*, the fitted documents' root mean square entry, which is 1 / sqrt(d) if
        their length is 1, and by which entries are rounded too; *unit*, the factor that makes the decoded document one
        of unit length, for vectors that had it.
    factors : {"float16", "float32"}
        How f, and the offset, are stored.
    centre : {"none", "mean"}
        What is subtracted before, and added back in decoding.
    offset : bool
        Store <x - x^, c> too: the decoded document has it as one more coordinate, which is 1 in queries, so that scores
        are exact along the centre, as RaBitQ's are. Only for asymmetric scoring without renormalize.
    query_bits : int
        0 is the float query; otherwise q - c is rounded to 2^query_bits equal steps over its range (RaBitQ has 4, and
        rounds at random).

    Notes
    -----
    Zandieh et al., 2025 (TurboQuant); Vargaftik et al., 2021 and 2022 (DRIVE, EDEN); Gao and Long, 2024, and Gao et
    al., 2025 (RaBitQ); Li et al., 2025 (CAQ, in SAQ). TurboQuant and EDEN do not centre.
    """

    bits: int = 4
    levels: Literal["gaussian", "sphere", "uniform"] = "gaussian"
    start: Literal["norm", "absmax", "clip"] = "norm"
    refine: Literal["none", "adjust", "sweep"] = "none"
    scale: Literal["unbiased", "least_squares", "norm", "constant", "unit"] = "least_squares"
    factors: Literal["float16", "float32"] = "float16"
    centre: Literal["none", "mean"] = "none"
    offset: bool = False
    query_bits: int = 0

    def _check_parameters(self) -> None:
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")
        self._require(0 <= self.query_bits <= 8, f"query_bits must be 0 to 8, got {self.query_bits}")
        searched = self.start != "norm" or self.refine != "none"
        choice = f"start={self.start}, refine={self.refine}"
        self._require(
            self.levels == "uniform" or not searched,
            f"levels={self.levels} go with start=norm, refine=none only, got {choice}",
        )
        self._require(
            self.scale != "constant" or not searched,
            f"scale=constant goes with start=norm, refine=none only, got {choice}: these give each document its scale",
        )
        self._require(not self.offset or self.centre == "mean", "offset=true needs centre=mean")
        self._require(
            not self.offset or (self.scoring == "asymmetric" and not self.renormalize),
            "offset=true needs scoring=asymmetric and renormalize=false: the offset is no part of a document's vector",
        )

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        if self.centre == "mean":
            self.mean_ = docs.mean(axis=0, dtype=np.float64).astype(np.float32)
        half = self._half_levels(docs.shape[1])
        if self.levels == "uniform":
            # odd integers: the unit does not matter, since each document has its factor or all share one
            half = 2 * np.arange(len(half)) + 1.0
        self.levels_ = np.concatenate([-half[::-1], half]).astype(np.float32)
        if self.scale == "constant":
            energy = sum(float((self._centred(docs[i:j]).astype(np.float64) ** 2).sum()) for i, j in _blocks(docs))
            length = float(np.sqrt(energy / len(docs)))
            # for unit-length documents nothing is learned, not even their last digits
            self.rms_ = (1.0 if abs(length - 1) < 1e-3 else length) / float(np.sqrt(docs.shape[1]))

    @property
    def decodes_to_unit_length(self) -> bool:
        """Whether the factor follows from unit length."""
        return self.scale == "unit"

    def _half_levels(self, d: int) -> Array:
        """Return the positive levels for entries of unit variance."""
        if self.levels == "uniform":
            return uniform_half_levels(self.bits)
        return gaussian_half_levels(self.bits) if self.levels == "gaussian" else sphere_half_levels(self.bits, d)

    def _centred(self, docs: Float32) -> Float32:
        """Return documents (n, d) less the fitted mean, if there is one."""
        return docs - self.mean_ if self.centre == "mean" else docs

    def _encode(self, docs: Float32) -> Codes:
        numbers = np.empty(docs.shape, dtype=np.uint8)
        factors: dict[str, Array] = {}
        if self.scale != "constant" and self.scale != "unit":
            factors["factor"] = np.empty(len(docs), dtype=self.factors)
        if self.offset:
            factors["offset"] = np.empty(len(docs), dtype=self.factors)
        for start, stop in _blocks(docs):
            z = self._centred(docs[start:stop])
            numbers[start:stop] = chosen = self._choose(z)
            stored = {name: array[start:stop] for name, array in factors.items()}
            if self.scale != "constant" and self.scale != "unit":
                stored["factor"][:] = self._fits("factor", grid_codes.factors(z, self.levels_[chosen], self.scale))
            if self.offset:
                factor = self._factors(Codes(n=stop - start, rows=stored), chosen)
                residual = z.astype(np.float64) - self.levels_[chosen] * factor[:, None]
                stored["offset"][:] = self._fits(
                    "offset", np.einsum("ij,j->i", residual, self.mean_.astype(np.float64))
                )
        return Codes(n=len(docs), rows={"codes": pack(numbers, self.bits), **factors})

    def _fits(self, name: str, values: Array) -> Array:
        """Return what is to be stored, if the format can hold it."""
        largest = float(np.abs(values).max())
        if largest > float(np.finfo(self.factors).max):
            raise MethodError(f"ScaledLevels: a {name} of {largest:.3g} does not fit factors={self.factors}")
        return values

    def _choose(self, z: Float32) -> NDArray[np.uint8]:
        """Return the number of each entry's level, uint8 (n, d)."""
        if self.refine == "sweep":
            return grid_codes.encode(z, self.bits, "sweep")
        if self.start == "norm":
            chosen = self._round(z)
        elif self.start == "absmax":
            chosen = grid_codes.round_to_grid(z, self.bits)
        else:
            chosen = best_clip(z, self.bits)
        return grid_codes.adjust(z, chosen, self.bits) if self.refine == "adjust" and self.bits > 1 else chosen

    def _round(self, z: Float32) -> NDArray[np.uint8]:
        """Round to the nearest level, the levels scaled to the documents' mean square or to each one's own."""
        n, d = z.shape
        if self.scale == "constant":
            deviation: Array = np.full(n, self.rms_)
        else:
            deviation = np.sqrt(np.einsum("ij,ij->i", z, z, dtype=np.float64) / d)
        inverse = np.divide(1, deviation, out=np.zeros(n), where=deviation > 0).astype(np.float32)
        half = self._half_levels(d)
        edges = ((half[1:] + half[:-1]) / 2).astype(np.float32)
        reached = np.searchsorted(edges, np.abs(z * inverse[:, None]))
        chosen: NDArray[np.uint8] = np.where(z > 0, len(half) + reached, len(half) - 1 - reached).astype(np.uint8)
        return chosen

    def _factors(self, codes: Codes, numbers: NDArray[np.uint8]) -> Float32:
        """Return each document's factor, float32 (n,)."""
        if self.scale == "constant":
            # levels_ of a uniform grid are odd integers, in units of half a step
            unit = float(uniform_half_levels(self.bits)[0]) if self.levels == "uniform" else 1.0
            return np.full(len(numbers), self.rms_ * unit, dtype=np.float32)
        if self.scale != "unit":
            return np.asarray(codes.rows["factor"], dtype=np.float32)
        points = self.levels_[numbers].astype(np.float64)
        energy = np.einsum("ij,ij->i", points, points)
        if self.centre == "none":
            return np.asarray(1 / np.sqrt(energy), dtype=np.float32)
        # |c + f s| = 1; where the centre itself is as long, the nearest there is
        along = np.einsum("ij,j->i", points, self.mean_.astype(np.float64))
        lacking = 1 - float(self.mean_.astype(np.float64) @ self.mean_)
        root = np.sqrt(np.maximum(along**2 + energy * lacking, 0))
        return np.asarray(np.maximum(root - along, 0) / energy, dtype=np.float32)

    def _decode(self, codes: Codes) -> Float32:
        numbers = unpack(codes.array, self.bits, self.dim_)
        decoded: Float32 = self.levels_[numbers]
        decoded *= self._factors(codes, numbers)[:, None]
        if self.centre == "mean":
            decoded += self.mean_
        if self.offset:
            return np.column_stack([decoded, codes.rows["offset"].astype(np.float32)])
        return decoded

    def _plain_rows(self, codes: Codes) -> StoredRows | None:
        steps = np.diff(self.levels_)
        even = bool(np.all(steps == steps[0]))
        # of a byte there is one table entry a value: no shorter than the documents
        if self.bits not in PACKED or self.scale == "unit" or (self.bits == max(PACKED) and not even):
            return None
        d, levels = self.dim_, self.levels_
        point = self.mean_ if self.centre == "mean" else np.zeros(d, np.float32)
        factor, extra, direction = codes.rows.get("factor"), None, None
        if factor is None:
            levels = levels * self._factors(codes, np.empty((1, 0), np.uint8))
        if self.offset:
            extra, direction = codes.rows["offset"], np.eye(d + 1, dtype=np.float32)[-1]
            point = np.append(point, np.float32(0))
        ones = np.ones(d, np.float32)
        equal = PackedNumbers(self.bits, ones * (levels[1] - levels[0]), ones * levels[0])
        code = equal if even else byte_tables(self.bits, levels, d)
        return StoredRows(codes.array, code, point, factor, extra, direction)

    def _levels(self, codes: Codes) -> Float32:
        return self.levels_[unpack(codes.array, self.bits, self.dim_)]

    def _project_queries(self, queries: Float32) -> Float32:
        if self.query_bits:
            queries = round_to_range(self._centred(queries), self.query_bits)
            queries = queries + self.mean_ if self.centre == "mean" else queries
        return np.column_stack([queries, np.ones(len(queries), np.float32)]) if self.offset else queries


def best_clip(z: Float32, bits: int) -> NDArray[np.uint8]:
    """Return the levels, uint8 (n, d), of whichever clipped range gives the row the largest cosine."""
    largest = np.maximum(z.max(axis=1), -z.min(axis=1))
    safe = np.where(largest > 0, largest, 1)[:, None]
    half = np.float32(1 << (bits - 1))
    wide = z.astype(np.float64)
    best = np.full(len(z), -1.0)
    chosen = np.zeros(z.shape, dtype=np.uint8)
    for clip in CLIPS if bits > 1 else CLIPS[:1]:
        cells = np.floor((z / (safe * np.float32(clip)) + np.float32(1)) * half)
        levels = np.clip(cells, 0, (1 << bits) - 1).astype(np.uint8)
        points = grid_codes.grid_points(levels, bits).astype(np.float64)
        product = np.einsum("ij,ij->i", wide, points)
        cosine = product / np.sqrt(np.einsum("ij,ij->i", points, points))
        better = cosine > best
        best[better], chosen[better] = cosine[better], levels[better]
    return chosen


def round_to_range(queries: Float32, bits: int) -> Float32:
    """Return queries, each rounded to 2^bits equally spaced values from its smallest entry to its largest."""
    low = queries.min(axis=1, keepdims=True)
    step = (queries.max(axis=1, keepdims=True) - low) / np.float32((1 << bits) - 1)
    cells = np.divide(queries - low, step, out=np.zeros_like(queries), where=step > 0)
    rounded: Float32 = low + np.rint(cells) * step
    return rounded


def _blocks(docs: Float32) -> list[tuple[int, int]]:
    """Return (start, stop) of blocks of documents for work in float64."""
    return list(row_blocks(len(docs), 32 * docs.shape[1]))
