"""What the choice of each parameter is worth, over the settings that were tried."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.tuning.study import Trial

LEAST_TRIALS = 10
"""Fewer say nothing."""

REPEATS = 20


def importance(trials: Sequence[Trial], seed: int = 0) -> dict[str, float]:
    """Return the share of the variance of overlap@10 that shuffling a parameter loses, most first.

    A random forest is fitted to the settings, parameters of other methods marked as absent, and each parameter is
    shuffled (permutation importance: Breiman, 2001). Optuna's own measures know only parameters that all trials share.

    Parameters
    ----------
    trials : sequence of Trial
        Measured ones.
    seed : int

    Returns
    -------
    dict of str to float
        "method" and "METHOD PLACE" for parameters; empty for fewer than `LEAST_TRIALS`, or if all are equally good.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    quality = np.array([trial.quality for trial in trials])
    if len(trials) < LEAST_TRIALS or np.ptp(quality) == 0:
        return {}
    rows: list[dict[str, object]] = [
        {"method": trial.candidate.method}
        | {f"{trial.candidate.method} {place}": value for place, value in trial.candidate.settings.items()}
        for trial in trials
    ]
    names = [
        name for name in dict.fromkeys(key for row in rows for key in row) if len({row.get(name) for row in rows}) > 1
    ]
    columns = [_as_numbers([row.get(name) for row in rows]) for name in names]
    table = np.column_stack(columns)
    forest = RandomForestRegressor(n_estimators=100, random_state=seed).fit(table, quality)
    lost = permutation_importance(forest, table, quality, n_repeats=REPEATS, random_state=seed).importances_mean
    shares = {name: float(max(share, 0.0)) for name, share in zip(names, lost, strict=True)}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _as_numbers(values: Sequence[object]) -> list[float]:
    """Return values as numbers: absent ones are -1, words are counted in the order of the alphabet."""
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return [-1.0 if value is None else float(value) for value in values]  # type: ignore[arg-type]
    kinds = sorted({str(value) for value in values if value is not None})
    return [-1.0 if value is None else float(kinds.index(str(value))) for value in values]
