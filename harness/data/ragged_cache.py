"""Terms with weights, and token vectors, on disk: content-addressed, resumable, and safe under concurrent writers.

    <cache_dir>/<key>.safetensors    the arrays; its header says what they are, and has their checksum
    <cache_dir>/<key>.chunks/        the same of portions of the texts, until all are there and joined
    <cache_dir>/<key>.lock           held by the process that writes
    <cache_dir>/<key>.cost.json      what encoding took, see `harness.data.encoding_cost`

The key is made as that of `harness.data.embedding_cache`, and the portions are the chunks in which that one encodes.
Terms are read into memory; token vectors, of which a document has hundreds, are memory-mapped, and joined in
blocks.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import CacheError, ModelError
from harness.base.memmap import release
from harness.data import encoding_cost
from harness.data.embedding_cache import (
    CacheFiles,
    Vectors,
    array_checksum,
    encoding_work,
    hold,
    length_chunks,
    progress_bar,
    text_hash,
    text_lengths,
    writing,
)
from harness.data.models.encoder import Role, first_line, kind_given
from harness.data.models.float16 import Rounded
from harness.data.shards import Shard
from methods.representations import Kind, SparseVectors
from methods.token_vectors import TokenVectors, document_runs, offsets_of
from vecbudget.tensors import TensorFileError
from vecbudget.tensors import read as read_tensors

if TYPE_CHECKING:
    from harness.data.datasets import Dataset

log = logging.getLogger(__name__)

FORMATS: dict[Kind, str] = {"terms": "terms 1", "tokens": "tokens 1"}
"""Part of every key: a change in how texts are encoded or files written gets new files."""

ARRAYS: dict[Kind, tuple[str, ...]] = {"terms": ("indptr", "terms", "weights"), "tokens": ("values", "offsets")}

JOINED_TOKENS = 1 << 16
"""Token vectors that are joined at a time."""

Ragged = SparseVectors | TokenVectors


@dataclass(frozen=True)
class RaggedCache:
    """The part of the cache that one dataset and one encoder need."""

    directory: Path
    dataset: Dataset
    encoder: Any

    def get(self, texts: Sequence[str], role: Role, what: str) -> Ragged:
        """Return what the encoder gives for texts: from the cache, else from the encoder, leaving it in the cache.

        Raises
        ------
        ModelError
            If the model cannot be had, or fails.
        CacheError
            If a cached file is corrupt or belongs to something else, or the folder cannot be written.
        """
        files, whole = self._files(texts, role)
        if not whole.path.exists():
            held = hold(files.lock, f"the {what} of {self.dataset.name}")
            assert held is not None
            with held:
                if not whole.path.exists():
                    chunks = length_chunks(text_lengths(texts))
                    if self._encode(texts, role, what, files, chunks, range(len(chunks))):
                        self.measure(texts, role)
                    self._join(files, whole, chunks)
        found: Ragged = whole.read()
        return found

    def put_part(self, texts: Sequence[str], role: Role, what: str, shard: Shard) -> None:
        """Leave a part of the texts' chunks in the cache; join them if no other is missing."""
        files, whole = self._files(texts, role)
        if whole.path.exists():
            log.info("the %s of %s are encoded already", what, self.dataset.name)
            return
        chunks = length_chunks(text_lengths(texts))
        own = range(shard.part - 1, len(chunks), shard.of)
        if self._encode(texts, role, f"{what} ({shard})", files, chunks, own):
            self.measure(texts, role)
        if all(file.path.exists() for file in self._chunk_files(files, chunks)):
            # who holds the lock joins them
            held = hold(files.lock, f"the {what} of {self.dataset.name}", wait=False)
            if held is not None:
                with held:
                    if not whole.path.exists():
                        self._join(files, whole, chunks)

    def measure(self, texts: Sequence[str], role: Role) -> None:
        """Time the encoder on some of the texts, and leave what it took beside what it gave."""
        cost = encoding_cost.measure(self.encoder, texts, role, self.dataset.task)
        with writing(self.directory):
            encoding_cost.keep(self._files(texts, role)[0].cost, cost)

    def costs(self, texts: Mapping[Role, Sequence[str]]) -> dict[Role, dict[str, Any]]:
        """Return by role what encoding texts took, as far as it is on record."""
        found = {role: encoding_cost.kept(self._files(own, role)[0].cost) for role, own in texts.items()}
        return {role: cost for role, cost in found.items() if cost is not None}

    def _files(self, texts: Sequence[str], role: Role) -> tuple[CacheFiles, RaggedFile]:
        kind = kind_given(self.encoder)
        identity = {
            "format": FORMATS[kind],
            "texts": text_hash(texts),
            "n": len(texts),
            "role": role,
            "encoder": self.encoder.identity(role, self.dataset.task),
        }
        files = CacheFiles.of(self.directory, identity)
        return files, RaggedFile(files.stem.with_suffix(".safetensors"), files.identity, kind)

    def _chunk_files(self, files: CacheFiles, chunks: Sequence[NDArray[np.int64]]) -> list[RaggedFile]:
        folder, kind = _chunk_folder(files), kind_given(self.encoder)
        # the rows too: another version may form other chunks
        rows = [hashlib.sha256(np.ascontiguousarray(chunk, dtype="<i8").data).hexdigest() for chunk in chunks]
        return [
            RaggedFile(folder / f"{number}.safetensors", {**files.identity, "rows": content}, kind)
            for number, content in enumerate(rows)
        ]

    def _encode(
        self,
        texts: Sequence[str],
        role: Role,
        what: str,
        files: CacheFiles,
        chunks: Sequence[NDArray[np.int64]],
        own: range,
    ) -> int:
        """Leave some chunks of the texts on disk, each as soon as it is there; return how many texts were encoded."""
        folder, work = _chunk_folder(files), encoding_work(text_lengths(texts))
        with writing(files.directory):
            folder.mkdir(parents=True, exist_ok=True)
        started, encoded, width = time.perf_counter(), 0, None
        stored = self._chunk_files(files, chunks)
        total, mine = int(sum(work[chunks[number]].sum() for number in own)), sum(len(chunks[number]) for number in own)
        with progress_bar(total, 0, f"{self.encoder.label}: {self.dataset.name} {what}") as bar:
            for number in own:
                rows, file = chunks[number], stored[number]
                found = file.read_if_sound(len(rows))
                if found is None:
                    found = self.encoder.encode([texts[row] for row in rows], role, self.dataset.task)
                    if len(found) != len(rows) or width not in (None, found.shape[1]):
                        raise ModelError(
                            f"the model returned shape {found.shape} for {len(rows)} texts; if it is the earlier "
                            f"{file.kind} that are wrong, delete {folder}"
                        )
                    file.write(self._as_kept(found), {})
                    encoded += len(rows)
                width = found.shape[1]
                bar.set_postfix_str(f"{encoded / (time.perf_counter() - started):.0f} a second", refresh=False)
                bar.update(int(work[rows].sum()))
        if encoded < mine:
            log.info("%d of %d %s of %s were encoded already", mine - encoded, mine, what, self.dataset.name)
        log.info("%d %s of %s encoded in %.1f s", encoded, what, self.dataset.name, time.perf_counter() - started)
        return encoded

    def _as_kept(self, found: Ragged) -> Ragged:
        if isinstance(found, TokenVectors):
            dtype = np.float16 if isinstance(self.encoder, Rounded) else np.float32
            return TokenVectors(found.flat().astype(dtype, copy=False), found.offsets - found.offsets[0])
        return found

    def _join(self, files: CacheFiles, whole: RaggedFile, chunks: Sequence[NDArray[np.int64]]) -> None:
        """Make one file of all chunks, in the order of the texts."""
        about = {"dataset": self.dataset.name, "model": self.encoder.label}
        whole.write_joined([file.read() for file in self._chunk_files(files, chunks)], np.concatenate(chunks), about)
        shutil.rmtree(_chunk_folder(files), ignore_errors=True)


def ragged_vectors(
    dataset: Dataset, encoder: Any, doc_texts: Sequence[str], query_texts: Sequence[str], cache_dir: Path
) -> Vectors:
    """Return a dataset's terms with weights, or its token vectors, under an encoder, by way of the cache."""
    cache = RaggedCache(cache_dir, dataset, encoder)

    def as_queries(texts: Sequence[str], what: str) -> Any:
        found = cache.get(texts, "query", what)
        return found.float32() if isinstance(found, TokenVectors) else found

    docs, queries = cache.get(doc_texts, "document", "documents"), as_queries(query_texts, "queries")
    if docs.width != queries.width:
        raise ModelError(
            f"{encoder.name}: {_wide(docs, 'documents')} and {_wide(queries, 'queries')}; "
            "there is no inner product of the two"
        )
    roles: tuple[Role, Role] = ("document", "query")
    identity = {role: encoder.identity(role, dataset.task) for role in roles}
    encoding = cache.costs({"document": doc_texts, "query": query_texts})
    return Vectors(docs, queries, None, as_queries, identity, encoding=encoding)


def _wide(rows: Ragged, what: str) -> str:
    of = f"a vocabulary of {rows.width} terms" if isinstance(rows, SparseVectors) else f"{rows.width} dimensions"
    return f"{what} have {of}"


def _chunk_folder(files: CacheFiles) -> Path:
    return files.stem.with_suffix(".chunks")


@dataclass(frozen=True)
class RaggedFile:
    """A file of terms with weights or of token vectors, and what it must say that it is."""

    path: Path
    identity: Mapping[str, Any]
    kind: Kind

    def write(self, rows: Ragged, about: Mapping[str, str]) -> None:
        """Write it whole, then give it its name."""
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(getattr(rows, name)) for name in ARRAYS[self.kind]}
        with self._draft() as draft:
            save_file(arrays, draft, self._header(about, rows.width, _checksums(arrays)))

    def write_joined(self, chunks: Sequence[Any], order: NDArray[np.int64], about: Mapping[str, str]) -> None:
        """Write the documents of chunks, in which they lie in the order of the row numbers `order`."""
        if self.kind == "terms":
            self.write(SparseVectors.concatenate(chunks).take(np.argsort(order)), about)
            return
        counts = np.empty(len(order), np.int64)
        counts[order] = np.concatenate([chunk.counts for chunk in chunks])
        offsets, (first, *_) = offsets_of(counts), chunks
        # where each document lies among the chunks
        which = np.repeat(np.arange(len(chunks)), [len(chunk) for chunk in chunks])
        place = np.concatenate([np.arange(len(chunk)) for chunk in chunks])
        back = np.argsort(order)
        shape = (int(offsets[-1]), first.width)

        def joined() -> Iterator[NDArray[Any]]:
            for start, stop in document_runs(counts, JOINED_TOKENS):
                rows = back[start:stop]
                yield np.concatenate([chunks[which[row]][place[row] : place[row] + 1].flat() for row in rows])
                release(*(chunk.values for chunk in chunks))

        own_sum = f"int64 {array_checksum(offsets)}"

        def header(checksum: str) -> dict[str, str]:
            sums = {"values": f"{first.dtype.name} {checksum}", "offsets": own_sum}
            return self._header(about, first.width, sums)

        with self._draft() as draft:
            _write_streamed(draft, header, offsets, shape, first.dtype, joined())

    def _header(self, about: Mapping[str, str], width: int, sums: Mapping[str, str]) -> dict[str, str]:
        header = {**about, "identity": self.identity, "width": width, "xxh3_128": dict(sums)}
        return {"vecbudget": json.dumps(header, ensure_ascii=False)}

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """Give a name to write under; what is whole then gets the file's own."""
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        with writing(self.path.parent):
            try:
                yield draft
                with draft.open("rb+") as file:
                    os.fsync(file.fileno())
                draft.replace(self.path)
            finally:
                draft.unlink(missing_ok=True)

    def read(self) -> Any:
        """Return its content, every byte of it checked; raises `CacheError`."""
        from safetensors import safe_open

        try:
            with safe_open(self.path, framework="numpy") as file:
                header = json.loads(file.metadata()["vecbudget"])
            arrays = read_tensors(self.path, mapped=self.kind == "tokens")
            identity, width, checksums = header["identity"], int(header["width"]), header["xxh3_128"]
            arrays = {name: arrays[name] for name in ARRAYS[self.kind]}
        except (Exception, TensorFileError) as error:  # the reader of headers fails in many ways
            raise self._unusable(f"is damaged ({first_line(error)})") from error
        if identity != self.identity:
            raise self._unusable("belongs to something else, says its header")
        if _checksums(arrays) != checksums:
            raise self._unusable("is damaged (its checksum differs)")
        if self.kind == "tokens":
            return TokenVectors(arrays["values"], np.array(arrays["offsets"]))
        return SparseVectors(arrays["indptr"], arrays["terms"], arrays["weights"], width)

    def read_if_sound(self, n: int) -> Any:
        """Return its n rows, or None where it is not there or is something else: then it is made again."""
        if not self.path.exists():
            return None
        try:
            rows = self.read()
        except CacheError as error:
            log.warning("%s", error)
            return None
        return rows if len(rows) == n else None

    def _unusable(self, problem: str) -> CacheError:
        return CacheError(f"the cached {self.kind} {self.path} {problem}; delete the file, and it is made again")


def _checksums(arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    return {name: f"{array.dtype.name} {array_checksum(array)}" for name, array in arrays.items()}


def _write_streamed(
    path: Path,
    metadata: Callable[[str], Mapping[str, str]],
    offsets: NDArray[np.int64],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    blocks: Iterator[NDArray[Any]],
) -> None:
    """Write a safetensors file of offsets and of values that come block by block, once.

    Parameters
    ----------
    path : Path
    metadata : callable
        From the checksum of all values, as of `array_checksum`, to the header's metadata, of one length for any.
    offsets : int64 (n + 1,)
    shape : tuple of int
        Of all values.
    dtype : dtype
    blocks : iterator of arrays
    """
    import xxhash

    size = shape[0] * shape[1] * dtype.itemsize

    def head(checksum: str) -> bytes:
        header = {
            "__metadata__": dict(metadata(checksum)),
            "offsets": {"dtype": "I64", "shape": list(offsets.shape), "data_offsets": [0, offsets.nbytes]},
            "values": {
                "dtype": f"F{8 * dtype.itemsize}",
                "shape": list(shape),
                "data_offsets": [offsets.nbytes, offsets.nbytes + size],
            },
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text

    digest = xxhash.xxh3_128()
    with path.open("wb") as file:
        # the checksum is known at the end, and its place in the header is as long
        file.write(head(digest.hexdigest()) + offsets.tobytes())
        for block in blocks:
            octets = np.ascontiguousarray(block).tobytes()
            digest.update(octets)
            file.write(octets)
        file.seek(0)
        file.write(head(digest.hexdigest()))
