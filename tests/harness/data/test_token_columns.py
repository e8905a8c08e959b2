"""What is known of tokens beside their vectors: encoded once, kept apart from the vectors, refused where it is not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from harness.base.errors import ModelError
from harness.data.embedding_cache import embed
from harness.data.models.float16 import cached_as
from harness.data.token_columns import refuse_missing_columns, with_columns
from methods.base import MethodError
from methods.token_vectors import TokenColumn, TokenVectors
from tests.harness.data.models.test_term_vectors import toy


@dataclass(eq=False)
class LetterEncoder:
    """A vector for each letter; its id is the letter's number."""

    longer: bool = False
    calls: list[str] = field(default_factory=list)

    gives = "tokens"
    name = label = "letters"
    columns: tuple[TokenColumn, ...] = ("token_ids",)

    def identity(self, role: str, task: str | None) -> dict:
        return {"model": "letters", "role": role}

    def encode(self, texts: Sequence[str], role: str, task: str | None) -> TokenVectors:
        self.calls.append(role)
        return TokenVectors.of([[[ord(letter), 1, 0] for letter in text] for text in texts], 3)

    def token_column(self, column: TokenColumn, texts: Sequence[str], role: str, task: str | None) -> TokenVectors:
        self.calls.append(column)
        return TokenVectors.of([[[ord(letter)] for letter in text + "x" * self.longer] for text in texts], 1)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_column_is_encoded_once_and_vectors_stay_as_they_are(tmp_path: Path, dtype: str) -> None:
    dataset = toy(doc_texts=["BB", "", "AC"])
    model = LetterEncoder()
    encoder = cached_as(model, dtype)
    docs = embed(dataset, encoder, tmp_path).docs
    for _ in range(2):
        found = with_columns(docs, ["token_ids"], dataset, encoder, tmp_path)
    assert model.calls == ["document", "query", "token_ids"]
    assert found.values is docs.values and not docs.columns
    assert found.columns["token_ids"].dtype == np.uint32
    assert found.columns["token_ids"].tolist() == docs.values[:, 0].tolist()
    assert with_columns(found, ["token_ids"], dataset, encoder, tmp_path) is found
    # rounded or not, the column is one
    other = cached_as(model, "float32" if dtype == "float16" else "float16")
    with_columns(embed(dataset, other, tmp_path).docs, ["token_ids"], dataset, other, tmp_path)
    assert model.calls.count("token_ids") == 1


def test_what_a_model_does_not_give_is_named() -> None:
    refuse_missing_columns(["token_ids"], LetterEncoder())
    with pytest.raises(MethodError, match="reads the attention that each token receives, which letters does not give"):
        refuse_missing_columns(["token_ids", "attention"], LetterEncoder())


def test_a_column_of_other_tokens_is_refused(tmp_path: Path) -> None:
    dataset, encoder = toy(), LetterEncoder(longer=True)
    docs = embed(dataset, encoder, tmp_path).docs
    with pytest.raises(ModelError, match="token_ids of 6 tokens, but 3 vectors"):
        with_columns(docs, ["token_ids"], dataset, encoder, tmp_path)
