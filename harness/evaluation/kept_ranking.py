"""The float32 ranking, kept in the cache: one search of a collection under a model serves all processes and sweeps.

    <cache_dir>/rankings/<key>.safetensors      `scores` float32 (m, k), `rows` int64 (m, k)

The key is a checksum of the very vectors and of the depth, so that nothing but an equal search finds the file. Reading
all vectors once for it takes a hundredth of the time of searching them.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.files import array_checksum, hasher, whole
from harness.evaluation.exact_search import search_uncompressed
from methods.representations import kind_of

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

FORMAT = 1
"""Part of every key: a change in what an exact search answers gets new files."""

FOLDER = "rankings"

LEAST_PRODUCTS = 1 << 30
"""Multiplications below which a search is quicker than finding its file."""


Search = Callable[[Any, Any, int, str], tuple[Float32, Int64]]
"""From queries, documents, a depth, and the name of this search to what `search_uncompressed` returns of them."""


def exact_ranking(
    queries: Any,
    docs: Any,
    k: int,
    cache_dir: Path | None = None,
    large_search: Search | None = None,
    checksum: str | None = None,
) -> tuple[Float32, Int64]:
    """Return what `harness.evaluation.exact_search.search_uncompressed` does, from the cache if it is there.

    Parameters
    ----------
    queries, docs : float32 (m, d), (n, d); or SparseVectors, or TokenVectors
    k : int
        At most n.
    cache_dir : Path or None
        None keeps nothing.
    large_search : callable or None
        What makes a ranking that is worth keeping; None is `search_uncompressed`.
    checksum : str or None
        `harness.base.files.array_checksum` of the documents, where that is known; None reads them for it.
    """
    if cache_dir is None or _products(queries, docs) < LEAST_PRODUCTS:
        return search_uncompressed(queries, docs, k)
    key = _key(queries, docs, k, checksum)
    path = cache_dir / FOLDER / f"{key}.safetensors"
    kept = _read(path, (len(queries), k), len(docs))
    if kept is None:
        kept = search_uncompressed(queries, docs, k) if large_search is None else large_search(queries, docs, k, key)
        _write(path, *kept)
    return kept


def _products(queries: Any, docs: Any) -> float:
    """Return how many numbers of a query meet how many of a document."""
    width = float(np.prod(docs.shape[1:]))
    return float(getattr(queries, "tokens", len(queries))) * float(getattr(docs, "tokens", len(docs))) * width


def _key(queries: Any, docs: Any, k: int, checksum: str | None = None) -> str:
    digest = hasher()
    digest.update(f"{FORMAT} {k}".encode())
    for vectors, known in ((queries, None), (docs, checksum)):
        digest.update(f" {kind_of(vectors)}".encode())
        for part in _parts(vectors):
            array = np.asarray(part)
            digest.update(f" {array.dtype.str} {array.shape} {known or array_checksum(array)}".encode())
    return str(digest.hexdigest())


def _parts(vectors: Any) -> list[Any]:
    """Return the arrays that a search reads of vectors: columns beside token vectors are none of its business."""
    if dataclasses.is_dataclass(vectors):
        return [getattr(vectors, item.name) for item in dataclasses.fields(vectors) if item.name != "columns"]
    return [vectors]


def _read(path: Path, shape: tuple[int, int], n: int) -> tuple[Float32, Int64] | None:
    """Return a ranking; None for a file that is missing, or not one of such a search."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
        scores, rows = found["scores"], found["rows"]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    sound = scores.shape == rows.shape == shape and scores.dtype == np.float32 and rows.dtype == np.int64
    if not sound or not ((rows >= -1) & (rows < n)).all() or np.isnan(scores).any():
        return None
    return scores, rows


def _write(path: Path, scores: Float32, rows: Int64) -> None:
    """Keep a ranking; where that is not possible it is searched for again."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as draft:
            save_file({"scores": np.ascontiguousarray(scores), "rows": np.ascontiguousarray(rows)}, draft)
    except (OSError, SafetensorError) as error:
        log.debug("%s is not kept: %s", path, error)
