"""Embeddings that are kept as float16: half the disk, and other numbers than the model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError, ModelError
from harness.data.models.encoder import ByBatch, Identity, Keep, Role, kind_given
from harness.data.models.token_vectors import TokenVectorModel
from harness.data.models.vectors import VectorModel
from methods.representations import Kind
from methods.token_vectors import TokenVectors

Float32 = NDArray[np.float32]

CACHE_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Rounded:
    """A model whose vectors are rounded to float16.

    It has another identity and another label than the model itself: a run on its vectors is another run, set beside
    other runs on rounded vectors, and its float32 reference is the rounded vectors. Rounding changes a number by at
    most 2^-11 of itself, or by 3e-8 where it is smaller than 6e-5.
    """

    model: Any

    @property
    def name(self) -> str:
        """The model's."""
        return str(self.model.name)

    @property
    def width(self) -> int | None:
        """Dimensions of its vectors, where the model knows them."""
        return getattr(self.model, "width", None)

    def of_role(self, role: Role) -> Rounded:
        """Return the rounded vectors of the model that encodes texts of a role."""
        return Rounded(self.model.of_role(role)) if hasattr(self.model, "of_role") else self

    @property
    def model_bytes(self) -> int | None:
        """The model's, where it says it."""
        return getattr(self.model, "model_bytes", None)

    @property
    def ran_on(self) -> str:
        """The model's."""
        return str(getattr(self.model, "ran_on", "cpu"))

    @property
    def label(self) -> str:
        """The model's, and that its vectors are rounded."""
        return f"{self.model.label} cache_dtype=float16"

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return the model's identity, and that its vectors are rounded."""
        return {**self.model.identity(role, task), "cache_dtype": "float16"}

    @property
    def gives(self) -> Kind:
        """The model's kind."""
        return kind_given(self.model)

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Any:
        """Return the texts' rounded vectors, float32 (n, d) or TokenVectors.

        Raises
        ------
        ModelError
            If a number is too large for float16.
        """
        vectors = self.model.encode(texts, role, task)
        if isinstance(vectors, TokenVectors):
            owners = [text for text, count in zip(texts, vectors.counts, strict=True) for _ in range(count)]
            return TokenVectors(self._rounded(vectors.flat(), owners), vectors.offsets - vectors.offsets[0])
        return self._rounded(vectors, texts)

    @property
    def encode_by_batch(self) -> ByBatch | None:
        """The model's, with rounded vectors, where it has one."""
        inner: ByBatch | None = getattr(self.model, "encode_by_batch", None)
        if inner is None:
            return None

        def rounding(texts: Sequence[str], role: Role, task: str | None, keep: Keep) -> None:
            inner(
                texts,
                role,
                task,
                lambda places, vectors: keep(places, self._rounded(vectors, [texts[place] for place in places])),
            )

        return rounding

    def _rounded(self, vectors: Float32, texts: Sequence[str]) -> Float32:
        with np.errstate(over="ignore"):
            rounded = vectors.astype(np.float16).astype(np.float32)
        if not np.isfinite(rounded).all():
            row, column = np.argwhere(~np.isfinite(rounded))[0].tolist()
            text = texts[row] if len(texts[row]) <= 40 else f"{texts[row][:40]}..."
            raise ModelError(
                f"{self.name} gives {text!r} {vectors[row, column]:g} in dimension {column}, and float16 ends at "
                f"{np.finfo(np.float16).max:g}; use cache_dtype=float32"
            )
        return rounded


def cached_as(encoder: Any, dtype: str) -> Any:
    """Return the encoder whose vectors are kept in the cache as a type.

    Parameters
    ----------
    encoder : Encoder
        `model=vectors` is refused for float16: its files are the user's own, and not cached.
    dtype : {"float32", "float16"}
        Of float32, it is the encoder itself.

    Raises
    ------
    ConfigError
        For another type, or float16 of `model=vectors` or of terms with weights.
    """
    if dtype not in CACHE_DTYPES:
        raise ConfigError(f"cache_dtype must be {' or '.join(CACHE_DTYPES)}, got '{dtype}'")
    if dtype == "float32":
        return encoder
    if isinstance(encoder, VectorModel | TokenVectorModel):
        raise ConfigError(
            "cache_dtype=float16 is for vectors that a model encodes; those of model=vectors are measured as they are, "
            "and so are token vectors of one's own"
        )
    if not is_rounded(encoder):
        raise ConfigError("cache_dtype=float16 is for vectors; terms with weights are kept as float32")
    return Rounded(encoder)


def is_rounded(encoder: Any) -> bool:
    """Whether what an encoder gives may be kept as float16: vectors, of one's own files only as they are."""
    return kind_given(encoder) != "terms" and not isinstance(encoder, VectorModel | TokenVectorModel)
