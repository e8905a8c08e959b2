"""Google's embedding models, as the Gemini API gives them."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.data.models.api import ApiModel, UnusableError, unpacked
from harness.data.models.encoder import Identity, Role
from harness.data.models.endpoint import KeyHeader

Float32 = NDArray[np.float32]


@dataclass(kw_only=True, frozen=True)
class GeminiModel(ApiModel):
    """A model behind `POST base_url/models/NAME:batchEmbedContents`.

    Shortened vectors are the first numbers of the whole ones and not of unit length, until `normalize` makes them so.

    Attributes
    ----------
    query_task_type, document_task_type : str or None
        What the model is told that a text is for; None, for models that want that in a prompt, tells nothing.
    """

    key_header: ClassVar[KeyHeader] = ("x-goog-api-key", "")
    most_texts: ClassVar[int | None] = 100

    base_url: str = "https://generativelanguage.googleapis.com/v1beta"
    api_key_env: str | None = "GEMINI_API_KEY"
    query_task_type: str | None = "RETRIEVAL_QUERY"
    document_task_type: str | None = "RETRIEVAL_DOCUMENT"

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.base_url}/models/{urllib.parse.quote(self.name, safe='')}:batchEmbedContents"

    def request(self, texts: Sequence[str], role: Role) -> Mapping[str, Any]:
        """Return what is sent for texts."""
        asked = {"taskType": self._task_type(role), "outputDimensionality": self.dimensions}
        same = {"model": f"models/{self.name}", **{key: value for key, value in asked.items() if value is not None}}
        return {"requests": [{**same, "content": {"parts": [{"text": text}]}} for text in texts]}

    def vectors(self, answer: Mapping[str, Any], count: int, role: Role) -> Sequence[Float32]:
        """Return the vectors of an answer, which are in the order of the texts."""
        found = answer.get("embeddings")
        if not isinstance(found, list) or not all(isinstance(item, dict) and "values" in item for item in found):
            raise UnusableError(f"gives an answer without a list 'embeddings' of values: {json.dumps(answer)}")
        return [unpacked(item["values"]) for item in found]

    def tokens(self, answer: Mapping[str, Any]) -> int | None:
        """Return None: an answer has no tokens."""
        return None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those that change the vectors, None where they do not."""
        usual = {role: self._task_type(role) == f"RETRIEVAL_{role.upper()}" for role in ("query", "document")}
        return {
            **super().settings,
            "query_task_type": None if usual["query"] else str(self.query_task_type),
            "document_task_type": None if usual["document"] else str(self.document_task_type),
        }

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors; nothing is sent."""
        return {**super().identity(role, task), "task_type": self._task_type(role)}

    def _task_type(self, role: Role) -> str | None:
        return self.query_task_type if role == "query" else self.document_task_type
