"""A short run of scripts/robustness/fuzz_readers.py, and that it notices what it looks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.base.errors import DatasetError

pytest.importorskip("h5py")
from scripts.robustness import fuzz_readers

SLOW = {"vectors docs.hdf5": 6}
"""Cases of readers that start a process for each file."""


def test_damaged_files_are_read_or_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    made = fuzz_readers.samples(tmp_path / "samples")
    assert len(made) >= 44
    found, outcomes = [], set()
    for reader, sample in made.items():
        place = tmp_path / reader.replace(" ", "_")
        for number in range(SLOW.get(reader, 20)):
            outcome, what = fuzz_readers.attempt(sample, place, 0, reader, number)
            outcomes.add(outcome)
            if outcome == "finding":
                found.append(f"--case {reader!r} {number}: {what}")
    assert not found
    assert outcomes == {"read", "refused"}


def named(cause: type[Exception]) -> Callable[[Path], None]:
    def read(place: Path) -> None:
        try:
            raise cause("why")
        except cause:
            raise DatasetError("refused") from None

    return read


def unnamed(place: Path) -> None:
    raise KeyError("n")


def overwriting(place: Path) -> None:
    (place / "a.txt").write_text("mine")


def two_lines(place: Path) -> None:
    raise DatasetError("one\ntwo")


@pytest.mark.parametrize(
    ("read", "outcome", "what"),
    [
        (lambda place: None, "read", "a.txt: "),
        (named(ValueError), "refused", "a.txt: refused"),
        (named(MemoryError), "finding", "a.txt: more than 2 GB of memory"),
        (unnamed, "finding", "a.txt: KeyError: 'n'"),
        (overwriting, "finding", "reading changed the files"),
        (two_lines, "finding", "more than a line"),
    ],
)
def test_what_counts_as_a_finding(tmp_path: Path, read: Any, outcome: str, what: str) -> None:
    sample = fuzz_readers.Sample({"a.txt": b"some text"}, ("a.txt",), read)
    got = fuzz_readers.attempt(sample, tmp_path, 0, "reader", 0)
    assert got[0] == outcome and what in got[1]


def test_damage_depends_on_its_number_alone(tmp_path: Path) -> None:
    contents: list[bytes] = []

    def read(place: Path) -> None:
        contents.append((place / "a.json").read_bytes())

    sample = fuzz_readers.Sample({"a.json": b'{"a": [1, 2], "b": {"c": "text"}}'}, ("a.json",), read)
    for number in (*range(50), *range(50)):
        fuzz_readers.attempt(sample, tmp_path, 0, "reader", number)
    assert contents[:50] == contents[50:] and len(set(contents)) > 30


def test_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = fuzz_readers.Reader("vectors docs.fvecs", seed=0)
    assert reader(0)[0] in ("read", "refused")
    monkeypatch.setattr(fuzz_readers, "SECONDS", 0.0)
    assert reader(1) == ("finding", "more than 0 seconds")
    monkeypatch.setattr(fuzz_readers, "SECONDS", 5.0)
    assert reader(2)[0] in ("read", "refused"), "it is started again"
    reader._process.kill()
    reader._process.join()
    assert reader(3)[0] == "finding"
