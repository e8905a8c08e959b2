"""The README's promises: its example runs, its commands exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runs.catalogue import FAMILIES, markdown_methods, members, method_rows
from harness.runs.frame import load_runs
from scripts.studies import write_readme
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found, f"no example '{name}'"
    return found[1]


def test_the_example_method_runs(small_collection: Path, tmp_path: Path) -> None:
    (tmp_path / "largest.py").write_text(example("method"))
    (tmp_path / "myconfigs" / "method").mkdir(parents=True)
    (tmp_path / "myconfigs" / "method" / "largest.yaml").write_text(example("yaml"))
    command = example("command").split()
    assert command[:2] == ["vecbudget", "run"]
    setting = [
        "dataset=folder",
        f"dataset.path={small_collection}",
        "model=vectors",
        f"model.path={small_collection / 'vectors.safetensors'}",
        f"cache_dir={tmp_path / 'cache'}",
    ]
    subprocess.run(
        [sys.executable, "-m", "harness.cli", *command[1:], *setting],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    row = load_runs(tmp_path / "results").iloc[0]
    assert row["method"] == "largest" and row["params"] == "keep=24"
    assert row["code_bytes_per_vector"] == 4 * 24


@pytest.mark.parametrize("group", ["method", "dataset", "model", "experiment"])
def test_every_name_in_a_command_exists(group: str) -> None:
    named = set(re.findall(rf"\b{group}=([\w,]+)", README))
    for name in {part for names in named for part in names.split(",")} - {"largest", "NAME"}:
        assert name in members(group), f"{group}={name}"


def test_every_script_exists() -> None:
    texts = [README, (ROOT / "CONTRIBUTING.md").read_text(), (ROOT / "CHANGELOG.md").read_text()]
    texts += [path.read_text() for path in (ROOT / "results" / "reference").rglob("*.md")]
    texts += [path.read_text() for path in (ROOT / "scripts").rglob("*") if path.suffix in (".py", ".sh", ".txt")]
    for script in {name for text in texts for name in re.findall(r"scripts/[\w/]+\.(?:sh|py|txt)", text)}:
        assert (ROOT / script).is_file(), script


def test_generated_parts_are_as_they_are_now() -> None:
    """The table of methods and the headline. After a change: python scripts/studies/write_readme.py."""
    assert write_readme.written(README) == README
    assert markdown_methods() in README and write_readme.headline() in README


def test_every_family_has_its_place_in_the_table() -> None:
    assert {row[1] for row in method_rows()} == set(FAMILIES)
