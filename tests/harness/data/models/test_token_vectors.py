"""Token vectors of one's own: arrays with offsets, and lists in Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.base.errors import ConfigError, ModelError
from harness.base.memmap import mapping_of
from harness.data.embedding_cache import embed, fill
from harness.data.models import TokenVectorModel
from harness.data.models.float16 import cached_as
from harness.data.training_queries import choose
from methods.token_vectors import TokenVectors
from tests.harness.data.models.test_term_vectors import toy

RNG = np.random.default_rng(0)
DOCS = TokenVectors.of([RNG.standard_normal((count, 4)).astype(np.float32) for count in (2, 0, 3)], 4)
QUERIES = TokenVectors.of([RNG.standard_normal((count, 4)).astype(np.float32) for count in (1, 2)])


def arrays(docs: TokenVectors = DOCS, queries: TokenVectors = QUERIES) -> dict[str, Any]:
    sides = {"docs": docs, "queries": queries}
    return {f"{side}_{name}": getattr(own, name) for side, own in sides.items() for name in ("values", "offsets")}


def assert_in_dataset_order(vectors: Any) -> None:
    """Documents come in descending order of their ids, c, b, a, and the file has b, c, a; queries as the dataset."""
    for found, given, order in ((vectors.docs, DOCS, (1, 0, 2)), (vectors.queries, QUERIES, (0, 1))):
        assert found.counts.tolist() == given.counts[list(order)].tolist()
        for mine, row in zip(found.matrices(), order, strict=True):
            assert np.array_equal(mine, given.matrices()[row])


def test_one_file_or_two_come_in_dataset_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", **arrays())
    save_file(arrays(), tmp_path / "both.safetensors")
    for side, own in (("docs", DOCS), ("queries", QUERIES)):
        save_file({"values": own.values, "offsets": own.offsets}, tmp_path / f"{side}.safetensors")
    for files in (("both.npz",), ("both.safetensors",), ("docs.safetensors", "queries.safetensors")):
        paths = [str(tmp_path / name) for name in files]
        model = TokenVectorModel(docs=paths[0], queries=paths[1] if len(paths) > 1 else None)
        assert_in_dataset_order(embed(toy(), model, tmp_path))


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_columns_stand_beside_the_vectors(tmp_path: Path, ending: str) -> None:
    given = arrays() | {"docs_token_ids": np.arange(5), "docs_attention": np.linspace(0, 1, 5).astype(np.float32)}
    file = tmp_path / f"both.{ending}"
    np.savez(file, **given) if ending == "npz" else save_file(given, file)
    docs = embed(toy(), TokenVectorModel(docs=str(file)), tmp_path).docs
    assert docs.columns["token_ids"].tolist() == [0, 1, 2, 3, 4] and docs.columns["attention"][-1] == 1
    np.savez(tmp_path / "short.npz", **(given | {"docs_token_ids": np.arange(4)}))
    with pytest.raises(ModelError, match="column 'token_ids' must be a number for each of 5 vectors"):
        embed(toy(), TokenVectorModel(docs=str(tmp_path / "short.npz")), tmp_path)


def write_table(path: Path, table: dict[str, Any]) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    made = pa.table(table)
    if path.suffix == ".parquet":
        pq.write_table(made, path, row_group_size=1)
        return
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
        writer.write_table(made, max_chunksize=1)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_lists_in_tables_are_matched_by_id(tmp_path: Path, ending: str) -> None:
    pa = pytest.importorskip("pyarrow")
    for side, own, ids in (("docs", DOCS, ["b", "c", "a"]), ("queries", QUERIES, ["q1", "q0"])):
        order = list(reversed(range(len(ids))))
        rows = [own.matrices()[row].tolist() for row in order]
        kind = pa.list_(pa.list_(pa.float32(), 4) if side == "docs" else pa.list_(pa.float32()))
        table = {"_id": [ids[row] for row in order], "tokens": pa.array(rows, kind)}
        write_table(tmp_path / f"{side}.{ending}", table)
    model = TokenVectorModel(docs=str(tmp_path / f"docs.{ending}"), queries=str(tmp_path / f"queries.{ending}"))
    assert_in_dataset_order(embed(toy(), model, tmp_path))


def test_tables_of_float16_stay_so(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    halves = pa.array([[np.ones(2, np.float16)], [], [np.ones(2, np.float16)]], pa.list_(pa.list_(pa.float16(), 2)))
    write_table(tmp_path / "docs.parquet", {"tokens": halves})
    write_table(tmp_path / "queries.parquet", {"id": ["q0", "q1"], "tokens": halves[::2]})
    model = TokenVectorModel(docs=str(tmp_path / "docs.parquet"), queries=str(tmp_path / "queries.parquet"))
    docs = embed(toy(), model, tmp_path).docs
    assert docs.dtype == np.float16 and docs.counts.tolist() == [0, 1, 1], "in dataset order: c, b, a"


def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    two = pa.list_(pa.list_(pa.float32()))
    rows = [[[1.0, 2.0]], [], [[3.0, 4.0]]]
    tables: dict[str, dict[str, Any]] = {
        "vectors have 2 to 3 numbers": {"tokens": pa.array([[[1, 2]], [], [[1, 2, 3]]], two)},
        "column '_id' has 1 empty cells": {"tokens": pa.array(rows, two), "_id": ["b", None, "a"]},
        "column 'tokens' has 1 empty cells": {"tokens": pa.array([[[1, 2]], None, []], two)},
        "2 columns of lists of vectors": {"tokens": pa.array(rows, two), "others": pa.array(rows, two)},
        "holds no vector": {"tokens": pa.array([[], [], []], two)},
        "there is no 'c' among its ids": {"tokens": pa.array(rows, two), "_id": ["b", "d", "a"]},
    }
    for place, (message, table) in enumerate(tables.items()):
        path = tmp_path / f"{place}.parquet"
        write_table(path, table)
        with pytest.raises(ModelError, match=message) as raised:
            embed(toy(), TokenVectorModel(docs=str(path), queries=str(path)), tmp_path)
        assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match="one side only"):
        embed(toy(), TokenVectorModel(docs=str(tmp_path / "5.parquet")), tmp_path)


def test_methods_that_want_queries_get_documents(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", **arrays())
    dataset, model = toy(titles=["b", "c", "a"]), TokenVectorModel(docs=str(tmp_path / "both.npz"))
    chosen = choose("auto", dataset, model, dataset)
    assert chosen.source == "documents"
    vectors = embed(dataset, model, tmp_path)
    found = chosen.vectors(vectors)
    assert isinstance(found, TokenVectors) and found.counts.tolist() == vectors.docs.counts[chosen.rows].tolist()


def test_files_in_dataset_order_stay_mapped_and_float16(tmp_path: Path) -> None:
    ordered = DOCS.take(np.array([1, 0, 2]))
    save_file(arrays(TokenVectors(ordered.values.astype(np.float16), ordered.offsets)), tmp_path / "both.safetensors")
    dataset = toy(doc_ids=["c", "b", "a"], doc_texts=["C", "B", "A"])
    vectors = embed(dataset, TokenVectorModel(docs=str(tmp_path / "both.safetensors")), tmp_path)
    assert vectors.docs.dtype == np.float16 and mapping_of(vectors.docs.values) is not None


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    broken = DOCS.values.copy()
    broken[4, 1] = np.nan
    narrow = TokenVectors(np.ascontiguousarray(QUERIES.values[:, 1:]), QUERIES.offsets)
    files = {
        "NaN or infinity in row 2": arrays(TokenVectors(broken, DOCS.offsets)),
        "queries of 3": arrays(queries=narrow),
        "offsets do not divide": arrays(TokenVectors(DOCS.values, np.array([0, 2, 2, 9]))),
        "has 2 rows, but the dataset has 3 documents": arrays(DOCS[:2]),
        "neither docs_values and docs_offsets": {"vectors": DOCS.values},
        "not whole numbers": {**arrays(), "docs_offsets": DOCS.offsets.astype(np.float32)},
    }
    for place, (message, content) in enumerate(files.items()):
        path = tmp_path / f"{place}.safetensors"
        save_file({name: np.ascontiguousarray(array) for name, array in content.items()}, path)
        with pytest.raises(ModelError, match=message) as raised:
            embed(toy(), TokenVectorModel(docs=str(path)), tmp_path)
        assert "\n" not in str(raised.value)
    (tmp_path / "x.npz").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="holds no token vectors of docs"):
        embed(toy(), TokenVectorModel(docs=str(tmp_path / "x.npz")), tmp_path)
    with pytest.raises(ModelError, match="there is no file"):
        embed(toy(), TokenVectorModel(docs=str(tmp_path / "nothing.npz")), tmp_path)


def test_there_is_nothing_to_encode_and_nothing_to_round(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", **arrays())
    model = TokenVectorModel(docs=str(tmp_path / "both.npz"))
    with pytest.raises(ModelError, match="nothing to encode"):
        fill(toy(), model, tmp_path)
    with pytest.raises(ConfigError, match="and so are token vectors of one's own"):
        cached_as(model, "float16")
    before = model.identity("document", None)
    np.savez(tmp_path / "both.npz", **arrays(TokenVectors(2 * DOCS.values, DOCS.offsets)))
    assert TokenVectorModel(docs=str(tmp_path / "both.npz")).identity("document", None) != before
