"""RaBitQ with a bound on the error of each score, from which a search knows how far to read on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from methods.base import Array, Codes, Float32, row_blocks
from methods.rotated.scaled_levels import ScaledLevels
from methods.stored_rows import StoredRows


@dataclass(kw_only=True, eq=False)
class BoundedRaBitQ(ScaledLevels):
    """Scores that are too high rather than too low: RaBitQ's estimate and `epsilon` standard errors.

    The estimate <q, c + f s> of a rotated document with z = x - c errs by |q - c| e, for

        e = |z| sqrt((1 / cos^2 - 1) / (d - 1)),    cos = <z, s> / (|z| |s|),

    times a number that is nearly normal with variance 1 (Gao and Long, 2024, theorem 3.2). e is stored with the
    document; in decoded form it is one more coordinate, which is epsilon |q - c| in queries, so that the score remains
    a dot product. `methods.ErrorBound` reads documents in the order of these scores and knows when to stop.

    Parameters
    ----------
    epsilon : float
        1.9 in RaBitQ's library and in VectorChord. 0 is the estimate itself.
    """

    scale: Literal["unbiased", "least_squares", "norm", "constant", "unit"] = "unbiased"
    epsilon: float = 1.9

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require(self.scale == "unbiased", f"the bound is that of scale=unbiased, got {self.scale}")
        self._require_at_least(0, "epsilon")
        plain = self.scoring == "asymmetric" and not self.renormalize
        self._require(plain, "the error is no part of a document: scoring=asymmetric and renormalize=false only")

    def _encode(self, docs: Float32) -> Codes:
        codes = super()._encode(docs)
        levels = self._levels(codes)
        errors = np.empty(codes.n)
        for start, stop in row_blocks(codes.n, 32 * docs.shape[1]):
            errors[start:stop] = standard_errors(self._centred(docs[start:stop]), levels[start:stop])
        return Codes(n=codes.n, rows={**codes.rows, "error": self._fits("error", errors).astype(self.factors)})

    def _decode(self, codes: Codes) -> Float32:
        return np.column_stack([super()._decode(codes), codes.rows["error"].astype(np.float32)])

    def _plain_rows(self, codes: Codes) -> StoredRows | None:
        """Return None: a document has two numbers besides what the levels stand for."""
        return None

    def _project_queries(self, queries: Float32) -> Float32:
        lengths = np.sqrt(np.einsum("ij,ij->i", self._centred(queries), self._centred(queries), dtype=np.float64))
        return np.column_stack([super()._project_queries(queries), (self.epsilon * lengths).astype(np.float32)])


def standard_errors(z: Float32, levels: Float32) -> Array:
    """Return the standard errors of scores (e of `BoundedRaBitQ`) for centred documents and their levels, (n,)."""
    wide, points = z.astype(np.float64), levels.astype(np.float64)
    energy = np.einsum("ij,ij->i", wide, wide)
    product = np.einsum("ij,ij->i", wide, points)
    lost = energy**2 * np.einsum("ij,ij->i", points, points)
    lost = np.divide(lost, product**2, out=energy.copy(), where=product != 0) - energy
    errors: Array = np.sqrt(np.maximum(lost, 0) / max(1, z.shape[1] - 1))
    return errors
