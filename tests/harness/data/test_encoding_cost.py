"""What encoding takes: measured when vectors are made, read by every later run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from harness.data import encoding_cost
from harness.data.datasets import Dataset
from harness.data.embedding_cache import embed, fill
from harness.data.models.float16 import Rounded
from harness.data.models.hub import ModelFolder
from harness.data.models.query_model import TwoModels
from harness.data.shards import Shard


@dataclass
class Sized:
    """A model of so many bytes; of None, it says nothing of its size."""

    model_bytes: int | None = 1000
    content: str = "a"
    encoded: list[int] = field(default_factory=list)

    name = "sized"

    @property
    def label(self) -> str:
        return f"sized {self.content}"

    def identity(self, role: str, task: str | None) -> dict:
        return {"content": self.content, "prompt": role}

    def encode(self, texts: Sequence[str], role: str, task: str | None) -> np.ndarray:
        self.encoded.append(len(texts))
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset.build(
        name="toy",
        doc_ids=[f"d{row}" for row in range(100)],
        doc_texts=["word " * (row + 1) for row in range(100)],
        query_ids=["a", "b"],
        query_texts=["one", "two"],
        qrels=None,
    )


def test_a_model_that_says_its_size_is_timed_once_and_the_figures_stay(dataset: Dataset, tmp_path: Path) -> None:
    first = embed(dataset, Sized(), tmp_path).encoding
    documents, queries = first["document"], first["query"]
    assert documents["model_bytes"] == 1000 and documents["texts"] == encoding_cost.SAMPLE and queries["texts"] == 2
    for spread in (documents["texts_per_second"], documents["cpu_ms_per_text"], queries["single_ms"]):
        assert 0 <= spread["low"] <= spread["median"] <= spread["high"]
    assert documents["texts_per_second"]["repeats"] >= encoding_cost.LEAST
    assert "single_ms" not in documents and documents["machine"]["cores"] and documents["peak_memory_bytes"] > 0
    again = Sized()
    assert embed(dataset, again, tmp_path).encoding == first and not again.encoded


def test_a_model_that_does_not_is_asked_for_nothing_twice(dataset: Dataset, tmp_path: Path) -> None:
    encoder = Sized(model_bytes=None)
    assert embed(dataset, encoder, tmp_path).encoding == {} and sum(encoder.encoded) == 102


def test_older_vectors_are_timed_when_asked(dataset: Dataset, tmp_path: Path) -> None:
    embed(dataset, Sized(), tmp_path)
    for path in tmp_path.glob("*.cost.json"):
        path.unlink()
    assert embed(dataset, Sized(), tmp_path).encoding == {}
    fill(dataset, Sized(), tmp_path, measured=True)
    assert set(embed(dataset, Sized(), tmp_path).encoding) == {"document", "query"}


def test_parts_leave_the_figures_of_the_whole(dataset: Dataset, tmp_path: Path) -> None:
    for part in (1, 2):
        fill(dataset, Sized(), tmp_path, Shard(part, 2))
    assert set(embed(dataset, Sized(model_bytes=None), tmp_path).encoding) == {"document", "query"}


def test_roles_of_two_models_have_figures_of_their_own(dataset: Dataset, tmp_path: Path) -> None:
    pair = TwoModels(Sized(2000, "documents"), Sized(500, "queries"))
    found = embed(dataset, pair, tmp_path).encoding
    assert (found["document"]["model_bytes"], found["query"]["model_bytes"]) == (2000, 500)


def test_rounding_vectors_leaves_the_model_as_large(dataset: Dataset, tmp_path: Path) -> None:
    assert embed(dataset, Rounded(Sized()), tmp_path).encoding["query"]["model_bytes"] == 1000


def test_unreadable_figures_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.cost.json"
    assert encoding_cost.kept(path) is None
    for content in ("{", json.dumps([1])):
        path.write_text(content)
        assert encoding_cost.kept(path) is None


def test_only_files_that_loading_reads_are_shipped(tmp_path: Path) -> None:
    for name, size in {
        "model.safetensors": 1000,
        "pytorch_model.bin": 999,
        "tokenizer.json": 100,
        "vocab.txt": 99,
        "training_args.bin": 98,
        "config.json": 10,
        "README.md": 97,
        "onnx/model.onnx": 96,
        "1_Dense/pytorch_model.bin": 1,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * size)
    assert ModelFolder(tmp_path).shipped_bytes() == 1111
    assert ModelFolder(tmp_path).shipped_bytes(weights=False) == 110
