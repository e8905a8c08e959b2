"""Rankings of several searches made into one: by reciprocal ranks, or by weighted sums of normalised scores.

Each search contributes its best `depth` documents, as a system does that asks two indexes for a hundred documents each.
A document that a list lacks gets what the list's end says of it: nothing by ranks, the list's lowest score by sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

Rule = Literal["rrf", "minmax", "zscore", "none"]

RULES: dict[str, str] = {
    "rrf": "reciprocal ranks",
    "minmax": "weighted sum of scores, each list's scaled to 0 to 1",
    "zscore": "weighted sum of scores, each list's scaled to mean 0 and deviation 1",
    "none": "weighted sum of scores as they are",
}

QUERY_BLOCK = 256


@dataclass(frozen=True)
class Fusion:
    """How rankings are fused.

    Attributes
    ----------
    rule : {"rrf", "minmax", "zscore", "none"}
        *rrf*: sum of weight / (constant + rank), ranks from 1 (Cormack, Clarke and Büttcher, 2009). The others sum
        weight x score after a normalisation over the list of each query.
    weights : tuple of float
        Of each search, at least 0 and not all 0.
    constant : int
        Of rrf; the paper's 60.
    depth : int
        Documents of each search that take part.
    """

    rule: Rule = "minmax"
    weights: tuple[float, ...] = (0.5, 0.5)
    constant: int = 60
    depth: int = 100

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"the fusion rule must be one of {', '.join(RULES)}, got {self.rule!r}")
        sound = all(np.isfinite(weight) and weight >= 0 for weight in self.weights) and any(self.weights)
        if not sound:
            raise ConfigError(f"fusion weights must be at least 0 and not all 0, got {list(self.weights)}")
        if self.constant < 0 or self.depth < 1:
            raise ConfigError(
                f"fusion needs a constant of at least 0 and a depth of at least 1, got constant={self.constant}, "
                f"depth={self.depth}"
            )

    def fuse(self, rankings: Sequence[Int64], scores: Sequence[Float32], k: int) -> tuple[Int64, Float32]:
        """Return the best k documents of each query, and their fused scores.

        Parameters
        ----------
        rankings : sequence of int (m, depth of the list)
            Rows of documents, best first; -1 is no document.
        scores : sequence of float32 (m, depth of the list)
        k : int

        Returns
        -------
        ranking : int64 (m, k)
            -1 where fewer documents were found; among equal scores the lower row comes first.
        scores : float32 (m, k)
            -inf where there is no document.

        Raises
        ------
        ConfigError
            Unless there is a weight for each list, and all have the same queries.
        """
        if not len(rankings) == len(scores) == len(self.weights):
            raise ConfigError(f"{len(rankings)} rankings are to be fused, with {len(self.weights)} weights")
        if len({len(ranking) for ranking in rankings}) != 1:
            raise ConfigError("the rankings to be fused are of different queries")
        m = len(rankings[0])
        best_rows, best = np.full((m, k), -1, dtype=np.int64), np.full((m, k), -np.inf, dtype=np.float32)
        cut = [
            (np.asarray(rows[:, : self.depth], np.int64), np.asarray(values[:, : self.depth], np.float64))
            for rows, values in zip(rankings, scores, strict=True)
        ]
        for start in range(0, m, QUERY_BLOCK):
            part = slice(start, min(m, start + QUERY_BLOCK))
            rows, values = self._block([(ranked[part], scored[part]) for ranked, scored in cut], k)
            best_rows[part, : rows.shape[1]], best[part, : rows.shape[1]] = rows, values
        return best_rows, best

    def _block(self, lists: Sequence[tuple[Int64, Float64]], k: int) -> tuple[Int64, Float32]:
        """Fuse the lists of a block of queries."""
        points, absent = zip(*(self._points(rows, scores) for rows, scores in lists), strict=True)
        m = len(lists[0][0])
        rows = np.concatenate([ranked for ranked, _ in lists], axis=1)
        # what a document gains by being in a list, over not being in it; in the order of the lists, so that sums are
        # those of any block
        gained = np.concatenate(
            [
                weight * np.where(ranked >= 0, own - nothing[:, None], 0.0)
                for weight, (ranked, _), own, nothing in zip(self.weights, lists, points, absent, strict=True)
            ],
            axis=1,
        )
        order = np.argsort(rows, axis=1, kind="stable")
        rows, gained = np.take_along_axis(rows, order, axis=1), np.take_along_axis(gained, order, axis=1)
        first = np.ones(rows.shape, dtype=bool)
        first[:, 1:] = rows[:, 1:] != rows[:, :-1]
        group = np.cumsum(first.ravel()) - 1
        total = np.bincount(group, weights=gained.ravel())[group].reshape(rows.shape)
        base = sum(weight * nothing for weight, nothing in zip(self.weights, absent, strict=True))
        fused = np.where(first & (rows >= 0), (total + np.asarray(base)[:, None]), -np.inf).astype(np.float32)
        # rows ascend, and a stable sort keeps the lower of equals first
        best = np.argsort(-fused, axis=1, kind="stable")[:, :k]
        values = np.take_along_axis(fused, best, axis=1)
        found = np.where(np.isfinite(values), np.take_along_axis(rows, best, axis=1), -1)
        assert len(found) == m
        return found, values

    def _points(self, rows: Int64, scores: Float64) -> tuple[Float64, Float64]:
        """Return what each place of a list is worth, (q, depth), and what a document outside it is, (q,)."""
        real = rows >= 0
        if self.rule == "rrf":
            ranks = np.arange(1, rows.shape[1] + 1)
            return np.broadcast_to(1.0 / (self.constant + ranks), rows.shape), np.zeros(len(rows))
        scores = np.where(real, scores, np.nan)
        some: NDArray[np.bool_] = np.asarray(real.any(axis=1))
        lowest = np.where(some, np.nanmin(np.where(some[:, None], scores, 0.0), axis=1), 0.0)
        if self.rule == "none":
            return np.nan_to_num(scores), lowest
        if self.rule == "minmax":
            highest = np.where(some, np.nanmax(np.where(some[:, None], scores, 0.0), axis=1), 0.0)
            width = highest - lowest
            # a list of one score says nothing of the order within it, and everything of what it lacks
            scaled = np.where(
                width[:, None] > 0, (scores - lowest[:, None]) / np.where(width > 0, width, 1)[:, None], 1
            )
            return np.nan_to_num(scaled), np.zeros(len(rows))
        mean = np.where(some, np.nanmean(np.where(some[:, None], scores, 0.0), axis=1), 0.0)
        deviation = np.where(some, np.nanstd(np.where(some[:, None], scores, 0.0), axis=1), 0.0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        return np.nan_to_num((scores - mean[:, None]) / deviation[:, None]), (lowest - mean) / deviation
