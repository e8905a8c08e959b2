"""Embeddings on disk: content-addressed, memory-mapped, resumable, and safe under concurrent writers.

    <cache_dir>/<key>.npy       float32 or float16 (n, d)
    <cache_dir>/<key>.json      what the key was made of, the shape, and a checksum of the data
    <cache_dir>/<key>.partial   the same .npy while it is being written, with <key>.progress saying how far it is
    <cache_dir>/<key>.lock      held by the process that writes
    <cache_dir>/<key>.cost.json what encoding took, see `harness.data.encoding_cost`
    <cache_dir>/<key>-3of8.*    the same files of the third of eight parts of a corpus, until all are there and joined

The key is the hash of the texts, of their role and of everything that determines the model's vectors. Texts, not the
dataset: another split of the same collection, or corrected judgements, find the corpus encoded already.

Parts are made by any processes or machines. Each holds whole chunks of what one process would encode, so the joined
file is the file of one process, to the byte, as far as the model gives equal vectors for equal batches: another
processor, accelerator or number of threads can change their last bits, as it does without parts.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import CacheError, ModelError
from harness.base.files import reserve
from harness.base.memmap import release
from harness.data import encoding_cost
from harness.data.models.bm25 import BM25Model
from harness.data.models.encoder import ByBatch, Encoder, Identity, Role, kind_given
from harness.data.models.float16 import Rounded
from harness.data.models.query_model import TwoModels
from harness.data.models.term_vectors import TermVectorModel
from harness.data.models.token_vectors import TokenVectorModel
from harness.data.models.vectors import VectorModel
from harness.data.shards import Shard, Share
from methods.base import row_blocks
from methods.representations import SparseVectors

if TYPE_CHECKING:
    from harness.data.datasets import Dataset

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
    docs : float32 (n, d), or SparseVectors, or TokenVectors
        Vectors are read-only; memory-mapped from the cache. With `cache_dtype=float16` it is float16: `memmap.blocks`
        and codecs, which are what documents go to, make float32 of it.
    queries : float32 (m, d), or SparseVectors, or TokenVectors
    train_queries : float32 (t, d) or None
        Those that came with the others (`model=vectors`). A model encodes their texts with `as_queries`.
    as_queries : callable
        Returns the vectors of texts as queries, (texts, what they are called) -> float32: from the cache, else from the
        encoder. Raises `ModelError` where there is none.
    identity : mapping of str to dict
        The encoder's identity for the roles "document" and "query".
    old_queries : float32 (m, d) or None
        The document model's own, where `queries` are another model's (`harness.data.models.query_model`).
    dictionary : bytes or None
        What a search needs of the corpus beside the documents' codes: the terms of a lexical model.
    encoding : dict by role
        What making them took (`harness.data.encoding_cost.measure`), as far as that is known.
    """

    docs: Any
    queries: Any
    train_queries: Float32 | None
    as_queries: Callable[[Sequence[str], str], Any]
    identity: Mapping[Role, Identity]
    old_queries: Float32 | None = None
    dictionary: bytes | None = None
    encoding: Mapping[Role, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Their width, d."""
        return int(self.docs.shape[1])


def embed(dataset: Dataset, encoder: Encoder, cache_dir: Path) -> Vectors:
    """Return the dataset's vectors: from the cache, else from the encoder, leaving them in the cache.

    Of a corpus of which some parts are finished, only the others are encoded.

    Raises
    ------
    ModelError
        If the model cannot be had, or does not fit the dataset.
    CacheError
        If a cached file is corrupt or belongs to something else, or the folder cannot be written.
    """
    if isinstance(encoder, BM25Model):
        return _terms(dataset, encoder)
    if isinstance(encoder, TermVectorModel | TokenVectorModel):
        return _supplied(dataset, encoder)
    if isinstance(encoder, VectorModel):
        docs, queries, train = encoder.supply(dataset)
        identity = _identity(dataset, encoder)
        return _vectors(docs, queries, train, lambda texts, _: encoder.encode(texts, "query", None), identity, encoder)
    doc_texts, query_texts = _texts(dataset, encoder)
    if kind_given(encoder) != "vectors":
        from harness.data.ragged_cache import ragged_vectors  # it imports this module

        return ragged_vectors(dataset, encoder, doc_texts, query_texts, cache_dir)
    asked = encoder.queries if isinstance(encoder, TwoModels) else encoder
    cache = Cache(cache_dir, dataset, asked, _identity(dataset, encoder))

    def as_queries(texts: Sequence[str], what: str) -> Float32:
        vectors = cache.get(texts, "query", what)
        return vectors if vectors.dtype == np.float32 else vectors.astype(np.float32)

    if isinstance(encoder, TwoModels):
        old = embed(dataset, encoder.documents, cache_dir)
        queries = as_queries(query_texts, "queries")
        of_documents = {role: cost for role, cost in old.encoding.items() if role == "document"}
        encoding = of_documents | cache.costs({"query": query_texts})
        return Vectors(old.docs, queries, None, as_queries, cache.identity, old.queries, encoding=encoding)
    docs = cache.get(doc_texts, "document", "documents")
    found = _vectors(docs, as_queries(query_texts, "queries"), None, as_queries, cache.identity, encoder)
    return replace(found, encoding=cache.costs({"document": doc_texts, "query": query_texts}))


def _terms(dataset: Dataset, encoder: BM25Model) -> Vectors:
    """Return a dataset's terms with their weights; counting them again takes less than reading them would save."""
    lexicon = encoder.supply(dataset)

    def as_queries(texts: Sequence[str], what: str) -> SparseVectors:
        return encoder.queries(lexicon, texts)

    _, query_texts = _texts(dataset, encoder)
    return Vectors(
        docs=lexicon.docs,
        queries=as_queries(query_texts, "queries"),
        train_queries=None,
        as_queries=as_queries,
        identity=_identity(dataset, encoder),
        dictionary=lexicon.dictionary,
    )


def _supplied(dataset: Dataset, encoder: TermVectorModel | TokenVectorModel) -> Vectors:
    found = encoder.supply(dataset)
    return Vectors(
        docs=found.docs,
        queries=found.queries,
        train_queries=None,
        as_queries=lambda texts, _: encoder.encode(texts, "query", None),
        identity=_identity(dataset, encoder),
        dictionary=getattr(found, "dictionary", None),
    )


def fill(
    dataset: Dataset, encoder: Encoder, cache_dir: Path, shard: Shard | None = None, *, measured: bool = False
) -> None:
    """Leave the dataset's vectors in the cache, or those of a part of its documents.

    Whoever finishes the last part joins them. The queries go with the first one. `measured` times the model again,
    whose vectors may have been there already.

    Raises
    ------
    ModelError, CacheError
        As `embed`; also for `model=vectors`.
    """
    if isinstance(encoder, VectorModel):
        raise ModelError("model=vectors has its vectors already: there is nothing to encode")
    if isinstance(encoder, TermVectorModel | TokenVectorModel):
        raise ModelError(f"model={encoder.NAME} has its {encoder.HELD} already: there is nothing to encode")
    if isinstance(encoder, BM25Model):
        raise ModelError(f"model={encoder.name} weighs terms anew in every run: there is nothing to encode")
    doc_texts, query_texts = _texts(dataset, encoder)
    cache: Any = Cache(cache_dir, dataset, encoder, _identity(dataset, encoder))
    if kind_given(encoder) != "vectors":
        from harness.data.ragged_cache import RaggedCache

        cache = RaggedCache(cache_dir, dataset, encoder)
    if shard is None:
        embed(dataset, encoder, cache_dir)
        if measured:
            encoder.encode(query_texts[:1], "query", dataset.task)  # loads it
            cache.measure(doc_texts, "document")
            cache.measure(query_texts, "query")
        return
    cache.put_part(doc_texts, "document", "documents", shard)
    if shard.part == 1:
        cache.get(query_texts, "query", "queries")


def _texts(dataset: Dataset, encoder: Encoder) -> tuple[list[str], list[str]]:
    if dataset.doc_texts is None or dataset.query_texts is None:
        raise ModelError(f"{dataset.name} consists of vectors, which {encoder.name} cannot encode; use model=vectors")
    return dataset.doc_texts, dataset.query_texts


def _identity(dataset: Dataset, encoder: Encoder) -> dict[Role, Identity]:
    return {
        "document": encoder.identity("document", dataset.task),
        "query": encoder.identity("query", dataset.task),
    }


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
class Cache:
    """The part of the cache that one dataset and one encoder need."""

    directory: Path
    dataset: Dataset
    encoder: Encoder
    identity: Mapping[Role, Identity]

    def get(self, texts: Sequence[str], role: Role, what: str) -> NDArray[Any]:
        """Return the vectors of texts, memory-mapped."""
        files = self.files(texts, role)
        if files.data.exists():
            return files.load()
        held = self._hold(files, f"the {what}")
        assert held is not None
        with held:
            if not files.data.exists():
                chunks = length_chunks(text_lengths(texts))
                of = files.parts_begun()
                if of is None:
                    self._write(files, Share(np.arange(len(texts)), chunks), texts, role, what)
                    self.measure(texts, role)
                else:
                    parts = files.parts(chunks, of)
                    # those that nobody works at come first
                    for wait in (False, True):
                        for shard in parts:
                            self._write_part(files, parts, shard, texts, role, what, wait)
                    self._join(files, parts, len(texts), what)
                _discard_parts(files)
        return files.load()

    def put_part(self, texts: Sequence[str], role: Role, what: str, shard: Shard) -> None:
        """Leave the vectors of a part of the texts; join the parts if no other is missing."""
        whole = self.files(texts, role)
        if whole.data.exists():
            log.info("the %s of %s are encoded already", what, self.dataset.name)
            return
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        parts = whole.parts(length_chunks(text_lengths(texts)), shard.of)
        if not self._write_part(whole, parts, shard, texts, role, what):
            state = "is empty" if parts[shard][0].n == 0 else "is encoded already"
            log.info("part %s of the %s of %s %s", shard, what, self.dataset.name, state)
        if all(files.is_finished for files, _ in parts.values()):
            # who holds the lock joins them, or encodes them all
            held = self._hold(whole, f"the {what}", wait=False)
            if held is not None:
                with held:
                    if not whole.data.exists():
                        self._join(whole, parts, len(texts), what)
        if whole.data.exists():
            _discard_parts(whole)

    def files(self, texts: Sequence[str], role: Role) -> CacheFiles:
        """Return the files that hold, or will hold, the vectors of texts."""
        identity = {
            "format": FORMAT,
            "texts": text_hash(texts),
            "n": len(texts),
            "role": role,
            "encoder": self.identity[role],
        }
        dtype = np.float16 if isinstance(self.encoder, Rounded) else np.float32
        return CacheFiles.of(self.directory, identity, dtype)

    def _hold(self, files: CacheFiles, what: str, wait: bool = True) -> AbstractContextManager[Any] | None:
        """Return what releases the files' lock in the end; None if another process has it, and it is not waited for."""
        return hold(files.lock, f"{what} of {self.dataset.name}", wait)

    def _write_part(
        self,
        whole: CacheFiles,
        parts: Mapping[Shard, tuple[CacheFiles, Share]],
        shard: Shard,
        texts: Sequence[str],
        role: Role,
        what: str,
        wait: bool = True,
    ) -> bool:
        """Encode a part unless it is finished, or others work at it and are not waited for; return whether it was."""
        files, share = parts[shard]
        if files.is_finished:
            return False
        held = self._hold(files, f"part {shard} of the {what}", wait)
        if held is None:
            return False
        with held:
            # in this order: parts go when the whole is there
            if files.is_finished or whole.data.exists():
                return False
            self._write(files, share, texts, role, f"{what} ({shard})")
            self.measure(texts, role)
        return True

    def measure(self, texts: Sequence[str], role: Role) -> None:
        """Time the encoder on some of the texts, and leave what it took beside their vectors."""
        cost = encoding_cost.measure(self.encoder, texts, role, self.dataset.task)
        with writing(self.directory):
            encoding_cost.keep(self.files(texts, role).cost, cost)

    def costs(self, texts: Mapping[Role, Sequence[str]]) -> dict[Role, dict[str, Any]]:
        """Return by role what encoding texts took, as far as it is on record."""
        found = {role: encoding_cost.kept(self.files(own, role).cost) for role, own in texts.items()}
        return {role: cost for role, cost in found.items() if cost is not None}

    def _join(self, files: CacheFiles, parts: Mapping[Shard, tuple[CacheFiles, Share]], n: int, what: str) -> None:
        """Make one file of all parts, reading and writing each from its beginning to its end."""
        started = time.perf_counter()
        some = [(part.load(), share.rows, part) for part, share in parts.values() if len(share.rows)]
        width = some[0][0].shape[1]
        for vectors, _, part in some:
            if vectors.shape[1] != width:
                raise CacheError(
                    f"{part.data} has {vectors.shape[1]} dimensions and {some[0][2].data} has {width}: delete the one "
                    "that is wrong, and it is made again"
                )
        draft = Draft(files, n)
        draft.gather([(vectors, rows) for vectors, rows, _ in some])
        draft.finish(self.about())
        seconds = time.perf_counter() - started
        log.info("%d parts of the %s of %s joined in %.1f s", len(parts), what, self.dataset.name, seconds)

    def _write(self, files: CacheFiles, share: Share, texts: Sequence[str], role: Role, what: str) -> None:
        n = len(share.rows)
        draft = Draft.resume(files, n)
        if draft.done:
            log.info("%d of %d %s of %s are encoded already", draft.done, n, what, self.dataset.name)
        started, first = time.perf_counter(), draft.done
        work, order = encoding_work(text_lengths(texts)), share.order
        total = int(work[share.rows].sum())
        left_out = total - int(work[order[draft.missing]].sum())
        bar = progress_bar(total, left_out, f"{self.encoder.label}: {self.dataset.name} {what}")
        unit = "docs" if role == "document" else "queries"

        def keep(places: NDArray[np.int64], vectors: Float32) -> None:
            rows = order[places]
            draft.put(places, np.searchsorted(share.rows, rows), vectors)
            rate = (draft.done - first) / (time.perf_counter() - started)
            bar.set_postfix_str(f"{draft.done}/{n}, {rate:.0f} {unit}/s", refresh=False)
            bar.update(int(work[rows].sum()))

        by_batch: ByBatch | None = getattr(self.encoder, "encode_by_batch", None)
        with draft, bar:
            if by_batch is None:
                for places in share.places(draft.missing):
                    keep(places, self.encoder.encode([texts[i] for i in order[places]], role, self.dataset.task))
            elif len(left := draft.missing):

                def keep_safe(places: NDArray[np.int64], vectors: Float32) -> None:
                    keep(left[places], vectors)
                    draft.save()

                by_batch([texts[i] for i in order[left]], role, self.dataset.task, keep_safe)
        draft.finish(self.about())
        seconds = time.perf_counter() - started
        log.info("%d %s of %s encoded in %.1f s", n - first, what, self.dataset.name, seconds)

    def about(self) -> dict[str, str]:
        """Return what a file says of itself beside its identity."""
        return {"dataset": self.dataset.name, "model": self.encoder.label}


def hold(lock: Path, what: str, wait: bool = True) -> AbstractContextManager[Any] | None:
    """Return what releases a lock in the end; None if another process has it, and it is not waited for."""
    from filelock import FileLock, Timeout

    with writing(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
    exclusive = FileLock(lock)
    try:
        return exclusive.acquire(timeout=0)
    except Timeout:
        if not wait:
            return None
        log.info("another process is encoding %s; waiting for it", what)
        return exclusive.acquire()
    except OSError as error:
        raise _unwritable(lock.parent, error) from error


@dataclass(frozen=True)
class CacheFiles:
    """The files of one key, or of a part of it."""

    stem: Path
    identity: Mapping[str, Any]
    dtype: type[np.floating[Any]] = np.float32
    n: int | None = None

    @classmethod
    def of(cls, directory: Path, identity: Mapping[str, Any], dtype: type[np.floating[Any]] = np.float32) -> CacheFiles:
        """Return the files of what an identity determines, in a cache's folder."""
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return cls(directory / hashlib.sha256(canonical.encode()).hexdigest()[:32], json.loads(canonical), dtype)

    def parts(self, chunks: Sequence[NDArray[np.int64]], of: int) -> dict[Shard, tuple[CacheFiles, Share]]:
        """Return the files and the rows of each part of the texts, which are encoded in these chunks."""
        found = {}
        for shard in Shard.all(of):
            share = Share.of_shard(chunks, shard)
            # the rows too: another version may form other chunks
            rows = hashlib.sha256(np.ascontiguousarray(share.rows, dtype="<i8").data).hexdigest()
            identity = {**self.identity, "shard": str(shard), "rows": rows}
            stem = self.stem.with_name(f"{self.stem.name}-{shard.part}of{of}")
            found[shard] = CacheFiles(stem, identity, self.dtype, len(share.rows)), share
        return found

    def parts_begun(self) -> int | None:
        """Return in how many parts the texts are being encoded, None if in one.

        Where there are files of several divisions, it is that of which most is finished.
        """
        finished: dict[int, int] = {}
        for path, shard in self.part_files():
            if path.suffix in (".npy", ".partial"):
                size = path.stat().st_size if path.suffix == ".npy" else 0
                finished[shard.of] = finished.get(shard.of, 0) + size
        return max(finished, key=lambda of: (finished[of], of), default=None)

    def part_files(self) -> list[tuple[Path, Shard]]:
        """Return all files of parts."""
        found = []
        for path in sorted(self.directory.glob(f"{self.stem.name}-*of*")):
            numbers = re.fullmatch(r"\w+-(\d{1,6})of(\d{1,6})", path.name.partition(".")[0])
            if numbers and 1 <= int(numbers[1]) <= int(numbers[2]):
                found.append((path, Shard(int(numbers[1]), int(numbers[2]))))
        return found

    @property
    def is_finished(self) -> bool:
        """Whether the vectors are there, or there are none to be: a small corpus has fewer chunks than parts."""
        return self.n == 0 or self.data.exists()

    @property
    def directory(self) -> Path:
        """The cache's folder."""
        return self.stem.parent

    @property
    def data(self) -> Path:
        """The finished vectors."""
        return self.stem.with_suffix(".npy")

    @property
    def sidecar(self) -> Path:
        """What they are, and their checksum; says that they are finished."""
        return self.stem.with_suffix(".json")

    @property
    def partial(self) -> Path:
        """Vectors as far as they are encoded."""
        return self.stem.with_suffix(".partial")

    @property
    def progress(self) -> Path:
        """How many those are."""
        return self.stem.with_suffix(".progress")

    @property
    def cost(self) -> Path:
        """What encoding took."""
        return self.stem.with_suffix(".cost.json")

    @property
    def lock(self) -> Path:
        """Held by whoever encodes."""
        return self.stem.with_suffix(".lock")

    def load(self) -> NDArray[Any]:
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
        if not isinstance(vectors, np.memmap) or vectors.dtype != self.dtype or vectors.shape != shape:
            raise self._unusable(f"is damaged (its header differs from {self.sidecar.name})")
        if self.data.stat().st_size != vectors.offset + vectors.nbytes:
            raise self._unusable("is damaged (its size is wrong)")
        if array_checksum(vectors) != checksum:
            raise self._unusable("is damaged (its checksum differs)")
        return vectors

    def _unusable(self, problem: str) -> CacheError:
        return CacheError(f"the cached embedding file {self.data} {problem}; delete it, and it is made again")


def _discard_parts(whole: CacheFiles) -> None:
    """Remove the files of parts, once the whole is there; those that a process works at are its own to remove."""
    from filelock import FileLock, Timeout

    with writing(whole.directory):
        for stem in {path.with_name(path.name.partition(".")[0]) for path, _ in whole.part_files()}:
            lock = FileLock(stem.with_suffix(".lock"))
            try:
                with lock.acquire(timeout=0):
                    for path in whole.directory.glob(f"{stem.name}.*"):
                        path.unlink(missing_ok=True)
            except Timeout:
                continue


class Draft:
    """The unfinished file, and which of its vectors are there.

    Those are told by their places in the order in which they are encoded: the first so many, and where batches are
    answered out of turn some runs beyond them.

    Attributes
    ----------
    kept : bool (n,)
        By place.
    """

    def __init__(
        self,
        files: CacheFiles,
        n: int,
        kept: NDArray[np.bool_] | None = None,
        vectors: np.memmap[Any, Any] | None = None,
    ) -> None:
        self.files = files
        self.n = n
        self.kept = np.zeros(n, dtype=bool) if kept is None else kept
        self._vectors = vectors
        self._saved = self.done
        self._saved_at = time.monotonic()

    @property
    def done(self) -> int:
        """How many vectors are there."""
        return int(self.kept.sum())

    @property
    def missing(self) -> NDArray[np.int64]:
        """The places of the others, ascending."""
        return np.flatnonzero(~self.kept)

    @classmethod
    def resume(cls, files: CacheFiles, n: int) -> Draft:
        """Return what an earlier process left, or an empty draft."""
        try:
            progress = json.loads(files.progress.read_text(encoding="utf-8"))
            # mapped for writing, a file that is too short would be lengthened to what its header says
            vectors = np.lib.format.open_memmap(files.partial, mode="r")
            whole = files.partial.stat().st_size == vectors.offset + vectors.nbytes
            kept = _kept([[0, progress["done"]], *progress.get("beyond", [])], n)
            if whole and vectors.shape == (n, progress["dim"]) and kept is not None and vectors.dtype == files.dtype:
                return cls(files, n, kept, np.lib.format.open_memmap(files.partial, mode="r+"))
        except FileNotFoundError:
            pass
        except Exception as error:  # as in `load`
            log.warning("%s cannot be resumed (%s); starting again", files.partial, error)
        return cls(files, n)

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()  # after an error or Ctrl-C as well

    def put(self, places: NDArray[np.int64], rows: NDArray[np.int64], vectors: Float32) -> None:
        """Store the vectors of some places at their rows."""
        if self._vectors is None:
            self._vectors = self._allocate(vectors.shape[1])
        width = self._vectors.shape[1]
        if vectors.shape != (len(rows), width):
            raise ModelError(
                f"the model returned shape {vectors.shape} for {len(rows)} texts of width {width}; if it is the "
                f"earlier vectors that are wrong, delete {self.files.partial}"
            )
        self._vectors[rows] = vectors
        self.kept[places] = True
        if time.monotonic() - self._saved_at >= FLUSH_SECONDS:
            self.save()

    def gather(self, parts: Sequence[tuple[NDArray[Any], NDArray[np.int64]]]) -> None:
        """Store the vectors of parts at their ascending rows; no more than a block of them is in memory."""
        self._vectors = self._allocate(parts[0][0].shape[1])
        for start, stop in row_blocks(self.n, self._vectors.itemsize * self._vectors.shape[1]):
            for vectors, rows in parts:
                first, last = np.searchsorted(rows, [start, stop])
                self._vectors[rows[first:last]] = vectors[first:last]
                release(vectors)
            release(self._vectors)
        with writing(self.files.directory):
            self._vectors.flush()
        self.kept[:] = True

    def finish(self, about: Mapping[str, str]) -> None:
        """Describe the complete file and give it its name."""
        assert self._vectors is not None and self.done == self.n
        sidecar = {
            **about,
            "identity": self.files.identity,
            "shape": list(self._vectors.shape),
            "dtype": self._vectors.dtype.name,
            "xxh3_128": array_checksum(self._vectors),
        }
        self._vectors = None
        with writing(self.files.directory):
            _write_json(self.files.sidecar, sidecar)
            self.files.partial.replace(self.files.data)
            self.files.progress.unlink(missing_ok=True)

    def _allocate(self, dim: int) -> np.memmap[Any, Any]:
        with writing(self.files.directory):
            # progress of another file of this name must not outlive it
            self.files.progress.unlink(missing_ok=True)
            vectors = np.lib.format.open_memmap(
                self.files.partial, mode="w+", dtype=self.files.dtype, shape=(self.n, dim)
            )
            try:
                reserve(self.files.partial, vectors.offset + vectors.nbytes)
            except OSError:
                self.files.partial.unlink()
                raise
        return vectors

    def save(self) -> None:
        """Put on disk what is there, and which that is."""
        done = self.done
        if self._vectors is None or done == self._saved:
            return
        with writing(self.files.directory):
            self._vectors.flush()  # first the vectors, then the claim that they are there
            runs = _runs(self.kept)
            first = runs.pop(0)[1] if runs[0][0] == 0 else 0
            beyond = {"beyond": runs} if runs else {}
            _write_json(self.files.progress, {"done": first, "dim": self._vectors.shape[1], **beyond})
        self._saved = done
        self._saved_at = time.monotonic()


def _runs(kept: NDArray[np.bool_]) -> list[list[int]]:
    """Return the beginnings and ends of the runs of true ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    return [[int(start), int(stop)] for start, stop in edges.reshape(-1, 2)]


def _kept(runs: Sequence[Any], n: int) -> NDArray[np.bool_] | None:
    """Return which of n places lie in runs; None where the runs are none, or all empty."""
    kept = np.zeros(n, dtype=bool)
    for start, stop in runs:
        if not (type(start) is int and type(stop) is int and 0 <= start <= stop <= n):
            return None
        kept[start:stop] = True
    return kept if kept.any() else None


def text_hash(texts: Sequence[str]) -> str:
    """Return the hash of a list of texts, in its order."""
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def text_lengths(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the characters of each text."""
    return np.array([len(text) for text in texts], dtype=np.int64)


def encoding_work(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return about how much there is to do for texts of these lengths."""
    return np.minimum(lengths, COUNTED_CHARACTERS) + 1


def length_chunks(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return rows in chunks, longest texts first.

    The order and the chunks depend on the texts alone, so a resumed encoding, and one in parts, forms the batches of an
    uninterrupted one.
    """
    order = np.argsort(-lengths, kind="stable")
    summed = np.cumsum(encoding_work(lengths)[order])
    chunks, start = [], 0
    while start < len(order):
        before = int(summed[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(summed, before + CHUNK_CHARACTERS, side="right")))
        chunks.append(order[start:stop])
        start = stop
    return chunks


def progress_bar(total: int, done: int, what: str) -> Any:
    """Return a bar that moves by work done: by texts, the longest of which come first, the time left would be far off.

    Where nobody watches a terminal it shows nothing.
    """
    from tqdm import tqdm

    shape = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"
    return tqdm(total=total, initial=done, desc=what, bar_format=shape, disable=None)


def array_checksum(vectors: NDArray[Any]) -> str:
    """Return the checksum of vectors, of which no more than a block is in memory."""
    import xxhash

    digest = xxhash.xxh3_128()
    content = np.ascontiguousarray(vectors).data.cast("B")
    for start in range(0, len(content), HASH_BYTES):
        digest.update(content[start : start + HASH_BYTES])
        release(vectors)
    return digest.hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn what the disk refuses in a cache's folder into one line."""
    try:
        yield
    except OSError as error:
        raise _unwritable(directory, error) from error


def _unwritable(directory: Path, error: OSError) -> CacheError:
    reason = error.strerror or error
    return CacheError(f"the embedding cache {directory} cannot be written ({reason}); choose another: cache_dir=FOLDER")
