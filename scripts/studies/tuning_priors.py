"""Write `configs/search/priors.csv`: the methods' order at 12, 24, 48 and 96 bytes, from the reference results.

python scripts/studies/tuning_priors.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness.analysis.budgets import SPARE_BYTE, one_budget
from harness.tuning.space import space

ROOT = Path(__file__).parents[2]
SIZES = (12, 24, 48, 96)


def priors(results: Path) -> pd.DataFrame:
    """Return bytes, method and the mean share of float32's nDCG@10 that it keeps, best first at each size."""
    table = pd.read_csv(results)
    searched = {member.name for member in space()}
    parts = []
    for size in SIZES:
        # the sizes of signs and of other codes of all dimensions grow with the model
        here = table[one_budget(table["least_bytes"], size) & (table["most_bytes"] <= size + SPARE_BYTE)]
        best = here.groupby("method")["mean"].max().sort_values(ascending=False, kind="stable").round(4)
        parts.append(best[best.index.isin(searched)].reset_index().assign(bytes=size))
    return pd.concat(parts)[["bytes", "method", "mean"]].rename(columns={"mean": "kept"})


if __name__ == "__main__":
    found = priors(ROOT / "results" / "reference" / "three_models" / "over-models.csv")
    path = ROOT / "configs" / "search" / "priors.csv"
    found.to_csv(path, index=False)
    print(f"{path.relative_to(ROOT)}: {len(found)} rows")
