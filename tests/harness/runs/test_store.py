import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from harness.base.errors import StoreError
from harness.runs.frame import load_runs
from harness.runs.record import CHECKSUM, FILES, Record
from harness.runs.store import PER_QUERY, RANKING, RECORD, Store


def record(run_id: str, status: str = "ok", **more: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "status": status,
        "model": {"name": "m"},
        "dataset": {"name": "d", "n_docs": 1000, "n_queries": 2},
        "method": {"name": "int8", "params": "bits=4", "scoring": "asymmetric", "family": "scalar", "seed": None},
        **more,
    }


def made(run_id: str, **more: Any) -> Record:
    return Record.from_json(record(run_id, **more), run_id)


FINISHED = {
    "dim": 384,
    "metrics": {"ndcg_at_10": 0.6, "overlap_at_10": 0.9},
    "retention": 0.95,
    "storage": {"code_bytes_per_vector": 192.0, "state_bytes": 500_000, "index_bytes": 692_000},
    "seconds": {"fit": 0.5},
}


def commit(store: Store, run_id: str, **more: Any) -> Path:
    return store.commit(
        run_id,
        store.draft(run_id),
        made(run_id, **more),
        ["q1", "q2"],
        {"ndcg_at_10": np.array([0.5, 0.7])},
        {"rows": np.zeros((2, 3), np.int32)},
    )


def test_round_trip(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.has("abc")
    commit(store, "abc", **FINISHED)
    assert store.has("abc") and store.read("abc").dim == 384
    per_query = store.per_query("abc")
    assert per_query["query_id"].tolist() == ["q1", "q2"] and per_query["ndcg_at_10"].tolist() == [0.5, 0.7]
    assert [path.name for path in store.runs.iterdir()] == ["abc"], "no draft is left"


def test_frame(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store, "abc", **FINISHED)
    commit(store, "bad", status="failed", error="ValueError: no")
    frame = load_runs(tmp_path).set_index("run_id")
    assert frame.loc["abc", "bytes_per_vector"] == 192.5
    assert frame.loc["abc", "compression_ratio"] == 1536 / 192.5
    assert frame.loc["bad", "error"] == "ValueError: no" and np.isnan(frame.loc["bad", "ndcg_at_10"])
    assert load_runs(tmp_path, corpus_size=1000).set_index("run_id").loc["abc", "bytes_per_vector"] == 692.0
    assert str(frame["seed"].dtype) == "Int64"


def test_what_a_record_lacks_is_missing_in_the_frame(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store, "old", **FINISHED)
    distance = {"power": 1.0, "distortion": 0.2, "bound": 0.1, "db_over_bound": 3.01, "excess_bits_per_dim": None}
    commit(store, "new", **FINISHED, limits={"vector": None, "score": distance}, fit_queries="7 titles")
    frame = load_runs(tmp_path).set_index("run_id")
    assert frame["score_db_over_bound"].to_dict() == pytest.approx({"old": np.nan, "new": 3.01}, nan_ok=True)
    assert frame.loc["new", "score_distortion"] == 0.2 and frame.loc["new", "fit_queries"] == "7 titles"
    assert frame["overlap_at_10"].tolist() == [0.9, 0.9] and frame[["rbo", "tie_at_10"]].isna().all(axis=None)
    assert frame["vector_distortion"].isna().all() and frame["score_excess_bits_per_dim"].isna().all()


def test_nothing_recorded_gives_an_empty_frame_with_all_columns(tmp_path: Path) -> None:
    empty = load_runs(tmp_path)
    assert len(empty) == 0 and {"run_id", "ndcg_at_10", "bytes_per_vector", "fit_seconds"} <= set(empty)


def test_a_draft_is_no_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    draft = store.draft("abc")
    (draft / RECORD).write_text("{")
    assert not store.has("abc") and len(load_runs(tmp_path)) == 0


def test_a_failed_run_is_due_again_and_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store, "abc", status="failed", error="x")
    assert not store.has("abc")
    commit(store, "abc", **FINISHED)
    assert store.has("abc") and len(load_runs(tmp_path)) == 1
    assert [path.name for path in store.runs.iterdir()] == ["abc"]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = commit(store, "abc", **FINISHED)
    (path / RECORD).write_text("{")
    with pytest.raises(StoreError, match=r"run\.json: not a readable record"):
        load_runs(tmp_path)


def test_no_nan_goes_into_json(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        commit(store, "abc", retention=float("nan"))
    assert not store.has("abc")
    commit(store, "def", **FINISHED)
    assert json.loads((store.path("def") / RECORD).read_text())["run_id"] == "def"


def test_what_killed_runs_left_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    mine = store.draft("abc")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = mine.name.split("@")
    left = mine.with_name("@".join([*names[:2], str(dead.pid), "x1"]))
    elsewhere = mine.with_name("@".join([names[0], "another-machine", str(dead.pid), "x2"]))
    foreign = mine.with_name(".something")
    for folder in (left, elsewhere, foreign):
        folder.mkdir()
        (folder / "half.json").write_text("{")
    store.draft("def")
    assert not left.exists(), "its process is gone"
    assert mine.exists() and elsewhere.exists() and foreign.exists()
    assert list(store.records()) == []


def test_an_interruption_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for error, raised in ((KeyboardInterrupt, KeyboardInterrupt), (OSError, StoreError)):
        with monkeypatch.context() as patch, pytest.raises(raised, match="no space"):
            patch.setattr("harness.runs.store.sync", lambda path, error=error: (_ for _ in ()).throw(error("no space")))
            store.commit("abc", store.draft("abc"), made("abc"))
        assert list(store.runs.iterdir()) == [] and not store.has("abc")
    store.commit("abc", store.draft("abc"), made("abc"))
    assert store.has("abc")


@pytest.mark.parametrize(
    "change",
    [
        [],
        {"model": None},
        {"method": {"name": "int8"}},
        {"status": "x"},
        {"dataset": {"name": "d", "n_docs": "many", "n_queries": 2}},
        {"dataset": {"name": "d", "n_docs": 10**30, "n_queries": 2}},
        {"method": {**record("abc")["method"], "seed": "1"}},
        {"method": {**record("abc")["method"], "seed": float("inf")}},
        {"method": {**record("abc")["method"], "seed": 1 << 63}},
        {"storage": [192]},
        {"storage": {"code_bytes_per_vector": "192", "state_bytes": 1}},
        {"storage": {"code_bytes_per_vector": 0, "state_bytes": 0}, "dim": 384},
        {"metrics": {"ndcg_at_10": "high"}},
        {"limits": {"score": {"bound": []}}},
        {"cost": {"seconds": {"fit": 3}}},
        {"retention": {}},
        {"command": 5},
        {"run_id": "../../abc"},
        {"error": "\ud800"},
    ],
)
def test_a_record_with_other_values_is_named(tmp_path: Path, change: Any) -> None:
    store = Store(tmp_path)
    path = commit(store, "abc", **FINISHED) / RECORD
    content = {**record("abc", **FINISHED), **change} if isinstance(change, dict) else change
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"abc.run\.json: not a readable record") as caught:
        load_runs(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_record_of_ten_thousand_brackets_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (commit(store, "abc") / RECORD).write_text("[" * 200_000)
    with pytest.raises(StoreError, match=r"run\.json: not a readable record"):
        store.has("abc")


def as_older(path: Path) -> None:
    """Take the checksums out of a record."""
    content = json.loads((path / RECORD).read_text())
    del content[FILES], content[CHECKSUM]
    (path / RECORD).write_text(json.dumps(content))


def test_a_record_without_checksums_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = commit(store, "abc", **FINISHED)
    with_checksums = store.read("abc")
    as_older(path)
    assert store.read("abc") == replace(with_checksums, files={}, checksum="")
    assert store.has("abc") and len(store.per_query("abc")) == 2 and len(load_runs(tmp_path)) == 1
    store.verify("abc")


def test_any_flipped_bit_of_a_record_is_refused_or_without_meaning(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = commit(store, "abc", **FINISHED) / RECORD
    content, written = path.read_bytes(), store.read("abc")
    refused = 0
    places = range(0, len(content), 3)
    for place in places:
        for bit in (0, 6):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                assert store.read("abc") == written
            except StoreError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                refused += 1
    # the others are spaces that became other spaces
    assert refused > 0.8 * 2 * len(places)


def test_another_digit_of_a_metric_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = commit(store, "abc", **FINISHED) / RECORD
    path.write_text(path.read_text().replace('"ndcg_at_10": 0.6', '"ndcg_at_10": 0.7'))
    for read in (store.read, store.has, store.per_query, store.ranking, store.verify):
        with pytest.raises(StoreError, match=r"run\.json: .*its checksum differs"):
            read("abc")
    with pytest.raises(StoreError, match=r"run\.json: .*its checksum differs"):
        load_runs(tmp_path)


@pytest.mark.parametrize("name", [PER_QUERY, RANKING])
def test_a_flipped_bit_of_a_record_s_file_is_refused(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    scores = {"rows": np.array([[3, 1]], np.int32), "scores": np.array([[0.5, 0.25]], np.float32)}
    path = store.commit(
        "abc",
        store.draft("abc"),
        made("abc"),
        ["q"],
        {"ndcg_at_10": np.array([0.5])},
        scores,
    )
    content = (path / name).read_bytes()
    for place in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[place] ^= 16
        (path / name).write_bytes(flipped)
        for read in (store.per_query if name == PER_QUERY else store.ranking, store.verify):
            with pytest.raises(StoreError, match=f"{name}: .*its checksum differs"):
                read("abc")
    (path / name).unlink()
    with pytest.raises(StoreError, match=name):
        store.verify("abc")


def test_a_disk_that_is_full_only_when_asked_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    draft = store.draft("abc")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"runs/abc cannot be written \(No space left on device\)"):
        store.commit("abc", draft, made("abc"))
    assert list(store.runs.iterdir()) == []
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.EINVAL, "no fsync here")))
    commit(store, "abc", **FINISHED)
    assert store.has("abc")


@pytest.mark.parametrize("years", [-30, 30])
def test_no_clock_decides_what_is_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, years: int) -> None:
    store = Store(tmp_path)
    mine = store.draft("abc")
    commit(store, "def", **FINISHED, created="2026-01-01T00:00:00+00:00")
    moment = time.time() + years * 365 * 86400
    monkeypatch.setattr("time.time", lambda: moment)
    os.utime(mine, (moment, moment))
    commit(store, "def", **FINISHED, created="1996-01-01T00:00:00+00:00")
    assert mine.exists() and store.read("def").created.startswith("1996"), "the later write, by any clock"
    assert store.commit("abc", mine, made("abc")).is_dir() and len(load_runs(tmp_path)) == 2


def test_damaged_scores_and_rankings_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.commit(
        "abc",
        store.draft("abc"),
        made("abc"),
        ["q1"],
        {"ndcg_at_10": np.array([0.5])},
        {"rows": np.array([[3, 1]], np.int32), "scores": np.array([[0.5, 0.25]], np.float32)},
    )
    assert store.ranking("abc")["rows"].tolist() == [[3, 1]] and store.ranking("abc")["scores"].dtype == np.float32
    as_older(path)
    for name, read in ((PER_QUERY, store.per_query), (RANKING, store.ranking)):
        content = (path / name).read_bytes()
        for damaged in (content[:-9], b"", b"x" * len(content)):
            (path / name).write_bytes(damaged)
            with pytest.raises(StoreError, match=name) as caught:
                read("abc")
            assert "\n" not in str(caught.value)
        (path / name).unlink()
        with pytest.raises(StoreError, match=name):
            read("abc")
    for arrays in ({"rows": np.zeros((1, 2), np.int32)}, {"rows": np.zeros(2, np.int32), "scores": np.zeros(2)}):
        save_file(arrays, path / RANKING)
        with pytest.raises(StoreError, match=RANKING):
            store.ranking("abc")
    pd.DataFrame({"query_id": ["q1"], "ndcg_at_10": ["high"]}).to_parquet(path / PER_QUERY)
    with pytest.raises(StoreError, match="expected query_id and numbers"):
        store.per_query("abc")
