"""Index structures from the command line to the record."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from harness.cli import main
from harness.exchange.index_export import export
from harness.runs.catalogue import members, parameters
from harness.runs.config import MethodSpec, held_by
from harness.runs.frame import load_runs
from harness.runs.inputs import Inputs
from harness.runs.run import run
from harness.runs.store import Store
from methods import Chain, Rescore
from methods.base import MethodError, field_types
from tests.harness.runs.test_run import configuration
from vecbudget import CompressedIndex

IVF = ["index=ivf", "index.lists=16", "index.nprobe=2"]


def test_a_flat_index_is_no_news(small_collection: Path, tmp_path: Path) -> None:
    plain, flat = (configuration(small_collection, tmp_path, "method=pq", *more) for more in ((), ("index=flat",)))
    assert Inputs.of(plain).run_id == Inputs.of(flat).run_id
    assert Inputs.of(plain).identity == Inputs.of(flat).identity
    lists = configuration(small_collection, tmp_path, "method=pq", *IVF)
    assert Inputs.of(lists).run_id != Inputs.of(plain).run_id


def test_from_the_command_line_to_the_record(small_collection: Path, tmp_path: Path) -> None:
    overrides = ["method=int8", *IVF]
    run_id = run(configuration(small_collection, tmp_path, *overrides, "measure.efforts=[1,16]"), "int8", overrides)
    record = Store(tmp_path).read(run_id)
    assert record.method.setting == "int8 index=ivf index.lists=16 index.nprobe=2"
    assert record.storage.structure_bytes_per_doc == pytest.approx((8 * 400 + 16) / 400)
    assert record.storage.structure_state_bytes == 4 * 16 * 32
    assert record.storage.code_bytes_per_vector == pytest.approx(32 + record.storage.structure_bytes_per_doc)
    assert [point["effort"] for point in record.efforts["points"]] == [1, 16]
    assert record.efforts["points"][1]["recall_of_codes"] == 1
    assert record.metrics["overlap_at_10"] < record.efforts["points"][1]["recall_of_float32"]
    row = load_runs(tmp_path).set_index("run_id").loc[run_id]
    assert row["structure_bytes_per_doc"] == record.storage.structure_bytes_per_doc


def test_efforts_are_measured_when_they_are_asked_for(small_collection: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)

    def efforts(*more: str) -> list[int] | None:
        found = store.read(run(configuration(small_collection, tmp_path, "method=int8", *IVF, *more), "int8")).efforts
        return None if found is None else found["asked"]

    assert efforts("measure.efforts=[]") is None
    assert efforts("measure.efforts=[2]") == [2]
    assert efforts("measure.efforts=[]") == [2], "recorded already"
    assert efforts() == [1, 2, 4, 8, 16, 32, 64, 128], "those of the yaml"
    assert efforts("measure.efforts=[4,8]") == [1, 2, 4, 8, 16, 32, 64, 128], "among those on record"


def test_an_exported_index_finds_what_the_run_found(small_collection: Path, tmp_path: Path) -> None:
    for index in (IVF, ["index=hnsw", "index.ef_search=12"]):
        cfg = configuration(small_collection, tmp_path, "method=int4", *index, "measure.efforts=[]")
        run_id = run(cfg, "int4")
        out = tmp_path / index[0]
        export(run_id, out, results=tmp_path, targets=[])
        ranking = Store(tmp_path).ranking(run_id)
        loaded = CompressedIndex.load(out)
        vectors = np.load(_queries(small_collection, tmp_path))
        _, ids = loaded.search(vectors, 100)
        expected = [[None if row < 0 else loaded.ids[int(row)] for row in rows] for rows in ranking["rows"]]
        assert ids.tolist() == expected and any(None in row for row in expected)


def _queries(collection: Path, folder: Path) -> Path:
    from safetensors.numpy import load_file

    np.save(folder / "asked.npy", load_file(collection / "vectors.safetensors")["queries"])
    return folder / "asked.npy"


def test_where_a_structure_goes() -> None:
    structure = {"_target_": "methods.HNSW"}
    plain = {"_target_": "methods.Sign"}
    assert held_by(structure, plain) == {**structure, "codec": plain}
    tiers = {"_target_": "methods.Rescore", "first": plain, "second": {"_target_": "methods.Cast", "dtype": "float16"}}
    assert held_by(structure, tiers) == {**tiers, "first": {**structure, "codec": plain}}
    chain = {"_target_": "methods.Chain", "transforms": [{"_target_": "methods.SVD", "dim": 2}], "codec": plain}
    assert held_by(structure, chain) == {**structure, "codec": chain}
    encoding = {**chain, "transforms": [{"_target_": "methods.Muvera"}]}
    assert held_by(structure, encoding) == {**encoding, "codec": {**structure, "codec": plain}}


def test_lists_of_residuals_renormalise_in_place_of_the_code() -> None:
    structure = {"_target_": "methods.InvertedLists", "residual": True}
    code = {"_target_": "methods.PerDimension", "bits": 4, "renormalize": "auto"}
    chain = {"_target_": "methods.Chain", "transforms": [], "codec": code, "renormalize": False}
    held = held_by(structure, chain)
    assert held["renormalize"] == "auto" and held["codec"]["codec"]["renormalize"] is False
    assert held_by({**structure, "residual": False}, chain) == {**structure, "residual": False, "codec": chain}
    assert held_by(structure, {"_target_": "methods.Sign"})["renormalize"] is False


@pytest.mark.parametrize("name", [name for name in members("index") if name != "flat"])
def test_every_structure_describes_itself(name: str) -> None:
    node = OmegaConf.create({"seed": 0, "index": OmegaConf.load(str(members("index")[name]))}).index
    described = {"name", "summary", "source", "bytes", "efforts"}
    assert node.about.name == name and set(node.about) - {"presets"} - {"store", "evidence"} == described
    assert ("store" in node.about) == ("evidence" in node.about)
    spec = MethodSpec(OmegaConf.create({"_target_": "methods.Sign"}), node)
    made = spec.make()
    assert spec.index == name and list(node.about.efforts) == spec.efforts
    inherited = {"codec", "renormalize", "scoring"}
    assert set(parameters(members("index")[name])) == set(field_types(type(made))) - inherited
    tiers = MethodSpec(OmegaConf.create({"_target_": "methods.Rescore", "first": {"_target_": "methods.Sign"},
                                         "second": {"_target_": "methods.PerDimension"}}), node).make()  # fmt: skip
    assert isinstance(tiers, Rescore) and type(tiers.structure) is type(made)


def test_an_encoding_of_token_vectors_is_held(tmp_path: Path) -> None:
    node = OmegaConf.create({"_target_": "methods.HNSW"})
    chain = {
        "_target_": "methods.Chain",
        "transforms": [{"_target_": "methods.Muvera"}],
        "codec": {"_target_": "methods.Sign"},
    }
    made = MethodSpec(OmegaConf.create(chain), node).make()
    assert isinstance(made, Chain) and made.takes == "tokens" and made.structure is made.codec


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["index=ivf", "index.lists=500"], "method=int8 index=ivf index.lists=500: index.lists=500 needs at least as"),
        (["index=ivf", "index.nprobe=0"], "index.nprobe must be 1 to index.lists=128, got 0"),
        (["index=ivf", "index.ids=roc"], "index.ids must be one of int64, int32, packed"),
        (["index=hnsw", "index.M=1"], "index.M must be at least 2, got 1"),
        (["index=hnws"], "there is no index 'hnws'; did you mean 'hnsw'?"),
        (["index=ivf", "index.probes=3"], "index has no parameter 'probes'"),
        (["index=vamana", "method=tensor_train"], "lists and graphs hold codes of documents one by one"),
    ],
)
def test_an_error_names_what_was_typed(
    small_collection: Path, tmp_path: Path, typed: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    vectors = ["dataset=folder", f"dataset.path={small_collection}", "model=vectors"]
    vectors += [f"model.path={small_collection / 'vectors.safetensors'}", f"results_dir={tmp_path}"]
    chosen = typed if any(text.startswith("method=") for text in typed) else ["method=int8", *typed]
    assert main(["run", *vectors, *chosen]) == 1
    output = capfd.readouterr()
    assert said in output.out + output.err


def test_tokens_themselves_are_not_held() -> None:
    node = OmegaConf.create({"_target_": "methods.HNSW"})
    tokens = OmegaConf.create({"_target_": "methods.PerToken", "codec": {"_target_": "methods.Sign"}})
    with pytest.raises(MethodError, match="hold codes of one vector a document, and PerToken takes a vector for each"):
        MethodSpec(tokens, node).make()
