"""Reading of a block-forward index: blocks of documents, each with its terms, each with the documents that have it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import guarded

Array = NDArray[Any]


@guarded
def number(values: Array, at: int, size: int) -> Any:
    """Return the number of `size` bytes, the lowest first."""
    value: Any = 0
    for place in range(size):
        value |= np.int64(values[at + place]) << (8 * place)
    return value


@guarded
def read(values: Array, block: int, n: int) -> tuple[Array, Array, Array]:
    """Return rows, terms and impacts of all postings, int64 (nnz,) each, in the order of the bytes.

    Raises
    ------
    IndexError, ValueError
        For bytes that end early or name a document that there is not.
    """
    rows, terms = np.empty(len(values) // 2, np.int64), np.empty(len(values) // 2, np.int64)
    impacts = np.empty(len(values) // 2, np.int64)
    held, at = 0, 8
    for first in range(0, block * number(values, 0, 8), block):
        lists = number(values, at, 8)
        at += 8
        for _ in range(lists):
            term, count = number(values, at, 2), number(values, at + 2, 8)
            at += 10
            for _ in range(count):
                row = first + np.int64(values[at])
                if row >= n or values[at] >= block:
                    raise ValueError("a row beyond the last")
                rows[held], terms[held], impacts[held] = row, term, values[at + 1]
                held += 1
                at += 2
    return rows[:held].copy(), terms[:held].copy(), impacts[:held].copy()
