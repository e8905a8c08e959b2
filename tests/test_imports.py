"""What is imported when. Who may import whom is in pyproject.toml, for `lint-imports`."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    "module", ["harness.cli", "harness.runs.run", "harness.runs.catalogue", "methods.composed.chain", "vecbudget"]
)
def test_heavy_packages_are_imported_when_needed(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert not HEAVY & set(loaded)
