"""What is called alike and is not the same is never averaged, and says what differs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.settings import configurations, pages
from harness.report.write import write_report
from harness.runs.distinct_names import marks, with_distinct_names
from harness.runs.frame import load_runs
from harness.runs.store import Store
from tests.harness.runs.test_run import configuration, run

LABELS = st.sampled_from(["docs", "docs", "other"])


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Runs with every column that configurations are made of."""
    from harness.analysis.settings import COLUMNS, MEASURES

    usual = {
        "status": "ok",
        "n_docs": 10,
        "n_queries": 5,
        "dim": 4,
        "scoring": "asymmetric",
        "weights_id": "",
        "error": "",
    }
    made = [
        dict.fromkeys([*COLUMNS, *MEASURES], 1.0) | {"git_commit": "", "created": "", "family": "x"} | usual | row
        for row in rows
    ]
    return pd.DataFrame(made)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "dataset": LABELS,
                "dataset_id": st.sampled_from(["aaaaaa1", "aaaaaa2", "b0"]),
                "model": st.sampled_from(["vectors", "e5"]),
                "model_id": st.sampled_from(["m1", "m2"]),
                "method": st.sampled_from(["pq", "float32"]),
                "params": st.sampled_from(["", "m=8"]),
                "method_id": st.sampled_from(["x1", "x2"]),
                "k": st.sampled_from([3.0, 100.0]),
                "seed": st.integers(0, 3),
            }
        ),
        min_size=1,
        max_size=12,
    )
)
def test_only_seeds_are_averaged(rows: list[dict[str, Any]]) -> None:
    for number, row in enumerate(rows):
        row |= {"run_id": f"r{number:03d}", "ndcg_at_10": number / 100}
    frame = with_distinct_names(frame_of(rows))
    keys = ("dataset_id", "model_id", "method_id", "k", "dataset", "model", "method", "params")
    of_run = {row["run_id"]: tuple(row[key] for key in keys) for row in rows}
    table = configurations(frame)
    averaged = [{of_run[run_id] for run_id in ids.split()} for ids in table["run_ids"]]
    assert all(len(things) == 1 for things in averaged), "a row is one setting, whatever its name"
    assert len(table) == len(set(of_run.values())), "and seeds of one setting are one row"
    assert sum(len(page.settings) for page in pages(frame)) == len(table)
    again = with_distinct_names(frame)
    assert again[["dataset", "model", "params"]].equals(frame[["dataset", "model", "params"]]), "once is enough"


def test_names_that_are_unique_stay_as_they_are() -> None:
    rows = [
        {"run_id": f"r{seed}", "dataset": "docs", "dataset_id": "a", "model": "m", "model_id": "1", "method": "pq"}
        | {"params": "", "method_id": "p", "k": 100.0, "seed": seed}
        for seed in range(3)
    ]
    frame = frame_of(rows)
    named = with_distinct_names(frame)
    assert named["dataset"].eq("docs").all() and named["model"].eq("m").all() and named["params"].eq("").all()
    assert marks(named) == []


def test_one_collection_under_two_names_is_said() -> None:
    rows = [
        {"run_id": f"r{name}", "dataset": name, "dataset_id": "a", "model": "m", "model_id": "1", "method": "pq"}
        | {"params": "", "method_id": "p", "k": 100.0, "seed": 0}
        for name in ("wiki", "docs")
    ]
    (said,) = marks(with_distinct_names(frame_of(rows)))
    assert said.startswith("docs and wiki are one collection")


def vectors(folder: Path, seed: int, qrels: str) -> list[str]:
    rng = np.random.default_rng(seed)
    folder.mkdir()
    docs = rng.standard_normal((60, 16)).astype(np.float32)
    docs /= np.linalg.norm(docs, axis=1, keepdims=True)
    np.save(folder / "docs.npy", docs)
    np.save(folder / "queries.npy", docs[:8])
    (folder / "qrels.tsv").write_text(qrels)
    files = {"docs": "docs.npy", "queries": "queries.npy", "qrels": "qrels.tsv"}
    return ["dataset=vectors", *(f"dataset.{key}={folder / name}" for key, name in files.items())]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files called docs.npy, one of them with corrected judgements, and one ranking of another depth."""
    from hydra import compose, initialize_config_module

    monkeypatch.chdir(tmp_path)
    right = "".join(f"{row}\t{row}\t1\n" for row in range(8))
    wrong = "".join(f"{row}\t{row + 9}\t1\n" for row in range(8))
    with initialize_config_module("configs", version_base="1.3"):
        for name, seed, qrels in (("a", 0, right), ("b", 1, right), ("c", 0, wrong)):
            for overrides in (["method=float32"], ["method=int8"], ["method=int8", "k=20"]):
                folder = tmp_path / f"{name}{len(overrides)}{overrides[0][-4:]}"
                arguments = vectors(folder, seed, qrels)
                cfg = compose("config", overrides=[*arguments, *overrides, f"results_dir={tmp_path / 'results'}"])
                run(cfg, overrides[0].partition("=")[2])
    return tmp_path / "results"


@pytest.mark.usefixtures("empty_figures")
def test_files_of_one_name_are_collections_of_their_own(results: Path, tmp_path: Path) -> None:
    frame = load_runs(results)
    assert frame["dataset"].nunique() == 3 and frame["dataset"].str.fullmatch(r"docs \[[0-9a-f]{6,}\]").all()
    assert set(frame.loc[frame["k"] == 20, "params"]) == {"k=20"}
    table = configurations(frame)
    assert len(table) == 9 and (table["runs"] == 1).all()
    scores = sorted(table.loc[table["method"] == "float32", "ndcg_at_10"])
    assert scores[1:] == [1.0, 1.0] and scores[0] < 0.5
    write_report(frame, tmp_path / "report", per_query=Store(results).per_query, site=False)
    summary = (tmp_path / "report" / "summary.md").read_text()
    assert "3 collections are called docs; they are told apart by the begin of their fingerprints" in summary


def test_a_metric_that_is_deeper_than_the_ranking_is_not_shown(
    small_collection: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = configuration(small_collection, tmp_path, "method=int8", "k=3")
    with caplog.at_level("INFO"):
        run(cfg, "int8")
    frame = load_runs(cfg.results_dir)
    assert frame[["ndcg_at_10", "recall_at_10", "overlap_at_10"]].isna().all(axis=None)
    assert frame["ndcg_at_1"].notna().all()
    assert "nDCG@1 " in caplog.text and "@10" not in caplog.text


def test_a_model_that_is_marked_twice_is_called_by_its_own_name_and_marked_once_more_alike() -> None:
    kinds = [("w1", "m1"), ("w1", "m2"), ("w2", "m3")]
    rows = [
        {"run_id": f"r{number}", "dataset": "docs", "dataset_id": "a", "model": "bge", "weights_id": weights}
        | {"model_id": model, "method": "pq", "params": "", "method_id": "p", "k": 100.0, "seed": 0}
        for number, (weights, model) in enumerate(kinds)
    ]
    named = with_distinct_names(frame_of(rows))
    assert sorted(named["model"]) == ["bge [w1] [m1]", "bge [w1] [m2]", "bge [w2]"]
    assert marks(named)[0].startswith("3 models are called bge;")
    assert with_distinct_names(named)["model"].tolist() == named["model"].tolist()
