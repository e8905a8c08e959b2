"""Whether an exported index is the run's: in a fresh process, in FAISS and usearch, and loaded into vector stores.

    python scripts/stores/check_export.py [--data data/scifact] [--results DIR] [--python STORES_PYTHON] [--out FILE]

1. Each run's index is loaded by a new process, without torch, Hydra and pandas, within a second; all its queries must
   be ranked as the run ranked them.
2. The same codes in FAISS and usearch: the share of their best 10 that is among the run's, or ties with the last.
3. The vectors in LanceDB and sqlite-vec, loaded by the scripts that the export wrote: overlap@10 with the run, the
   share of the exact answer that either finds, and bytes. LanceDB draws centroids and rotations at random: it and the
   run then find different documents, and as many.

Runs that are not in the results folder are made. `--python` is an interpreter with the stores' packages
(scripts/stores/requirements.txt) and pyarrow; without one, part 3 uses this one, and leaves out what it lacks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_module

from harness.base.errors import VecbudgetError
from harness.exchange.index_export import export
from harness.runs import inputs
from harness.runs import run as runs
from harness.runs.record import Record
from harness.runs.store import Store
from vecbudget import CompressedIndex

K = 10
SECONDS = 1.0
PURE = ("torch", "hydra", "omegaconf", "pandas", "harness")
"""What a process that searches an exported index must not import."""
SAME, ALIKE, FOUND = 0.99, 0.95, 0.03

INDEXES = {
    "int8": "faiss",
    "pq": "faiss",
    "svd192_int8": "faiss",
    "binary": "faiss",
    "binary_hamming": "faiss",
    "transform_coding": None,
    "transform_coding method.codec.renormalize=false": "faiss",
    "rescore_binary_int8": None,
    "score_aware": None,
    "float16": "faiss",
    "usearch_i8": "usearch",
    "usearch_bf16": "usearch",
    "usearch_b1": "usearch",
}
"""Settings, and what else their codes are handed to."""
STORES = {
    "sqlite_vec_int8": ("sqlite-vec", False),
    "sqlite_vec_bit": ("sqlite-vec", False),
    "lancedb_pq": ("lancedb", True),
    "lancedb_pq_refine": ("lancedb", True),
    "lancedb_rq": ("lancedb", True),
    "lancedb_sq": ("lancedb", False),
}
"""Presets, their store, and whether it draws numbers at random."""

INDEX_COLUMNS = (
    *("method", "documents", "bytes", "queries ranked as the run", "import s", "load s", "search s"),
    *("process until ready, s", "imports that must not be", "handed over, among the best 10", "fine"),
)
STORE_COLUMNS = (
    *("preset", "store", "overlap@10 with the run", "run finds", "store finds", "run, B/vector in memory"),
    *("store, B/vector of code", "store on disk, B/vector", "fine"),
)

FRESH = """
import time
start = time.perf_counter()
import json, sys
import numpy as np
from vecbudget import CompressedIndex
imported = time.perf_counter()
index = CompressedIndex.load(sys.argv[1])
ready = time.perf_counter()
scores, ids = index.search(np.load(sys.argv[2]), int(sys.argv[3]))
searched = time.perf_counter()
print(json.dumps({"import": imported - start, "load": ready - imported, "search": searched - ready,
                  "modules": sorted(name for name in sys.modules if "." not in name), "ids": ids.tolist()}))
"""
STARTED = "import sys; from vecbudget import CompressedIndex; CompressedIndex.load(sys.argv[1])"
LOAD = """
import json, os, runpy, sys
from pathlib import Path
import numpy as np
folder, queries, place = sys.argv[1:4]
script = runpy.run_path(folder + "/load.py")
connection = script["connect"](place)
script["load"](connection)
ids = [script["search"](connection, row, int(sys.argv[4])) for row in np.load(queries)]
place = Path(place)
if place.is_file():
    chunks = connection.execute("select sum(length(vectors)) from items_vector_chunks00").fetchone()[0]
    codes = chunks / connection.execute("select sum(length(validity)) * 8 from items_chunks").fetchone()[0]
    size = place.stat().st_size
else:
    from lance.file import LanceFileReader

    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    (index,) = place.rglob("auxiliary.idx")
    types = [column.type for column in LanceFileReader(str(index)).metadata().schema if column.name != "_rowid"]
    bits = [getattr(one, "list_size", 1) * getattr(one, "value_type", one).bit_width for one in types]
    codes = sum(bits) / 8
print(json.dumps({"ids": ids, "codes": codes, "bytes": size}))
"""


def record_of(method: str, data: str, results: Path) -> Record:
    """Return the record of a setting, made now if there is none."""
    name, *changes = method.split()
    overrides = ["dataset=folder", f"dataset.path={data}", f"method={name}", f"results_dir={results}", *changes]
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=overrides)
    return Store(results).read(runs.run(cfg, name, overrides))


def fresh(code: str, *arguments: object, python: str = sys.executable) -> tuple[str, float]:
    """Run code in a new process, and return its last line and its seconds."""
    started = time.perf_counter()
    done = subprocess.run([python, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return (done.stdout.strip().splitlines() or [""])[-1], seconds


def overlap(a: Sequence[Sequence[str]], b: Sequence[Sequence[str]]) -> float:
    """Return the mean share of a query's first K documents that both have."""
    return float(np.mean([len(set(left[:K]) & set(right[:K])) / K for left, right in zip(a, b, strict=True)]))


def markdown(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table."""
    lines = [f"## {title}", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def verdict(fine: bool) -> str:
    """Return a cell."""
    return "yes" if fine else "NO"


class Check:
    """One collection: its queries, its ids, and where things lie."""

    def __init__(self, data: str, results: Path, place: Path) -> None:
        self.data, self.results, self.place = data, results, place
        record = record_of("float32", data, results)
        ran = export(record.run_id, place / "float32", results=results, targets=["numpy"], check=False)
        self.ids = json.loads((ran.path / "numpy" / "ids.json").read_text())
        self.exact = self.ranking(record)
        self.queries = place / "queries.npy"
        with initialize_config_module("configs", version_base="1.3"):
            cfg = compose("config", overrides=["dataset=folder", f"dataset.path={data}"])
        dataset = inputs.load_dataset("dataset", cfg.dataset)
        vectors = inputs.load_vectors(dataset, inputs.model_of(cfg), cfg.cache_dir)
        np.save(self.queries, np.asarray(vectors.queries))

    def ranking(self, record: Record) -> list[list[str]]:
        """Return the ids that a run found."""
        rows = Store(self.results).ranking(record.run_id)["rows"]
        return [[self.ids[row] for row in of_query] for of_query in rows]

    def index(self, method: str, target: str | None) -> list[object]:
        """Return a row on a setting's index."""
        record = record_of(method, self.data, self.results)
        folder = self.place / method.replace(" ", "-")
        ran = export(record.run_id, folder, results=self.results, targets=[target] if target else [])
        expected = self.ranking(record)
        whole = min(fresh(STARTED, folder)[1] for _ in range(3))
        answer = json.loads(fresh(FRESH, folder, self.queries, len(expected[0]))[0])
        impure = sorted(set(PURE) & set(answer["modules"]))
        same = sum(found == wanted for found, wanted in zip(answer["ids"], expected, strict=True))
        handed = "" if target is None else f"{target}: {self.as_good(getattr(self, target)(folder), folder):.4f}"
        fine = same == len(expected) and whole < SECONDS and not impure
        times = [f"{answer[stage]:.3f}" for stage in ("import", "load", "search")]
        size = sum(file.stat().st_size for file in folder.glob("*.*"))
        cells = [method, ran.n, size, f"{same}/{len(expected)}", *times, f"{whole:.3f}", ", ".join(impure) or "none"]
        return [*cells, handed, verdict(fine and (not handed or float(handed.split()[1]) >= SAME))]

    def as_good(self, rows: np.ndarray, folder: Path) -> float:
        """Return the mean share of a query's rows whose scores reach the K-th best of the index: ties are as good."""
        index = CompressedIndex.load(folder)
        scores = index.codec.score(np.load(self.queries), index.codes)
        last = -np.partition(-scores, K - 1, axis=1)[:, K - 1 : K]
        return float((np.take_along_axis(scores, rows, axis=1) >= last - 1e-6 * np.abs(last)).mean())

    def faiss(self, folder: Path) -> np.ndarray:
        """Search the FAISS file; return rows."""
        import faiss as untyped

        library: Any = untyped
        queries, path = np.load(self.queries), str(folder / "faiss" / "index.faiss")
        try:
            _, rows = library.read_index(path).search(queries, K)
        except RuntimeError:
            _, rows = library.read_index_binary(path).search(np.packbits(queries > 0, axis=1), K)
        return np.asarray(rows)

    def usearch(self, folder: Path) -> np.ndarray:
        """Scan the usearch file; return rows."""
        from usearch.index import Index

        index = Index.restore(folder / "usearch" / "index.usearch")
        queries = np.load(self.queries)
        if str(index.dtype).lower().endswith("b1"):
            queries = np.packbits(queries > 0, axis=1)
        return np.asarray(index.search(queries, K, exact=True).keys).astype(np.int64)

    def store(self, method: str, store: str, drawn: bool, python: str) -> list[object]:
        """Return a row on the vectors in a store."""
        record = record_of(method, self.data, self.results)
        folder = self.place / f"{method}-vectors"
        export(record.run_id, folder, results=self.results, targets=[store])
        place = self.place / (f"{method}.sqlite" if store == "sqlite-vec" else f"{method}.lance")
        answer = json.loads(fresh(LOAD, folder / store, self.queries, place, K, python=python)[0])
        expected, n = self.ranking(record), record.dataset.n_docs
        both, ours, theirs = (
            overlap(answer["ids"], expected),
            overlap(expected, self.exact),
            overlap(answer["ids"], self.exact),
        )
        resident = record.storage.resident_bytes_per_vector
        fine = abs(ours - theirs) <= FOUND and (drawn or both >= ALIKE)
        return [
            *(method, store, f"{both:.3f}", f"{ours:.3f}", f"{theirs:.3f}"),
            *(f"{resident:.1f}", f"{answer['codes']:.1f}", f"{answer['bytes'] / n:.1f}", verdict(fine)),
        ]


def main() -> int:
    """Print the tables; return 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/scifact")
    parser.add_argument("--results", type=Path, help="folder of runs, new or not (a temporary one)")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with the stores' packages")
    parser.add_argument("--out", type=Path, help="markdown file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="check-export-") as name:
        check = Check(options.data, options.results or Path(name) / "results", Path(name))
        first, second = [], []
        for method, target in INDEXES.items():
            try:
                first.append(check.index(method, target))
            except (VecbudgetError, RuntimeError) as error:
                first.append([method, *[""] * 8, str(error), "not run"])
            print(*first[-1], sep="  ", flush=True)
        for method, (store, drawn) in STORES.items():
            try:
                second.append(check.store(method, store, drawn, options.python))
            except (VecbudgetError, RuntimeError) as error:
                second.append([method, store, str(error), *[""] * 5, "not run"])
            print(*second[-1], sep="  ", flush=True)
    title = f"Exported indexes of {Path(options.data).name} in a fresh process"
    text = markdown(title, INDEX_COLUMNS, first)
    text += "\n" + markdown("Exported vectors loaded into stores", STORE_COLUMNS, second)
    print(f"\n{text}")
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return int(any(row[-1] == "NO" for row in (*first, *second)))


if __name__ == "__main__":
    sys.exit(main())
