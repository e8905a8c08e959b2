"""The transform codes against their rivals at equal bytes, with paired intervals: a table for each collection.

    python scripts/frontier.py --runs results/reference-runs/frontier --half results/reference-runs/frontier_half \
        --out results/reference/frontier

Reads the records of `experiment=frontier` and `experiment=frontier_half`, one results folder a collection. A rival's
difference is transform_coding minus the rival at the same total bytes: the mean over queries of nDCG@10 and of
overlap@10, with 95 % bootstrap intervals over the queries (10,000 resamples, percentile; the same resamples for all).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from harness.store import Store, load_runs

BUDGETS = (192, 96, 48, 24, 12)
OURS = ("transform_coding", "codec.codebook=joint")
RESAMPLES = 10_000
METRICS = ("ndcg_at_10", "overlap_at_10")
NAMES = {
    "mrq": "RaBitQ on leading axes (MRQ)",
    "binary": "sign",
    "svd_binary": "sign on SVD",
    "turboquant": "TurboQuant-mse",
    "pq": "PQ",
    "opq": "OPQ",
    "ash": "ASH",
    "saq": "SAQ",
    "transform_coding": "transform coding",
    "score_aware": "score-aware",
    "score_aware_trellis": "score-aware, trellis-coded",
    "transform_trellis": "trellis-coded",
    "transform_e8": "E8",
    "transform_leech": "Leech",
    "transform_entropy": "entropy-coded",
}


def settings(folder: Path) -> pd.DataFrame:
    """Return one row a configuration, with its per-query values as arrays (means over seeds)."""
    frame = load_runs(folder)
    store, rows = Store(folder), []
    for (method, params), runs in frame[frame["status"] == "ok"].groupby(["method", "params"], sort=False):
        queries = [store.per_query(run_id) for run_id in runs["run_id"]]
        row = {"method": method, "params": params} | runs.iloc[0].drop(["method", "params"]).to_dict()
        rows.append(row | {metric: np.mean([q[metric].to_numpy() for q in queries], axis=0) for metric in METRICS})
    return pd.DataFrame(rows)


def label(row: pd.Series) -> str:
    budget = {"nbytes", "m"}
    kept = [part for part in row["params"].split() if part.partition("=")[0] not in budget]
    kept = [part.replace("renormalize=true", "renormalised") for part in kept if part != "renormalize=false"]
    for prefix in ("codec.codebook=", "codec.budget=", "objective="):
        kept = [part.removeprefix(prefix) for part in kept]
    return NAMES.get(row["method"], row["method"]) + (f" ({', '.join(kept)})" if kept else "")


def interval(difference: np.ndarray, weights: np.ndarray) -> str:
    low, high = np.percentile(weights @ difference, [2.5, 97.5])
    mark = "**" if low > 0 or high < 0 else ""
    return f"{mark}{difference.mean():+.4f}{mark} [{low:+.4f}, {high:+.4f}]"


def resamples(m: int) -> np.ndarray:
    counts = np.random.default_rng(0).multinomial(m, np.full(m, 1 / m), size=RESAMPLES)
    return counts.astype(np.float32) / m


def cell(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def page(folder: Path) -> list[str]:
    frame = settings(folder)
    reference = frame[frame["method"] == "float32"].iloc[0]
    judged = bool(np.isfinite(reference["ndcg_at_10"]).all())
    weights = resamples(len(reference["ndcg_at_10"]))
    exact = float(reference["ndcg_at_10"].mean())
    lines = [
        f"## {reference['dataset']}",
        "",
        f"{reference['n_docs']} documents, {reference['n_queries']} queries, float32 nDCG@10 {exact:.5f}.",
        "",
    ]
    for budget in BUDGETS:
        at = frame[(frame["code_bytes_per_vector"] - budget).abs() < 0.51].copy()
        mine = at[(at["method"] == OURS[0]) & at["params"].str.contains(OURS[1])]
        if mine.empty:
            continue
        best = mine.iloc[0]
        at["mean"] = [values.mean() for values in at["overlap_at_10"]]
        lines += [
            f"### {budget} bytes",
            "",
            "| method | B/vector | kept | overlap@10 | dB over bound | ours is better by, nDCG@10 | overlap@10 |",
            "| --- | ---: | ---: | ---: | ---: | --- | --- |",
        ]
        for _, row in at.sort_values("mean", ascending=False).iterrows():
            kept = f"{100 * row['ndcg_at_10'].mean() / exact:.1f} %" if judged else ""
            gains = ["", ""]
            if row["run_id"] != best["run_id"]:
                gains = [interval(best[metric] - row[metric], weights) for metric in METRICS]
            lines.append(
                f"| {label(row)} | {row['code_bytes_per_vector']:.1f} | {kept} | {row['mean']:.3f} "
                f"| {cell(row['vector_db_over_bound'], 2)} | {gains[0]} | {gains[1]} |"
            )
        lines.append("")
    return lines


def half_page(folder: Path) -> list[str]:
    frame = settings(folder)
    exact = float(frame[frame["method"] == "float32"].iloc[0]["ndcg_at_10"].mean())
    sample = next(part for part in frame.iloc[-1]["params"].split() if part.startswith("fit_sample="))
    lines = [
        f"## {frame.iloc[0]['dataset']}",
        "",
        f"Fitted on {sample.partition('=')[2]} of {frame.iloc[0]['n_docs']} documents, searched over all.",
        "",
        "| method | B/vector | kept | overlap@10 | dB over bound, all documents | documents that were not fitted |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    frame = frame[frame["method"] != "float32"].assign(params=frame["params"].str.replace(sample, ""))
    frame["mean"] = [values.mean() for values in frame["overlap_at_10"]]
    for _, row in frame.sort_values(["code_bytes_per_vector", "mean"], ascending=False).iterrows():
        lines.append(
            f"| {label(row)} | {row['code_bytes_per_vector']:.1f} | {100 * row['ndcg_at_10'].mean() / exact:.1f} % "
            f"| {row['mean']:.3f} | {cell(row['vector_db_over_bound'], 2)} "
            f"| {cell(row['unseen_vector_db_over_bound'], 2)} |"
        )
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder with a results folder for each collection")
    parser.add_argument("--half", type=Path, help="likewise, of methods that were fitted on half of the documents")
    parser.add_argument("--out", type=Path, required=True, help="folder for frontier.md")
    options = parser.parse_args()
    lines = [
        "# Equal bytes: transform coding against its rivals",
        "",
        "all-MiniLM-L6-v2, 384 dimensions, one seed. Bytes are the codes' with all per-vector factors; shared state is",
        "not in them (see each collection's own table). *kept* is nDCG@10 over that of float32. *Ours* in the",
        "differences is transform coding with joint codebooks, its default. Intervals are 95 %, paired, over the",
        "queries; bold where they exclude 0, positive where ours wins. No correction for the number of rows.",
        "",
    ]
    for folder in sorted(path for path in options.runs.iterdir() if (path / "runs").is_dir()):
        lines += page(folder)
    if options.half is not None:
        lines += ["# Fitted on half of the documents", ""]
        for folder in sorted(path for path in options.half.iterdir() if (path / "runs").is_dir()):
            lines += half_page(folder)
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / "frontier.md"
    target.write_text("\n".join(lines), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
