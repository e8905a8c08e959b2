"""What lists and graphs share: a codec that holds the codec whose codes it arranges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import (
    Array,
    Codec,
    Codes,
    Float32,
    MethodError,
    Part,
    Structure,
    arrays_under,
)
from methods.representations import IN_WORDS

Int64 = NDArray[np.int64]

CODES, OWN = "codec.", "index."
"""Prefixes of the names of arrays: those of the codec that is held, and the structure's own."""


@dataclass(kw_only=True, eq=False)
class IndexStructure(Codec, Structure, ABC):
    """A structure over the codes of a codec, which looks at some of them only.

    A score is that of the codec: `query_matrix(queries) @ doc_matrix(codes).T`, float64 rounded once, so that a
    structure that looked at every document would give the exhaustive answer of the same codes, to the last bit.

    Parameters
    ----------
    codec : Codec
        For vectors, one a document, and row-wise. `renormalize` and `scoring` are its own affair.
    """

    codec: Codec

    row_wise: ClassVar[bool] = False
    searches_whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        # before types are checked, which would only say that a code for terms is no Codec
        if isinstance(self.codec, Part):
            self._require(
                self.codec.takes == "vectors",
                f"lists and graphs hold codes of one vector a document, and {type(self.codec).__name__} takes "
                f"{IN_WORDS[self.codec.takes]}: use index=flat",
            )
        super().__post_init__()

    def _check_parameters(self) -> None:
        name = type(self.codec).__name__
        self._require(
            self.codec.row_wise and self.codec.structure is None,
            f"lists and graphs hold codes of documents one by one, and {name} makes no such codes: use index=flat",
        )
        self._require(
            not self.codec.searches_whole,
            f"lists and graphs hold one tier of codes, and {name} has more: use index=flat, or put it on the first one",
        )
        self._require(
            not self.codec.maps_queries, f"{name} takes another model's queries, which lists and graphs cannot follow"
        )
        self._require(self.scoring == "asymmetric", "scoring is set on its codec")
        self._require(self.renormalize is False or self._holds_parts_of_documents, "renormalize is set on its codec")
        self._check_effort(self.effort)

    @property
    def _holds_parts_of_documents(self) -> bool:
        """Whether the codec sees less than the documents, so that only the structure knows their lengths."""
        return False

    @abstractmethod
    def _check_effort(self, effort: int) -> None:
        """Refuse an effort that no search can be made with."""

    @abstractmethod
    def _find(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, Int64, Int64]:
        """Return scores, rows (m, k) of what is found, -inf and -1 where nothing is, and documents scored (m,)."""

    @property
    def structure(self) -> Structure:
        """Itself."""
        return self

    def structure_codes(self, names: Iterable[str]) -> set[str]:
        """Return the names of the codes' arrays that are not the codec's."""
        return {name for name in names if not name.removeprefix("ragged.").removeprefix("lengths.").startswith(CODES)}

    def structure_state(self, names: Iterable[str]) -> set[str]:
        """Return the names of the state's arrays that are not the codec's."""
        return {name for name in names if not name.startswith(CODES)} - {"dim_"}

    def on_disk(self, names: Iterable[str]) -> set[str]:
        """Return the codec's array names that a search reads for a short list only."""
        names = [name for name in names if name.startswith(CODES)]
        return {CODES + name for name in self.codec.on_disk(name.removeprefix(CODES) for name in names)}

    def set_effort(self, effort: int) -> None:
        """Search with another effort from now on."""
        self._check_effort(effort)
        setattr(self, self.effort_name, effort)

    @contextmanager
    def searching_all(self) -> Iterator[None]:
        """Look at every document in searches of the body."""
        self._all = True
        try:
            yield
        finally:
            del self._all

    @property
    def visited(self) -> Int64:
        """Documents that the last search scored for each query, int64 (m,)."""
        found: Int64 = vars(self)["_visited"]
        return found

    @property
    def scored_as(self) -> str:
        """What the last search scored: codes, as they lie, or float32, which documents were decoded to."""
        return "codes" if vars(self).get("_scored_codes") else "float32"

    @property
    def wants_queries(self) -> bool:  # type: ignore[override]
        """Whether the codec makes use of queries."""
        return self.codec.wants_queries

    @property
    def wants_pairs(self) -> bool:  # type: ignore[override]
        """Whether the codec makes use of pairs."""
        return self.codec.wants_pairs

    def training(self) -> list[dict[str, Any]]:
        """Return what gradient descent did in the codec's last `fit`."""
        return self.codec.training()

    def bits_per_axis(self) -> Array | None:
        """Return the codec's bits of each principal axis."""
        return self.codec.bits_per_axis()

    def _project_queries(self, queries: Float32) -> Float32:
        return self.codec._query_matrix(queries)

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, Int64]:
        if "_all" in vars(self):
            self._visited = np.full(len(queries), codes.n)
            return topk.search(self._query_matrix(queries), self._blocks(codes), k)
        scores, rows, self._visited = self._find(queries, codes, k)
        return scores, rows

    @abstractmethod
    def _blocks(self, codes: Codes) -> Iterator[tuple[int, Float32]]:
        """Yield (first row, documents as they enter the dot product) in the order of rows."""

    def state(self) -> dict[str, Array]:
        """Return the structure's own state, and the codec's under the prefix `codec.`."""
        return super().state() | {CODES + name: array for name, array in self.codec.state().items()}

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand the codec its own arrays, which `state` put under its prefix."""
        self.codec.load_state(arrays_under(arrays, CODES))
        return super().load_state({name: array for name, array in arrays.items() if not name.startswith(CODES)})


def held(codes: Codes) -> Codes:
    """Return the codes of the codec that a structure holds, in the order in which they are stored."""
    inner = codes.rows_under(CODES)
    return Codes(n=codes.n, rows=inner.rows, ragged=inner.ragged)


def put_in(codes: Codes) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return a codec's rows and strings by the names that they have inside a structure."""
    if codes.shared:
        raise MethodError(f"codes with arrays that documents share ({', '.join(codes.shared)}) have no place in lists")
    rows = {CODES + name: array for name, array in codes.rows.items()}
    return rows, {CODES + name: strings for name, strings in codes.ragged.items()}
