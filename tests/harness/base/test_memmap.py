import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.errors import StoreError
from harness.base.files import array_checksum
from harness.base.memmap import blocks, mapping_of, release, take, take_vectors
from harness.data.datasets import Dataset, row_numbers
from harness.data.datasets.row_numbers import RowNumbers
from harness.data.datasets.vectors import VectorFiles
from harness.evaluation.index_build import encoded_chunks
from harness.evaluation.index_files import CODES_FILE, read_index, write_index
from harness.evaluation.measure import Problem, measure
from methods.base import Codec
from methods.composed.chain import Chain
from methods.product.faiss_codec import FaissCodec
from methods.scalar.lvq import LVQ
from methods.scalar.uniform import PerDimension
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors

CODECS = [
    PerDimension,
    lambda: LVQ(bits=4, residual_bits=3),
    lambda: FaissCodec(factory="PQ8x4np"),
    lambda: Chain(transforms=[SVD(dim=16)], codec=PerDimension(bits=4)),
]


@pytest.fixture
def mapped(tmp_path: Path) -> np.ndarray:
    np.save(tmp_path / "docs.npy", clustered_vectors(1000, 32))
    return np.load(tmp_path / "docs.npy", mmap_mode="r")


def test_blocks_are_the_rows(mapped: np.ndarray) -> None:
    for vectors in (mapped, mapped[::-1], np.array(mapped)):
        for rows in (None, 1, 333, 5000):
            parts = list(blocks(vectors, rows))
            assert np.array_equal(np.concatenate([part for _, part in parts]), vectors)
            assert [start for start, _ in parts] == np.cumsum([0, *(len(part) for _, part in parts[:-1])]).tolist()


def test_of_float16_only_what_is_computed_with_is_float32(tmp_path: Path) -> None:
    half = clustered_vectors(1000, 32).astype(np.float16)
    np.save(tmp_path / "half.npy", half)
    stored = np.load(tmp_path / "half.npy", mmap_mode="r")
    parts = [part for _, part in blocks(stored, 300)]
    assert {part.dtype for part in parts} == {np.dtype(np.float32)}
    assert np.array_equal(np.concatenate(parts), half.astype(np.float32))
    rows = np.array([3, 999, 3])
    assert take(stored, rows).dtype == np.float16, "codes are taken too"
    assert take_vectors(stored, rows).dtype == np.float32 and np.array_equal(take_vectors(stored, rows), half[rows])


def test_what_is_given_back_can_be_read_again(mapped: np.ndarray) -> None:
    before = np.array(mapped)
    release(mapped, mapped[::-1], before)
    assert np.array_equal(mapped, before)
    assert mapping_of(mapped[10:20, ::2]) is not None and mapping_of(before) is None


@pytest.mark.parametrize("make", CODECS)
def test_written_in_chunks_it_is_the_same_file(tmp_path: Path, make: type[Codec], mapped: np.ndarray) -> None:
    codec = make().fit(mapped)
    for name in ("whole", "chunks"):
        (tmp_path / name).mkdir()
    write_index(tmp_path / "whole", codec, codec.encode(mapped))
    storage = write_index(tmp_path / "chunks", codec, encoded_chunks(codec, mapped, 300), len(mapped))
    assert (tmp_path / "whole" / CODES_FILE).read_bytes() == (tmp_path / "chunks" / CODES_FILE).read_bytes()
    assert storage.n == 1000
    _, in_memory = read_index(tmp_path / "whole", make())
    _, on_disk = read_index(tmp_path / "chunks", make(), mapped=True)
    assert on_disk.rows.keys() == in_memory.rows.keys()
    for key, array in on_disk.rows.items():
        assert mapping_of(array) is not None
        assert array.dtype == in_memory.rows[key].dtype and np.array_equal(array, in_memory.rows[key])


def test_a_missing_chunk_is_named(tmp_path: Path, mapped: np.ndarray) -> None:
    codec = PerDimension().fit(mapped)
    with pytest.raises(StoreError, match="1000 documents were encoded, expected 1001"):
        write_index(tmp_path, codec, encoded_chunks(codec, mapped, 300), 1001)


@pytest.mark.parametrize("make", CODECS)
def test_figures_do_not_depend_on_chunks(make: type[Codec], mapped: np.ndarray) -> None:
    queries = clustered_vectors(20, 32, seed=1)
    docs = np.array(mapped)
    found = [
        measure(make, Problem(held, queries, None, None, *exact(docs, queries), {}), k=20, chunk_rows=rows)
        for held, rows in ((docs, None), (mapped, 77), (mapped, 400))
    ]
    for other in found[1:]:
        assert np.array_equal(other.ranking, found[0].ranking) and np.array_equal(other.scores, found[0].scores)
        assert other.storage == found[0].storage
        assert other.limits == found[0].limits


def exact(docs: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ docs.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    return order, np.take_along_axis(scores, order, axis=1)


@given(st.integers(1, 2000), st.booleans())
def test_row_numbers_are_the_list_they_stand_for(n: int, descending: bool) -> None:
    numbers = RowNumbers(n, descending)
    width = len(str(n - 1))
    listed = [f"{row:0{width}d}" for row in range(n)]
    listed = listed[::-1] if descending else listed
    assert list(numbers) == listed and len(numbers) == n
    assert numbers[n // 2] == listed[n // 2] and numbers[-1] == listed[-1] and numbers[1:7:2] == listed[1:7:2]
    assert list(numbers.reverse()) == listed[::-1]
    assert listed[0] in numbers and str(n) not in numbers and "x" not in numbers and f" {listed[0]}" not in numbers
    with pytest.raises(IndexError):
        numbers[n]


@given(st.integers(1, 2000), st.booleans(), st.integers(1, 700))
def test_row_numbers_are_written_as_their_list_is(n: int, descending: bool, rows: int) -> None:
    numbers = RowNumbers(n, descending)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_numbers, "JSON_ROWS", rows)
        assert b"".join(numbers.as_json()) == json.dumps(list(numbers)).encode()


@given(st.booleans(), st.sampled_from([np.float32, np.float16, np.float64]))
def test_one_reading_tells_the_fingerprint_and_the_checksum(named: bool, dtype: type) -> None:
    docs, queries = clustered_vectors(40, 8).astype(dtype), clustered_vectors(3, 8).astype(dtype)
    ids = [f"d\u00fc{row}" for row in range(40)] if named else RowNumbers(40)
    dataset = Dataset.build(
        name="x", doc_ids=ids, query_ids=["b", "a", "c"], qrels=None, doc_vectors=docs, query_vectors=queries
    )
    assert dataset.doc_vectors is not None and dataset.query_vectors is not None
    # as it is on every record so far
    content = {
        "format": 1,
        "doc_ids": list(dataset.doc_ids),
        "doc_texts": None,
        "query_ids": ["b", "a", "c"],
        "query_texts": None,
        "qrels": None,
        "train": [],
        "skip_identical_ids": False,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode())
    for vectors in (dataset.doc_vectors, dataset.query_vectors):
        digest.update(repr(vectors.shape).encode())
        digest.update(np.ascontiguousarray(vectors, dtype=np.float32).data)
    assert dataset.fingerprint == digest.hexdigest()[:16]
    own = dataset.doc_vectors
    assert dataset.checksum_of(own.view()) == (array_checksum(own) if dtype is np.float32 else None)
    assert dataset.checksum_of(own[1:]) is dataset.checksum_of(own.copy()) is None


def test_a_file_of_vectors_is_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "docs.npy", clustered_vectors(1000, 32))
    np.save(tmp_path / "queries.npy", clustered_vectors(5, 32))
    dataset = VectorFiles(docs=str(tmp_path / "docs.npy"), queries=str(tmp_path / "queries.npy")).load()
    assert dataset.doc_vectors is not None and mapping_of(dataset.doc_vectors) is not None
    assert dataset.doc_ids[0] == "999" and dataset.doc_ids[999] == "000"
    assert np.array_equal(dataset.doc_vectors[0], np.load(tmp_path / "docs.npy")[999])


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident pages as Linux does")
def test_reading_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    wide = np.lib.format.open_memmap(tmp_path / "docs.npy", mode="w+", dtype=np.float32, shape=(400_000, 256))
    wide[::1000] = 1
    del wide
    script = """
import sys, resource
import numpy as np
from harness.base.memmap import blocks
docs = np.load(sys.argv[1], mmap_mode="r")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(float(block.sum()) for _, block in blocks(docs)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "docs.npy")], check=True, capture_output=True, text=True
    )
    total, kilobytes = done.stdout.split()
    assert float(total) == 400 * 256
    assert int(kilobytes) < 100_000, "of a file of 400 MB"


def test_rows_taken_are_the_rows(mapped: np.ndarray) -> None:
    rows = np.random.default_rng(0).integers(0, 1000, 5000)
    for vectors in (mapped, mapped[::-1], np.array(mapped)):
        taken = take(vectors, rows)
        assert np.array_equal(taken, vectors[rows]) and mapping_of(taken) is None
    assert take(mapped, np.empty(0, np.int64)).shape == (0, 32)
