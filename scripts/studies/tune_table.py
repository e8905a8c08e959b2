"""`vecbudget tune` beside what one would take without it, on the test queries: a row a collection, model and budget.

    python scripts/studies/tune_table.py --minutes 15 --runs RUNS --out results/reference/tune \
        "dataset=folder dataset.path=DIR model=minilm" "dataset=folder dataset.path=DIR model=vectors model.path=FILE"

Each argument is a collection and a model, as for a run. Three settings are measured on the test queries, once each:

- what `tune` chooses in that time, or (`--trials 60`) after so many settings;
- the best of `experiment=full` within the budget, chosen by the same queries, which are no test queries;
- `transform_coding` as it is, filled to the budget.

A row that is in the table already is left alone, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from harness.analysis.budgets import within
from harness.analysis.statistics import compare
from harness.base.errors import VecbudgetError
from harness.base.files import whole
from harness.report import markdown
from harness.runs.catalogue import members
from harness.runs.config import MethodSpec
from harness.runs.inputs import load_dataset, load_vectors, model_of
from harness.runs.run import run
from harness.runs.shares import with_numbers
from harness.runs.store import Store
from harness.tuning.dataset_search import USUAL, Search, tuned
from harness.tuning.objective import Objective, measured
from harness.tuning.result import Tested
from harness.tuning.study import Limits
from methods.base import MethodError

METRICS = ("overlap_at_10", "ndcg_at_10")
RIVALS = ("full", "usual")
SECOND_TIER = "two tiers"
HEADER = [
    "collection",
    "model",
    "bytes",
    "tune chose",
    "tune",
    "full chose",
    "full",
    "less full",
    "usual",
    "less usual",
]
RIGHT = {2, 4, 6, 8}


def settings_of(experiment: str) -> Iterator[list[str]]:
    """Yield the overrides of each run of an experiment's list."""
    node = OmegaConf.create(members("experiment")[experiment].read_text(encoding="utf-8"))
    parser = OverridesParser.create()
    for entry in node.hydra.sweeper.runs:
        yield from BasicSweeper.split_arguments(parser.parse_overrides(entry.split()), None)[0]


class Listed:
    """The settings of `experiment=full` for one collection and model, each measured once by the queries of `tune`.

    Parameters
    ----------
    cell : sequence of str
        Overrides.
    most : int
        The largest budget: what takes more is not searched.
    kept : Path
        A file for what was measured.
    """

    def __init__(self, cell: Sequence[str], most: int, kept: Path) -> None:
        self.cell, self.most, self.kept = cell, most, kept
        self.found: dict[str, dict[str, Any]] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
        cfg = composed(cell)
        dataset, encoder = load_dataset("dataset", cfg.dataset), model_of(cfg)
        vectors = load_vectors(dataset, encoder, cfg.cache_dir)
        self.objective = Objective.of(dataset, encoder, vectors, "auto", cfg.seed)

    def configuration(self, job: Sequence[str]) -> DictConfig:
        """Return a setting of the list for vectors of this width."""
        cfg, _ = with_numbers(composed([*self.cell, *job]), list(job), lambda: self.objective.width, scaled=True)
        return cfg

    def measure(self) -> None:
        """Measure what is not measured yet."""
        for job in tqdm(list(settings_of("full")), unit=" settings", disable=None, leave=False):
            name = " ".join(job)
            if name in self.found:
                continue
            try:
                cfg = self.configuration(job)
                if cfg.method.get("about", {}).get("family") == SECOND_TIER:
                    continue
                outcome = measured(MethodSpec(cfg.method).make, self.objective.whole, self.most)
                seen = {
                    "bytes": outcome.code_bytes,
                    "state": outcome.state_bytes,
                    "overlaps": outcome.overlaps.tolist(),
                }
            except (MethodError, VecbudgetError) as error:
                seen = {"why": str(error)}
            self.found[name] = seen
            with whole(self.kept) as path:
                path.write_text(json.dumps(self.found), encoding="utf-8")

    def best(self, limits: Limits) -> list[str]:
        """Return the overrides of the setting within a budget that finds most."""

        def fits(seen: dict[str, Any]) -> bool:
            size = seen["bytes"]
            return bool(within(size + seen["state"] / limits.corpus_size, size, limits.max_bytes))

        good = {name: seen for name, seen in self.found.items() if seen.get("overlaps") and fits(seen)}
        return max(good, key=lambda name: (float(np.mean(good[name]["overlaps"])), -good[name]["bytes"])).split()


def composed(overrides: Sequence[str]) -> DictConfig:
    """Compose a configuration."""
    with initialize_config_module("configs", version_base="1.3"):
        return compose("config", overrides=list(overrides))


def tested(listed: Listed, job: list[str]) -> Tested:
    """Measure a setting of the list on the test queries."""
    cfg = listed.configuration(job)
    run_id = run(cfg, job[0].partition("=")[2], job)
    per_query = Store(Path(cfg.results_dir)).per_query(run_id)
    return Tested(run_id, {name: per_query[name].to_numpy(dtype=float) for name in METRICS})


def row_of(cell: Sequence[str], search: Search, listed: Listed) -> dict[str, Any]:
    """Search, and compare what was found with the two others."""
    found = tuned(search, cell)
    assert found is not None
    nbytes = search.limits.max_bytes
    best, usual = found.result.best, found.result.usual
    assert usual is not None
    own = found.result.tested[best.number]
    job = listed.best(search.limits)
    rivals = {"full": tested(listed, job), "usual": found.result.tested[usual.number]}
    row: dict[str, Any] = {
        "dataset": found.dataset,
        "model": found.model,
        "budget": nbytes,
        "looked_at": found.looked_at,
        "settings": len(found.result.trials),
        "tune": best.candidate.name,
        "tune_bytes": best.nbytes,
        "full": " ".join(job),
        "full_bytes": listed.found[" ".join(job)]["bytes"],
        "optimism": found.result.optimism,
    }
    for metric in METRICS:
        row[f"{metric}_tune"] = own.metrics[metric].mean()
        for rival in RIVALS:
            other = rivals[rival].metrics[metric]
            difference = compare(own.metrics[metric][None], other).difference
            row[f"{metric}_{rival}"] = other.mean()
            row[f"{metric}_over_{rival}"] = difference.estimate[0]
            row[f"{metric}_over_{rival}_low"] = difference.low[0]
            row[f"{metric}_over_{rival}_high"] = difference.high[0]
    return row


def page(table: pd.DataFrame, stop: str) -> str:
    """Return the table as Markdown, with what it comes to."""
    lines = [
        "# What a search is worth",
        "",
        f"`scripts/studies/tune_table.py {stop}`: test queries, means and 95 % intervals of",
        f"differences; `usual` is `{USUAL}` filled to the budget.",
        "`full` is the best of `experiment=full` within the budget, chosen by the queries that `tune` looks at.",
        "",
    ]
    for metric, label in zip(METRICS, ("overlap@10", "nDCG@10"), strict=True):
        lines += [
            f"## {label}",
            "",
            markdown.table(HEADER, [_cells(row, metric) for row in table.to_dict("records")], RIGHT),
        ]
        lines.append("")
        for rival in RIVALS:
            over, low, high = (table[f"{metric}_over_{rival}{end}"] for end in ("", "_low", "_high"))
            lines.append(
                f"Against {rival}: mean {over.mean():+.4f}; better beyond the interval in {int((low > 0).sum())}, "
                f"worse in {int((high < 0).sum())}, of {len(table)}."
            )
        lines.append("")
    return "\n".join(lines)


def _cells(row: dict[Any, Any], metric: str) -> list[str]:
    differences = [
        f"{row[f'{metric}_over_{rival}']:+.3f} ({row[f'{metric}_over_{rival}_low']:+.3f} to "
        f"{row[f'{metric}_over_{rival}_high']:+.3f})"
        for rival in RIVALS
    ]
    listed = row["full"].replace("method=", "").replace("method.", "")
    tune, full, usual = (f"{row[f'{metric}_{name}']:.3f}" for name in ("tune", *RIVALS))
    chosen = (markdown.cell(row["tune"]), tune, markdown.cell(listed), full, differences[0], usual, differences[1])
    return [row["dataset"], row["model"], str(row["budget"]), *chosen]


def main() -> None:
    """Fill the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="+", help="overrides of a collection and a model, in quotes")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--budgets", default="24,48,96")
    parser.add_argument("--corpus-size", type=float, default=10e6, help="over which what is learned is spread (10e6)")
    parser.add_argument("--runs", type=Path, required=True, help="results folder of searches and runs")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    budgets = [int(text) for text in given.budgets.split(",")]
    options = {"--minutes": given.minutes, "--trials": given.trials}
    stop = " ".join(f"{name} {value:g}" for name, value in options.items() if value is not None)
    given.out.mkdir(parents=True, exist_ok=True)
    given.runs.mkdir(parents=True, exist_ok=True)
    path = given.out / "tune.csv"
    rows: list[dict[Any, Any]] = pd.read_csv(path).to_dict("records") if path.exists() else []
    for text in given.cells:
        cell = [*text.split(), f"results_dir={given.runs}"]
        cfg = composed(cell)
        names = load_dataset("dataset", cfg.dataset).name, model_of(cfg).name
        due = [
            size for size in budgets if (*names, size) not in {(r["dataset"], r["model"], r["budget"]) for r in rows}
        ]
        if not due:
            continue
        listed = Listed(cell, max(budgets), given.runs / f"full--{'--'.join(names)}.json".replace("/", "-"))
        listed.measure()
        for nbytes in due:
            search = Search(
                limits=Limits(nbytes, corpus_size=given.corpus_size), minutes=given.minutes, trials=given.trials
            )
            rows.append(row_of(cell, search, listed))
            table = pd.DataFrame(rows)
            with whole(path) as csv:
                table.to_csv(csv, index=False)
            with whole(given.out / "README.md") as readme:
                readme.write_text(page(table, stop), encoding="utf-8")


if __name__ == "__main__":
    main()
