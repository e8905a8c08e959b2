"""Embeddings on disk: content-addressed, memory-mapped, resumable, and safe under concurrent writers.

    <cache_dir>/<key>.npy       float32 (n, d)
    <cache_dir>/<key>.json      what the key was made of, the shape, and a checksum of the data
    <cache_dir>/<key>.partial   the same .npy while it is being written, with <key>.progress saying how far it is
    <cache_dir>/<key>.lock      held by the process that writes

The key is the hash of the texts, of their role and of everything that determines the model's vectors. Texts, not the
dataset: another split of the same collection, or corrected judgements, find the corpus encoded already.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.encode import Encoder, Identity, Role, VectorModel
from harness.errors import CacheError, ModelError

if TYPE_CHECKING:
    from harness.datasets import Dataset

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

FORMAT = 1
"""Part of every key: a change in how texts are encoded or files written gets new files."""

CHUNK_CHARACTERS = 1 << 17
"""Texts handed to the model at a time. It is what an interruption loses and what the progress bar moves by (a second
or two of a small model on a laptop), and still 30,000 tokens, enough for an accelerator."""

COUNTED_CHARACTERS = 2048
"""What a text counts at most towards a chunk: models read no more than so many tokens."""

FLUSH_SECONDS = 2.0
"""Least time between two records of progress; a fast model would otherwise wait for the disk."""

HASH_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class Vectors:
    """The vectors of a dataset under a model.

    Attributes
    ----------
    docs : float32 (n, d)
        Read-only; memory-mapped from the cache.
    queries : float32 (m, d)
    train_queries : float32 (t, d) or None
        Those that came with the others (`model=vectors`). A model encodes their texts with `as_queries`.
    as_queries : callable
        Returns the vectors of texts as queries, (texts, what they are called) -> float32: from the cache, else from the
        encoder. Raises `ModelError` where there is none.
    identity : mapping of str to dict
        The encoder's identity for the roles "document" and "query".
    """

    docs: Float32
    queries: Float32
    train_queries: Float32 | None
    as_queries: Callable[[Sequence[str], str], Float32]
    identity: Mapping[Role, Identity]

    @property
    def dim(self) -> int:
        """Their width, d."""
        return int(self.docs.shape[1])


def embed(dataset: Dataset, encoder: Encoder, cache_dir: Path) -> Vectors:
    """Return the dataset's vectors: from the cache, else from the encoder, leaving them in the cache.

    Raises
    ------
    ModelError
        If the model cannot be had, or does not fit the dataset.
    CacheError
        If a cached file is corrupt or belongs to something else, or the folder cannot be written.
    """
    identity: dict[Role, Identity] = {
        "document": encoder.identity("document", dataset.task),
        "query": encoder.identity("query", dataset.task),
    }
    if isinstance(encoder, VectorModel):
        docs, queries, train = encoder.supply(dataset)
        return _vectors(docs, queries, train, lambda texts, _: encoder.encode(texts, "query", None), identity, encoder)
    if dataset.doc_texts is None or dataset.query_texts is None:
        raise ModelError(f"{dataset.name} consists of vectors, which {encoder.name} cannot encode; use model=vectors")
    cache = _Cache(cache_dir, dataset, encoder, identity)
    docs = cache.get(dataset.doc_texts, "document", "documents")
    queries = cache.get(dataset.query_texts, "query", "queries")
    return _vectors(docs, queries, None, lambda texts, what: cache.get(texts, "query", what), identity, encoder)


def _vectors(
    docs: Float32,
    queries: Float32,
    train_queries: Float32 | None,
    as_queries: Callable[[Sequence[str], str], Float32],
    identity: Mapping[Role, Identity],
    encoder: Encoder,
) -> Vectors:
    if docs.shape[1] != queries.shape[1]:
        raise ModelError(
            f"{encoder.name}: documents have {docs.shape[1]} dimensions and queries {queries.shape[1]}; "
            "there is no inner product of the two"
        )
    docs, queries = docs.view(), queries.view()
    docs.flags.writeable = queries.flags.writeable = False
    return Vectors(docs, queries, train_queries, as_queries, identity)


@dataclass(frozen=True)
class _Cache:
    """The part of the cache that one dataset and one encoder need."""

    directory: Path
    dataset: Dataset
    encoder: Encoder
    identity: Mapping[Role, Identity]

    def get(self, texts: Sequence[str], role: Role, what: str) -> Float32:
        """Return the vectors of texts, memory-mapped."""
        from filelock import FileLock, Timeout

        files = _Files.of(
            self.directory,
            {
                "format": FORMAT,
                "texts": text_hash(texts),
                "n": len(texts),
                "role": role,
                "encoder": self.identity[role],
            },
        )
        if files.data.exists():
            return files.load()
        with _disk(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(files.lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another process is encoding the %s of %s; waiting for it", what, self.dataset.name)
            lock.acquire()
        except OSError as error:
            raise _unwritable(self.directory, error) from error
        try:
            if not files.data.exists():
                self._write(files, texts, role, what)
        finally:
            lock.release()
        return files.load()

    def _write(self, files: _Files, texts: Sequence[str], role: Role, what: str) -> None:
        from tqdm import tqdm

        draft = _Draft.resume(files, len(texts))
        if draft.done:
            log.info("%d of %d %s of %s are encoded already", draft.done, len(texts), what, self.dataset.name)
        started, first = time.perf_counter(), draft.done
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        work, chunks = _work(lengths), list(_chunks(lengths, draft.done))
        # The bar moves by the work done: by texts, the longest of which come first, the time left would be far off.
        bar = tqdm(
            total=int(work.sum()),
            initial=int(work.sum() - sum(work[rows].sum() for rows in chunks)),
            desc=f"{self.encoder.label}: {self.dataset.name} {what}",
            bar_format="{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]",
            disable=None,
        )
        unit = "docs" if role == "document" else "queries"
        with draft, bar:
            for rows in chunks:
                vectors = self.encoder.encode([texts[i] for i in rows], role, self.dataset.task)
                draft.put(rows, vectors)
                rate = (draft.done - first) / (time.perf_counter() - started)
                bar.set_postfix_str(f"{draft.done}/{len(texts)}, {rate:.0f} {unit}/s", refresh=False)
                bar.update(int(work[rows].sum()))
        draft.finish({"dataset": self.dataset.name, "model": self.encoder.label})
        seconds = time.perf_counter() - started
        log.info("%d %s of %s encoded in %.1f s", len(texts) - first, what, self.dataset.name, seconds)


@dataclass(frozen=True)
class _Files:
    """The files of one key."""

    stem: Path
    identity: Mapping[str, Any]

    @classmethod
    def of(cls, directory: Path, identity: Mapping[str, Any]) -> _Files:
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return cls(directory / hashlib.sha256(canonical.encode()).hexdigest()[:32], json.loads(canonical))

    @property
    def directory(self) -> Path:
        return self.stem.parent

    @property
    def data(self) -> Path:
        return self.stem.with_suffix(".npy")

    @property
    def sidecar(self) -> Path:
        return self.stem.with_suffix(".json")

    @property
    def partial(self) -> Path:
        return self.stem.with_suffix(".partial")

    @property
    def progress(self) -> Path:
        return self.stem.with_suffix(".progress")

    @property
    def lock(self) -> Path:
        return self.stem.with_suffix(".lock")

    def load(self) -> Float32:
        """Return the finished vectors, memory-mapped, after checking every byte of them."""
        try:
            sidecar = json.loads(self.sidecar.read_text(encoding="utf-8"))
            identity, shape, checksum = sidecar["identity"], tuple(sidecar["shape"]), sidecar["xxh3_128"]
        except FileNotFoundError:
            raise self._unusable(f"has lost its description {self.sidecar.name}") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise self._unusable(f"has an unreadable description {self.sidecar.name}") from None
        if identity != self.identity:
            raise self._unusable(f"belongs to something else, says {self.sidecar.name}")
        try:
            vectors = np.load(self.data, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # numpy's parser of headers fails in many ways
            raise self._unusable(f"is damaged ({error})") from error
        if not isinstance(vectors, np.memmap) or vectors.dtype != np.float32 or vectors.shape != shape:
            raise self._unusable(f"is damaged (its header differs from {self.sidecar.name})")
        if self.data.stat().st_size != vectors.offset + vectors.nbytes:
            raise self._unusable("is damaged (its size is wrong)")
        if _checksum(vectors) != checksum:
            raise self._unusable("is damaged (its checksum differs)")
        return vectors

    def _unusable(self, problem: str) -> CacheError:
        return CacheError(f"the cached embedding file {self.data} {problem}; delete it, and it is made again")


class _Draft:
    """The unfinished file: rows are put in the order of `_chunks`, and the first `done` of them are safe."""

    def __init__(self, files: _Files, n: int, done: int, vectors: np.memmap[Any, Any] | None) -> None:
        self.files = files
        self.n = n
        self.done = done
        self._vectors = vectors
        self._saved = done
        self._saved_at = time.monotonic()

    @classmethod
    def resume(cls, files: _Files, n: int) -> _Draft:
        """Return what an earlier process left, or an empty draft."""
        try:
            progress = json.loads(files.progress.read_text(encoding="utf-8"))
            # mapped for writing, a file that is too short would be lengthened to what its header says
            vectors = np.lib.format.open_memmap(files.partial, mode="r")
            whole = files.partial.stat().st_size == vectors.offset + vectors.nbytes
            done = progress["done"]
            if whole and vectors.shape == (n, progress["dim"]) and type(done) is int and 0 < done <= n:
                vectors = np.lib.format.open_memmap(files.partial, mode="r+")
                if vectors.dtype == np.float32:
                    return cls(files, n, done, vectors)
        except FileNotFoundError:
            pass
        except Exception as error:  # as in `load`
            log.warning("%s cannot be resumed (%s); starting again", files.partial, error)
        return cls(files, n, 0, None)

    def __enter__(self) -> _Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self._save()  # after an error or Ctrl-C as well

    def put(self, rows: NDArray[np.int64], vectors: Float32) -> None:
        """Store the next vectors at their rows."""
        if self._vectors is None:
            self._vectors = self._allocate(vectors.shape[1])
        width = self._vectors.shape[1]
        if vectors.shape != (len(rows), width):
            raise ModelError(f"the model returned shape {vectors.shape} for {len(rows)} texts of width {width}")
        self._vectors[rows] = vectors
        self.done += len(rows)
        if time.monotonic() - self._saved_at >= FLUSH_SECONDS:
            self._save()

    def finish(self, about: Mapping[str, str]) -> None:
        """Describe the complete file and give it its name."""
        assert self._vectors is not None and self.done == self.n
        sidecar = {
            **about,
            "identity": self.files.identity,
            "shape": list(self._vectors.shape),
            "dtype": "float32",
            "xxh3_128": _checksum(self._vectors),
        }
        self._vectors = None
        with _disk(self.files.directory):
            _write_json(self.files.sidecar, sidecar)
            self.files.partial.replace(self.files.data)
            self.files.progress.unlink(missing_ok=True)

    def _allocate(self, dim: int) -> np.memmap[Any, Any]:
        with _disk(self.files.directory):
            # progress of another file of this name must not outlive it
            self.files.progress.unlink(missing_ok=True)
            vectors = np.lib.format.open_memmap(self.files.partial, mode="w+", dtype=np.float32, shape=(self.n, dim))
            try:
                _reserve(self.files.partial, vectors.offset + vectors.nbytes)
            except OSError:
                self.files.partial.unlink()
                raise
        return vectors

    def _save(self) -> None:
        if self._vectors is None or self.done == self._saved:
            return
        with _disk(self.files.directory):
            self._vectors.flush()  # first the vectors, then the claim that they are there
            _write_json(self.files.progress, {"done": self.done, "dim": self._vectors.shape[1]})
        self._saved = self.done
        self._saved_at = time.monotonic()


def _reserve(path: Path, size: int) -> None:
    """Reserve a file's blocks: on a full disk, a write through the memory map would kill the process (SIGBUS)."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise


def text_hash(texts: Sequence[str]) -> str:
    """Return the hash of a list of texts, in its order."""
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def _work(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return about how much there is to do for texts of these lengths."""
    return np.minimum(lengths, COUNTED_CHARACTERS) + 1


def _chunks(lengths: NDArray[np.int64], done: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows in chunks, longest texts first, without the first `done` of that order.

    The order and the chunks depend on the texts alone, so a resumed encoding forms the batches of an uninterrupted one.
    """
    order = np.argsort(-lengths, kind="stable")
    summed = np.cumsum(_work(lengths)[order])
    start = 0
    while start < len(order):
        before = int(summed[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(summed, before + CHUNK_CHARACTERS, side="right")))
        if stop > done:
            yield order[max(start, done) : stop]
        start = stop


def _checksum(vectors: NDArray[Any]) -> str:
    import xxhash

    digest = xxhash.xxh3_128()
    content = np.ascontiguousarray(vectors).data.cast("B")
    for start in range(0, len(content), HASH_BYTES):
        digest.update(content[start : start + HASH_BYTES])
    return digest.hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def _disk(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(directory, error) from error


def _unwritable(directory: Path, error: OSError) -> CacheError:
    reason = error.strerror or error
    return CacheError(f"the embedding cache {directory} cannot be written ({reason}); choose another: cache_dir=FOLDER")
