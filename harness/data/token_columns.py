"""What a model says of tokens beside their vectors: their ids, the attention they receive. Cached as vectors are.

A column is no part of the vectors' files, and has a file of its own, made when a method first asks for it. So vectors
that are in the cache stay good whatever is asked for later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.base.errors import ModelError
from harness.data.models.encoder import Identity, Role
from harness.data.models.float16 import Rounded
from methods.base import MethodError
from methods.representations import Kind
from methods.token_vectors import TokenColumn, TokenVectors

if TYPE_CHECKING:
    from harness.data.datasets import Dataset

IN_WORDS: dict[TokenColumn, str] = {
    "token_ids": "each token's id",
    "attention": "the attention that each token receives",
}


@dataclass(frozen=True)
class ColumnEncoder:
    """A column as vectors of one number each, so that the cache of token vectors serves it as well.

    Numbers are float32 there, which holds the ids of any vocabulary below 2^24 tokens.
    """

    model: Any
    column: TokenColumn

    gives: ClassVar[Kind] = "tokens"

    @property
    def name(self) -> str:
        """The model's."""
        return str(self.model.name)

    @property
    def label(self) -> str:
        """What the progress bar and the file call it."""
        return f"{self.model.label}, {self.column}"

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return the model's identity, and which column it is."""
        return {**self.model.identity(role, task), "column": self.column}

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> TokenVectors:
        """Return the column of texts, float32 (tokens, 1)."""
        found: TokenVectors = self.model.token_column(self.column, texts, role, task)
        return found


def refuse_missing_columns(wanted: Sequence[TokenColumn], encoder: Any) -> None:
    """Raise `MethodError` where a method reads a column that the model does not give."""
    given = _given(encoder)
    lacking = [] if given is None else [column for column in wanted if column not in given]
    if lacking:
        raise MethodError(
            f"this method reads {IN_WORDS[lacking[0]]}, which {encoder.name} does not give; model=minilm_tokens and "
            "model=token_states do"
        )


def with_columns(
    docs: TokenVectors, wanted: Sequence[TokenColumn], dataset: Dataset, encoder: Any, cache_dir: Path
) -> TokenVectors:
    """Return the token vectors of a dataset's documents with what a method reads beside them.

    Raises
    ------
    ModelError
        If the column is not one number for each vector.
    """
    # imported here, so that a sweep over finished runs does not wait for it
    from harness.data.ragged_cache import RaggedCache

    missing = [column for column in wanted if column not in docs.columns]
    if not missing or _given(encoder) is None:
        # files of one's own have columns or not
        return docs
    columns = dict(docs.columns)
    for column in missing:
        cache = RaggedCache(cache_dir, dataset, ColumnEncoder(_plain(encoder), column))
        found: Any = cache.get(dataset.doc_texts or [], "document", f"{column.replace('_', ' ')} of documents")
        if not np.array_equal(found.counts, docs.counts):
            raise ModelError(f"{encoder.name} gives {column} of {found.tokens} tokens, but {docs.tokens} vectors")
        numbers = np.array(found.flat()[:, 0])
        columns[column] = numbers.astype(np.uint32) if column == "token_ids" else numbers
    return docs.with_columns(columns)


def _plain(encoder: Any) -> Any:
    """Return the model whose vectors are rounded, or the encoder itself."""
    return encoder.model if isinstance(encoder, Rounded) else encoder


def _given(encoder: Any) -> Sequence[TokenColumn] | None:
    """Return the columns that a model gives; None for files of one's own, which say it themselves."""
    columns: Sequence[TokenColumn] | None = getattr(_plain(encoder), "columns", ())
    return columns
