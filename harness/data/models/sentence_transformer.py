"""Embedding models: the members of the `model` config group.

The only module that loads sentence-transformers or MTEB models. Their packages are imported when the first text is
encoded (MTEB's when its registry is read), so a sweep over finished runs starts without them.
"""

from __future__ import annotations

import dataclasses
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
from harness.data.models.engines import Backend, check_backend, run_by
from harness.data.models.layers import check_layers, cut, reading_layers
from harness.data.models.saved_model import LATE_INTERACTION, SavedModel, changed_options
from harness.data.models.weights.calibration import BUILT_IN, calibration_texts, texts_hash
from harness.data.models.weights.compression import (
    BITS,
    CALIBRATED,
    Compression,
    check_compression,
    compress_weights,
)

Float32 = NDArray[np.float32]

CHANGES = ("layers", "query_layers", "backend", "compress", "keep", "calibration")
"""Options that make another encoder of the same model: what a label says of them."""


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
    query_layers : int or None
        The same for queries; None runs as many for both.
    backend : {"torch", "onnx", "openvino"}
        What computes the transformer (`harness.data.models.engines`). The others are for processors.
    dtype : str
        With openvino, what it computes in: float32 or bfloat16; onnx computes in float32.
    compress : str or None
        How the weights are made smaller (`harness.data.models.weights`). *float16*, *bfloat16*: rounded, computed with
        as float32. *int8*, *int4*: quantized; activations as well with backend=onnx and int8. *low_rank*: each linear
        layer as two factors. *prune_heads*, *prune_neurons*: without those of least worth.
    keep : float or None
        Of *low_rank* and *prune_...*: the share of numbers, heads or neurons that stays.
    calibration : str
        Of the same: where the texts are from by which is chosen. "stdlib", the built-in documents, or a folder in
        BEIR's layout, of which the corpus alone is read.
    trust_remote_code : bool
        Run the Python code that comes with the model.
    """

    normalize: bool | None = None
    truncate_dim: int | None = None
    layers: int | None = None
    query_layers: int | None = None
    backend: Backend = "torch"
    compress: Compression | None = None
    keep: float | None = None
    calibration: str = BUILT_IN
    trust_remote_code: bool = False

    LABELLED = ("revision", "query_prompt", "document_prompt", "normalize", "truncate_dim", "max_length", *CHANGES)
    WITHOUT_MODULES = "the mean of its token vectors is used (the last token's for a decoder)"

    def _check(self) -> None:
        super()._check()
        check_positive(self, "truncate_dim")
        check_layers(self.layers, self.name)
        check_layers(self.query_layers, self.name, "query_layers")
        check_backend(self.backend, self.dtype, self.device)
        check_compression(self.compress, self.keep, self.dtype, self.backend)

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors. A local model is its content, wherever it lies."""
        if (own := self.of_role(role)) is not self:
            return own.identity(role, task)
        return {
            **self._files.identity,
            "prompt": self._prompt(role),
            "normalize": self._normalizes,
            "truncate_dim": self.truncate_dim or self._config.get("truncate_dim"),
            "max_length": self.max_length or self._published_length,
            "dtype": self.dtype,
            # absent where nothing is changed, so that vectors of before there was a choice are found
            **({} if self.layers is None else {"layers": self.layers}),
            **({} if self.backend == "torch" else {"backend": self.backend}),
            **({} if self.compress is None else {"compress": self._compression}),
        }

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the texts' vectors; the model is loaded at the first call."""
        if (own := self.of_role(role)) is not self:
            return own.encode(texts, role, task)
        return self._finished(self._pooled(texts, role), texts)

    def encode_layers(self, texts: Sequence[str], role: Role, task: str | None, layers: Sequence[int]) -> list[Float32]:
        """Return what the model gives cut after each of some layers, from one pass of all of them.

        Raises
        ------
        ModelError
            See `harness.data.models.layers.reading_layers`.
        """
        with reading_layers(self._model, layers, self.name):
            wide = self._pooled(texts, role)
        return [self._finished(part[:, : self.truncate_dim], texts) for part in np.split(wide, len(layers), axis=1)]

    def cut_after(self, layers: int) -> SentenceTransformerModel:
        """Return the model that runs only so many layers."""
        return dataclasses.replace(self, layers=layers)

    def _pooled(self, texts: Sequence[str], role: Role) -> Any:
        """Return what sentence-transformers makes of texts; the model is loaded at the first call."""
        texts = list(texts)
        model = self._model
        method = model.encode_document if role == "document" else model.encode_query
        # An explicit prompt, even an empty one: sentence-transformers' own choice ignores a prompt named "passage"
        # where the model has none named "document".
        encode = functools.partial(method, prompt=self._prompt(role), show_progress_bar=False)
        with failures_as_model_errors(self.name, texts, self.batch_size):
            counts = token_counts(model, texts) if model.device.type == "cpu" else None
            if counts is None:
                return encode(texts, batch_size=self.batch_size)
            # Batches of equal token counts need no padding. Characters, by which sentence-transformers sorts,
            # cost 30 % more tokens on short texts; without an accelerator, counting first is the cheaper way.
            order = np.argsort(-counts, kind="stable")
            batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
            parts = [encode([texts[i] for i in batch], batch_size=len(batch)) for batch in batches]
            return np.concatenate(parts)[np.argsort(order)]

    def _finished(self, pooled: Any, texts: Sequence[str]) -> Float32:
        """Return vectors checked, and scaled if the model's are."""
        vectors = checked(pooled, texts, self.name)
        if self.truncate_dim is not None and vectors.shape[1] < self.truncate_dim:
            raise ModelError(
                f"model.truncate_dim={self.truncate_dim}, but the vectors of {self.name} have "
                f"{vectors.shape[1]} dimensions"
            )
        return unit_length(vectors) if self._normalizes else vectors

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
        return super()._is_changed or bool(changed_options(self, ["layers", "backend", "compress"]))

    def of_role(self, role: Role) -> SentenceTransformerModel:
        """Return the model that encodes texts of a role: another one for queries where `query_layers` says so."""
        return self._of_queries if role == "query" and self.query_layers is not None else self

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
    def _of_queries(self) -> SentenceTransformerModel:
        """The model that encodes queries where it is another: as if it were for both, so that both share a cache."""
        return dataclasses.replace(self, layers=self.query_layers, query_layers=None)

    @property
    def _compression(self) -> Identity:
        """What determines how the weights are compressed."""
        if self.compress not in CALIBRATED:
            return {"as": self.compress}
        sources = {"texts": self.calibration, **({} if self.compress == "low_rank" else {"general": BUILT_IN})}
        texts = {key: texts_hash(calibration_texts(source)) for key, source in sources.items()}
        return {"as": self.compress, "keep": self.keep, **texts}

    @property
    def _device(self) -> str:
        return super()._device if self.backend == "torch" else "cpu"

    @property
    def _loaded_as(self) -> str:
        return self.dtype if self.backend == "torch" else "float32"

    @cached_property
    def _model(self) -> Any:
        model = self._loaded(
            "SentenceTransformer", truncate_dim=self.truncate_dim, trust_remote_code=self.trust_remote_code
        )
        asked = [key for key in ("layers", "backend", "compress") if changed_options(self, [key])]
        if not asked:
            return model
        transformer = getattr(model[0], "auto_model", None)
        if transformer is None:
            raise ModelError(
                f"{self.name} has no transformer to cut, compress or run by another engine: leave "
                f"{', '.join(f'model.{key}' for key in asked)} out"
            )
        if self.layers is not None:
            cut(transformer, self.layers, self.name)
        bits = BITS.get(self.compress or "") if self.backend == "onnx" else None
        if self.compress is not None and bits is None:
            compress_weights(model, self.compress, self.keep, self.calibration, self.name)
        if self.backend != "torch":
            run_by(self.backend, model, self.name, self.dtype, bits)
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
