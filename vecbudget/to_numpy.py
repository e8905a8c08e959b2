"""Export to NumPy: a method's codes as plain arrays, for anything that multiplies matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from methods.base import Codec, Codes, row_blocks
from vecbudget.affine import affine


def write_arrays(directory: Path, codec: Codec, codes: Codes) -> tuple[str, ...]:
    """Write `codes.NAME.npy` as they are stored, and `documents.npy`, decoded to float16 (n, d').

    Where queries go through a matrix, `query_matrix.npy` (d, d') and `query_bias.npy` (d',), float32, so that scores
    are `(q @ query_matrix + query_bias) @ documents.T`.

    Returns
    -------
    notes : tuple of str
        What their user must know.
    """
    for name, array in codes.to_arrays().items():
        np.save(directory / f"codes.{name}.npy", array, allow_pickle=False)
    d = codec._check_fitted()
    width = codec.query_matrix(np.zeros((1, d), dtype=np.float32)).shape[1]
    overflow = False
    blocks = row_blocks(codes.n, 4 * width) if codec.row_wise else iter([(0, codes.n)])
    # not through a memory map: on a full disk, that would kill the process (SIGBUS)
    with (directory / "documents.npy").open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (codes.n, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for start, stop in blocks:
            part = codec.doc_matrix(codes[start:stop] if codec.row_wise else codes)
            overflow |= bool(np.abs(part).max(initial=0) > np.finfo(np.float16).max)
            file.write(part.astype("<f2").tobytes())
    notes: tuple[str, ...] = ("documents are rounded to float16, so that near-equal scores may swap",)
    if overflow:
        notes += ("some numbers are too large for float16 and infinite in documents.npy",)
    before = affine(codec.query_matrix, d)
    if before is None:
        return (*notes, "queries do not go through a matrix: they are rounded as CompressedIndex.search rounds them")
    np.save(directory / "query_matrix.npy", before.matrix, allow_pickle=False)
    np.save(directory / "query_bias.npy", before.bias, allow_pickle=False)
    return (*notes, "scores are (q @ query_matrix + query_bias) @ documents.T")
