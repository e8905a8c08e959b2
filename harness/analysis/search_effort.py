"""Three objectives: bytes of everything, what is found, and how fast, for each code, index structure and effort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.runs.presets import parameters_key
from harness.runs.record import Record

if TYPE_CHECKING:
    from harness.analysis.settings import Page

Records = Callable[[str], Record]

Float64 = NDArray[np.float64]

STRUCTURES = {"methods.InvertedLists": "lists", "methods.HNSW": "HNSW", "methods.Vamana": "Vamana"}
"""What tables call the index structures, by the names that records know them by."""

FLAT = "flat"

SLACK = 0.02
"""Recall that a faster search may lose and still count as good as the best."""


@dataclass(frozen=True)
class Searched:
    """One setting, searched with one effort.

    Attributes
    ----------
    setting : str
        Method and parameters.
    structure : str
        See `STRUCTURES`; `FLAT` for codes that are all looked at.
    code_bytes, structure_bytes, shared_bytes : float
        Bytes a document of this corpus: of codes; of ids, links and lengths; and of what documents share, which is
        state (centroids, codebooks) and headers.
    disk_bytes : float
        Those of the first two that may lie on disk.
    effort : str
        Parameter and value, such as "nprobe 8".
    found, found_error : float
        Mean share of the ten best documents of float32, and its standard error; NaN for none.
    of_codes : float
        Of the ten best by the same codes, searched exhaustively.
    codes_find : float
        What that exhaustive search finds of float32's.
    quality : float
        nDCG@10; NaN without judgements.
    visited, queries_per_second : float
    """

    setting: str
    structure: str
    code_bytes: float
    structure_bytes: float
    shared_bytes: float
    disk_bytes: float
    effort: str
    found: float
    found_error: float
    of_codes: float
    codes_find: float
    quality: float
    visited: float
    queries_per_second: float

    @property
    def total_bytes(self) -> float:
        """All bytes of the index on this corpus, a document."""
        return self.code_bytes + self.structure_bytes + self.shared_bytes

    @classmethod
    def of(cls, record: Record, structure: str, point: dict[str, Any], exhaustive: dict[str, Any], effort: str) -> Self:
        """Return a point of a record's curve, given that of an exhaustive search as well."""
        storage, n = record.storage, record.dataset.n_docs
        own = storage.structure_bytes_per_doc
        quality = point.get("ndcg_at_10")
        return cls(
            setting=record.method.setting,
            structure=structure,
            code_bytes=storage.code_bytes_per_vector - own,
            structure_bytes=own,
            shared_bytes=storage.index_bytes / n - storage.code_bytes_per_vector,
            disk_bytes=storage.disk_bytes_per_vector,
            effort=effort,
            found=point["recall_of_float32"],
            found_error=point["recall_of_float32_error"],
            of_codes=point["recall_of_codes"],
            codes_find=exhaustive["recall_of_float32"],
            quality=float("nan") if quality is None else quality,
            visited=point["visited"],
            queries_per_second=point["queries_per_second"],
        )


def searched(page: Page, records: Records) -> list[Searched]:
    """Return every point of a page's curves, and flat codes whose speed a structure over the same codes tells.

    One run of each setting counts: structures are told apart by much more than seeds are.
    """
    runs = page.runs[page.runs["status"] == "ok"].drop_duplicates(["method", "params"])
    known = [records(run_id) for run_id in runs["run_id"]]
    exhaustive: dict[str, dict[str, Any]] = {}
    found: list[Searched] = []
    for record in known:
        if record.efforts is None:
            continue
        structure, plain = _taken_apart(record.identity.method)
        exhaustive.setdefault(parameters_key(plain), record.efforts["exhaustive"])
        name, everything = record.efforts["effort"], record.efforts["exhaustive"]
        for point in record.efforts["points"]:
            found.append(Searched.of(record, structure, point, everything, f"{name} {point['effort']}"))
    for record in known:
        point = exhaustive.get(parameters_key(record.identity.method))
        if record.efforts is None and point is not None:
            found.append(Searched.of(record, FLAT, point, point, "all"))
    return found


def _taken_apart(method: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of the structure in a method's identity, and the identity of the method without it."""
    if method.get("_target_") in STRUCTURES:
        # residuals are other codes: no flat ones are the same
        plain = method if method.get("residual") else method["codec"]
        return STRUCTURES[method["_target_"]] + (" of residuals" if method.get("residual") else ""), plain
    for part in ("first", "codec"):
        if isinstance(method.get(part), dict):
            structure, plain = _taken_apart(method[part])
            return structure, {**method, part: plain}
    return FLAT, method


def surface(points: Sequence[Searched]) -> NDArray[np.bool_]:
    """Return which points no other beats: none other has as few bytes, finds as much and is as fast."""
    costs = np.array([[one.total_bytes, -one.found, -one.queries_per_second] for one in points]).reshape(-1, 3)
    kept = np.ones(len(points), dtype=bool)
    for place, own in enumerate(costs):
        kept[place] = not np.any(np.all(costs <= own, axis=1) & np.any(costs < own, axis=1))
    return kept


@dataclass(frozen=True)
class Choice:
    """Under so many bytes in all: what finds most, and the fastest that finds no less than `SLACK` below it."""

    budget: float
    best: Searched
    fastest: Searched


def choices(points: Sequence[Searched], budgets: Sequence[float]) -> list[Choice]:
    """Return what to take under each budget of bytes a document in all; none where nothing is so small."""
    found = []
    for budget in budgets:
        within = [one for one in points if one.total_bytes <= budget]
        if within:
            best = max(within, key=lambda one: (one.found, one.queries_per_second))
            near = [one for one in within if one.found >= best.found - SLACK]
            found.append(Choice(budget, best, max(near, key=lambda one: one.queries_per_second)))
    return found
