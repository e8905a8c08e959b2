"""What a full disk does, and a short run of scripts/robustness/full_disk.py."""

import errno
import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from harness.base.errors import StoreError
from harness.base.files import array_checksum, file_checksum, reserve, sync, whole, writing
from scripts.robustness import full_disk


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, full_disk.Job]:
    return full_disk.jobs(tmp_path_factory.mktemp("source"))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on files there")
@pytest.mark.parametrize("name", ["embedding cache", "index, at once", "index, streamed", "record", "report", "export"])
def test_what_does_not_fit_is_named_and_finishes_when_there_is_room(
    name: str, jobs: dict[str, full_disk.Job], tmp_path: Path
) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "small").mkdir()
    jobs[name].write(tmp_path / "alone")
    expected = jobs[name].finished(tmp_path / "alone")
    assert expected is not None
    tally = full_disk.squeeze(jobs[name], tmp_path / "small", expected, [0, 20_000, 1 << 30], mounted=False)
    assert not tally.wrong and tally.refused >= 2


def test_the_script_notices_what_it_looks_for(tmp_path: Path) -> None:
    def unnamed(place: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def half(place: Path) -> None:
        (place / "file").write_text("half")
        raise StoreError(f"{place} cannot be written (No space left on device)")

    def elsewhere(place: Path) -> None:
        raise StoreError("it cannot be written (No space left on device)")

    def found(place: Path) -> object:
        return (place / "file").read_text() if (place / "file").exists() else None

    for number, (write, wrong) in enumerate(
        ((unnamed, "no named error"), (half, "something is there"), (elsewhere, "it cannot be written"))
    ):
        place = tmp_path / str(number)
        place.mkdir()
        tally = full_disk.squeeze(full_disk.Job(write, found), place, "whole", [1000], mounted=False)
        assert wrong in tally.wrong


def test_errors_of_writing_are_one_line_with_path_and_reason() -> None:
    for error, reason in (
        (OSError(errno.ENOSPC, "No space left on device", "/elsewhere"), "No space left on device"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError("5 requested and 3 written"), "No space left on device: 5 requested and 3 written"),
        (OSError("first\nsecond"), "first"),
    ):
        with pytest.raises(StoreError) as caught, writing(Path("/some/file")):
            raise error
        assert str(caught.value).startswith(f"/some/file cannot be written ({reason});")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="not of the disk"), writing(Path("/some/file")):
        raise ValueError("not of the disk")


def test_a_file_is_whole_or_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(KeyboardInterrupt), whole(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    for text in ("one", "other"):
        with whole(path) as draft:
            draft.write_text(text)
    with pytest.raises(OSError, match="full"), whole(path) as draft:
        draft.write_text("half")
        raise OSError("full")
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"] and path.read_text() == "other"


@pytest.mark.parametrize(
    "number, raises", [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, True), (errno.EINVAL, False)]
)
def test_only_a_disk_that_failed_stops_a_commit(
    number: int, raises: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", failing)
    if raises:
        with pytest.raises(OSError, match=os.strerror(number)):
            sync(tmp_path)
    else:
        sync(tmp_path)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="cannot reserve there")
def test_room_that_there_is_not_is_known_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reserve(tmp_path / "file", 5000)
    assert (tmp_path / "file").stat().st_size == 5000
    with pytest.raises(OSError, match="No space left|too large"):
        reserve(tmp_path / "file", 1 << 60)


def test_a_checksum_is_of_the_bytes(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(5, 12)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    (tmp_path / "bytes").write_bytes(array.tobytes())
    assert array_checksum(array) == array_checksum(mapped) == file_checksum(tmp_path / "bytes")
    assert array_checksum(array[:, ::2]) == array_checksum(array[:, ::2].copy()) != array_checksum(array)
    assert array_checksum(np.zeros((0, 3))) == array_checksum(np.zeros(0, bool))


def test_a_checksum_of_rows_in_reverse_copies_a_block_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus of numbered documents is such an array, and may be larger than memory."""
    np.save(tmp_path / "m.npy", np.random.default_rng(0).random((20_000, 50)))
    mapped = np.load(tmp_path / "m.npy", mmap_mode="r")[::-1]
    expected = array_checksum(np.array(mapped))
    monkeypatch.setattr("harness.base.files.BLOCK_BYTES", 1 << 16)
    tracemalloc.start()
    try:
        assert array_checksum(mapped) == expected
        assert tracemalloc.get_traced_memory()[1] < mapped.nbytes / 10
    finally:
        tracemalloc.stop()
