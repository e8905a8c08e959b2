"""Many files as one matrix, flat binary files, packed bits, and files that are read in blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.base.errors import DatasetError
from harness.base.memmap import mapping_of
from harness.data.datasets import VectorFiles
from harness.data.vector_files import StoredVectors, VectorSource, read_vectors
from harness.data.vector_files.read import existing_files

ROWS = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)


def read(given: Any, packed_bits: bool | None = None, role: str = "docs") -> StoredVectors:
    return read_vectors(existing_files(given), VectorSource(role), packed_bits)


def bin_file(path: Path, rows: np.ndarray, dtype: str) -> Path:
    with path.open("wb") as file:
        file.write(np.array(rows.shape, "<u4").tobytes() + rows.astype(dtype).tobytes())
    return path


def test_a_folder_a_list_and_a_pattern(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(3):
        part = ROWS[10 * number : 10 * number + 10]
        ids = [f"d{row}" for row in range(10 * number, 10 * number + 10)]
        pq.write_table(pa.table({"id": ids, "v": part.tolist()}), shards / f"part-{number}.parquet")
    (shards / "README.md").write_text("not vectors")
    for given in (str(shards), str(shards / "part-*.parquet"), [str(shards / f"part-{n}.parquet") for n in range(3)]):
        stored = read(given)
        assert np.array_equal(stored.vectors, ROWS) and stored.ids == [f"d{row}" for row in range(30)]
    dataset = VectorFiles(docs=[str(shards / f"part-{n}.parquet") for n in range(3)], held_out=3, metric="dot").load()
    assert len(dataset.doc_ids) == 27
    np.save(shards / "x.npy", ROWS)
    with pytest.raises(DatasetError, match=r"several kinds \(\.npy, \.parquet\); name them, as in .*\*\.npy"):
        read(str(shards))
    np.save(tmp_path / "narrow.npy", ROWS[:, :5])
    with pytest.raises(DatasetError, match=r"narrow\.npy has vectors of 5 dimensions, but .*x\.npy of 8"):
        read([str(shards / "x.npy"), str(tmp_path / "narrow.npy")])
    with pytest.raises(DatasetError, match=r"x\.npy has no ids, but .*part-0\.parquet has"):
        read_vectors([shards / "x.npy", shards / "part-0.parquet"], VectorSource("docs"))


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".fbin", "<f4"), (".u8bin", "<u1"), (".i8bin", "<i1"), (".ibin", "<i4")]
)
def test_big_ann_files(tmp_path: Path, suffix: str, dtype: str) -> None:
    rows = np.random.default_rng(0).integers(0, 100, (30, 8)).astype(np.float32)
    path = bin_file(tmp_path / f"a{suffix}", rows, dtype)
    stored = read(str(path))
    assert np.array_equal(stored.vectors, rows) and mapping_of(stored.vectors) is not None
    content = path.read_bytes()
    for damaged in (b"", content[:-1], content + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=rf"a\{suffix}"):
            read(str(path))


def test_true_neighbours_are_judgements(tmp_path: Path) -> None:
    np.save(tmp_path / "docs.npy", ROWS)
    np.save(tmp_path / "queries.npy", ROWS[:4])
    neighbours = np.argsort(-(ROWS[:4] @ ROWS.T), axis=1)[:, :20]
    bin_file(tmp_path / "truth.ibin", neighbours, "<i4")
    with (tmp_path / "truth.ibin").open("ab") as file:
        file.write(np.zeros((4, 20), "<f4").tobytes())  # their distances
    vecs = np.column_stack([np.full(4, 20), neighbours]).astype("<i4")
    (tmp_path / "truth.ivecs").write_bytes(vecs.tobytes())
    files = {"docs": str(tmp_path / "docs.npy"), "queries": str(tmp_path / "queries.npy"), "metric": "dot"}
    for name in ("truth.ibin", "truth.ivecs"):
        dataset = VectorFiles(**files, qrels=str(tmp_path / name), neighbours=5).load()  # type: ignore[arg-type]
        assert dataset.qrels is not None
        assert [{int(doc) for doc in judged} for judged in dataset.qrels.values()] == [
            set(row[:5]) for row in neighbours
        ]
    with pytest.raises(DatasetError, match=r"has 20 neighbours a query, fewer than dataset\.neighbours=21"):
        VectorFiles(**files, qrels=str(tmp_path / "truth.ibin"), neighbours=21).load()  # type: ignore[arg-type]


def test_bytes_are_numbers_or_packed_bits_and_nobody_guesses(tmp_path: Path) -> None:
    signs = ROWS > 0
    np.save(tmp_path / "a.npy", np.packbits(signs, axis=1))
    np.save(tmp_path / "signed.npy", (np.packbits(signs, axis=1).astype(np.int16) - 128).astype(np.int8))
    with pytest.raises(
        DatasetError, match=r"packed_bits=false\), or eight bits each, .* \(dataset\.packed_bits=true\)"
    ):
        read(str(tmp_path / "a.npy"))
    assert read(str(tmp_path / "a.npy"), packed_bits=False).vectors.shape == (30, 1)
    for name in ("a.npy", "signed.npy"):
        vectors = read(str(tmp_path / name), packed_bits=True).vectors
        assert np.array_equal(vectors > 0, signs) and np.allclose(np.linalg.norm(vectors, axis=1), 1)
    np.save(tmp_path / "float.npy", ROWS)
    with pytest.raises(DatasetError, match="is for bytes, but it holds float32"):
        read(str(tmp_path / "float.npy"), packed_bits=True)


def test_tensors_of_torch_are_read_and_code_is_not(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(ROWS), tmp_path / "a.pt")
    torch.save({"docs": torch.from_numpy(ROWS), "queries": torch.from_numpy(ROWS[:3])}, tmp_path / "b.pt")
    torch.save({"docs": Path("x")}, tmp_path / "evil.pt")
    assert np.array_equal(read(str(tmp_path / "a.pt")).vectors, ROWS)
    assert np.array_equal(read(str(tmp_path / "b.pt"), role="queries").vectors, ROWS[:3])
    with pytest.raises(DatasetError, match="not a .pt file of plain tensors"):
        read(str(tmp_path / "evil.pt"))


def test_archives_of_numpy(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", docs=ROWS, queries=ROWS[:3])
    dataset = VectorFiles(docs=str(tmp_path / "a.npz"), metric="dot").load()
    assert dataset.query_vectors is not None and np.array_equal(dataset.query_vectors, ROWS[:3])


def test_columns_of_their_own_for_queries(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["a", "b"], "doc_emb": ROWS[:2].tolist()}), tmp_path / "docs.parquet")
    pq.write_table(
        pa.table({"qid": ["x"], "query_emb": ROWS[:1].tolist(), "other": ROWS[:1].tolist()}), tmp_path / "q.parquet"
    )
    dataset = VectorFiles(
        docs=str(tmp_path / "docs.parquet"),
        queries=str(tmp_path / "q.parquet"),
        id_column="key",
        query_vector_column="query_emb",
        query_id_column="qid",
        metric="dot",
    ).load()
    assert dataset.query_ids == ["x"] and sorted(dataset.doc_ids) == ["a", "b"]


def fvecs(path: Path, rows: np.ndarray) -> None:
    np.column_stack([np.full(len(rows), rows.shape[1], "<i4").view("<f4"), rows.astype("<f4")]).tofile(path)


@pytest.mark.parametrize("kind", ["f2.npy", "i1.npy", "f8.npy", "a.fvecs", "a.i8bin"])
def test_files_of_any_type_stay_on_disk(tmp_path: Path, kind: str) -> None:
    rows = np.random.default_rng(0).integers(-100, 100, (500, 16))
    path = tmp_path / kind
    if kind.endswith(".npy"):
        np.save(path, rows.astype(kind.partition(".")[0]))
    elif kind.endswith(".fvecs"):
        fvecs(path, rows)
    else:
        bin_file(path, rows, "<i1")
    np.save(tmp_path / "q.npy", rows[:5].astype(np.float32))
    dataset = VectorFiles(docs=str(path), queries=str(tmp_path / "q.npy"), metric="dot").load()
    assert dataset.doc_vectors is not None and mapping_of(dataset.doc_vectors) is not None
    assert np.array_equal(dataset.doc_vectors[::-1], rows)
    np.save(tmp_path / "plain.npy", rows.astype(np.float32))
    plain = VectorFiles(docs=str(tmp_path / "plain.npy"), queries=str(tmp_path / "q.npy"), metric="dot").load()
    assert plain.fingerprint == dataset.fingerprint, "the same numbers are the same collection"
