"""A codec for the long vectors, another for the short ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, arrays_under, row_lengths
from methods.kernels.bitfields import index_bits, pack_wide, unpack_wide


@dataclass(kw_only=True, eq=False)
class MagnitudeGroups(Codec):
    """Group documents by length, and give each group a codec of its own.

    The magnitude-grouped PQ and SVD of Zhang et al. (2024), after MGQE (Kang et al., 2020), which groups by frequency.
    On vectors of unit length the groups are drawn by the last bits of rounding, and there is nothing to be gained.

    A decoded document stands in its group's part of a vector as wide as all groups' parts together, 0 elsewhere, and
    a query fills every part: the groups' codecs may decode into different spaces. The group numbers are stored, with
    the fewest bits that hold them.

    Parameters
    ----------
    codecs : list of Codec
        One for each group, the longest vectors first; each row-wise.
    shares : list of float
        Each group's share of the fitted documents; their sum is 1.
    """

    codecs: list[Codec]
    shares: list[float]

    row_wise: ClassVar[bool] = False

    def _check_parameters(self) -> None:
        self._require(len(self.codecs) >= 1, "needs at least one codec")
        self._require(
            len(self.shares) == len(self.codecs), f"{len(self.codecs)} codecs need as many shares, got {self.shares}"
        )
        self._require(
            min(self.shares) > 0 and abs(sum(self.shares) - 1) < 1e-6,
            f"shares must be positive and add up to 1, got {self.shares}",
        )
        self._require(all(codec.row_wise for codec in self.codecs), "its codecs must be row-wise")
        self._require(self.scoring == "asymmetric", f"scoring={self.scoring} is not possible: set it on its codecs")

    @property
    def wants_queries(self) -> bool:  # type: ignore[override]
        """Whether any group's codec makes use of queries."""
        return any(codec.wants_queries for codec in self.codecs)

    def _groups(self, docs: Float32) -> NDArray[np.intp]:
        """Return each document's group, (n,), 0 for the longest ones."""
        # limits_ falls: a document is in the first group whose limit its length reaches
        return np.searchsorted(-self.limits_, -row_lengths(docs), side="left")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        bounds = 1 - np.cumsum(self.shares)[:-1]
        self.limits_ = np.quantile(row_lengths(docs), bounds) if len(bounds) else np.empty(0)
        groups = self._groups(docs)
        for number, codec in enumerate(self.codecs):
            group_docs = docs[groups == number]
            # equal lengths leave groups empty; their codecs are still asked for a width
            codec.fit(group_docs if len(group_docs) else docs, queries if codec.wants_queries else None)

    def _encode(self, docs: Float32) -> Codes:
        groups = self._groups(docs)
        shared = {"groups": pack_wide(groups[None, :], index_bits(len(self.codecs)))[0]}
        for number, codec in enumerate(self.codecs):
            if (groups == number).any():
                group_codes = codec.encode(docs[groups == number])
                shared |= {f"{number}.{name}": array for name, array in group_codes.rows.items()}
        return Codes(n=len(docs), rows={}, shared=shared)

    def _decode(self, codes: Codes) -> Float32:
        groups = unpack_wide(codes.shared["groups"][None, :], index_bits(len(self.codecs)), codes.n)[0]
        # the widths come from a query, since a group without documents has nothing to decode
        widths = [part.shape[1] for part in self._query_parts(np.zeros((1, self.dim_), dtype=np.float32))]
        out = np.zeros((codes.n, sum(widths)), dtype=np.float32)
        start = 0
        for number, (codec, width) in enumerate(zip(self.codecs, widths, strict=True)):
            mine = np.flatnonzero(groups == number)
            if len(mine):
                rows = arrays_under(codes.shared, f"{number}.")
                out[mine, start : start + width] = codec._doc_matrix(Codes(n=len(mine), rows=rows))
            start += width
        return out

    def _query_parts(self, queries: Float32) -> list[Float32]:
        """Return the queries as each group's codec takes them, float32 (m, d') each."""
        return [codec._query_matrix(queries) for codec in self.codecs]

    def _project_queries(self, queries: Float32) -> Float32:
        return np.concatenate(self._query_parts(queries), axis=1)

    def state(self) -> dict[str, Array]:
        """Return the groups' states under the prefixes `0.`, `1.`, ..."""
        arrays = super().state()
        for number, codec in enumerate(self.codecs):
            arrays |= {f"{number}.{name}": array for name, array in codec.state().items()}
        return arrays

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand each group's codec its own arrays, which `state` put under the group's number."""
        common = {name: array for name, array in arrays.items() if "." not in name}
        for number, codec in enumerate(self.codecs):
            codec.load_state(arrays_under(arrays, f"{number}."))
        return super().load_state(common)
