"""The cache of terms and of token vectors, with encoders that hash words; as a script, this is what gets killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from harness.base.errors import CacheError, ConfigError, ModelError
from harness.base.memmap import mapping_of
from harness.data import embedding_cache, ragged_cache
from harness.data.datasets import Dataset
from harness.data.embedding_cache import embed, fill
from harness.data.models.float16 import cached_as
from harness.data.models.query_model import two_models
from harness.data.shards import Shard
from methods.representations import SparseVectors
from methods.token_vectors import TokenVectors
from tests.conftest import ROOT
from tests.harness.data.test_embedding_cache import N_DOCS, HashEncoder, make_dataset, wait_for

WIDTH = 50


def hashed(texts: Sequence[str], role: str) -> SparseVectors:
    """A word's number is its hash, and its weight how often it is there; queries count double."""
    rows = [sorted({sum(word.encode()) % WIDTH: 0 for word in text.split()}) for text in texts]
    weights = [
        [(2.0 if role == "query" else 1.0) * sum(sum(word.encode()) % WIDTH == term for word in text.split())]
        for text, terms in zip(texts, rows, strict=True)
        for term in terms
    ]
    counts = [len(terms) for terms in rows]
    return SparseVectors(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array([term for terms in rows for term in terms], np.uint32),
        np.array(weights, np.float32).reshape(-1),
        WIDTH,
    )


@dataclass
class WordEncoder:
    fail_at: int | None = None
    delay: float = 0.0
    version: int = 1
    query_width: int = WIDTH
    calls: list[tuple[str, list[str]]] = field(default_factory=list)

    gives = "terms"
    name = "words"
    label = "words"

    def identity(self, role: str, task: str | None) -> dict:
        return {"model": "words", "version": self.version, "role": role}

    def encode(self, texts: Sequence[str], role: str, task: str | None) -> SparseVectors:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append((role, list(texts)))
        time.sleep(self.delay)
        terms = hashed(texts, role)
        return (
            terms if role == "document" else SparseVectors(terms.indptr, terms.terms, terms.weights, self.query_width)
        )

    def count(self, role: str) -> int:
        return sum(len(texts) for called, texts in self.calls if called == role)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "CHUNK_CHARACTERS", 400)


def assert_equal(found: SparseVectors, wanted: SparseVectors) -> None:
    assert found.width == wanted.width
    for name in ("indptr", "terms", "weights"):
        array = getattr(found, name)
        assert array.dtype == getattr(wanted, name).dtype
        np.testing.assert_array_equal(array, getattr(wanted, name))


def expected(dataset: Dataset) -> SparseVectors:
    assert dataset.doc_texts is not None
    return hashed(dataset.doc_texts, "document")


def documents_file(directory: Path) -> Path:
    """The documents' file: the largest."""
    return max(directory.glob("*.safetensors"), key=lambda path: path.stat().st_size)


def test_terms_are_the_encoders_in_dataset_order_and_made_once(tmp_path: Path) -> None:
    dataset, encoder = make_dataset(), WordEncoder()
    vectors = embed(dataset, encoder, tmp_path / "new" / "cache")
    assert_equal(vectors.docs, expected(dataset))
    assert_equal(vectors.queries, hashed(dataset.query_texts or [], "query"))
    assert vectors.dim == WIDTH and vectors.identity["query"] == encoder.identity("query", None)
    assert len(encoder.calls) > 4, "the documents should have been more than one portion"
    assert {path.suffix for path in (tmp_path / "new" / "cache").iterdir()} == {".safetensors", ".lock"}
    again = WordEncoder(fail_at=0)
    assert_equal(embed(dataset, again, tmp_path / "new" / "cache").docs, expected(dataset))
    train = vectors.as_queries(dataset.train_query_texts, "train queries")
    assert_equal(train, hashed(dataset.train_query_texts, "query"))
    assert encoder.count("query") == 5
    vectors.as_queries(dataset.train_query_texts, "titles")
    assert encoder.count("query") == 5
    embed(dataset, other := WordEncoder(version=2), tmp_path / "new" / "cache")
    assert other.count("document") == N_DOCS


def test_an_interrupted_encoding_goes_on_with_the_same_portions_to_the_identical_file(tmp_path: Path) -> None:
    dataset, whole = make_dataset(), WordEncoder()
    embed(dataset, whole, tmp_path / "straight")
    stopped, rest = WordEncoder(fail_at=3), WordEncoder()
    with pytest.raises(KeyboardInterrupt):
        embed(dataset, stopped, tmp_path / "resumed")
    assert not list((tmp_path / "resumed").glob("*.safetensors"))
    embed(dataset, rest, tmp_path / "resumed")
    assert len(stopped.calls) == 3 and stopped.calls + rest.calls == whole.calls
    assert documents_file(tmp_path / "resumed").read_bytes() == documents_file(tmp_path / "straight").read_bytes()


def start_worker(directory: Path, delay: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, __file__, str(directory), str(delay)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_killed_encoding_goes_on(tmp_path: Path) -> None:
    dataset = make_dataset()
    with start_worker(tmp_path, delay=0.3) as worker:
        wait_for(lambda: len(list(tmp_path.glob("*.chunks/*.safetensors"))) > 1)
        worker.kill()
    assert worker.returncode != 0 and not list(tmp_path.glob("*.safetensors"))
    rest, started = WordEncoder(), time.monotonic()
    assert_equal(embed(dataset, rest, tmp_path).docs, expected(dataset))
    assert time.monotonic() - started < 5, "the dead process's lock should not be waited for"
    assert 0 < rest.count("document") < N_DOCS
    assert not list(tmp_path.glob("*.chunks"))


def test_of_two_processes_one_encodes(tmp_path: Path) -> None:
    with start_worker(tmp_path, delay=0.05) as first, start_worker(tmp_path, delay=0.05) as second:
        encoded = [json.loads(worker.communicate(timeout=60)[0]) for worker in (first, second)]
    assert sorted(encoded) == [0, N_DOCS]
    assert_equal(embed(make_dataset(), WordEncoder(fail_at=0), tmp_path).docs, expected(make_dataset()))


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "last byte of a weight": lambda path: flip(path, -1),
    "length of the header": lambda path: flip(path, 0),
    "width": lambda path: path.write_bytes(path.read_bytes().replace(b'\\"width\\": 50', b'\\"width\\": 5x')),
    "another model": lambda path: path.write_bytes(path.read_bytes().replace(b'\\"words\\"', b'\\"other\\"')),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_file_is_named_and_never_used(tmp_path: Path, damage: str) -> None:
    dataset = make_dataset()
    embed(dataset, WordEncoder(), tmp_path)
    file = documents_file(tmp_path)
    sound = file.read_bytes()
    DAMAGE[damage](file)
    assert file.read_bytes() != sound
    with pytest.raises(CacheError) as raised:
        embed(dataset, WordEncoder(), tmp_path)
    message = str(raised.value)
    assert str(file) in message and "delete the file" in message and "\n" not in message
    file.unlink()
    assert_equal(embed(dataset, WordEncoder(), tmp_path).docs, expected(dataset))


def test_a_damaged_portion_is_encoded_again(tmp_path: Path) -> None:
    dataset, stopped = make_dataset(), WordEncoder(fail_at=3)
    with pytest.raises(KeyboardInterrupt):
        embed(dataset, stopped, tmp_path)
    flip(next(tmp_path.glob("*.chunks/1.safetensors")), -1)
    rest = WordEncoder()
    assert_equal(embed(dataset, rest, tmp_path).docs, expected(dataset))
    assert rest.calls[0] == stopped.calls[1]


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="vocabulary of 50 terms and queries have a vocabulary of 51 terms"):
        embed(make_dataset(), WordEncoder(query_width=51), tmp_path)
    with pytest.raises(ConfigError, match="terms with weights are kept as float32"):
        cached_as(WordEncoder(), "float16")
    for kind, gives in ((WordEncoder, "terms with weights"), (TokenEncoder, "a vector for each token")):
        with pytest.raises(ConfigError, match=f"query_model is for .* one vector a document, but .* gives {gives}"):
            two_models(HashEncoder(), kind())
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cache_dir="):
        embed(make_dataset(), WordEncoder(), tmp_path / "file" / "cache")


@dataclass
class TokenEncoder(WordEncoder):
    """A vector for each word, which its letters make; queries have three times the vectors' length."""

    gives = "tokens"
    name = "tokens"

    def encode(self, texts: Sequence[str], role: str, task: str | None) -> TokenVectors:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append((role, list(texts)))
        return vectors_of(texts, role)


def vectors_of(texts: Sequence[str], role: str) -> TokenVectors:
    def vector(word: str) -> np.ndarray:
        return np.random.default_rng(sum(word.encode())).standard_normal(6).astype(np.float32)

    found = [np.array([vector(word) for word in text.split()], np.float32).reshape(-1, 6) for text in texts]
    vectors = TokenVectors.of(found, 6)
    return vectors if role == "document" else TokenVectors(3 * vectors.values, vectors.offsets)


def test_token_vectors_are_the_encoders_in_dataset_order_mapped_and_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ragged_cache, "JOINED_TOKENS", 50)
    dataset, encoder = make_dataset(), TokenEncoder()
    vectors = embed(dataset, encoder, tmp_path)
    wanted = vectors_of(dataset.doc_texts or [], "document")
    assert np.array_equal(vectors.docs.values, wanted.values) and np.array_equal(vectors.docs.offsets, wanted.offsets)
    assert mapping_of(vectors.docs.values) is not None, "hundreds of vectors a document need not fit into memory"
    assert np.array_equal(vectors.queries.values, vectors_of(dataset.query_texts or [], "query").values)
    assert vectors.queries.dtype == np.float32 and len(encoder.calls) > 4
    embed(dataset, TokenEncoder(fail_at=0), tmp_path)


def test_an_interrupted_encoding_of_token_vectors_goes_on_to_the_identical_file(tmp_path: Path) -> None:
    dataset, whole, stopped, rest = make_dataset(), TokenEncoder(), TokenEncoder(fail_at=3), TokenEncoder()
    embed(dataset, whole, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        embed(dataset, stopped, tmp_path / "resumed")
    embed(dataset, rest, tmp_path / "resumed")
    assert stopped.calls + rest.calls == whole.calls
    assert documents_file(tmp_path / "resumed").read_bytes() == documents_file(tmp_path / "straight").read_bytes()


def test_a_damaged_byte_of_token_vectors_is_found(tmp_path: Path) -> None:
    embed(make_dataset(), TokenEncoder(), tmp_path)
    flip(documents_file(tmp_path), -3)
    with pytest.raises(CacheError, match="checksum"):
        embed(make_dataset(), TokenEncoder(), tmp_path)


def test_token_vectors_of_float16_take_half_and_are_another_models(tmp_path: Path) -> None:
    dataset = make_dataset()
    embed(dataset, TokenEncoder(), tmp_path / "wide")
    rounded = cached_as(TokenEncoder(), "float16")
    docs = embed(dataset, rounded, tmp_path / "half").docs
    wanted = vectors_of(dataset.doc_texts or [], "document").values.astype(np.float16)
    assert docs.dtype == np.float16 and np.array_equal(docs.values, wanted)
    sizes = [documents_file(tmp_path / name).stat().st_size for name in ("wide", "half")]
    assert sizes[1] < 0.75 * sizes[0] and {path.name for path in (tmp_path / "wide").glob("*.safetensors")}.isdisjoint(
        path.name for path in (tmp_path / "half").glob("*.safetensors")
    )


@pytest.mark.parametrize("encoder", [WordEncoder, TokenEncoder])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_are_joined_to_the_file_of_one_process(
    tmp_path: Path, encoder: type[WordEncoder], order: tuple[int, ...]
) -> None:
    dataset = make_dataset()
    embed(dataset, encoder(), tmp_path / "one")
    encoded = []
    for part in order:
        own = encoder()
        fill(dataset, own, tmp_path / "parts", Shard(part, 3))
        encoded.append(own.count("document"))
    assert sum(encoded) == N_DOCS and all(encoded)
    assert documents_file(tmp_path / "parts").read_bytes() == documents_file(tmp_path / "one").read_bytes()
    assert not list((tmp_path / "parts").glob("*.chunks"))
    fill(dataset, again := encoder(), tmp_path / "parts", Shard(2, 3))
    assert again.count("document") == 0


def work(directory: str, delay: str) -> None:
    embedding_cache.CHUNK_CHARACTERS = 400
    encoder = WordEncoder(delay=float(delay))
    embed(make_dataset(), encoder, Path(directory))
    print(encoder.count("document"))


if __name__ == "__main__":
    work(*sys.argv[1:])
