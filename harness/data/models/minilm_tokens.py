"""The token vectors of all-MiniLM-L6-v2, from the package that carries its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from harness.base.options import Options
from harness.data.models.encoder import Role, check_device, check_positive
from harness.data.models.minilm import WIDTH, Minilm
from harness.data.models.packaged import Packaged
from harness.data.models.token_states import TokenStatesModel
from methods.representations import Kind
from methods.token_vectors import TokenColumn, TokenVectors


@dataclass(kw_only=True, frozen=True)
class MinilmTokens(Packaged, Options):
    """The hidden states of all-MiniLM-L6-v2's tokens, 384 dimensions of unit length: works offline.

    See `TokenStatesModel` for what they are, and are not.

    Attributes
    ----------
    layer : int or None
        0 to 6; None is the last.
    markers : bool
        Keep [CLS] and [SEP].
    device, batch_size
        As in `SentenceTransformerModel`.
    """

    layer: int | None = None
    markers: bool = False
    device: str = "auto"
    batch_size: int = 32

    gives: ClassVar[Kind] = "tokens"
    columns: ClassVar[Sequence[TokenColumn]] = TokenStatesModel.columns

    def _check(self) -> None:
        check_positive(self, "batch_size")
        check_device(self)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "all-MiniLM-L6-v2 tokens"

    @property
    def width(self) -> int:
        """Dimensions of a token's vector."""
        return WIDTH

    @property
    def label(self) -> str:
        """The name, and the settings that differ."""
        layer = "" if self.layer is None else f" layer={self.layer}"
        return self.name + layer + (" markers=true" if self.markers else "")

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> TokenVectors:
        """Return the texts' token vectors."""
        return self._packaged.encode(texts, role, task)

    def token_column(self, column: TokenColumn, texts: Sequence[str], role: Role, task: str | None) -> TokenVectors:
        """Return a number for each of the texts' tokens, see `TokenStatesModel.token_column`."""
        return self._packaged.token_column(column, texts, role, task)

    @cached_property
    def _packaged(self) -> TokenStatesModel:
        return TokenStatesModel(
            name=str(Minilm().verified_folder),
            layer=self.layer,
            markers=self.markers,
            device=self.device,
            batch_size=self.batch_size,
        )
