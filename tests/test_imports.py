"""What is imported when, and nothing private. Who may import whom is in pyproject.toml, for `lint-imports`."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = {
    "numba",
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


WITHOUT_PUBLIC_NAME = {"hydra._internal.core_plugins.basic_sweeper"}
"""Hydra's own sweeper, which ours is made from."""


def private_names_of_others(source: str) -> list[str]:
    """Return the private names of others that a module imports, or reaches through a module's or class's name."""
    tree, found, imported_names = ast.parse(source), [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", None) not in WITHOUT_PUBLIC_NAME:
            for alias in node.names:
                parts = [*(getattr(node, "module", None) or "").split("."), *alias.name.split(".")]
                found += [f"line {node.lineno}: import {alias.name}" for part in parts if is_private(part)]
                imported_names.add(alias.asname or alias.name.partition(".")[0])
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = node.value
            while isinstance(owner, ast.Attribute):
                owner = owner.value
            if isinstance(owner, ast.Name) and owner.id in imported_names:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("package", ["harness", "methods", "vecbudget", "hydra_plugins", "scripts"])
def test_nobody_takes_anothers_private_names(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    found = {str(path.relative_to(ROOT)): private_names_of_others(path.read_text()) for path in paths}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from a import _b", 1),
        ("from a import b as c, _d as e", 1),
        ("import a._b", 1),
        ("from a._b import c", 1),
        ("import a\na.b._c()", 1),
        ("from a import b\nb._c = b.d", 1),
        ("from __future__ import annotations\nfrom a import b\nb.__name__, b.c", 0),
        ("def _a(b): return b._c\n_a(1)", 0),
    ],
)
def test_a_private_name_is_noticed(source: str, wrong: int) -> None:
    assert len(private_names_of_others(source)) == wrong


@pytest.mark.parametrize(
    "module", ["harness.cli", "harness.runs.run", "harness.runs.catalogue", "methods.composed.chain", "vecbudget"]
)
def test_heavy_packages_are_imported_when_needed(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert not HEAVY & set(loaded)
