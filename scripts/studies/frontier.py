"""The transform codes against their rivals at equal bytes, with paired intervals: a table for each collection.

    python scripts/studies/frontier.py --runs results/reference-runs/frontier \
        --half results/reference-runs/frontier_half --out results/reference/frontier

Reads the records of `experiment=frontier` and `experiment=frontier_half`, one results folder a collection. A rival's
difference is transform_coding minus the rival at the same total bytes: the mean over queries of nDCG@10 and of
overlap@10, see `harness.analysis.statistics`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from harness.analysis import statistics
from harness.runs.frame import load_runs
from harness.runs.store import Store

BUDGETS = (192, 96, 48, 24, 12)
OURS = ("transform_coding", "codec.codebook=joint")
FEW = 60
"""A collection with fewer settings was not part of the whole comparison."""
TRAINABLE = 256
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
    "score_aware_entropy": "score-aware, entropy-coded",
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


def cell(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def at_budget(frame: pd.DataFrame, budget: int) -> pd.DataFrame:
    """Return the settings of so many bytes, those with the highest overlap first."""
    # a mean budget is met to a percent
    at = frame[frame["code_bytes_per_vector"].between(min(budget - 0.51, 0.99 * budget), budget + 0.51)]
    at = at.assign(
        mean=[values.mean() for values in at["overlap_at_10"]], label=[label(row) for _, row in at.iterrows()]
    )
    return at.sort_values("mean", ascending=False, ignore_index=True)


def gains(at: pd.DataFrame, best: int) -> dict[str, list[str]]:
    """Return what our setting is better by than each of the others, with intervals."""
    cells = {metric: [""] * len(at) for metric in METRICS}
    others = [place for place in range(len(at)) if place != best]
    for metric in METRICS if others else ():
        values = np.stack(at[metric].tolist())
        found = statistics.compare(np.tile(values[best], (len(others), 1)), values[others])
        for row, place in enumerate(others):
            mark = "**" if found.p_holm[row] < statistics.ALPHA else ""
            difference = found.difference
            cells[metric][place] = (
                f"{mark}{difference.estimate[row]:+.4f}{mark} [{difference.low[row]:+.4f}, {difference.high[row]:+.4f}]"
            )
    return cells


def page(frame: pd.DataFrame) -> list[str]:
    reference = frame[frame["method"] == "float32"].iloc[0]
    exact = float(reference["ndcg_at_10"].mean())
    lines = [
        f"## {reference['dataset']}",
        "",
        f"{reference['n_docs']} documents, {reference['n_queries']} queries, float32 nDCG@10 {exact:.5f}.",
        "",
    ]
    for budget in BUDGETS:
        at = at_budget(frame, budget)
        mine = np.flatnonzero((at["method"] == OURS[0]) & at["params"].str.contains(OURS[1]))
        if not len(mine):
            continue
        better = gains(at, int(mine[0]))
        lines += [
            f"### {budget} bytes",
            "",
            "| method | B/vector | kept | overlap@10 | dB over bound | ours is better by, nDCG@10 | overlap@10 |",
            "| --- | ---: | ---: | ---: | ---: | --- | --- |",
        ]
        for place, row in at.iterrows():
            lines.append(
                f"| {row['label']} | {row['code_bytes_per_vector']:.1f} "
                f"| {100 * row['ndcg_at_10'].mean() / exact:.1f} % | {row['mean']:.3f} "
                f"| {cell(row['vector_db_over_bound'], 2)} | {better['ndcg_at_10'][place]} "
                f"| {better['overlap_at_10'][place]} |"
            )
        lines.append("")
    return lines


def over_all(frames: list[pd.DataFrame]) -> list[str]:
    """Return a table for each budget over all collections, of the methods that were measured on every one."""
    lines = [f"## Over {len(frames)} collections", ""]
    for budget in BUDGETS:
        tables = [at_budget(frame, budget).drop_duplicates("label").set_index("label") for frame in frames]
        names = [name for name in tables[0].index if all(name in table.index for table in tables)]
        missing = sorted({name for table in tables for name in table.index} - set(names))
        if len(names) < 3:
            continue
        shares = []
        for frame, table in zip(frames, tables, strict=True):
            plain = frame[frame["method"] == "float32"].iloc[0]["ndcg_at_10"]
            own = np.stack(table.loc[names, "ndcg_at_10"].tolist())
            shares.append(statistics.ratio_parts(own, plain))
        overlaps = [np.stack(table.loc[names, "overlap_at_10"].tolist()) for table in tables]
        kept, overlap = statistics.macro_interval(shares), statistics.macro_interval(overlaps)
        ranks = statistics.mean_ranks(np.stack([values.mean(axis=1) for values in overlaps], axis=1))
        lines += [
            f"### {budget} bytes",
            "",
            "| method | kept, mean | 95 % interval | overlap@10, mean | 95 % interval | mean rank by overlap |",
            "| --- | ---: | --- | ---: | --- | ---: |",
        ]
        for place in np.argsort(-overlap.estimate).tolist():
            lines.append(
                f"| {names[place]} | {100 * kept.estimate[place]:.1f} % "
                f"| {100 * kept.low[place]:.1f} to {100 * kept.high[place]:.1f} | {overlap.estimate[place]:.3f} "
                f"| {overlap.low[place]:.3f} to {overlap.high[place]:.3f} | {ranks[place]:.1f} |"
            )
        note = (
            f"Mean ranks that differ by less than {statistics.critical_difference(len(names), len(frames)):.1f} are not"
        )
        lines += ["", note + " told apart by Nemenyi's test at 5 %."]
        lines += ["", f"Not measured on every collection: {', '.join(missing)}." if missing else "", ""]
    return lines


def half_page(frame: pd.DataFrame) -> list[str]:
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
    frame["about"] = frame["code_bytes_per_vector"].round()
    for _, row in frame.sort_values(["about", "mean"], ascending=False).iterrows():
        lines.append(
            f"| {label(row)} | {row['code_bytes_per_vector']:.1f} | {100 * row['ndcg_at_10'].mean() / exact:.1f} % "
            f"| {row['mean']:.3f} | {cell(row['vector_db_over_bound'], 2)} "
            f"| {cell(row['unseen_vector_db_over_bound'], 2)} |"
        )
    return [*lines, ""]


def collections(folder: Path) -> list[pd.DataFrame]:
    return [settings(path) for path in sorted(folder.iterdir()) if (path / "runs").is_dir()]


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
        "queries (bootstrap, 10,000 resamples, BCa), positive where ours wins; bold where the randomisation test",
        "rejects equality at 5 % with Holm's correction over the table's rows. Over several collections: those with",
        f"the {TRAINABLE} documents that PQ needs; hierarchical bootstrap over collections and queries, percentile,",
        "too narrow with so few of them.",
        "",
    ]
    frames = collections(options.runs)
    lines += over_all([frame for frame in frames if len(frame) > FEW and frame.iloc[0]["n_docs"] >= TRAINABLE])
    for frame in frames:
        lines += page(frame)
    if options.half is not None:
        lines += ["# Fitted on half of the documents", ""]
        lines += [
            "*entropy-coded (mean)* gives documents that were not fitted more bytes than the others, so that its last",
            "column is not at equal bytes; in a stream of their own they are further from the bound, see",
            "[transform_coding.md](../transform_coding.md).",
            "",
        ]
        for frame in collections(options.half):
            lines += half_page(frame)
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / "frontier.md"
    target.write_text("\n".join(lines), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
