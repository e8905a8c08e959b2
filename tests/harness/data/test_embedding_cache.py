"""The embedding cache, with an encoder that hashes texts; as a script, this file is the process that gets killed."""

import errno
import hashlib
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
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.base.errors import CacheError, ModelError
from harness.data import embedding_cache
from harness.data.datasets import Dataset
from harness.data.embedding_cache import CacheFiles, Draft, embed
from harness.data.models.vectors import VectorModel
from harness.data.shards import Share
from tests.conftest import ROOT

N_DOCS = 60
DIM = 8


def hashed(text: str, dim: int = DIM) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


@dataclass
class HashEncoder:
    """A text's vector is a function of it and its role; can fail at a given call, and can be slow."""

    fail_at: int | None = None
    error: type[BaseException] = KeyboardInterrupt
    delay: float = 0.0
    version: int = 1
    query_dim: int = DIM
    calls: list[tuple[str, list[str]]] = field(default_factory=list)

    name = "hash"
    label = "hash"

    def identity(self, role: str, task: str | None) -> dict:
        return {"model": "hash", "version": self.version, "prompt": role, "task": task}

    def encode(self, texts: Sequence[str], role: str, task: str | None) -> np.ndarray:
        if len(self.calls) == self.fail_at:
            raise self.error("stopped")
        self.calls.append((role, list(texts)))
        time.sleep(self.delay)
        dim = self.query_dim if role == "query" else DIM
        return np.stack([hashed(f"{role}:{text}", dim) for text in texts])

    def count(self, role: str) -> int:
        return sum(len(texts) for called, texts in self.calls if called == role)


def make_dataset(**changes: object) -> Dataset:
    rng = np.random.default_rng(0)
    parts: dict = {
        "name": "toy",
        "doc_ids": [f"d{i:03d}" for i in range(N_DOCS)],
        "doc_texts": [f"{i} " + "word " * int(rng.integers(0, 30)) for i in range(N_DOCS)],
        "query_ids": ["a", "b", "c"],
        "query_texts": ["first", "second one", "third"],
        "train_query_texts": ["practice", "more practice"],
        "qrels": None,
    }
    return Dataset.build(**(parts | changes))


def expected(dataset: Dataset) -> np.ndarray:
    assert dataset.doc_texts is not None
    return np.stack([hashed(f"document:{text}") for text in dataset.doc_texts])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "CHUNK_CHARACTERS", 400)
    monkeypatch.setattr(embedding_cache, "FLUSH_SECONDS", 0.0)


def only(directory: Path, pattern: str) -> Path:
    (path,) = directory.glob(pattern)
    return path


def documents_file(directory: Path) -> Path:
    """The .npy of the documents: the largest."""
    return max(directory.glob("*.npy"), key=lambda path: path.stat().st_size)


def test_vectors_are_the_encoders_in_dataset_order(tmp_path: Path) -> None:
    dataset, encoder = make_dataset(), HashEncoder()
    vectors = embed(dataset, encoder, tmp_path / "new" / "cache")
    np.testing.assert_array_equal(vectors.docs, expected(dataset))
    np.testing.assert_array_equal(vectors.queries, [hashed(f"query:{t}") for t in dataset.query_texts])
    assert vectors.dim == DIM and vectors.docs.dtype == np.float32
    assert isinstance(vectors.docs, np.memmap)
    assert vectors.identity["query"] == encoder.identity("query", None)
    with pytest.raises(ValueError, match="read-only"):
        vectors.docs[0, 0] = 1.0
    assert len(encoder.calls) > 4, "the documents should have been more than one chunk"
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("*.progress"))


def test_a_second_call_encodes_nothing(tmp_path: Path) -> None:
    first = embed(make_dataset(), HashEncoder(), tmp_path)
    encoder = HashEncoder(fail_at=0)
    second = embed(make_dataset(), encoder, tmp_path)
    np.testing.assert_array_equal(first.docs, second.docs)
    np.testing.assert_array_equal(first.queries, second.queries)


def test_other_texts_are_encoded_as_queries_once_and_only_when_asked_for(tmp_path: Path) -> None:
    dataset, encoder = make_dataset(), HashEncoder()
    vectors = embed(dataset, encoder, tmp_path)
    assert encoder.count("query") == 3 and vectors.train_queries is None
    train = vectors.as_queries(dataset.train_query_texts, "train queries")
    np.testing.assert_array_equal(train, [hashed(f"query:{t}") for t in dataset.train_query_texts])
    assert encoder.count("query") == 5
    vectors.as_queries(dataset.train_query_texts, "titles")
    assert encoder.count("query") == 5, "a text's vector does not depend on what the texts are called"


def test_the_key_is_what_determines_the_vectors(tmp_path: Path) -> None:
    def encoded(dataset: Dataset, encoder: HashEncoder) -> int:
        embed(dataset, encoder, tmp_path)
        return encoder.count("document")

    assert encoded(make_dataset(), HashEncoder()) == N_DOCS
    judged = make_dataset(qrels={"a": {"d001": 1}, "c": {"d002": 1}}, name="another name")
    assert encoded(judged, HashEncoder()) == 0
    assert encoded(make_dataset(), HashEncoder(version=2)) == N_DOCS
    assert encoded(make_dataset(task="SciFact"), HashEncoder()) == N_DOCS
    texts = [f"text {i}" for i in range(N_DOCS)]
    assert encoded(make_dataset(doc_texts=texts), HashEncoder()) == N_DOCS
    assert encoded(make_dataset(doc_texts=texts[::-1]), HashEncoder()) == N_DOCS
    split_elsewhere = ["".join(texts[:2]), "", *texts[2:]]
    assert encoded(make_dataset(doc_texts=split_elsewhere), HashEncoder()) == N_DOCS


@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelError])
@pytest.mark.parametrize("flush_seconds", [0.0, 1000.0])
def test_an_interrupted_encoding_is_finished_with_the_identical_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], flush_seconds: float
) -> None:
    monkeypatch.setattr(embedding_cache, "FLUSH_SECONDS", flush_seconds)
    dataset = make_dataset()
    embed(dataset, HashEncoder(), tmp_path / "straight")
    stopped = HashEncoder(fail_at=3, error=error)
    with pytest.raises(error):
        embed(dataset, stopped, tmp_path / "resumed")
    assert not list((tmp_path / "resumed").glob("*.npy"))
    rest = HashEncoder()
    vectors = embed(dataset, rest, tmp_path / "resumed")
    assert 0 < stopped.count("document") < N_DOCS
    assert stopped.count("document") + rest.count("document") == N_DOCS
    np.testing.assert_array_equal(vectors.docs, expected(dataset))
    for name in ("*.npy", "*.json"):
        straight, resumed = sorted((tmp_path / "straight").glob(name)), sorted((tmp_path / "resumed").glob(name))
        assert [p.name for p in straight] == [p.name for p in resumed]
        assert [p.read_bytes() for p in straight] == [p.read_bytes() for p in resumed]


def test_a_resumed_encoding_forms_the_same_batches(tmp_path: Path) -> None:
    dataset, whole = make_dataset(), HashEncoder()
    embed(dataset, whole, tmp_path / "straight")
    stopped, rest = HashEncoder(fail_at=2), HashEncoder()
    with pytest.raises(KeyboardInterrupt):
        embed(dataset, stopped, tmp_path / "resumed")
    embed(dataset, rest, tmp_path / "resumed")
    assert stopped.calls + rest.calls == whole.calls


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=40), st.integers(1, 5000), st.data())
@settings(max_examples=60, deadline=None)
def test_chunks_are_the_texts_longest_first(sizes: list[int], limit: int, data: st.DataObject) -> None:
    lengths = np.array(sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_cache, "CHUNK_CHARACTERS", limit)
        chunks = [rows.tolist() for rows in embedding_cache.length_chunks(lengths)]
        order = [row for rows in chunks for row in rows]
        assert order == sorted(range(len(sizes)), key=lambda i: -sizes[i])
        assert all(len(rows) == 1 or embedding_cache.encoding_work(lengths[rows]).sum() <= limit for rows in chunks)
        done = data.draw(st.integers(0, len(sizes)))
        share = Share(np.arange(len(sizes)), embedding_cache.length_chunks(lengths))
        assert share.order.tolist() == order
        missing = np.sort(data.draw(st.permutations(range(len(sizes))))[done:]).astype(np.int64)
        portions = share.places(missing)
        assert [place for places in portions for place in places] == missing.tolist()
        assert all(any(set(share.order[places]) <= set(rows) for rows in chunks) for places in portions)


def start_worker(directory: Path, delay: float) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, str(directory), str(delay)]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    limit = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < limit, "timed out"
        time.sleep(0.01)


def test_a_killed_encoding_is_finished_with_the_identical_file(tmp_path: Path) -> None:
    dataset = make_dataset()
    embed(dataset, HashEncoder(), tmp_path / "straight")
    killed = tmp_path / "killed"
    with start_worker(killed, delay=0.3) as worker:
        wait_for(lambda: bool(list(killed.glob("*.progress"))))
        worker.kill()
    assert worker.returncode != 0
    assert not list(killed.glob("*.npy"))
    rest = HashEncoder()
    started = time.monotonic()
    embed(dataset, rest, killed)
    assert time.monotonic() - started < 5, "the dead process's lock should not be waited for"
    assert 0 < rest.count("document") < N_DOCS
    assert documents_file(killed).read_bytes() == documents_file(tmp_path / "straight").read_bytes()


def test_of_two_processes_one_encodes_and_both_have_the_vectors(tmp_path: Path) -> None:
    with start_worker(tmp_path, delay=0.05) as first, start_worker(tmp_path, delay=0.05) as second:
        reports = [json.loads(worker.communicate(timeout=60)[0]) for worker in (first, second)]
    assert [worker.returncode for worker in (first, second)] == [0, 0]
    assert sorted(report["encoded"] for report in reports) == [0, N_DOCS]
    assert reports[0]["docs"] == reports[1]["docs"] == hashlib.sha256(expected(make_dataset()).data).hexdigest()


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated data": lambda npy: os.truncate(npy, npy.stat().st_size - 1),
    "empty": lambda npy: os.truncate(npy, 0),
    "flipped first byte of data": lambda npy: flip(npy, 128),
    "flipped last byte of data": lambda npy: flip(npy, -1),
    "flipped magic": lambda npy: flip(npy, 1),
    "another shape": lambda npy: np.save(npy, np.zeros((N_DOCS, DIM + 1), np.float32)),
    "another type": lambda npy: np.save(npy, np.zeros((N_DOCS, DIM), np.float64)),
    "appended bytes": lambda npy: npy.write_bytes(npy.read_bytes() + b"\0"),
    "sidecar lost": lambda npy: npy.with_suffix(".json").unlink(),
    "sidecar cut": lambda npy: npy.with_suffix(".json").write_text("{"),
    "sidecar is a list": lambda npy: npy.with_suffix(".json").write_text("[]"),
    "sidecar of another model": lambda npy: edit(npy.with_suffix(".json"), identity={"model": "other"}),
    "sidecar with another shape": lambda npy: edit(npy.with_suffix(".json"), shape=[DIM, N_DOCS]),
    "sidecar with another checksum": lambda npy: edit(npy.with_suffix(".json"), xxh3_128="0" * 32),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_file_is_named_and_never_used(tmp_path: Path, damage: str) -> None:
    dataset = make_dataset()
    embed(dataset, HashEncoder(), tmp_path)
    npy = documents_file(tmp_path)
    DAMAGE[damage](npy)
    with pytest.raises(CacheError) as raised:
        embed(dataset, HashEncoder(), tmp_path)
    message = str(raised.value)
    assert str(npy) in message and "delete it" in message and "\n" not in message
    npy.unlink()
    encoder = HashEncoder()
    np.testing.assert_array_equal(embed(dataset, encoder, tmp_path).docs, expected(dataset))
    assert encoder.count("document") == N_DOCS
    np.testing.assert_array_equal(embed(dataset, HashEncoder(fail_at=0), tmp_path).docs, expected(dataset))


def test_no_flipped_bit_of_the_header_changes_the_vectors(tmp_path: Path) -> None:
    dataset = make_dataset()
    embed(dataset, HashEncoder(), tmp_path)
    npy = documents_file(tmp_path)
    sound = npy.read_bytes()
    refused = 0
    for position in range(128):
        flip(npy, position)
        try:
            np.testing.assert_array_equal(embed(dataset, HashEncoder(fail_at=0), tmp_path).docs, expected(dataset))
        except CacheError:
            refused += 1
        npy.write_bytes(sound)
    assert refused > 60


@pytest.mark.parametrize(
    "spoil",
    [
        lambda partial, progress: partial.unlink(),
        lambda partial, progress: partial.write_bytes(b"rubbish"),
        lambda partial, progress: os.truncate(partial, partial.stat().st_size - 4),
        lambda partial, progress: progress.write_text("{"),
        lambda partial, progress: progress.write_text('{"done": -1, "dim": 8}'),
        lambda partial, progress: progress.write_text('{"done": 99999, "dim": 8}'),
        lambda partial, progress: progress.unlink(),
        lambda partial, progress: np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(3, DIM)),
    ],
)
def test_an_unusable_draft_is_started_again(tmp_path: Path, spoil: Callable[[Path, Path], object]) -> None:
    dataset = make_dataset()
    with pytest.raises(KeyboardInterrupt):
        embed(dataset, HashEncoder(fail_at=3), tmp_path)
    spoil(only(tmp_path, "*.partial"), only(tmp_path, "*.progress"))
    encoder = HashEncoder()
    np.testing.assert_array_equal(embed(dataset, encoder, tmp_path).docs, expected(dataset))
    assert encoder.count("document") == N_DOCS


def test_a_draft_that_was_complete_but_not_named_is_only_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset()
    with monkeypatch.context() as patch:
        patch.setattr(embedding_cache.Draft, "finish", lambda self, about: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed(dataset, HashEncoder(), tmp_path)
    encoder = HashEncoder()
    np.testing.assert_array_equal(embed(dataset, encoder, tmp_path).docs, expected(dataset))
    assert encoder.count("document") == 0


def test_a_folder_that_cannot_be_written_is_a_cache_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CacheError, match="cache_dir="):
        embed(make_dataset(), HashEncoder(), blocked / "cache")


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("this system cannot reserve blocks")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(CacheError, match="No space left"):
        embed(make_dataset(), HashEncoder(), tmp_path)
    assert not list(tmp_path.glob("*.partial"))


def test_an_error_of_the_model_is_not_blamed_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        embed(make_dataset(), HashEncoder(fail_at=1, error=ConnectionError), tmp_path)


def test_widths_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="documents have 8 dimensions and queries 9"):
        embed(make_dataset(), HashEncoder(query_dim=9), tmp_path)


def test_a_dataset_of_vectors_needs_no_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    docs = rng.standard_normal((N_DOCS, 4)).astype(np.float32)
    queries = rng.standard_normal((3, 4)).astype(np.float32)
    dataset = make_dataset(doc_texts=None, query_texts=None, doc_vectors=docs, query_vectors=queries)
    vectors = embed(dataset, VectorModel(), tmp_path)
    np.testing.assert_array_equal(vectors.docs, docs[::-1])  # ids descend
    np.testing.assert_array_equal(vectors.queries, queries)
    assert vectors.train_queries is None
    with pytest.raises(ModelError, match="encodes no text"):
        vectors.as_queries(["a title"], "titles")
    assert not list(tmp_path.iterdir())
    assert dataset.doc_vectors is not None and dataset.doc_vectors.flags.writeable, "only our view is read-only"
    with pytest.raises(ModelError, match="use model=vectors"):
        embed(dataset, HashEncoder(), tmp_path)


def work(directory: str, delay: str) -> None:
    embedding_cache.CHUNK_CHARACTERS, embedding_cache.FLUSH_SECONDS = 400, 0.0
    encoder = HashEncoder(delay=float(delay))
    vectors = embed(make_dataset(), encoder, Path(directory))
    digest = hashlib.sha256(np.ascontiguousarray(vectors.docs).data).hexdigest()
    print(json.dumps({"encoded": encoder.count("document"), "docs": digest}))


def test_a_header_or_progress_that_lies_is_not_resumed(tmp_path: Path) -> None:
    files = CacheFiles.of(tmp_path, {"n": 40})
    vectors = np.ones((40, 8), np.float32)
    np.save(tmp_path / "sound.npy", vectors)
    sound = (tmp_path / "sound.npy").read_bytes()
    wide = sound.replace(b"(40, 8)", b"(9999999999, 8)").replace(b" " * 12 + b"\n", b" " * 4 + b"\n")
    assert len(wide) == len(sound)
    for content, progress, done in (
        (sound, {"done": 17, "dim": 8}, 17),
        (wide, {"done": 17, "dim": 8}, 0),
        (sound[:-4], {"done": 17, "dim": 8}, 0),
        (sound, {"done": 1.5, "dim": 8}, 0),
        (sound, {"done": True, "dim": 8}, 0),
        (sound, {"done": 41, "dim": 8}, 0),
        (sound, {"done": 2, "dim": 8, "beyond": [[5, 7], [39, 40]]}, 5),
        (sound, {"done": 0, "dim": 8, "beyond": [[5, 7]]}, 2),
        (sound, {"done": 2, "dim": 8, "beyond": [[5, 41]]}, 0),
        (sound, {"done": 2, "dim": 8, "beyond": [[7, 5]]}, 0),
        (sound, {"done": 2, "dim": 8, "beyond": 5}, 0),
    ):
        files.partial.write_bytes(content)
        files.progress.write_text(json.dumps(progress))
        assert Draft.resume(files, 40).done == done
        assert files.partial.read_bytes() == content, "and is not lengthened"


def test_a_description_of_brackets_is_named(tmp_path: Path) -> None:
    files = CacheFiles.of(tmp_path, {"n": 40})
    np.save(files.data, np.ones((40, 8), np.float32))
    files.sidecar.write_text("[" * 200_000)
    with pytest.raises(CacheError, match="has an unreadable description"):
        files.load()


if __name__ == "__main__":
    work(*sys.argv[1:])
