"""LanceDB: an IVF index of one partition."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting, folder


def width(index: Path) -> float | None:
    """Return the bytes of a row of the index file's columns, its id apart; None without the package pylance."""
    try:
        from lance.file import LanceFileReader
    except ImportError:
        return None
    schema = LanceFileReader(str(index)).metadata().schema
    total = 0
    for column in schema:
        if column.name != "_rowid":
            count = getattr(column.type, "list_size", 1)
            total += count * getattr(column.type, "value_type", column.type).bit_width // 8
    return float(total)


def answer(
    docs: Float32, queries: Float32, k: int, kind: str, options: dict[str, Any], refine: int | None = None
) -> Answer:
    """Search the one partition."""
    import lancedb
    import lancedb.index
    import pyarrow as pa

    with folder() as place:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(docs.ravel()), docs.shape[1])
        items = pa.table({"id": np.arange(len(docs)), "vector": vectors})
        table = lancedb.connect(str(place)).create_table("t", items)
        config = getattr(lancedb.index, kind)(distance_type="cosine", num_partitions=1, **options)
        table.create_index("vector", config=config)
        ids = []
        for row in queries:
            search = table.search(row).distance_type("cosine").nprobes(1).limit(k).select(["id", "_distance"])
            if refine is not None:
                search = search.refine_factor(refine)
            ids.append(search.to_arrow()["id"].to_pylist())
        (index,) = place.rglob("auxiliary.idx")
        return Answer(np.array(ids), width(index))


def setting(
    switch: str, preset: str, kind: str, refine: int | None = None, drawn: bool = True, **options: int
) -> Setting:
    """Return the setting of one index."""
    run = partial(answer, kind=kind, options=options, refine=refine)
    return Setting(store="LanceDB", switch=switch, preset=preset, package="lancedb", answer=run, drawn=drawn)


SETTINGS = [
    setting("IVF_PQ", "lancedb_pq", "IvfPq"),
    setting("IVF_PQ, refine_factor 10", "lancedb_pq_refine", "IvfPq", refine=10),
    setting("IVF_RQ", "lancedb_rq", "IvfRq"),
    setting("IVF_SQ", "lancedb_sq", "IvfSq", drawn=False),
]
