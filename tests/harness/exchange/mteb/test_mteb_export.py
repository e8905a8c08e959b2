"""Records as MTEB's files, read back by MTEB, and its published figures beside ours."""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.base.errors import StoreError
from harness.exchange.mteb.export import export
from harness.exchange.mteb.naming import NotInMtebError, compression, model_of, name_of, revision_of, task_of
from harness.exchange.mteb.published import TOLERANCE, compare_published, published_text
from harness.runs.distinct_names import identity_columns
from harness.runs.record import ModelEntry, Record
from harness.runs.run import run
from harness.runs.store import Store
from tests.harness.runs.test_run import configuration
from tests.lazy_packages import LazyPackage

mteb = LazyPackage("mteb")
pytestmark = mteb.mark

SETTINGS = {
    "float32": [],
    "int8": ["method.bits=4"],
    "pq": ["method.m=8", "method.bits=4", "seed=0"],
    "pq ": ["method.m=8", "method.bits=4", "seed=1"],
}
MODELS = {"vectors": "example/Encoder"}
OURS_ALONE = {"ndcg_at_10_ties", "ndcg_exp_at_10", "tie_at_10"}


@pytest.fixture(scope="module")
def results(small_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for name, overrides in SETTINGS.items():
        method = name.strip()
        given = [f"method={method}", *overrides]
        run(configuration(small_collection, folder, "dataset.name=tiny", *given), method, given)
    return folder


@pytest.fixture
def records(results: Path) -> list[Record]:
    return list(Store(results).records())


def result_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.json") if path.name != "model_meta.json")


def test_mtebs_cache_finds_the_same_scores(records: list[Record], tmp_path: Path) -> None:
    done = export(records, tmp_path, models=MODELS)
    assert len(done.files) == len(records) == 4 and not done.skipped
    assert sorted(done.files) == sorted(result_files(tmp_path))
    loaded = mteb.ResultCache(tmp_path).load_results(load_experiments="match_name")
    assert {result.model_name for result in loaded.model_results} == {"example/Encoder"}
    found = {}
    for result in loaded.model_results:
        kwargs = result.model_meta.experiment_kwargs
        found[kwargs["method"], kwargs.get("seed")] = (kwargs, result.task_results[0])
    for record in records:
        method, storage = record.method, record.storage
        kwargs, result = found[method.name, method.seed]
        assert result.task_name == "tiny" and result.dataset_revision.endswith(str(record.dataset.fingerprint))
        assert result.main_score == pytest.approx(record.metrics["ndcg_at_10"], abs=1e-6)
        assert kwargs["scoring"] == "asymmetric"
        assert kwargs.get("params", "") == method.params
        assert kwargs["code_bytes_per_vector"] == storage.code_bytes_per_vector
        scores = result.scores["test"][0]
        for name in ("recall_at_100", "map_at_100", "mrr_at_10", "ndcg_at_1"):
            assert scores[name] == pytest.approx(record.metrics[name], abs=1e-6)
        assert scores["state_bytes"] == storage.state_bytes and scores["vecbudget_run_id"] == record.run_id
        assert "ndcg_at_1000" not in scores and "precision_at_10" not in scores, "nothing that was not measured"


def test_mtebs_cache_selects_by_compression(records: list[Record], tmp_path: Path) -> None:
    path = next(path for path in export(records, tmp_path, models=MODELS).files if "method_int8" in str(path))
    kwargs = json.loads((path.parent / "model_meta.json").read_text())["experiment_kwargs"]
    assert kwargs == {"method": "int8", "params": "bits=4", "scoring": "asymmetric", "code_bytes_per_vector": 16.0}
    cache = mteb.ResultCache(tmp_path)
    selected = cache.load_results(experiment_kwargs=kwargs)
    assert [result.experiment_name for result in selected.model_results] == [path.parent.name]
    revision = path.parents[2].name
    one = cache.load_task_result("tiny", "example/Encoder", revision, experiment_name=path.parent.name)
    expected = next(record for record in records if record.method.name == "int8").metrics["ndcg_at_10"]
    assert one.main_score == pytest.approx(expected, abs=1e-6)
    assert not cache.load_results(load_experiments="no_experiments").model_results, "none is the model's own"


def test_exporting_again_changes_nothing(records: list[Record], tmp_path: Path) -> None:
    export(records, tmp_path, models=MODELS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    export([*records, records[0]], tmp_path, models=MODELS)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before


def test_a_task_of_mtebs_is_described_by_mteb(records: list[Record], tmp_path: Path) -> None:
    done = export(records[:1], tmp_path, tasks={"tiny": "SciFact"}, models=MODELS)
    result = mteb.results.TaskResult.from_disk(done.files[0])
    assert result.task_name == "SciFact" and result.languages == ["eng"]
    assert result.dataset_revision.startswith("vecbudget-"), "MTEB's revision is not claimed for a folder"


def test_subsets_share_a_file(records: list[Record], tmp_path: Path) -> None:
    languages = []
    for number, subset in enumerate(("eng", "deu")):
        dataset = {
            "_target_": "harness.data.datasets.MtebTask",
            "name": "MIRACLRetrieval",
            "split": None,
            "subset": subset[:2],
        }
        config = {**records[0].config, "dataset": dataset}
        metrics = {**records[0].metrics, "ndcg_at_10": 0.25 + 0.5 * number}
        languages.append(replace(records[0], run_id=f"run{number}", config=config, metrics=metrics))
    path = export(languages, tmp_path, models=MODELS).files
    assert [item.name for item in path] == ["MIRACLRetrieval.json"]
    result = mteb.results.TaskResult.from_disk(path[0])
    assert set(result.scores) == {"dev"} and sorted(result.hf_subsets) == ["de", "en"]
    assert result.main_score == pytest.approx(0.5) and result.get_score(languages=["deu"]) == pytest.approx(0.75)


def test_what_has_no_place_is_left_out_and_said(records: list[Record], tmp_path: Path) -> None:
    failed, divided, unjudged, fine = records
    failed = replace(failed, status="failed")
    divided = replace(divided, identity=replace(divided.identity, fit_disjoint=True))
    metrics = {name: mean for name, mean in unjudged.metrics.items() if name != "ndcg_at_10"}
    unjudged = replace(unjudged, metrics=metrics, dataset=replace(unjudged.dataset, has_qrels=False))
    done = export([failed, divided, unjudged, fine], tmp_path, models=MODELS)
    assert len(done.files) == 1
    assert set(done.skipped) == {failed.run_id, divided.run_id, unjudged.run_id}
    assert "failed" in done.skipped[failed.run_id] and "no judgements" in done.skipped[unjudged.run_id]


def test_a_task_ranked_by_what_is_not_measured_is_left_out(records: list[Record], tmp_path: Path) -> None:
    name = next(
        task.metadata.name
        for task in mteb.get_tasks(task_types=["Retrieval"], modalities=["text"])
        if task.metadata.main_score not in records[0].metrics and len(task.metadata.hf_subsets) == 1
    )
    done = export(records[:1], tmp_path, tasks={"tiny": name}, models=MODELS)
    assert not done.files and "not measured" in done.skipped[records[0].run_id]


def test_two_runs_with_one_place_are_refused(records: list[Record], tmp_path: Path) -> None:
    other = replace(records[0], run_id="elsewhere")
    with pytest.raises(StoreError, match=r"elsewhere are both"):
        export([records[0], other], tmp_path, models=MODELS)
    assert not list(result_files(tmp_path))


IDENTITIES = st.fixed_dictionaries(
    {
        "label": st.sampled_from(["docs", "docs", "Docs", "a/b", "a_b"]),
        "fingerprint": st.sampled_from(["f1" * 8, "f2" * 8]),
        "split": st.sampled_from(["test", "test", "dev"]),
        "model": st.sampled_from(["vectors", "vectors", "e5"]),
        "content": st.sampled_from(["0a1" * 8, "0b2" * 8]),
        "revision": st.sampled_from(["", "", "r1", "r2"]),
        "queries": st.sampled_from(["", "query: "]),
        "method": st.sampled_from(["int8", "int8", "pq"]),
        "bits": st.sampled_from([4, 8]),
        "k": st.sampled_from([3, 100]),
        "seed": st.integers(0, 1),
    }
)


def drawn(record: Record, draw: dict[str, Any]) -> Record:
    """A record of another collection, model, method or depth; its id is the hash of all of it but the labels."""
    by_role = {role: {"vectors": draw["content"], "revision": draw["revision"]} for role in ("document", "query")}
    by_role["query"]["prompt"] = draw["queries"]
    identity = replace(
        record.identity,
        dataset=draw["fingerprint"],
        model=by_role,
        method={"_target_": "methods.PerDimension", "bits": draw["bits"], "seed": draw["seed"]},
        k=draw["k"],
    )
    name = hashlib.sha256(json.dumps(identity.to_json(), sort_keys=True).encode()).hexdigest()[:12]
    config = {**record.config, "dataset": {**record.config["dataset"], "split": draw["split"]}}
    return replace(
        record,
        run_id=name,
        identity=identity,
        config=config,
        dataset=replace(record.dataset, name=draw["label"], fingerprint=draw["fingerprint"]),
        model=ModelEntry(name=draw["model"]),
        method=replace(record.method, name=draw["method"], params="", seed=draw["seed"]),
    )


def meant(record: Record) -> tuple[str, ...]:
    """What a record is of, its seed aside."""
    of = identity_columns(record)
    return tuple(str(of[name]) for name in ("dataset_id", "model_id", "method_id", "k"))


def put_together(out: Path, records: list[Record]) -> list[str]:
    """Check what is in a folder of results, and return the runs: what MTEB takes for one thing is one."""
    of_run = {record.run_id: record for record in records}
    meanings: dict[str, set[tuple[str, ...]]] = {}
    found = []
    for path in result_files(out):
        meta = json.loads((path.parent / "model_meta.json").read_text())
        result = json.loads(path.read_text())
        kwargs = {key: value for key, value in meta["experiment_kwargs"].items() if key != "seed"}
        entries = [entry for split in result["scores"].values() for entry in split]
        known = [of_run[entry["vecbudget_run_id"]] for entry in entries]
        assert {result["dataset_revision"]} == {f"vecbudget-{record.dataset.fingerprint}" for record in known}
        # MTEB's tables know a row by these names, and average over splits and subsets
        key = json.dumps([meta["name"], kwargs, result["task_name"].casefold()], sort_keys=True)
        meanings.setdefault(key, set()).update(map(meant, known))
        found += [record.run_id for record in known]
    assert all(len(things) == 1 for things in meanings.values()), meanings
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(IDENTITIES, min_size=1, max_size=7), st.integers(0, 7))
def test_what_shares_names_is_told_apart_or_refused(results: Path, draws: list[dict[str, Any]], divided: int) -> None:
    """Whatever labels, contents, models, depths and seeds: all at once, or in two exports to one folder."""
    usual = next(Store(results).records())
    records = list({record.run_id: record for record in (drawn(usual, draw) for draw in draws)}.values())
    with tempfile.TemporaryDirectory() as name:
        export(records, Path(name))
        assert sorted(put_together(Path(name), records)) == sorted(record.run_id for record in records)
    with tempfile.TemporaryDirectory() as name:
        for part in (records[:divided], records[divided:]):
            with contextlib.suppress(StoreError):
                export(part, Path(name))
        assert len(put_together(Path(name), records)) > 0


def test_collections_of_one_name_are_marked_and_said(records: list[Record], tmp_path: Path) -> None:
    other = replace(records[0], run_id="other", dataset=replace(records[0].dataset, fingerprint="0123456789abcdef"))
    done = export([records[0], other], tmp_path, models=MODELS)
    fingerprint = str(records[0].dataset.fingerprint)
    assert {path.name for path in done.files} == {"tiny [012345].json", f"tiny [{fingerprint[:6]}].json"}
    assert done.shared_names == ["tiny"]
    assert {mteb.results.TaskResult.from_disk(path).task_name for path in done.files} == {
        path.stem for path in done.files
    }


def test_an_earlier_export_is_neither_lost_nor_mixed(records: list[Record], tmp_path: Path) -> None:
    export(records[:1], tmp_path, models=MODELS)
    again = replace(records[0], run_id="again")
    with pytest.raises(StoreError, match="holds run .* would be lost; choose another --out"):
        export([again], tmp_path, models=MODELS)
    other = replace(records[1], run_id="other", dataset=replace(records[1].dataset, fingerprint="0123456789abcdef"))
    with pytest.raises(StoreError, match="another collection called tiny .*choose another --out"):
        export([other], tmp_path, models=MODELS)
    assert len(list(result_files(tmp_path))) == 1
    export(records, tmp_path, models=MODELS)


def test_names_of_models() -> None:
    commit = {"model": "sentence-transformers/all-MiniLM-L6-v2", "revision": "8b3219a92973"}
    assert name_of("all-MiniLM-L6-v2", commit) == commit["model"] and revision_of(commit) == "8b3219a92973"
    folder = {"content": "0123456789abcdef0123", "prompt": ""}
    assert name_of("tuned", folder) == "local/tuned" and revision_of(folder) == "content-0123456789ab"
    assert name_of("x", folder, "harness.data.models.Minilm") == "sentence-transformers/all-MiniLM-L6-v2"
    assert revision_of({"vectors": "the dataset's own"}, "feedbeef") == "vectors-feedbeef"
    assert name_of("m", {"mteb": "intfloat/e5-small", "revision": "a"}) == "intfloat/e5-small"


def test_settings_of_the_model_and_depth_are_part_of_the_experiment(records: list[Record], tmp_path: Path) -> None:
    model, identity = ModelEntry(name="vectors truncate_dim=128"), replace(records[0].identity, k=20)
    record = replace(records[0], model=model, identity=identity)
    assert model_of(record, MODELS)[0] == "example/Encoder"
    path = export([record], tmp_path, models=MODELS).files[0]
    kwargs = json.loads((path.parent / "model_meta.json").read_text())["experiment_kwargs"]
    assert kwargs["model_settings"] == "truncate_dim=128" and kwargs["k"] == 20
    assert compression("int8", "", "asymmetric", None) == {"method": "int8", "scoring": "asymmetric"}


def test_a_subset_is_not_guessed(records: list[Record]) -> None:
    with pytest.raises(NotInMtebError, match="subsets"):
        task_of(records[0], {"tiny": "MIRACLRetrieval"})


def publish(records: list[Record], folder: Path, change: float = 0.0, name: str = "tiny", **entries: Any) -> Path:
    """A published result of the float32 vectors, in MTEB's layout."""
    scores = {key: value + change for key, value in records[0].float32.items() if key not in OURS_ALONE}
    entry = {**scores, "main_score": scores["ndcg_at_10"], "hf_subset": "default", "languages": ["eng-Latn"], **entries}
    result = mteb.results.TaskResult(
        task_name=name, dataset_revision="1", mteb_version="2.0.0", scores={"test": [entry]}, evaluation_time=1.0
    )
    path = folder / "results" / "example__Encoder" / "abcdef" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result.to_disk(path)
    (path.parent / "model_meta.json").write_text(json.dumps({"name": "example/Encoder", "revision": "abcdef"}))
    return path


def test_the_same_figure_agrees(records: list[Record], tmp_path: Path) -> None:
    publish(records, tmp_path, name="Tiny")
    (baseline,), without = compare_published(records, tmp_path, models=MODELS)
    assert not without and not baseline.off() and baseline.revision == "abcdef"
    assert set(baseline.differences) == set(records[0].float32) - OURS_ALONE
    assert "agrees, 9 metrics" in published_text([baseline], [])


@pytest.mark.parametrize("change, differs", [(0.9 * TOLERANCE, False), (-1.1 * TOLERANCE, True)])
def test_a_thousandth_is_where_agreement_ends(
    records: list[Record], tmp_path: Path, change: float, differs: bool
) -> None:
    path = publish(records, tmp_path, change)
    (baseline,), _ = compare_published(records, path, models=MODELS)
    assert bool(baseline.off()) == differs
    assert ("DIFFERS in ndcg_at_1 by +0.0011" in published_text([baseline], [])) == differs


def test_experiments_and_other_models_are_no_baseline(records: list[Record], tmp_path: Path) -> None:
    export(records, tmp_path, models=MODELS)
    published = publish(records, tmp_path / "elsewhere")
    shutil.move(published.parents[1], tmp_path / "results" / "another__Encoder")
    meta = tmp_path / "results" / "another__Encoder" / "abcdef" / "model_meta.json"
    meta.unlink()
    baselines, without = compare_published(records, tmp_path, models=MODELS)
    assert not baselines and without == ["vectors on tiny"]
    assert published_text(baselines, without) == "vectors on tiny: nothing published there\n"
    # by the names of its folders
    (baseline,), _ = compare_published(records, tmp_path, models={"vectors": "another/Encoder"})
    assert baseline.revision == "abcdef"


def test_a_lone_file_is_of_the_only_model(records: list[Record], tmp_path: Path) -> None:
    path = publish(records, tmp_path)
    lone = tmp_path / "tiny.json"
    shutil.copy(path, lone)
    (baseline,), _ = compare_published(records, lone)
    assert not baseline.off() and baseline.revision == ""
    second = replace(records[0], model=ModelEntry(name="second"))
    with pytest.raises(StoreError, match="does not say of which model"):
        compare_published([*records, second], lone)


def test_what_cannot_be_read_is_said(records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no file or folder"):
        compare_published(records, tmp_path / "none")
    broken = tmp_path / "tiny.json"
    broken.write_text("{}")
    with pytest.raises(StoreError, match=r"tiny\.json is no task result of MTEB"):
        compare_published(records, broken)
    with pytest.raises(StoreError, match="no run on record has judgements"):
        compare_published([], tmp_path)
