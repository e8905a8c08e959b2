"""Late-interaction models: a vector for each token (ColBERT and kin)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from harness.base.errors import ModelError
from harness.data.models.encoder import Identity, Role, checked
from harness.data.models.saved_model import LATE_INTERACTION, SavedModel
from harness.data.models.sentence_transformer import failures_as_model_errors
from methods.representations import Kind
from methods.token_vectors import TokenColumn, TokenVectors, offsets_of


@dataclass(kw_only=True, frozen=True)
class MultiVectorModel(SavedModel):
    """Any sentence-transformers `MultiVectorEncoder`, PyLate's and Stanford's checkpoints among them.

    Markers, query expansion and the list of tokens that are left out are the model's own; so is token pooling, where it
    is one of its modules. `max_length` is that of documents, and of queries that the model does not pad to a length.
    """

    gives: ClassVar[Kind] = "tokens"
    columns: ClassVar[Sequence[TokenColumn]] = ("token_ids",)
    LABELLED: ClassVar[Sequence[str]] = ("revision", "query_prompt", "document_prompt", "max_length")

    @property
    def label(self) -> str:
        """The name, the settings that differ from the model's own, and whether it pools tokens."""
        return super().label + (" pooled" if self._pools else "")

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors. A local model is its content, wherever it lies."""
        _ = self._config  # refuses another kind of model
        return {
            **self._files.identity,
            "prompt": self._given_prompt(role),
            "max_length": self.max_length,
            "dtype": self.dtype,
        }

    def _given_prompt(self, role: Role) -> str | None:
        """Return the prompt of the options; None is the model's own, which may be a token that it inserts."""
        return self.query_prompt if role == "query" else self.document_prompt

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> TokenVectors:
        """Return the texts' token vectors; the model is loaded at the first call."""
        texts, model = list(texts), self._model
        method = model.encode_document if role == "document" else model.encode_query
        with failures_as_model_errors(self.name, texts, self.batch_size):
            found = method(
                texts,
                prompt=self._given_prompt(role),
                batch_size=self.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        if len(found) != len(texts):
            raise ModelError(f"{self.name} returned vectors of {len(found)} texts for {len(texts)}")
        counts = [len(matrix) for matrix in found]
        owners = [text for text, count in zip(texts, counts, strict=True) for _ in range(count)]
        values = np.concatenate([np.asarray(matrix, np.float32) for matrix in found])
        return TokenVectors(checked(values, owners, self.name), offsets_of(counts))

    def token_column(self, column: TokenColumn, texts: Sequence[str], role: Role, task: str | None) -> TokenVectors:
        """Return the id of each token that `encode` gives a vector of, float32 (tokens, 1).

        Raises
        ------
        ModelError
            If the model's vectors are of several tokens each, or it does not say which tokens they are of.
        """
        texts, model = list(texts), self._model
        if self._pools:
            raise ModelError(f"{self.name} pools tokens, so that a vector has no one token's id")
        method = model.encode_document if role == "document" else model.encode_query
        with failures_as_model_errors(self.name, texts, self.batch_size):
            found = method(
                texts,
                prompt=self._given_prompt(role),
                batch_size=self.batch_size,
                show_progress_bar=False,
                output_value=None,
            )
        if any("input_ids" not in item for item in found):
            raise ModelError(f"{self.name} does not say which tokens its vectors are of")
        ids = [item["input_ids"][item["attention_mask"].bool()].float().cpu().numpy() for item in found]
        return TokenVectors(np.concatenate(ids).astype(np.float32)[:, None], offsets_of([len(own) for own in ids]))

    @property
    def _pools(self) -> bool:
        """Whether one of the model's modules makes one vector of several tokens."""
        return any(str(module["type"]).endswith("TokenPooling") for module in self._modules)

    def _check_kind(self, kind: str | None) -> None:
        if kind == LATE_INTERACTION:
            return
        # sentence-transformers would give it a layer of random weights
        instead = {"SparseEncoder": "sparse", None: "token_states"}.get(kind, "sentence_transformer")
        raise ModelError(
            f"{self.name} is no model of late interaction: neither a MultiVectorEncoder of sentence-transformers, "
            f"nor PyLate's, nor Stanford's; choose model={instead}"
            + (", or model=token_states for its hidden states" if instead == "sentence_transformer" else "")
        )

    @cached_property
    def _model(self) -> Any:
        _ = self._config  # what it refuses comes before the model does
        model = self._loaded("MultiVectorEncoder")
        if self.max_length is not None:
            # the model's limits for each role come before the one that holds for both
            model[0].document_length = model[0].query_length = self.max_length
        if model.similarity_fn_name not in ("maxsim", "meanmaxsim"):
            raise ModelError(f"{self.name} compares by {model.similarity_fn_name}; only MaxSim is measured")
        return model
