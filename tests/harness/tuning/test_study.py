"""The search: the same seed gives the same trials, a killed one goes on, several processes share one."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.base.errors import ConfigError, StoreError
from harness.cli import main
from harness.tuning import objective as looks
from harness.tuning import tune
from harness.tuning.objective import Objective
from harness.tuning.space import space
from harness.tuning.study import Limits, Study
from methods.base import VectorsError
from tests.conftest import ROOT, clustered_vectors

FOUR_BYTES = Limits(4)
CHEAP = ("svd_binary", "svd192_int8", "itq")


@pytest.fixture(scope="module")
def objective() -> Objective:
    return Objective.from_arrays(clustered_vectors(300, 32), None)


def search(folder: Path, objective: Objective, trials: int, limits: Limits = FOUR_BYTES, **options) -> list:
    study = Study(folder, space(options.pop("methods", CHEAP)), limits, **options)
    study.search(objective, {"dataset": "d"}, trials=trials)
    return study.tried()


def plain(trials):
    return [(one.candidate.name, one.state, one.attributes.get("overlaps")) for one in trials]


def test_the_same_seed_gives_the_same_trials_also_when_it_stopped_between(tmp_path, objective):
    whole = search(tmp_path / "whole", objective, 12)
    search(tmp_path / "parts", objective, 5)
    assert plain(search(tmp_path / "parts", objective, 12)) == plain(whole)
    other = search(tmp_path / "other", objective, 12, seed=1)
    assert plain(other) != plain(whole)
    # what is written is tried first, and all of it keeps to the limits
    assert {one.candidate.method for one in whole[:3]} == set(CHEAP)
    assert all(one.nbytes <= 4 for one in whole if one.state == "measured")


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_other_samplers_search_too(tmp_path, objective, sampler):
    assert len(search(tmp_path, objective, 6, sampler=sampler)) == 6


def test_a_folder_with_another_search_is_refused(tmp_path, objective):
    search(tmp_path, objective, 1)
    with pytest.raises(ConfigError, match=r"other limits: choose another --out"):
        search(tmp_path, objective, 1, Limits(5))
    with pytest.raises(StoreError, match=r"holds no search"):
        Study(tmp_path / "nothing", space(CHEAP), Limits(4)).tried()


def test_limits_are_kept_and_named(tmp_path, objective):
    slow = search(tmp_path, objective, 3, Limits(4, min_docs_per_second=1e12))
    assert {one.state for one in slow} == {"beyond"}
    two_tiers = search(tmp_path / "disk", objective, 1, Limits(4), methods=("rescore_binary_int8",))
    assert [one.state for one in two_tiers] == ["beyond"]
    with_disk = search(tmp_path / "room", objective, 1, Limits(4, 32), methods=("rescore_binary_int8",))
    assert [one.state for one in with_disk] == ["measured"]
    # 32 x 32 float32 of a map are 4 bytes for each of 1,000 documents, and may be 1
    few = search(tmp_path / "few", objective, 1, Limits(4, corpus_size=1000), methods=("itq",))
    assert [one.state for one in few] == ["beyond"]
    for wrong in ({"max_bytes": 0}, {"max_bytes": 4, "corpus_size": 0}, {"max_bytes": 4, "max_query_ms": -1}):
        with pytest.raises(ConfigError, match="must be above 0"):
            Limits(**wrong)


def test_a_setting_that_is_behind_at_the_first_look_is_not_measured_on_all(tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "FIRST_LOOK", 100)
    monkeypatch.setattr(looks, "LEAST_QUERIES", 10)
    docs = clustered_vectors(400, 32)
    wide = Objective.from_arrays(docs, clustered_vectors(100, 32, seed=1), source="train")
    assert len(wide.looks) == 2
    tried = search(tmp_path, wide, 10)
    stopped = [one for one in tried if one.state == "stopped"]
    assert stopped
    best = max(np.mean(one.attributes["first_overlaps"]) for one in tried)
    assert all(np.mean(one.attributes["first_overlaps"]) < best for one in stopped)


def test_a_search_for_speed_has_three_objectives(small_collection, tmp_path, objective, capsys):
    study = Study(tmp_path / "study", space(CHEAP), FOUR_BYTES, speed="search")
    study.search(objective, {"dataset": "d"}, trials=8)
    stored = [one for one in study._storage_study().get_trials() if one.values]
    assert {len(one.values) for one in stored} == {3}
    assert all(one.values[2] > 0 for one in stored)
    with pytest.raises(ConfigError, match="other speed: choose another --out"):
        search(tmp_path / "study", objective, 8)
    given = [*arguments(small_collection, tmp_path / "told", 6), "--speed", "search", "--processes", "2"]
    assert main(given) == 0
    assert "milliseconds a query" in (tmp_path / "told" / "study" / "tune.md").read_text()


def test_what_is_behind_but_faster_is_measured_on_all(tmp_path, objective):
    study = Study(tmp_path, space(CHEAP), FOUR_BYTES, speed="search")
    study._finished = lambda _: iter([{"first_overlaps": [9] * 50, "resident_bytes": 4, "first_cost": 2.0}])
    behind = {"first_overlaps": [1] * 50, "resident_bytes": 4}
    assert study._is_behind(behind | {"first_cost": 2.0}, None)
    assert not study._is_behind(behind | {"first_cost": 1.9}, None)


def test_a_search_of_before_there_were_times_goes_on(tmp_path):
    study = Study(tmp_path, space(CHEAP), FOUR_BYTES)
    study._finished = lambda _: iter([{"first_overlaps": [9] * 50, "resident_bytes": 4}])
    assert study._is_behind({"first_overlaps": [1] * 50, "resident_bytes": 4}, None)


def test_what_a_method_refuses_is_on_record_and_the_search_goes_on(tmp_path, objective):
    # 256 centroids for 258 documents are refused by nothing; 32 dimensions of 6 parts are
    tried = search(tmp_path, objective, 4, Limits(4), methods=("pq", "svd_binary"))
    assert len(tried) == 4
    few = Objective.from_arrays(clustered_vectors(150, 32), None)
    refused = search(tmp_path / "few", few, 2, Limits(4), methods=("pq", "svd_binary"))
    assert [one.state for one in refused] == ["failed", "measured"]
    assert "256" in refused[0].why


def arguments(collection: Path, out: Path, trials: int) -> list[str]:
    return [
        "tune", "--max-bytes", "4", "--trials", str(trials), "--methods", ",".join(CHEAP), "--out", str(out / "study"),
        "dataset=folder", f"dataset.path={collection}", "model=vectors",
        f"model.path={collection / 'vectors.safetensors'}", f"results_dir={out / 'results'}",
    ]  # fmt: skip


def test_killed_and_shared_by_two_processes(small_collection, tmp_path, capsys):
    command = [sys.executable, "-m", "harness.cli", *arguments(small_collection, tmp_path, 200)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    journal = tmp_path / "study" / "study.journal"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not journal.exists() or journal.read_text().count('"overlaps"') < 4):
        time.sleep(0.2)
    for process in killed:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = journal.read_text().count('"overlaps"')
    assert 4 <= before < 200
    capsys.readouterr()
    assert main(arguments(small_collection, tmp_path, before + 4)) == 0
    shown = capsys.readouterr().out
    assert "svd" in shown or "itq" in shown
    tried = Study(tmp_path / "study", space(CHEAP), Limits(4)).tried()
    assert len({one.number for one in tried}) == len(tried) >= before + 2
    page = (tmp_path / "study" / "tune.md").read_text()
    assert "On the test queries" in page
    assert (tmp_path / "study" / "tune.png").stat().st_size > 10_000
    # the yaml runs, and is the run that was measured: nothing is measured again
    given = arguments(small_collection, tmp_path, 1)[-5:]
    assert main(["run", "--config-dir", str(tmp_path / "study"), "method=tuned_4", *given]) == 0
    runs = list((tmp_path / "results" / "runs").glob("*/run.json"))
    records = [json.loads(path.read_text()) for path in runs]
    assert [record["method"]["name"] for record in records].count("tuned_4") == 1
    assert len(records) <= 2
    # and so does the command that is on record
    for record in records:
        assert main(shlex.split(record["command"])[1:]) == 0
    assert len(list((tmp_path / "results" / "runs").glob("*/run.json"))) == len(records)


def test_both_settings_on_the_test_queries_are_made_again_by_their_commands(small_collection, tmp_path):
    given = arguments(small_collection, tmp_path, 3)
    given[given.index("--methods") + 1] = "transform_coding,transform_entropy"
    assert main(given) == 0
    runs = tmp_path / "results" / "runs"
    commands = {record.parent: json.loads(record.read_text())["command"] for record in runs.glob("*/run.json")}
    assert any("method=transform_coding method.nbytes=4" in command for command in commands.values())
    for command in commands.values():
        assert main(shlex.split(command)[1:]) == 0
    assert {record.parent for record in runs.glob("*/run.json")} == set(commands)


def test_what_cannot_be_searched_is_said(small_collection, tmp_path, capsys):
    given = arguments(small_collection, tmp_path, 3)
    assert main([*given, "method=pq"]) == 1
    assert "leave method= out" in capsys.readouterr().err
    tight = [text if text != "4" else "1" for text in given]
    assert main([*tight, "--min-docs-per-second", "1e12", "--out", str(tmp_path / "tight")]) == 1
    assert "none of 3 settings keeps to the limits" in capsys.readouterr().err
    assert main([*given[:-3], "model=bm25", given[-1]]) == 1
    assert "one vector a document" in capsys.readouterr().err
    assert main([*given, "--queries", "train"]) == 1
    assert "has no train queries" in capsys.readouterr().err


def test_arrays_in_a_fitted_codec_out():
    docs, queries = clustered_vectors(300, 32), clustered_vectors(60, 32, seed=2)
    codec = tune(docs, queries, max_bytes=4, trials=4, methods=CHEAP)
    codes = codec.encode(docs)
    assert codes.nbytes == 4 * 300
    assert codec.search(queries, codes, 10)[1].shape == (60, 10)
    with pytest.raises(ConfigError, match="none of 1 settings keeps to the limits"):
        tune(docs, max_bytes=1, trials=1, methods=("rescore_binary_int8",))
    with pytest.raises(VectorsError, match="NaN"):
        tune(np.full((50, 4), np.nan), max_bytes=1)


def test_a_search_that_is_kept_is_of_these_vectors(tmp_path):
    options = {"max_bytes": 4, "trials": 1, "methods": CHEAP, "folder": tmp_path}
    tune(clustered_vectors(300, 32), **options)
    with pytest.raises(ConfigError, match="other vectors: choose another --out"):
        tune(clustered_vectors(300, 32, seed=9), **options)
