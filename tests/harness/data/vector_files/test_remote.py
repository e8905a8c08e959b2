"""Vectors of other file systems: those of a local file, and what is wrong with them by name."""

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.base.errors import DatasetError, MissingExtraError
from harness.data.datasets import VectorFiles
from harness.data.vector_files import remote
from tests.conftest import clustered_vectors

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")

DOCS = clustered_vectors(90, 8, seed=1)


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty file system in memory, which fsspec keeps for the whole process."""
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def put(system: Any, name: str, octets: bytes) -> str:
    system.pipe_file(name, octets)
    return f"memory://{name}"


def npy(folder: Path, matrix: np.ndarray) -> bytes:
    np.save(folder / "m.npy", matrix)
    return (folder / "m.npy").read_bytes()


def parquet(folder: Path, matrix: np.ndarray, first: int = 0, rows: int = 20) -> bytes:
    ids = pa.array([f"d{first + row}" for row in range(len(matrix))])
    table = pa.table({"id": ids, "text": pa.array(["of no interest"] * len(matrix)), "emb": pa.array(list(matrix))})
    pq.write_table(table, folder / "m.parquet", row_group_size=rows)
    return (folder / "m.parquet").read_bytes()


def loaded(tmp_path: Path, docs: Any) -> Any:
    np.save(tmp_path / "queries.npy", clustered_vectors(5, 8, seed=2))
    return VectorFiles(docs=docs, queries=str(tmp_path / "queries.npy"), metric="dot").load()


@pytest.mark.parametrize("ending", ["npy", "parquet"])
@pytest.mark.parametrize("named", ["folder", "pattern", "list"])
def test_parts_of_another_file_system_are_those_of_a_local_folder(
    ending: str, named: str, tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "RANGE_BYTES", 100)
    (tmp_path / "docs").mkdir()
    for number, start in enumerate((0, 40, 77)):
        block = DOCS[start : (40, 77, 90)[number]]
        octets = npy(tmp_path, block) if ending == "npy" else parquet(tmp_path, block, start)
        (tmp_path / "docs" / f"part-{number}.{ending}").write_bytes(octets)
        put(memory, f"/store/docs/part-{number}.{ending}", octets)
    url = "memory://store/docs"
    asked: Any = {
        "folder": url,
        "pattern": f"{url}/part-*.{ending}",
        "list": [f"{url}/part-{number}.{ending}" for number in range(3)],
    }[named]
    there, here = loaded(tmp_path, asked), loaded(tmp_path, str(tmp_path / "docs"))
    assert there.fingerprint == here.fingerprint and there.doc_vectors.dtype == np.float32
    assert np.array_equal(there.doc_vectors, here.doc_vectors) and len(there.doc_ids) == 90


def test_a_file_is_read_in_ranges_and_of_a_table_the_wanted_columns(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "RANGE_BYTES", 1000)
    monkeypatch.setattr(remote, "HEADER_BYTES", 512)
    asked: list[int] = []
    cat_file = type(memory).cat_file

    def counted(self: Any, path: str, start: int, end: int) -> Any:
        asked.append(end - start)
        return cat_file(self, path, start=start, end=end)

    monkeypatch.setattr(type(memory), "cat_file", counted)
    (file,) = remote.remote_files(put(memory, "/m.npy", npy(tmp_path, DOCS)))
    remote.read_remote(file, remote.VectorSource("docs"))
    assert max(asked) <= 1000 and sum(asked) == 512 + DOCS.nbytes


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda octets: octets[:-5], "is it cut off"),
        (lambda octets: octets[:20], "not a readable .npy file"),
        (lambda octets: b"PK" + octets, "not a readable .npy file"),
    ],
)
def test_a_truncated_npy_part_is_named(spoil: Any, said: str, tmp_path: Path, memory: Any) -> None:
    put(memory, "/docs/a.npy", npy(tmp_path, DOCS[:40]))
    put(memory, "/docs/b.npy", spoil(npy(tmp_path, DOCS[40:])))
    with pytest.raises(DatasetError, match=rf"^memory://.*docs/b\.npy.*{said}"):
        loaded(tmp_path, "memory://docs")


def test_a_truncated_parquet_part_is_named(tmp_path: Path, memory: Any) -> None:
    put(memory, "/docs/a.parquet", parquet(tmp_path, DOCS[:40])[:-40])
    with pytest.raises(DatasetError, match=r"^memory://.*docs/a\.parquet: cannot be read"):
        loaded(tmp_path, "memory://docs")


def test_parts_of_different_widths_are_named(tmp_path: Path, memory: Any) -> None:
    put(memory, "/docs/a.npy", npy(tmp_path, DOCS))
    put(memory, "/docs/b.npy", npy(tmp_path, DOCS[:, :6]))
    with pytest.raises(DatasetError, match=r"docs/b\.npy has vectors of 6 dimensions, but memory://.*docs/a\.npy of 8"):
        loaded(tmp_path, "memory://docs")


def test_what_is_not_there_or_of_several_kinds_is_named(tmp_path: Path, memory: Any) -> None:
    with pytest.raises(DatasetError, match=r"^memory://docs/a\.npy: cannot be read|there is no file memory"):
        loaded(tmp_path, "memory://docs/a.npy")
    with pytest.raises(DatasetError, match=r"there is no file memory://docs/\*\.npy"):
        loaded(tmp_path, "memory://docs/*.npy")
    put(memory, "/docs/a.npy", npy(tmp_path, DOCS))
    put(memory, "/docs/b.parquet", parquet(tmp_path, DOCS))
    with pytest.raises(DatasetError, match=r"holds files of several kinds \(\.npy, \.parquet\)"):
        loaded(tmp_path, "memory://docs")


def test_a_broken_read_is_named_and_leaves_nothing(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "RANGE_BYTES", 1000)
    put(memory, "/docs/a.npy", npy(tmp_path, DOCS))
    cat_file = type(memory).cat_file
    before = sorted(tmp_path.iterdir())

    def lost(self: Any, path: str, start: int, end: int) -> Any:
        if start > 1500:
            raise ConnectionResetError("Connection reset by peer")
        return cat_file(self, path, start=start, end=end)

    monkeypatch.setattr(type(memory), "cat_file", lost)
    with pytest.raises(DatasetError, match=r"^memory://.*docs/a\.npy: cannot be read \(Connection reset by peer\)"):
        loaded(tmp_path, "memory://docs/a.npy")
    monkeypatch.setattr(type(memory), "cat_file", lambda self, path, start, end: cat_file(self, path)[start : end - 1])
    with pytest.raises(DatasetError, match=r"asked for the bytes 0 to [\d,]+, got [\d,]+ of them"):
        loaded(tmp_path, "memory://docs/a.npy")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "queries.npy"])


def test_a_store_whose_package_is_missing_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3", name="s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingExtraError, match=r"'s3fs': pip install 'vecbudget\[remote\]'"):
        loaded(tmp_path, "s3://bucket/docs")


class Ranges(BaseHTTPRequestHandler):
    """A web server of one folder that reads in ranges; it closes the connection in the middle of `broken.npy`."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        octets, status = path.read_bytes(), 200
        size = len(octets)
        asked = self.headers.get("Range")
        if asked:
            start, _, end = asked.removeprefix("bytes=").partition("-")
            octets, status = octets[int(start) : int(end) + 1 if end else size], 206
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(octets)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(octets) - 1}/{size}")
        self.end_headers()
        if body and path.name == "broken.npy" and asked and int(start) > 0:
            self.wfile.write(octets[:100])
            self.close_connection = True
        elif body:
            self.wfile.write(octets)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="aiohttp is not installed")
def test_a_web_server_is_read_in_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "HEADER_BYTES", 512)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "docs.npy").write_bytes(npy(tmp_path, DOCS))
    (tmp_path / "web" / "broken.npy").write_bytes(npy(tmp_path, DOCS))
    (tmp_path / "web" / "docs.parquet").write_bytes(parquet(tmp_path, DOCS))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Ranges,), {"folder": tmp_path / "web"}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        np.save(tmp_path / "docs.npy", DOCS)
        assert (
            loaded(tmp_path, f"{url}/docs.npy").fingerprint == loaded(tmp_path, str(tmp_path / "docs.npy")).fingerprint
        )
        assert np.array_equal(
            np.sort(loaded(tmp_path, f"{url}/docs.parquet").doc_vectors, axis=0), np.sort(DOCS, axis=0)
        )
        with pytest.raises(DatasetError, match=rf"^{url}/broken\.npy: cannot be read"):
            loaded(tmp_path, f"{url}/broken.npy")
        with pytest.raises(DatasetError, match=rf"^{url}/absent\.npy: cannot be read"):
            loaded(tmp_path, f"{url}/absent.npy")
    finally:
        server.shutdown()
        server.server_close()
