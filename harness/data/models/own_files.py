"""Documents and queries that are represented already, in files beside a dataset."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ModelError
from harness.base.options import Options
from harness.data.models.encoder import Role

log = logging.getLogger(__name__)

Int64 = NDArray[np.int64]


@dataclass(kw_only=True, frozen=True)
class OwnFiles(Options):
    """What models have in common that are none: files of one's own.

    Attributes
    ----------
    docs : str
    queries : str or None
        None where the documents' file has both.
    """

    docs: str
    queries: str | None = None

    NAME: ClassVar[str]
    """Of the yaml."""

    HELD: ClassVar[str]
    """What the files hold."""

    @property
    def name(self) -> str:
        """The name of the documents' file, without its ending."""
        return Path(self.docs).name.partition(".")[0]

    @property
    def label(self) -> str:
        """The same."""
        return self.name

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Any:
        """Refuse: there is no model."""
        raise ModelError(f"model={self.NAME} encodes no text; choose another model")


def existing_file(name: str, side: str) -> Path:
    """Return the path of a file that is there; raises `ModelError`."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise ModelError(f"model.{side}: there is no file {name}")
    return path


class Stored(Protocol):
    """Rows of a file, with ids or in an order that is known."""

    @property
    def n(self) -> int:
        """How many."""
        ...

    @property
    def ids(self) -> Sequence[str] | None:
        """Their ids, None where the file has none."""
        ...


def chosen_rows(
    stored: Stored, name: str, ids: Sequence[str], by_order: Sequence[tuple[int, Int64]], what: str
) -> Int64:
    """Return the rows of a file that a dataset's documents or queries are; `by_order` where it has no ids."""
    if stored.ids is None:
        for expected, rows in by_order:
            if stored.n == expected:
                return rows
        raise ModelError(f"{name} has {stored.n} rows, but the dataset has {by_order[0][0]} {what}")
    row = {row_id: place for place, row_id in enumerate(stored.ids)}
    missing = [row_id for row_id in ids if row_id not in row]
    if missing:
        raise ModelError(
            f"{name} lacks {len(missing)} of {len(ids)} {what}: there is no '{missing[0]}' among its ids, such as "
            f"'{next(iter(stored.ids), '')}'"
        )
    if stored.n > len(ids):
        log.info("%s has %d rows that are none of the dataset's %s", name, stored.n - len(ids), what)
    return np.array([row[row_id] for row_id in ids], dtype=np.int64)
