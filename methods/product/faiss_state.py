"""Reading a serialised FAISS index that may come from anywhere.

FAISS's reader takes sizes from the bytes: hostile ones make it allocate what they say, and some end the process. So
bytes are compared with those of an index of the same factory string and dimensions first. They may differ in the
floating-point numbers that training finds, which no size or place depends on, and in nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, MethodError

MOST_DIMENSIONS = 1 << 20
"""Dimensions up to which a state is read: far more than any model has, few enough to allocate an index for."""

BLOCK = 1 << 22
"""Bytes compared at a time."""

FILLS = (0x00000000, 0x41424344)
"""Two float32 numbers of which no byte is equal."""


def read_state(blob: Array, d: int, factory: str, set_up: Callable[[Any], None]) -> Any:
    """Return the empty, trained index that was serialised.

    Parameters
    ----------
    blob : uint8 (bytes,)
    d : int
        Dimensions that it must have.
    factory : str
        FAISS's factory string: of SQ, EDEN, PQ, RQ, LSQ, PRQ or PLSQ.
    set_up : callable
        Hands the hyper-parameters to a quantiser, as before training.

    Raises
    ------
    MethodError
        If the bytes are not those that this version of FAISS writes for such an index.
    """
    import faiss as untyped

    faiss: Any = untyped
    if not (isinstance(blob, np.ndarray) and blob.dtype == np.uint8 and blob.ndim == 1):
        raise _refused(factory, d, "it is no row of bytes")
    if type(d) is not int or not 1 <= d <= MOST_DIMENSIONS:
        raise _refused(factory, d, f"dimensions are 1 to {MOST_DIMENSIONS}")
    least = 4 * d * _codewords(factory)
    if len(blob) < least:
        raise _refused(factory, d, f"it has {len(blob)} bytes, and the codebooks alone take {least}")
    try:
        first_filled, second_filled = (_untrained(d, factory, set_up, fill) for fill in FILLS)
        _compare(blob, first_filled, second_filled, factory, d)
        index = faiss.deserialize_index(np.ascontiguousarray(blob))
    except (AssertionError, MemoryError, RuntimeError) as error:
        raise _refused(factory, d, (str(error).strip().splitlines() or [type(error).__name__])[-1]) from error
    if (index.d, index.ntotal, index.metric_type) != (d, 0, faiss.METRIC_INNER_PRODUCT) or not index.is_trained:
        raise _refused(factory, d, "it is another index, or not empty")
    return index


def quantizers(index: Any) -> Iterator[Any]:
    """Yield every trained quantiser inside an index, those of a product's splits one by one."""
    import faiss as untyped

    faiss: Any = untyped
    for name in ("pq", "rq", "lsq"):
        if hasattr(index, name):
            yield getattr(index, name)
    for name, kind in (("prq", faiss.ResidualQuantizer), ("plsq", faiss.LocalSearchQuantizer)):
        if hasattr(index, name):
            product = getattr(index, name)
            for split in range(product.nsplits):
                part = faiss.downcast_AdditiveQuantizer(product.subquantizer(split))
                assert isinstance(part, kind)
                yield part


def _codewords(factory: str) -> int:
    """Return how many numbers of each dimension are in the codebooks of a factory string."""
    match = re.fullmatch(r"(?:PQ(\d{1,6})x(\d{1,2})(?:np)?|(?:RQ|LSQ|P(?:RQ|LSQ)\d{1,6}x)(\d{1,6})x(\d{1,2}))", factory)
    if match is None and not re.fullmatch(r"(SQ|EDEN)\w+", factory):
        raise MethodError(f"FaissCodec: the state of '{factory}' is not read; SQ, EDEN, PQ, RQ, LSQ, PRQ and PLSQ are")
    if match is None:
        return 0
    books, bits = (1, match[2]) if match[1] else (int(match[3]), match[4])
    return books << int(bits)


def _untrained(d: int, factory: str, set_up: Callable[[Any], None], fill: int) -> NDArray[np.uint8]:
    """Return a serialised index all of whose learned numbers are one."""
    import faiss as untyped

    faiss: Any = untyped
    index = faiss.index_factory(d, factory, faiss.METRIC_INNER_PRODUCT)
    value = np.array(fill, dtype=np.uint32).view(np.float32)

    def put(vector: Any, size: int) -> None:
        faiss.copy_array_to_vector(np.full(size, value), vector)

    if hasattr(index, "sq"):
        # how many numbers it learns depends on its type; which ones, not at all
        index.train(np.eye(2, d, dtype=np.float32))
        put(index.sq.trained, index.sq.trained.size())
        if hasattr(index, "center"):
            put(index.center, index.center.size())
    for quantizer in quantizers(index):
        set_up(quantizer)
        if hasattr(quantizer, "nperts"):
            quantizer.nperts = min(quantizer.nperts, quantizer.M)  # as training leaves it
    if hasattr(index, "pq"):
        put(index.pq.centroids, index.pq.centroids.size())
    for name in ("rq", "lsq", "prq", "plsq"):
        if hasattr(index, name):
            outer = getattr(index, name)
            width = d // getattr(outer, "nsplits", 1)
            for part in (outer, *(part for part in quantizers(index) if part is not outer)):
                put(part.codebooks, part.total_codebook_size * width)
                part.norm_min = part.norm_max = float(value)
                part.is_trained = True
    index.is_trained = True
    blob: NDArray[np.uint8] = faiss.serialize_index(index)
    return blob


def _compare(blob: Array, first_filled: Array, second_filled: Array, factory: str, d: int) -> None:
    """Raise `MethodError` where bytes differ from the two filled indexes in more than learned numbers."""
    if len(blob) != len(first_filled):
        raise _refused(factory, d, f"it has {len(blob)} bytes, expected {len(first_filled)}")
    for start in range(0, len(blob), BLOCK):
        block = slice(start, start + BLOCK)
        fixed = first_filled[block] == second_filled[block]
        wrong = fixed & (blob[block] != first_filled[block])
        if wrong.any():
            position = start + int(np.argmax(wrong))
            raise _refused(factory, d, f"byte {position} is {blob[position]}, expected {first_filled[position]}")


def _refused(factory: str, d: int, why: object) -> MethodError:
    """Return the error for a state that FAISS would not have written, and why."""
    import faiss

    return MethodError(
        f"FaissCodec: the array 'index_' is not what FAISS {faiss.__version__} writes for '{factory[:40]}' in {d} "
        f"dimensions ({why}); it is damaged, or of another version of FAISS"
    )
