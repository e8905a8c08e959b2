"""The house's rules on imports, read off the sources."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

HEAVY = {
    "torch",
    "sentence_transformers",
    "transformers",
    "mteb",
    "datasets",
    "matplotlib",
    "pandas",
    "faiss",
    "pyarrow",
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("package", ["methods", "vecbudget"])
def test_methods_and_the_loader_do_not_know_the_harness(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not any(name.split(".")[0] in ("harness", "hydra", "omegaconf") for name in imported(path)), path.name


def test_the_harness_knows_methods_by_their_contract() -> None:
    allowed = {"methods", "methods.base", "methods.topk"}
    for path in (ROOT / "harness").rglob("*.py"):
        used = {name for name in imported(path) if name.split(".")[0] == "methods"}
        assert used <= allowed, f"{path.name} imports {used - allowed}"


@pytest.mark.parametrize(
    "module", ["harness.cli", "harness.runs.run", "harness.runs.catalogue", "methods.composed.chain", "vecbudget"]
)
def test_heavy_packages_are_imported_when_needed(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert not HEAVY & set(loaded)
