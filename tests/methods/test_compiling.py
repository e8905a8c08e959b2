import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import numpy as np
from methods.compiling import compiled
@compiled
def doubled(values):
    return 2 * values
print(doubled(np.arange(3)).tolist())
"""


def test_without_a_folder_to_write_it_works_and_says_so(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("no folder")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**environment, "VECBUDGET_CACHE": str(taken)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "[0, 2, 4]"
    assert answer.stderr.count("compiled loops cannot be kept") == 1 and "VECBUDGET_CACHE" in answer.stderr
