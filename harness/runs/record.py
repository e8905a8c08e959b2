"""What a record says of a run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from harness.data.datasets import Dataset
from harness.evaluation import spectrum_record
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    from harness.evaluation.measure import Measurement, Problem
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def _describe(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "revision": dataset.revision,
        "fingerprint": dataset.fingerprint,
        "n_docs": len(dataset.doc_ids),
        "n_queries": len(dataset.query_ids),
        "has_qrels": dataset.qrels is not None,
    }


def _results(measurement: Measurement, problem: Problem) -> dict[str, Any]:
    """Return the part of the record that the measurement fills."""
    means = {name: float(values.mean()) for name, values in measurement.per_query.items()}
    reference = problem.exact_metrics.get(REFERENCE.judged_metric)
    storage = measurement.storage
    return {
        "dim": int(problem.docs.shape[1]),
        "metrics": means,
        "float32": problem.exact_metrics,
        "retention": means[REFERENCE.judged_metric] / reference if reference else None,
        "storage": {
            "code_bytes_per_vector": storage.code_bytes_per_vector,
            "resident_bytes_per_vector": storage.resident_bytes_per_vector,
            "disk_bytes_per_vector": storage.disk_bytes_per_vector,
            "codes_file_bytes": storage.codes_file_bytes,
            "codes_header_bytes": storage.codes_header_bytes,
            "state_bytes": storage.state_file_bytes,
            "index_bytes": storage.index_bytes,
        },
        "limits": measurement.limits,
        "spectrum": spectrum_record.as_record(problem.limits.vector_spectrum, measurement.bits_per_axis),
        "training": measurement.training,
        "seconds": {stage: round(value, 6) for stage, value in measurement.seconds.items()},
        "peak_memory_bytes": measurement.peak_memory_bytes,
    }


def _scoring(settings: Any) -> str:
    """Return the scoring convention that a method's settings add up to."""
    own = settings.get("scoring", "asymmetric")
    inner = settings.get("codec")
    return _scoring(inner) if own == "asymmetric" and isinstance(inner, dict) else str(own)


def _params(overrides: list[str]) -> str:
    """Return what distinguishes this configuration from the method's yaml, such as "bits=4"."""
    changed = (text.lstrip("+~").removeprefix("method.") for text in overrides if "method." in text.partition("=")[0])
    # a sweep writes Python's True where a person writes true
    return " ".join(sorted(re.sub(r"=(True|False)$", lambda found: found[0].lower(), text) for text in changed))


def _summary(record: dict[str, Any]) -> str:
    metrics, storage = record["metrics"], record["storage"]
    quality = f"overlap@10 {metrics['overlap_at_10']:.3f}"
    if REFERENCE.judged_metric in metrics:
        kept = f" ({record['retention']:.1%} of float32)" if record["retention"] is not None else ""
        quality = f"nDCG@10 {metrics['ndcg_at_10']:.5f}{kept}, {quality}"
    return f"{storage['code_bytes_per_vector']:7.1f} B/vector  {quality}  {sum(record['seconds'].values()):.2f} s"


_EMPTY: dict[str, Any] = {
    "run_id": "",
    "status": "",
    "model": {"name": ""},
    "dataset": {"name": "", "n_docs": 0, "n_queries": 0},
    "method": {"name": "", "params": "", "scoring": "", "family": "", "seed": None},
}
