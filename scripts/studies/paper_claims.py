"""Which claims of two published comparisons hold, under their conventions and under ours.

    python scripts/studies/paper_claims.py --runs results/reference-runs --out results/reference/papers.md

Each claim is "A beats B", read off the records of the experiments `paper_2505_00105` and `paper_corect`. A difference
is the mean over queries of nDCG@10, with the 95 % interval of reports (bootstrap over the queries, 10,000 resamples,
BCa; Efron, 1987).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from harness.analysis import statistics
from harness.runs.frame import load_runs
from harness.runs.store import Store

FLOAT8 = "dtype=float8_e4m3fn scale=none scoring=raw_codes"
UINT8 = "overflow=clip rounding=floor scoring=raw_codes signed_codes=false"
WRAPPED = UINT8.replace("clip", "wrap")


@dataclass(frozen=True)
class Pair:
    """A and B as (method, parameters), in an experiment's records."""

    convention: str
    runs: str
    a: tuple[str, str]
    b: tuple[str, str]


HUERGA = "Huerga-Pérez et al., 2025 (arXiv 2505.00105)"
CORECT = "Caspari et al., 2025 (CoRECT, arXiv 2510.19340)"
THEIRS, OURS = "theirs", "ours"
ELSEWHERE = "theirs, ranges and PCA from MLQuestions"
UNCLIPPED = "theirs, from MLQuestions, codes not clipped"
PAPER, PAPER_ELSEWHERE = "paper_2505_00105", "paper_2505_00105_elsewhere"

CLAIMS: list[tuple[str, str, list[Pair]]] = [
    (
        HUERGA,
        "float8 (e4m3) is better than int8 at the same bytes",
        [
            Pair(THEIRS, PAPER, ("float8", FLOAT8), ("int8", UINT8)),
            Pair(ELSEWHERE, PAPER_ELSEWHERE, ("float8", FLOAT8), ("int8", UINT8)),
            Pair(UNCLIPPED, PAPER_ELSEWHERE, ("float8", FLOAT8), ("int8", WRAPPED)),
            Pair(OURS, PAPER, ("float8", "dtype=float8_e4m3fn scale=absmax"), ("int8", "")),
        ],
    ),
    (
        HUERGA,
        "half the dimensions by PCA and float8 (8x) are better than int8 (4x)",
        [
            Pair(THEIRS, PAPER, ("pca50_float8", "dim=192"), ("int8", UINT8)),
            Pair(ELSEWHERE, PAPER_ELSEWHERE, ("pca50_float8", "dim=192"), ("int8", UINT8)),
            Pair(UNCLIPPED, PAPER_ELSEWHERE, ("pca50_float8", "dim=192"), ("int8", WRAPPED)),
            Pair(OURS, PAPER, ("svd192_int8", "dim=192"), ("int8", "")),
        ],
    ),
    (
        HUERGA,
        "e4m3 is better than e5m2",
        [
            Pair(THEIRS, PAPER, ("float8", FLOAT8), ("float8", FLOAT8.replace("e4m3fn", "e5m2"))),
            Pair(
                OURS,
                PAPER,
                ("float8", "dtype=float8_e4m3fn scale=absmax"),
                ("float8", "dtype=float8_e5m2 scale=absmax"),
            ),
        ],
    ),
    (
        CORECT,
        "float8 is better than 8-bit bins",
        [
            Pair(THEIRS, "paper_corect", ("float8", FLOAT8), ("corect_bins", "bits=8 clip=2.5")),
            Pair(OURS, PAPER, ("float8", "dtype=float8_e4m3fn scale=absmax"), ("int8", "")),
        ],
    ),
    (
        CORECT,
        "at 2 bits, bins over a percentile range are better than over the whole range",
        [
            Pair(THEIRS, "paper_corect", ("corect_bins", "bits=2 clip=2.5"), ("corect_bins", "bits=2 clip=0")),
            Pair(OURS, "paper_corect", ("int8", "bits=2 clip=2.5"), ("int8", "bits=2 clip=0")),
        ],
    ),
    (
        CORECT,
        "bits at the median are better than bits at zero",
        [
            Pair(
                THEIRS,
                "paper_corect",
                ("binary", "scoring=symmetric threshold=median"),
                ("binary", "scoring=symmetric threshold=zero"),
            ),
            Pair(OURS, "paper_corect", ("binary", "threshold=median"), ("binary", "threshold=zero")),
        ],
    ),
    (
        CORECT,
        "8 bits by product quantisation of pairs (8x) are better than 4-bit bins (8x)",
        [
            Pair(
                THEIRS,
                "paper_corect",
                ("pq", "m=192 scoring=symmetric shared_codebook=true"),
                ("corect_bins", "bits=4 clip=2.5"),
            ),
            Pair(OURS, "paper_corect", ("pq", "m=192"), ("int8", "bits=4 clip=2.5")),
        ],
    ),
    (
        CORECT,
        "half the dimensions by PCA are better than by truncation",
        [
            Pair(THEIRS, "paper_corect", ("pca", "dim=192"), ("truncate", "dim=192")),
            Pair(OURS, "paper_corect", ("svd", "dim=192"), ("truncate", "dim=192")),
        ],
    ),
]


class Records:
    """The runs of each experiment, found by method and parameters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames: dict[str, pd.DataFrame] = {}

    def find(self, runs: str, setting: tuple[str, str]) -> tuple[pd.Series, np.ndarray]:
        if runs not in self.frames:
            frame = load_runs(self.folder / runs)
            # one folder holds runs that were fitted alike
            self.frames[runs] = frame.assign(params=frame["params"].str.replace(r"^fit_dataset=\S+ ?", "", regex=True))
        frame = self.frames[runs]
        found = frame[(frame["method"] == setting[0]) & (frame["params"] == setting[1]) & (frame["status"] == "ok")]
        if found.empty:
            raise SystemExit(f"{self.folder / runs} has no run of {setting[0]} {setting[1]}: run the experiment first")
        row = found.iloc[0]
        return row, Store(self.folder / runs).per_query(row["run_id"])["ndcg_at_10"].to_numpy()


def verdict(low: float, high: float) -> str:
    return "holds" if low > 0 else "reversed" if high < 0 else "not resolved"


def write(records: Records) -> str:
    lines = [
        "# Two published comparisons, under their conventions and under ours",
        "",
        "SciFact (300 queries, 5,183 documents), all-MiniLM-L6-v2, float32 nDCG@10 0.64508. *Theirs* is the paper's",
        "convention: queries are compressed too, and codes are compared as they are stored. *Ours* is the float query",
        "against the decoded document. The claims are a reading of the papers' tables, which are means over many",
        "collections and models; here is one of each, so what does not show here may hold elsewhere.",
        "",
    ]
    for paper in dict.fromkeys(claim[0] for claim in CLAIMS):
        lines += [f"## {paper}", ""]
        lines += ["| claim (A is better than B) | convention | A | B | A - B [95 %] | overlap@10 A, B | verdict |"]
        lines += ["| --- | --- | ---: | ---: | ---: | ---: | --- |"]
        for source, text, pairs in CLAIMS:
            if source != paper:
                continue
            for pair in pairs:
                (a, a_scores), (b, b_scores) = records.find(pair.runs, pair.a), records.find(pair.runs, pair.b)
                difference = a_scores - b_scores
                interval = statistics.mean_interval(difference[None])
                low, high = float(interval.low[0]), float(interval.high[0])
                lines.append(
                    f"| {text} | {pair.convention} | {a['ndcg_at_10']:.4f} | {b['ndcg_at_10']:.4f} "
                    f"| {difference.mean():+.4f} [{low:+.4f}, {high:+.4f}] "
                    f"| {a['overlap_at_10']:.3f}, {b['overlap_at_10']:.3f} | {verdict(low, high)} |"
                )
        lines.append("")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder with a results folder for each experiment")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    text = write(Records(options.runs))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
