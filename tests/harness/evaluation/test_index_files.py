import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from harness.base.errors import StoreError
from harness.evaluation import index_files
from harness.evaluation.index_files import (
    CHECKSUMS_FILE,
    CODES_FILE,
    STATE_FILE,
    read_index,
    storage_of,
    verify_index,
    write_index,
)
from methods.base import Codec, Codes
from methods.composed.chain import Chain
from methods.product.faiss_codec import FaissCodec
from methods.scalar.lvq import LVQ
from methods.scalar.uniform import PerDimension
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors


def test_figures_are_the_sizes_of_the_files(tmp_path: Path) -> None:
    docs = clustered_vectors(100, 48)
    codec = PerDimension(bits=4).fit(docs)
    storage = write_index(tmp_path, codec, codec.encode(docs))
    assert storage.codes_file_bytes == (tmp_path / CODES_FILE).stat().st_size
    assert storage.state_file_bytes == (tmp_path / STATE_FILE).stat().st_size
    assert storage.index_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert {path.name for path in tmp_path.iterdir()} == {CODES_FILE, STATE_FILE, CHECKSUMS_FILE}
    assert storage.code_bytes_per_vector == 24.0, "two dimensions to a byte"
    assert storage == storage_of(tmp_path, codec)
    assert (storage.resident_bytes_per_vector, storage.disk_bytes_per_vector) == (24.0, 0.0)


def test_codes_with_shared_arrays_come_back(tmp_path: Path) -> None:
    codec = PerDimension().fit(clustered_vectors(5, 8))
    codes = Codes(n=3, rows={"a": np.arange(3, dtype=np.uint16)}, shared={"b": np.ones((2, 2), dtype=np.float16)})
    write_index(tmp_path, codec, codes)
    _, loaded = read_index(tmp_path, PerDimension())
    assert loaded.n == 3 and set(loaded.rows) == {"a"} and set(loaded.shared) == {"b"}
    assert loaded.rows["a"].dtype == np.uint16 and loaded.shared["b"].dtype == np.float16


def test_no_float_vector_is_reachable_from_the_loaded_codec(tmp_path: Path) -> None:
    docs = clustered_vectors(300, 32)
    codec = PerDimension(bits=2).fit(docs)
    write_index(tmp_path, codec, codec.encode(docs))
    loaded, codes = read_index(tmp_path, PerDimension(bits=2))
    seen: set[int] = set()
    queue: list[object] = [loaded, codes]
    arrays = []
    while queue:
        item = queue.pop()
        if id(item) in seen or isinstance(item, type):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            arrays.append(item)
            queue += [item.base] if item.base is not None else []
        elif isinstance(item, dict | list | tuple) or hasattr(item, "__dict__"):
            queue += [child for child in gc.get_referents(item) if not callable(child)]
    assert arrays, "the walk reaches the state"
    assert not any(a is docs or (a.dtype == np.float32 and a.size >= docs.size) for a in arrays)


@pytest.mark.parametrize("name", [CODES_FILE, STATE_FILE])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    docs = clustered_vectors(10, 8)
    codec = PerDimension().fit(docs)
    write_index(tmp_path, codec, codec.encode(docs))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StoreError, match=name):
        read_index(tmp_path, PerDimension())


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("name", "change", "metadata", "message"),
    [
        (CODES_FILE, {}, {}, "where it has the number of documents"),
        (CODES_FILE, {}, {"n": "x"}, "it says 'x' where"),
        (CODES_FILE, {}, {"n": "9" * 5000}, "where it has the number"),
        (CODES_FILE, {}, {"n": "11"}, "has 10 rows, expected 11"),
        (CODES_FILE, {"codes": np.array(3)}, {"n": "10"}, "not a readable index file"),
        (CODES_FILE, {"codes": np.zeros(10, ml_dtypes.bfloat16)}, {"n": "10"}, "'codes' is of type BF16"),
        (STATE_FILE, {"__class__": np.zeros(1)}, {}, "'__class__' is no name of a fitted parameter"),
        (STATE_FILE, {"fit": np.zeros(1)}, {}, "'fit' is no name of a fitted parameter"),
        (STATE_FILE, {"x_": np.zeros(1, ml_dtypes.float8_e4m3fn)}, {}, "'x_' is of type F8_E4M3"),
        (STATE_FILE, {"dim_": None}, {}, "not the state of Chain"),
        (STATE_FILE, {"dim_": np.zeros(2)}, {}, "not the state of Chain"),
    ],
)
def test_what_no_index_says_is_named(
    tmp_path: Path, mapped: bool, name: str, change: dict[str, Any], metadata: dict[str, str], message: str
) -> None:
    docs = clustered_vectors(10, 8)
    codec = Chain(transforms=[], codec=PerDimension()).fit(docs)
    write_index(tmp_path, codec, codec.encode(docs))
    read_index(tmp_path, Chain(transforms=[], codec=PerDimension()), mapped)
    (tmp_path / CHECKSUMS_FILE).unlink()
    arrays = {**load_file(tmp_path / name), **change}
    save_file({key: array for key, array in arrays.items() if array is not None}, tmp_path / name, metadata)
    with pytest.raises(StoreError, match=message) as caught:
        read_index(tmp_path, Chain(transforms=[], codec=PerDimension()), mapped)
    assert name in str(caught.value)


CODECS: list[Callable[[], Codec]] = [
    lambda: PerDimension(bits=4),
    # several arrays of codes
    lambda: LVQ(bits=4, residual_bits=3),
    lambda: Chain(transforms=[SVD(dim=4)], codec=FaissCodec(factory="PQ2x4np")),
]


@pytest.mark.parametrize("make", CODECS)
def test_any_flipped_byte_is_refused_by_name(tmp_path: Path, make: Callable[[], Codec]) -> None:
    docs = clustered_vectors(20, 8)
    codec = make().fit(docs)
    write_index(tmp_path, codec, codec.encode(docs))
    rng = np.random.default_rng(0)
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        for place in rng.permutation(len(content))[:150]:
            flipped = bytearray(content)
            flipped[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            with pytest.raises(StoreError) as caught:
                read_index(tmp_path, make(), mapped=bool(place % 2))
            assert path.name in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(StoreError, match=path.name):
            verify_index(tmp_path)
        path.write_bytes(content)
    verify_index(tmp_path)


@pytest.mark.parametrize("make", CODECS[:2])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_of_codes_is_named_with_its_array(make: Callable[[], Codec], data: st.DataObject) -> None:
    docs = clustered_vectors(30, 8)
    codec = make().fit(docs)
    with TemporaryDirectory() as folder:
        storage = write_index(Path(folder), codec, codec.encode(docs))
        path = Path(folder) / CODES_FILE
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(storage.codes_header_bytes, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"codes\.safetensors: the array '\w+' differs from its checksum"):
            read_index(Path(folder), make())


@pytest.mark.parametrize("block", [3, index_files.BLOCK_BYTES])
@pytest.mark.parametrize("make", CODECS)
def test_checksums_of_a_streamed_index_are_those_of_one_written_at_once(
    tmp_path: Path, make: Callable[[], Codec], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_files, "BLOCK_BYTES", block)  # an array is written so many bytes at a time
    docs = clustered_vectors(50, 8)
    codec = make().fit(docs)
    for name in ("whole", "chunks"):
        (tmp_path / name).mkdir()
    write_index(tmp_path / "whole", codec, codec.encode(docs))
    write_index(tmp_path / "chunks", codec, (codec.encode(docs[i : i + 7]) for i in range(0, 50, 7)), 50)
    whole, chunks = ((tmp_path / name / CHECKSUMS_FILE).read_bytes() for name in ("whole", "chunks"))
    assert whole == chunks
    assert (tmp_path / "whole" / CODES_FILE).read_bytes() == (tmp_path / "chunks" / CODES_FILE).read_bytes()
    verify_index(tmp_path / "chunks")


def test_an_index_without_checksums_is_read(tmp_path: Path) -> None:
    docs = clustered_vectors(20, 8)
    codec = PerDimension().fit(docs)
    write_index(tmp_path, codec, codec.encode(docs))
    (tmp_path / CHECKSUMS_FILE).unlink()
    verify_index(tmp_path)
    assert np.array_equal(read_index(tmp_path, PerDimension())[1].array, codec.encode(docs).array)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "[" * 100_000, '{"xxh3_128": {}}', '{"xxh3_128": {"codes.safetensors": 3}}', "\0"]
)
def test_what_is_no_list_of_checksums_is_named(tmp_path: Path, content: str) -> None:
    docs = clustered_vectors(20, 8)
    codec = PerDimension().fit(docs)
    write_index(tmp_path, codec, codec.encode(docs))
    (tmp_path / CHECKSUMS_FILE).write_text(content)
    with pytest.raises(StoreError, match=CHECKSUMS_FILE):
        read_index(tmp_path, PerDimension())


def test_an_interrupted_stream_leaves_nothing_that_could_be_read(tmp_path: Path) -> None:
    docs = clustered_vectors(50, 8)
    codec = PerDimension().fit(docs)

    def chunks() -> Iterator[Codes]:
        yield codec.encode(docs[:20])
        raise KeyboardInterrupt

    write_index(tmp_path, codec, codec.encode(docs))
    with pytest.raises(KeyboardInterrupt):
        write_index(tmp_path, codec, chunks(), 50)
    assert (tmp_path / CODES_FILE).stat().st_size > 50 * 8, "its room is taken from the start"
    with pytest.raises(StoreError, match=CODES_FILE):
        read_index(tmp_path, PerDimension())
