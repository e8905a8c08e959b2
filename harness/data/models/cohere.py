"""Cohere's models, as its own API gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.data.models.api import UnusableError, number_at
from harness.data.models.encoder import Role
from harness.data.models.quantized_api import NAMES, QuantizedApiModel, numbers

Float32 = NDArray[np.float32]


@dataclass(kw_only=True, frozen=True)
class CohereModel(QuantizedApiModel):
    """A model behind `POST base_url/embed` of Cohere's second API, asked for documents and queries as each are."""

    most_texts: ClassVar[int | None] = 96

    base_url: str = "https://api.cohere.com/v2"
    api_key_env: str | None = "COHERE_API_KEY"
    batch_size: int = 96

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.base_url}/embed"

    def input_type(self, role: Role) -> str:
        """Return what Cohere calls the texts of a role."""
        return f"search_{role}"

    def request(self, texts: Sequence[str], role: Role) -> Mapping[str, Any]:
        """Return what is sent for texts."""
        return {
            "model": self.name,
            "texts": list(texts),
            "input_type": self.input_type(role),
            "embedding_types": [NAMES[self.output_of(role)]],
            "truncate": "END" if self.truncate else "NONE",
            **({} if self.dimensions is None else {"output_dimension": self.dimensions}),
        }

    def vectors(self, answer: Mapping[str, Any], count: int, role: Role) -> Sequence[Float32]:
        """Return the vectors of an answer, in the order of the texts."""
        output = self.output_of(role)
        by_type = answer.get("embeddings")
        found = by_type.get(NAMES[output]) if isinstance(by_type, dict) else None
        if not isinstance(found, list):
            raise UnusableError(f"gives an answer without a list embeddings.{NAMES[output]}: {json.dumps(answer)}")
        return [numbers(embedding, output) for embedding in found]

    def tokens(self, answer: Mapping[str, Any]) -> int | None:
        """Return the tokens that are billed, None where it does not say."""
        return number_at(answer, "meta", "billed_units", "input_tokens")
