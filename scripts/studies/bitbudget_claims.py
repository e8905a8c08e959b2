"""Which claims of BitBudget hold under its conventions and under ours, and what its methods store.

    vecbudget sweep experiment=paper_bitbudget dataset=folder dataset.path=data/scifact dataset.name=scifact
        model=vectors model.path=data/scifact/minilm.safetensors seed=0,1,2
        results_dir=results/reference-runs/paper_bitbudget         # and so for every collection and model
    python scripts/studies/bitbudget_claims.py --runs results/reference-runs/paper_bitbudget
        --out results/reference/paper_bitbudget

A claim is "A is better than B", or "A loses no more than a share of float32's nDCG@10 against B". Differences and
intervals are those of `paper_claims`; a method that draws at random counts with the mean of its seeds.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from harness.analysis import statistics
from harness.runs.frame import load_runs
from harness.runs.shares import number_of
from harness.runs.store import Store
from scripts.studies.paper_claims import verdict

Setting = tuple[str, str]
Collection = tuple[str, str]

METRIC = "ndcg_exp_at_10"
REFERENCE: Collection = ("scifact", "minilm")
"""A collection and a model that both projects have; bytes are shown of it."""
ONE_PERCENT = 0.01

THEIRS: dict[str, tuple[Setting, str]] = {
    "float32": (("float32", ""), "4 d"),
    "float16": (("float16", ""), "2 d"),
    "int8": (("int8", "about_zero=true"), "d"),
    "int4": (("int4", "about_zero=true renormalize=false"), "d / 2"),
    "binary": (("binary_hamming", ""), "d / 8"),
    "binary-mean": (("binary", "centre=mean renormalize=false scoring=symmetric"), "d / 8"),
    "binary+rerank": (("qdrant_binary", "oversampling=10"), "d / 8"),
    "rabitq": (
        ("rabitq", "codec.centre=none codec.offset=false codec.scale=unit rotation=orthogonal"),
        "d / 8",
    ),
    "pq": (("pq", "iterations=10 m=d/8 renormalize=false"), "d / 8"),
    "matryoshka": (("truncate", "dim=d/4 normalize=false"), "d"),
    "pca": (("pca", "dim=d/4 renormalize=false"), "d"),
}
"""BitBudget's methods as settings of ours, and the bytes that it charges for d dimensions."""


def theirs(name: str, dim: str | None = None) -> Setting:
    """Return one of its methods, with another number of dimensions kept."""
    method, params = THEIRS[name][0]
    return method, params if dim is None else params.replace("dim=d/4", f"dim={dim}")


@dataclass(frozen=True)
class Pair:
    """A and B under a convention; A may lose `margin` of float32's nDCG@10."""

    convention: str
    a: Setting
    b: Setting
    margin: float = 0.0


@dataclass(frozen=True)
class Claim:
    """What is claimed, where, and the pairs that say whether it holds."""

    text: str
    source: str
    pairs: tuple[Pair, ...]


FLOAT32: Setting = ("float32", "")
AS_THERE, HERE = "theirs", "ours"
README, DOCSTRING, ASKED = "its README", "its source", "not stated in the package; asked here"

CLAIMS = (
    Claim(
        "One-bit codes with re-ranking are 32 times smaller than float32 at no measurable loss (1 %)",
        README,
        (
            Pair(AS_THERE, theirs("binary+rerank"), FLOAT32, ONE_PERCENT),
            # what d / 8 bytes hold without the floats, and with an eighth of them
            Pair(HERE, ("binary", ""), FLOAT32, ONE_PERCENT),
            Pair(HERE, ("rabitq", ""), FLOAT32, ONE_PERCENT),
            Pair(HERE, ("rescore_binary_int8", ""), FLOAT32, ONE_PERCENT),
        ),
    ),
    Claim(
        "Bits beat dimensions at every budget: coarser numbers are better than fewer float32 ones at the same bytes",
        README,
        (
            Pair(AS_THERE, theirs("float16"), theirs("pca", "d/2")),
            Pair(AS_THERE, theirs("float16"), theirs("matryoshka", "d/2")),
            Pair(AS_THERE, theirs("int8"), theirs("pca")),
            Pair(AS_THERE, theirs("int8"), theirs("matryoshka")),
            Pair(AS_THERE, theirs("int4"), theirs("pca", "d/8")),
            Pair(AS_THERE, theirs("int4"), theirs("matryoshka", "d/8")),
            Pair(AS_THERE, theirs("binary"), theirs("pca", "d/32")),
            Pair(AS_THERE, theirs("binary"), theirs("matryoshka", "d/32")),
            Pair(HERE, ("float16", ""), ("svd", "dim=d/2")),
            Pair(HERE, ("int8", ""), ("svd", "dim=d/4")),
            Pair(HERE, ("int4", ""), ("svd", "dim=d/8")),
            Pair(HERE, ("binary", ""), ("svd", "dim=d/32")),
            # fewer dimensions need not be float32
            Pair(HERE, ("int4", ""), ("svd192_int8", "dim=d/2")),
        ),
    ),
    Claim(
        "PQ and RaBitQ at d/8 bytes are better than a Matryoshka prefix at d bytes",
        README,
        (
            Pair(AS_THERE, theirs("pq"), theirs("matryoshka")),
            Pair(AS_THERE, theirs("rabitq"), theirs("matryoshka")),
            Pair(HERE, ("pq", "m=d/8"), ("truncate", "dim=d/4")),
            Pair(HERE, ("rabitq", ""), ("truncate", "dim=d/4")),
            Pair(HERE, ("rabitq", ""), ("svd", "dim=d/4")),
        ),
    ),
    Claim(
        "PQ and RaBitQ keep 96 % at d/8 bytes (mxbai, mean of four collections)",
        README,
        (
            Pair(AS_THERE, theirs("pq"), FLOAT32, 0.04),
            Pair(AS_THERE, theirs("rabitq"), FLOAT32, 0.04),
            Pair(HERE, ("pq", "m=d/8"), FLOAT32, 0.04),
            Pair(HERE, ("rabitq", ""), FLOAT32, 0.04),
        ),
    ),
    Claim(
        "float16 is essentially lossless (1 %)",
        DOCSTRING,
        (Pair(AS_THERE, theirs("float16"), FLOAT32, ONE_PERCENT),),
    ),
    Claim(
        "Signs about the mean are better than about zero where vectors are off centre, and near-identical elsewhere",
        DOCSTRING,
        (
            Pair(AS_THERE, theirs("binary-mean"), theirs("binary")),
            Pair(HERE, ("binary", "centre=mean"), ("binary", "centre=none")),
        ),
    ),
    Claim(
        "int8 is lossless (1 %)",
        ASKED,
        (Pair(AS_THERE, theirs("int8"), FLOAT32, ONE_PERCENT), Pair(HERE, ("int8", ""), FLOAT32, ONE_PERCENT)),
    ),
    Claim(
        "RaBitQ is better than signs",
        ASKED,
        (Pair(AS_THERE, theirs("rabitq"), theirs("binary")), Pair(HERE, ("rabitq", ""), ("binary", ""))),
    ),
)


class Records:
    """The records of the experiment, found by collection and model, method and parameters."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        frame = load_runs(folder)
        self.frame = frame[frame["status"] == "ok"]

    def collections(self) -> list[Collection]:
        """Return each (collection, model), the reference first and then by number of documents, most first."""
        size = self.frame.groupby(["dataset", "model"])["n_docs"].first()
        found = [
            (str(dataset), str(model)) for dataset, model in size.sort_values(ascending=False, kind="stable").index
        ]
        return sorted(found, key=lambda collection: collection != REFERENCE)

    def rows(self, collection: Collection, setting: Setting) -> pd.DataFrame:
        """Return the runs of a setting, a seed each; shares of the dimensions in its parameters become numbers.

        Raises
        ------
        SystemExit
            If there is none.
        """
        frame = self.frame[(self.frame["dataset"] == collection[0]) & (self.frame["model"] == collection[1])]
        method, params = setting[0], with_numbers(setting[1], int(frame["dim"].iloc[0]))
        found = frame[(frame["method"] == method) & (frame["params"] == params)].sort_values("seed")
        if found.empty:
            raise SystemExit(f"no run of {method} {params} on {collection}: run the experiment there first")
        return found

    def find(self, collection: Collection, setting: Setting, metric: str = METRIC) -> np.ndarray:
        """Return a metric of each query, float64 (seeds, m)."""
        ids = self.rows(collection, setting)["run_id"]
        return np.stack([self.store.per_query(run_id)[metric].to_numpy() for run_id in ids])


def with_numbers(params: str, d: int) -> str:
    """Return parameters with the numbers of their shares: "dim=d/4" is "dim=96" for 384 dimensions."""
    return re.sub(r"(\w+)=(d\S+)", lambda part: f"{part[1]}={number_of(part[2], d, part[1])}", params)


def answers(records: Records) -> Iterator[dict[str, object]]:
    """Yield, for each claim, pair and collection, what was measured."""
    collections = records.collections()
    resamples = {
        collection: statistics.Resamples(records.find(collection, FLOAT32).shape[1]) for collection in collections
    }
    for number, claim in enumerate(CLAIMS, 1):
        for pair in claim.pairs:
            for collection in collections:
                a, b = (records.find(collection, setting).mean(axis=0) for setting in (pair.a, pair.b))
                allowed = pair.margin * records.find(collection, FLOAT32).mean()
                interval = statistics.mean_interval((a - b)[None], resamples[collection])
                low, high = float(interval.low[0]), float(interval.high[0])
                answered = verdict(low + allowed, high + allowed)
                yield {
                    "claim": number,
                    "convention": pair.convention,
                    "a": " ".join(pair.a).strip(),
                    "b": " ".join(pair.b).strip(),
                    "margin": pair.margin,
                    "dataset": collection[0],
                    "model": collection[1],
                    "ndcg_a": round(float(a.mean()), 5),
                    "ndcg_b": round(float(b.mean()), 5),
                    "difference": round(float((a - b).mean()), 5),
                    "low": round(low, 5),
                    "high": round(high, 5),
                    "verdict": answered.replace("reversed", "fails") if pair.margin else answered,
                }


def charged(formula: str, d: int) -> float:
    """Return the bytes of one of BitBudget's formulas: "4 d", "d" or "d / 8"."""
    times, over = re.fullmatch(r"(?:(\d+) )?d(?: / (\d+))?", formula).groups()  # type: ignore[union-attr]
    return d * int(times or 1) / int(over or 1)


def bytes_table(records: Records, collection: Collection) -> list[str]:
    """Return what each of its methods is charged there, and what was measured here."""
    lines = [
        "| method there | setting here | charged there | measured: in memory | on disk, read for the short list "
        "| shared state, bytes | per document at 1 M | per document here | float32 / charged | float32 / measured |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, (setting, formula) in THEIRS.items():
        row = records.rows(collection, setting).iloc[0]
        d, full = int(row["dim"]), 4 * int(row["dim"])
        there = charged(formula, d)
        lines.append(
            f"| {name} | `{' '.join((setting[0], with_numbers(setting[1], d))).strip()}` | {there:g} "
            f"| {row['resident_bytes_per_vector']:g} | {row['disk_bytes_per_vector']:g} | {row['state_bytes']:,} "
            f"| {row['bytes_per_vector']:.1f} | {row['index_bytes'] / row['n_docs']:.1f} "
            f"| {full / there:.1f} | {full / row['bytes_per_vector']:.1f} |"
        )
    return lines


def page(records: Records, rows: list[dict[str, object]]) -> str:
    """Return the page."""
    collections = records.collections()
    header = [f"{dataset} · {model}" for dataset, model in collections]
    shown_of = collections[0]
    count = int(records.rows(shown_of, FLOAT32)["n_docs"].iloc[0])
    lines = [
        "# BitBudget under its conventions and under ours",
        "",
        "Moran, 2025 (arXiv 2510.04127; PyPI bitbudget 0.3.1). *Theirs*: its codes and scores, as settings of this",
        "project (the table of bytes names them; [agreement.md](agreement.md) has its own code beside them). *Ours*:",
        "this project's defaults. Its claims rest on another model (mxbai-embed-large) and on means of four",
        "collections, so what does not show here may hold there. A cell is A - B in nDCG@10 with its 95 % interval",
        "over queries; a claim with a margin allows A to lose that share of float32's. The gain is its 2^grade - 1:",
        "these judgements are all 0 or 1, where that is the linear gain. Both sides' values: [claims.csv](claims.csv).",
        "",
        f"## Bytes of a document ({shown_of[0]} · {shown_of[1]}, {count:,} documents)",
        "",
        *bytes_table(records, shown_of),
        "",
    ]
    cells = {(row["claim"], row["convention"], row["a"], row["b"], row["dataset"], row["model"]): row for row in rows}
    for number, claim in enumerate(CLAIMS, 1):
        lines += [f"## {number}. {claim.text}", "", f"Source: {claim.source}.", ""]
        lines += ["| convention | A | B | " + " | ".join(header) + " |"]
        lines += ["| --- " * 3 + "| ---: " * len(header) + "|"]
        for pair in claim.pairs:
            a, b = " ".join(pair.a).strip(), " ".join(pair.b).strip()
            shown = []
            for collection in collections:
                row = cells[number, pair.convention, a, b, *collection]
                shown.append(f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}] {row['verdict']}")
            lines.append(f"| {pair.convention} | `{a}` | `{b}` | " + " | ".join(shown) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="records of the experiment")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    options = parser.parse_args()
    records = Records(options.runs)
    rows = list(answers(records))
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "claims.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (options.out / "claims.md").write_text(page(records, rows), encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
