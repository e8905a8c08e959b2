"""Settings: the runs of one configuration with its seeds averaged, and the pages they are compared on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import StoreError
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

import hashlib
import re
from typing import TYPE_CHECKING

from harness.analysis import pareto
from harness.evaluation import metric_registry
from harness.runs.frame import COST_COLUMNS, DOCUMENT_INTERVALS, ENCODING_COLUMNS, LIMITS

if TYPE_CHECKING:
    import pandas as pd


Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of a page's settings, query by query, means over seeds.

    Attributes
    ----------
    values : mapping of metric to float64 (settings, m)
        A row of NaN where a run's queries are not those of the others, or not on record.
    reference : int or None
        The row of float32.
    """

    values: dict[str, Float64]
    reference: int | None

    def known(self, metric: str) -> NDArray[np.int64]:
        """Return the rows that have scores."""
        values = self.values[metric]
        return np.flatnonzero(np.isfinite(values).all(axis=1)) if values.shape[1] else np.empty(0, dtype=np.int64)


SHARES = (0.99, 0.95, 0.90)

SIZES = ["dim", "n_docs", "n_queries"]

COLLECTION = ["dataset", "model", *SIZES]

SETTING = ["method", "params", "scoring"]

MEASURES = [
    "bytes_per_vector",
    "code_bytes_per_vector",
    "state_bytes",
    "index_bytes",
    "compression_ratio",
    REFERENCE.judged_metric,
    "ndcg_at_10_ties",
    "retention",
    REFERENCE.unjudged_metric,
    "overlap_at_100",
    "recall_at_100",
    "mrr_at_10",
    "map_at_100",
    "fit_seconds",
    "encode_seconds",
    "search_seconds",
]


OF_TOKENS = ("token_vectors_per_doc", "length_bytes_per_doc", "uncompressed_bytes")
"""Columns of settings that there are where a document has a vector for each token."""


def optional_measures() -> list[str]:
    """Return the columns of settings that only some records have."""
    return [
        "resident_bytes_per_vector",
        "disk_bytes_per_vector",
        *(entry.name for entry in metric_registry.REGISTRY if entry.listed and entry.name not in MEASURES),
        *(f"{part}_{name}" for part in ("vector", "score") for name in LIMITS),
        *COST_COLUMNS,
        *ENCODING_COLUMNS,
        *(f"{name}_documents_{end}" for name in DOCUMENT_INTERVALS for end in ("low", "high")),
        "recall_at_2",
        "points_per_centroid",
        "points_per_parameter",
    ]


COLUMNS = ["run_id", "status", "error", *COLLECTION, *SETTING, "seed", *MEASURES, "git_commit", "created"]

ELSEWHERE = ("fit_dataset=", "fit_sample=", "fit_disjoint=")
"""What parameters begin with that say which documents a method was fitted on."""

SCORINGS = {
    "symmetric": "symmetric: the query was quantised too",
    "raw_codes": "raw codes: cosine between the integer codes, never mapped back",
}


@dataclass(frozen=True)
class Page:
    """What was measured with one model on one collection.

    Attributes
    ----------
    stem : str
        Name of the page's files without the suffix.
    title : str
    runs : DataFrame
        The single runs, failed ones included.
    settings : DataFrame
        One row a configuration, as `configurations` makes them; may be empty.
    scores : Scores or None
        The queries' scores of the settings, where the records were at hand.
    """

    stem: str
    title: str
    runs: pd.DataFrame
    settings: pd.DataFrame
    scores: Scores | None = None

    @cached_property
    def quality(self) -> str:
        """The column of the quality."""
        return pareto.quality_column(self.settings)

    @cached_property
    def float32_bytes(self) -> float:
        """Bytes of a document as the model gives it; of several models' parts, those of the largest setting."""
        first = self.settings.iloc[0]
        vectors = 4 * float(first["dim"])
        known = float(first["compression_ratio"] * first["bytes_per_vector"])
        if not np.isfinite(known):
            return float(self.settings["bytes_per_vector"].max())
        return vectors if np.isclose(known, vectors) else known

    @cached_property
    def judged(self) -> bool:
        """Whether the quality is measured against relevance judgements."""
        return self.quality == REFERENCE.judged_metric

    @property
    def quality_label(self) -> str:
        """What tables call the quality."""
        return REFERENCE.quality_label(self.judged)

    @property
    def failed(self) -> pd.DataFrame:
        """The failed runs."""
        return self.runs[self.runs["status"] == "failed"]

    @property
    def skipped(self) -> pd.DataFrame:
        """The settings of an experiment that these vectors cannot carry."""
        return self.runs[self.runs["status"] == "skipped"]

    @cached_property
    def float32_score(self) -> float:
        """float32's quality, NaN if it was not measured and nothing compares itself with it."""
        if not self.judged:
            return 1.0
        plain = self.settings[REFERENCE.marks(self.settings["method"])]
        if len(plain):
            return float(plain[self.quality].iloc[0])
        return float((self.settings[self.quality] / self.settings["retention"]).median())

    @property
    def size(self) -> str:
        """The collection in words."""
        return _size(self.settings) if len(self.settings) else "no successful run"


def check(frame: pd.DataFrame) -> None:
    """Refuse a frame that no report can be made of.

    Raises
    ------
    StoreError
        If there is no run, or a column is missing.
    """
    if frame.empty:
        raise StoreError("there are no runs to report: measure something first, e.g. 'vecbudget run method=int8'")
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise StoreError(f"the runs lack {', '.join(missing)}: they come from another version, measure them again")


def configurations(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each configuration that succeeded, its seeds averaged, smallest first.

    Columns: those that tell configurations apart; `family`; `runs`, how many were averaged, and their `run_ids`; each
    measure's mean, and its standard deviation as `<measure>_sd` (NaN of a single run); `on_frontier` within the
    collection and model.
    """
    import pandas as pd

    keys = [*COLLECTION, *SETTING]
    good = frame.assign(family=families(frame))[frame["status"] == "ok"]
    groups = good.groupby(keys, dropna=False, sort=True)
    present = [*MEASURES, *(name for name in optional_measures() if name in good)]
    present += [name for name in OF_TOKENS if name in good and good[name].notna().any()]
    numbers = good[present].apply(pd.to_numeric, errors="coerce")
    measures = numbers.groupby([good[key] for key in keys], dropna=False, sort=True)
    columns = [
        groups["family"].first(),
        groups.size().rename("runs"),
        measures.mean(),
        measures.std().add_suffix("_sd"),
        groups["run_id"].agg(lambda ids: " ".join(sorted(ids))).rename("run_ids"),
    ]
    table = pd.concat(columns, axis="columns").reset_index()
    table["on_frontier"] = False
    for _, rows in table.groupby(COLLECTION, dropna=False):
        quality = rows[pareto.quality_column(rows)]
        table.loc[rows.index, "on_frontier"] = pareto.frontier(rows[pareto.COST], quality)
    ordered: pd.DataFrame = table.sort_values([*COLLECTION, pareto.COST, *SETTING], kind="stable", ignore_index=True)
    return ordered


def families(frame: pd.DataFrame) -> list[str]:
    """Return each row's family of methods, by which plots are coloured.

    It is in the column `family`; where that is missing or empty, it is the letters that the method's name begins with
    ("int4_absmax" is an "int").
    """
    known = frame["family"] if "family" in frame.columns else [None] * len(frame)
    found = []
    for name, method in zip(known, frame["method"], strict=True):
        letters = re.match(r"[^\W\d_]+", method)
        found.append(name if isinstance(name, str) and name else letters.group() if letters else method)
    return found


def pages(frame: pd.DataFrame) -> list[Page]:
    """Split runs into pages, sorted by dataset and model.

    A dataset and model whose number of documents, queries or dimensions varies gets a page for each: such
    scores are not comparable. A failed run is on every page of its dataset and model.
    """
    settings = configurations(frame)
    found: list[Page] = []
    taken: set[str] = set()
    for (dataset, model), runs in frame.groupby(["dataset", "model"], sort=True):
        same = settings[(settings["dataset"] == dataset) & (settings["model"] == model)]
        parts = [part for _, part in same.groupby(COLLECTION, dropna=False, sort=True)] or [same]
        for part in parts:
            title, members = f"{dataset} · {model}", runs
            if len(parts) > 1:
                title += f" ({_size(part)})"
                alike = (runs[SIZES] == part[SIZES].iloc[0]).all(axis="columns")
                members = runs[alike | (runs["status"] != "ok")]
            stem = file_stem(title, taken)
            found.append(Page(stem=stem, title=title, runs=members, settings=part.reset_index(drop=True)))
    return found


def file_stem(title: str, taken: set[str]) -> str:
    """Return a file name for a title, safe on any system, and note it in `taken` so that no other gets it."""
    plain = re.sub(r"[^\w.-]+", "_", title.replace(" · ", "--"), flags=re.ASCII).strip("._")
    if len(plain) > 100 or not plain or plain.lower() in taken:
        plain = f"{plain[:80]}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"
    taken.add(plain.lower())
    return plain


def _size(settings: pd.DataFrame) -> str:
    row = settings.iloc[0]
    return f"{row['n_docs']:,.0f} documents, {row['n_queries']:,.0f} queries, {row['dim']:.0f} dimensions"


def setting_name(row: pd.Series[Any] | Mapping[Any, Any]) -> str:
    """Return what a configuration is called: method and parameters, and its scoring if unusual."""
    name = f"{row['method']} {row['params']}".strip()
    if row["scoring"] in SCORINGS and "scoring=" not in row["params"]:
        name += f" ({row['scoring']})"
    return name


def fitted_elsewhere(settings: pd.DataFrame) -> dict[int, list[int]]:
    """Return by place those settings that differ in nothing but the documents that they were fitted on."""
    parts = [params.split() for params in settings["params"]]
    plain = [" ".join(part for part in found if not part.startswith(ELSEWHERE)) for found in parts]
    keys = list(zip(settings["method"], plain, settings["scoring"], strict=True))
    usual = {key: place for place, key in enumerate(keys) if settings["params"].iloc[place] == key[1]}
    found: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        if settings["params"].iloc[place] != key[1] and key in usual:
            found.setdefault(usual[key], []).append(place)
    return found


def spread_over(settings: pd.DataFrame) -> str:
    """Return in words what shared state is spread over in the headline bytes per vector."""
    # Read off the rows: whatever corpus size the records were made with, the sentence is true of them.
    extra = settings[pareto.COST] - settings["code_bytes_per_vector"]
    sizes = (settings["state_bytes"] / extra)[(settings["state_bytes"] > 0) & (extra > 0)]
    if sizes.empty:
        return "spread over the documents"
    return f"spread over {float(f'{sizes.median():.3g}'):,.0f} documents"
