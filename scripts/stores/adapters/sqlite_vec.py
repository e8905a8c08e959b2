"""sqlite-vec: a vec0 table, which is always scanned."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting


def sqlite() -> ModuleType:
    """Return a sqlite3 module that loads extensions; Python's own is often built without."""
    import sqlite3

    if hasattr(sqlite3.Connection, "enable_load_extension"):
        return sqlite3
    import pysqlite3

    module: ModuleType = pysqlite3
    return module


def answer(docs: Float32, queries: Float32, k: int, column: str, quantise: str) -> Answer:
    """Scan; the vectors lie in chunks of 1,024 rows."""
    import sqlite_vec

    connection = sqlite().connect(":memory:")
    connection.enable_load_extension(True)
    sqlite_vec.load(connection)
    connection.execute(f"create virtual table items using vec0(v {column.format(dim=docs.shape[1])})")
    rows = ((number, row.tobytes()) for number, row in enumerate(docs))
    connection.executemany(f"insert into items(rowid, v) values (?, {quantise})", rows)
    query = f"select rowid from items where v match {quantise} and k = {k} order by distance"
    ids = [[row for (row,) in connection.execute(query, (vector.tobytes(),))] for vector in queries]
    (blob,) = connection.execute("select vectors from items_vector_chunks00 limit 1").fetchone()
    (validity,) = connection.execute("select validity from items_chunks limit 1").fetchone()
    return Answer(np.array(ids), len(blob) / (8 * len(validity)))


def setting(switch: str, preset: str | None, column: str, quantise: str) -> Setting:
    """Return the setting of one column."""
    run = partial(answer, column=column, quantise=quantise)
    return Setting(store="sqlite-vec", switch=switch, preset=preset, package="sqlite-vec", answer=run)


INT8 = "vec_quantize_int8(?, 'unit')"
SETTINGS = [
    setting("int8 'unit', cosine", "sqlite_vec_int8", "int8[{dim}] distance_metric=cosine", INT8),
    setting("int8 'unit', L2 (vec0's default)", None, "int8[{dim}]", INT8),
    setting("bit", "sqlite_vec_bit", "bit[{dim}]", "vec_quantize_binary(?)"),
    setting("float", "float32", "float[{dim}] distance_metric=cosine", "?"),
]
