"""A run in parts by two workers against the same run by one process: time, memory, and whether the records are equal.

    python scripts/bench/parts.py --folder /data/large [--docs 10000000] [--dim 384] [--queries 1000] [--workers 2]

Makes vectors on disk as `memory.py` does, and runs each method by one process, and in parts by workers (joblib), the
float32 ranking included: nothing is kept from one to the other. Printed are wall seconds, CPU seconds of all processes
together, and the largest resident set of the process that was asked, and of a worker. On a machine that does other
work, wall seconds say little: CPU seconds are then what counts, and `bound` is the ratio of wall seconds that they
leave to so many free cores (what the process that deals the parts out does itself, and the rest shared).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.report.table import Table, by_place, code
from harness.runs.frame import load_runs
from harness.runs.store import Store
from scripts.bench.memory import make_vectors

METHODS = {"int8": "int8", "pq": "pq method.m=48", "transform_coding": "transform_coding method.nbytes=48"}
SAMPLE = 100_000


class Used(NamedTuple):
    wall: float
    cpu: float
    alone: float
    largest_part: str


def run(folder: Path, setting: str, results: str, chunk_rows: int, sample: int, *more: str) -> Used:
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    given = [f"dataset.docs={folder / 'docs.npy'}", f"dataset.queries={folder / 'queries.npy'}", "dataset.metric=dot"]
    command = [
        *(sys.executable, "-m", "harness.cli", "run", "dataset=vectors", *given, "model=vectors"),
        *(f"results_dir={folder / results}", f"cache_dir={cache}", f"chunk_rows={chunk_rows}", f"fit_sample={sample}"),
        *("fit_queries=none", *f"method={setting}".split(), *more),
    ]
    began = time.perf_counter()
    said = (folder / "said.log").open("w+", encoding="utf-8")
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=said)
    alone = 0.0
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        # of the process itself; what its workers used is added to its usage when they end
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        alone = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        time.sleep(0.2)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {process.returncode}")
    wall = time.perf_counter() - began
    said.seek(0)
    text = said.read()
    print(text, file=sys.stderr, flush=True)
    largest = re.findall(r"parts are done, by processes of up to ([\d.e+]+ \w+)", text)
    return Used(wall, usage.ru_utime + usage.ru_stime, alone, max(largest, default=""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--docs", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--chunk-rows", type=int, default=50_000)
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name, n, seed in (("docs", arguments.docs, 0), ("queries", arguments.queries, 1)):
        if not (folder / f"{name}.npy").exists():
            make_vectors(folder / "making.npy", n, arguments.dim, seed)
            (folder / "making.npy").rename(folder / f"{name}.npy")
    for name in ("one", "parts"):
        shutil.rmtree(folder / name, ignore_errors=True)
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={arguments.workers}", f"parts={arguments.parts}"]
    chunk_rows, sample = arguments.chunk_rows, min(SAMPLE, arguments.docs)
    rows = []
    for method in arguments.methods.split(","):
        setting = METHODS[method]
        one = run(folder, setting, "one", chunk_rows, sample)
        many = run(folder, setting, "parts", chunk_rows, sample, *launcher)
        run_id = load_runs(folder / "one").set_index("method").loc[method]["run_id"]
        stores = [Store(folder / name) for name in ("one", "parts")]
        ranked = [store.ranking(run_id) for store in stores]
        records = [store.read(run_id) for store in stores]
        same = all(np.array_equal(ranked[0][key], ranked[1][key]) for key in ranked[0])
        same = same and records[0].metrics == records[1].metrics and records[0].storage == records[1].storage
        bound = (many.alone + (many.cpu - many.alone) / arguments.workers) / one.cpu
        rows.append(
            [
                code(setting.replace(" method.", " ")),
                *(f"{used.wall:,.1f}" for used in (one, many)),
                f"{many.wall / one.wall:.2f}",
                *(f"{used.cpu:,.1f}" for used in (one, many)),
                f"{many.alone:,.1f}",
                f"{bound:.2f}",
                *(f"{record.peak_memory_bytes / 1e9:.2f}" for record in records),
                many.largest_part,
                "yes" if same else "NO",
            ]
        )
    header = ["method", "wall s, one", "wall s, workers", "ratio", "CPU s, one", "CPU s, workers", "of it, dealing out"]
    header += ["bound", "GB, one", "GB, dealing out", "a worker", "same record"]
    print(Table(by_place(header, range(1, 11)), rows).markdown())


if __name__ == "__main__":
    main()
