"""Voyage's models, as its own API gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.data.models.api import number_at
from harness.data.models.encoder import Role
from harness.data.models.openai import in_order
from harness.data.models.quantized_api import NAMES, QuantizedApiModel, numbers

Float32 = NDArray[np.float32]


@dataclass(kw_only=True, frozen=True)
class VoyageModel(QuantizedApiModel):
    """A model behind `POST base_url/embeddings` of Voyage, which puts its prompt for a document or query before each.

    Floats are asked for in base64, a quarter of the size; whole numbers in decimals, which are short.
    """

    most_texts: ClassVar[int | None] = 1000

    base_url: str = "https://api.voyageai.com/v1"
    api_key_env: str | None = "VOYAGE_API_KEY"
    batch_size: int = 128

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.base_url}/embeddings"

    def input_type(self, role: Role) -> str:
        """Return what Voyage calls the texts of a role."""
        return role

    def request(self, texts: Sequence[str], role: Role) -> Mapping[str, Any]:
        """Return what is sent for texts."""
        output = self.output_of(role)
        return {
            "model": self.name,
            "input": list(texts),
            "input_type": self.input_type(role),
            "truncation": self.truncate,
            **({"encoding_format": "base64"} if output == "float" else {"output_dtype": NAMES[output]}),
            **({} if self.dimensions is None else {"output_dimension": self.dimensions}),
        }

    def vectors(self, answer: Mapping[str, Any], count: int, role: Role) -> Sequence[Float32]:
        """Return the vectors of an answer, in the order of the texts."""
        return [numbers(embedding, self.output_of(role)) for embedding in in_order(answer, count)]

    def tokens(self, answer: Mapping[str, Any]) -> int | None:
        """Return the tokens of `usage`, None where there is none."""
        return number_at(answer, "usage", "total_tokens")
