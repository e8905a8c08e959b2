"""Which version of this project's code is running, by its content: what was made by another is made again."""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files
from pathlib import Path

PACKAGES = ("harness", "methods", "vecbudget")


@functools.cache
def code_hash() -> str:
    """Return a hash of the names and contents of all modules."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        root = Path(str(files(package)))
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
