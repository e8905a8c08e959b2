"""What one int8 configuration costs, here and in MTEB, on the same precomputed vectors in one process.

    python scripts/bench/overhead.py --data FOLDER [--vectors FILE] [--repeats 5]

FOLDER is a BEIR folder; FILE holds its vectors (safetensors with `docs` and `queries`; FOLDER/minilm.safetensors).
Ours is everything from fit to the record on disk; MTEB's is `mteb.evaluate` of its CompressionWrapper, data preloaded.
Prints both medians and the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import mteb
import numpy as np
from hydra import compose, initialize_config_module
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.models.compression_wrappers import CompressionWrapper

from harness.runs.run import run
from tests.harness.exchange.mteb.mteb_folder_task import Precomputed, folder_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="BEIR folder")
    parser.add_argument("--vectors", type=Path, help="safetensors with docs and queries (DATA/minilm.safetensors)")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    vectors = options.vectors or options.data / "minilm.safetensors"

    from safetensors.numpy import load_file

    arrays = load_file(vectors)
    task = folder_task(options.data)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as results, initialize_config_module("configs", version_base="1.3"):
        overrides = [
            "dataset=folder",
            f"dataset.path={options.data.resolve()}",
            "model=vectors",
            f"model.path={vectors.resolve()}",
            "method=int8",
            f"results_dir={results}",
            "overwrite=true",
        ]
        cfg = compose("config", overrides=overrides)
        run(cfg, "int8")  # loads the data and the vectors, and imports everything
        for _ in range(options.repeats):
            start = time.perf_counter()
            run(cfg, "int8")
            ours.append(time.perf_counter() - start)
            theirs.append(_mteb_seconds(task, arrays))
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(f"vecbudget, int8, fit to record : {statistics.median(ours):.3f} s  (median of {options.repeats})")
    print(f"mteb.evaluate(CompressionWrapper): {statistics.median(theirs):.3f} s")
    print(f"MTEB takes {ratio:.1f} times as long")


def _mteb_seconds(task: AbsTaskRetrieval, arrays: dict[str, np.ndarray]) -> float:
    model = CompressionWrapper(Precomputed(arrays["docs"], arrays["queries"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        mteb.evaluate(model, task, cache=None, overwrite_strategy="always", show_progress_bar=False)
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
