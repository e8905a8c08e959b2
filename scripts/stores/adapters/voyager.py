"""Voyager: HNSW over a type of number."""

from __future__ import annotations

from functools import partial

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting, folder, slope


def answer(docs: Float32, queries: Float32, k: int, dtype: str) -> Answer:
    """Walk the graph to its end; its links are those of the same graph over floats, which cancel."""
    from voyager import Index, Space, StorageDataType

    def made(rows: Float32, of: str) -> Index:
        index = Index(Space.Cosine, num_dimensions=rows.shape[1], storage_data_type=getattr(StorageDataType, of))
        index.add_items(rows.copy(), ids=list(range(len(rows))))  # threads would number them as they please
        return index

    def size(rows: Float32, of: str) -> int:
        with folder() as place:
            made(rows, of).save(str(place / "index"))
            return (place / "index").stat().st_size

    ids, _ = made(docs, dtype).query(queries.copy(), k=k, query_ef=len(docs))
    saved = slope(lambda rows: size(rows, "Float32") - size(rows, dtype), docs)
    return Answer(ids.astype(np.int64), 4 * docs.shape[1] - saved)


SETTINGS = [
    Setting(store="Voyager", switch=dtype, preset=preset, package="voyager", answer=partial(answer, dtype=dtype))
    for dtype, preset in (("Float8", "voyager_float8"), ("E4M3", "voyager_e4m3"))
]
