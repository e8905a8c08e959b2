"""A finished run is recognised without composing it, and never where anything that it hangs on has changed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from harness import cli
from harness.base import own_code
from harness.runs import config, inputs, recognition
from harness.runs.recognition import Finished
from harness.runs.store import Store


class Sweep:
    """A sweep over one configuration, and what its launcher was given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.asked: list[tuple[Any, ...]] = []
        note_name = recognition.note_name

        def noting(*arguments: Any) -> str | None:
            self.asked.append(arguments)
            return note_name(*arguments)

        monkeypatch.setattr(recognition, "note_name", noting)
        arguments = ["dataset=folder", f"dataset.path={folder / 'data'}", "model=vectors", "results_dir=results"]
        arguments += [f"model.path={folder / 'data' / 'vectors.safetensors'}", f"cache_dir={folder / 'cache'}"]
        assert cli.main(["sweep", "--config-dir", str(folder / "conf"), *arguments, "method=mine"]) == 0
        monkeypatch.setattr(recognition, "note_name", note_name)
        self.record = next(Store(folder / "results").records())

    def name(self) -> str | None:
        """Return the note's name, as a new process would find it."""
        for cached in (recognition._read, own_code.code_hash, recognition._inputs, config._shared, inputs._load):
            cached.cache_clear()
        return recognition.note_name(*self.asked[-1])

    def found(self) -> Finished | None:
        """Return what a new process would recognise."""
        name = self.name()
        return None if name is None else recognition.recognised(name, self.folder / "cache")


@pytest.fixture
def sweep(small_collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    shutil.copytree(small_collection, tmp_path / "data")
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "conf" / "method" / "mine.yaml").write_text(
        "_target_: methods.PerDimension\nbits: ${oc.decode:${oc.env:BITS}}\n"
    )
    monkeypatch.setenv("BITS", "4")
    monkeypatch.chdir(tmp_path)
    yield Sweep(tmp_path, monkeypatch)
    recognition._read.cache_clear()
    own_code.code_hash.cache_clear()


def test_a_sweep_and_its_jobs_call_a_configuration_by_one_name(sweep: Sweep) -> None:
    before, within = sweep.asked
    assert recognition.note_name(*before) == recognition.note_name(*within) is not None
    found = sweep.found()
    assert found is not None and found.path.resolve() == Store(sweep.folder / "results").path(sweep.record.run_id)
    assert found.setting == "mine"


def test_another_yaml_or_variable_or_folder_is_composed(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    name = sweep.name()
    with monkeypatch.context() as patch:
        patch.setenv("BITS", "8")
        assert sweep.name() != name and sweep.found() is None
    with monkeypatch.context() as patch:
        patch.chdir(sweep.folder / "conf")
        assert sweep.name() != name and sweep.found() is None
    assert sweep.found() is not None
    (sweep.folder / "conf" / "other.yaml").write_text("seed: 3\n")
    assert sweep.name() != name and sweep.found() is None


def test_code_that_changed_is_composed(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    package = sweep.folder / "package"
    package.mkdir()
    (package / "identity.py").write_text("VERSION = 1\n")
    monkeypatch.setattr(own_code, "files", lambda name: package)
    name = sweep.name()
    (package / "identity.py").write_text("VERSION = 2\n")
    assert sweep.name() != name


def test_other_documents_or_judgements_are_another_run(sweep: Sweep) -> None:
    corpus = sweep.folder / "data" / "corpus.jsonl"
    text = corpus.read_text()
    corpus.write_text(text.replace("text d000", "another text", 1))
    assert sweep.found() is None
    corpus.write_text(text)
    assert sweep.found() is not None
    qrels = next((sweep.folder / "data" / "qrels").iterdir())
    lines = qrels.read_text().splitlines()
    qrels.write_text("\n".join(lines[:-1]) + "\n")
    assert sweep.found() is None


def test_other_vectors_are_another_run(sweep: Sweep) -> None:
    path = sweep.folder / "data" / "vectors.safetensors"
    vectors = load_file(path)
    save_file({**vectors, "docs": np.nextafter(vectors["docs"], np.float32(2))}, path)
    assert sweep.found() is None


def test_a_record_that_is_gone_or_failed_or_renamed_is_composed(sweep: Sweep) -> None:
    store = Store(sweep.folder / "results")
    for changed in (
        dataclasses.replace(sweep.record, status="failed"),
        dataclasses.replace(sweep.record, dataset=dataclasses.replace(sweep.record.dataset, name="renamed")),
    ):
        store.rewrite(changed)
        assert sweep.found() is None
        store.rewrite(sweep.record)
        assert sweep.found() is not None
    (store.path(sweep.record.run_id) / "run.json").write_text("{")
    assert sweep.found() is None
    shutil.rmtree(store.path(sweep.record.run_id))
    assert sweep.found() is None


def test_a_note_that_is_damaged_is_no_note(sweep: Sweep) -> None:
    (path,) = (sweep.folder / "cache").rglob("recognised/*/*.json")
    content = json.loads(path.read_text())
    for text in ("", "[]", "{}", json.dumps({**content, "run_id": "another"}), json.dumps({**content, "config": {}})):
        path.write_text(text)
        assert sweep.found() is None


def test_what_a_yaml_may_take_from_anywhere_is_composed(sweep: Sweep) -> None:
    for text in ("seed=${now:%S}", "seed=${oc.env:${results_dir}}", "seed=${oc.env: 'A B'}"):
        assert recognition.note_name([text], *sweep.asked[-1][1:]) is None
    (sweep.folder / "conf" / "method" / "mine.yaml").write_text("_target_: methods.PerDimension\nbits: ${my.own:4}\n")
    assert sweep.name() is None


def test_methods_of_other_peoples_code_are_composed() -> None:
    assert recognition._is_ours({"_target_": "methods.Chain", "codec": {"_target_": "methods.PerDimension"}})
    assert not recognition._is_ours({"_target_": "methods.Chain", "codec": {"_target_": "mine.Codec"}})
    assert not recognition._is_ours({"_target_": "methods.Chain", "transforms": [{"_target_": "mine.Transform"}]})
