from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_module
from safetensors.numpy import save_file

from harness.config import build
from harness.datasets.vectors import VectorFiles
from harness.errors import ConfigError, DatasetError

N, M, D = 12, 3, 5
DOCS = np.random.default_rng(0).integers(0, 200, (N, D)).astype(np.float32)
QUERIES = np.random.default_rng(1).integers(0, 200, (M, D)).astype(np.float32)


def vecs(path: Path, rows: np.ndarray, dtype: Any) -> None:
    with path.open("wb") as file:
        for row in rows:
            file.write(np.int32(len(row)).tobytes() + row.astype(dtype).tobytes())


def lists(path: Path, rows: np.ndarray, kind: pa.DataType) -> None:
    # in row groups, so that columns come in chunks
    pq.write_table(pa.table({"v": pa.array(rows.tolist(), kind)}), path, row_group_size=5)


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "f4.npy": lambda path, rows: np.save(path, rows),
    "f2.npy": lambda path, rows: np.save(path, rows.astype(np.float16)),
    "f8.npy": lambda path, rows: np.save(path, rows.astype(np.float64)),
    "u1.npy": lambda path, rows: np.save(path, rows.astype(np.uint8)),
    "fortran.npy": lambda path, rows: np.save(path, np.asfortranarray(rows)),
    "one.safetensors": lambda path, rows: save_file({"anything": rows}, path),
    "bf16.safetensors": lambda path, rows: save_file({"x": rows.astype(ml_dtypes.bfloat16)}, path),
    "a.fvecs": lambda path, rows: vecs(path, rows, np.float32),
    "a.bvecs": lambda path, rows: vecs(path, rows, np.uint8),
    "list.parquet": lambda path, rows: lists(path, rows, pa.list_(pa.float32())),
    "large.parquet": lambda path, rows: lists(path, rows, pa.large_list(pa.float64())),
    "fixed.parquet": lambda path, rows: lists(path, rows, pa.list_(pa.float32(), rows.shape[1])),
    "columns.parquet": lambda path, rows: pq.write_table(
        pa.table({f"x{i}": rows[:, i] for i in range(rows.shape[1])}), path
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_vectors(tmp_path: Path, name: str) -> None:
    docs, queries = tmp_path / f"docs-{name}", tmp_path / f"queries-{name}"
    WRITERS[name](docs, DOCS)
    WRITERS[name](queries, QUERIES)
    dataset = VectorFiles(docs=str(docs), queries=str(queries)).load()
    assert dataset.doc_vectors is not None and dataset.query_vectors is not None
    assert list(dataset.doc_ids) == [f"{row:02d}" for row in reversed(range(N))]
    expected, given = (DOCS, QUERIES), (dataset.doc_vectors[::-1], dataset.query_vectors)
    if name.startswith("bf16"):
        expected = tuple(rows.astype(ml_dtypes.bfloat16).astype(np.float32) for rows in expected)
    assert all(np.array_equal(*pair) for pair in zip(expected, given, strict=True))
    assert dataset.doc_vectors.dtype == np.float32 == dataset.query_vectors.dtype
    assert dataset.qrels is None and dataset.doc_texts is None and dataset.name == docs.stem


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "docs.npy", DOCS)
    np.save(tmp_path / "queries.npy", QUERIES)
    return tmp_path


def options(folder: Path, **more: Any) -> VectorFiles:
    return VectorFiles(docs=str(folder / "docs.npy"), queries=str(folder / "queries.npy"), **more)


def test_judgements_by_row_number(files: Path) -> None:
    (files / "q.tsv").write_text("query-id\tcorpus-id\tscore\n0\t3\t1\n0\t11\t2\n2\t03\t1\n")
    dataset = options(files, qrels=str(files / "q.tsv"), name="mine").load()
    assert dataset.qrels == {"0": {"03": 1, "11": 2}, "2": {"03": 1}} and dataset.name == "mine"
    assert dataset.query_vectors is not None and np.array_equal(dataset.query_vectors, QUERIES[[0, 2]])
    for line, message in (
        ("0\t12\t1", r"q\.tsv:1: document '12' is no row \(they are 0 to 11\) of .*docs\.npy"),
        ("3\t0\t1", r"q\.tsv:1: query '3' is no row \(they are 0 to 2\) of .*queries\.npy"),
        ("0\t-1\t1", r"q\.tsv:1: document '-1' is no row"),
        ("0\td1\t1\n0\td2\tx", r"q\.tsv:2: the score"),
    ):
        (files / "q.tsv").write_text(line + "\n")
        with pytest.raises(DatasetError, match=message):
            options(files, qrels=str(files / "q.tsv")).load()


def test_ids_from_text_files(files: Path) -> None:
    (files / "docs.txt").write_text("\n".join(f"d{row}" for row in range(N)) + "\n")
    (files / "queries.txt").write_text("a\nb\nc")
    (files / "q.tsv").write_text("b\td10\t1\n")
    ids = {"doc_ids": str(files / "docs.txt"), "query_ids": str(files / "queries.txt")}
    dataset = options(files, qrels=str(files / "q.tsv"), **ids).load()
    assert dataset.qrels == {"b": {"d10": 1}}
    assert dataset.doc_vectors is not None
    assert np.array_equal(dataset.doc_vectors[dataset.doc_ids.index("d10")], DOCS[10])
    (files / "q.tsv").write_text("b\t10\t1\n")
    with pytest.raises(DatasetError, match=r"q\.tsv:1: document '10' is no id of"):
        options(files, qrels=str(files / "q.tsv"), **ids).load()
    (files / "queries.txt").write_text("a\nb\na\n")
    with pytest.raises(DatasetError, match=r"queries\.txt: rows 0 and 2 \(from 0\) both have the id 'a'"):
        options(files, **ids).load()
    (files / "queries.txt").write_text("a\nb\n")
    with pytest.raises(DatasetError, match=r"queries\.txt: 2 ids for 3 vectors"):
        options(files, **ids).load()


def test_parquet_columns(tmp_path: Path) -> None:
    path = tmp_path / "docs.parquet"
    names = [f"d{row}" for row in range(N)]

    def load(**more: Any) -> Any:
        return VectorFiles(docs=str(path), held_out=2, **more).load()

    def ids_of(**more: Any) -> set[str]:
        dataset = load(**more)
        return {*dataset.doc_ids, *dataset.query_ids}

    pq.write_table(pa.table({"id": list(range(N)), "x": DOCS[:, 0], "y": DOCS[:, 1]}), path)
    assert load().doc_vectors.shape == (N - 2, 2), "a column of ids is no dimension"
    assert ids_of() == {str(row) for row in range(N)}
    pq.write_table(pa.table({"key": names, "v": DOCS.tolist(), "text": names}), path)
    assert ids_of(id_column="key") == set(names)
    pq.write_table(pa.table({"v": DOCS.tolist(), "w": DOCS[:, :2].tolist()}), path)
    assert load(vector_column="w").doc_vectors.shape == (N - 2, 2)
    for more, message in (
        ({}, "2 columns of lists; choose one of v, w"),
        ({"vector_column": "u"}, r"no column 'u' \(dataset\.vector_column\); it has v, w"),
        ({"id_column": "u"}, r"no column 'u' \(dataset\.id_column\)"),
    ):
        with pytest.raises(DatasetError, match=message):
            load(**more)
    for table, message in (
        ({"a": names, "x": DOCS[:, 0]}, r"expected one column of lists, .* it has a \(string\), x \(float\)"),
        ({"v": [[1.0], [1.0, 2.0], [3.0]]}, r"row 1 \(from 0\) of 'v' has 2 numbers, the first has 1"),
        ({"v": [[1.0], None, [3.0]]}, r"row 1 \(from 0\) has no 'v'"),
        ({"v": [[1.0], [2.0], [None]]}, r"row 2 \(from 0\) has nan"),
        ({"v": [["a"], ["b"]]}, "lists of string, not of numbers"),
        ({"id": ["a", None], "v": [[1.0], [2.0]]}, r"row 1 \(from 0\) has no 'id'"),
        ({"x": pa.array([1.0, 2.0, None])}, r"row 2 \(from 0\) has no 'x'"),
        ({"v": pa.array([], pa.list_(pa.float32()))}, "expected a matrix"),
    ):
        pq.write_table(pa.table(table), path)
        with pytest.raises(DatasetError, match=message):
            load()


def test_one_safetensors_file_for_both(tmp_path: Path) -> None:
    save_file({"docs": DOCS, "queries": QUERIES}, tmp_path / "both.safetensors")
    dataset = VectorFiles(docs=str(tmp_path / "both.safetensors")).load()
    assert dataset.query_vectors is not None and np.array_equal(dataset.query_vectors, QUERIES)
    save_file({"a": DOCS, "b": QUERIES}, tmp_path / "both.safetensors")
    with pytest.raises(DatasetError, match="expected a tensor 'docs', or only one; there are a, b"):
        VectorFiles(docs=str(tmp_path / "both.safetensors")).load()


def test_held_out_documents(files: Path) -> None:
    def load() -> Any:
        return VectorFiles(docs=str(files / "docs.npy"), held_out=4).load()

    dataset = load()
    assert len(dataset.query_ids) == 4 and len(dataset.doc_ids) == N - 4
    assert not set(dataset.query_ids) & set(dataset.doc_ids)
    for ids, vectors in ((dataset.doc_ids, dataset.doc_vectors), (dataset.query_ids, dataset.query_vectors)):
        assert np.array_equal(vectors, DOCS[[int(row) for row in ids]])
    assert dataset.qrels is None
    assert dataset.name == "docs-heldout4" and dataset.revision == "4 of 12 rows held out as queries"
    assert load().fingerprint == dataset.fingerprint
    with pytest.raises(DatasetError, match=r"12 rows, of which 12 cannot be held out .* smaller dataset\.held_out"):
        VectorFiles(docs=str(files / "docs.npy"), held_out=12).load()
    with pytest.raises(DatasetError, match=r"need dataset\.queries"):
        VectorFiles(docs=str(files / "docs.npy"), qrels="q.tsv").load()
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        VectorFiles(docs="x", held_out=0)


@pytest.mark.parametrize(
    ("docs", "message"),
    [
        (np.where(np.arange(N)[:, None] == 7, np.nan, DOCS), r"docs\.npy: row 7 \(from 0\) has nan in dimension 0"),
        (np.where(np.arange(D) == 2, np.inf, DOCS), r"docs\.npy: row 0 \(from 0\) has inf in dimension 2"),
        (DOCS.astype(np.float64) * 1e300, r"row \d \(from 0\) has \S+e\+30\d in dimension \d, not a finite float32"),
        (DOCS[0], r"expected a matrix .*got \(5,\)"),
        (DOCS[:0], r"expected a matrix .*got \(0, 5\)"),
        (DOCS.astype(str), "expected real numbers, got <U"),
        (DOCS.astype(complex), "expected real numbers, got complex"),
        (DOCS.astype(object), "not a readable .npy file of numbers"),
        (DOCS[:, :4], r"queries\.npy has vectors of 5 dimensions, but .*docs\.npy of 4"),
    ],
)
def test_vectors_that_are_none(files: Path, docs: np.ndarray, message: str) -> None:
    np.save(files / "docs.npy", docs, allow_pickle=True)
    with pytest.raises(DatasetError, match=message):
        options(files).load()


def test_damaged_files(files: Path) -> None:
    def refused(name: str, content: bytes, message: str) -> None:
        path = files / name
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=message) as caught:
            VectorFiles(docs=str(path), held_out=1).load()
        assert "\n" not in str(caught.value) and name in str(caught.value)

    row = np.int32(2).tobytes() + np.zeros(2, np.float32).tobytes()
    longer = np.int32(3).tobytes() + np.zeros(3, np.float32).tobytes()
    refused("a.fvecs", b"", "is empty")
    refused("a.fvecs", np.int32(-1).tobytes(), "says that it has -1 dimensions")
    refused("a.fvecs", row * 3 + row[:-1], r"cut off in row 3 \(from 0\): 11 bytes instead of 12")
    refused("a.fvecs", row + longer + row, r"row 1 \(from 0\) says that it has 3 dimensions, the first has 2")
    refused("a.npy", b"no", "not a readable .npy file")
    refused("a.npy", (files / "docs.npy").read_bytes()[:-8], "not a readable .npy file")
    refused("a.safetensors", b"no", "not a readable safetensors file")
    refused("a.parquet", b"no", "not a readable parquet file")
    refused("a.csv", b"1,2", r"unknown kind of file '\.csv'; there are \.npy, \.parquet, ")


def test_a_missing_file(files: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no file .*dogs\.npy; .* has docs\.npy, queries\.npy"):
        VectorFiles(docs=str(files / "dogs.npy")).load()


def test_yaml(files: Path) -> None:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=["dataset=vectors", f"dataset.docs={files / 'docs.npy'}"])
    assert build(cfg.dataset, "dataset") == VectorFiles(docs=str(files / "docs.npy"))


def test_scifact(shared_data: Path) -> None:
    dataset = VectorFiles(docs=str(shared_data / "scifact" / "minilm.safetensors")).load()
    assert (len(dataset.doc_ids), len(dataset.query_ids)) == (5183, 300)
    assert dataset.doc_vectors is not None and dataset.doc_vectors.shape == (5183, 384)
