"""A distilled table, kept in the cache: one distillation serves all processes.

    <cache_dir>/tables/<key>.safetensors      `rows` float32 (t, d) and `row_of` int64 (v,), what the key was made of,
                                              and their checksums

The key is the hash of the teacher's identity (the content of its files, or the commit of a hub model) and of the
recipe's options. What is cut from the table afterwards, or compresses it, has no part in it: all of that starts from
one file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.base.errors import CacheError
from harness.base.files import array_checksum, whole, writing
from harness.data.models.encoder import Identity, first_line
from harness.data.models.token_table import TokenTable

FORMAT = 1
"""Part of every key: a change in the recipe gets new files."""

FOLDER = "tables"


def kept_table(
    cache_dir: Path, teacher: Identity, sif: float | None, tokenizer: Path, distil: Callable[[], TokenTable]
) -> TokenTable:
    """Return a distilled table: from the cache, else from the teacher, leaving it in the cache.

    Parameters
    ----------
    cache_dir : Path
    teacher : dict
        The identity of the model's files.
    sif : float or None
        See `harness.data.models.token_table.distilled`.
    tokenizer : Path
        The model's tokenizer.json.
    distil : callable
        Makes the table.

    Raises
    ------
    CacheError
        If the file is damaged, or another's.
    StoreError
        If it cannot be written.
    """
    from safetensors.numpy import save_file

    said = json.dumps({"format": FORMAT, "teacher": teacher, "sif": sif}, sort_keys=True)
    path = cache_dir / FOLDER / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.safetensors"
    if path.exists():
        return TokenTable.of_distilled(*_read(path, said), tokenizer)
    table = distil()
    arrays: dict[str, Any] = {"rows": table.rows, "row_of": table.row_of}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as draft:
            save_file(arrays, draft, metadata={"identity": said, **_checksums(arrays)})
    return table


def _read(path: Path, said: str) -> tuple[Any, Any]:
    """Return the rows and the row of each token."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except (OSError, SafetensorError) as error:
        raise _unusable(path, f"is damaged ({first_line(error)})") from error
    if about.pop("identity", None) != said:
        raise _unusable(path, "belongs to another model or recipe")
    if about != _checksums(arrays) or arrays.keys() != {"rows", "row_of"}:
        raise _unusable(path, "is damaged (its checksums differ)")
    return arrays["rows"], arrays["row_of"]


def _checksums(arrays: dict[str, Any]) -> dict[str, str]:
    return {name: f"xxh3_128 {array_checksum(np.asarray(array))}" for name, array in arrays.items()}


def _unusable(path: Path, problem: str) -> CacheError:
    return CacheError(f"the distilled table {path} {problem}; delete it, and it is made again")
