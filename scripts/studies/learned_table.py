"""What learned compressors are worth: each against transform coding at equal bytes, query by query.

    python scripts/studies/learned_table.py --runs results/reference-runs/learned \
        --out results/reference/learned/learned.md

Reads the records of `experiment=learned` or `learned_large`, one results folder with every collection in it, and writes
a table for each collection: quality (the mean over seeds), its difference from transform coding with a 95 % interval
over queries, what the state takes and the training took. Where train queries taught, test queries are divided by
whether a document that answers them was also in a training pair: what is known by heart is told from what was learned.
Run it from the repository root: records name data by path.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import OmegaConf

from harness.analysis import statistics
from harness.data.datasets import Dataset
from harness.report.table import Cell, Table, by_place, code
from harness.runs.config import shared
from harness.runs.frame import load_runs
from harness.runs.store import Store

BUDGETS = (96, 48, 24)
BASELINE = "transform_coding"
METRICS = ("ndcg_at_10", "overlap_at_10")
Float64 = NDArray[np.float64]


def budget_of(nbytes: float) -> int | None:
    """Return the budget that so many bytes come to, within 2 %."""
    return next((budget for budget in BUDGETS if abs(nbytes - budget) <= 0.02 * budget), None)


def mean_scores(store: Store, runs: pd.DataFrame, metric: str) -> Float64:
    """Return a metric of each query, the mean over runs that differ in their seed, float64 (m,)."""
    return np.mean([store.per_query(run_id)[metric].to_numpy(float) for run_id in runs["run_id"]], axis=0)


def interval(difference: statistics.Interval, row: int = 0) -> str:
    return f"{difference.estimate[row]:+.4f} ({difference.low[row]:+.4f} to {difference.high[row]:+.4f})"


def collection_table(store: Store, runs: pd.DataFrame) -> str:
    """Return a collection's table: methods by budget, best first."""
    rows: list[list[str | Cell]] = []
    for budget in BUDGETS:
        at = runs[runs["budget"] == budget]
        if not len(at):
            continue
        base = at[at["method"] == BASELINE]
        reference = {metric: mean_scores(store, base, metric) for metric in METRICS}
        lines: list[tuple[float, list[str | Cell]]] = []
        for (method, params), group in at.groupby(["method", "params"], sort=False):
            scores = {metric: mean_scores(store, group, metric) for metric in METRICS}
            compared = {metric: statistics.compare(scores[metric][None], reference[metric]) for metric in METRICS}
            own = method == BASELINE
            lines.append(
                (
                    -float(scores["overlap_at_10"].mean()),
                    [
                        str(budget),
                        code(f"{method} {params}"),
                        "learned" if group["family"].iloc[0] == "learned" else "",
                        str(len(group)),
                        f"{scores['ndcg_at_10'].mean():.4f}",
                        "" if own else interval(compared["ndcg_at_10"].difference),
                        f"{scores['overlap_at_10'].mean():.3f}",
                        "" if own else interval(compared["overlap_at_10"].difference),
                        "" if own else compared["overlap_at_10"].verdicts()[0],
                        f"{group['state_bytes'].mean() / 1e6:.2f}",
                        f"{group['fit_seconds'].median():.0f}",
                        str(group["fit_queries"].iloc[0]),
                    ],
                )
            )
        rows += [cells for _, cells in sorted(lines, key=lambda line: line[0])]
    header = [
        *("B/doc", "method", "", "seeds", "nDCG@10", "against transform coding", "overlap@10"),
        *("against transform coding", "overlap is", "state MB", "fit s", "taught by"),
    ]
    return Table(by_place(header, {0, 3, 4, 5, 6, 7, 9, 10}), rows).markdown()


def taught_documents(dataset: Dataset) -> set[str]:
    """Return the documents that answer a train query."""
    return {doc_id for answers in dataset.train_answers for doc_id in answers}


def divided_table(store: Store, runs: pd.DataFrame, dataset: Dataset) -> str:
    """Return nDCG@10 of the test queries that share a document with a training pair, and of the others."""
    taught = taught_documents(dataset)
    qrels = dataset.qrels or {}
    known = np.array(
        [any(grade > 0 and doc_id in taught for doc_id, grade in qrels[query].items()) for query in dataset.query_ids]
    )
    rows: list[list[str | Cell]] = []
    for budget in BUDGETS:
        at = runs[runs["budget"] == budget]
        reference = mean_scores(store, at[at["method"] == BASELINE], "ndcg_at_10")
        for (method, params), group in at.groupby(["method", "params"], sort=False):
            if method != BASELINE and not str(group["fit_queries"].iloc[0]).endswith("train queries"):
                continue
            scores = mean_scores(store, group, "ndcg_at_10")
            cells = [str(budget), code(f"{method} {params}")]
            for part in (known, ~known):
                against = statistics.compare(scores[None, part], reference[part]).difference
                cells += [f"{scores[part].mean():.4f}", "" if method == BASELINE else interval(against)]
            rows.append(cells)
    header = [
        *("B/doc", "method", f"{known.sum()} queries with a taught document", "against transform coding"),
        *(f"{(~known).sum()} others", "against transform coding"),
    ]
    return Table(by_place(header, {0, 2, 3, 4, 5}), rows).markdown()


def budgeted(folder: Path) -> pd.DataFrame:
    """Return the runs of a results folder that came to an end, with the budget of each."""
    frame = load_runs(folder)
    frame = frame[frame["status"] == "ok"].copy()
    frame["budget"] = [budget_of(nbytes) for nbytes in frame["code_bytes_per_vector"]]
    # seeds of a method without any chance in it are one run; what taught has a column of its own
    frame["params"] = [
        " ".join(word for word in params.split() if not word.startswith(("seed=", "fit_queries=")))
        for params in frame["params"]
    ]
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="a results folder")
    parser.add_argument("--titles", type=Path, help="a results folder of experiment=learned_titles")
    parser.add_argument("--out", type=Path, required=True, help="markdown file")
    options = parser.parse_args()
    store, frame = Store(options.runs), budgeted(options.runs)
    by_titles = budgeted(options.titles) if options.titles else frame[:0]
    parts = [
        "# Learned compressors against transform coding at equal bytes\n",
        "Means over seeds; intervals are 95 %, over queries (bootstrap, BCa), of the paired difference. Codes decide "
        "the budget; the state, which search needs too, is beside it. Sorted by overlap@10 with the float32 ranking, "
        "which no judgement enters. Training took one core, others at work beside it.\n",
    ]
    for name, runs in frame.groupby("dataset", sort=False):
        reference = runs[runs["method"] == "float32"]["ndcg_at_10"].iloc[0]
        parts.append(f"## {name}: float32 nDCG@10 {reference:.5f}, {int(runs['n_queries'].iloc[0])} queries\n")
        parts.append(collection_table(store, runs) + "\n")
        dataset = shared("dataset", OmegaConf.create(store.read(runs["run_id"].iloc[0]).config["dataset"])).load()
        if taught_documents(dataset):
            parts.append(
                f"### {name}: learned, or known by heart?\n\nnDCG@10 of the test queries one of whose documents is in "
                "a training pair too, and of the others, for methods taught by train queries.\n"
            )
            parts.append(divided_table(store, runs, dataset) + "\n")
        titled = by_titles[by_titles["dataset"] == name]
        if len(titled):
            parts.append(
                f"### {name}: taught by titles\n\nThe same with `fit_queries=titles`: each title should find the "
                "document it is the title of. No judgement teaches, so no test query is known beforehand.\n"
            )
            parts.append(collection_table(Store(options.titles), titled) + "\n")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
