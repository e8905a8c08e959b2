"""A model's own token vectors, without any training for late interaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ModelError
from harness.data.models.encoder import Identity, Role, checked, unit_length
from harness.data.models.saved_model import LATE_INTERACTION, SavedModel
from harness.data.models.sentence_transformer import failures_as_model_errors, token_counts
from methods.representations import Kind
from methods.token_vectors import TokenColumn, TokenVectors, offsets_of

Float32 = NDArray[np.float32]


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
    columns: ClassVar[Sequence[TokenColumn]] = ("token_ids", "attention")
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
        found = self._of_texts(texts, self._states)
        owners = [text for text, count in zip(texts, found.counts, strict=True) for _ in range(count)]
        return TokenVectors(unit_length(checked(found.values, owners, self.name)), found.offsets)

    def token_column(self, column: TokenColumn, texts: Sequence[str], role: Role, task: str | None) -> TokenVectors:
        """Return a number for each token that `encode` gives a vector of, float32 (tokens, 1).

        *token_ids*: the tokenizer's. *attention*: what the token receives in the layer that made the hidden states, the
        mean over heads and over all tokens of the text, those around it too; it sums to 1 with theirs.
        """
        texts = [self._prompt(role) + text for text in texts]
        if column == "token_ids":
            return self._of_texts(texts, self._ids)
        with _eager_attention(self._model[0].auto_model):
            return self._of_texts(texts, self._received)

    def _of_texts(self, texts: Sequence[str], of_batch: Callable[[list[str]], list[Float32]]) -> TokenVectors:
        """Return what is made of batches of texts, in the order of the texts."""
        found: list[Float32] = []
        with failures_as_model_errors(self.name, texts, self.batch_size):
            # batches of equal token counts need no padding
            counts = token_counts(self._model, texts)
            lengths = np.array([len(text) for text in texts]) if counts is None else counts
            order = np.argsort(-lengths, kind="stable")
            for start in range(0, len(order), self.batch_size):
                found += of_batch([texts[row] for row in order[start : start + self.batch_size]])
        return TokenVectors(np.concatenate(found), offsets_of([len(own) for own in found])).take(np.argsort(order))

    def _tokenized(self, texts: list[str]) -> tuple[Any, Any]:
        """Return a batch as the model takes it, and which of its tokens are kept, bool (texts, longest)."""
        import torch

        limit = self._model.max_seq_length
        batch = self._model.tokenizer(
            texts,
            padding=True,
            truncation=limit is not None,
            max_length=limit,
            return_tensors="pt",
            return_special_tokens_mask=True,
        ).to(self._model.device)
        special = batch.pop("special_tokens_mask").bool()
        return batch, batch["attention_mask"].bool() & (torch.ones_like(special) if self.markers else ~special)

    def _states(self, texts: list[str]) -> list[Float32]:
        """Return each text's hidden states, float32 (tokens, d)."""
        import torch

        batch, kept = self._tokenized(texts)
        with torch.inference_mode():
            states = self._model[0].auto_model(**batch, output_hidden_states=self.layer is not None)
        chosen = states.last_hidden_state if self.layer is None else self._of_layer(states.hidden_states)
        return [state[keep].float().cpu().numpy() for state, keep in zip(chosen, kept, strict=True)]

    def _ids(self, texts: list[str]) -> list[Float32]:
        """Return each text's token ids, float32 (tokens, 1)."""
        batch, kept = self._tokenized(texts)
        return [ids[keep][:, None].float().cpu().numpy() for ids, keep in zip(batch["input_ids"], kept, strict=True)]

    def _received(self, texts: list[str]) -> list[Float32]:
        """Return the mean attention that each of the texts' tokens receives, float32 (tokens, 1)."""
        import torch

        batch, kept = self._tokenized(texts)
        with torch.inference_mode():
            layers = self._model[0].auto_model(**batch, output_attentions=True).attentions
        if not layers or layers[-1] is None:
            raise ModelError(f"{self.name} does not say what it attends to")
        if self.layer == 0:
            raise ModelError("model.layer=0 are embeddings, which attend to nothing")
        asking = batch["attention_mask"].float()[:, :, None]
        # (texts, heads, asking, asked)
        given = layers[-1 if self.layer is None else self.layer - 1].float().mean(dim=1)
        received = (given * asking).sum(dim=1) / asking.sum(dim=1)
        return [own[keep][:, None].cpu().numpy() for own, keep in zip(received, kept, strict=True)]

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


@contextmanager
def _eager_attention(model: Any) -> Iterator[None]:
    """Let a model compute attention in the one way that gives it out; vectors are made in its own, as before."""
    own = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(own)
