"""DuckDB: FLOAT[d] columns; vss indexes them and changes no number."""

from __future__ import annotations

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting


def answer(docs: Float32, queries: Float32, k: int) -> Answer:
    """Scan the column."""
    import duckdb
    import pyarrow as pa

    dim = docs.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(docs.ravel()), dim)
    items = pa.table({"id": np.arange(len(docs)), "v": vectors})
    connection = duckdb.connect()
    connection.execute(f"create table t as select id, v::float[{dim}] as v from items")
    query = f"select id from t order by array_inner_product(v, ?::float[{dim}]) desc, id limit {k}"
    ids = [[row for (row,) in connection.execute(query, [vector.tolist()]).fetchall()] for vector in queries]
    assert len(items) == len(docs)
    return Answer(np.array(ids), 4.0 * dim)


SETTINGS = [Setting(store="DuckDB", switch="FLOAT[d]", preset="duckdb_vss", package="duckdb", answer=answer)]
