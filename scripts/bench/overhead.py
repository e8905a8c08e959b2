"""What one configuration costs, here and in MTEB, on the same precomputed vectors in one process.

    OMP_NUM_THREADS=1 python scripts/bench/overhead.py --data FOLDER [--vectors FILE] [--repeats 5] [--cpu]

FOLDER is a BEIR folder; FILE holds its vectors (safetensors with `docs` and `queries`; FOLDER/minilm.safetensors).
Ours is everything from fit to the record on disk, of int8 and of pq m=48 with the training of its codebooks; MTEB's is
`mteb.evaluate` of its CompressionWrapper (int8), data preloaded. They run in turns. Prints medians, the range between
their quartiles, and the ratios. With --cpu seconds are those of this process alone, which can be compared on a machine
that others use, but leave out waiting for the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import mteb
import numpy as np
from hydra import compose, initialize_config_module
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.models.compression_wrappers import CompressionWrapper
from safetensors.numpy import load_file

from harness.runs.run import run
from tests.harness.exchange.mteb.mteb_folder_task import Precomputed, folder_task

WANTED = {"int8": 10.0, "pq": 5.0}
"""How many times as long MTEB is to take, by method."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="BEIR folder")
    parser.add_argument("--vectors", type=Path, help="safetensors with docs and queries (DATA/minilm.safetensors)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="processor seconds in place of wall time")
    options = parser.parse_args()
    vectors = options.vectors or options.data / "minilm.safetensors"
    clock = time.process_time if options.cpu else time.perf_counter
    arrays = load_file(vectors)
    task = folder_task(options.data)
    seconds: dict[str, list[float]] = {name: [] for name in (*WANTED, "mteb")}
    with tempfile.TemporaryDirectory() as results, initialize_config_module("configs", version_base="1.3"):
        overrides = [
            "dataset=folder",
            f"dataset.path={options.data.resolve()}",
            "model=vectors",
            f"model.path={vectors.resolve()}",
            f"results_dir={results}",
            "overwrite=true",
        ]
        cfgs = {name: compose("config", overrides=[*overrides, f"method={name}"]) for name in WANTED}
        for number in range(options.repeats + 1):
            for name, cfg in cfgs.items():
                seconds[name].append(_seconds(lambda cfg=cfg, name=name: run(cfg, name), clock))  # type: ignore[misc]
            seconds["mteb"].append(_seconds(lambda: _evaluate(task, arrays), clock))
            if number == 0:
                # the first of each loads the data, compiles loops and imports everything
                seconds = {name: [] for name in seconds}
    kind = "CPU s" if options.cpu else "s"
    for name, found in seconds.items():
        low, middle, high = np.quantile(found, (0.25, 0.5, 0.75))
        print(f"{name:5s} {middle:.3f} {kind} ({low:.3f} to {high:.3f}; median and quartiles of {options.repeats})")
    for name, wanted in WANTED.items():
        ratio = float(np.median(seconds["mteb"]) / np.median(seconds[name]))
        print(f"mteb.evaluate(CompressionWrapper) takes {ratio:.1f} times as long as {name} (wanted: {wanted:g})")


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def _evaluate(task: AbsTaskRetrieval, arrays: dict[str, np.ndarray]) -> None:
    model = CompressionWrapper(Precomputed(arrays["docs"], arrays["queries"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mteb.evaluate(model, task, cache=None, overwrite_strategy="always", show_progress_bar=False)


if __name__ == "__main__":
    main()
