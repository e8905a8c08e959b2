"""All pairs of the runs on record, fused: what each would be worth, from the rankings alone."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from harness.base.errors import ConfigError
from harness.data.datasets import Dataset
from harness.evaluation.fusion import Fusion
from harness.evaluation.reference import REFERENCE
from harness.evaluation.retrieval_metrics import Judgements
from harness.runs.hybrid import OWN, Fused, PartSpec, fused, fused_quality, hybrid_record
from harness.runs.inputs import load_dataset
from harness.runs.record import Record
from harness.runs.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of one collection's runs.

    Attributes
    ----------
    dataset : Dataset
    parts : dict of str to Record
        By run id.
    table : DataFrame
        A row each: `first second` (run ids), `rule`, `weight` (the second part's, of 1 in all), `bytes quality`.
    """

    dataset: Dataset
    parts: dict[str, Record]
    table: pd.DataFrame


def collections(store: Store) -> list[tuple[Dataset, list[Record]]]:
    """Return the judged collections of a results folder, each with the runs that can be fused.

    Raises
    ------
    DatasetError, ConfigError
        If a collection cannot be loaded, or is not what it was when it was measured.
    """
    usable: dict[str, list[Record]] = {}
    for record in store.records():
        if record.ok and not record.parts and not record.identity.fit_disjoint and not record.dataset.subset_of:
            usable.setdefault(record.identity.dataset, []).append(record)
    found = []
    for fingerprint, records in usable.items():
        if len({_model_of(record) for record in records}) < 2:
            continue
        dataset = load_dataset("dataset", OmegaConf.create(records[0].config["dataset"]))
        if dataset.fingerprint != fingerprint:
            raise ConfigError(
                f"{records[0].dataset.name} is not what it was when {records[0].method.setting} was measured: its "
                "fingerprint differs; measure it again"
            )
        if dataset.qrels is not None:
            found.append((dataset, records))
    return found


def _model_of(record: Record) -> str:
    return str(sorted(record.identity.model.items()))


def all_pairs(store: Store, dataset: Dataset, records: Sequence[Record], fusions: Sequence[Fusion]) -> Pairs:
    """Fuse every pair of runs of different models by every rule; the headline metric of each.

    Parameters
    ----------
    store : Store
    dataset : Dataset
    records : sequence of Record
        Of this collection.
    fusions : sequence of Fusion
        Of two parts, vectors first.
    """
    import pandas as pd
    from tqdm import tqdm

    judgements = Judgements.of(dataset)
    assert judgements is not None
    rankings = {record.run_id: store.ranking(record.run_id) for record in records}

    pairs = [
        _in_order(first, second)
        for first, second in itertools.combinations(records, 2)
        if _model_of(first) != _model_of(second)
    ]
    rows: list[dict[str, Any]] = []
    for pair in tqdm(pairs, desc=f"pairs of {dataset.name}", disable=None):
        size = sum(part.storage.code_bytes_per_vector for part in pair)
        own = [rankings[part.run_id] for part in pair]
        for fusion in fusions:
            rows.append(
                {
                    "first": pair[0].run_id,
                    "second": pair[1].run_id,
                    "rule": fusion.rule,
                    "weight": fusion.weights[1] / sum(fusion.weights),
                    "bytes": size,
                    "quality": float(fused_quality(own, fusion, judgements).mean()),
                }
            )
    return Pairs(dataset, {record.run_id: record for record in records}, pd.DataFrame(rows))


def _in_order(first: Record, second: Record) -> tuple[Record, Record]:
    """Return vectors before terms, so that a weight means the same in all pairs."""
    pair = sorted([first, second], key=lambda part: (part.representation == "terms", part.model.name, part.run_id))
    return pair[0], pair[1]


def frontier(pairs: Pairs) -> pd.DataFrame:
    """Return the pairs that no smaller pair or single run equals, by rising bytes."""
    single = [
        (part.storage.code_bytes_per_vector, part.metrics.get(REFERENCE.judged_metric, np.nan))
        for part in pairs.parts.values()
    ]
    kept, best = [], -np.inf
    table = pairs.table.sort_values(["bytes", "quality"], ascending=[True, False], kind="stable")
    for place, row in table.iterrows():
        alone = max((quality for size, quality in single if size <= row["bytes"]), default=-np.inf)
        if row["quality"] > max(best, alone):
            best = row["quality"]
            kept.append(place)
    return table.loc[kept].reset_index(drop=True)


def of_row(store: Store, pairs: Pairs, row: pd.Series[Any], fusion: Fusion, k: int) -> Fused:
    """Return the record of a pair, with all metrics."""
    parts = [pairs.parts[row["first"]], pairs.parts[row["second"]]]
    own = replace(fusion, rule=row["rule"], weights=(1 - row["weight"], row["weight"]))
    made = fused(hybrid_record(parts, own, k), [store.ranking(part.run_id) for part in parts], own, pairs.dataset)
    names = " ".join(part.run_id for part in parts)
    return replace(made, record=replace(made.record, command=f"vecbudget fuse  # of {names}"))


def at_half_depth(made: Fused, store: Store, pairs: Pairs) -> float:
    """Return what the headline metric would be if half as many documents of each part were fused."""
    own = _fusion_of(made.record)
    shallow = replace(own, depth=max(1, own.depth // 2))
    rankings = [store.ranking(part) for part in made.record.parts]
    again = fused(made.record, rankings, shallow, pairs.dataset)
    return again.record.metrics[REFERENCE.judged_metric]


def searched_deeper(made: Fused, store: Store, pairs: Pairs, depth: int) -> Fused:
    """Search the parts of a hybrid again, to `depth`, and fuse all of that.

    The parts are fitted, encoded and searched as their records say, and recorded in the folder `verified` beside those.
    """
    from harness.runs.run import run  # it imports the module of hybrids

    results = store.runs.parent / "verified"
    deeper, parts = Store(results), []
    for part in made.record.parts:
        of = pairs.parts[part]
        cfg = OmegaConf.create(of.config)
        cfg.results_dir, cfg.keep_index = str(results), False
        given = [text for text in shlex.split(of.command)[2:] if not text.startswith(("k=", "results_dir="))]
        # the record's method is resolved, and has no parameters of its yaml's own left
        changed = tuple(text.removeprefix("method.") for text in given if text.startswith("method."))
        deep, given = PartSpec(OWN, of.method.name, changed).config(cfg, given, depth)
        parts.append(deeper.read(run(deep, of.method.name, [*given, f"k={depth}"])))
    whole = replace(_fusion_of(made.record), depth=depth)
    rankings = [deeper.ranking(part.run_id) for part in parts]
    return fused(hybrid_record(parts, whole, made.record.identity.k), rankings, whole, pairs.dataset)


def changed_share(first: Fused, second: Fused, k: int = 10) -> float:
    """Return in what share of queries the best k documents differ, or their order."""
    return float((first.ranking[:, :k] != second.ranking[:, :k]).any(axis=1).mean())


def _fusion_of(record: Record) -> Fusion:
    fusion = record.identity.method["fusion"]
    return Fusion(fusion["rule"], tuple(fusion["weights"]), fusion["constant"], fusion["depth"])


def checked(records: Sequence[Record], depth: int) -> None:
    """Raise `ConfigError` where a run's ranking is shorter than what is to be fused."""
    for record in records:
        if record.identity.k < min(depth, record.dataset.n_docs):
            raise ConfigError(
                f"{record.method.setting} of {record.model.name} was measured to rank {record.identity.k}: fuse no "
                f"more with --depth {record.identity.k}, or measure it again with k={depth}"
            )
