"""Terms with weights as bytes: which terms stay, how weights and ids are written, and in what order they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codes, arrays_under
from methods.representations import SparseVectors
from methods.sparse.codec import SparseCodec
from methods.sparse.ids import IdCode
from methods.sparse.weights import WeightCode

Int64 = NDArray[np.int64]


@dataclass(kw_only=True, eq=False)
class TermWeights(SparseCodec):
    """A code made of parts.

    Parameters
    ----------
    weights : WeightCode
    ids : IdCode
    """

    weights: WeightCode
    ids: IdCode

    def _fit(self, docs: SparseVectors, queries: Any) -> None:
        self.weights.fit(docs)
        kept = self.weights.kept(docs)
        symbols, _ = self.weights.symbols(kept)
        self.ids.learn(kept, symbols, self.weights.symbol_bits)

    def _encode(self, docs: SparseVectors) -> Codes:
        kept = self.weights.kept(docs)
        symbols, stored = self.weights.symbols(kept)
        strings = self.ids.write(kept.indptr, kept.terms.astype(np.int64), symbols, self.weights.symbol_bits)
        return Codes(n=len(docs), rows=stored, ragged={"documents": strings})

    def _decode(self, codes: Codes) -> SparseVectors:
        indptr, terms, symbols = self.ids.read(codes.ragged["documents"], self.weights.symbol_bits)
        rows = np.repeat(np.arange(codes.n), np.diff(indptr))
        weights = self.weights.weights(symbols, terms, rows, codes.rows)
        return SparseVectors(indptr, terms.astype(np.uint32), weights, self._check_fitted())

    @property
    def _parts(self) -> dict[str, WeightCode | IdCode]:
        return {"weights": self.weights, "ids": self.ids}

    def state(self) -> dict[str, Array]:
        """Return the parts' state, each under its name."""
        own = super().state()
        return own | {
            f"{name}.{key}": array for name, part in self._parts.items() for key, array in part.state().items()
        }

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand each part its own arrays."""
        for name, part in self._parts.items():
            part.load_state(arrays_under(arrays, f"{name}."))
        return super().load_state({name: array for name, array in arrays.items() if "." not in name})
