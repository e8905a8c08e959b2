"""Names are labels: changing one measures nothing again, and reports show the new one."""

import logging
import shutil
from pathlib import Path

import pytest

from harness.runs.frame import load_runs
from harness.runs.run import run
from harness.runs.store import PER_QUERY, RECORD, Store
from tests.harness.runs.test_run import configuration


def test_another_name_relabels_the_record(
    small_collection: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = ["method=int8", "dataset.name=old"], ["method=int8", "dataset.name=new"]
    run_id = run(configuration(small_collection, tmp_path, *first), "int8", first)
    store = Store(tmp_path)
    before, scores = store.read(run_id), (store.path(run_id) / PER_QUERY).stat()
    with caplog.at_level(logging.INFO):
        assert run(configuration(small_collection, tmp_path, *second), "int8", second) == run_id
    assert caplog.messages[-1].count("\n") == 0 and "old is called new now" in caplog.messages[-1]
    after = store.read(run_id)
    assert load_runs(tmp_path)["dataset"].tolist() == ["new"]
    assert (store.path(run_id) / PER_QUERY).stat() == scores and after.created == before.created
    assert after.metrics == before.metrics and after.identity == before.identity
    assert after.command == before.command.replace("=old", "=new"), "repeating it does not bring the old name back"
    assert after.config["dataset"]["name"] == "new"
    store.verify(run_id)
    assert [path.name for path in store.path(run_id).iterdir() if path.name.startswith(".")] == []
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run(configuration(small_collection, tmp_path, *second), "int8", second)
    assert "is called" not in caplog.messages[-1], "once is enough"


def test_a_model_and_a_collection_for_fitting_are_relabelled_likewise(small_collection: Path, tmp_path: Path) -> None:
    other = tmp_path / "e5.safetensors"
    shutil.copy(small_collection / "vectors.safetensors", other)
    fitted = ["dataset@fit_dataset=folder", f"fit_dataset.path={small_collection}", "method=int8"]
    first = [*fitted, "fit_dataset.name=there"]
    second = [*fitted, "fit_dataset.name=elsewhere", f"model.path={other}"]
    run_id = run(configuration(small_collection, tmp_path, *first, "method.bits=4"), "int8", [*first, "method.bits=4"])
    again = run(configuration(small_collection, tmp_path, *second, "method.bits=4"), "int8", [*second, "method.bits=4"])
    assert again == run_id
    row = load_runs(tmp_path).iloc[0]
    assert (row["model"], row["params"]) == ("e5", "fit_dataset=elsewhere bits=4")
    record = Store(tmp_path).read(run_id)
    assert record.fit_dataset is not None and record.fit_dataset.name == "elsewhere"


def test_a_record_that_two_methods_share_keeps_its_method(small_collection: Path, tmp_path: Path) -> None:
    first, second = ["method=int8", "method.bits=6"], ["method=int6", "dataset.name=new"]
    run_id = run(configuration(small_collection, tmp_path, *first), "int8", first)
    assert run(configuration(small_collection, tmp_path, *second), "int6", second) == run_id
    record = Store(tmp_path).read(run_id)
    assert (record.dataset.name, record.method.setting) == ("new", "int8 bits=6")
    assert "method=int8 method.bits=6" in record.command


def test_a_record_of_before_the_checksums_is_relabelled(small_collection: Path, tmp_path: Path) -> None:
    import json

    overrides = ["method=int8"]
    run_id = run(configuration(small_collection, tmp_path, *overrides), "int8", overrides)
    path = Store(tmp_path).path(run_id) / RECORD
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: part for key, part in content.items() if key not in ("files", "checksum")}))
    run(configuration(small_collection, tmp_path, *overrides, "dataset.name=new"), "int8", overrides)
    assert Store(tmp_path).read(run_id).dataset.name == "new"
    Store(tmp_path).verify(run_id)
