"""A run's index outlives the harness: it ranks as the run did, anywhere, or is refused by name."""

import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from safetensors.numpy import load_file, save_file

from harness.base.errors import ConfigError, StoreError
from harness.cli import main
from harness.evaluation.index_files import CHECKSUMS_FILE
from harness.exchange.index_export import export
from harness.runs.run import run
from harness.runs.store import INDEX, RANKING, Store
from tests.conftest import clustered_vectors
from tests.harness.runs.test_run import configuration
from vecbudget import CompressedIndex, IndexFileError
from vecbudget.index import CODES, IDS, MANIFEST, STATE, Ids, manifest_checksum, seal

SETTINGS = {
    "int8": ["method=int8", "keep_index=true"],
    "int4": ["method=int8", "method.bits=4", "fit_sample=200"],
    "pq": ["method=pq", "method.m=8", "method.bits=4", "method.renormalize=false"],
    "chain": ["method=svd192_int8", "method.dim=16"],
    "rotated": ["method=rotated_lvq", "chunk_rows=64"],
    "rescore": ["method=rescore_binary_int8"],
    "transform": ["method=transform_coding", "method.nbytes=8", "method.codec.renormalize=false"],
    "binary": ["method=binary_hamming"],
    "pgvector": ["method=pgvector_bit"],
    "disjoint": ["method=int8", "fit_sample=100", "fit_disjoint=true"],
    "subset": ["method=int8", "corpus_share=0.5"],
    "float32": ["method=float32"],
}


@pytest.fixture(scope="module")
def results(small_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    ids = {}
    for name, overrides in SETTINGS.items():
        cfg = configuration(small_collection, folder, *overrides)
        ids[name] = run(cfg, overrides[0].removeprefix("method="), overrides)
    (folder / "ids.json").write_text(json.dumps(ids))
    return folder


def run_id(results: Path, name: str) -> str:
    return str(json.loads((results / "ids.json").read_text())[name])


@pytest.fixture(scope="module")
def exported(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of int8; tests that change it take a copy."""
    out = tmp_path_factory.mktemp("exported") / "index"
    export(run_id(results, "int8"), out, results=results)
    return out


@pytest.fixture
def index(exported: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture(scope="module")
def queries(small_collection: Path) -> np.ndarray:
    return load_file(small_collection / "vectors.safetensors")["queries"]


@pytest.mark.parametrize("name", SETTINGS)
def test_an_exported_index_ranks_as_the_run_did(name: str, results: Path, queries: np.ndarray, tmp_path: Path) -> None:
    done = export(run_id(results, name), tmp_path / "out", results=results)
    assert done.checked == len(queries) and done.rebuilt == (name != "int8")
    ranking = load_file(Store(results).path(run_id(results, name)) / RANKING)
    for mapped in (False, True):
        loaded = CompressedIndex.load(tmp_path / "out", mapped=mapped)
        scores, ids = loaded.search(queries, 100)
        wanted = [[loaded.ids[int(row)] for row in rows] for rows in ranking["rows"]]
        assert ids.tolist() == wanted
        np.testing.assert_allclose(scores, ranking["scores"], rtol=1e-6)
    assert len(loaded) == {"disjoint": 300, "subset": 200}.get(name, 400) and loaded.dim == 32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "nothing is left beside it"


@pytest.mark.parametrize("method", ["float32", "int8", "sqlite_vec_int8"])
@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
def test_queries_are_searched_as_they_lie_in_the_file(metric: str, method: str, tmp_path: Path) -> None:
    """What the metric made of the run's queries, the index makes of its own: of any length, and of any width."""
    rng = np.random.default_rng(5)
    docs, asked = clustered_vectors(300, 32, seed=5), clustered_vectors(40, 32, seed=6)
    docs, asked = (rows * np.exp(0.5 * rng.standard_normal((len(rows), 1))) for rows in (docs, asked))
    for name, rows in (("docs", docs), ("queries", asked)):
        np.save(tmp_path / f"{name}.npy", rows.astype(np.float32))
    files = [f"dataset.{name}={tmp_path / name}.npy" for name in ("docs", "queries")]
    overrides = ["dataset=vectors", *files, f"dataset.metric={metric}", f"method={method}", f"results_dir={tmp_path}"]
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=[*overrides, f"cache_dir={tmp_path / 'cache'}"])
    if method == "sqlite_vec_int8" and metric != "cosine":
        with pytest.raises(ConfigError, match="keeps the direction"):
            run(cfg, method)
        return
    identifier = run(cfg, method)
    done = export(identifier, tmp_path / "out", results=tmp_path, targets=["numpy"])
    index = CompressedIndex.load(tmp_path / "out")
    assert index.dim == 32
    ranking = load_file(Store(tmp_path).path(identifier) / RANKING)
    scores, ids = index.search(np.load(tmp_path / "queries.npy"), 100)
    assert ids.tolist() == [[index.ids[int(row)] for row in rows] for rows in ranking["rows"]]
    np.testing.assert_allclose(scores, ranking["scores"], rtol=1e-5, atol=1e-6)
    told = {"dot": set(), "cosine": {"unit"}, "l2": {"appended"}}[metric]
    assert set(index.manifest["queries"]) == told
    assert any("before it is compared" in line for line in done.notes["numpy"]) == bool(told)


def test_ids_are_those_of_the_documents(small_collection: Path, exported: Path) -> None:
    loaded = CompressedIndex.load(exported)
    lines = (small_collection / "corpus.jsonl").read_text().splitlines()
    assert sorted(loaded.ids) == sorted(json.loads(line)["_id"] for line in lines)


def test_ids_of_any_text_come_back() -> None:
    texts = ["", "a", "zwölf\nLines\t", "\0", "日本", "\ud800", "a"]
    ids = Ids.of(texts)
    assert list(ids) == texts and ids[-1] == "a" and ids[2:4] == texts[2:4]
    assert ids.take(np.array([[4, 0], [1, 3]])).tolist() == [["日本", ""], ["a", "\0"]]
    with pytest.raises(IndexError):
        ids[7]


def test_a_damaged_id_is_named() -> None:
    with pytest.raises(IndexFileError, match="the id of row 1 is no text"):
        list(Ids(np.array([97, 255], dtype=np.uint8), np.array([1, 2])))


def test_the_manifest_tells_what_a_user_needs(results: Path, exported: Path) -> None:
    manifest = json.loads((exported / MANIFEST).read_text())
    record = Store(results).read(run_id(results, "int8"))
    assert manifest["run"]["run_id"] == record.run_id and manifest["run"]["metrics"] == record.metrics
    assert manifest["method"]["_target_"] == "methods.PerDimension" and manifest["metric"] == "inner product"
    assert (manifest["n"], manifest["dim"]) == (400, 32)
    assert manifest["model"]["query"] == record.identity.model["query"]
    assert set(manifest["files"]) == {CODES, STATE, IDS}
    assert str(results) not in json.dumps(manifest), "no path of the machine"


def test_a_fresh_process_needs_neither_torch_nor_hydra(exported: Path, tmp_path: Path, queries: np.ndarray) -> None:
    np.save(tmp_path / "queries.npy", queries)
    script = (
        "import sys, numpy, vecbudget; index = vecbudget.CompressedIndex.load(sys.argv[1]);"
        "scores, ids = index.search(numpy.load(sys.argv[2]), 3);"
        "print(ids[0, 0], *sorted(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, exported, tmp_path / "queries.npy"], check=True, capture_output=True, text=True
    )
    best, *modules = done.stdout.split()
    assert best == CompressedIndex.load(exported).search(queries[:1], 1)[1][0, 0]
    assert not {"torch", "hydra", "omegaconf", "pandas", "harness", "pyarrow", "sklearn"} & set(modules)


def test_a_kept_index_is_the_one_that_is_made_again(results: Path, exported: Path, tmp_path: Path) -> None:
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    shutil.rmtree(Store(copy).path(run_id(results, "int8")) / INDEX)
    done = export(run_id(results, "int8"), tmp_path / "out", results=copy)
    assert done.rebuilt
    for name in (CODES, STATE, IDS):
        assert (tmp_path / "out" / name).read_bytes() == (exported / name).read_bytes()


def test_the_command(results: Path, small_collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", run_id(results, "pq"), "--results", str(results), "--to", "faiss", "--to", "numpy"]
    moved = [f"dataset.path={small_collection}", f"cache_dir={tmp_path / 'cache'}"]
    assert main([*arguments, "--out", str(tmp_path / "out"), *moved]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{tmp_path / 'out'}: 400 documents, 30 queries ranked as the run ranked them"
    assert {line.split()[0] for line in out[1:]} == {"faiss:", "numpy:"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {MANIFEST, CODES, STATE, IDS, "faiss", "numpy"}
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert "nothing is overwritten" in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "more"), "nonsense"]) == 1
    assert "'nonsense' is no override" in capsys.readouterr().err


# What the loader refuses


def resealed(index: Path, change: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Give the manifest checksums that fit, of itself and of its files or what `change` makes of it."""
    manifest = json.loads((index / MANIFEST).read_text())
    if change is None:
        content = {key: value for key, value in manifest.items() if key not in ("files", "sha256")}
        seal(index, content, [CODES, STATE, IDS])
        return
    change(manifest)
    manifest["sha256"] = manifest_checksum(manifest)
    (index / MANIFEST).write_text(json.dumps(manifest))


def method(target: Any, **parameters: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.update(method={"_target_": target, **parameters})


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda manifest: manifest["files"].update({"../../secret": {}}), "is no file of its folder"),
        (lambda manifest: manifest["files"].update({"/etc/passwd": {}}), "is no file of its folder"),
        (lambda manifest: manifest["files"].update({"a/../../b": {}}), "is no file of its folder"),
        (lambda manifest: manifest["files"].update({"C:\\x": {}}), "is no file of its folder"),
        (lambda manifest: manifest["files"].pop(IDS), "lists no file ids.safetensors"),
        (lambda manifest: manifest["files"].update({CODES: 3}), "codes.safetensors has .* bytes"),
        (method("os.system", command="true"), "'os.system' is no method of this project"),
        (method("subprocess.Popen", args="true"), "is no method of this project"),
        (method("methods.base.np.load"), "is no method of this project"),
        (method("methods.product.faiss_codec.Path"), "is no method of this project"),
        (method("methods.scalar.uniform.Codec"), "is no method of this project"),
        (method("methods.nonesuch.Codec"), "is no method of this project"),
        (method(["methods.PerDimension"]), "is no method of this project"),
        (method("methods.base.Codec"), "is no method of this project"),
        (method("methods.SVD"), "no codec"),
        (method("methods.PerDimension", bits=8, colour="red"), "colour"),
        (method("methods.PerDimension", bits="8"), "bits must be int"),
        (
            method("methods.Chain", transforms=[{"_target_": "os.remove"}], codec=None),
            "'os.remove' is no method",
        ),
        (method("methods.Chain", transforms=[[[[[[[[[[]]]]]]]]]], codec=None), "not the description"),
        (lambda manifest: manifest.update(method=None), "not the description of a method"),
        (lambda manifest: manifest.pop("method"), "not the description of a method"),
        (method("methods.Sign", threshold="median", scoring="symmetric"), "do not fit the method"),
        (lambda manifest: manifest.update(version=2), "version 2"),
        (lambda manifest: manifest.update(n=399), "codes.safetensors: .*400"),
        (lambda manifest: manifest.update(n=10**15), "'n' must be a number"),
        (lambda manifest: manifest.update(n=True), "'n' must be a number"),
        (lambda manifest: manifest.update(dim=31), "it is of 32 dimensions, the manifest says 31"),
        (lambda manifest: manifest.update(format="x"), "not the manifest"),
        (lambda manifest: manifest.update(queries=[]), "'queries' says what no query can get"),
        (lambda manifest: manifest.update(queries={"matrix": 1}), "'queries' says what no query can get"),
        (lambda manifest: manifest.update(queries={"unit": 1}), "'queries' says what no query can get"),
        (lambda manifest: manifest.update(queries={"appended": "1"}), "'queries' says what no query can get"),
        (lambda manifest: manifest.update(queries={"appended": 1e300}), "'queries' says what no query can get"),
    ],
)
def test_a_forged_manifest_is_refused(index: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    resealed(index, change)
    with pytest.raises(IndexFileError, match=message) as caught:
        CompressedIndex.load(index)
    assert "\n" not in str(caught.value) and str(index) in str(caught.value)


def test_a_changed_manifest_is_noticed_and_read_on_demand(index: Path) -> None:
    text = (index / MANIFEST).read_text()
    (index / MANIFEST).write_text(text.replace('"metric": "inner product"', '"metric": "inner-product"'))
    with pytest.raises(IndexFileError, match="checksum"):
        CompressedIndex.load(index)
    assert CompressedIndex.load(index, verify=False).manifest["metric"] == "inner-product"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "null", "[" * 100_000, '{"format": "vecbudget-index"}', "\xff"]
)
def test_what_is_no_manifest_is_refused(index: Path, content: str) -> None:
    (index / MANIFEST).write_bytes(content.encode("latin-1"))
    with pytest.raises(IndexFileError, match=MANIFEST):
        CompressedIndex.load(index)


def test_a_huge_manifest_is_not_read(index: Path) -> None:
    with (index / MANIFEST).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(IndexFileError, match="more than a manifest's"):
        CompressedIndex.load(index)


@pytest.mark.parametrize("name", [CODES, STATE, IDS])
def test_damaged_files_are_named(index: Path, name: str) -> None:
    path = index / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IndexFileError, match=f"{name}: its checksum differs"):
        CompressedIndex.load(index)
    path.write_bytes(content[:-5])
    for verify in (True, False):
        with pytest.raises(IndexFileError, match=f"{name} has {len(content) - 5} bytes"):
            CompressedIndex.load(index, verify=verify)
    path.unlink()
    with pytest.raises(IndexFileError, match=f"{name} is missing"):
        CompressedIndex.load(index)


def test_a_link_out_of_the_folder_is_refused(index: Path, tmp_path: Path) -> None:
    (index / CODES).rename(tmp_path / "elsewhere")
    (index / CODES).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IndexFileError, match="leads out of its folder"):
        CompressedIndex.load(index)


def test_a_pipe_is_not_waited_for(index: Path) -> None:
    (index / CODES).unlink()
    os.mkfifo(index / CODES)
    with pytest.raises(IndexFileError, match="is missing"):
        CompressedIndex.load(index)


def tensors(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


@pytest.mark.parametrize(
    "content",
    [
        tensors({}, length=1 << 62),
        tensors({}, length=100),
        tensors({"codes": {"dtype": "U8", "shape": [400, 1 << 40], "data_offsets": [0, 400 << 40]}}),
        tensors({"codes": {"dtype": "U8", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]}}, b"1234"),
        tensors({"codes": {"dtype": "U8", "shape": [-4], "data_offsets": [0, -4]}}, b"1234"),
        tensors({"codes": {"dtype": "U8", "shape": [4], "data_offsets": [-4, 0]}}, b"1234"),
        tensors({"codes": {"dtype": "object", "shape": [4], "data_offsets": [0, 4]}}, b"1234"),
        tensors({"codes": {"dtype": "U8", "shape": "4", "data_offsets": [0, 4]}}, b"1234"),
        tensors({"codes": {"dtype": "U8", "shape": [4]}}, b"1234"),
        tensors({"codes": 4}),
        tensors([]),
        tensors({"codes": {"dtype": "U8", "shape": [0, 32], "data_offsets": [0, 0]}}),
        tensors({}),
        b"",
        b"12345678",
    ],
)
@pytest.mark.parametrize("name", [CODES, STATE, IDS])
def test_a_forged_header_is_refused_before_anything_is_allocated(index: Path, name: str, content: bytes) -> None:
    (index / name).write_bytes(content)
    resealed(index)
    with pytest.raises(IndexFileError) as caught:
        CompressedIndex.load(index)
    assert "\n" not in str(caught.value)


def test_state_cannot_replace_a_method(index: Path) -> None:
    state = load_file(index / STATE)
    save_file({**state, "search": np.zeros(3)}, index / STATE)
    resealed(index)
    with pytest.raises(IndexFileError, match="'search' is no part of a method's state"):
        CompressedIndex.load(index)


def differs(name: str, before: bytes, after: bytes) -> bool:
    """Whether a file says something else: a manifest with another blank between its entries does not."""
    if name == MANIFEST:
        with contextlib.suppress(ValueError):
            return json.loads(before) != json.loads(after)
    return before != after


def test_flipped_bytes_end_in_an_index_or_a_named_error(index: Path) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        name = [MANIFEST, CODES, STATE, IDS][rng.integers(4)]
        content = (index / name).read_bytes()
        flipped = bytearray(content)
        # headers are where it hurts
        place = int(rng.integers(min(len(content), 2000)))
        flipped[place] = int(rng.integers(256))
        (index / name).write_bytes(flipped)
        try:
            CompressedIndex.load(index, verify=False)
        except IndexFileError:
            refused += 1
        with pytest.raises(IndexFileError) if differs(name, content, bytes(flipped)) else contextlib.nullcontext():
            CompressedIndex.load(index)
        (index / name).write_bytes(content)
    assert refused > 30


# What the exporter refuses


def test_a_run_that_there_is_not(results: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no run '0123456789ab'"):
        export("0123456789ab", tmp_path / "out", results=results)
    with pytest.raises(StoreError, match="is no run id"):
        export("../../etc", tmp_path / "out", results=results)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file"):
        with pytest.raises(StoreError, match="nothing is overwritten"):
            export(run_id(results, "int8"), out, results=results)
    (tmp_path / "empty").mkdir()
    assert export(run_id(results, "int8"), tmp_path / "empty", results=results).n == 400
    assert (tmp_path / "file").read_text() == "mine"


def altered(results: Path, to: Path, name: str, change: Callable[[dict[str, Any]], None]) -> str:
    """Copy the results, and change a record, which then has no checksums, as older ones."""
    shutil.copytree(results, to)
    path = Store(to).path(run_id(results, name)) / "run.json"
    record = json.loads(path.read_text())
    change(record)
    del record["files"], record["checksum"]
    path.write_text(json.dumps(record))
    return run_id(results, name)


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("int8", lambda record: record.update(status="failed", error="it broke"), "failed .it broke."),
        ("int8", lambda record: record["identity"].update(dataset="0" * 16), "is not the collection"),
        ("int8", lambda record: record["identity"]["model"].update(query={}), "is not the model"),
        ("int4", lambda record: record["identity"]["method"].update(bits=5), "cannot be made again"),
        ("int8", lambda record: record["identity"]["method"].update(_target_="os.system"), "os.system"),
        ("int8", lambda record: record["config"]["model"].update(_target_="os.system"), "os.system"),
        (
            "int8",
            lambda record: record["config"]["dataset"].update(
                _target_="harness.data.models.sentence_transformer.json.loads"
            ),
            "json.loads",
        ),
        ("int8", lambda record: record["identity"]["method"].update(_target_="methods.base.os.system"), "os.system"),
    ],
)
def test_a_record_that_no_longer_fits_is_refused(
    name: str, change: Callable[[dict[str, Any]], None], message: str, results: Path, tmp_path: Path
) -> None:
    identifier = altered(results, tmp_path / "results", name, change)
    with pytest.raises(StoreError, match=message):
        export(identifier, tmp_path / "out", results=tmp_path / "results")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_another_ranking_than_the_run_s_is_refused(results: Path, tmp_path: Path) -> None:
    identifier = altered(results, tmp_path / "results", "int8", lambda record: None)
    path = Store(tmp_path / "results").path(identifier) / RANKING
    ranking = load_file(path)
    ranking["rows"][3, :2] = ranking["rows"][3, 1::-1]
    save_file(ranking, path)
    with pytest.raises(StoreError, match="ranks 1 of 30 queries otherwise"):
        export(identifier, tmp_path / "out", results=tmp_path / "results")
    assert export(identifier, tmp_path / "out", results=tmp_path / "results", check=False).checked == 0


def test_a_damaged_kept_index_is_refused(results: Path, tmp_path: Path) -> None:
    identifier = altered(results, tmp_path / "results", "int8", lambda record: None)
    path = Store(tmp_path / "results").path(identifier) / INDEX / "codes.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(StoreError, match="is missing or damaged"):
        export(identifier, tmp_path / "out", results=tmp_path / "results")
    flipped = bytearray(content)
    flipped[-400 * 16 :] = bytes(400 * 16)
    path.write_bytes(flipped)
    with pytest.raises(StoreError, match="the array 'codes' differs from its checksum"):
        export(identifier, tmp_path / "out", results=tmp_path / "results", check=False)
    (path.parent / CHECKSUMS_FILE).unlink()
    with pytest.raises(StoreError, match="queries otherwise"):
        export(identifier, tmp_path / "out", results=tmp_path / "results")


@pytest.mark.parametrize(
    "target, name, message",
    [
        ("fais", "int8", "there is no such target; did you mean 'faiss'.*There are: faiss, numpy, usearch, store, and"),
        ("qdrant", "int8", "is of 'int8 *', which is no setting of Qdrant; .*qdrant_int8"),
        ("store", "pq", "are none"),
        ("store", "binary", "several: .*--to sqlite-vec"),
        ("faiss", "rescore", "FAISS has no code like that of Rescore"),
        ("usearch", "int8", "cannot be handed to usearch"),
    ],
)
def test_a_target_that_cannot_be_is_refused(
    target: str, name: str, message: str, results: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(run_id(results, name), tmp_path / "out", results=results, targets=[target])
    assert not list(tmp_path.iterdir())
