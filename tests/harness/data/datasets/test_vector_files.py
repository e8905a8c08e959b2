import mmap
import sys
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

from harness.base.errors import ConfigError, DatasetError, MissingExtraError
from harness.base.memmap import mapping_of
from harness.data.datasets import vectors
from harness.data.datasets.vectors import VectorFiles
from harness.runs.config import build

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
    packed = False if name.startswith("u1") else None
    dataset = VectorFiles(docs=str(docs), queries=str(queries), metric="dot", packed_bits=packed).load()
    assert dataset.doc_vectors is not None and dataset.query_vectors is not None
    assert list(dataset.doc_ids) == [f"{row:02d}" for row in reversed(range(N))]
    expected, given = (DOCS, QUERIES), (dataset.doc_vectors[::-1], dataset.query_vectors)
    if name.startswith("bf16"):
        expected = tuple(rows.astype(ml_dtypes.bfloat16).astype(np.float32) for rows in expected)
    assert all(np.array_equal(*pair) for pair in zip(expected, given, strict=True))
    assert dataset.query_vectors.dtype == np.float32
    assert dataset.qrels is None and dataset.doc_texts is None and dataset.name == docs.stem


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "docs.npy", DOCS)
    np.save(tmp_path / "queries.npy", QUERIES)
    return tmp_path


def options(folder: Path, **more: Any) -> VectorFiles:
    more.setdefault("metric", "dot")
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
        return VectorFiles(docs=str(path), held_out=2, metric="dot", **more).load()

    def ids_of(**more: Any) -> set[str]:
        dataset = load(**more)
        return {*dataset.doc_ids, *dataset.query_ids}

    pq.write_table(pa.table({"id": list(range(N)), "x0": DOCS[:, 0], "x1": DOCS[:, 1]}), path)
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
        ({"a": names, "x": DOCS[:, 0]}, r"which columns are the vectors\? .* it has a \(string\), x \(float\)"),
        ({"v": [[1.0], [1.0, 2.0], [3.0]]}, r"row 1 \(from 0\) of 'v' has 2 numbers, the first has 1"),
        ({"v": [[1.0], None, [3.0]]}, r"row 1 \(from 0\) has no 'v'"),
        ({"v": [[1.0], [2.0], [None]]}, r"row 2 \(from 0\) has nan"),
        ({"v": [["a"], ["b"]]}, "which columns are the vectors"),
        ({"id": ["a", None], "v": [[1.0], [2.0]]}, r"row 1 \(from 0\) has no 'id'"),
        ({"x1": pa.array([1.0, 2.0, None]), "x2": [1, 2, 3]}, r"row 2 \(from 0\) has no 'x1'"),
        ({"v": pa.array([], pa.list_(pa.float32()))}, "expected a matrix"),
    ):
        pq.write_table(pa.table(table), path)
        with pytest.raises(DatasetError, match=message):
            load()


def test_one_safetensors_file_for_both(tmp_path: Path) -> None:
    save_file({"docs": DOCS, "queries": QUERIES}, tmp_path / "both.safetensors")
    dataset = VectorFiles(docs=str(tmp_path / "both.safetensors"), metric="dot").load()
    assert dataset.query_vectors is not None and np.array_equal(dataset.query_vectors, QUERIES)
    save_file({"a": DOCS, "b": QUERIES}, tmp_path / "both.safetensors")
    with pytest.raises(DatasetError, match="expected a tensor 'docs', or only one; there are a, b"):
        VectorFiles(docs=str(tmp_path / "both.safetensors"), metric="dot").load()


def test_held_out_documents(files: Path) -> None:
    def load() -> Any:
        return VectorFiles(docs=str(files / "docs.npy"), held_out=4, metric="dot").load()

    dataset = load()
    assert len(dataset.query_ids) == 4 and len(dataset.doc_ids) == N - 4
    assert not set(dataset.query_ids) & set(dataset.doc_ids)
    for ids, rows in ((dataset.doc_ids, dataset.doc_vectors), (dataset.query_ids, dataset.query_vectors)):
        assert np.array_equal(rows, DOCS[[int(row) for row in ids]])
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
    refused("a.xls", b"1,2", r"unknown kind of file '\.xls'; there are \.npy, \.npz, ")
    refused("a.csv", b"", "not a readable csv file")
    refused("a.fbin", np.array([3, 2], np.uint32).tobytes() + b"no", r"says that it has 3 rows of 2 numbers, 32 bytes")
    refused("a.jsonl", b'{"v": [1, 2]}\n{"v": [1]}\n', r"a\.jsonl:2: 'v' has 1 numbers, the first has 2")
    refused("a.npz", b"no", "not a readable .npz file")


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


def hdf5(path: Path, distance: str | None = "angular", docs: np.ndarray = DOCS, **storage: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    # a block of the user's own in front moves all that follows
    with h5py.File(path, "w", userblock_size=512) as file:
        if distance is not None:
            file.attrs["distance"] = distance
        file.create_dataset("train", data=docs, **storage)
        file["test"] = QUERIES
    return path


def test_hdf5_as_ann_benchmarks_publishes_it(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(5)
    docs, queries = (rng.standard_normal((n, 16)) * rng.uniform(0.1, 9, (n, 1)) for n in (400, 120))
    docs[7] = 0
    for distance in ("angular", "dot"):
        scores = queries @ docs.T
        if distance == "angular":
            # the distance as scikit-learn's brute force has it
            scores = 1 - scores / np.linalg.norm(queries, axis=1)[:, None] / np.maximum(
                np.linalg.norm(docs, axis=1), 1e-9
            )
            scores = -scores
        order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        with h5py.File(tmp_path / "a.hdf5", "w") as file:
            file.attrs["distance"] = distance
            file["train"], file["test"] = docs.astype(np.float32), queries.astype(np.float32)
            file["neighbors"] = order.astype(np.int32)
            file["distances"] = -np.take_along_axis(scores, order, axis=1)
        dataset = VectorFiles(docs=str(tmp_path / "a.hdf5")).load()
        assert dataset.doc_vectors is not None and dataset.query_vectors is not None
        ranked = np.argsort(-(dataset.query_vectors[:100] @ dataset.doc_vectors.T), axis=1, kind="stable")[:, :10]
        with h5py.File(tmp_path / "a.hdf5") as file:
            neighbors = file["neighbors"][:100]
        assert np.array_equal(np.array([[int(dataset.doc_ids[row]) for row in rows] for rows in ranked]), neighbors)
        lengths = np.linalg.norm(dataset.doc_vectors, axis=1)
        if distance == "angular":
            assert np.allclose(np.delete(lengths, 392), 1) and lengths[392] == 0, "row 7 of 400, in descending order"
            assert dataset.revision == "cosine: scaled to unit length"
        else:
            assert np.array_equal(dataset.doc_vectors[::-1], docs.astype(np.float32)) and dataset.revision == ""
        assert mapping_of(dataset.doc_vectors) is not None


def test_hdf5_is_mapped(tmp_path: Path) -> None:
    unit = DOCS / np.linalg.norm(DOCS, axis=1, keepdims=True)
    for distance, docs in (("Angular", unit), (None, DOCS), ("dot", DOCS), ("euclidean", DOCS)):
        path = hdf5(tmp_path / "a.h5", distance, docs)
        before = path.read_bytes()
        dataset = VectorFiles(docs=str(path), any_distance=True).load()
        assert dataset.doc_vectors is not None and np.array_equal(dataset.doc_vectors[::-1], docs)
        base = dataset.doc_vectors
        while not isinstance(base.base, mmap.mmap):
            base = base.base
        assert Path(base.filename).name == "a.h5", "and not a copy"
        assert path.read_bytes() == before
    assert dataset.revision == "euclidean in the file, compared by dot"
    held = VectorFiles(docs=str(hdf5(tmp_path / "b.h5", "dot")), queries=str(path), any_distance=True).load()
    assert held.query_vectors is not None and np.array_equal(held.query_vectors, QUERIES)


def test_hdf5_that_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")

    def refused(path: Path, message: str) -> None:
        with pytest.raises(DatasetError, match=message) as caught:
            VectorFiles(docs=str(path)).load()
        assert "\n" not in str(caught.value) and path.name in str(caught.value)

    path = tmp_path / "a.hdf5"
    refused(hdf5(path, "jaccard"), r"distance 'jaccard', .* dataset\.metric=dot")
    refused(
        hdf5(path, chunks=(2, D)), "'train' is in chunks or compressed.* h5repack -f NONE -l CONTI a.hdf5 plain.hdf5"
    )
    refused(hdf5(path, docs=DOCS[0]), r"'train' must be a matrix of real numbers, got float32 \(5,\)")
    refused(hdf5(path, docs=DOCS > 9), "'train' must be a matrix of real numbers, got bool")
    refused(hdf5(path, "dot", np.where(DOCS > 9, DOCS, np.nan)), r"row \d+ \(from 0\) has nan")
    hdf5(tmp_path / "other.hdf5")
    for link, message in (
        (h5py.ExternalLink("other.hdf5", "train"), "'train' is a link"),
        (h5py.SoftLink("/test"), "'train' is a link"),
        (None, r"expected an array 'train'; there are test"),
    ):
        with h5py.File(hdf5(path), "r+") as file:
            del file["train"]
            if link is not None:
                file["train"] = link
        refused(path, message)
    with h5py.File(path, "w") as file:
        file.create_dataset("train", (4, 5), "f4", external=[(str(tmp_path / "other.hdf5"), 0, 80)])
    refused(path, "'train' is in other files")
    with h5py.File(path, "w") as file:
        file.create_dataset("train", (1 << 40, 1 << 20), "f4")
    refused(path, "'train' is in no one piece")
    path.write_bytes(b"no")
    refused(path, "not a readable HDF5 file")
    content = bytearray(hdf5(path).read_bytes())
    heap = content.index(b"GCOL")
    # the free part of the heap that holds the attribute's text says that it has no bytes: the library reads it for ever
    content[heap + 48 : heap + 56] = bytes(8)
    path.write_bytes(content)
    refused(path, "not a readable HDF5 file: the HDF5 library ended with")


def test_hdf5_needs_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.hdf5").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"needs the package 'h5py': pip install 'vecbudget\[hdf5\]'"):
        VectorFiles(docs=str(tmp_path / "a.hdf5")).load()


def test_large_documents_are_not_copied_to_hold_some_out(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "COPIED_BYTES", DOCS.nbytes - 1)
    dataset = VectorFiles(docs=str(files / "docs.npy"), held_out=4, metric="dot").load()
    assert dataset.revision == "the last 4 of 12 rows held out as queries"
    assert dataset.doc_vectors is not None and mapping_of(dataset.doc_vectors) is not None
    assert np.array_equal(dataset.doc_vectors[::-1], DOCS[:8]) and np.array_equal(dataset.query_vectors, DOCS[8:])
    assert (
        list(dataset.query_ids) == ["08", "09", "10", "11"]
        and [int(row) for row in dataset.doc_ids] == [*range(8)][::-1]
    )
    (files / "ids.txt").write_text("\n".join(f"d{row:02d}" for row in range(N)))
    dataset = VectorFiles(docs=str(files / "docs.npy"), doc_ids=str(files / "ids.txt"), held_out=4, metric="dot").load()
    assert dataset.doc_ids[0] == "d07" and dataset.query_ids[0] == "d08"


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (12, 'a')}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 5)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 5)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (12, 5",
        "(" * 300,
    ],
)
def test_headers_of_npy_files_that_lie(tmp_path: Path, header: str) -> None:
    text = header.ljust(500).encode() + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + DOCS.tobytes())
    with pytest.raises(DatasetError, match=r"a\.npy: ") as caught:
        VectorFiles(docs=str(tmp_path / "a.npy")).load()
    assert "\n" not in str(caught.value)


def test_an_archive_is_no_npy_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", docs=DOCS)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DatasetError, match="it is an archive"):
        VectorFiles(docs=str(tmp_path / "a.npy")).load()


def test_ids_that_are_not_text(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": pa.array(["abc", "d"]), "v": [[1.0], [2.0]]}), tmp_path / "a.parquet", compression="none"
    )
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content.replace(b"abc", b"a\xffc"))
    with pytest.raises(DatasetError, match=r"a\.parquet: not a readable parquet file"):
        VectorFiles(docs=str(tmp_path / "a.parquet"), held_out=1).load()


def test_a_row_of_thousands_of_digits_is_unknown(files: Path) -> None:
    (files / "q.tsv").write_text(f"0\t{'9' * 5000}\t1\n")
    with pytest.raises(DatasetError, match=r"q\.tsv:1: document '9+' is no row"):
        options(files, qrels=str(files / "q.tsv")).load()
