"""Whether a sweep that is killed again and again ends with the records of one that was left alone.

    python scripts/robustness/kill_sweep.py [--kills 20] [--seed 0] \
        [--dataset "dataset=folder dataset.path=data/scifact"]

Forty configurations are measured undisturbed; then in a folder where the sweep is killed (SIGKILL, at a random moment
of its first seconds of work) and started again, as often as asked; then by two sweeps at the same time over one
folder. Compared are the ids of the records, their metrics and storage, and the files of per-query scores and
rankings, byte by byte. Nothing but finished records may be left. Exits with 1 where something differs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.report.table import Table, by_place
from harness.runs.store import PER_QUERY, RANKING, Store

RUNS = (
    "method=float32,float16,int8,int6,int4,int3,int2,binary,float8,int8_absmax,int4_absmax,binary_hamming",
    "method=svd,pca,truncate,random_projection method.dim=192,96",
    "method=lvq,osq,nvq method.bits=8,4,2",
    "method=turboquant,rabitq,eden method.bits=4,2,1",
    "method=pq method.m=48,24",
)
"""What each sweep runs: 12 + 8 + 9 + 9 + 2 configurations."""
EXPECTED = 40


def command(results: Path, dataset: list[str], entry: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli", "sweep", *dataset, *entry.split(), f"results_dir={results}"]


def whole_sweep(results: Path, dataset: list[str]) -> str:
    """Return a shell command for all entries in a row."""
    import shlex

    return " && ".join(shlex.join(command(results, dataset, entry)) for entry in RUNS)


def start(results: Path, dataset: list[str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        ["bash", "-c", whole_sweep(results, dataset)], stdout=quiet, stderr=quiet, start_new_session=True
    )


def left_alone(results: Path, dataset: list[str]) -> float:
    started = time.perf_counter()
    if start(results, dataset).wait() != 0:
        sys.exit(f"the undisturbed sweep failed: {whole_sweep(results, dataset)}")
    return time.perf_counter() - started


def contents(results: Path) -> dict[str, tuple[object, ...]]:
    """Return what must be the same of each run."""
    store = Store(results)
    return {
        record.run_id: (
            record.status,
            record.metrics,
            record.storage,
            record.float32,
            (store.path(record.run_id) / PER_QUERY).read_bytes(),
            (store.path(record.run_id) / RANKING).read_bytes(),
        )
        for record in store.records()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--dataset", default="", help="overrides that choose the data; the built-in set otherwise")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dataset, chance = options.dataset.split(), random.Random(options.seed)
    with TemporaryDirectory(prefix="vecbudget-kill-") as folder:
        alone, killed, shared = (Path(folder) / name for name in ("alone", "killed", "shared"))
        seconds = left_alone(alone, dataset)
        expected = contents(alone)
        rows = [["undisturbed", "0", f"{len(expected)}", "–", "–"]]
        kills, finished = 0, 0
        while kills < options.kills:
            process = start(killed, dataset)
            try:
                process.wait(timeout=chance.uniform(0.5, seconds / 3))
                # it got to the end: from here on the sweep has nothing left to do, and is killed anew in another folder
                finished += 1
                if contents(killed) != expected:
                    break
                killed = Path(folder) / f"killed{finished}"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
        left_alone(killed, dataset)
        rows.append(_row("killed and started again", kills, expected, killed))
        both = [start(shared, dataset) for _ in range(2)]
        codes = [process.wait() for process in both]
        rows.append(_row(f"two at a time, exit statuses {codes[0]} and {codes[1]}", 0, expected, shared))
    print(
        Table(by_place(["sweep", "kills", "records", "same as undisturbed", "drafts left"], {1, 2, 4}), rows).markdown()
    )
    sounds = len(expected) == EXPECTED and all(row[3] in ("yes", "–") and row[4] in ("0", "–") for row in rows)
    sys.exit(0 if sounds else 1)


def _row(name: str, kills: int, expected: dict[str, tuple[object, ...]], results: Path) -> list[str]:
    found = contents(results)
    drafts = sum(path.name.startswith(".") for path in (results / "runs").iterdir())
    return [name, str(kills), str(len(found)), "yes" if found == expected else "NO", str(drafts)]


if __name__ == "__main__":
    main()
