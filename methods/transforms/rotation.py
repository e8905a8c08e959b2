"""Random rotations: every entry of a rotated vector has nearly the same, nearly Gaussian, distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from methods.base import Float32, Transform, project, row_blocks
from methods.transforms.linear import random_rotation


@dataclass(kw_only=True, eq=False)
class RandomRotation(Transform):
    """Rotate documents and queries alike, at random; inner products stay what they are.

    Parameters
    ----------
    kind : {"hadamard", "orthogonal", "none"}
        *hadamard*: `rounds` times random signs and a fast Walsh-Hadamard transform, O(d log d) a vector; the state is
        the signs, d bits a round. Where d is no power of two, the transform acts on the first and on the last 2**k
        entries in turn, 2**k the largest power below d, so that nothing is padded. *orthogonal*: a rotation drawn
        uniformly; the state is its matrix, 4 d**2 bytes. *none*: leave vectors as they are, to see what the rotation
        is worth.
    rounds : int
        How often signs and the Hadamard transform are applied.
    seed : int

    Notes
    -----
    Ailon and Chazelle, 2009 (randomised Hadamard transform); the first/last scheme is that of the RaBitQ library.
    """

    kind: Literal["hadamard", "orthogonal", "none"] = "hadamard"
    rounds: int = 4
    seed: int = 0

    is_linear: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(1, "rounds")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        rng = np.random.default_rng(self.seed)
        if self.kind == "hadamard":
            self.signs_ = np.packbits(rng.integers(0, 2, size=(self.rounds, d), dtype=np.uint8), axis=1)
        elif self.kind == "orthogonal":
            self.matrix_ = random_rotation(d, rng).astype(np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        if self.kind == "none":
            return docs
        if self.kind == "orthogonal":
            return project(docs, self.matrix_)
        d = docs.shape[1]
        signs = 2 * np.unpackbits(self.signs_, axis=1, count=d).astype(np.float32) - 1
        size = 1 << (d.bit_length() - 1)
        rotated = np.empty_like(docs)
        for start, stop in row_blocks(len(docs), 64 * d):
            block = docs[start:stop]
            for number, flips in enumerate(signs):
                block = block * flips
                part = slice(0, size) if number % 2 == 0 else slice(d - size, d)
                block[:, part] = hadamard(block[:, part])
            rotated[start:stop] = block
        return rotated


def hadamard(vectors: Float32) -> Float32:
    """Return the orthonormal Walsh-Hadamard transform of rows, float32 (n, d), d a power of two."""
    n, d = vectors.shape
    current: Float32 = vectors
    span = 1
    while span < d:
        pairs = current.reshape(n, d // (2 * span), 2, span)
        following = np.empty((n, d // (2 * span), 2, span), dtype=np.float32)
        np.add(pairs[:, :, 0], pairs[:, :, 1], out=following[:, :, 0])
        np.subtract(pairs[:, :, 0], pairs[:, :, 1], out=following[:, :, 1])
        current = following.reshape(n, d)
        span *= 2
    return current * np.float32(1 / np.sqrt(d))
