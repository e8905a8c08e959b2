"""usearch: an index of a type of number, searched exactly."""

from __future__ import annotations

from functools import partial

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting, folder


def answer(docs: Float32, queries: Float32, k: int, dtype: str, metric: str) -> Answer:
    """Search exactly; the vectors' bytes are in the head of the saved file (rows, then bytes of a row)."""
    from usearch.index import Index

    dim = docs.shape[1]
    if dtype == "b1":
        docs, queries = np.packbits(docs > 0, axis=1), np.packbits(queries > 0, axis=1)
    index = Index(ndim=dim, metric=metric, dtype=dtype)
    index.add(np.arange(len(docs)), docs)
    ids = np.asarray(index.search(queries, k, exact=True).keys).astype(np.int64)
    with folder() as place:
        index.save(place / "index")
        rows, width = np.fromfile(place / "index", dtype=np.uint32, count=2)
    assert rows == len(docs)
    return Answer(ids, float(width))


def setting(dtype: str, preset: str | None, metric: str = "cos") -> Setting:
    """Return the setting of one type."""
    run = partial(answer, dtype=dtype, metric=metric)
    return Setting(store="usearch", switch=f"{dtype}, {metric}", preset=preset, package="usearch", answer=run)


SETTINGS = [
    setting("i8", "usearch_i8"),
    setting("bf16", "usearch_bf16"),
    setting("f16", "float16"),
    setting("b1", "usearch_b1", "hamming"),
]
