"""Exports of vectors that differ in length, loaded into the stores that are installed, rank as the run by each metric.

The stores are those of this interpreter, or of the one that VECBUDGET_STORES_PYTHON names.
"""

import os
import sys
from pathlib import Path

import pytest

from scripts.stores.check_metrics import DRAWN, METRICS, STORES, TIED, cell, isotropic, lacks

PYTHON = os.environ.get("VECBUDGET_STORES_PYTHON", sys.executable)
PRESETS = [
    (store, preset) for store, (_, presets) in STORES.items() for preset in presets if preset not in DRAWN | TIED
]


@pytest.mark.slow
@pytest.mark.parametrize("store, preset", PRESETS)
def test_a_store_that_draws_nothing_ranks_as_the_run(store: str, preset: str, tmp_path: Path) -> None:
    missing = lacks(store, PYTHON)
    if missing:
        pytest.skip(f"{store}: {', '.join(missing)} not installed; VECBUDGET_STORES_PYTHON names another interpreter")
    collection = isotropic(tmp_path / "vectors")
    cells = [cell(preset, store, collection, metric, tmp_path / metric, PYTHON) for metric in METRICS]
    assert all(one.fine for one in cells), [str(one) for one in cells]
    assert not cells[METRICS.index("cosine")].refused, "the cosine is what every one of them has"
