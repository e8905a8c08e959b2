"""What a report was made from, in two files beside it: all runs, and their queries' scores.

From them the same report can be made again where the records are not at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StoreError
from harness.report.significance import METRICS, PerQuery

if TYPE_CHECKING:
    import pandas as pd

RUNS, SCORES = "runs.csv", "scores.parquet"
TEXTS = ("params", "error", "command", "family", "fit_queries")


def save(frame: pd.DataFrame, per_query: PerQuery | None, folder: Path) -> list[Path]:
    """Write the runs, and nDCG@10 and overlap@10 of their queries; return the files."""
    import pandas as pd

    written = [folder / RUNS]
    frame.to_csv(written[0], index=False, lineterminator="\n")
    if per_query is None:
        return written
    parts = []
    for run_id in frame.loc[frame["status"] == "ok", "run_id"]:
        try:
            scores = per_query(run_id)
        except (OSError, KeyError, StoreError):
            continue
        known = ["query_id", *(metric for metric in METRICS if metric in scores)]
        parts.append(scores[known].assign(run_id=run_id))
    if parts:
        written.append(folder / SCORES)
        table = pd.concat(parts, ignore_index=True)
        table.astype({"run_id": "category", "query_id": "category"}).to_parquet(written[1], compression="zstd")
    return written


def load(folder: Path) -> tuple[pd.DataFrame, PerQuery]:
    """Return the runs and what gives their queries' scores, as `harness.report.write_report` takes them.

    Raises
    ------
    StoreError
        If the folder holds no report.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(folder / RUNS, dtype={"run_id": str, "git_commit": str}).astype({"seed": "Int64"})
        table = pd.read_parquet(folder / SCORES) if (folder / SCORES).is_file() else None
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder} holds no report that can be read: {error}") from None
    texts = [name for name in TEXTS if name in frame]
    frame[texts] = frame[texts].astype(object).where(frame[texts].notna(), "")
    groups = {} if table is None else dict(list(table.groupby("run_id", observed=True)))

    def per_query(run_id: str) -> pd.DataFrame:
        found: pd.DataFrame = groups[run_id].drop(columns="run_id").dropna(axis="columns", how="all")
        return found.astype({"query_id": str})

    return frame, per_query
