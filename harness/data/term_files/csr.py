"""Matrices of rows by terms in .npz archives, as `scipy.sparse.save_npz` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.base.errors import DatasetError
from harness.data.term_files.stored import StoredTerms
from harness.data.vector_files.arrays import npz_arrays, npz_names

Side = Literal["docs", "queries"]

PARTS = ("data", "indices", "indptr", "shape")


def read_csr(path: Path, side: Side) -> StoredTerms:
    """Read a matrix: one that `save_npz` wrote, or of two in an archive that with the side's name, as in `docs_data`.

    Raises
    ------
    DatasetError
        For an archive without such a matrix, or with one that contradicts itself.
    """
    from scipy.sparse import csr_array

    names = set(npz_names(path))
    own, one_of_two = dict(zip(PARTS, PARTS, strict=True)), {part: f"{side}_{part}" for part in PARTS}
    try:
        of = one_of_two if names.issuperset(one_of_two.values()) else own
        if not names.issuperset(of.values()):
            raise ValueError(f"it has neither {', '.join(one_of_two.values())} nor what scipy.sparse.save_npz writes")
        arrays = npz_arrays(path)
        if of is own and "format" in arrays and arrays["format"].item() not in (b"csr", "csr"):
            raise ValueError("it is not in the format csr: save_npz(path, matrix.tocsr())")
        data, indices, indptr, shape = (arrays[of[part]] for part in PARTS)
        matrix: Any = csr_array((data, indices, indptr), shape=tuple(shape.tolist()))
        matrix.check_format(full_check=True)
        kind = matrix.data.dtype.kind
        if kind not in "fiu":
            raise ValueError(f"its weights are {matrix.data.dtype}")
    except Exception as error:  # the readers of archives and headers fail in many ways
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DatasetError(f"{path} holds no sparse matrix of {side} that can be read: {reason}") from error
    with np.errstate(over="ignore"):
        weights = matrix.data.astype(np.float32)
    n, width = matrix.shape
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
    return StoredTerms(n, rows, matrix.indices.astype(np.int64), weights, width=width)
