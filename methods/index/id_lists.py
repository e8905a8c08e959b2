"""Lists of ascending numbers, such as the documents of an inverted list or the neighbours in a graph, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, MethodError, Ragged
from methods.sparse.ids import EliasDelta, EliasFano, FixedWidth, IdCode, Rice, VariableByte

Int64 = NDArray[np.int64]

Layout = Literal["int64", "int32", "packed", "vbyte", "rice", "elias_delta", "elias_fano"]
"""*int64*, *int32*: as they are (FAISS's ids are int64, graphs' links int32). *packed*: ceil(log2 n) bits each.
Others are those of `methods.sparse.ids`, a byte string for each list: *vbyte*, *rice* and *elias_delta* write gaps."""

PLAIN: dict[str, type[np.signedinteger[Any]]] = {"int64": np.int64, "int32": np.int32}


def id_code(layout: Layout) -> IdCode:
    """Return the code of a layout that writes byte strings."""
    codes: dict[str, IdCode] = {
        "packed": FixedWidth(),
        "vbyte": VariableByte(),
        "rice": Rice(),
        "elias_delta": EliasDelta(),
        "elias_fano": EliasFano(),
    }
    return codes[layout]


def write_lists(indptr: Int64, ids: Int64, universe: int, layout: Layout) -> Ragged | dict[str, Array]:
    """Return lists as arrays: byte strings, or plain numbers with the lengths of the lists.

    Parameters
    ----------
    indptr : int64 (l + 1,)
        Where each list begins, and the last one ends.
    ids : int64 (total,)
        Ascending within a list.
    universe : int
        The numbers are below it.
    layout : see `Layout`

    Returns
    -------
    Ragged of l strings, or mapping with "ids" (total,) and "lengths" (l,)

    Raises
    ------
    MethodError
        If int32 does not number them.
    """
    if layout in PLAIN:
        if universe > np.iinfo(PLAIN[layout]).max:
            raise MethodError(f"{layout} does not number {universe} documents: use int64, or a layout of byte strings")
        lengths = np.diff(indptr)
        return {
            "ids": ids.astype(PLAIN[layout]),
            "lengths": lengths.astype(np.min_scalar_type(int(lengths.max(initial=0)))),
        }
    return id_code(layout).write((indptr, ids, np.zeros(len(ids), np.int64)), universe, 0)


def read_lists(stored: Ragged | Mapping[str, Array], universe: int, layout: Layout) -> tuple[Int64, Int64]:
    """Return (indptr, ids) of what `write_lists` returned."""
    if isinstance(stored, Ragged):
        indptr, ids, _ = id_code(layout).read(stored, universe, 0)
        return indptr, ids
    starts = np.concatenate([[0], np.cumsum(stored["lengths"], dtype=np.int64)])
    return starts, np.asarray(stored["ids"], dtype=np.int64)


def least_bits(lengths: Int64) -> float:
    """Return the fewest bits for which lists of these lengths can say which documents are in which list.

    log2 of n! / (l1! l2! ...): with the order inside lists forgotten, one list number a document at its entropy. It is
    what random order coding reaches (Severo et al., 2022; Severo, Muckley, Ott and Douze, 2025).
    """
    from scipy.special import gammaln

    counts = np.asarray(lengths, dtype=np.float64)
    return float((gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()) / np.log(2))
