"""Write the README's headline anew, from results/reference/quick: python scripts/studies/write_readme.py."""

from pathlib import Path

import pandas as pd

from harness.base import formatting
from harness.report.table import Table, code, numbers, words

ROOT = Path(__file__).resolve().parents[2]
HEADLINE = ROOT / "results" / "reference" / "quick" / "stdlib--all-MiniLM-L6-v2.csv"


def headline() -> str:
    """Return the settings on the frontier, the smallest first, and float32."""
    rows = pd.read_csv(HEADLINE, keep_default_na=False)
    exact = rows[rows["method"] == "float32"]
    best = rows[rows["on_frontier"].astype(str) == "True"]
    shown = pd.concat([best[best["method"] != "float32"].sort_values("bytes_per_vector"), exact])
    columns = [
        words("on the frontier", lambda row: code(f"{row['method']} {row['params']}".rstrip())),
        numbers("bytes/vector", "bytes_per_vector", formatting.size),
        numbers("× smaller", "compression_ratio", formatting.ratio),
        numbers("nDCG@10", "ndcg_at_10", 3),
        numbers("kept of float32 (95 % interval)", _kept),
        numbers("overlap@10", "overlap_at_10", 3),
    ]
    return Table(columns, shown.to_dict("records")).markdown() + "\n"


def _kept(row: dict[str, object]) -> str:
    kept = f"{100 * float(str(row['retention'])):.1f} %"
    if row["method"] == "float32":
        return kept
    return f"{kept} ({100 * float(str(row['retention_low'])):.1f} to {100 * float(str(row['retention_high'])):.1f})"


def written(text: str) -> str:
    """Return the README with its headline as it is now."""
    begin, end = "<!-- headline: begin -->\n", "<!-- headline: end -->"
    before, _, rest = text.partition(begin)
    return before + begin + headline() + end + rest.partition(end)[2]


def main() -> None:
    readme = ROOT / "README.md"
    readme.write_text(written(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
