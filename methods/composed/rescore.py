"""Two tiers: a small code that is scanned, and a better one that is read for a short list only."""

from __future__ import annotations

import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import Array, Codec, Codes, Float32, MethodError, Part, Structure, Tiers, arrays_under
from methods.representations import IN_WORDS, Kind
from methods.token_vectors import TokenColumn

FIRST, SECOND = "first.", "second."
Int64 = NDArray[np.int64]


@dataclass(kw_only=True, eq=False)
class Policy(Part, ABC):
    """How many of the first tier's documents are read again. It has parameters and no state.

    Parameters
    ----------
    limit : int or None
        Documents that a query asks for, from which a policy counts; None is the depth of the search. A benchmark ranks
        100 documents and scores the first 10 of them: three times 100 is not what a user gets who asks for 10.
    """

    limit: int | None = None

    def _check_parameters(self) -> None:
        self._require_at_least(1, "limit")

    @abstractmethod
    def length(self, k: int, n: int) -> int:
        """Return how many of `n` documents may be read for a query that wants `k`."""

    def cut(self, scores: Float32, again: Float32, k: int) -> Int64:
        """Return how many of each query's list are read in fact, int64 (m,): all of it, unless a subclass stops early.

        Parameters
        ----------
        scores, again : float32 (m, length)
            The first tier's scores, descending, and the second's of the same documents.
        k : int
        """
        return np.full(len(scores), scores.shape[1])


@dataclass(kw_only=True, eq=False)
class ShortList(Policy):
    """A multiple of what the query asks for, within bounds, or a fixed number.

    Parameters
    ----------
    factor : float
        The multiple (oversampling).
    rows : int or None
        A fixed length instead, whatever the query asks for.
    at_least, at_most : int or None
        Bounds on what `factor` makes (OpenSearch: 100 and 10,000).
    """

    factor: float = 3.0
    rows: int | None = None
    at_least: int | None = None
    at_most: int | None = None

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "factor", "rows", "at_least", "at_most")

    def length(self, k: int, n: int) -> int:
        """Return the length of the list for a query that wants `k` of `n` documents."""
        if self.rows is not None:
            return min(n, self.rows)
        wanted = math.ceil(self.factor * (self.limit or k))
        wanted = max(wanted, self.at_least or 0)
        return min(n, wanted if self.at_most is None else min(wanted, self.at_most))


@dataclass(kw_only=True, eq=False)
class ErrorBound(Policy):
    """Read on until no further document can enter the best ones (Gao and Long, 2024, section 4: adaptive re-ranking).

    The first tier's scores must be upper bounds, as those of `methods.BoundedRaBitQ` are: reading stops
    when they fall below the worst of the best `limit` scores of the second tier so far.

    Parameters
    ----------
    most : float
        The longest list, as a multiple of what the query asks for, which bounds the work.
    """

    most: float = 100.0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "most")

    def length(self, k: int, n: int) -> int:
        """Return the length of the longest list for a query that wants `k` of `n` documents."""
        return min(n, math.ceil(self.most * (self.limit or k)))

    def cut(self, scores: Float32, again: Float32, k: int) -> Int64:
        """Return the rank of the first document that is not read again, int64 (m,)."""
        length = scores.shape[1]
        wanted = min(self.limit or k, length)
        stops = np.full(len(scores), length)
        best = np.sort(again[:, :wanted], axis=1)
        for rank in range(wanted, length):
            stopping = (scores[:, rank] < best[:, 0]) & (stops == length)
            stops[stopping] = rank
            best[:, 0] = np.maximum(best[:, 0], again[:, rank])
            best.sort(axis=1)
        return stops


@dataclass(kw_only=True, eq=False)
class Rescore(Codec, Tiers):
    """Scan the first codec, then score its best documents again with the second.

    Both codes are stored, side by side: arrays whose names begin with "first." must be in memory, those that begin
    with "second." can lie on disk, since a search reads a short list of them for each query. What counts as storage is
    both.

    The ranking is the second tier's order of the first tier's short list, so that `score`, `decode` and `query_matrix`
    are the second tier's, and `search` may miss a document that the first tier ranks too low. Where more documents are
    wanted than were read again, the others follow in the first tier's order; their scores are the first tier's, moved
    below the second's. The short list is the best of all documents that `search` is given: given them in chunks, it
    would be longer.

    Parameters
    ----------
    first, second : Codec
        Each fitted on the documents as they are; the second is not a code of what the first leaves. The first may be
        an index structure over codes: the short list is then the best that it finds, and its effort has to be as large.
    policy : Policy
        How many documents are read again: `ShortList` or `ErrorBound`.
    shared : bool
        The second tier reads the first one's codes, and what is stored for it is only what those lack: the same signs
        against a float query after a Hamming distance, say, or a second level of LVQ. Arrays of the same name must be
        equal, and the first tier's are then read in memory.
    """

    first: Codec
    second: Codec
    policy: Policy = field(default_factory=ShortList)
    shared: bool = False

    searches_whole: ClassVar[bool] = True

    @property
    def takes(self) -> Kind:  # type: ignore[override]
        """What both tiers take."""
        return self.first.takes

    @property
    def row_wise(self) -> bool:  # type: ignore[override]
        """Whether documents are encoded on their own, as they are unless an index structure arranges the first tier."""
        return self.first.row_wise

    @property
    def structure(self) -> Structure | None:
        """The first tier's."""
        return self.first.structure

    @property
    def tiers(self) -> Tiers | None:
        """Itself, where the first tier can be scanned in chunks."""
        return self if self.first.row_wise and not self.first.searches_whole else None

    def structure_codes(self, names: Iterable[str]) -> set[str]:
        """Return the names of the codes' arrays that belong to the first tier's structure."""
        inner = {_first_name(name): name for name in names if _first_name(name)}
        return {inner[name] for name in self.first.structure_codes(inner)}

    def structure_state(self, names: Iterable[str]) -> set[str]:
        """Return the names of the state's arrays that belong to the first tier's structure."""
        inner = [name.removeprefix(FIRST) for name in names if name.startswith(FIRST)]
        return {FIRST + name for name in self.first.structure_state(inner)}

    def _check_parameters(self) -> None:
        self._require(self.scoring != "raw_codes", "scoring=raw_codes belongs on one of its codecs")
        takes = [IN_WORDS[tier.takes] for tier in (self.first, self.second)]
        self._require(
            takes[0] == takes[1], f"both tiers read the same documents, but one takes {takes[0]}, one {takes[1]}"
        )
        self._require(
            self.takes == "vectors" or (self.scoring == "asymmetric" and self.renormalize is False and not self.shared),
            f"scoring, renormalize and shared are not for {IN_WORDS[self.takes]}: set them on the tiers",
        )
        self._require(
            (self.first.row_wise or self.first.structure is not None) and self.second.row_wise,
            "both codecs must be row-wise, to be read row by row",
        )
        self._require(
            self.first.row_wise or not self.shared,
            "shared=true reads the first tier's codes row by row, but these are in an index structure's order",
        )

    @property
    def wants_queries(self) -> bool:  # type: ignore[override]
        """Whether a tier makes use of queries."""
        return self.first.wants_queries or self.second.wants_queries

    @property
    def wants_pairs(self) -> bool:  # type: ignore[override]
        """Whether a tier makes use of pairs."""
        return self.first.wants_pairs or self.second.wants_pairs

    @property
    def wants_columns(self) -> Sequence[TokenColumn]:  # type: ignore[override]
        """Which columns of token vectors a tier reads."""
        return sorted({name for part in (self.first, self.second) for name in part.wants_columns})

    def training(self) -> list[dict[str, Any]]:
        """Return what gradient descent did in both tiers' last `fit`, the first tier's before the second's."""
        return self.first.training() + self.second.training()

    def on_disk(self, names: Iterable[str]) -> set[str]:
        """Return those of the codes' array names that are read for a short list only."""
        inner = {_first_name(name): name for name in names if _first_name(name)}
        walked = {inner[name] for name in self.first.on_disk(inner)}
        # where the bytes of a document lie is looked up in memory
        return walked | {name for name in names if name.removeprefix("ragged.").startswith(SECOND)}

    def stored_vectors(self, codes: Codes) -> int:
        """Return of how many vectors both tiers have bytes, where a document has several."""
        return self.first.stored_vectors(self._first(codes)) + self.second.stored_vectors(self._second(codes))

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        for tier in (self.first, self.second):
            tier.fit(docs, queries if tier.wants_queries else None, pairs)

    def _encode(self, docs: Float32) -> Codes:
        first_codes, second_codes = self.first.encode(docs), self.second.encode(docs)
        strings = {FIRST + name: own for name, own in first_codes.ragged.items()}
        strings |= {SECOND + name: own for name, own in second_codes.ragged.items()}
        first, second = first_codes.rows, second_codes.rows
        stored = {FIRST + name: array for name, array in first.items()}
        for name, array in second.items():
            if not self.shared or name not in first:
                stored[SECOND + name] = array
            elif not np.array_equal(array, first[name]):
                raise MethodError(f"Rescore: shared=true, but the two tiers' arrays named '{name}' differ")
        shared = {FIRST + name: array for name, array in first_codes.shared.items()}
        return Codes(n=len(docs), rows=stored, ragged=strings, shared=shared)

    def _first(self, codes: Codes) -> Codes:
        """Return the first tier's codes; those of an index structure are kept, for what it derives from them."""
        if self.first.row_wise:
            return codes.rows_under(FIRST)
        kept = vars(self).get("_arranged")
        if kept is None or kept[0]() is not codes:
            tier = codes.rows_under(FIRST)
            kept = weakref.ref(codes), replace(tier, shared=arrays_under(codes.shared, FIRST))
            self._arranged = kept
        return kept[1]

    def _second(self, codes: Codes) -> Codes:
        """Return the second tier's codes, with the first tier's arrays if the tiers share them."""
        second_tier = codes.rows_under(SECOND)
        if not self.shared:
            return second_tier
        return Codes(n=codes.n, rows={**self._first(codes).rows, **second_tier.rows})

    def _decode(self, codes: Codes) -> Any:
        return self.second.decode(self._second(codes))

    def score(self, queries: Any, codes: Codes) -> Float32:
        """Return the second tier's scores of all documents, float32 (m, n)."""
        if self.takes == "vectors":
            return super().score(queries, codes)
        return self.second.score(queries, self._second(codes))

    def _levels(self, codes: Codes) -> Float32:
        return self.second._levels(self._second(codes))

    def _project_queries(self, queries: Float32) -> Float32:
        return self.second._query_matrix(queries)

    def _doc_matrix(self, codes: Codes) -> Float32:
        if self.scoring == "asymmetric" and not self.renormalizes:
            return self.second._doc_matrix(self._second(codes))
        return super()._doc_matrix(codes)

    def _search(self, queries: Any, codes: Codes, k: int) -> tuple[Float32, Int64]:
        scores, listed = self._scan(queries, codes, self.listed(k, codes.n))
        return self._read_again(queries, codes, scores, listed, k)

    def listed(self, k: int, n: int) -> int:
        """Return how many of n documents the first tier lists: those that are read again, and as many as are wanted."""
        return max(min(k, n), self.policy.length(k, n))

    def scan(self, queries: Any, codes: Codes, length: int) -> tuple[Float32, Int64]:
        """Return the first tier's best, scores and rows, float32 and int64 (m, length)."""
        return self._scan(self._checked(queries, "queries", self._query_width()), codes, length)

    def _scan(self, queries: Any, codes: Codes, length: int) -> tuple[Float32, Int64]:
        return self.first._search(queries, self._first(codes), length)

    def read_again(self, queries: Any, codes: Codes, scores: Float32, rows: Int64, k: int) -> tuple[Float32, Int64]:
        """Return the best of what the first tier listed, by the second."""
        return self._read_again(self._checked(queries, "queries", self._query_width()), codes, scores, rows, k)

    def _read_again(self, queries: Any, codes: Codes, scores: Float32, listed: Int64, k: int) -> tuple[Float32, Int64]:
        k = min(k, codes.n)
        length = self.policy.length(k, codes.n)
        again = self._score_listed(queries, codes, np.maximum(listed[:, :length], 0))
        again[listed[:, :length] < 0] = -np.inf
        cut = self.policy.cut(scores[:, :length], again, k)
        read = np.arange(scores.shape[1]) < cut[:, None]
        values = np.zeros(scores.shape)
        values[:, :length] = again
        if not read.all():
            lowest = np.nextafter(np.where(read, values, np.inf).min(axis=1), -np.inf, dtype=np.float32)
            highest = np.where(read, -np.inf, scores).max(axis=1)
            # a query whose documents were all read has no highest
            moved = scores + (lowest - np.where(np.isfinite(highest), highest, 0))[:, None].astype(np.float64)
            values = np.where(read, values, moved)
        return topk.ordered(values.astype(np.float32), listed, k)

    def _score_listed(self, queries: Any, codes: Codes, listed: Int64) -> Float32:
        """Return the second tier's scores of each query's list, float32 (m, length)."""
        if self.takes == "vectors":
            return super()._score_listed(queries, codes, listed)
        return self.second._score_listed(queries, self._second(codes), listed)

    def state(self) -> dict[str, Array]:
        """Return both states under the prefixes `first.` and `second.`, without what sharing tiers have in common."""
        arrays: dict[str, Array] = {"dim_": np.asarray(self._check_fitted())}
        first, second = self.first.state(), self.second.state()
        arrays |= {FIRST + name: array for name, array in first.items()}
        for name, array in second.items():
            if not (self.shared and name in first and np.array_equal(array, first[name])):
                arrays[SECOND + name] = array
        return arrays

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand each tier its own arrays, and the second tier also those that both have in common."""
        first, second = arrays_under(arrays, FIRST), arrays_under(arrays, SECOND)
        self.first.load_state(first)
        self.second.load_state({**first, **second} if self.shared else second)
        self.dim_ = int(arrays["dim_"])
        return self


def _first_name(name: str) -> str:
    """Return the first tier's own name of an array in the codes file; "" for those of the second."""
    kind, _, rest = name.partition(".") if name.startswith(("shared.", "ragged.", "lengths.")) else ("", "", name)
    if not rest.startswith(FIRST):
        return ""
    return f"{kind}.{rest.removeprefix(FIRST)}".lstrip(".")
