import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import methods
from methods.compiling import ByContent, _loops

SCRIPT = """
import numpy as np
from methods.compiling import compiled
@compiled
def doubled(values):
    return 2 * values
print(doubled(np.arange(3)).tolist())
"""


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}


def test_without_a_folder_to_write_it_works_and_says_so(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("no folder")
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**environment(), "VECBUDGET_CACHE": str(taken)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "[0, 2, 4]"
    assert answer.stderr.count("compiled loops cannot be kept") == 1 and "VECBUDGET_CACHE" in answer.stderr


LOOP = """
from methods.compiling import compiled
from methods.kernels.lattice_points import decode
@compiled
def doubled(values):
    return 2 * values
print(*(loop.stats.cache_path for loop in (doubled, decode)))
"""


def folders(place: Path, loop: str) -> list[str]:
    """Where the machine code of a loop of one's own, and of one of the package, is kept."""
    (place / "own.py").write_text(loop)
    answer = subprocess.run(
        [sys.executable, "own.py"],
        cwd=place,
        env={**environment(), "VECBUDGET_CACHE": str(place.parent), "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.split()


def test_clones_share_machine_code_until_a_loop_differs(tmp_path: Path) -> None:
    """What a loop calls of another module is part of its machine code, so that one change is a change of all."""
    clones = tmp_path / "one", tmp_path / "two"
    for clone in clones:
        shutil.copytree(Path(methods.__file__).parent, clone / "methods")
    first = folders(clones[0], LOOP)
    assert len({*first}) == 2 and all(str(tmp_path) in folder for folder in first)
    assert folders(clones[1], LOOP) == first
    own, package = folders(clones[1], LOOP.replace("2 *", "3 *"))
    assert own != first[0] and package == first[1]
    with (clones[1] / "methods" / "kernels" / "buckets.py").open("a") as file:
        file.write("# another version\n")
    assert not {*folders(clones[1], LOOP)} & {*first}


def test_a_notebook_s_loop_has_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    assert ByContent.from_function(folders, "<ipython-input-1>") is not None
    without_source: dict[str, Any] = {}
    exec("def loop(values): return values", without_source)
    assert ByContent.from_function(without_source["loop"], "<string>") is None


def test_what_is_compiled_goes_by_all_that_a_loop_can_have_seen() -> None:
    """Loops hold the instructions and the numbers of modules that have no loops themselves."""
    seen = _loops().decode()
    assert "def wide_product(" in seen, "written in LLVM's language"
    assert "VALUES = " in seen, "a number that loops import"
    assert "class Codec(" not in seen, "whose changes would have every loop compiled anew"
