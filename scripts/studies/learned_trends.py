"""Whether the trends that the papers of learned methods report show here, with intervals over queries.

vecbudget sweep experiment=learned_trends dataset=folder dataset.path=DIR results_dir=RUNS
python scripts/studies/learned_trends.py --runs RUNS --out results/reference/learned/trends.md
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.analysis import statistics
from harness.report.table import Table, by_place
from harness.runs.frame import load_runs
from harness.runs.store import Store
from scripts.studies.learned_table import interval, mean_scores


@dataclass(frozen=True)
class Trend:
    """A claim: one setting above another in a metric."""

    claim: str
    better: tuple[str, str]
    worse: tuple[str, str]
    metric: str = "overlap_at_10"


TRENDS = (
    *(
        Trend(f"OPQ is far above PQ at {m} bytes", ("opq", f"m={m}"), ("pq", f"m={m}"), metric)
        for m in (16, 8)
        for metric in ("ndcg_at_10", "overlap_at_10")
    ),
    *(
        Trend(
            f"Distillation is above OPQ, both scaled to unit length, at {m} bytes",
            ("distill_pq", f"m={m}"),
            ("opq", f"m={m} renormalize=true"),
            metric,
        )
        for m in (16, 8)
        for metric in ("ndcg_at_10", "overlap_at_10")
    ),
    *(
        Trend(f"MoPQ finds more than OPQ at {m} bytes", ("mopq", f"m={m}"), ("opq", f"m={m}"), metric)
        for m in (16, 8)
        for metric in ("ndcg_at_10", "overlap_at_10")
    ),
    *(
        Trend(
            f"MoPQ's squared error is above OPQ's at {m} bytes",
            ("mopq", f"m={m}"),
            ("opq", f"m={m}"),
            "vector_distortion",
        )
        for m in (16, 8)
    ),
    *(
        Trend("BEBR's 2 bits a dimension are above 768 bits of a plain hash", ("bebr", "bits=2"), ("bebr", "bits=1"), m)
        for m in ("ndcg_at_10", "overlap_at_10")
    ),
    *(
        Trend(f"TLDR is above {words} at {dim} dimensions", ("tldr", f"dim={dim}"), (other, f"dim={dim}"), m)
        for words, other in (("whitened PCA", "whitening_int8"), ("SVD", "svd192_int8"))
        for dim in (96, 48, 24)
        for m in ("ndcg_at_10", "overlap_at_10")
    ),
)


def chosen(runs: pd.DataFrame, setting: tuple[str, str]) -> pd.DataFrame:
    """Return the runs of a setting, one a seed."""
    method, text = setting
    wanted = set(text.split())

    def fits(params: str) -> bool:
        given = set(params.split())
        return wanted <= given and "renormalize=true" not in given - wanted

    return runs[(runs["method"] == method) & runs["params"].map(fits)]


def row_of(store: Store, runs: pd.DataFrame, trend: Trend) -> list[str]:
    one, other = chosen(runs, trend.better), chosen(runs, trend.worse)
    if trend.metric == "vector_distortion":
        values = [found["vector_distortion"].mean() for found in (one, other)]
        shown = f"{values[0] - values[1]:+.4f}"
        held = "yes" if values[0] > values[1] else "NO"
    else:
        scores = [mean_scores(store, found, trend.metric) for found in (one, other)]
        values = [found.mean() for found in scores]
        difference = statistics.compare(scores[0][None], scores[1]).difference
        shown = interval(difference)
        held = "yes" if difference.low[0] > 0 else "NO" if difference.high[0] < 0 else "undecided"
    return [
        str(runs["dataset"].iloc[0]),
        trend.claim,
        {"ndcg_at_10": "nDCG@10", "overlap_at_10": "overlap@10", "vector_distortion": "squared error"}[trend.metric],
        *(f"{value:.4f}" for value in values),
        shown,
        held,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    store, frame = Store(options.runs), load_runs(options.runs)
    frame = frame[frame["status"] == "ok"]
    rows = [row_of(store, runs, trend) for _, runs in frame.groupby("dataset", sort=False) for trend in TRENDS]
    header = ["collection", "claim", "measure", "the first", "the second", "difference (95 %)", "holds"]
    text = Table(by_place(header, {3, 4, 5}), rows).markdown()
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(f"# Trends of the papers\n\nMeans over three seeds.\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
