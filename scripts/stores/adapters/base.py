"""What a store is asked, and what it answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


class CannotRunError(RuntimeError):
    """A store is installed but refuses this machine; the message says why."""


@dataclass(frozen=True)
class Answer:
    """The best documents of each query, and what the store keeps of a vector.

    Attributes
    ----------
    ids : int64 (m, k)
    bytes_per_vector : float or None
        The code with the numbers that belong to it; graph, ids and the copy for rescoring apart.
    version : str or None
        Of the store, where the distribution that it comes in counts otherwise.
    """

    ids: Int64
    bytes_per_vector: float | None = None
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One switch of one store, with the preset that says the same.

    Attributes
    ----------
    store, switch : str
        As the table names them.
    preset : str or None
        A file in configs/method.
    package : str
        The distribution that holds the store; its version is the row's.
    answer : callable
        (docs, queries, k) -> Answer, over all documents. Raises ImportError where the store is not installed, and
        `CannotRunError` where it does not run on this machine.
    tier : {"all", "first"}
        *first*: the store was asked without rescoring, and the preset's first tier is what it is compared with.
    drawn : bool
        The store draws its rotation or its centroids at random (or otherwise than the preset can): two builds of it
        rank differently, so that what must agree is the share of the exact answer that is found.
    options : mapping of str to value
        Hyper-parameters of the preset other than its defaults; +name for one that its file does not have.
    """

    store: str
    switch: str
    preset: str | None
    package: str
    answer: Callable[[Float32, Float32, int], Answer]
    tier: Literal["all", "first"] = "all"
    drawn: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str | None:
        """The installed version, None where there is none."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


@contextmanager
def folder() -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="check-stores-") as name:
        yield Path(name)


def slope(size: Callable[[Float32], float], docs: Float32) -> float:
    """Return what one more vector adds to `size`, from half of the documents and all of them."""
    half = len(docs) // 2
    return (size(docs) - size(docs[:half])) / (len(docs) - half)
