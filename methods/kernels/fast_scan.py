"""Product codes of 4 bits in the layout of FAISS's fast scan, 32 documents side by side.

The reference is FAISS's own `pq4_pack_codes`, which `IndexPQFastScan` calls, on a copy of the codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from methods.compiling import compiled

UInt8 = NDArray[np.uint8]
Array = NDArray[Any]

BLOCK = 32
"""Documents side by side."""

COLUMNS = 16
"""Bytes of a code that are laid out at a time: codes have so many at least."""


@intrinsic  # type: ignore[untyped-decorator]
def _lay_out(typing: Any, codes: Any, start: Any, width: Any, laid: Any, to: Any) -> Any:
    """Write `COLUMNS` bytes of `BLOCK` codes, `width` bytes apart: each byte's 32 low halves, then its 32 high ones.

    A byte holds the halves of documents 16 apart, in the order 0, 8, 1, 9, ...
    """
    index = types.uintp
    signature = types.void(codes, index, index, laid, index)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        kinds = signature.args
        source = context.make_array(kinds[0])(context, builder, given[0]).data
        target = context.make_array(kinds[3])(context, builder, given[3]).data
        vector = ir.VectorType(ir.IntType(8), COLUMNS)

        def merged(left: Any, right: Any, half: int) -> Any:
            """Return one half of both, entry by entry."""
            entries = [8 * half + place // 2 + COLUMNS * (place % 2) for place in range(COLUMNS)]
            return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), entries))

        def columns(first: int) -> list[Any]:
            """Return the bytes of 16 documents, transposed."""
            rows = []
            for place in range(COLUMNS):
                document = first + place // 2 + 8 * (place % 2)
                offset = builder.add(given[1], builder.mul(given[2], given[2].type(document)))
                row = builder.load(builder.bitcast(builder.gep(source, [offset]), vector.as_pointer()))
                row.align = 1
                rows.append(row)
            for _ in range(4):
                pairs = [(rows[place], rows[place + 8]) for place in range(8)]
                rows = [merged(left, right, half) for left, right in pairs for half in range(2)]
            return rows

        four, low = ir.Constant(vector, [4] * COLUMNS), ir.Constant(vector, [15] * COLUMNS)
        high = ir.Constant(vector, [240] * COLUMNS)
        for column, (near, far) in enumerate(zip(columns(0), columns(COLUMNS), strict=True)):
            halves = (
                builder.or_(builder.and_(near, low), builder.shl(far, four)),
                builder.or_(builder.lshr(near, four), builder.and_(far, high)),
            )
            for half, made in enumerate(halves):
                offset = builder.add(given[4], given[4].type(column * BLOCK + half * COLUMNS))
                place = builder.bitcast(builder.gep(target, [offset]), vector.as_pointer())
                builder.store(made, place).align = 1
        return context.get_dummy_value()

    return signature, emit


@compiled
def lay_out(codes: Array, laid: Array) -> None:
    """Fill uint8 (blocks * 32 * b,) from codes uint8 (n, b), b at least `COLUMNS`; a last block ends in zeros."""
    n, width = codes.shape
    flat, last = codes.reshape(codes.size), np.zeros(BLOCK * width, np.uint8)
    for block in range((n + BLOCK - 1) // BLOCK):
        start, source = block * BLOCK * width, flat
        if (block + 1) * BLOCK > n:
            last[: flat.size - start] = flat[start:]
            source = last
        begin = start if (block + 1) * BLOCK <= n else 0
        for column in range(0, width, COLUMNS):
            # the last run of bytes may overlap the one before
            first = min(column, width - COLUMNS)
            _lay_out(source, begin + first, width, laid, start + first * BLOCK)


def index_of(empty: Any, codes: UInt8) -> Any:
    """Return FAISS's `IndexPQFastScan` over codes uint8 (n, b) of an empty `IndexPQ` of 4 bits."""
    import faiss

    if codes.shape[1] < COLUMNS:
        filled: Any = faiss.clone_index(empty)
        filled.add_sa_codes(codes)
        return faiss.IndexPQFastScan(filled)
    index: Any = faiss.IndexPQFastScan(empty)
    index.ntotal = len(codes)
    index.ntotal2 = -(-len(codes) // BLOCK) * BLOCK
    index.codes.resize(index.ntotal2 * codes.shape[1])
    lay_out(codes, faiss.rev_swig_ptr(index.codes.get(), index.ntotal2 * codes.shape[1]))
    return index
