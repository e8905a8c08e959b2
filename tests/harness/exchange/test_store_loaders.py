"""What other libraries and stores get of a run."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from harness.base.errors import ConfigError
from harness.exchange.index_export import export
from harness.exchange.store_loaders import (
    LOADERS,
    ChosenPreset,
    folder_name,
    with_parameters,
    write_parquet,
    write_rows,
    write_store,
)
from harness.runs.catalogue import members, method_card
from harness.runs.presets import presets
from harness.runs.run import run
from methods.base import Codec, MethodError
from methods.binary.sign import Sign
from methods.composed.chain import Chain
from methods.composed.query_codes import QueryCode
from methods.product.faiss_codec import FaissCodec
from methods.scalar.cast import Cast
from methods.scalar.global_range import GlobalRange
from methods.scalar.ranges import Fixed
from methods.scalar.uniform import PerDimension, PerVector
from methods.transform_coding.transform_code import TransformCode
from methods.transforms.linear import SVD, Truncate
from methods.transforms.padding import Pad
from methods.transforms.rotation import RandomRotation
from tests.conftest import clustered_vectors, methods_for
from tests.harness.runs.test_run import configuration
from vecbudget import CompressedIndex
from vecbudget.affine import affine
from vecbudget.to_faiss import faiss_index
from vecbudget.to_numpy import write_arrays
from vecbudget.to_usearch import usearch_index

OF_VECTORS = [name for name in methods_for("vectors") if name in presets()]
"""Loaders are for vectors: an index of terms with weights is exported into no store."""

DOCS, QUERIES = clustered_vectors(500, 32, seed=1), clustered_vectors(20, 32, seed=2)


# FAISS

HELD: dict[str, Codec] = {
    "int8": PerDimension(),
    "int6": PerDimension(bits=6),
    "int4": PerDimension(bits=4, clip=2.0, rounding="floor"),
    "one range": GlobalRange(range=Fixed(low=-0.8, high=0.8), rounding="floor", shift=0.5),
    "one range of 201 levels": GlobalRange(steps=200),
    "float32": Cast(dtype="float32"),
    "float16": Cast(dtype="float16"),
    "bfloat16": Cast(dtype="bfloat16"),
    "signs": Sign(),
    "signs at the median": Sign(threshold="median"),
    "signs of their own size": Sign(scale="mean"),
    "signs of unit length": Sign(scale="mean", renormalize="auto"),
    "signs about the mean": Sign(centre="mean", scale="mean"),
    "about the mean": Chain(transforms=[SVD(dim=16)], codec=PerDimension(), centre="mean"),
    "PQ": FaissCodec(factory="PQ8x4np"),
    "RQ": FaissCodec(factory="RQ4x4"),
    "SQ": FaissCodec(factory="SQ8"),
    "rotation": Chain(transforms=[RandomRotation(kind="orthogonal")], codec=PerDimension()),
    "Hadamard": Chain(transforms=[RandomRotation()], codec=Sign()),
    "SVD": Chain(transforms=[SVD(dim=16, centre="both")], codec=PerDimension()),
    "SVD of documents' mean": Chain(transforms=[SVD(dim=16, centre="docs")], codec=PerDimension()),
    "padding": Chain(transforms=[Pad(multiple=24), RandomRotation()], codec=FaissCodec(factory="PQ8x4np")),
    "prefix": Chain(transforms=[Truncate(dim=16)], codec=PerDimension()),
    "chain in a chain": Chain(transforms=[SVD()], codec=Chain(transforms=[RandomRotation()], codec=PerDimension())),
    "transform": Chain(transforms=[SVD()], codec=TransformCode(nbytes=8, codebook="joint", tail=4)),
}


SHIFTED = ("transform", "SVD of documents' mean", "signs about the mean", "about the mean")
"""What has a score in common for all documents, which FAISS leaves out."""


@pytest.mark.parametrize("name", HELD)
def test_faiss_ranks_as_the_codec(name: str, tmp_path: Path) -> None:
    codec = HELD[name].fit(DOCS)
    codes = codec.encode(DOCS)
    made = faiss_index(codec, codes)
    faiss.write_index(made.index, str(tmp_path / "index"))
    scores, rows = faiss.read_index(str(tmp_path / "index")).search(QUERIES, 500)
    expected = np.take_along_axis(codec.score(QUERIES, codes), rows, axis=1)
    notes = " ".join(made.notes)
    if "shifted" in notes:
        scores, expected = scores - scores[:, :1], expected - expected[:, :1]
    if "factor" in notes:
        scores, expected = scores / scores[:, :1], expected / expected[:, :1]
    assert ("factor" in notes) == (name == "prefix") and ("shifted" in notes) == (name in SHIFTED)
    np.testing.assert_allclose(scores, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["int8", "int4", "signs", "rotation", "SVD", "signs about the mean", "about the mean"])
def test_documents_that_faiss_adds_get_the_codec_s_codes(name: str) -> None:
    codec = HELD[name].fit(DOCS)
    made = faiss_index(codec, codec.encode(DOCS[:10]))
    made.index.add(DOCS[10:])
    inner = faiss.downcast_index(made.index.index) if hasattr(made.index, "index") else made.index
    codes = faiss.vector_to_array(inner.codes).reshape(500, -1)
    same = (codes == codec.encode(DOCS).array).all(axis=1).mean()
    assert (
        (same > 0.95)
        == (not any("searching only" in note for note in made.notes))
        == (name not in ("int4", "signs about the mean", "about the mean"))
    )


def test_faiss_compares_bits() -> None:
    codec = Sign(scoring="symmetric").fit(DOCS)
    codes = codec.encode(DOCS)
    made = faiss_index(codec, codes)
    assert made.binary
    distances, rows = made.index.search(np.packbits(QUERIES > 0, axis=1), 500)
    expected = np.take_along_axis(codec.score(QUERIES, codes), rows.astype(np.int64), axis=1)
    np.testing.assert_allclose(1 - 2 * distances / 32, expected, atol=1e-6)


@pytest.mark.parametrize(
    "codec, reason",
    [
        (PerDimension(bits=3), "4, 6 and 8 bits, not of 3"),
        (PerDimension(scoring="symmetric"), "scoring=symmetric rounds queries"),
        (PerDimension(renormalize=True), "renormalize=true"),
        (PerVector(), "no code like that of PerVector"),
        (Cast(dtype="float16", scale="absmax"), "scale=absmax"),
        (Cast(dtype="float8_e4m3fn"), "not float8_e4m3fn"),
        (GlobalRange(steps=127), "not of 7"),
        (Chain(transforms=[], codec=PerDimension(), renormalize=True), "its chain"),
        (Chain(transforms=[QueryCode(bits=4)], codec=PerDimension()), r"queries \(QueryCode\) is no matrix"),
        (Chain(transforms=[RandomRotation()], codec=Sign(scoring="symmetric")), "without a transform"),
        (Chain(transforms=[SVD()], codec=TransformCode(nbytes=8, renormalize=True)), "renormalize=true"),
    ],
)
def test_what_faiss_cannot_hold_is_refused(codec: Codec, reason: str) -> None:
    codec.fit(DOCS)
    codes = codec.encode(DOCS)
    with pytest.raises(MethodError, match=f"cannot be handed to FAISS: .*{reason}"):
        faiss_index(codec, codes)


def test_a_matrix_is_read_off_a_map_or_there_is_none() -> None:
    rng = np.random.default_rng(0)
    matrix, bias = rng.standard_normal((5, 3)).astype(np.float32), np.arange(3, dtype=np.float32)
    found = affine(lambda q: q @ matrix + bias, 5)
    assert found is not None and not found.scaled and not found.is_identity
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-6)
    np.testing.assert_array_equal(found.bias, bias)
    assert affine(np.abs, 5) is None
    assert affine(lambda q: np.zeros((len(q), 2), np.float32), 5) is not None
    identity = affine(lambda q: q, 5)
    assert identity is not None and identity.is_identity
    assert affine(lambda q: -q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-9), 5).scaled  # type: ignore[union-attr]


# NumPy


@pytest.mark.parametrize("name", ["int8", "SVD", "PQ", "float32"])
def test_plain_arrays_give_the_scores(name: str, tmp_path: Path) -> None:
    codec = HELD[name].fit(DOCS)
    codes = codec.encode(DOCS)
    notes = write_arrays(tmp_path, codec, codes)
    assert "query_matrix" in notes[-1]
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in tmp_path.glob("*.npy")}
    np.testing.assert_array_equal(arrays["codes.codes"], codes.array)
    assert arrays["documents"].dtype == np.float16
    scores = (QUERIES @ arrays["query_matrix"] + arrays["query_bias"]) @ arrays["documents"].T.astype(np.float32)
    np.testing.assert_allclose(scores, codec.score(QUERIES, codes), atol=2e-3)


def test_rounded_queries_have_no_matrix(tmp_path: Path) -> None:
    codec = PerDimension(scoring="symmetric").fit(DOCS)
    notes = write_arrays(tmp_path, codec, codec.encode(DOCS))
    assert "rounded" in notes[-1] and not (tmp_path / "query_matrix.npy").exists()


# usearch


def preset_codec(name: str) -> Codec:
    from omegaconf import OmegaConf

    from harness.runs.config import MethodSpec

    node = OmegaConf.create(members("method")[name].read_text(encoding="utf-8"))
    return MethodSpec(OmegaConf.create({"seed": 0, "method": node}).method).make()


@pytest.mark.parametrize("name", ["usearch_i8", "usearch_bf16", "usearch_b1", "float32"])
def test_usearch_scans_as_the_codec(name: str) -> None:
    pytest.importorskip("usearch")
    codec = preset_codec(name).fit(DOCS)
    codes = codec.encode(DOCS)
    index, _ = usearch_index(codec, codes)
    queries: Any = np.packbits(QUERIES > 0, axis=1) if name == "usearch_b1" else QUERIES
    rows = np.asarray(index.search(queries, 10, exact=True).keys).astype(np.int64)
    scores = codec.score(QUERIES, codes)
    last = -np.partition(-scores, 9, axis=1)[:, 9:10]
    assert (np.take_along_axis(scores, rows, axis=1) >= last - 1e-3).mean() > 0.99


@pytest.mark.parametrize(
    "codec, reason",
    [(Cast(dtype="float16"), "measure scoring=symmetric"), (PerDimension(), "cannot be handed"), (Sign(), "cannot")],
)
def test_what_usearch_cannot_hold_is_refused(codec: Codec, reason: str) -> None:
    codec.fit(DOCS)
    with pytest.raises(MethodError, match=reason):
        usearch_index(codec, codec.encode(DOCS))


# Stores


@pytest.fixture
def items() -> tuple[np.ndarray, list[str]]:
    docs = clustered_vectors(9, 48)
    return docs, ["a", "b\tc", "d\\e", "f\ng", "h\ri", "zwölf", "'; DROP TABLE items; --", "", "$dim"]


def test_parquet_has_ids_and_vectors(items: tuple[np.ndarray, list[str]], tmp_path: Path) -> None:
    docs, ids = items
    write_parquet(tmp_path / "items.parquet", docs, ids)
    table = pq.read_table(tmp_path / "items.parquet")
    assert table["id"].to_pylist() == ids
    np.testing.assert_array_equal(np.array(table["v"].to_pylist(), dtype=np.float32), docs)


def test_rows_for_copy_have_ids_and_vectors(items: tuple[np.ndarray, list[str]], tmp_path: Path) -> None:
    docs, ids = items
    write_rows(tmp_path / "items.tsv", docs, ids)
    lines = (tmp_path / "items.tsv").read_bytes().decode().split("\n")
    assert lines.pop() == "" and len(lines) == len(ids)
    # COPY's own rules, in its order
    marks = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
    for line, name, row in zip(lines, ids, docs, strict=True):
        text, vector = line.split("\t")
        assert re.sub(r"\\.", lambda found: marks[found[0]], text) == name
        np.testing.assert_array_equal(np.array(json.loads(vector), dtype=np.float32), row)


def chosen(name: str) -> ChosenPreset:
    preset = presets()[name]
    return ChosenPreset(name, preset.store, folder_name(preset.store), preset.setting, preset.version)


@pytest.mark.parametrize("name", OF_VECTORS)
def test_every_preset_gets_its_setting_and_its_data(
    name: str, items: tuple[np.ndarray, list[str]], tmp_path: Path
) -> None:
    docs, ids = items
    notes = write_store(tmp_path, chosen(name), docs, ids)
    written = {path.name: path for path in tmp_path.iterdir()}
    setting = written["setting.txt"].read_text()
    assert "384" not in setting and notes
    loader = LOADERS.get(presets()[name].store)
    assert set(written) == ({"setting.txt", loader.script, loader.data} if loader else {"setting.txt", "items.parquet"})
    if loader is None:
        return
    script = written[loader.script].read_text()
    assert "384" not in script and not re.search(r"\$(?!1\b)", script) and loader.data in script
    if loader.script.endswith(".py"):
        compile(script, loader.script, "exec")
    else:
        assert "(v " not in script.partition("CREATE TABLE")[2].partition("\n")[0], "the table has a column of ids"
        assert script.count("(") == script.count(")")


def test_the_stores_asked_for_have_loaders() -> None:
    assert {"pgvector", "sqlite-vec", "LanceDB", "Qdrant"} <= set(LOADERS)
    assert set(LOADERS) <= {preset.store for preset in presets().values()}


@pytest.mark.parametrize("name", presets())
def test_default_parameters_leave_a_setting_as_it_is(name: str) -> None:
    card = method_card(members("method")[name])
    params = " ".join(f"{key}={value}" for key, value in card["parameters"].items() if key in card["setting"])
    setting = presets()[name].setting
    assert with_parameters(setting, "") == setting
    if "quantile" in params or "num_sub_vectors" in params:
        assert with_parameters(setting, params) == setting


def test_a_run_s_parameters_go_into_the_setting() -> None:
    setting = "scalar: {type: int8, quantile: 0.99, always_ram: true}\nindex(num_sub_vectors=24)"
    assert with_parameters(setting, "quantile=0.95 num_sub_vectors=12 other=1") == (
        "scalar: {type: int8, quantile: 0.95, always_ram: true}\nindex(num_sub_vectors=12)"
    )


# All of it, from a run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def exported(collection: Path, results: Path, out: Path, targets: Sequence[str], *overrides: str) -> Path:
    identifier = run(configuration(collection, results, *overrides), overrides[0].partition("=")[2], list(overrides))
    return export(identifier, out, results=results, targets=targets).path


def test_targets_lie_beside_the_index(small_collection: Path, results: Path, tmp_path: Path) -> None:
    out = exported(
        small_collection, results, tmp_path / "out", ["faiss", "numpy", "sqlite-vec"], "method=sqlite_vec_bit"
    )
    index = CompressedIndex.load(out)
    ids = json.loads((out / "faiss" / "ids.json").read_text())
    assert ids == list(index.ids)
    queries = load_file(small_collection / "vectors.safetensors")["queries"]
    _, rows = faiss.read_index_binary(str(out / "faiss" / "index.faiss")).search(np.packbits(queries > 0, axis=1), 1)
    scores, _ = index.search(queries, 1)
    found = np.take_along_axis(index.codec.score(queries, index.codes), rows.astype(np.int64), axis=1)
    np.testing.assert_allclose(found, scores, rtol=1e-6)
    listed = json.loads((out / "manifest.json").read_text())["files"]
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert set(listed) == written - {"manifest.json"} and "sqlite-vec/load.py" in listed
    table = pq.read_table(out / "sqlite-vec" / "items.parquet")
    docs = load_file(small_collection / "vectors.safetensors")["docs"]
    lines = (small_collection / "corpus.jsonl").read_text().splitlines()
    row_of = {json.loads(line)["_id"]: row for row, line in enumerate(lines)}
    order = [row_of[name] for name in table["id"].to_pylist()]
    np.testing.assert_array_equal(np.array(table["v"].to_pylist(), dtype=np.float32), docs[order])


def test_a_run_of_other_parameters_is_its_store_s_still(small_collection: Path, results: Path, tmp_path: Path) -> None:
    out = exported(small_collection, results, tmp_path / "out", ["store"], "method=qdrant_int8", "method.quantile=0.9")
    assert "quantile: 0.9," in (out / "qdrant" / "setting.txt").read_text()
    assert "'quantile': 0.9," in (out / "qdrant" / "load.py").read_text()
    with pytest.raises(ConfigError, match="which is no setting of LanceDB"):
        exported(small_collection, results, tmp_path / "other", ["lancedb"], "method=qdrant_int8")


@pytest.mark.parametrize("name", OF_VECTORS)
def test_no_loader_compares_by_cosine_where_lengths_count(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    docs = rng.standard_normal((40, 384)).astype(np.float32)
    unit = (docs / np.linalg.norm(docs, axis=1, keepdims=True)).astype(np.float32)
    preset = presets()[name]
    chosen = ChosenPreset(name, preset.store, folder_name(preset.store), preset.setting, preset.version)
    ids = [f"d{row}" for row in range(40)]
    (tmp_path / "unit").mkdir()
    write_store(tmp_path / "unit", chosen, unit, ids)
    (tmp_path / "long").mkdir()
    lengthened = unit * np.linspace(0.5, 2, 40, dtype=np.float32)[:, None]
    try:
        write_store(tmp_path / "long", chosen, lengthened, ids)
    except ConfigError as error:
        assert "dataset.metric=cosine" in str(error)
        return
    texts = [
        path.read_text() for path in (tmp_path / "long").iterdir() if path.suffix in (".txt", ".py", ".sql", ".redis")
    ]
    lines = [line.partition("#")[0].partition("--")[0] for text in texts for line in text.splitlines()]
    assert not [line for line in lines if "cosine" in line.lower()]
