"""Documents of one model, searched with the queries of another: an index that outlived its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError
from harness.data.models.encoder import Encoder, Identity, Role, kind_given
from harness.data.models.vectors import VectorModel
from methods.representations import IN_WORDS

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class TwoModels:
    """An old model's documents and a new model's queries.

    Attributes
    ----------
    documents, queries : Encoder
        What a run is compared with are the old model's own queries: its float32 ranking is that of the system before
        the new model came.
    """

    documents: Encoder
    queries: Encoder

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.documents.name} queries={self.queries.name}"

    @property
    def label(self) -> str:
        """Both labels."""
        return f"{self.documents.label} queries={self.queries.label}"

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return that of the model of the role."""
        return self._of(role).identity(role, task)

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the vectors that the model of the role makes, float32 (n, d)."""
        vectors: Float32 = self._of(role).encode(texts, role, task)
        return vectors

    def _of(self, role: Role) -> Encoder:
        return self.documents if role == "document" else self.queries


def two_models(documents: Any, queries: Any) -> Any:
    """Return both as one encoder, or the first alone where there is no second.

    Raises
    ------
    ConfigError
        For `model=vectors`, which cannot encode, and models that give anything but one vector a document.
    """
    if queries is None:
        return documents
    if isinstance(documents, VectorModel) or isinstance(queries, VectorModel):
        raise ConfigError("query_model needs two models that encode texts, not model=vectors")
    for model in (documents, queries):
        if (kind := kind_given(model)) != "vectors":
            raise ConfigError(
                f"query_model is for models that give one vector a document, but {model.name} gives {IN_WORDS[kind]}"
            )
    return TwoModels(documents, queries)
