"""From vectors to an index: teach a codec, encode documents, whole or in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.base.memmap import as_float32, blocks
from harness.base.resources import Stopwatch
from harness.evaluation.index_files import Storage, write_index
from harness.evaluation.kept_lengths import refuse_lost_lengths
from methods.base import Codec, Codes

Float32 = NDArray[np.float32]

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Built:
    """An index that was built, and what its fitted codec told of itself before it was dropped.

    Attributes
    ----------
    storage : Storage
    training : list of dict, and codebook_size : int
        See `methods.base.Part`.
    ranking : (float32 (m, k), int64 (m, k)), or None
        The best scores and rows of each query, where the documents were searched while the index was built.
    """

    storage: Storage
    training: list[dict[str, Any]]
    codebook_size: int
    ranking: tuple[Float32, Int64] | None = None


class Builder(Protocol):
    """What builds an index otherwise than in one process."""

    def __call__(
        self,
        codec: Codec,
        fit: Callable[[], Codec],
        docs: Float32,
        queries: Float32,
        depth: int,
        chunk_rows: int | None,
        target: Path,
        watch: Stopwatch,
    ) -> Built:
        """Fit a codec by `fit`, which returns it, encode documents and leave the index in a folder."""
        ...


def encode(codec: Codec, docs: Float32, chunk_rows: int | None = None) -> Codes:
    """Return the codes of documents (n, d), encoded `chunk_rows` at a time where the codec is row-wise."""
    if not in_chunks(codec, len(docs), chunk_rows):
        return codec.encode(docs)
    return Codes.concatenate(list(encoded_chunks(codec, docs, chunk_rows)))


def in_chunks(codec: Codec, n: int, chunk_rows: int | None) -> bool:
    """Whether documents are encoded in chunks: there are several, and the codec is row-wise."""
    return chunk_rows is not None and codec.row_wise and chunk_rows < n


def encoded_chunks(codec: Codec, docs: Float32, chunk_rows: int | None) -> Iterator[Codes]:
    """Yield the codes of documents (n, d) chunk by chunk; no more than a memory-mapped chunk is in memory at a time."""
    for _, chunk in blocks(docs, chunk_rows):
        yield codec.encode(chunk)


def built_index(
    codec: Codec,
    fit_docs: Float32,
    fit_queries: Float32 | None,
    fit_pairs: Int64 | None,
    docs: Float32,
    chunk_rows: int | None,
    target: Path,
    watch: Stopwatch,
    dictionary: bytes | None = None,
) -> Storage:
    """Fit a codec, encode documents and write the index; the codes are freed on return."""
    with watch.stage("fit"):
        teach(codec, fit_docs, fit_queries, fit_pairs)
    if codec.takes == "vectors":
        refuse_lost_lengths(codec, docs)
    if in_chunks(codec, len(docs), chunk_rows) and codec.takes == "vectors":
        # a corpus may be larger than memory, and so may its codes
        with watch.stage("encode"):
            return write_index(target, codec, encoded_chunks(codec, docs, chunk_rows), len(docs))
    with watch.stage("encode"):
        codes = encode(codec, docs, chunk_rows)
    with watch.stage("save"):
        return write_index(target, codec, codes, dictionary=dictionary)


def teach(codec: Codec, docs: Float32, queries: Float32 | None, pairs: Int64 | None) -> Codec:
    """Fit a codec on documents, and on as much of queries and their answers as it makes use of."""
    wanted = queries if codec.wants_queries else None
    docs = as_float32(docs)
    if not codec.wants_pairs or wanted is None:
        # a codec of one's own may know no pairs
        return codec.fit(docs, wanted)
    return codec.fit(docs, wanted, pairs)
