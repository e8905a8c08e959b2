"""What `vecbudget advise` names beside the best of a whole sweep: a row a collection, model and budget.

    python scripts/studies/advise_table.py --runs RUNS --out results/reference/advise \
        "SWEEP.csv dataset=folder dataset.path=DIR model=minilm" \
        "SWEEP.csv dataset=folder dataset.path=DIR model=vectors model.path=FILE"

Each argument is a table of a report, with the settings of a sweep on a collection and model, and the overrides of
these. `advise` gets the documents' vectors and nothing else; what it names is then run on the test queries, where the
sweep was measured too. Its choice may be a setting that the sweep does not have, and can be better than the best of it.
A row that is in the table already is left alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.budgets import within
from harness.analysis.needs import Needs
from harness.base.files import whole
from harness.data.embedding_cache import Vectors
from harness.report import markdown
from harness.runs.inputs import load_dataset, load_vectors, model_of
from harness.runs.run import run
from harness.runs.store import Store
from harness.tuning.advise import Advice, advise, read
from harness.tuning.space import written
from scripts.studies.tune_table import composed

METRIC = "overlap_at_10"
NEAR = 0.01
"""By so much the choice may be behind the best of the sweep."""

HEADER = [
    "collection",
    "model",
    "bytes",
    "advise named",
    "overlap@10",
    "best of the sweep",
    "overlap@10",
    "less it",
    "seconds",
    "tried",
    "no time for",
]
RIGHT = {2, 4, 6, 7, 8, 9, 10}


def advised(vectors: Vectors, nbytes: int, minutes: float) -> Advice:
    """Return the advice for the documents of a collection, from a file as a user has it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "docs.npy"
        np.save(path, np.asarray(vectors.docs, dtype=np.float32))
        return advise(read(str(path)), Needs(max_bytes=nbytes), minutes)


def best_of(sweep: pd.DataFrame, nbytes: int) -> pd.Series:
    """Return the setting of a sweep that finds most within a budget, in memory alone, as `advise` looks for."""
    in_memory = sweep[sweep["disk_bytes_per_vector"].fillna(0) == 0]
    fits = within(in_memory["code_bytes_per_vector"], in_memory["code_bytes_per_vector"], nbytes)
    return in_memory[fits].sort_values(METRIC, kind="stable").iloc[-1]


def tested(cell: list[str], advice: Advice) -> tuple[list[str], float]:
    """Run what was named; return its overrides, and its overlap on the test queries."""
    chosen = advice.choice.candidate
    settings = [f"method.{place}={written(chosen.settings[place])}" for place in chosen.changed]
    cfg = composed([*cell, f"method={chosen.method}", *settings])
    run_id = run(cfg, chosen.method, [*cell, f"method={chosen.method}", *settings])
    overlaps = Store(Path(cfg.results_dir)).per_query(run_id)[METRIC]
    return [chosen.method, *settings], float(overlaps.mean())


def page(table: pd.DataFrame, minutes: float) -> str:
    """Return the table as Markdown, with what it comes to."""
    rows = [
        [
            row["dataset"],
            row["model"],
            str(row["budget"]),
            markdown.cell(row["named"]),
            f"{row['overlap']:.3f}",
            markdown.cell(row["best"]),
            f"{row['best_overlap']:.3f}",
            f"{row['overlap'] - row['best_overlap']:+.3f}",
            f"{row['seconds']:.0f}",
            str(row["tried"]),
            str(row["untried"]),
        ]
        for row in table.to_dict("records")
    ]
    near = table["overlap"] >= table["best_overlap"] - NEAR
    return "\n".join(
        [
            "# What advice is worth",
            "",
            f"`scripts/studies/advise_table.py --minutes {minutes:g}`: documents alone in, a setting out, which is run",
            "on the test queries; beside it the best setting of a whole sweep, chosen by these very queries.",
            "",
            markdown.table(HEADER, rows, RIGHT),
            "",
            f"Within {NEAR:g} of the best, or above it: {int(near.sum())} of {len(table)}.",
            "",
        ]
    )


def main() -> None:
    """Fill the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "cells", nargs="+", help="table of a sweep, and overrides of its collection and model, in quotes"
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--budgets", default="24,48,96")
    parser.add_argument("--runs", type=Path, required=True, help="results folder of the runs")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "advise.csv"
    rows: list[dict[Any, Any]] = pd.read_csv(path).to_dict("records") if path.exists() else []
    for text in given.cells:
        sweep_path, *overrides = text.split()
        cell = [*overrides, f"results_dir={given.runs}"]
        cfg = composed(cell)
        dataset, encoder = load_dataset("dataset", cfg.dataset), model_of(cfg)
        vectors = load_vectors(dataset, encoder, cfg.cache_dir)
        sweep = pd.read_csv(sweep_path)
        for nbytes in map(int, given.budgets.split(",")):
            if (dataset.name, encoder.name, nbytes) in {(row["dataset"], row["model"], row["budget"]) for row in rows}:
                continue
            advice = advised(vectors, nbytes, given.minutes)
            setting, overlap = tested(cell, advice)
            best = best_of(sweep, nbytes)
            rows.append(
                {
                    "dataset": dataset.name,
                    "model": encoder.name,
                    "budget": nbytes,
                    "named": " ".join(setting).replace("method.", ""),
                    "overlap": overlap,
                    "best": " ".join([best["method"], str(best["params"] if pd.notna(best["params"]) else "")]).strip(),
                    "best_overlap": best[METRIC],
                    "seconds": advice.seconds,
                    "tried": len(advice.ladder),
                    "untried": len(advice.untried),
                }
            )
            table = pd.DataFrame(rows)
            with whole(path) as csv:
                table.to_csv(csv, index=False)
            with whole(given.out / "README.md") as readme:
                readme.write_text(page(table, given.minutes), encoding="utf-8")


if __name__ == "__main__":
    main()
