"""Export to usearch: an index with a method's codes, where usearch can hold them; keys are row numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from methods.base import Codec, Codes, Float32, MethodError, row_blocks
from methods.binary.sign import Sign
from methods.scalar.cast import Cast
from methods.scalar.global_range import GlobalRange
from methods.scalar.ranges import Fixed


def usearch_index(codec: Codec, codes: Codes) -> tuple[Any, tuple[str, ...]]:
    """Return a `usearch.index.Index` that ranks as the codec does when it is searched exactly, and notes for its user.

    usearch rounds queries as it rounds documents, so that only scoring="symmetric" is the same. Its own search walks a
    graph and may miss documents; `index.search(queries, k, exact=True)` scans.

    Raises
    ------
    MethodError
        If usearch has no such code.
    ImportError
        If usearch is not installed.
    """
    kind = _kind(codec)
    from usearch.index import Index  # type: ignore[import-not-found]

    dim = codec._check_fitted()
    metric = {"b1": "hamming", "i8": "cos"}.get(kind, "ip")
    index = Index(ndim=dim, metric=metric, dtype=kind)
    for start, stop in row_blocks(codes.n, 4 * dim):
        index.add(np.arange(start, stop), _vectors(codec, codes[start:stop]), threads=1)
    note = f"search(queries, k, exact=True) scans; queries are {_queries(kind)}"
    return index, (note,)


def _kind(codec: Codec) -> str:
    """Return usearch's name of the type that the codec's numbers have; `MethodError` if it has no such type."""
    name, symmetric = type(codec).__name__, codec.scoring == "symmetric"
    if type(codec) is Sign and codec.threshold == "zero" and symmetric and not codec.is_centred:
        return "b1"
    if type(codec) is Cast and codec.scale == "none" and not codec.renormalizes:
        if codec.dtype == "float32":
            return "f32"
        kinds = {"float16": "f16", "bfloat16": "bf16"}
        if codec.dtype in kinds and symmetric:
            return kinds[codec.dtype]
        if codec.dtype in kinds:
            raise MethodError(f"usearch rounds queries to {codec.dtype}, too: measure scoring=symmetric, export that")
    usearch_int8 = (
        type(codec) is GlobalRange
        and type(codec.range) is Fixed
        and (codec.range.low, codec.range.high, codec.steps, codec.zero, codec.shift) == (-1.0, 1.0, 254, 127, 0.0)
        and codec.rounding == "to_zero"
        and symmetric
        and codec.renormalizes
    )
    if usearch_int8:
        return "i8"
    raise MethodError(
        f"{name} with these parameters cannot be handed to usearch, which holds what the methods usearch_i8, "
        "usearch_bf16, usearch_b1 and float32 make"
    )


def _vectors(codec: Codec, codes: Codes) -> Any:
    """Return codes as usearch adds them: packed bits, int8 or float32 (n, d)."""
    if isinstance(codec, Sign):
        return np.ascontiguousarray(codes.array)
    if isinstance(codec, GlobalRange):
        return (codes.array.astype(np.int16) - codec.zero).astype(np.int8)
    decoded: Float32 = codec.decode(codes)
    return decoded


def _queries(kind: str) -> str:
    """Return in words what queries an index of a type takes."""
    return {"b1": "np.packbits(query > 0, axis=1)", "i8": "float32 of unit length"}.get(kind, "float32")
