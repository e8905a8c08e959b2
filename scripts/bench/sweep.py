"""How long a sweep over finished runs takes, against composing each of its configurations.

    python scripts/bench/sweep.py [--runs 348]

Runs `vecbudget sweep` over made-up vectors, 400 documents of 96 dimensions: first to measure all, then again, and again
without the notes by which finished runs are recognised (`harness.runs.recognition`). Prints the wall and the processor
seconds of each, start of the interpreter and imports included, and the ratio of the last two.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.runs.recognition import FOLDER

MOST_SECONDS = 5.0
DIM = 96
METHODS = ("truncate", "svd", "pca", "rp_gaussian", "rp_sparse", "rp_very_sparse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=348)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        for part, rows in (("docs", 400), ("queries", 20)):
            vectors = rng.standard_normal((rows, DIM)).astype(np.float32)
            np.save(folder / f"{part}.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        sizes = ",".join(str(number) for number in range(1, options.runs // len(METHODS) + 1))
        sweep = [f"method={','.join(METHODS)}", f"method.dim={sizes}"]
        first = _sweep(folder, sweep)
        again = _sweep(folder, sweep)
        shutil.rmtree(folder / "cache" / FOLDER)
        composed = _sweep(folder, sweep)
    runs = options.runs // len(METHODS) * len(METHODS)
    print(f"{runs} runs, first: {first[0]:.1f} s ({first[1]:.1f} CPU s)")
    print(f"again: {again[0]:.1f} s ({again[1]:.1f} CPU s), {again[0] / MOST_SECONDS:.2f} of {MOST_SECONDS:g} s")
    print(
        f"again, each composed: {composed[0]:.1f} s ({composed[1]:.1f} CPU s), {composed[1] / again[1]:.1f} times CPU"
    )


def _sweep(folder: Path, sweep: list[str]) -> tuple[float, float]:
    """Return the wall and the processor seconds of a sweep."""
    environment = {**os.environ, "VECBUDGET_CACHE": str(folder / "cache")}
    given = ["dataset=vectors", f"dataset.docs={folder / 'docs.npy'}", f"dataset.queries={folder / 'queries.npy'}"]
    given += ["dataset.name=made_up", "model=vectors", f"results_dir={folder / 'results'}"]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "harness.cli", "sweep", *given, *sweep]
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, spent


if __name__ == "__main__":
    main()
