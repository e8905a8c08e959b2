"""Two codecs in a row: the second encodes what the first one leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from methods.base import Array, Codec, Codes, Float32, MethodError, arrays_under


@dataclass(kw_only=True, eq=False)
class Residual(Codec):
    """Store a document by one codec, and its difference from what that decodes to by another; decode to the sum.

    With `methods.QJL` as the second it is TurboQuant-prod (Zandieh et al., 2025, section 3.2): inner products
    become right on average, whatever the first does. For ranking, the bits are better spent on the first: QJL's noise
    is larger than the bias that it removes, most of which a query's candidates share.

    Parameters
    ----------
    first, second : Codec
        Row-wise, and decoding to the space of their input. Both keep asymmetric scoring, set any other on the whole.
    """

    first: Codec
    second: Codec

    def _check_parameters(self) -> None:
        for name, part in (("first", self.first), ("second", self.second)):
            if part.scoring != "asymmetric":
                raise MethodError(f"Residual: set scoring on the whole, not on its {name} codec")
            if not part.row_wise:
                raise MethodError(f"Residual: its {name} codec, {type(part).__name__}, is not row-wise")

    @property
    def wants_queries(self) -> bool:  # type: ignore[override]
        """Whether either codec makes use of queries."""
        return self.first.wants_queries or self.second.wants_queries

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        self.first.fit(docs, queries)
        self.second.fit(self._residuals(docs, self.first.encode(docs)), queries)

    def _residuals(self, docs: Float32, codes: Codes) -> Float32:
        """Return documents less what their codes of the first codec decode to, float32 (n, d)."""
        decoded = self.first.decode(codes)
        if decoded.shape != docs.shape:
            name, width = type(self.first).__name__, decoded.shape[1]
            raise MethodError(f"Residual: its first codec, {name}, turns {docs.shape[1]} dimensions into {width}")
        return docs - decoded

    def _encode(self, docs: Float32) -> Codes:
        first = self.first.encode(docs)
        second = self.second.encode(self._residuals(docs, first))
        rows = {f"first.{name}": array for name, array in first.rows.items()}
        return Codes(n=first.n, rows=rows | {f"second.{name}": array for name, array in second.rows.items()})

    def _decode(self, codes: Codes) -> Float32:
        decoded = self.first.decode(codes.rows_under("first."))
        return decoded + self.second.decode(codes.rows_under("second."))

    def state(self) -> dict[str, Array]:
        """Return the codecs' states under the prefixes `first.` and `second.`."""
        arrays = {"dim_": np.asarray(self._check_fitted())}
        for prefix, part in (("first", self.first), ("second", self.second)):
            arrays |= {f"{prefix}.{name}": array for name, array in part.state().items()}
        return arrays

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand each codec its own arrays, which `state` put under its prefix."""
        for prefix, part in (("first.", self.first), ("second.", self.second)):
            part.load_state(arrays_under(arrays, prefix))
        self.dim_ = int(arrays["dim_"])
        return self


@dataclass(kw_only=True, eq=False)
class ExactAlongFirst(Residual):
    """A residual code that keeps <x - x^, c> too, with c what the first codec decodes to: scores are exact along c.

    As IVF indexes of RaBitQ codes have it, c being the centroid of the document's list: <q, c> and <x - c, c> are
    known, and only <x - c, q - c> is estimated. The number, float32, is one more coordinate of a decoded document,
    which is 1 in queries.
    """

    def _check_parameters(self) -> None:
        super()._check_parameters()
        plain = self.scoring == "asymmetric" and not self.renormalize
        self._require(plain, "what is kept is no part of a document: scoring=asymmetric and renormalize=false only")

    def _encode(self, docs: Float32) -> Codes:
        codes = super()._encode(docs)
        error = docs.astype(np.float64) - super()._decode(codes)
        along = np.einsum("ij,ij->i", error, self.first.decode(codes.rows_under("first.")), dtype=np.float64)
        return Codes(n=codes.n, rows={**codes.rows, "along": along.astype(np.float32)})

    def _decode(self, codes: Codes) -> Float32:
        return np.column_stack([super()._decode(codes), codes.rows["along"]])

    def _project_queries(self, queries: Float32) -> Float32:
        return np.column_stack([queries, np.ones(len(queries), np.float32)])
