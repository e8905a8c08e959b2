"""What the README and the documentation promise: the example runs, commands and names exist, nothing is stale."""

import ast
import csv
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from harness.cli import usage
from harness.runs.catalogue import FAMILIES, members, method_rows
from harness.runs.frame import load_runs
from harness.runs.record import Record
from scripts.studies import write_readme
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").rglob("*.md"))
ALL = "\n".join([README, (ROOT / "CONTRIBUTING.md").read_text(), *(page.read_text() for page in PAGES)])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example(name: str) -> str:
    text = (ROOT / "docs" / "extend" / "method.md").read_text()
    found = re.search(rf"<!-- example: {name} -->\n```\w*\n(.*?)```", text, re.DOTALL)
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
    named = set(re.findall(rf"\b{group}=([\w,]+)", ALL))
    for name in {part for names in named for part in names.split(",")} - {"largest", "NAME", "tuned_48"}:
        assert name in members(group), f"{group}={name}"


def test_every_script_exists() -> None:
    texts = [ALL, (ROOT / "CHANGELOG.md").read_text()]
    texts += [path.read_text() for path in (ROOT / "results" / "reference").rglob("*.md")]
    texts += [path.read_text() for path in (ROOT / "scripts").rglob("*") if path.suffix in (".py", ".sh", ".txt")]
    for script in {name for text in texts for name in re.findall(r"scripts/[\w/]+\.(?:sh|py|txt)", text)}:
        assert (ROOT / script).is_file(), script


def test_every_command_exists() -> None:
    known = set(re.findall(r"^  ([a-z-]+) ", usage(), re.MULTILINE))
    fenced = "".join(re.findall(r"^```\w*\n.*?^```", ALL, re.DOTALL | re.MULTILINE))
    named = set(re.findall(r"^vecbudget ([a-z-]+)", fenced, re.MULTILINE))
    assert {"run", "sweep", "report"} <= named <= known


def test_the_readme_is_short_and_its_headline_is_as_it_is_now() -> None:
    """After a change of the reference results: python scripts/studies/write_readme.py."""
    assert write_readme.written(README) == README
    assert len(README.encode()) <= 8192


def test_links_lead_to_files() -> None:
    """In the repository; those of the built pages are checked when they are built, strictly."""
    generated = loaded(ROOT / "docs" / "hooks" / "generated_pages.py").generated()
    made = {ROOT / "docs" / name for name in generated}
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]:
        for target in LINK.findall(page.read_text()):
            path = Path(os.path.normpath(page.parent / target))
            assert "://" in target or path.exists() or path in made, f"{page.relative_to(ROOT)}: {target}"


def test_the_catalogue_has_every_yaml() -> None:
    pages = loaded(ROOT / "docs" / "hooks" / "generated_pages.py").generated()
    methods = pages["catalogue/methods.md"] + pages["catalogue/presets.md"]
    assert all(f"`{name}`" in methods for name in members("method"))
    for group in ("dataset", "model", "experiment"):
        assert all(f"## `{name}`" in pages[f"catalogue/{group}s.md"] for name in members(group))


def defined(path: Path) -> Iterator[str]:
    """Functions, classes, and methods as Class.method."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef))


def test_the_path_from_a_text_to_a_number_exists() -> None:
    text = (ROOT / "docs" / "explain" / "architecture.md").read_text()
    steps = re.findall(r"`([\w/]+\.py)` `([\w.]+)`", text)
    assert len(steps) > 15
    for path, name in steps:
        assert name in set(defined(ROOT / path)), f"{path} has no {name}"
    assert len(re.findall(r"^\| \d ", text.partition("four hops")[2], re.MULTILINE)) == 4
    number = re.findall(r"Where does the ([\d.]+) come from", text)
    with (ROOT / "results/reference/quick/stdlib--all-MiniLM-L6-v2.csv").open() as file:
        shown = [row["ndcg_at_10"] for row in csv.DictReader(file) if (row["method"], row["params"]) == ("pq", "m=48")]
    assert number == [f"{float(value):.3f}" for value in shown]


def test_every_part_of_a_record_is_described() -> None:
    text = (ROOT / "docs" / "explain" / "record.md").read_text()
    rows = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    for part in dataclasses.fields(Record):
        assert part.name == "more" or f"`{part.name}`" in rows, part.name


def test_every_room_is_in_the_picture() -> None:
    picture = (ROOT / "docs" / "images" / "folders.svg").read_text()
    for package in ("harness", "methods"):
        for path in (ROOT / package).iterdir():
            if path.is_dir() and (path / "__init__.py").exists():
                assert f"{path.name}/" in picture, path


def test_every_family_has_its_place_in_the_table() -> None:
    assert {row[1] for row in method_rows()} == set(FAMILIES)
