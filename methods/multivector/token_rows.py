"""The codes of a codec for one vector as one row of bytes for each vector."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.base import Codec, Codes, MethodError

UInt8 = NDArray[np.uint8]


class Column(NamedTuple):
    """Bytes of a token's code that belong to one array of the codec's."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of a token."""
        return self.dtype.itemsize * int(np.prod(self.shape))


class TokenRows:
    """Packs and unpacks the codes of a fitted codec, which are as wide for any vector.

    Parameters
    ----------
    codec : Codec
    d : int
        Dimensions of the vectors that it encodes.
    """

    def __init__(self, codec: Codec, d: int) -> None:
        probe = np.zeros((1, d), np.float32)
        probe[0, 0] = 1
        codes = codec.encode(probe)
        if codes.shared or codes.ragged:
            raise MethodError(
                f"codec must give each vector as many bytes of its own, which {type(codec).__name__} does not"
            )
        self.columns = [Column(name, array.dtype, array.shape[1:]) for name, array in sorted(codes.rows.items())]

    @property
    def nbytes(self) -> int:
        """Bytes of a vector."""
        return sum(column.nbytes for column in self.columns)

    def pack(self, codes: Codes) -> UInt8:
        """Return the codec's codes of n vectors as rows of bytes, uint8 (n, nbytes)."""
        arrays = (np.ascontiguousarray(codes.rows[column.name]) for column in self.columns)
        return np.hstack([array.reshape(codes.n, -1).view(np.uint8) for array in arrays])

    def unpack(self, packed: UInt8) -> Codes:
        """Return the codes whose rows of bytes, uint8 (n, nbytes), these are."""
        arrays, place = {}, 0
        for column in self.columns:
            own = np.ascontiguousarray(packed[:, place : place + column.nbytes])
            arrays[column.name] = own.view(column.dtype).reshape(len(packed), *column.shape)
            place += column.nbytes
        return Codes(n=len(packed), rows=arrays)
