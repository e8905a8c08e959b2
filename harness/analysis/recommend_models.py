"""Which model to make vectors with, and which setting to store them with, where the model's bytes count too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.analysis import statistics
from harness.analysis.needs import Needs
from harness.analysis.recommend import Recommendation, Records, Setting, recommend
from harness.analysis.significance import PerQuery
from harness.base.errors import ConfigError, StoreError
from harness.base.formatting import amount
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class ModelChoice:
    """A model within the limit, and the setting that is recommended with it.

    Attributes
    ----------
    model : str
    model_bytes : float
    docs_per_second : float
        As measured when its vectors were made; NaN if unknown.
    answer : Recommendation
        Among this model's settings.
    quality : float
        Mean over the collections.
    p : float
        Of the difference from the highest: randomisation test over all queries, Holm's correction; 1 for itself.
    """

    model: str
    model_bytes: float
    docs_per_second: float
    answer: Recommendation
    quality: float
    p: float


def recommend_over_models(
    frame: pd.DataFrame, needs: Needs, per_query: PerQuery, records: Records | None = None
) -> tuple[list[ModelChoice], list[str]]:
    """Choose a model of at most `needs.model_bytes`, and its setting.

    Each model's own recommendation comes first (`harness.analysis.recommend.recommend`); then these are compared on the
    same queries. Of the models within 1 % of the highest and not significantly less, the smallest is chosen.

    Returns
    -------
    list of ModelChoice
        The one to use, then the others, best first.
    list of str
        What was left out, and why.

    Raises
    ------
    ConfigError
        If the bytes of no model are on record, or none is small enough.
    StoreError
        If nothing on record will do.
    """
    assert needs.model_bytes is not None
    if "model_bytes" not in frame:  # a frame of an earlier version's report
        frame = frame.assign(model_bytes=np.nan, model_docs_per_second=np.nan)
    sizes = frame[frame["status"] == "ok"].groupby("model")["model_bytes"].max()
    unknown = sorted(sizes.index[sizes.isna()])
    if sizes.isna().all():
        raise ConfigError(
            "--model-mb: no record knows its model's bytes; 'vecbudget encode measure=true' measures them, and runs "
            "with overwrite=true record them"
        )
    small = sizes[sizes <= needs.model_bytes].sort_values(kind="stable")
    if small.empty:
        least = str(sizes.idxmin())
        raise ConfigError(
            f"--model-mb: no model on record takes at most {amount(needs.model_bytes)}: the smallest, {least}, takes "
            f"{amount(float(sizes[least]))}"
        )
    notes = [f"{model}: its bytes are not on record" for model in unknown]
    asked = needs.datasets or _shared_collections(frame, small.index.tolist())
    found: list[tuple[str, Recommendation, Setting]] = []
    for model in small.index:
        try:
            own = replace(needs, model=str(model), model_bytes=None, datasets=tuple(asked))
            answer = recommend(frame[frame["model"] == model], own, per_query, records)
        except (ConfigError, StoreError) as error:
            notes.append(f"{model}: {error}")
            continue
        if answer.choice is None:
            notes.append(f"{model}: {answer.why_none}")
        else:
            found.append((str(model), answer, answer.choice))
    if not found:
        raise StoreError(f"nothing on record will do: {'; '.join(notes)}")
    measure = REFERENCE.judged_metric if found[0][1].measure == "nDCG@10" else REFERENCE.unjudged_metric
    scores = [[_scores(ids, measure, per_query) for ids in choice.run_ids] for _, _, choice in found]
    quality = np.array([np.mean([part.mean() for part in own]) for own in scores])
    best = int(np.argmax(quality))
    p = np.ones(len(found))
    others = np.delete(np.arange(len(found)), best)
    if len(others):
        # each collection counts the same, whatever its number of queries
        parts = [np.hstack([part / len(part) for part in own]) for own in scores]
        p[others] = statistics.holm(statistics.randomisation_test([parts[row] - parts[best] for row in others]))
    alike = (quality > (1 - statistics.MARGIN) * quality[best]) & (p >= statistics.ALPHA)
    alike[best] = True
    bytes_of = np.array([float(sizes[model]) for model, _, _ in found])
    chosen = int(np.flatnonzero(alike)[np.argmin(bytes_of[alike])])
    order = [chosen, *(int(row) for row in np.argsort(-quality, kind="stable") if row != chosen)]
    speeds = frame.groupby("model")["model_docs_per_second"].max()
    return [
        ModelChoice(
            found[row][0],
            float(bytes_of[row]),
            float(speeds[found[row][0]]),
            found[row][1],
            float(quality[row]),
            float(p[row]),
        )
        for row in order
    ], notes


def _shared_collections(frame: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """Return the collections that all models were measured on."""
    ended = frame[frame["status"] == "ok"]
    own = [set(ended.loc[ended["model"] == model, "dataset"]) for model in models]
    shared = sorted(set.intersection(*own))
    if not shared:
        raise ConfigError(
            f"--model-mb: no collection was measured with all of {', '.join(models)}: name those that count by "
            "--dataset"
        )
    return shared


def _scores(run_ids: str, measure: str, per_query: PerQuery) -> Float64:
    """Return a setting's scores on one collection, query by query: float64 (m,), the mean over its seeds."""
    tables = [per_query(run_id).sort_values("query_id") for run_id in run_ids.split()]
    mean: Float64 = np.mean([table[measure].to_numpy(dtype=np.float64) for table in tables], axis=0)
    return mean
