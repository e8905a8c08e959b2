"""Whether two workers of joblib's finish a sweep of CPU-bound runs in at most 0.65 of the serial time.

    python scripts/bench/launchers.py [--data data/scifact] [--repeats 1] [--launcher joblib] [--workers 2]

Twelve configurations of transform coding, PQ and OPQ on one thread each, first one after the other, then by workers,
each time into an empty results folder; the embeddings are in the cache before. The load of the machine before each
sweep is printed, because other processes' work makes the ratio worse, and the records of both are compared. Exits with
1 where these differ or the ratio is larger.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.robustness.kill_sweep import contents

RUNS = ("method=transform_coding", "method.nbytes=16,24,32,48"), ("method=pq,opq", "method.m=24,48", "seed=0,1")
MOST = 0.65


def sweep(arguments: list[str], results: Path) -> float:
    """Run all configurations on one thread each; return the seconds."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    started = time.perf_counter()
    for entry in RUNS:
        command = [sys.executable, "-m", "harness.cli", "sweep", *arguments, *entry, f"results_dir={results}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/scifact")
    parser.add_argument("--launcher", default="joblib", choices=["joblib", "submitit_local", "ray"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="of which the least seconds count")
    options = parser.parse_args()
    dataset = ["dataset=folder", f"dataset.path={options.data}"]
    launcher = [f"hydra/launcher={options.launcher}", f"hydra.launcher.n_jobs={options.workers}"]
    kinds = {"serial": dataset, f"{options.launcher}({options.workers})": [*dataset, *launcher]}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    same = True
    with TemporaryDirectory() as temporary:
        sweep_embeds = [*dataset, "method=float32", f"results_dir={Path(temporary, 'embed')}"]
        subprocess.run([sys.executable, "-m", "harness.cli", "run", *sweep_embeds], check=True, capture_output=True)
        for repeat in range(options.repeats):
            found = []
            for name, arguments in kinds.items():
                load = os.getloadavg()[0]
                results = Path(temporary, f"results-{len(found)}-{repeat}")
                seconds[name].append(sweep(arguments, results))
                found.append(contents(results))
                print(f"{name:16s} {seconds[name][-1]:7.1f} s  {len(found[-1])} runs, load before {load:.2f}")
            same &= found[0] == found[1]
    serial, parallel = (min(values) for values in seconds.values())
    print(f"ratio {parallel / serial:.2f} (at most {MOST}); records {'identical' if same else 'DIFFER'}")
    sys.exit(0 if same and parallel / serial <= MOST else 1)


if __name__ == "__main__":
    main()
