"""What is to be read from a file of vectors, and what was read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError

Array = NDArray[Any]


class NamedFile(Protocol):
    """A file of this machine, a `Path`, or of another (`harness.data.vector_files.remote`)."""

    @property
    def name(self) -> str:
        """Without its folders."""
        ...

    @property
    def stem(self) -> str:
        """The name without its ending."""
        ...

    @property
    def suffix(self) -> str:
        """The name's ending, with its point."""
        ...


@dataclass(frozen=True)
class VectorSource:
    """Which vectors of a file are meant.

    Attributes
    ----------
    role : str
        "docs" or "queries": files with several named arrays have these.
    vector_column, id_column : str or None
        Columns of tables (see `harness.data.vector_files.columns`); None leaves the choice to the evidence.
    option : str
        What the options of this role begin with on the command line: "dataset." or "dataset.query_".
    """

    role: str
    vector_column: str | None = None
    id_column: str | None = None
    option: str = "dataset."


@dataclass(frozen=True, eq=False)
class StoredVectors:
    """A matrix as a file holds it.

    Attributes
    ----------
    vectors : array (n, d)
        Of the file's own type; memory-mapped where the format allows it.
    ids : list of str or None
        None where rows are known by their number.
    metric : str or None
        The file's own word for the distance that its vectors are compared by, in lower case.
    numbers : bool
        Whether the format says that its bytes are numbers; bytes of other formats may be packed bits.
    """

    vectors: Array
    ids: list[str] | None = None
    metric: str | None = None
    numbers: bool = False


Reader = Callable[[Path, VectorSource], StoredVectors]


def named_array(path: Path, names: list[str], role: str, what: str) -> str:
    """Return the name of the array that a role means: its own, or the only one.

    Raises
    ------
    DatasetError
        If there is neither.
    """
    if role in names:
        return role
    if len(names) == 1:
        return names[0]
    raise DatasetError(f"{path}: expected {what} '{role}', or only one; there are {', '.join(names) or 'none'}")


def as_matrix(path: NamedFile, values: Array) -> Array:
    """Refuse what is no matrix of real numbers with something in it."""
    if values.ndim != 2 or 0 in values.shape:
        raise DatasetError(f"{path}: expected a matrix (rows x dimensions) with something in it, got {values.shape}")
    if values.dtype.kind not in "fiu" and values.dtype.name != "bfloat16":
        raise DatasetError(f"{path}: expected real numbers, got {values.dtype}")
    return np.asanyarray(values)
