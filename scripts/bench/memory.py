"""A corpus larger than memory: fit on a sample, encode and search from disk, in bounded memory and linear time.

    python scripts/bench/memory.py --folder /data/large [--docs 10000000] [--dim 384] [--queries 1000]
        [--methods binary,transform_coding] [--out FILE]

Makes vectors on disk (clusters, decaying spectrum; 15 GB for 10 million of 384 dimensions), a tenth of them beside,
and runs `vecbudget sweep` on both in processes of their own. Printed are each method's seconds, their growth over ten
times the documents, and the peak resident memory of the process; and whether the tenth, held in memory and not cut
into chunks, gives the same rankings.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from harness.report.table import Table, by_place, code
from harness.runs.frame import load_runs
from harness.runs.store import Store

METHODS = {
    "int8": "int8",
    "binary": "binary",
    "pq": "pq method.m=48",
    "transform_coding": "transform_coding method.nbytes=48",
}
SAMPLE = 100_000
BLOCK = 100_000


def make_vectors(path: Path, n: int, d: int, seed: int) -> None:
    """Write float32 (n, d) in blocks; the first rows are the same whatever n."""
    shared = np.random.default_rng(12345)
    spectrum = np.exp(-np.arange(d) / (d / 3)).astype(np.float32)
    centres = shared.standard_normal((2000, d), dtype=np.float32) * spectrum
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    for number, start in enumerate(range(0, n, BLOCK)):
        rng, rows = np.random.default_rng((seed, number)), min(BLOCK, n - start)
        block = centres[rng.integers(2000, size=rows)]
        block = block + np.float32(0.8) * rng.standard_normal((rows, d), dtype=np.float32) * spectrum
        out[start : start + rows] = block / np.linalg.norm(block, axis=1, keepdims=True)
        out.flush()


def sweep(folder: Path, docs: Path, results: str, chunk_rows: int | None, sample: int, settings: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    for setting in settings:
        command = [
            *(
                sys.executable,
                "-m",
                "harness.cli",
                "run",
                "dataset=vectors",
                f"dataset.docs={docs}",
                "dataset.metric=dot",
            ),
            *(f"dataset.queries={folder / 'queries.npy'}", "model=vectors", f"results_dir={folder / results}"),
            *(f"chunk_rows={'null' if chunk_rows is None else chunk_rows}", f"fit_sample={sample}", "fit_queries=none"),
            *f"method={setting}".split(),
        ]
        subprocess.run(command, check=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--docs", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--chunk-rows", type=int, default=50_000)
    parser.add_argument("--methods", default=",".join(METHODS), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    methods = {name: METHODS[name] for name in arguments.methods.split(",")}
    settings = list(methods.values())
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    few, many = arguments.docs // 10, arguments.docs
    for name, n, seed in (("few", few, 0), ("many", many, 0), ("queries", arguments.queries, 1)):
        if not (folder / f"{name}.npy").exists():
            make_vectors(folder / "making.npy", n, arguments.dim, seed)
            (folder / "making.npy").rename(folder / f"{name}.npy")
    sample = min(SAMPLE, few)
    sweep(folder, folder / "few.npy", "whole", None, sample, settings)
    for name in ("few", "many"):
        sweep(folder, folder / f"{name}.npy", name, arguments.chunk_rows, sample, settings)
    runs = {name: load_runs(folder / name).set_index("method") for name in ("whole", "few", "many")}
    rows = []
    for method, setting in methods.items():
        one = {name: frame.loc[method] for name, frame in runs.items()}
        stages = [[one[name][f"{stage}_seconds"] for stage in ("fit", "encode", "search")] for name in ("few", "many")]
        grown = (stages[1][1] + stages[1][2]) / (stages[0][1] + stages[0][2]) / 10
        whole, cut = (Store(folder / name).ranking(one[name]["run_id"]) for name in ("whole", "few"))
        same = all(np.array_equal(whole[key], cut[key]) for key in whole)
        rows.append(
            [
                code(setting.replace(" method.", " ")),
                *(f"{seconds:,.1f}" for seconds in stages[1]),
                f"{grown:.2f}",
                *(f"{one[name]['peak_memory_bytes'] / 1e9:.2f}" for name in ("whole", "few", "many")),
                "yes" if same else "NO",
            ]
        )
    sizes = (f"GB at {few:,}, whole", f"GB at {few:,}", f"GB at {many:,}")
    header = ["method", "fit s", "encode s", "search s", "growth / 10", *sizes, "same ranking"]
    text = Table(by_place(header, range(1, 8)), rows).markdown()
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
