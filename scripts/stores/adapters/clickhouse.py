"""ClickHouse (chDB, its engine in this process): the vector_similarity index, which is usearch's."""

from __future__ import annotations

from functools import partial

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting, folder


def answer(docs: Float32, queries: Float32, k: int, dtype: str) -> Answer:
    """Walk many small graphs to their ends: of one large graph, parts cannot be reached."""
    import pyarrow as pa
    import pyarrow.parquet
    from chdb.session import Session

    with folder() as place:
        session = Session(str(place))
        try:
            columns = "id UInt32, v Array(Float32)"
            index = f"vector_similarity('hnsw', 'cosineDistance', {docs.shape[1]}, '{dtype}', 64, 512)"
            columns += f", index i v type {index} granularity 1"
            session.query(f"create table t ({columns}) engine = MergeTree order by id settings index_granularity = 256")
            table = pa.table({"id": np.arange(len(docs), dtype=np.uint32), "v": list(docs)})
            pyarrow.parquet.write_table(table, place / "docs.parquet")
            session.query(f"insert into t select id, v from file('{place}/docs.parquet')")
            session.query("optimize table t final")
            switches = f"hnsw_candidate_list_size_for_search = {len(docs)}, vector_search_with_rescoring = 0"
            ids = []
            for row in queries:
                order = f"cosineDistance(v, {row.tolist()})"
                found = session.query(f"select id from t order by {order} limit {k} settings {switches}")
                ids.append([int(word) for word in str(found).split()])
            version = str(session.query("select version()")).strip().strip('"')
        finally:
            session.close()
    return Answer(np.array(ids), version=version)


SETTINGS = [
    Setting(
        store="ClickHouse",
        switch=f"vector_similarity, {dtype}",
        preset=preset,
        package="chdb",
        answer=partial(answer, dtype=dtype),
    )
    for dtype, preset in (("bf16", "clickhouse_bf16"), ("i8", "clickhouse_i8"))
]
