"""Ranking by distance, where a store does that although the vectors were normalised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from methods.base import Array, Codes, Float32, Transform
from methods.composed.chain import Chain
from methods.stored_rows import StoredRows
from methods.transforms.location import Centre


@dataclass(kw_only=True, eq=False)
class Euclidean(Chain):
    """A chain whose score is -|q - x^|^2 / 2, less what depends on the query alone.

    Between unit vectors this is the order of the inner products. Between a query and a *decoded* document it is not:
    decoded documents have various lengths, and long ones are now put at a disadvantage: <q, x^> - |x^|^2 / 2. That is a
    dot product with one more coordinate, 1 in queries. Nothing is stored for it.

    Parameters
    ----------
    codec : Codec
        With its own scoring, by which the query may be decoded too.
    transforms : list of Transform
    """

    by_distance: ClassVar[bool] = True

    transforms: list[Transform] = field(default_factory=list)

    centre: ClassVar[Centre] = "none"  # type: ignore[misc]
    """No parameter here: a centre changes no distance."""

    def _check_parameters(self) -> None:
        super()._check_parameters()
        plain = self.scoring == "asymmetric" and not self.renormalize
        self._require(plain, "scoring belongs on its codec, and renormalize=true would make it the inner product")

    @property
    def _place(self) -> None:  # type: ignore[override]
        """None: a distance is between what the codec sees of both sides."""
        return None

    @property
    def _only_forwards(self) -> bool:
        """False: a score needs one more coordinate, half the decoded document's squared length."""
        return False

    def _decode(self, codes: Codes) -> Float32:
        decoded = self.codec.doc_matrix(codes)
        energy: Array = np.einsum("ij,ij->i", decoded, decoded, dtype=np.float64)
        return np.column_stack([decoded, (-energy / 2).astype(np.float32)])

    def _plain_rows(self, codes: Codes) -> StoredRows | None:
        """Return None: a document's half squared length is no number in its bytes."""
        return None

    def _tail(self) -> None:
        """None: documents end in their own lengths."""
        return

    def _project_queries(self, queries: Float32) -> Float32:
        return np.column_stack([super()._project_queries(queries), np.ones(len(queries), np.float32)])
