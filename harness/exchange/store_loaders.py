"""A run's vectors for the vector store that its method is a preset of: the store's setting, and what loads them.

A store compresses by itself. What it gets are the float32 vectors with their ids, and its own configuration.
"""

from __future__ import annotations

import pprint
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError
from harness.base.memmap import blocks
from harness.base.suggestions import did_you_mean, nearest
from harness.data.metric import Asked, Lengths
from harness.runs.record import Record

Float32 = NDArray[np.float32]

INNER_PRODUCT = {
    "Distance.COSINE": "Distance.DOT",
    'distance_type("cosine")': 'distance_type("dot")',
    'metric="cosine"': 'metric="dot"',
    "DISTANCE_METRIC COSINE": "DISTANCE_METRIC IP",
    '"similarity": "cosine"': '"similarity": "max_inner_product"',
    "vector_cosine_ops": "vector_ip_ops",
}
"""How stores that have both write the inner product, by how they write the cosine."""

LIBRARIES = ("faiss", "numpy", "usearch")
"""Targets that take the codes; the others are vector stores, which take the vectors."""
STORE = "store"
"""The target that is whichever vector store the run's method is a preset of."""
PRESET_DIM = 384
"""Dimensions that the settings of presets are written for."""
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class ChosenPreset:
    """A preset with the parameters of a run.

    Attributes
    ----------
    name, store : str
    folder : str
        The store's name, fit for a folder.
    setting : str
        The store's configuration with the run's parameters, for vectors of `PRESET_DIM` dimensions.
    version : str
        Of the store that it was written for.
    """

    name: str
    store: str
    folder: str
    setting: str
    version: str

    def for_dim(self, dim: int) -> str:
        """Return the setting for vectors of other dimensions."""
        return re.sub(rf"\b{PRESET_DIM}\b", str(dim), self.setting)


def chosen_preset(target: str, record: Record) -> ChosenPreset:
    """Return the preset of a record that belongs to the store `target`; `STORE` is the only store there is.

    Raises
    ------
    ConfigError
        If there is no such target, or the record's method is no preset of it.
    """
    from harness.runs.presets import matches, presets

    stores = {folder_name(preset.store): preset.store for preset in presets().values()}
    wanted = folder_name(target)
    if target != STORE and wanted not in stores:
        hint = did_you_mean(nearest(wanted, (*LIBRARIES, STORE, *stores))) or "."
        there_are = f"There are: {', '.join((*LIBRARIES, STORE))}, and what 'vecbudget list databases' shows"
        raise ConfigError(f"--to {target}: there is no such target{hint} {there_are}")
    found = {folder_name(match.preset.store): match for match in matches(record) if match.current}
    if target == STORE and len(found) != 1:
        which = f"several: --to {', --to '.join(found)}" if found else "none"
        raise ConfigError(f"--to {STORE}: the vector stores with the parameters of run {record.run_id} are {which}")
    match = next(iter(found.values())) if target == STORE else found.get(wanted)
    if match is None:
        own = ", ".join(name for name, preset in presets().items() if folder_name(preset.store) == wanted)
        name = record.method.setting
        raise ConfigError(
            f"--to {target}: run {record.run_id} is of '{name}', which is no setting of {stores[wanted]}; "
            f"its settings are the methods {own}"
        )
    preset = match.preset
    setting = with_parameters(preset.setting, match.params)
    return ChosenPreset(preset.name, preset.store, folder_name(preset.store), setting, preset.version)


def folder_name(store: str) -> str:
    """Return a store's name in lower case, without what stands in parentheses: "sqlite-vec", "azure-ai-search"."""
    return re.sub(r"[^a-z0-9]+", "-", store.partition("(")[0].lower()).strip("-")


def with_parameters(setting: str, params: str) -> str:
    """Return a setting with a run's own parameters, "quantile=0.95", where it names them."""
    for text in params.split():
        key, _, value = text.partition("=")

        def written(found: re.Match[str], value: str = value) -> str:
            return found[1] + value

        setting = re.sub(rf"\b({re.escape(key)}\s*[=:]\s*)[\w.]+", written, setting)
    return setting


def by_inner_product(text: str, store: str) -> str:
    """Return a store's setting or loader with the inner product in the place of the cosine.

    Raises
    ------
    ConfigError
        If it compares by cosine in a way that has no inner product here.
    """
    for cosine, inner_product in INNER_PRODUCT.items():
        text = text.replace(cosine, inner_product)
    if re.search("cosine", re.sub(r"#.*|--.*", "", text), re.IGNORECASE):
        raise ConfigError(
            f"{store} compares by cosine here, but these documents differ in length and the run compared inner "
            "products, so that it would rank otherwise; measure with dataset.metric=cosine, and export that run"
        )
    return text


def write_store(
    folder: Path, preset: ChosenPreset, docs: Float32, ids: Sequence[str], asked: Asked | None = None
) -> tuple[str, ...]:
    """Write the vectors, the store's setting, and the code or SQL that loads them; return notes for the user.

    Parameters
    ----------
    folder : Path
        Empty.
    preset : ChosenPreset
    docs : float32 (n, d)
    ids : sequence of str
    asked : Asked or None
        What becomes of a query first; None for nothing.
    """
    asked = asked or Asked()
    dim = docs.shape[1]
    more = (str(asked),) if asked.to_json() else ()
    # of unit length the cosine is the inner product, which every run compares by
    lengths_differ = not Lengths.of(docs).equal
    setting = preset.for_dim(dim)
    setting = by_inner_product(setting, preset.store) if lengths_differ else setting
    (folder / "setting.txt").write_text(setting + "\n", encoding="utf-8")
    loader = LOADERS.get(preset.store)
    if loader is None:
        write_parquet(folder / "items.parquet", docs, ids)
        return (
            f"{preset.store} {preset.version}: load id and v of items.parquet by its own means, with setting.txt",
            "the store compresses the vectors itself",
            *more,
        )
    loader.write(folder / loader.data, docs, ids)
    template = Template(files("harness.exchange").joinpath("templates", f"{loader.template}.txt").read_text("utf-8"))
    values = {
        "dim": str(dim),
        "store": preset.store,
        "version": preset.version,
        "data": loader.data,
        **_compared(asked),
    }
    values["asked_dim"] = str(dim - (asked.appended is not None))
    script = template.substitute(values | loader.values(setting, dim, preset.store))
    script = by_inner_product(script, preset.store) if lengths_differ else script
    (folder / loader.script).write_text(script, encoding="utf-8")
    return (
        f"{loader.script} makes the table and loads {loader.data}; read it, then {loader.how}",
        f"written for {preset.store} {preset.version}; the store compresses the vectors itself",
        *more,
    )


def _compared(asked: Asked) -> dict[str, str]:
    """Return what the templates say of queries: a Python loader in an import and a line, an SQL one in a comment."""
    if not asked.to_json():
        return {"numpy": "", "compared": "", "comment": ""}
    line = (
        f"numpy.append(query, numpy.float32({asked.appended!r}))"
        if asked.appended is not None
        else "query / numpy.float32(numpy.linalg.norm(query) or 1)"
    )
    return {"numpy": "import numpy\n", "compared": f"    query = {line}\n", "comment": f"-- {asked}\n"}


def write_parquet(path: Path, docs: Float32, ids: Sequence[str]) -> None:
    """Write columns `id` (string) and `v` (float32 list of fixed size)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    dim = docs.shape[1]
    schema = pa.schema([("id", pa.string()), ("v", pa.list_(pa.float32(), dim))])
    with pq.ParquetWriter(path, schema) as file:
        for start, block in blocks(docs, BLOCK_ROWS):
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), dim)
            names = pa.array(list(ids[start : start + len(block)]), pa.string())
            file.write_table(pa.Table.from_arrays([names, vectors], schema=schema))


def write_rows(path: Path, docs: Float32, ids: Sequence[str]) -> None:
    """Write what PostgreSQL's COPY reads: the id, a tab, and the vector in brackets; nine digits are exact."""
    numbers = ",".join(["%.9g"] * docs.shape[1])
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for start, block in blocks(docs, BLOCK_ROWS):
            for name, row in zip(ids[start : start + len(block)], block.tolist(), strict=True):
                file.write(f"{_escaped(name)}\t[{numbers % tuple(row)}]\n")


def _escaped(text: str) -> str:
    for found, written in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(found, written)
    return text


EXTENSIONS = {"pgvectorscale": ("vector", "vectorscale"), "VectorChord": ("vector", "vchord")}
"""Of PostgreSQL; pgvector itself needs one."""


def _postgres(setting: str, dim: int, store: str) -> dict[str, str]:
    statements = [text.strip() for text in setting.split(";") if text.strip()]
    tables = [text for text in statements if text.startswith("CREATE TABLE")]
    indexes = [text for text in statements if text.startswith("CREATE INDEX")]
    others = [f"-- {line}\n" for text in statements if text not in tables + indexes for line in f"{text};".splitlines()]
    # one more column, by which the rows are known
    table = (tables or [f"CREATE TABLE items (v vector({dim}))"])[0].replace("(v ", "(id text PRIMARY KEY, v ")
    load = "\\copy items (id, v) FROM 'items.tsv'"
    quantised = re.search(r"v (rabitq\d)\(", table)
    if quantised:
        load = (
            f"CREATE TEMPORARY TABLE vectors (id text, v vector({dim}));\n"
            "\\copy vectors (id, v) FROM 'items.tsv'\n"
            f"INSERT INTO items (id, v) SELECT id, quantize_to_{quantised[1]}(v) FROM vectors;"
        )
    extensions = EXTENSIONS.get(store, ("vector",))
    return {
        "extensions": "".join(f"CREATE EXTENSION IF NOT EXISTS {name};\n" for name in extensions),
        "table": f"{table};",
        "load": load,
        "indexes": "".join(f"{text};\n" for text in indexes),
        "others": "-- when searching:\n" + "".join(others) if others else "",
    }


def _sqlite_vec(setting: str, dim: int, store: str) -> dict[str, str]:
    create, insert = (text.strip() for text in setting.split(";")[:2])
    expression = insert.partition("VALUES (")[2].removesuffix(")")
    return {
        "create": repr(create.replace("vec0(v ", "vec0(id text primary key, v ")),
        "insert": repr(f"INSERT INTO items(id, v) VALUES (?, {expression})"),
        "select": repr(f"SELECT id FROM items WHERE v MATCH {expression} AND k = ? ORDER BY distance"),
    }


def _lancedb(setting: str, dim: int, store: str) -> dict[str, str]:
    lines = setting.splitlines()
    create = next(line for line in lines if line.startswith("table.create_index("))
    refine = re.search(r"refine_factor\((\d+)\)", setting)
    return {
        "create_index": create.removesuffix(")") + ", num_partitions=PARTITIONS)",
        "refine": refine[1] if refine else "None",
        "ef": "100" if "HNSW" in create else "None",
    }


def _qdrant(setting: str, dim: int, store: str) -> dict[str, str]:
    from omegaconf import OmegaConf

    parsed: Any = OmegaConf.to_container(OmegaConf.create(setting))
    # Python's literals, as a person would write them
    shown = {name: pprint.pformat(parsed.get(name, {}), sort_dicts=False) for name in parsed}
    return {"quantization": shown["quantization_config"], "search": shown.get("search params", "{}")}


def _plain(setting: str, dim: int, store: str) -> dict[str, str]:
    return {"setting": setting}


@dataclass(frozen=True)
class Loader:
    """What loads vectors into a store.

    Attributes
    ----------
    template : str
        In `templates/`.
    script, data : str
        The files that are written.
    write : callable
        Writes the data: (path, docs, ids).
    values : callable
        Returns what the template leaves open: (setting, dim, store).
    how : str
        How the script is run.
    """

    template: str
    script: str
    data: str
    write: Callable[[Path, Float32, Sequence[str]], None]
    values: Callable[[str, int, str], dict[str, str]]
    how: str


POSTGRES = Loader(
    "postgres", "load.sql", "items.tsv", write_rows, _postgres, "psql DATABASE -f load.sql, in this folder"
)
LOADERS = {
    "pgvector": POSTGRES,
    "pgvectorscale": POSTGRES,
    "VectorChord": POSTGRES,
    "sqlite-vec": Loader("sqlite_vec", "load.py", "items.parquet", write_parquet, _sqlite_vec, "python load.py"),
    "LanceDB": Loader("lancedb", "load.py", "items.parquet", write_parquet, _lancedb, "python load.py"),
    "Qdrant": Loader("qdrant", "load.py", "items.parquet", write_parquet, _qdrant, "python load.py URL"),
    "DuckDB": Loader("duckdb", "load.sql", "items.parquet", write_parquet, _plain, "duckdb items.duckdb < load.sql"),
    "ClickHouse": Loader(
        "clickhouse", "load.sql", "items.parquet", write_parquet, _plain, "clickhouse-client --queries-file load.sql"
    ),
}
"""By store; the others get the vectors and the setting alone."""
