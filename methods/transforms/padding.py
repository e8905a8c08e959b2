"""Zeros at the end of a vector, for stores whose codes come in blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from methods.base import Float32, Transform


@dataclass(kw_only=True, eq=False)
class Pad(Transform):
    """Append zeros: scores stay what they are, and a rotation that follows spreads the vector over more dimensions.

    Parameters
    ----------
    multiple : int
        The new width is a multiple of it ...
    at_least : int
        ... and no less than this ...
    times : float
        ... and no less than so many times the old one.
    """

    multiple: int = 1
    at_least: int = 1
    times: float = 1.0

    is_linear: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        self._require_at_least(1, "multiple", "times")

    def _transform_docs(self, docs: Float32) -> Float32:
        d = docs.shape[1]
        wanted = max(math.ceil(d * self.times), self.at_least)
        wanted = -(-wanted // self.multiple) * self.multiple
        return docs if wanted == d else np.pad(docs, ((0, 0), (0, wanted - d)))
