"""How long a report takes.

    python scripts/bench/report.py [--collections 3 --settings 106 --queries 300]
    python scripts/bench/report.py --results FOLDER [FOLDER ...]

Made-up results of many settings on several collections, or those of results folders, one or more. Prints the seconds
of the views, of the Pareto analysis, and of everything that `vecbudget report` writes, with its share of 30 seconds.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis import frontier_uncertainty
from harness.analysis import settings as settings_module
from harness.analysis.significance import with_intervals
from harness.evaluation.metric_registry import names as metric_names
from harness.evaluation.spectrum_record import as_record
from harness.report import frontier, views
from harness.report.write import write_report
from harness.runs.frame import load_runs
from harness.runs.record import EMPTY, DatasetEntry, Record
from harness.runs.store import Store

MOST_SECONDS = 30.0
DIM = 384
JUDGED = ("ndcg", "mrr", "map", "recall")
FAMILIES = ("cast", "scalar", "rotation", "binary", "dimension", "product", "spectrum", "two tiers")


class Results(NamedTuple):
    """Runs, and where their queries' scores and their records come from."""

    frame: pd.DataFrame
    per_query: Callable[[str], pd.DataFrame]
    records: Callable[[str], Record]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collections", type=int, default=3)
    parser.add_argument("--settings", type=int, default=106)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--results", type=Path, nargs="+", help="folders of finished runs")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    results = (
        stored(options.results)
        if options.results
        else many_settings(options.collections, options.settings, options.queries)
    )
    start = time.perf_counter()
    pages = [with_intervals(page, results.per_query) for page in settings_module.pages(results.frame)]
    print(f"{sum(len(page.settings) for page in pages)} settings on {len(pages)} collections")
    print(f"intervals and verdicts: {_since(start)}")
    start = time.perf_counter()
    for view in views.all_views(pages):
        view.markdown()
    print(f"views: {_since(start)}")
    start = time.perf_counter()
    for shares in frontier_uncertainty.analyse(pages):
        frontier.dominance_markdown(shares)
    print(f"Pareto analysis: {_since(start)}")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        written = write_report(results.frame, Path(folder), per_query=results.per_query, records=results.records)
        seconds = time.perf_counter() - start
    print(
        f"the whole report, {len(written)} files: {seconds:.1f} s, {seconds / MOST_SECONDS:.2f} of {MOST_SECONDS:g} s"
    )


def stored(folders: list[Path]) -> Results:
    """Return the finished runs of several results folders."""
    stores = {folder: Store(folder) for folder in folders}
    frames = {folder: load_runs(folder) for folder in folders}
    home = {run_id: stores[folder] for folder, frame in frames.items() for run_id in frame["run_id"]}
    return Results(
        pd.concat(frames.values(), ignore_index=True),
        lambda run_id: home[run_id].per_query(run_id),
        lambda run_id: home[run_id].read(run_id),
    )


def many_settings(collections: int, settings: int, queries: int, seed: int = 0) -> Results:
    """Return made-up results: settings from 8 bytes to float32's 1536, the smaller the worse, in eight families.

    Every fourth setting tells the bits of its axes.
    """
    rng = np.random.default_rng(seed)
    spectrum = np.exp(-np.arange(DIM) / 60) + 1e-4
    sizes = np.round(np.geomspace(8, 4 * DIM, settings))
    rows: list[dict[str, Any]] = []
    scores, records = {}, {}
    for collection in range(collections):
        exact = rng.beta(2, 1, queries)
        for place, size in enumerate(sizes.tolist()):
            plain = place == settings - 1
            family = "cast" if plain else FAMILIES[place % len(FAMILIES)]
            moved = 0.0 if plain else (rng.random(queries) < 0.4) * rng.normal(-0.6 / np.sqrt(size), 0.2, queries)
            values = np.clip(exact + moved, 0, 1)
            run_id = f"{collection}-{place}"
            overlap = np.clip(1 - 2 / np.sqrt(size) + 0.1 * rng.standard_normal(queries), 0, 1) if not plain else 1.0
            columns = {
                name: values if name.startswith(("ndcg", "mrr", "map", "recall")) else overlap
                for name in metric_names()
            }
            scores[run_id] = pd.DataFrame({"query_id": [f"q{i}" for i in range(queries)], **columns})
            error = {"power": 1.0, "distortion": 2 ** (-size / 60), "bound": 2 ** (-size / 50)}
            error |= {"db_over_bound": np.nan if plain else 1.0 + size / 100, "excess_bits_per_dim": 0.2}
            command = f"vecbudget run method={family}{place % 25} method.n={place} dataset=d{collection}"
            bits = None if place % 4 else np.repeat([8 * size / 192, 0.0], [192, DIM - 192])
            records[run_id] = replace(
                EMPTY,
                run_id=run_id,
                command=command,
                dataset=DatasetEntry(name=f"d{collection}", n_docs=5183, n_queries=queries),
                config={"method": {"about": {"family": family, "summary": "made up", "source": "nobody"}}},
                machine={"cpu": "none", "cores": 1, "system": "none"},
                spectrum=as_record(spectrum, bits),
            )
            rows.append(
                {
                    "run_id": run_id,
                    "status": "ok",
                    "error": None,
                    "model": "made_up",
                    "dataset": f"d{collection}",
                    "method": "float32" if plain else f"{family}{place % 25}",
                    "params": "" if plain else f"n={place}",
                    "family": family,
                    "scoring": "asymmetric",
                    "seed": pd.NA,
                    "dim": DIM,
                    "n_docs": 5183,
                    "n_queries": queries,
                    "code_bytes_per_vector": size,
                    "resident_bytes_per_vector": size,
                    "disk_bytes_per_vector": 0.0,
                    "state_bytes": 100_000,
                    "bytes_per_vector": size + 0.1,
                    "index_bytes": 5183 * size + 100_000,
                    "compression_ratio": 4 * DIM / (size + 0.1),
                    "retention": values.mean() / exact.mean(),
                    **{name: float(np.mean(column)) for name, column in columns.items()},
                    **{f"{part}_{name}": value for part in ("vector", "score") for name, value in error.items()},
                    "fit_seconds": 1.0,
                    "encode_seconds": 0.01 + rng.random(),
                    "search_seconds": 0.01 + rng.random(),
                    "command": command,
                    "git_commit": "0" * 40,
                    "created": "2026-01-01T00:00:00+00:00",
                }
            )
    frame = pd.DataFrame(rows)
    return Results(frame.assign(seed=frame["seed"].astype("Int64")), scores.__getitem__, records.__getitem__)


def _since(start: float) -> str:
    return f"{time.perf_counter() - start:.1f} s"


if __name__ == "__main__":
    main()
