"""An installed wheel is complete: configurations and plugins travel with it."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_a_run_from_an_installed_wheel(small_collection: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True, system_site_packages=False)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel], check=True)
    command = [
        environment / "bin" / "vecbudget",
        "sweep",
        "dataset=folder",
        f"dataset.path={small_collection}",
        "model=vectors",
        f"model.path={small_collection / 'vectors.safetensors'}",
        f"cache_dir={tmp_path / 'cache'}",
        "method=float32,int8",
    ]
    work = tmp_path / "elsewhere"
    work.mkdir()
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(command, cwd=work, check=True, env=environ)
    subprocess.run([environment / "bin" / "vecbudget", "report"], cwd=work, check=True, env=environ)
    assert list((work / "results" / "report").glob("*.png"))
