"""Terms with weights on disk: content-addressed, resumable, and safe under concurrent writers.

    <cache_dir>/<key>.safetensors    indptr, terms and weights; its header says what they are, and has their checksum
    <cache_dir>/<key>.chunks/        the same of portions of the texts, until all are there and joined
    <cache_dir>/<key>.lock           held by the process that writes

The key is made as that of `harness.data.embedding_cache`, and the portions are the chunks in which that one encodes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import CacheError, ModelError
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
from harness.data.models.encoder import Role, first_line
from methods.representations import SparseVectors

if TYPE_CHECKING:
    from harness.data.datasets import Dataset

log = logging.getLogger(__name__)

FORMAT = "terms 1"
"""Part of every key: a change in how texts are encoded or files written gets new files."""

ARRAYS = ("indptr", "terms", "weights")


def cached_terms(
    dataset: Dataset, encoder: Any, texts: Sequence[str], role: Role, what: str, cache_dir: Path
) -> SparseVectors:
    """Return the terms of texts with their weights: from the cache, else from the encoder, leaving them in the cache.

    Raises
    ------
    ModelError
        If the model cannot be had, or fails.
    CacheError
        If a cached file is corrupt or belongs to something else, or the folder cannot be written.
    """
    identity = {
        "format": FORMAT,
        "texts": text_hash(texts),
        "n": len(texts),
        "role": role,
        "encoder": encoder.identity(role, dataset.task),
    }
    files = CacheFiles.of(cache_dir, identity)
    whole = TermFile(files.stem.with_suffix(".safetensors"), files.identity)
    if not whole.path.exists():
        held = hold(files.lock, f"the {what} of {dataset.name}")
        assert held is not None
        with held:
            if not whole.path.exists():
                made = _encoded(dataset, encoder, texts, role, what, files)
                whole.write(made, {"dataset": dataset.name, "model": encoder.label})
            shutil.rmtree(_chunk_folder(files), ignore_errors=True)
    return whole.read()


def term_vectors(
    dataset: Dataset, encoder: Any, doc_texts: Sequence[str], query_texts: Sequence[str], cache_dir: Path
) -> Vectors:
    """Return a dataset's terms with weights under an encoder, by way of the cache."""

    def as_queries(texts: Sequence[str], what: str) -> Any:
        return cached_terms(dataset, encoder, texts, "query", what, cache_dir)

    docs: Any = cached_terms(dataset, encoder, doc_texts, "document", "documents", cache_dir)
    queries = as_queries(query_texts, "queries")
    if docs.width != queries.width:
        raise ModelError(
            f"{encoder.name}: documents have a vocabulary of {docs.width} terms and queries one of {queries.width}; "
            "there is no inner product of the two"
        )
    roles: tuple[Role, Role] = ("document", "query")
    return Vectors(docs, queries, None, as_queries, {role: encoder.identity(role, dataset.task) for role in roles})


def _chunk_folder(files: CacheFiles) -> Path:
    return files.stem.with_suffix(".chunks")


def _encoded(
    dataset: Dataset, encoder: Any, texts: Sequence[str], role: Role, what: str, files: CacheFiles
) -> SparseVectors:
    """Return the terms of texts, leaving each portion of them on disk as soon as it is there."""
    folder, lengths = _chunk_folder(files), text_lengths(texts)
    chunks, work = length_chunks(lengths), encoding_work(lengths)
    with writing(files.directory):
        folder.mkdir(exist_ok=True)
    started, encoded = time.perf_counter(), 0
    found: list[SparseVectors] = []
    with progress_bar(int(work.sum()), 0, f"{encoder.label}: {dataset.name} {what}") as bar:
        for number, rows in enumerate(chunks):
            # the rows too: another version may form other chunks
            content = hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").data).hexdigest()
            file = TermFile(folder / f"{number}.safetensors", {**files.identity, "rows": content})
            terms = file.read_if_sound(len(rows))
            if terms is None:
                terms = encoder.encode([texts[row] for row in rows], role, dataset.task)
                if len(terms) != len(rows) or (found and terms.width != found[0].width):
                    raise ModelError(
                        f"the model returned shape {terms.shape} for {len(rows)} texts; if it is the earlier terms "
                        f"that are wrong, delete {folder}"
                    )
                file.write(terms, {})
                encoded += len(rows)
            found.append(terms)
            bar.set_postfix_str(f"{encoded / (time.perf_counter() - started):.0f} a second", refresh=False)
            bar.update(int(work[rows].sum()))
    if encoded < len(texts):
        log.info("%d of %d %s of %s were encoded already", len(texts) - encoded, len(texts), what, dataset.name)
    log.info("%d %s of %s encoded in %.1f s", encoded, what, dataset.name, time.perf_counter() - started)
    return SparseVectors.concatenate(found).take(np.argsort(np.concatenate(chunks)))


@dataclass(frozen=True)
class TermFile:
    """A file of terms with weights, and what it must say that it is."""

    path: Path
    identity: Mapping[str, Any]

    def write(self, terms: SparseVectors, about: Mapping[str, str]) -> None:
        """Write it whole, then give it its name."""
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(getattr(terms, name)) for name in ARRAYS}
        header = {**about, "identity": self.identity, "width": terms.width, "xxh3_128": _checksums(arrays)}
        draft = self.path.with_name(f"{self.path.name}.tmp")
        with writing(self.path.parent):
            save_file(arrays, draft, {"vecbudget": json.dumps(header, ensure_ascii=False)})
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            draft.replace(self.path)

    def read(self) -> SparseVectors:
        """Return its content, every byte of it checked; raises `CacheError`."""
        from safetensors import safe_open

        try:
            with safe_open(self.path, framework="numpy") as file:
                header = json.loads(file.metadata()["vecbudget"])
                arrays: dict[str, NDArray[Any]] = {name: file.get_tensor(name) for name in ARRAYS}
            identity, width, checksums = header["identity"], int(header["width"]), header["xxh3_128"]
        except Exception as error:  # the reader of headers fails in many ways
            raise self._unusable(f"is damaged ({first_line(error)})") from error
        if identity != self.identity:
            raise self._unusable("belongs to something else, says its header")
        if _checksums(arrays) != checksums:
            raise self._unusable("is damaged (its checksum differs)")
        return SparseVectors(arrays["indptr"], arrays["terms"], arrays["weights"], width)

    def read_if_sound(self, n: int) -> SparseVectors | None:
        """Return its n rows, or None where it is not there or is something else: then it is made again."""
        if not self.path.exists():
            return None
        try:
            terms = self.read()
        except CacheError as error:
            log.warning("%s", error)
            return None
        return terms if len(terms) == n else None

    def _unusable(self, problem: str) -> CacheError:
        return CacheError(f"the cached terms {self.path} {problem}; delete the file, and it is made again")


def _checksums(arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    return {name: f"{array.dtype.name} {array_checksum(array)}" for name, array in arrays.items()}
