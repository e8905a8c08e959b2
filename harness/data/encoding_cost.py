"""What a model takes to make vectors, measured when it does, and kept beside them.

    <cache_dir>/<key>.cost.json     of the texts whose vectors are <key>.npy, or <key>.safetensors

Vectors are made once and read by every later run; what making them took would be forgotten otherwise. A model that says
`model_bytes` (`harness.data.models.encoder.Encoder`) is timed: an API, whose time is the network's, does not.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.base.provenance import machine, versions
from harness.base.resources import peak_memory_bytes
from harness.base.sampling import sampled
from harness.base.spread import Spread
from harness.data.models.encoder import Role

log = logging.getLogger(__name__)

SAMPLE = 32
"""Texts that are timed: drawn from all, so that long and short ones come as they are mixed in the collection."""

SINGLES = 16
"""Queries that are timed one by one."""

LEAST, MOST = 3, 5
"""Repeats: a spread needs some."""

PATIENCE_S = 4.0
"""Once the repeats have taken so long there are no more of them than the least."""


def measure(encoder: Any, texts: Sequence[str], role: Role, task: str | None) -> dict[str, Any] | None:
    """Time a model on a sample of texts; it has been loaded and warmed up by what it encoded before.

    Returns
    -------
    dict or None
        As JSON: `model_bytes`; `texts`, how many were timed; `texts_per_second` and `cpu_ms_per_text` (of all threads),
        medians with the least and greatest of the repeats; of queries `single_ms` too, of texts encoded one by one;
        `peak_memory_bytes` of the process so far; and where and when: `machine`, `ran_on`, `versions`, `measured`.
        None of a model that does not say its `model_bytes`, and of no texts.
    """
    encoder = encoder.of_role(role) if hasattr(encoder, "of_role") else encoder
    size = getattr(encoder, "model_bytes", None)
    if size is None or not texts:
        return None
    sample = [texts[row] for row in sampled(len(texts), SAMPLE)]
    wall, processor = _repeated(lambda: encoder.encode(sample, role, task), LEAST, MOST)
    found: dict[str, Any] = {
        "model_bytes": int(size),
        "texts": len(sample),
        "texts_per_second": asdict(Spread.of(wall).per(len(sample))),
        "cpu_ms_per_text": asdict(Spread.of(1000 * np.array(processor)).over(len(sample))),
    }
    if role == "query":
        singles = [seconds for text in sample[:SINGLES] for seconds in _repeated(_one(encoder, text, task), 1, 1)[0]]
        found["single_ms"] = asdict(Spread.of(1000 * np.array(singles)))
    return found | {
        "peak_memory_bytes": peak_memory_bytes(),
        "machine": machine(),
        "ran_on": getattr(encoder, "ran_on", "cpu"),
        "versions": versions(),
        "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def keep(path: Path, cost: Mapping[str, Any] | None) -> None:
    """Write what was measured; of a model that was not timed there is nothing to write."""
    if cost is None:
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(cost, indent=1), encoding="utf-8")
    draft.replace(path)


def kept(path: Path) -> dict[str, Any] | None:
    """Return what was measured when the vectors were made; None where it is not there or cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read (%s): what encoding took is unknown", path, error)
        return None
    return found if isinstance(found, dict) else None


def _one(encoder: Any, text: str, task: str | None) -> Callable[[], Any]:
    return lambda: encoder.encode([text], "query", task)


def _repeated(work: Callable[[], Any], least: int, most: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each repeat: on the clock, and of the processor."""
    wall: list[float] = []
    processor: list[float] = []
    while len(wall) < least or (len(wall) < most and sum(wall) < PATIENCE_S):
        started, used = time.perf_counter(), time.process_time()
        work()
        processor.append(time.process_time() - used)
        wall.append(time.perf_counter() - started)
    return wall, processor
