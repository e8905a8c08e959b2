"""What all models that sentence-transformers saves share: where they lie, prompts, limits, and loading."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from harness.base.errors import ConfigError, MissingExtraError, ModelError
from harness.base.options import Options
from harness.data.models.accelerator import accelerator
from harness.data.models.encoder import Identity, Role, check_device, check_positive, chosen_device, first_line
from harness.data.models.hub import HubModel, ModelFolder, locate_model
from harness.data.models.weights.shipped import shipped_bytes

log = logging.getLogger(__name__)

LATE_INTERACTION = "MultiVectorEncoder"
"""The class of late-interaction models: PyLate 2 and 3 say ColBERT, PyLate 1 and Stanford's code nothing."""

MARKERS = {"query_prefix", "document_prefix"}
"""What only PyLate has in a model's configuration."""


@dataclass(kw_only=True, frozen=True)
class SavedModel(Options):
    """A model from the Hugging Face hub or a local folder.

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
    max_length : int or None
        Tokens of a text that are read; None is the model's own limit.
    dtype : str
        Of the weights; what a model gives is float32 always.
    device : str
        auto (cuda, mps or cpu, whichever is there first), cpu, cuda, cuda:1, mps.
    batch_size : int
        Texts in one forward pass.
    """

    name: str
    revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: int | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str = "auto"
    batch_size: int = 32

    LABELLED: ClassVar[Sequence[str]] = ()
    """Options that the label names where they are set."""

    WITHOUT_MODULES: ClassVar[str | None] = None
    """What a warning says is made of a model that has no modules.json; None: no warning."""

    def _check(self) -> None:
        if not self.name:
            raise ConfigError("model.name is empty; give a hub id or the path of a folder")
        check_positive(self, "max_length", "batch_size")
        check_device(self)

    @property
    def label(self) -> str:
        """The name and the settings that differ from the model's own."""
        base = Path(self.name).name if isinstance(self._files, ModelFolder) else self.name
        return " ".join([base, *changed_options(self, [*self.LABELLED, "dtype"])])

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors. A local model is its content, wherever it lies."""
        raise NotImplementedError

    @property
    def model_bytes(self) -> int:
        """Bytes of the files as they would be shipped; of a model that was changed, with the weights that are left."""
        if not self._is_changed:
            return self._files.shipped_bytes()
        return self._files.shipped_bytes(weights=False) + shipped_bytes(self._model)

    @property
    def ran_on(self) -> str:
        """What it ran on: "cpu", or the name of an accelerator."""
        return accelerator(self._model.device)

    def path_of(self, filename: str) -> Path | None:
        """Return where one of its files lies, None where it has none of that name."""
        return self._files.path_of(filename)

    @property
    def loaded(self) -> Any:
        """The model in memory, an object of sentence-transformers."""
        return self._model

    @property
    def _is_changed(self) -> bool:
        """Whether the weights in memory are not those of the files."""
        return self.dtype != "float32"

    @property
    def _model(self) -> Any:
        """The model in memory."""
        raise NotImplementedError

    @cached_property
    def _files(self) -> ModelFolder | HubModel:
        return locate_model(self.name, self.revision)

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        config = dict(self._files.read("config_sentence_transformers.json") or {})
        self._check_kind(self._kind(config))
        return config

    def _kind(self, config: Mapping[str, Any]) -> str | None:
        """Return the class of sentence-transformers that a model is for, None where no file says it."""
        said: str | None = config.get("model_type")
        if said is not None:
            return LATE_INTERACTION if said == "ColBERT" else said
        if MARKERS & config.keys():
            return LATE_INTERACTION
        # what has modules.json was saved by sentence-transformers, or by PyLate
        if self._files.read("modules.json") is None:
            architectures = (self._files.read("config.json") or {}).get("architectures") or []
            if any(name == "HF_ColBERT" or name.endswith("ForRetrieval") for name in architectures):
                return LATE_INTERACTION
        return None

    def _check_kind(self, kind: str | None) -> None:
        """Refuse a model that gives something else, by what its configuration calls it."""
        raise NotImplementedError

    @cached_property
    def _modules(self) -> Sequence[Mapping[str, Any]]:
        modules: list[dict[str, Any]] | None = self._files.read("modules.json")
        if modules is None and self.WITHOUT_MODULES is not None:
            log.warning(
                "%s has no modules.json: not a sentence-transformers model, so %s, whatever its author meant",
                self.name,
                self.WITHOUT_MODULES,
            )
        return modules or []

    @cached_property
    def _published_length(self) -> int | None:
        folder = f"{self._modules[0]['path']}/" if self._modules and self._modules[0]["path"] else ""
        settings = self._files.read(f"{folder}sentence_bert_config.json") or {}
        return settings.get("max_seq_length")

    def _prompt(self, role: Role) -> str:
        given = self.query_prompt if role == "query" else self.document_prompt
        if given is not None:
            return given
        own: Mapping[str, str | None] = self._config.get("prompts") or {}
        names = ("query",) if role == "query" else ("document", "passage", "corpus")
        return next((text for name in names if (text := own.get(name)) is not None), "")

    def _loaded(self, kind: str, **settings: Any) -> Any:
        """Return the model in memory, an object of sentence-transformers' class of that name."""
        try:
            import sentence_transformers
            import torch
            from transformers.utils import logging as transformers_logging
        except ModuleNotFoundError as error:
            raise MissingExtraError("sentence-transformers", "models", "encoding text") from error
        self._check_length()
        device, dtype = self._device, getattr(torch, self._loaded_as)
        if device == "cpu":
            warn_of_slow_type(self._loaded_as)
        loading_bar = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            model = self._files.load(
                getattr(sentence_transformers, kind),
                device=device,
                model_kwargs={"torch_dtype": dtype},
                **settings,
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

    @property
    def _device(self) -> str:
        """Where the model is loaded to."""
        return chosen_device(self.device)

    @property
    def _loaded_as(self) -> str:
        """The type of torch's weights."""
        return self.dtype

    def _check_length(self) -> None:
        if self.max_length is None:
            return
        limit = (self._files.read("config.json") or {}).get("max_position_embeddings")
        if limit is not None and self.max_length > limit:
            raise ModelError(f"model.max_length={self.max_length}, but {self.name} has positions for {limit} tokens")

    def _not_loaded(self, error: Exception) -> ModelError:
        return ModelError(f"{self.name} cannot be loaded: {first_line(error)}")


def changed_options(options: Options, names: Sequence[str]) -> list[str]:
    """Return NAME=VALUE of those of a model's options that are not at their defaults."""
    defaults = {field.name: field.default for field in fields(options)}
    return [f"{key}={value}" for key in names if (value := getattr(options, key)) != defaults[key]]


FAST_TYPES = {"bfloat16": ("avx512_bf16", "amx_bf16"), "float16": ("avx512_fp16", "amx_fp16")}
"""What a processor must be able to do for a type to be faster than float32, as torch calls it."""


def warn_of_slow_type(dtype: str) -> None:
    """Say so where a type is slower than float32 because the processor does not compute with it."""
    import torch

    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch has told since 2.10
    x86 = able.get("architecture") == "x86_64"
    if dtype in FAST_TYPES and x86 and not any(able.get(name) for name in FAST_TYPES[dtype]):
        log.warning(
            "this processor does not compute with %s (%s): encoding is slower than with model.dtype=float32",
            dtype,
            " or ".join(FAST_TYPES[dtype]),
        )
