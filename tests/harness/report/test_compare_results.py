from pathlib import Path

import pandas as pd
import pytest

from harness import cli
from harness.report.compare_results import changes_markdown
from harness.runs.run import run
from tests.harness.analysis.test_significance import records
from tests.harness.runs.test_run import configuration


def test_nothing_changed() -> None:
    frame, per_query = records(("a", "b"))
    text = changes_markdown(frame, frame, per_query, per_query)
    assert "12 settings are in both, 12 of them the same; 0 differ." in text
    assert "|" not in text


def test_what_is_better_and_what_is_gone() -> None:
    frame, per_query = records()
    after = frame[frame["method"] != "int8"].copy()
    after.loc[after["method"] == "pq", "ndcg_at_10"] += 0.04
    after.loc[after["method"] == "binary", "bytes_per_vector"] = 52.0

    def better(run_id: str) -> pd.DataFrame:
        found = per_query(run_id)
        gain = 0.04 if "-pq" in run_id else 0.0
        return found.assign(ndcg_at_10=found["ndcg_at_10"] + gain)

    text = changes_markdown(frame, after, per_query, better)
    assert "5 settings are in both, 3 of them the same; 2 differ." in text
    rows = {line.split("|")[2].strip(): line for line in text.splitlines() if line.startswith("| scifact")}
    assert "+0.0400" in rows["pq m=48"] and "< 0.001" in rows["pq m=48"] and "better" in rows["pq m=48"]
    assert "| 48.0 | 52.0 | the same |" in rows["binary"]
    assert "## Only before: 1\n\n- scifact · minilm: int8" in text


def test_other_queries_are_not_paired() -> None:
    frame, per_query = records()
    after = frame.assign(ndcg_at_10=frame["ndcg_at_10"] - 0.1)
    text = changes_markdown(frame, after, per_query, lambda run_id: per_query(run_id).iloc[:50])
    assert text.count("other queries") == len(frame)


def test_the_command_takes_folders(small_collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, bits in (("old", 8), ("new", 8)):
        run(configuration(small_collection, tmp_path / name, "method=int8", f"method.bits={bits}"), "int8")
    assert cli.main(["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 0
    assert "1 settings are in both, 1 of them the same" in capsys.readouterr().out
