"""The tidy frame over all records: one row a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

from harness.evaluation import metric_registry
from harness.runs.distinct_names import IDS, identity_columns, with_distinct_names
from harness.runs.record import EMPTY, Record
from harness.runs.store import RECORD, Store, unreadable

CORPUS_SIZE = 1_000_000
"""Documents over which shared state is spread in the headline bytes per vector."""


def load_runs(
    results_dir: Path | str = "results", corpus_size: int = CORPUS_SIZE, subsets: bool = False
) -> pd.DataFrame:
    """Return one row a run.

    Parameters
    ----------
    results_dir : path
    corpus_size : int
        `bytes_per_vector` is the code bytes and a share of the state: state_bytes / corpus_size.
    subsets : bool
        Also runs on subsets of a collection (`corpus_share`), which are collections of their own to nobody but
        `harness.analysis.corpus_growth`.

    Returns
    -------
    DataFrame
        With `run_id status error model dataset method params scoring seed fit_queries dim representation
        parts n_docs n_queries`, the storage figures `code_bytes_per_vector resident_bytes_per_vector
        disk_bytes_per_vector state_bytes
        bytes_per_vector index_bytes compression_ratio`, a column for each mean metric, `retention` (nDCG@10
        over that of the float32 vectors), `vector_`, `score_` and `unseen_vector_` with each of `LIMITS` (mean squared
        errors and how far from their bounds, `harness.evaluation.rate_distortion.Distance`; those about zero, of before
        version 0.3, only where there are no others), `<stage>_seconds`, where cost was measured `COST_COLUMNS`,
        where it is known what encoding took `ENCODING_COLUMNS`, and
        what the names stand for (see `harness.runs.distinct_names`, which also marks names that stand for several
        things). What a record lacks is NaN.
    """
    import pandas as pd

    store = Store(Path(results_dir))
    records = [record for record in store.records() if subsets or not record.dataset.subset_of]
    rows = [_checked_row(store, record, corpus_size) for record in records]
    frame = pd.DataFrame(rows, columns=None if rows else list(_row(EMPTY, corpus_size)))
    frame["seed"] = frame["seed"].astype("Int64")
    about_mean = pd.Series([record.limits_about is not None for record in records], dtype=bool)
    if about_mean.any():
        # errors about zero are other figures: not beside those about the mean
        frame.loc[~about_mean, [f"{part}_{name}" for part in LIMITED for name in LIMITS]] = float("nan")
    return with_distinct_names(frame)


def _checked_row(store: Store, record: Record, corpus_size: int) -> dict[str, Any]:
    path = store.path(record.run_id) / RECORD
    try:
        row = _row(record, corpus_size)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from error
    for name, value in row.items():
        kind = str if name in TEXT_COLUMNS else int | float
        too_large = isinstance(value, int) and abs(value) >= 1 << 63
        if too_large or not isinstance(value, kind | None):
            raise unreadable(path, f"'{name}' is {json.dumps(value)[:40]}")
    return row


TEXT_COLUMNS = (
    *("run_id", "status", "error", "model", "dataset", "method", "params", "family", "scoring", "fit_queries"),
    *("representation", "parts", "subset_of"),
    *("command", "git_commit", "created", *IDS, "collection_id"),
)

TERM_BYTES = 8
"""Of a term with its weight as a model gives them: a number of 4 bytes and a float32."""

LIMITED = ("vector", "score", "unseen_vector")

LIMITS = ("power", "distortion", "bound", "db_over_bound", "excess_bits_per_dim")

STAGES = ("fit", "encode", "save", "load", "search", "evaluate")


def _row(record: Record, corpus_size: int) -> dict[str, Any]:
    method, dataset, storage = record.method, record.dataset, record.storage
    nan = float("nan")
    dim = nan if record.dim is None else record.dim
    # without a lexical model's terms a query has no numbers
    state_bytes = storage.state_bytes + storage.dictionary_bytes
    bytes_per_vector = storage.code_bytes_per_vector + state_bytes / corpus_size
    uncompressed = 4 * dim * (record.tokens_per_doc or 1)
    if record.terms_per_doc is not None:
        uncompressed = TERM_BYTES * record.terms_per_doc
    if record.parts:
        # several models' vectors and terms have no one size
        uncompressed = nan
    return {
        "run_id": record.run_id,
        "status": record.status,
        "error": record.error,
        "model": record.model.name,
        "dataset": dataset.name,
        "method": method.name,
        "params": method.params,
        "family": method.family,
        "scoring": method.scoring,
        "seed": method.seed,
        "fit_queries": record.fit_queries,
        "dim": dim,
        "representation": record.representation,
        "parts": " ".join(record.parts),
        "n_docs": dataset.n_docs,
        "subset_of": dataset.subset_of,
        "n_queries": dataset.n_queries,
        "code_bytes_per_vector": storage.code_bytes_per_vector,
        "resident_bytes_per_vector": storage.resident_bytes_per_vector,
        "disk_bytes_per_vector": storage.disk_bytes_per_vector,
        "state_bytes": state_bytes,
        "bytes_per_vector": bytes_per_vector,
        "index_bytes": storage.index_bytes,
        "token_vectors_per_doc": storage.token_vectors_per_doc or nan,
        "length_bytes_per_doc": storage.length_bytes_per_doc or nan,
        "structure_bytes_per_doc": storage.structure_bytes_per_doc or nan,
        "structure_state_bytes": storage.structure_state_bytes or nan,
        "uncompressed_bytes": uncompressed,
        "compression_ratio": uncompressed / bytes_per_vector,
        "retention": nan if record.retention is None else record.retention,
        **{name: record.metrics.get(name, nan) for name in metric_registry.names()},
        **{f"{part}_{name}": _limit(record, part, name) for part in LIMITED for name in LIMITS},
        **{f"{stage}_seconds": record.seconds.get(stage, nan) for stage in STAGES},
        "peak_memory_bytes": nan if record.peak_memory_bytes is None else record.peak_memory_bytes,
        **_cost(record.cost or {}),
        **_encoding(record),
        **{
            f"{name}_documents_{end}": (record.document_intervals or {}).get(name, {}).get(end, nan)
            for name in DOCUMENT_INTERVALS
            for end in ("low", "high")
        },
        "command": record.command,
        "git_commit": record.git_commit,
        "created": record.created,
        **identity_columns(record),
        "collection_id": record.identity.dataset,
        "points_per_centroid": nan if record.points_per_centroid is None else record.points_per_centroid,
        "points_per_parameter": nan if record.points_per_parameter is None else record.points_per_parameter,
    }


COSTS = (
    *(f"cost_{stage}_seconds" for stage in ("fit", "encode", "load", "search")),
    "docs_per_second",
    "queries_per_second",
)
"""Figures of `measure.cost=true`, each also with `_low` and `_high`, the least and greatest of its repeats."""

QUERY_MS = ("query_ms_p50", "query_ms_p95", "query_ms_p99")
"""Percentiles of single queries, likewise with `_low` and `_high`."""

PEAKS = ("fit_peak_bytes", "encode_peak_bytes", "load_peak_bytes", "search_peak_bytes")

CORPORA = {"1M": 1_000_000, "100M": 100_000_000, "10B": 10_000_000_000}
"""Documents to which `harness.evaluation.cost` extrapolates: `search_seconds_at_1M` (and `_low`, `_high`), ..."""


def _cost(cost: Mapping[str, Any]) -> dict[str, Any]:
    nan = float("nan")
    spreads = {f"cost_{stage}_seconds": spread for stage, spread in cost.get("seconds", {}).items()}
    spreads |= {name: cost.get(name, {}) for name in ("docs_per_second", "queries_per_second")}
    spreads |= {f"query_ms_{name}": spread for name, spread in cost.get("single_query_ms", {}).items()}
    columns: dict[str, Any] = {}
    for name in (*COSTS, *QUERY_MS):
        spread = spreads.get(name, {})
        for suffix, end in (("", "median"), ("_low", "low"), ("_high", "high")):
            columns[name + suffix] = spread.get(end, nan)
    columns |= {name: cost.get("memory", {}).get(name.partition("_")[0], {}).get("peak", nan) for name in PEAKS}
    sizes = cost.get("extrapolated", {}).get("sizes", {})
    for name, size in CORPORA.items():
        there = sizes.get(str(size), {})
        for stage in ("encode_seconds", "search_seconds"):
            spread = there.get(stage, there.get(f"{stage}_per_query", {}))
            for suffix, end in (("", "median"), ("_low", "low"), ("_high", "high")):
                columns[f"{stage}_at_{name}{suffix}"] = spread.get(end, nan)
        columns[f"index_bytes_at_{name}"] = there.get("index_bytes", nan)
    return columns | {"cost_disturbed": float(cost["disturbed"]) if "disturbed" in cost else nan}


COST_COLUMNS = tuple(_cost({}))
"""Every column of a measured cost; see `harness.evaluation.cost`."""

DOCUMENT_INTERVALS = ("recall_at_2", "ndcg_at_10")
"""Metrics with columns `<metric>_documents_low` and `_high`: where queries share documents, intervals over these."""

ENCODING_SPREADS = {
    "model_docs_per_second": ("document", "texts_per_second"),
    "model_queries_per_second": ("query", "texts_per_second"),
    "model_query_ms": ("query", "single_ms"),
    "model_doc_cpu_ms": ("document", "cpu_ms_per_text"),
}
"""Columns of what making the vectors took, each also with `_low` and `_high`, and where a record has them."""


def _encoding(record: Record) -> dict[str, Any]:
    """Return what making the vectors took; NaN where it was not measured.

    `model_bytes` are those of the model, or of both where documents and queries have one each; `query_model_bytes` are
    those of the queries' alone, which answering needs.
    """
    encoding, nan = record.encoding or {}, float("nan")
    sizes = {role: cost.get("model_bytes", nan) for role, cost in encoding.items()}
    # one model for both roles is shipped once
    by_model = {_model_name(record.identity.model.get(role, {})): size for role, size in sizes.items()}
    columns: dict[str, Any] = {
        "model_bytes": sum(by_model.values()) if by_model else nan,
        "query_model_bytes": sizes.get("query", nan),
    }
    for name, (role, entry) in ENCODING_SPREADS.items():
        spread = encoding.get(role, {}).get(entry, {})
        for suffix, end in (("", "median"), ("_low", "low"), ("_high", "high")):
            columns[name + suffix] = spread.get(end, nan)
    peaks = [cost["peak_memory_bytes"] for cost in encoding.values() if "peak_memory_bytes" in cost]
    return columns | {"model_peak_bytes": max(peaks, default=nan)}


def _model_name(identity: Mapping[str, Any]) -> str:
    """Return what makes an identity's model one, whatever the role: all but the prompt."""
    return json.dumps({key: value for key, value in identity.items() if key != "prompt"}, sort_keys=True, default=str)


ENCODING_COLUMNS = tuple(_encoding(EMPTY))
"""Every column of what making the vectors took; see `harness.data.encoding_cost`."""


def _limit(record: Record, part: str, name: str) -> float:
    value = (record.limits.get(part) or {}).get(name)
    return float("nan") if value is None else float(value)


NUMBER_COLUMNS = tuple(name for name in _row(EMPTY, CORPUS_SIZE) if name not in TEXT_COLUMNS)
"""The other columns of `load_runs`."""
