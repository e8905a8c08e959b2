"""What a report was made from, in two files beside it: all runs, and their queries' scores.

From them the same report can be made again where the records are not at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.significance import PerQuery
from harness.base.errors import StoreError
from harness.base.files import whole
from harness.evaluation.metric_registry import headlines
from harness.runs.frame import NUMBER_COLUMNS, TEXT_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

RUNS, SCORES = "runs.csv", "scores.parquet"
TEXTS = ("params", "error", "command", "family", "fit_queries")


def save(frame: pd.DataFrame, per_query: PerQuery | None, folder: Path) -> list[Path]:
    """Write the runs, and nDCG@10 and overlap@10 of their queries; return the files."""
    import pandas as pd

    written = [folder / RUNS]
    with whole(written[0]) as path:
        frame.to_csv(path, index=False, lineterminator="\n")
    if per_query is None:
        return written
    parts = []
    for run_id in frame.loc[frame["status"] == "ok", "run_id"]:
        try:
            scores = per_query(run_id)
        except (OSError, KeyError, StoreError):
            continue
        known = ["query_id", *(entry.name for entry in headlines() if entry.name in scores)]
        parts.append(scores[known].assign(run_id=run_id))
    if parts:
        written.append(folder / SCORES)
        table = pd.concat(parts, ignore_index=True)
        with whole(written[1]) as path:
            table.astype({"run_id": "category", "query_id": "category"}).to_parquet(path, compression="zstd")
    return written


def load(folder: Path) -> tuple[pd.DataFrame, PerQuery]:
    """Return the runs and what gives their queries' scores, as `harness.report.write.write_report` takes them.

    Raises
    ------
    StoreError
        If the folder holds no report, or one that is damaged.
    """
    import pandas as pd

    try:
        kinds = dict.fromkeys(TEXT_COLUMNS, str)
        frame = pd.read_csv(folder / RUNS, dtype=kinds).astype({"seed": "Int64"})
        path = folder / SCORES
        table = pd.read_parquet(path) if path.is_file() else None
    except Exception as error:  # the readers of both fail in many ways
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StoreError(f"{folder} holds no report that can be read: {reason}") from error
    missing = [name for name in ("run_id", "status") if name not in frame or frame[name].isna().any()]
    if missing:
        raise StoreError(f"{folder / RUNS}: not every row has a {missing[0]}; make the report again")
    numbers = frame[[name for name in NUMBER_COLUMNS if name in frame]]
    wrong = [name for name in numbers if not pd.api.types.is_numeric_dtype(numbers[name])]
    if wrong:
        raise StoreError(f"{folder / RUNS}: '{wrong[0]}' has something else than numbers; make the report again")
    if table is not None and not _is_scores(table):
        raise StoreError(f"{folder / SCORES}: not run_id, query_id and numbers; make the report again")
    texts = [name for name in TEXTS if name in frame]
    frame[texts] = frame[texts].astype(object).where(frame[texts].notna(), "")
    groups = {} if table is None else dict(list(table.groupby("run_id", observed=True)))

    def per_query(run_id: str) -> pd.DataFrame:
        found: pd.DataFrame = groups[run_id].drop(columns="run_id").dropna(axis="columns", how="all")
        return found.astype({"query_id": str})

    return frame, per_query


def _is_scores(table: pd.DataFrame) -> bool:
    """Whether a table has a run, a query and numbers in each row."""
    names = ("run_id", "query_id")
    if not all(name in table and table[name].notna().all() for name in names):
        return False
    numbers = table.drop(columns=list(names))
    return numbers.select_dtypes("number").shape[1] == numbers.shape[1]
