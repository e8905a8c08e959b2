"""Embedding models: the members of the `model` config group.

The only module that loads sentence-transformers or MTEB models. Their packages are imported when the first text is
encoded (MTEB's when its registry is read), so a sweep over finished runs starts without them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError, MissingExtraError, ModelError
from harness.base.options import Options

if TYPE_CHECKING:
    pass

from harness.data.models.encoder import (
    Identity,
    Role,
    check_device,
    check_positive,
    checked,
    chosen_device,
    excerpt,
    first_line,
    unit_length,
)
from harness.data.models.hub import HubModel, ModelFolder, locate_model

Float32 = NDArray[np.float32]

log = logging.getLogger(__name__)


@dataclass(kw_only=True, frozen=True)
class SentenceTransformerModel(Options):
    """Any sentence-transformers model, from the Hugging Face hub or a local folder.

    A hub model is the commit that the local cache holds, else the one that the hub names now: a model does not change
    between two runs because its author edited the README.

    Attributes
    ----------
    name : str
        Hub id, or path of a folder.
    revision : str or None
        Branch, tag or commit of a hub model.
    query_prompt, document_prompt : str or None
        Text put before each query or document; None is the model's own, "" is none.
    normalize : bool or None
        Scale vectors to unit length; None does so where the model's similarity is cosine, and leaves them where it is
        the dot product.
    truncate_dim : int or None
        Keep the first dimensions only, before normalising.
    max_length : int or None
        Tokens of a text that are read; None is the model's own limit.
    dtype : str
        Of the weights; vectors are float32 always.
    device : str
        auto (cuda, mps or cpu, whichever is there first), cpu, cuda, cuda:1, mps.
    batch_size : int
        Texts in one forward pass.
    trust_remote_code : bool
        Run the Python code that comes with the model.
    """

    name: str
    revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    normalize: bool | None = None
    truncate_dim: int | None = None
    max_length: int | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str = "auto"
    batch_size: int = 32
    trust_remote_code: bool = False

    def _check(self) -> None:
        if not self.name:
            raise ConfigError("model.name is empty; give a hub id or the path of a folder")
        check_positive(self, "truncate_dim", "max_length", "batch_size")
        check_device(self)

    @property
    def label(self) -> str:
        """The name and the settings that differ from the model's own."""
        base = Path(self.name).name if isinstance(self._files, ModelFolder) else self.name
        settings = ("revision", "query_prompt", "document_prompt", "normalize", "truncate_dim", "max_length")
        changed = [f"{key}={value}" for key in settings if (value := getattr(self, key)) is not None]
        if self.dtype != "float32":
            changed.append(f"dtype={self.dtype}")
        return " ".join([base, *changed])

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors. A local model is its content, wherever it lies."""
        return {
            **self._files.identity,
            "prompt": self._prompt(role),
            "normalize": self._normalizes,
            "truncate_dim": self.truncate_dim or self._config.get("truncate_dim"),
            "max_length": self.max_length or self._published_length,
            "dtype": self.dtype,
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

    @cached_property
    def _files(self) -> ModelFolder | HubModel:
        return locate_model(self.name, self.revision)

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        config = self._files.read("config_sentence_transformers.json") or {}
        kind = config.get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            raise ModelError(f"{self.name} is a {kind}; only models that give one vector for each text are measured")
        return dict(config)

    @cached_property
    def _modules(self) -> Sequence[Mapping[str, Any]]:
        modules: list[dict[str, Any]] | None = self._files.read("modules.json")
        if modules is None:
            log.warning(
                "%s has no modules.json: not a sentence-transformers model, so the mean of its token vectors is "
                "used (the last token's for a decoder), whatever its author meant",
                self.name,
            )
        return modules or []

    @cached_property
    def _published_length(self) -> int | None:
        folder = f"{self._modules[0]['path']}/" if self._modules and self._modules[0]["path"] else ""
        settings = self._files.read(f"{folder}sentence_bert_config.json") or {}
        return settings.get("max_seq_length")

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

    def _prompt(self, role: Role) -> str:
        given = self.query_prompt if role == "query" else self.document_prompt
        if given is not None:
            return given
        own: Mapping[str, str | None] = self._config.get("prompts") or {}
        names = ("query",) if role == "query" else ("document", "passage", "corpus")
        return next((text for name in names if (text := own.get(name)) is not None), "")

    @cached_property
    def _model(self) -> Any:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging as transformers_logging
        except ModuleNotFoundError as error:
            raise MissingExtraError("sentence-transformers", "models", "encoding text") from error
        self._check_length()
        dtype = getattr(torch, self.dtype)
        loading_bar = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            model = self._files.load(
                SentenceTransformer,
                device=chosen_device(self.device),
                truncate_dim=self.truncate_dim,
                trust_remote_code=self.trust_remote_code,
                model_kwargs={"torch_dtype": dtype},
            )
        except ModelError:
            raise
        except Exception as error:
            raise self._not_loaded(error) from error
        finally:
            if loading_bar:
                transformers_logging.enable_progress_bar()
        if self.max_length is not None:
            model.max_seq_length = self.max_length
        log.info("encoding on %s", model.device)
        return model.to(dtype).eval()

    def _check_length(self) -> None:
        if self.max_length is None:
            return
        limit = (self._files.read("config.json") or {}).get("max_position_embeddings")
        if limit is not None and self.max_length > limit:
            raise ModelError(f"model.max_length={self.max_length}, but {self.name} has positions for {limit} tokens")

    def _not_loaded(self, error: Exception) -> ModelError:
        if "trust_remote_code" in str(error):
            return ModelError(
                f"{self.name} comes with Python code of its own; read it, then allow it to run with "
                "model.trust_remote_code=true"
            )
        return ModelError(f"{self.name} cannot be loaded: {first_line(error)}")


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
