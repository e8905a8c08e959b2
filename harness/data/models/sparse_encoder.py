"""Learned sparse models: terms of a vocabulary with weights (SPLADE and kin)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from harness.base.errors import ModelError
from harness.data.models.encoder import Identity, Role, check_positive, excerpt
from harness.data.models.saved_model import LATE_INTERACTION, SavedModel
from harness.data.models.sentence_transformer import failures_as_model_errors, token_counts
from harness.data.models.vocabulary_pooling import VocabularyPooling
from methods.representations import Kind, SparseVectors


@dataclass(kw_only=True, frozen=True)
class SparseEncoderModel(SavedModel):
    """Any sentence-transformers `SparseEncoder`, from the Hugging Face hub or a local folder.

    A masked language model that sentence-transformers did not save is taken as SPLADE. Queries of an inference-free
    model are its table of weights, by the model's own choice.

    Attributes
    ----------
    max_active_dims : int or None
        Keep the largest so many weights of a text; None is the model's own limit, which most have not.
    """

    max_active_dims: int | None = None

    gives: ClassVar[Kind] = "terms"
    LABELLED = ("revision", "query_prompt", "document_prompt", "max_active_dims", "max_length")
    WITHOUT_MODULES: ClassVar[str | None] = (
        "the largest log(1 + logit) of its tokens is taken as a term's weight, as in SPLADE"
    )

    def _check(self) -> None:
        super()._check()
        check_positive(self, "max_active_dims")

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the weights. A local model is its content, wherever it lies."""
        return {
            **self._files.identity,
            "prompt": self._prompt(role),
            "normalize": self._normalizes,
            "max_active_dims": self.max_active_dims or self._config.get("max_active_dims"),
            "max_length": self.max_length or self._published_length,
            "dtype": self.dtype,
        }

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> SparseVectors:
        """Return the texts' terms with their weights; the model is loaded at the first call."""
        texts, prompt, model = list(texts), self._prompt(role), self._model
        method = model.encode_document if role == "document" else model.encode_query
        own = functools.partial(method, prompt=prompt, show_progress_bar=False, save_to_cpu=True)
        with failures_as_model_errors(self.name, texts, self.batch_size):
            pooling = VocabularyPooling.of(model, role)
            if pooling is None:
                found = [_as_terms(own(texts, batch_size=self.batch_size))]
                order = np.arange(len(texts))
            else:
                prompted = [prompt + text for text in texts]
                # batches of equal token counts need no padding
                counts = token_counts(pooling, prompted)
                assert counts is not None
                order = np.argsort(-counts, kind="stable")
                found = [
                    _as_terms(self._limited(pooling.weights([prompted[row] for row in batch])).to_sparse())
                    for batch in np.split(order, range(self.batch_size, len(order), self.batch_size))
                ]
        terms = checked_terms(SparseVectors.concatenate(found).take(np.argsort(order)), texts, self.name)
        return _unit_length(terms) if self._normalizes else terms

    def _limited(self, weights: Any) -> Any:
        """Return weights (n, V) of which the largest `max_active_dims` of a row are kept."""
        from sentence_transformers.util import select_max_active_dims

        limit = self._model.max_active_dims
        return weights if limit is None else select_max_active_dims(weights, limit)

    def _check_kind(self, kind: str | None) -> None:
        if kind == "SparseEncoder":
            return
        if kind is None and (modules := self._files.read("modules.json")) is not None:
            is_sparse = any("sparse_encoder" in module["type"] for module in modules)
        else:
            architectures = (self._files.read("config.json") or {}).get("architectures") or []
            is_sparse = kind is None and any(name.endswith("ForMaskedLM") for name in architectures)
        if not is_sparse:
            # sentence-transformers would give it a layer of random weights
            instead = (
                "it gives a vector for each token: model=multi_vector"
                if kind == LATE_INTERACTION
                else "for one that gives one vector for each text: model=sentence_transformer"
            )
            raise ModelError(
                f"{self.name} is no sparse model: neither a SparseEncoder of sentence-transformers nor a masked "
                f"language model; {instead}"
            )

    @property
    def _normalizes(self) -> bool:
        similarity = self._config.get("similarity_fn_name") or "dot"
        if similarity not in ("cosine", "dot"):
            raise ModelError(
                f"{self.name} compares terms by {similarity} distance; only cosine and the inner product are measured"
            )
        return bool(similarity == "cosine")

    @cached_property
    def _model(self) -> Any:
        _ = self._config, self._modules  # what they refuse or warn of comes before the model does
        return self._loaded("SparseEncoder", max_active_dims=self.max_active_dims)


def checked_terms(terms: SparseVectors, texts: Sequence[str], name: str) -> SparseVectors:
    """Return a model's output without zeros.

    Raises
    ------
    ModelError
        If it is not a row for each text, or has a weight that is negative, NaN or infinite.
    """
    if len(terms) != len(texts):
        raise ModelError(f"{name} returned terms of {len(terms)} texts for {len(texts)}")
    wrong = ~(np.isfinite(terms.weights) & (terms.weights >= 0))
    if wrong.any():
        place = int(np.argmax(wrong))
        row = int(terms.rows[place])
        raise ModelError(
            f"{name} returned the weight {terms.weights[place]} for term {terms.terms[place]} of text {row} "
            f"({excerpt(texts[row])}); weights must be finite and at least 0"
        )
    return terms.kept(terms.weights > 0)


def _as_terms(sparse: Any) -> SparseVectors:
    """Return the rows of a sparse tensor (n, V)."""
    sparse = sparse.coalesce()
    rows, terms = sparse.indices().numpy()
    n, width = sparse.shape
    counts = np.bincount(rows, minlength=n)
    return SparseVectors(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        terms.astype(np.uint32),
        sparse.values().float().numpy(),
        width,
    )


def _unit_length(terms: SparseVectors) -> SparseVectors:
    norms = np.sqrt(np.bincount(terms.rows, np.square(terms.weights, dtype=np.float64), minlength=len(terms)))
    return terms.with_weights((terms.weights / norms[terms.rows]).astype(np.float32))
