"""What a store writes beside the code: alignment, and numbers that follow from the code."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from methods.base import Codes, Float32, Transform
from methods.composed.chain import Chain
from methods.transforms.location import Centre


@dataclass(kw_only=True, eq=False)
class AsWritten(Chain):
    """A chain whose documents take up what they take up in a store.

    Stores align codes to words, and keep sums and squared lengths that save time and follow from the code. No score
    needs them, so they are written as zeros; they are bytes in memory and on disk all the same, and are counted.

    Parameters
    ----------
    codec : Codec
    transforms : list of Transform
    align : int
        Bytes: the code of a document is filled up to a multiple of it.
    spare : int
        Bytes of a document beyond that.
    """

    transforms: list[Transform] = field(default_factory=list)
    align: int = 1
    spare: int = 0

    centre: ClassVar[Centre] = "none"  # type: ignore[misc]
    """No parameter here: where a store centres, its codec does."""

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "align")
        self._require_at_least(0, "spare")

    def _encode(self, docs: Float32) -> Codes:
        codes = super()._encode(docs)
        width = sum(array[:1].nbytes for name, array in codes.rows.items() if name.endswith("codes"))
        more = -width % self.align + self.spare
        if not more:
            return codes
        return dataclasses.replace(codes, rows={**codes.rows, "spare": np.zeros((codes.n, more), dtype=np.uint8)})
