"""A report's pictures are drawn where anything that they show has changed, and nowhere else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from harness.report import pictures
from harness.report.figures.style import new_figure
from harness.report.pictures import KNOWN, Pictures, content_hash

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Shown:
    """What a picture is drawn from."""

    frame: pd.DataFrame
    heights: np.ndarray
    looks: dict[str, Any]


SHOWN = Shown(
    pd.DataFrame({"name": ["a", "b"], "share": [0.5, np.nan], "seed": pd.array([1, None], dtype="Int64")}),
    np.array([1.0, 3.0, 2.0]),
    {"a": {"color": "#0072B2"}},
)


def draw(shown: Shown) -> Figure:
    figure = new_figure(2.0, 1.5)
    figure.add_subplot().plot(shown.heights)
    return figure


def draw_otherwise(shown: Shown) -> Figure:
    return draw(shown)


def drawn(out: Path, *asked: tuple[str, Callable[..., Figure], Shown], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ask for pictures, wait for them, and return which of them were drawn."""
    found: list[str] = []
    really = pictures._draw

    def noting(picture: pictures.Picture, folder: Path) -> str:
        found.append(picture.stem)
        return really(picture, folder)

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_draw", noting)
        report = Pictures(out)
        for stem, function, shown in asked:
            files = report.add(stem, function, shown)
            assert files == [out / f"{stem}.png", out / f"{stem}.svg"]
        report.start()()
    return found


def test_what_is_there_and_was_drawn_from_the_same_is_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = (("one", draw, SHOWN), ("two", draw, SHOWN))
    assert drawn(tmp_path, *two, monkeypatch=monkeypatch) == ["one", "two"]
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {KNOWN, "one.png", "one.svg", "two.png", "two.svg"}
    assert drawn(tmp_path, *two, monkeypatch=monkeypatch) == []
    higher = replace(SHOWN, heights=SHOWN.heights + 1)
    assert drawn(tmp_path, ("one", draw, SHOWN), ("two", draw, higher), monkeypatch=monkeypatch) == ["two"]
    assert drawn(tmp_path, *two, monkeypatch=monkeypatch) == ["two"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_function_or_code_or_a_damaged_file_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = ("one", draw, SHOWN)
    drawn(tmp_path, one, monkeypatch=monkeypatch)
    assert drawn(tmp_path, ("one", draw_otherwise, SHOWN), monkeypatch=monkeypatch) == ["one"]
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "code_hash", lambda: "another version")
        assert drawn(tmp_path, ("one", draw_otherwise, SHOWN), monkeypatch=monkeypatch) == ["one"]
    drawn(tmp_path, one, monkeypatch=monkeypatch)
    for harm in (
        lambda: (tmp_path / "one.png").unlink(),
        lambda: (tmp_path / "one.svg").write_text("<svg/>"),
        lambda: (tmp_path / KNOWN).unlink(),
        lambda: (tmp_path / KNOWN).write_text("[1"),
        lambda: (tmp_path / KNOWN).write_text("[]"),
        lambda: (tmp_path / KNOWN).write_text(json.dumps({"one": []})),
    ):
        assert drawn(tmp_path, one, monkeypatch=monkeypatch) == []
        harm()
        assert drawn(tmp_path, one, monkeypatch=monkeypatch) == ["one"]


def test_processes_draw_what_one_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_cores", lambda: 2)
    monkeypatch.setattr(pictures, "LEAST", 2)
    for folder, least in (("side by side", 2), ("in turn", 4)):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(pictures, "LEAST", least)
        report = Pictures(tmp_path / folder)
        for stem in ("one", "two", "three"):
            last = report.add(stem, draw, SHOWN)[-1]
        finish = report.start()
        # else this process would draw what the other has no time for
        until = time.monotonic() + 300
        while least == 2 and not last.exists() and time.monotonic() < until:
            time.sleep(0.05)
        finish()
    files = sorted(path.name for path in (tmp_path / "in turn").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "side by side").iterdir()) and len(files) == 7
    for name in files:
        assert (tmp_path / "in turn" / name).read_bytes() == (tmp_path / "side by side" / name).read_bytes()


def test_processes_start_early_where_many_pictures_will_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    class Executor:
        def submit(self, work: Callable[[], None]) -> None:
            work()
            asked.append(work)

    monkeypatch.setattr("joblib.externals.loky.get_reusable_executor", lambda max_workers: Executor())
    monkeypatch.setattr(pictures, "_cores", lambda: 3)
    report = Pictures(tmp_path)
    report.expect(pictures.LEAST - 1)
    assert not asked
    report.expect(pictures.LEAST)
    assert len(asked) == 2, "this process draws, too"
    (tmp_path / KNOWN).write_text("{}")
    report.expect(pictures.LEAST)
    assert len(asked) == 2, "most of what is there may still be good"


def test_what_the_other_process_has_not_begun_is_drawn_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_cores", lambda: 2)
    monkeypatch.setattr(pictures, "LEAST", 2)
    report = Pictures(tmp_path)
    files = [path for number in range(12) for path in report.add(f"picture-{number}", draw, SHOWN)]
    report.start()()
    assert all(path.exists() for path in files)


def test_a_hash_knows_every_part() -> None:
    frame = SHOWN.frame
    others = [
        replace(SHOWN, frame=frame.rename(columns={"name": "names"})),
        replace(SHOWN, frame=frame.assign(name=["a", "c"])),
        replace(SHOWN, frame=frame.assign(share=[0.5, 0.0])),
        replace(SHOWN, frame=frame.iloc[::-1]),
        replace(SHOWN, frame=frame.assign(seed=pd.array([1, 2], dtype="Int64"))),
        replace(SHOWN, heights=SHOWN.heights.reshape(3, 1)),
        replace(SHOWN, heights=SHOWN.heights.astype(np.float32)),
        replace(SHOWN, looks={"b": SHOWN.looks["a"]}),
        replace(SHOWN, looks={"a": ("color", "#0072B2")}),
    ]
    hashes = [content_hash(shown) for shown in (SHOWN, *others)]
    assert len(set(hashes)) == len(hashes)
    assert content_hash(replace(SHOWN, frame=frame.copy())) == hashes[0]


def test_what_is_not_known_has_no_hash() -> None:
    with pytest.raises(TypeError, match="content of a function is not known"):
        content_hash([draw])
