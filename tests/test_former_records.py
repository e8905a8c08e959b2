"""What version 0.1 left: its records are read, keep their ids and are not made again; its exports rank the same.

`samples/version_0_1` was made by the last commit before parts went by public names: seven records, three exports, and
the identities of 190 runs, one of each method's yaml of then, on the vectors beside them with seed=1.
"""

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from harness.runs.catalogue import members
from harness.runs.config import MethodSpec, run_id
from harness.runs.frame import load_runs
from harness.runs.inputs import Inputs
from harness.runs.merge import merge
from harness.runs.record import SCHEMA, Record
from harness.runs.run import run
from harness.runs.store import RECORD, Store
from tests.conftest import ROOT
from vecbudget import CompressedIndex
from vecbudget.former_names import FORMER, current_names

SAMPLES = ROOT / "tests" / "samples" / "version_0_1"
IDENTITIES: dict[str, dict[str, Any]] = json.loads((SAMPLES / "identities.json").read_text(encoding="utf-8"))
RECORDS = sorted(path.name for path in (SAMPLES / "results" / "runs").iterdir())
EXPORTS = sorted(path.name for path in (SAMPLES / "exports").iterdir())
SHARING = (
    *("float32", "int8", "lucene_int4", "lucene_int7", "milvus_bf16", "opensearch_fp16", "redis_svs_lvq4"),
    *("sqlite_vec_bit", "usearch_b1", "usearch_bf16", "usearch_i8", "voyage_binary", "voyage_int8"),
)
"""Methods of then that share the parameters, and so the id, of one that the samples name."""

PLAIN = ["method.renormalize=false"]
FORMER_DEFAULTS = (
    {"binary": ["method.centre=none", "method.scale=unit", *PLAIN]}
    | {"binary_median": ["method.centre=none", "method.scale=unit", "method.threshold=median", *PLAIN]}
    | {"int2": ["method.renormalize=true"]}
    | {name: ["method.centre=none", *PLAIN] for name in ("turboquant", "eden")}
    | {
        name: ["method.centre=none", "method.codec.scale=unit", *PLAIN]
        for name in ("itq", "svd_binary", "lsh", "super_bit")
    }
    | dict.fromkeys(("pq", "pq4", "opq", "rq", "prq", "lsq", "plsq", "caq", "int3", "int4", "lloyd", "lvq"), PLAIN)
    | {
        name: ["method.transforms.0.centre=none"]
        for name in ("transform_coding", "transform_trellis", "transform_entropy")
    }
    | {"distill_pq": ["method.watch=loss", "method.patience=5"]}
    | dict.fromkeys(("rotated_lvq", "float4", "mopq", "jpq", "repconc", "poeem"), PLAIN)
)
"""What brings back the settings that these methods had by default then, and with them the ids of then."""

VECTORS = ["dataset=vectors", "dataset.docs=docs.npy", "dataset.queries=queries.npy", "dataset.qrels=qrels.tsv"]


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the samples, in which to run: their commands name files in the working directory."""
    folder = tmp_path / "samples"
    shutil.copytree(SAMPLES, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def composed() -> Iterator[None]:
    """Hydra with the project's configurations."""
    with initialize_config_module("configs", version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def written(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((SAMPLES / "results" / "runs" / name / RECORD).read_text(encoding="utf-8"))
    return content


def overrides_of(record: Record) -> list[str]:
    return [*shlex.split(record.command)[2:], *FORMER_DEFAULTS.get(record.method.name, [])]


def test_the_samples_are_there() -> None:
    assert len(IDENTITIES) == 190 and len(RECORDS) == 7 and len(EXPORTS) == 3
    assert all("schema" not in written(name) for name in RECORDS)


def test_identities_keep_their_ids_under_former_names_and_todays() -> None:
    renamed = 0
    for identifier, sample in IDENTITIES.items():
        today = current_names(sample["identity"])
        renamed += today != sample["identity"]
        assert run_id(sample["identity"]) == run_id(today) == identifier, sample["method"]
    assert renamed == len(IDENTITIES), "every method had a part of another name"


def test_every_yaml_of_then_still_has_its_id(composed: None, samples: Path) -> None:
    cfg = compose("config", overrides=[*VECTORS, "seed=1", "method=float32"])
    methods = [sample["method"] for sample in IDENTITIES.values()] + list(SHARING)
    assert len(set(methods)) == 203 and set(methods) <= set(members("method"))
    ids = {}
    for name in methods:
        # as Hydra composes it, which takes a tenth of a second for each
        cfg.method = OmegaConf.create(members("method")[name].read_text(encoding="utf-8"))
        for key, value in (part.split("=") for part in FORMER_DEFAULTS.get(name, [])):
            OmegaConf.update(cfg, key, OmegaConf.from_dotlist([f"x={value}"]).x)
        ids[name] = Inputs.of(cfg).run_id
    wrong = [name for name, identifier in ids.items() if identifier not in IDENTITIES]
    assert not wrong and set(ids.values()) == set(IDENTITIES)
    for name in methods[::40]:
        overrides = [*VECTORS, "seed=1", f"method={name}", *FORMER_DEFAULTS.get(name, [])]
        assert Inputs.of(compose("config", overrides=overrides)).run_id == ids[name]


def test_new_defaults_are_another_run(composed: None, samples: Path) -> None:
    cfg = compose("config", overrides=[*VECTORS, "seed=1", "method=float32"])
    for name in FORMER_DEFAULTS:
        cfg.method = OmegaConf.create(members("method")[name].read_text(encoding="utf-8"))
        assert Inputs.of(cfg).run_id not in IDENTITIES, name


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_read_whole_and_keeps_its_id(name: str) -> None:
    record, before = Store(SAMPLES / "results").read(name), written(name)
    assert record.run_id == name == run_id(record.identity.to_json())
    assert record.schema == SCHEMA and record.files == before.pop("files") and record.checksum == before.pop("checksum")
    assert record.to_json() == {"schema": SCHEMA, **current_names(before)}, "nothing is lost"
    assert list(record.to_json()) == ["schema", *before], "and all of it is where it was"
    Store(SAMPLES / "results").verify(name)


def test_what_this_version_does_not_know_is_kept(tmp_path: Path) -> None:
    content = written(RECORDS[0])
    del content["files"], content["checksum"]
    content |= {"later": {"a": [1, None]}}
    content["storage"]["later_bytes"] = 5
    content["identity"]["later"] = content["dataset"]["later"] = "x"
    record = Record.from_json(content, RECORDS[0])
    assert record.to_json() == {**current_names(content), "schema": SCHEMA}
    assert Record.from_json(record.to_json(), RECORDS[0]) == record


def test_a_newer_schema_is_refused() -> None:
    content = {**written(RECORDS[0]), "schema": SCHEMA + 1}
    del content["files"], content["checksum"]
    with pytest.raises(ValueError, match="a newer vecbudget wrote it"):
        Record.from_json(content, RECORDS[0])


def test_a_merge_copies_all_that_a_record_says(tmp_path: Path) -> None:
    merged = merge([SAMPLES / "results"], tmp_path / "ours")
    assert sorted(merged.copied) == RECORDS
    for name in RECORDS:
        ours = json.loads((tmp_path / "ours" / "runs" / name / RECORD).read_text(encoding="utf-8"))
        before = current_names(written(name))
        assert {key: value for key, value in ours.items() if key not in ("schema", "checksum")} == {
            key: value for key, value in before.items() if key != "checksum"
        }
    frames = [load_runs(folder) for folder in (SAMPLES / "results", tmp_path / "ours")]
    assert frames[0].equals(frames[1])


@pytest.mark.parametrize("name", RECORDS)
def test_a_recorded_run_is_not_made_again(
    name: str, composed: None, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Store(samples / "results").read(name)
    monkeypatch.setattr("harness.runs.run._measure", lambda *_: pytest.fail("it is measured again"))
    overrides = overrides_of(record)
    assert run(compose("config", overrides=overrides), record.method.name, overrides) == name
    assert (samples / "results" / "runs" / name / RECORD).read_bytes() == (
        SAMPLES / "results" / "runs" / name / RECORD
    ).read_bytes()


def test_a_run_made_again_is_the_same_run(composed: None, samples: Path, tmp_path: Path) -> None:
    """The samples' own numbers, from today's code."""
    store = Store(samples / "results")
    record = next(record for record in store.records() if record.method.name == "svd_binary")
    overrides = [*overrides_of(record), f"results_dir={tmp_path / 'again'}"]
    assert run(compose("config", overrides=overrides), "svd_binary", overrides) == record.run_id
    again = Store(tmp_path / "again").read(record.run_id)
    # metrics that came later are beside them
    former = {metric: again.metrics[metric] for metric in record.metrics}
    assert former == pytest.approx(record.metrics, abs=1e-6) and again.storage == record.storage


@pytest.mark.parametrize("name", EXPORTS)
def test_an_exported_index_ranks_as_its_run_did(name: str) -> None:
    index, queries = CompressedIndex.load(SAMPLES / "exports" / name), np.load(SAMPLES / "queries.npy")
    manifest = json.loads((SAMPLES / "exports" / name / "manifest.json").read_text(encoding="utf-8"))
    expected = Store(SAMPLES / "results").ranking(manifest["run"]["run_id"])
    scores, ids = index.search(queries, expected["rows"].shape[1])
    assert np.array_equal(ids, index.ids.take(expected["rows"]))
    assert np.allclose(scores, expected["scores"], atol=1e-5)


def test_a_yaml_of_ones_own_with_a_former_name_works(samples: Path) -> None:
    former = DictConfig({"_target_": "methods.scalar.PerDimension", "bits": 4})
    today = DictConfig({"_target_": FORMER["methods.scalar.PerDimension"], "bits": 4})
    assert MethodSpec(former).identity() == MethodSpec(today).identity()
    docs = np.load(samples / "docs.npy")
    codec = MethodSpec(former).make().fit(docs)
    assert len(codec.encode(docs)) == len(docs)


def test_errors_about_zero_do_not_stand_beside_errors_about_the_mean(
    composed: None, samples: Path, tmp_path: Path
) -> None:
    """Until version 0.3 errors and bounds were about zero: other figures, under the same names."""
    results = samples / "results"
    before = load_runs(results)
    assert before["vector_db_over_bound"].notna().any()
    overrides = [*VECTORS, "method=int8", "method.bits=5", f"results_dir={results}"]
    new = run(compose("config", overrides=overrides), "int8", overrides)
    after = load_runs(results).set_index("run_id")
    assert after.index[after["vector_db_over_bound"].notna()].tolist() == [new]
    assert Store(results).read(new).limits_about == "mean"
    geometry = Store(results).read(new).geometry
    assert geometry is not None and 0 < geometry["mean_length"] < 1 and geometry["norm_spread"] < 1e-3
    assert all(Store(results).read(run_id).geometry is None for run_id in before["run_id"]), "older records lack it"
