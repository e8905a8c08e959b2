"""What `vecbudget fuse` prints: the pairs of runs that are worth their bytes."""

from __future__ import annotations

from collections.abc import Sequence

from harness.base import formatting
from harness.base.errors import ConfigError
from harness.evaluation.fusion import RULES, Fusion
from harness.evaluation.metric_registry import metric
from harness.evaluation.reference import REFERENCE
from harness.report.table import Table, numbers, words
from harness.runs.fuse import (
    Pairs,
    all_pairs,
    at_half_depth,
    changed_share,
    checked,
    collections,
    frontier,
    of_row,
    searched_deeper,
)
from harness.runs.hybrid import commit, shares
from harness.runs.record import Record
from harness.runs.store import Store


def fuse_markdown(
    store: Store,
    rules: Sequence[str],
    weights: Sequence[float],
    depth: int,
    write: bool,
    verify: int | None = None,
) -> str:
    """Fuse all pairs on record and return, for each collection, those that no smaller pair or single run equals.

    Parameters
    ----------
    store : Store
    rules : sequence of str
        Names of `harness.evaluation.fusion.RULES`.
    weights : sequence of float
        Of the second part, between 0 and 1; the first has the rest.
    depth : int
        Documents of each part that are fused.
    write : bool
        Whether they become records, beside their parts.
    verify : int or None
        Search the parts of those that are returned again, to this depth, and say what fusing all of it changes.

    Raises
    ------
    ConfigError
        For a rule or a weight that makes no sense, rankings that are shorter than `depth`, or a `verify` that is.
    """
    fusions = [Fusion(rule, (1 - weight, weight), depth=depth) for rule in rules for weight in weights]  # type: ignore[arg-type]
    if verify is not None and verify <= depth:
        raise ConfigError(f"--verify must be deeper than what is fused (--depth {depth}), got {verify}")
    blocks = []
    for dataset, records in collections(store):
        checked(records, depth)
        pairs = all_pairs(store, dataset, records, fusions)
        blocks.append(_collection(store, pairs, fusions[0], write, verify))
    if not blocks:
        return "Nothing to fuse: no judged collection has runs of two models.\n"
    label = metric(REFERENCE.judged_metric).label
    named, half = ", ".join(RULES[rule] for rule in rules), max(1, depth // 2)
    notes = [
        f"Every pair of runs of different models, fused by {named}, with weights "
        f"{', '.join(f'{weight:g}' for weight in weights)} for the second part; of them those that no smaller pair and "
        f"no smaller single run equals in {label}. They were chosen on these queries. *Half as deep*: what {label} "
        f"would be if {half} documents of each part were fused and not {depth}; the smaller the difference, the less a "
        "deeper list could bring.",
        *_of_verification(verify, label),
        "They are on record now, beside their parts." if write else "`--write` puts them on record, for reports.",
    ]
    return "\n\n".join([*blocks, *notes]) + "\n"


def _of_verification(verify: int | None, label: str) -> list[str]:
    if verify is None:
        return []
    return [
        f"*{verify} deep*: what {label} becomes if both indexes are searched for {verify} documents of each query and "
        "all of them are fused; a real search, by the settings on record."
    ]


def _collection(store: Store, pairs: Pairs, fusion: Fusion, write: bool, verify: int | None) -> str:
    best = frontier(pairs)
    rows = []
    for _, row in best.iterrows():
        k = min(pairs.parts[row[name]].identity.k for name in ("first", "second"))
        made = of_row(store, pairs, row, fusion, k)
        deeper = None
        if verify is not None:
            again = searched_deeper(made, store, pairs, verify)
            change = again.record.metrics[REFERENCE.judged_metric] - row["quality"]
            deeper = (change, 100 * changed_share(made, again))
        rows.append((row, made.record, at_half_depth(made, store, pairs), deeper))
        if write and not store.has(made.record.run_id):
            commit(store, made, pairs.dataset)

    def setting(of: Record) -> str:
        return f"{of.model.name} {of.method.setting}"

    label = metric(REFERENCE.judged_metric).label
    columns = [
        numbers("bytes/document", lambda row: row[0]["bytes"], 1),
        words("first part", lambda row: setting(pairs.parts[row[0]["first"]])),
        words("second part", lambda row: setting(pairs.parts[row[0]["second"]])),
        numbers("its bytes, %", lambda row: 100 * shares([pairs.parts[run] for run in row[1].parts])[1], 0),
        words("rule", lambda row: row[0]["rule"]),
        numbers("its weight", lambda row: row[0]["weight"], 2),
        numbers(label, lambda row: row[0]["quality"], 4),
        numbers("half as deep", lambda row: row[2] - row[0]["quality"], lambda value: f"{value:+.4f}"),
    ]
    if verify is not None:
        columns.append(numbers(f"{verify} deep", lambda row: row[3][0], lambda value: f"{value:+.4f}"))
        columns.append(numbers("top 10 changed, % of queries", lambda row: row[3][1], 1))
    single = max(
        pairs.parts.values(), key=lambda of: of.metrics.get(REFERENCE.judged_metric, float("-inf")), default=None
    )
    head = f"## {pairs.dataset.name}: {len(pairs.table):,} pairs"
    alone = ""
    if single is not None:
        size = formatting.size(single.storage.code_bytes_per_vector)
        alone = f"Best alone: {setting(single)}, {size} B, {label} {single.metrics[REFERENCE.judged_metric]:.4f}."
    return "\n\n".join([head, Table(columns, rows).markdown(), alone])
