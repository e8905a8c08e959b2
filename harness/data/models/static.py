"""Static models: a text's vector is the mean of its tokens', looked up in a table; no transformer runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError, ModelError
from harness.base.options import Options
from harness.base.part_identity import describe, short_name
from harness.data.models.encoder import Identity, Role, check_device, check_positive, checked, unit_length
from harness.data.models.hub import HubModel, ModelFolder, locate_model
from harness.data.models.kept_table import kept_table
from harness.data.models.minilm import Minilm
from harness.data.models.token_table import TokenTable, distilled, mean_vectors, read_static
from methods.base import MethodError

Float32 = NDArray[np.float32]

PACKAGED = "minilm"
"""The name of the sentence-transformer that the package of `model=minilm` carries."""


@dataclass(kw_only=True, frozen=True)
class StaticModel(Options):
    """Any static model of model2vec or sentence-transformers, or one distilled from a sentence-transformer.

    Whether a model is static its files say; one that is not is distilled (`harness.data.models.token_table.distilled`).

    Attributes
    ----------
    name : str
        Hub id, path of a folder, or "minilm", the packaged all-MiniLM-L6-v2.
    revision : str or None
        Of a hub model.
    dim : int or None
        Keep the first dimensions of the table: of a distilled one, the principal axes.
    sif : float or None
        Of a distilled table: tokens are weighted by sif / (sif + frequency); None, all alike.
    tokens : int or None
        Keep the first tokens of the table only, which in a tokenizer's order are the frequent ones; others add nothing
        to a text. The tokenizer stays whole.
    table : Codec or None
        A method that compresses the table: rows are tokens.
    max_length : int or None
        Tokens of a text that are read.
    device : str
        Where a model is distilled.
    kept_in : str or None
        The cache in which the distilled table is kept (`harness.data.models.kept_table`); None distils in every
        process that encodes.
    """

    name: str
    revision: str | None = None
    dim: int | None = None
    sif: float | None = 1e-4
    tokens: int | None = None
    table: Any = None
    max_length: int | None = None
    device: str = "auto"
    kept_in: str | None = None

    def _check(self) -> None:
        check_positive(self, "dim", "tokens", "max_length")
        check_device(self)
        if self.sif is not None and not 0 < self.sif < 1:
            raise ConfigError(f"StaticModel: sif must be between 0 and 1, got {self.sif}")
        if self.table is not None:
            if not hasattr(self.table, "decode") or self.table.takes != "vectors":
                raise ConfigError("StaticModel: table must be a method that takes one vector a document")
            if self.table.wants_queries:
                raise ConfigError("StaticModel: table learns from queries, and the tokens of a table have none")

    @property
    def label(self) -> str:
        """The name, that it is static, and the settings that change its vectors."""
        base = "all-MiniLM-L6-v2" if self.name == PACKAGED else self.name
        base = Path(base).name if isinstance(self._files, ModelFolder) else base
        own = ("revision", "dim", "tokens", "max_length")
        changed = [f"{key}={value}" for key in own if (value := getattr(self, key)) is not None]
        changed += [] if self.sif == 1e-4 else [f"sif={'none' if self.sif is None else self.sif}"]
        changed += [] if self.table is None else [f"table={short_name(self.table)}"]
        return " ".join([base, "static", *changed])

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors: they are the same for both roles."""
        return {
            **self._files.identity,
            "static": 1,
            "dim": self.dim,
            "sif": self.sif,
            "tokens": self.tokens,
            "table": describe(self.table),
            "max_length": self.max_length,
        }

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the texts' unit vectors, float32 (n, d); zeros for a text without a token of the table."""
        return unit_length(checked(mean_vectors(self._table, texts, self.max_length), texts, self.name))

    @property
    def model_bytes(self) -> int:
        """Bytes of the tokenizer and the table as the files hold it; of a compressed one, its codes and state."""
        return self._table.file_bytes

    @cached_property
    def _files(self) -> ModelFolder | HubModel:
        if self.name == PACKAGED:
            return ModelFolder(Minilm().verified_folder)
        return locate_model(self.name, self.revision)

    def _distilled(self) -> TokenTable:
        """Return the table of a model that is not static."""

        def distil() -> TokenTable:
            return distilled(str(self._files.path_or_name), self.revision, self.sif, self.device)

        tokenizer = self._files.path_of("tokenizer.json")
        if self.kept_in is None or tokenizer is None:
            return distil()
        return kept_table(Path(self.kept_in).expanduser(), self._files.identity, self.sif, tokenizer, distil)

    @cached_property
    def _table(self) -> TokenTable:
        found = read_static(self._files)
        if found is None:
            found = self._distilled()
        if self.dim is not None:
            if self.dim > found.rows.shape[1]:
                raise ModelError(f"model.dim={self.dim}, but the table of {self.name} has {found.rows.shape[1]}")
            found = found.narrowed(self.dim)
        if self.tokens is not None:
            found = found.first(self.tokens)
        if self.table is None:
            return found
        try:
            return found.through(self.table)
        except MethodError as error:
            raise ModelError(f"model.table does not fit {found.rows.shape[0]} token vectors: {error}") from error
