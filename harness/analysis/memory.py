"""What a method knows by heart: figures seen on the documents that it was fitted on, and what to go by instead.

Codebooks of few documents a centroid, and networks of few numbers a parameter, remember the documents that they were
fitted on: what they keep of these is not what they will keep of others. Where the same setting was also measured on
documents that it was not fitted on (`fit_sample=N`, best with `fit_disjoint=true`), that figure counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.settings import ELSEWHERE
from harness.analysis.significance import PerQuery
from harness.evaluation.reference import REFERENCE
from harness.runs.record import LEAST_POINTS, LEAST_VALUES

if TYPE_CHECKING:
    import pandas as pd

LEAST = {"points_per_centroid": LEAST_POINTS, "points_per_parameter": LEAST_VALUES}
"""Columns of runs and settings that say how much a method was fitted on, and the least that is enough."""

WORDS = {
    "points_per_centroid": "its codebooks were fitted on {:.3g} documents a centroid, fewer than {:g}",
    "points_per_parameter": "it was trained on {:.3g} numbers a parameter, fewer than {:g}",
}

SAMPLE = re.compile(r"fit_sample=(\d+)")


def knows_by_heart(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Mark the runs or settings that were fitted on too little not to remember it, bool (n,)."""
    few = np.zeros(len(rows), dtype=np.bool_)
    for column, least in LEAST.items():
        if column in rows:
            few |= rows[column].to_numpy(dtype=np.float64) < least
    return few


def reason(row: Mapping[str, Any] | pd.Series[Any]) -> str:
    """Return in words why a run or setting knows its documents by heart; "" for one that does not."""
    for column, least in LEAST.items():
        if column in row and float(row[column]) < least:
            return WORDS[column].format(float(row[column]), least)
    return ""


def with_unseen_figures(
    runs: pd.DataFrame, frame: pd.DataFrame, per_query: PerQuery, trust_fitted: bool = False
) -> tuple[pd.DataFrame, PerQuery]:
    """Return runs that say what they know by heart, and what reads their queries' scores on documents not fitted.

    A run that knows its documents by heart takes the scores of the same setting, on the same collection and with the
    same model, that was fitted on a sample: one whose sample left the collection, if there is any, and then of the
    largest sample. Where that makes the collection smaller, nDCG@10 is put in proportion to float32's on each.

    Parameters
    ----------
    runs : DataFrame
        Those of settings fitted on the documents that are searched.
    frame : DataFrame
        All runs on record, as `harness.runs.frame.load_runs` returns them.
    per_query : callable
        Returns the queries' scores of a run id.
    trust_fitted : bool
        Take the figures as they are.

    Returns
    -------
    runs : DataFrame
        With `by_heart`, whether its figures are those of documents known by heart, and `unseen`, whether they are those
        of documents that were not fitted on.
    per_query : callable
    """
    few = knows_by_heart(runs)
    stands_in: dict[str, tuple[str, float]] = {}
    if not trust_fitted and few.any() and "collection_id" in frame and "collection_id" in runs:
        samples = _samples(frame)
        for run in runs[few].to_dict("records"):
            found = samples.get(_key(run, run["params"]), [])
            if found:
                same_seed = [other for other in found if other["seed"] is run["seed"] or other["seed"] == run["seed"]]
                other = max(same_seed or found, key=_worth)
                stands_in[run["run_id"]] = (other["run_id"], _proportion(run, other))
    unseen = runs["run_id"].isin(list(stands_in)).to_numpy()

    def scores(run_id: str) -> pd.DataFrame:
        if run_id not in stands_in:
            return per_query(run_id)
        other, factor = stands_in[run_id]
        table = per_query(other)
        judged = [name for name in (REFERENCE.judged_metric,) if name in table]
        return table.assign(**{name: factor * table[name] for name in judged})

    return runs.assign(by_heart=few & ~unseen, unseen=unseen), scores


def set_aside(table: pd.DataFrame, fits: NDArray[np.bool_], trust_fitted: bool) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which settings to choose among, and a note on those that stand back.

    A setting whose figures are those of documents known by heart stands back behind all others; alone they compete.

    Parameters
    ----------
    table : DataFrame
        Settings with `name` and `by_heart`.
    fits : bool (n,)
        Those within all limits.
    trust_fitted : bool
        Nothing stands back.
    """
    by_heart = table["by_heart"].to_numpy(dtype=np.bool_) & fits
    if trust_fitted or not by_heart.any() or not (fits & ~by_heart).any():
        return fits, []
    names = table.loc[by_heart, "name"].tolist()
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    seen = "its figure was" if len(names) == 1 else "their figures were"
    what = "it was" if len(names) == 1 else "they were"
    return fits & ~by_heart, [
        f"{shown}: left out, as {seen} seen on the documents that {what} fitted on, too few not to be known by heart; "
        "measure on others (fit_sample=N fit_disjoint=true), or take the figures as they are by --trust-fitted"
    ]


def note(why: str, by_heart: bool, unseen: bool) -> list[str]:
    """Return what to know of a choice that was fitted on too little, if it was.

    Parameters
    ----------
    why : str
        See `reason`.
    by_heart, unseen : bool
        Which figures it was chosen by, see `with_unseen_figures`.
    """
    if not why:
        return []
    if unseen:
        return [f"{why}: its figures are those on documents that it was not fitted on (fit_sample)"]
    if not by_heart:
        return []
    return [
        f"{why}: its figure was seen on these documents and is partly memory of them; a larger collection keeps less. "
        "Measure it on documents that it was not fitted on (fit_sample=N fit_disjoint=true)"
    ]


def _samples(frame: pd.DataFrame) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Return the runs that were fitted on a sample of the collection's own documents, by what they are otherwise."""
    params = frame["params"].fillna("").astype(str)
    own = params.str.contains("fit_sample=") & ~params.str.contains("fit_dataset=")
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in frame[(frame["status"] == "ok") & own].to_dict("records"):
        run = {str(key): value for key, value in row.items()}
        plain = " ".join(word for word in str(run["params"]).split() if not word.startswith(ELSEWHERE))
        found.setdefault(_key(run, plain), []).append(run)
    return found


def _key(run: Mapping[Any, Any], params: str) -> tuple[Any, ...]:
    depth = run.get("k")
    return run["collection_id"], run["model_id"], run["method"], params, run["scoring"] or "", depth


def _worth(run: Mapping[str, Any]) -> tuple[bool, int]:
    """Return how good a run on a sample is as evidence: a sample that left the collection first, then its size."""
    size = SAMPLE.search(run["params"])
    return "fit_disjoint=true" in run["params"], int(size[1]) if size else 0


def _proportion(run: Mapping[Any, Any], other: Mapping[str, Any]) -> float:
    """Return float32's nDCG@10 on a run's collection over that on the other's."""
    metric = REFERENCE.judged_metric
    whole, part = (float(one[metric]) / float(one["retention"]) if one["retention"] else np.nan for one in (run, other))
    return whole / part if np.isfinite(whole) and np.isfinite(part) and part > 0 else 1.0
