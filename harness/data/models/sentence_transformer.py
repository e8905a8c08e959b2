"""Embedding models: the members of the `model` config group.

The only module that loads sentence-transformers or MTEB models. Their packages are imported when the first text is
encoded (MTEB's when its registry is read), so a sweep over finished runs starts without them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ModelError
from harness.data.models.encoder import Identity, Role, check_positive, checked, excerpt, first_line, unit_length
from harness.data.models.layers import check_layers, cut
from harness.data.models.saved_model import LATE_INTERACTION, SavedModel

Float32 = NDArray[np.float32]


@dataclass(kw_only=True, frozen=True)
class SentenceTransformerModel(SavedModel):
    """Any sentence-transformers model, from the Hugging Face hub or a local folder.

    Attributes
    ----------
    normalize : bool or None
        Scale vectors to unit length; None does so where the model's similarity is cosine, and leaves them where it is
        the dot product.
    truncate_dim : int or None
        Keep the first dimensions only, before normalising.
    layers : int or None
        Run only so many of the transformer's layers (`harness.data.models.layers.cut`); 0 are the embeddings, None all.
    trust_remote_code : bool
        Run the Python code that comes with the model.
    """

    normalize: bool | None = None
    truncate_dim: int | None = None
    layers: int | None = None
    trust_remote_code: bool = False

    LABELLED = ("revision", "query_prompt", "document_prompt", "normalize", "truncate_dim", "layers", "max_length")
    WITHOUT_MODULES = "the mean of its token vectors is used (the last token's for a decoder)"

    def _check(self) -> None:
        super()._check()
        check_positive(self, "truncate_dim")
        check_layers(self.layers, self.name)

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors. A local model is its content, wherever it lies."""
        return {
            **self._files.identity,
            "prompt": self._prompt(role),
            "normalize": self._normalizes,
            "truncate_dim": self.truncate_dim or self._config.get("truncate_dim"),
            "max_length": self.max_length or self._published_length,
            "dtype": self.dtype,
            # absent where nothing is cut, so that vectors of before there was a choice are found
            **({} if self.layers is None else {"layers": self.layers}),
        }

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the texts' vectors; the model is loaded at the first call."""
        texts = list(texts)
        normalizes, model = self._normalizes, self._model
        method = model.encode_document if role == "document" else model.encode_query
        # An explicit prompt, even an empty one: sentence-transformers' own choice ignores a prompt named "passage"
        # where the model has none named "document".
        encode = functools.partial(method, prompt=self._prompt(role), show_progress_bar=False)
        with failures_as_model_errors(self.name, texts, self.batch_size):
            counts = token_counts(model, texts) if model.device.type == "cpu" else None
            if counts is None:
                vectors = encode(texts, batch_size=self.batch_size)
            else:
                # Batches of equal token counts need no padding. Characters, by which sentence-transformers sorts,
                # cost 30 % more tokens on short texts; without an accelerator, counting first is the cheaper way.
                order = np.argsort(-counts, kind="stable")
                batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
                parts = [encode([texts[i] for i in batch], batch_size=len(batch)) for batch in batches]
                vectors = np.concatenate(parts)[np.argsort(order)]
        vectors = checked(vectors, texts, self.name)
        if self.truncate_dim is not None and vectors.shape[1] < self.truncate_dim:
            raise ModelError(
                f"model.truncate_dim={self.truncate_dim}, but the vectors of {self.name} have "
                f"{vectors.shape[1]} dimensions"
            )
        return unit_length(vectors) if normalizes else vectors

    def _check_kind(self, kind: str | None) -> None:
        if kind not in (None, "SentenceTransformer"):
            others = {"SparseEncoder": "sparse", LATE_INTERACTION: "multi_vector"}
            instead = f"is for model={others[kind]}" if kind in others else "is not measured"
            raise ModelError(
                f"{self.name} is a {kind}, which {instead}: model=sentence_transformer takes only models that give one "
                "vector for each text"
            )

    @property
    def _is_changed(self) -> bool:
        return super()._is_changed or self.layers is not None

    @property
    def _normalizes(self) -> bool:
        if self.normalize is not None:
            return self.normalize
        similarity = self._config.get("similarity_fn_name") or "cosine"
        if similarity not in ("cosine", "dot"):
            raise ModelError(
                f"{self.name} compares vectors by {similarity} distance, and only cosine and the inner product are "
                "measured; model.normalize=true measures it by cosine, model.normalize=false by the inner product"
            )
        return bool(similarity == "cosine")

    @cached_property
    def _model(self) -> Any:
        model = self._loaded(
            "SentenceTransformer", truncate_dim=self.truncate_dim, trust_remote_code=self.trust_remote_code
        )
        if self.layers is not None:
            transformer = getattr(model[0], "auto_model", None)
            if transformer is None:
                raise ModelError(f"{self.name} has no transformer to cut: leave model.layers out")
            cut(transformer, self.layers, self.name)
        return model

    def _not_loaded(self, error: Exception) -> ModelError:
        if "trust_remote_code" in str(error):
            return ModelError(
                f"{self.name} comes with Python code of its own; read it, then allow it to run with "
                "model.trust_remote_code=true"
            )
        return super()._not_loaded(error)


@contextmanager
def failures_as_model_errors(name: str, texts: Sequence[str], batch_size: int) -> Iterator[None]:
    """Turn what a model raises while it encodes into one line."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if type(error).__name__ == "OutOfMemoryError":
            message = f"{name}: out of memory; try model.batch_size={max(1, batch_size // 4)} (it is {batch_size})"
            raise ModelError(message) from error
        for position, text in enumerate(texts):
            if not _is_unicode(text):
                raise ModelError(
                    f"{name} cannot read text {position} ({excerpt(text)}): half a surrogate pair, or no string"
                ) from error
        raise ModelError(f"{name} failed while encoding: {first_line(error)}") from error


def _is_unicode(text: object) -> bool:
    try:
        return isinstance(text, str) and text.encode() is not None
    except UnicodeEncodeError:
        return False


def token_counts(model: Any, texts: Sequence[str]) -> NDArray[np.int64] | None:
    """Return how many tokens the model reads of each text, or None where counting is slow or unknown."""
    tokenizer = model.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        return None
    limit = model.max_seq_length
    tokens = tokenizer(texts, truncation=limit is not None, max_length=limit, return_attention_mask=False)
    return np.array([len(ids) for ids in tokens["input_ids"]], dtype=np.int64)
