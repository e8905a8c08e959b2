"""Write the README's headline anew, from results/reference/quick: python scripts/studies/write_readme.py."""

from pathlib import Path

import pandas as pd

from harness.base import formatting
from harness.report.markdown import table

ROOT = Path(__file__).resolve().parents[2]
HEADLINE = ROOT / "results" / "reference" / "quick" / "stdlib--all-MiniLM-L6-v2.csv"


def headline() -> str:
    """Return the settings that no other beats in both bytes and quality, the smallest first, and float32."""
    rows = pd.read_csv(HEADLINE, keep_default_na=False)
    exact = rows[rows["method"] == "float32"]
    best = rows[rows["on_frontier"].astype(str) == "True"]
    shown = pd.concat([best[best["method"] != "float32"].sort_values("bytes_per_vector"), exact])
    lines = [
        [
            f"`{row['method']} {row['params']}".rstrip() + "`",
            formatting.size(float(row["bytes_per_vector"])),
            formatting.ratio(float(row["compression_ratio"])),
            f"{row['ndcg_at_10']:.3f}",
            f"{100 * float(row['retention']):.1f} % {_interval(row)}".rstrip(),
            f"{row['overlap_at_10']:.3f}",
        ]
        for row in shown.to_dict("records")
    ]
    header = [
        "on the frontier",
        "bytes/vector",
        "× smaller",
        "nDCG@10",
        "kept of float32 (95 % interval)",
        "overlap@10",
    ]
    return table(header, lines, {1, 2, 3, 4, 5}) + "\n"


def _interval(row: dict[str, object]) -> str:
    if row["method"] == "float32":
        return ""
    return f"({100 * float(str(row['retention_low'])):.1f} to {100 * float(str(row['retention_high'])):.1f})"


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
