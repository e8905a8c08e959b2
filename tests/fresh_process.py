"""A process of its own that ranks with what was written: nothing that a test fitted is in its memory."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

SERVE = """
import json, sys
from pathlib import Path
import numpy as np
for line in sys.stdin:
    folder, k = json.loads(line)
    np.savez(Path(folder) / "rankings.npz", **ranked(Path(folder), k))
    print("ranked", flush=True)
"""


class FreshProcess:
    """Runs a script's `ranked(folder, k)`, which returns named arrays, on one folder after another.

    It is one process for all of them, since starting it is what takes time, and another after one that failed.
    """

    def __init__(self, script: str) -> None:
        self.script = script + SERVE
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.communicate()

    def ranked(self, folder: Path, k: int) -> dict[str, np.ndarray]:
        """What the script found in a folder; what it printed when it failed is in the test's captured output."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self.script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(folder), k]) + "\n")
        self.process.stdin.flush()
        if "ranked\n" not in iter(self.process.stdout.readline, ""):
            self.process.wait()
            self.process = None
            raise AssertionError(f"the process that loads {folder} failed")
        with np.load(folder / "rankings.npz") as arrays:
            return dict(arrays)
