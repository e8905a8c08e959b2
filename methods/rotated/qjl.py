"""Signs of random projections as an unbiased estimate of inner products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from methods.base import Array, Codec, Codes, Float32, MethodError, project, row_blocks


@dataclass(kw_only=True, eq=False)
class QJL(Codec):
    """Keep the signs of Gaussian projections, and the norm (Zandieh, Daliri and Han, 2024).

    With G of independent N(0, 1) entries, (dim, d), and a document's bits s = sign(G x),

        <q, x> ~ sqrt(pi / 2) / dim * |x| * <G q, s>

    is right on average over G. It is the dot product with x^ = sqrt(pi / 2) / dim * |x| * G^T s, which is what a
    document decodes to. G is no rotation: its rows are not orthogonal, and that costs accuracy at the same bits.

    Parameters
    ----------
    dim : int or None
        Projections, which is bits; None is as many as there are dimensions.
    store_norm : bool
        Keep |x| as a float16. Without it documents count as unit length.
    seed : int
    """

    dim: int | None = None
    store_norm: bool = True
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require(self.dim is None or self.dim >= 1, f"dim must be at least 1, or null, got {self.dim}")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        rng = np.random.default_rng(self.seed)
        self.projections_ = rng.standard_normal((d, self.dim or d)).astype(np.float32)

    def _encode(self, docs: Float32) -> Codes:
        rows: dict[str, Array] = {"codes": np.packbits(project(docs, self.projections_) > 0, axis=1)}
        if self.store_norm:
            norms = np.sqrt(np.einsum("ij,ij->i", docs, docs, dtype=np.float64))
            if norms.max() > np.finfo(np.float16).max:
                raise MethodError(f"QJL: a norm of {norms.max():.3g} does not fit the stored float16")
            rows["norm"] = norms.astype(np.float16)
        return Codes(n=len(docs), rows=rows)

    def _signs(self, codes: Codes) -> Float32:
        """Return the stored signs as +1 and -1, float32 (n, projections)."""
        bits = np.unpackbits(codes.array, axis=1, count=self.projections_.shape[1])
        return 2 * bits.astype(np.float32) - 1

    def _decode(self, codes: Codes) -> Float32:
        decoded = np.empty((codes.n, self.dim_), dtype=np.float32)
        bits = self.projections_.shape[1]
        back = self.projections_.T * np.sqrt(np.pi / 2) / bits
        for start, stop in row_blocks(codes.n, 4 * bits):
            decoded[start:stop] = project(self._signs(codes[start:stop]), back)
        if self.store_norm:
            decoded *= codes.rows["norm"].astype(np.float32)[:, None]
        return decoded

    def _levels(self, codes: Codes) -> Float32:
        return self._signs(codes)
