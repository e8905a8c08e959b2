"""Results of several people in one folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.base.errors import StoreError
from harness.evaluation.index_files import write_index
from harness.runs import merge as module
from harness.runs.config import run_id
from harness.runs.frame import load_runs
from harness.runs.merge import merge, merged_text
from harness.runs.record import Record
from harness.runs.store import PER_QUERY, RANKING, RECORD, Store
from methods.scalar.uniform import PerDimension
from tests.conftest import clustered_vectors

MODEL = {"content": "c0ffee", "prompt": "", "normalize": True}


def record(method: str = "int8", **changes: Any) -> dict[str, Any]:
    """A finished record; `dataset`, `model` and `numbers` change what it says."""
    identity = {
        "dataset": changes.get("dataset", "d" * 16),
        "model": {role: {**MODEL, **changes.get("model", {})} for role in ("document", "query")},
        "method": {"_target_": method},
        "k": 100,
        **changes.get("identity", {}),
    }
    metrics = {"ndcg_at_10": 0.5, "overlap_at_10": 0.9, **changes.get("numbers", {})}
    return {
        "run_id": run_id(identity),
        "status": "ok",
        "identity": identity,
        "model": {"name": changes.get("model_name", "m")},
        "dataset": {"name": changes.get("dataset_name", "scifact"), "n_docs": 2, "n_queries": 2},
        "method": {"name": method, "params": "", "scoring": "asymmetric", "family": "", "seed": None},
        "metrics": metrics,
        "float32": {"ndcg_at_10": 0.6},
        "storage": {"code_bytes_per_vector": 384.0, "state_bytes": 10, **changes.get("storage", {})},
        "seconds": {"fit": changes.get("seconds", 1.0)},
        **changes.get("more", {}),
    }


def read(content: dict[str, Any]) -> Record:
    return Record.from_json(content, content["run_id"])


def folder(path: Path, *records: dict[str, Any]) -> Path:
    store = Store(path)
    for item in records:
        values = {"ndcg_at_10": np.array([0.25, 0.75])}
        ranking = {"rows": np.zeros((2, 3), np.int32)}
        store.commit(item["run_id"], store.draft(item["run_id"]), read(item), ["a", "b"], values, ranking)
    return path


def runs(path: Path) -> set[str]:
    return {item.run_id for item in Store(path).records()}


def content(path: Path) -> dict[str, bytes]:
    return {str(item.relative_to(path)): item.read_bytes() for item in path.rglob("*") if item.is_file()}


def test_the_union_is_kept_once(tmp_path: Path) -> None:
    int8, int4, pq = record("int8"), record("int4"), record("pq")
    mine = folder(tmp_path / "mine", int8, int4)
    yours = folder(tmp_path / "yours", record("int8", seconds=9.0), pq)
    before = content(mine), content(yours)
    merged = merge([mine, yours], tmp_path / "ours")
    assert runs(tmp_path / "ours") == {item["run_id"] for item in (int8, int4, pq)}
    assert len(merged.copied) == 3 and merged.repeated == 1 and not merged.present
    assert (content(mine), content(yours)) == before, "the sources are not touched"
    store = Store(tmp_path / "ours")
    assert store.read(int8["run_id"]).seconds == {"fit": 1.0}, "the first of two that say the same"
    assert store.per_query(pq["run_id"])["ndcg_at_10"].tolist() == [0.25, 0.75]
    assert {path.name for path in store.path(pq["run_id"]).iterdir()} == {RECORD, PER_QUERY, RANKING}
    assert set(load_runs(tmp_path / "ours")["method"]) == {"int8", "int4", "pq"}
    assert merged_text(merged, Path("ours")) == "3 runs copied into ours, 1 came more than once\n"


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    mine = folder(tmp_path / "mine", record("int8"), record("int4"))
    merge([mine], tmp_path / "ours")
    before = content(tmp_path / "ours")
    merged = merge([mine, tmp_path / "ours", mine], tmp_path / "ours")
    assert not merged.copied and len(merged.present) == 2 and content(tmp_path / "ours") == before


def test_an_index_is_copied_too(tmp_path: Path) -> None:
    item, docs = record(), clustered_vectors(20, 8)
    mine, codec = folder(tmp_path / "mine", item), PerDimension().fit(docs)
    index = Store(mine).path(item["run_id"]) / "index"
    index.mkdir()
    write_index(index, codec, codec.encode(docs))
    merge([mine], tmp_path / "ours")
    assert content(Store(tmp_path / "ours").path(item["run_id"]) / "index") == content(index)
    Store(tmp_path / "ours").verify(item["run_id"])


@pytest.mark.parametrize("name", [PER_QUERY, RANKING, "index/codes.safetensors", "index/checksums.json"])
def test_what_is_damaged_is_not_copied(name: str, tmp_path: Path) -> None:
    item, docs = record(), clustered_vectors(20, 8)
    store, codec = Store(tmp_path / "mine"), PerDimension().fit(docs)
    draft = store.draft(item["run_id"])
    (draft / "index").mkdir()
    write_index(draft / "index", codec, codec.encode(docs))
    rows = {"rows": np.zeros((1, 3), np.int32)}
    path = store.commit(item["run_id"], draft, read(item), ["a"], {"x": np.zeros(1)}, rows)
    damaged = bytearray((path / name).read_bytes())
    damaged[-9] ^= 1
    (path / name).write_bytes(damaged)
    with pytest.raises(StoreError, match=name):
        merge([tmp_path / "mine"], tmp_path / "ours")
    assert not runs(tmp_path / "ours")
    (path / name).unlink()
    with pytest.raises(StoreError, match=name):
        merge([tmp_path / "mine"], tmp_path / "ours")


CONFLICTS = {
    "another collection of the same name": (
        [record("int4", dataset="e" * 16)],
        r"dataset 'scifact' is d{16} in .*mine \(run \w+\) but e{16} in .*yours",
    ),
    "another model of the same name": (
        [record("int4", model={"content": "decaf"})],
        r"model 'm' is .*c0ffee.* in .*mine .* but .*decaf.* in .*yours",
    ),
    "the same model on another collection, of other weights": (
        [record("int4", model={"content": "decaf"}, dataset="e" * 16, dataset_name="nfcorpus")],
        r"model 'm' is .*c0ffee.* but .*decaf",
    ),
    "the same weights with another prompt": (
        [record("int4", model={"prompt": "query: "})],
        r"the encoding by model 'm on scifact' is .* but .*query: ",
    ),
    "another score of the same run": (
        [record("int8", numbers={"ndcg_at_10": 0.500002})],
        r"run \w+ \(int8 on scifact\) has ndcg_at_10 0\.5 in .*mine but 0\.500002 in .*yours",
    ),
    "another size of the same run": (
        [record("int8", storage={"state_bytes": 11})],
        r"has storage state_bytes 10 in .*mine but 11 in .*yours",
    ),
    "a score that is no number": (
        [record("int8", numbers={"ndcg_at_10": float("nan")})],
        r"ndcg_at_10 0\.5 in .*mine but nan in .*yours",
    ),
}


@pytest.mark.parametrize("case", CONFLICTS)
@pytest.mark.parametrize("into_mine", [False, True])
def test_records_that_disagree_are_refused(case: str, into_mine: bool, tmp_path: Path) -> None:
    others, message = CONFLICTS[case]
    mine, yours = folder(tmp_path / "mine", record("int8")), tmp_path / "yours"
    for item in others:
        path = Store(yours).path(item["run_id"])
        path.mkdir(parents=True)
        (path / RECORD).write_text(json.dumps(item))
    target = mine if into_mine else tmp_path / "ours"
    before = content(mine)
    with pytest.raises(StoreError, match=f"nothing was merged, since records disagree: .*{message}") as caught:
        merge([yours] if into_mine else [mine, yours], target)
    assert "\n" not in str(caught.value) and str(caught.value).count(" but ") == 1, "one reason, once"
    assert content(mine) == before and (into_mine or not target.exists())


def test_what_agrees_is_no_conflict(tmp_path: Path) -> None:
    mine = folder(tmp_path / "mine", record("int8"))
    within = record("int8", numbers={"ndcg_at_10": 0.5 + 9e-7})
    fewer = record("int8")
    fewer["metrics"].pop("overlap_at_10")
    elsewhere = record("int8", dataset="e" * 16, dataset_name="nfcorpus")
    # a model that MTEB prompts for each task has other vectors on each
    prompted = record("pq", dataset="f" * 16, dataset_name="arguana", model={"prompt": "argue: "})
    merged = merge(
        [mine, *(folder(tmp_path / f"{i}", r) for i, r in enumerate((within, fewer, elsewhere, prompted)))],
        tmp_path / "ours",
    )
    assert len(merged.copied) == 3 and merged.repeated == 2


def test_a_folder_with_two_collections_of_one_name_is_merged_as_it_is(tmp_path: Path) -> None:
    """Reports mark the name for each of the two; what refuses is a folder that knows only one of them."""
    both = folder(tmp_path / "both", record("int8"), record("int4", dataset="e" * 16))
    merged = merge([both], tmp_path / "ours")
    assert len(merged.copied) == 2
    one = folder(tmp_path / "one", record("pq", dataset="d" * 16))
    assert len(merge([one, both], tmp_path / "more").copied) == 3
    other = folder(tmp_path / "other", record("pq", dataset="f" * 16))
    with pytest.raises(StoreError, match="dataset.name=... relabels what is recorded"):
        merge([both, other], tmp_path / "none")


def test_many_conflicts_are_counted(tmp_path: Path) -> None:
    names = [f"m{i}" for i in range(9)]
    mine = folder(tmp_path / "mine", *(record(name) for name in names))
    yours = folder(tmp_path / "yours", *(record(name, numbers={"ndcg_at_10": 0.7}) for name in names))
    with pytest.raises(StoreError, match="and 4 more$"):
        merge([mine, yours], tmp_path / "ours")


def test_a_part_that_was_searched_is_the_same_collection(tmp_path: Path) -> None:
    """With fit_disjoint=true the record describes a part of the collection, whose identity is the whole one's."""
    whole = record("int8")
    part = record("int8", identity={"fit_disjoint": True, "fit_sample": 1})
    part["dataset"]["fingerprint"] = "p" * 16
    merged = merge([folder(tmp_path / "mine", whole), folder(tmp_path / "yours", part)], tmp_path / "ours")
    assert len(merged.copied) == 2


def test_a_dataset_for_fitting_has_a_name_too(tmp_path: Path) -> None:
    mine = folder(tmp_path / "mine", record("int8"))
    other = record(
        "int4",
        dataset="e" * 16,
        dataset_name="nfcorpus",
        identity={"fit_dataset": "f" * 16},
        more={"fit_dataset": {"name": "scifact", "n_docs": 2, "n_queries": 0}},
    )
    with pytest.raises(StoreError, match="dataset 'scifact' is d{16} .* but f{16}"):
        merge([mine, folder(tmp_path / "yours", other)], tmp_path / "ours")


@pytest.mark.parametrize("into_mine", [False, True])
def test_the_fullest_record_of_a_run_is_kept(into_mine: bool, tmp_path: Path) -> None:
    failed = {**record("int8"), "status": "failed", "error": "MethodError: no", "metrics": {}}
    for key in ("metrics", "float32", "storage", "seconds"):
        failed.pop(key)
    costly = record("int8", more={"cost": {"seconds": {}}})
    mine = folder(tmp_path / "mine", failed)
    yours, theirs = folder(tmp_path / "yours", record("int8")), folder(tmp_path / "theirs", costly)
    target = mine if into_mine else tmp_path / "ours"
    merged = merge([mine, yours, theirs], target)
    kept = Store(target).read(costly["run_id"])
    assert kept.ok and kept.cost is not None
    assert (merged.replaced if into_mine else merged.copied) == [costly["run_id"]]
    assert [path.name for path in Store(target).runs.iterdir()] == [costly["run_id"]]


def test_a_record_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    item = record("int8")
    item["identity"]["k"] = 10
    with pytest.raises(StoreError, match="does not have the id of what it says"):
        merge([folder(tmp_path / "mine", item)], tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
    moved = record("int8")
    path = folder(tmp_path / "yours", moved)
    Store(path).path(moved["run_id"]).rename(path / "runs" / "another")
    with pytest.raises(StoreError, match="another"):
        merge([path], tmp_path / "ours")


def test_folders_without_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no runs are on record in .*none"):
        merge([folder(tmp_path / "mine", record()), tmp_path / "none"], tmp_path / "ours")
    partial = folder(tmp_path / "partial", record())
    path = next(partial.rglob(RECORD))
    path.write_text(json.dumps({"run_id": path.parent.name, "status": "ok"}))
    with pytest.raises(StoreError, match="not complete"):
        merge([partial], tmp_path / "ours")


def test_an_interruption_leaves_whole_records_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = folder(tmp_path / "mine", *(record(name) for name in ("a", "b", "c", "d")))
    copyfile, calls = module.shutil.copyfile, []

    def interrupted(source: Path, to: Path) -> None:
        calls.append(source)
        if len(calls) == 4:  # between the two files of the second record
            raise KeyboardInterrupt
        copyfile(source, to)

    monkeypatch.setattr(module.shutil, "copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        merge([mine], tmp_path / "ours")
    assert len(list((tmp_path / "ours" / "runs").iterdir())) == 1, "no draft is left"
    done = runs(tmp_path / "ours")
    monkeypatch.setattr(module.shutil, "copyfile", copyfile)
    merged = merge([mine], tmp_path / "ours")
    assert set(merged.present) == done and len(merged.copied) == 3
    assert runs(tmp_path / "ours") == runs(mine) and content(tmp_path / "ours") == content(mine)
