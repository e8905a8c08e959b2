"""A model's own token vectors, without any training for late interaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from harness.base.errors import ModelError
from harness.data.models.encoder import Identity, Role, checked, unit_length
from harness.data.models.saved_model import LATE_INTERACTION, SavedModel
from harness.data.models.sentence_transformer import failures_as_model_errors, token_counts
from methods.representations import Kind
from methods.token_vectors import TokenVectors, offsets_of


@dataclass(kw_only=True, frozen=True)
class TokenStatesModel(SavedModel):
    """The hidden states of a sentence-transformers model's tokens, each of unit length.

    The model was trained for the one vector that it makes of them, and not for being searched token by token: a
    stand-in for late interaction, on which what is lost by pooling or by bits can be studied.

    Attributes
    ----------
    layer : int or None
        Which hidden states: 0 are the embeddings, None the last layer's.
    markers : bool
        Keep the tokens that the tokenizer puts around a text ([CLS] and [SEP]).
    """

    layer: int | None = None
    markers: bool = False

    gives: ClassVar[Kind] = "tokens"
    LABELLED: ClassVar[Sequence[str]] = ("revision", "query_prompt", "document_prompt", "layer", "max_length")
    WITHOUT_MODULES: ClassVar[str | None] = "its last hidden states are used"

    @property
    def label(self) -> str:
        """The name and the settings that differ from the model's own."""
        return f"{super().label} tokens" + (" markers=true" if self.markers else "")

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors. A local model is its content, wherever it lies."""
        return {
            **self._files.identity,
            "tokens": "hidden states",
            "layer": self.layer,
            "markers": self.markers,
            "prompt": self._prompt(role),
            "max_length": self.max_length or self._published_length,
            "dtype": self.dtype,
        }

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> TokenVectors:
        """Return the texts' token vectors; the model is loaded at the first call."""
        texts = [self._prompt(role) + text for text in texts]
        found: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        with failures_as_model_errors(self.name, texts, self.batch_size):
            # batches of equal token counts need no padding
            counts = token_counts(self._model, texts)
            lengths = np.array([len(text) for text in texts]) if counts is None else counts
            order = np.argsort(-lengths, kind="stable")
            for start in range(0, len(order), self.batch_size):
                found += self._states([texts[row] for row in order[start : start + self.batch_size]])
        values = np.concatenate(found)
        rows = [texts[row] for row, matrix in zip(order, found, strict=True) for _ in range(len(matrix))]
        vectors = unit_length(checked(values, rows, self.name))
        return TokenVectors(vectors, offsets_of([len(matrix) for matrix in found])).take(np.argsort(order))

    def _states(self, texts: list[str]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Return each text's hidden states, float32 (tokens, d)."""
        import torch

        model, tokenizer = self._model[0].auto_model, self._model.tokenizer
        limit = self._model.max_seq_length
        batch = tokenizer(
            texts,
            padding=True,
            truncation=limit is not None,
            max_length=limit,
            return_tensors="pt",
            return_special_tokens_mask=True,
        ).to(self._model.device)
        special = batch.pop("special_tokens_mask").bool()
        with torch.inference_mode():
            states = model(**batch, output_hidden_states=self.layer is not None)
        kept = batch["attention_mask"].bool() & (torch.ones_like(special) if self.markers else ~special)
        chosen = states.last_hidden_state if self.layer is None else self._of_layer(states.hidden_states)
        return [state[keep].float().cpu().numpy() for state, keep in zip(chosen, kept, strict=True)]

    def _of_layer(self, states: Sequence[Any]) -> Any:
        assert self.layer is not None
        if not 0 <= self.layer < len(states):
            raise ModelError(f"model.layer={self.layer}, but {self.name} has layers 0 to {len(states) - 1}")
        return states[self.layer]

    def _check_kind(self, kind: str | None) -> None:
        if kind not in (None, "SentenceTransformer"):
            others = {"SparseEncoder": "sparse", LATE_INTERACTION: "multi_vector"}
            instead = f"; choose model={others[kind]}" if kind in others else ""
            raise ModelError(f"{self.name} is a {kind}, not a model that pools token vectors into one{instead}")

    @cached_property
    def _model(self) -> Any:
        return self._loaded("SentenceTransformer")
