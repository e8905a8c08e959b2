"""Terms with weights as bytes: which terms stay, how weights and ids are written, and in what order they lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codes, MethodError, Part, Ragged, added_parameter, arrays_under
from methods.representations import SparseVectors
from methods.sparse.codec import SparseCodec
from methods.sparse.ids import IdCode, Rows
from methods.sparse.order import near_each_other
from methods.sparse.pruning import Pruning
from methods.sparse.weights import WeightCode

Int64 = NDArray[np.int64]

TRIAL_DOCUMENTS = 5_000
"""Documents that a budget is tried on, evenly spaced among those of `fit`."""

STEPS = 20
"""Halvings of the interval in which a budget looks for a setting."""

MARGIN = 0.002
"""A search for a setting ends this near to the budget."""


@dataclass(kw_only=True, eq=False)
class TermWeights(SparseCodec):
    """A code made of parts: pruning, a code for weights, and one for ids.

    Parameters
    ----------
    weights : WeightCode
    ids : IdCode
    pruning : Pruning or None
    layout : {"forward", "inverted"}
        *forward*: a byte string for each document. *inverted*: one for each term, with the rows of the documents that
        have it; documents cannot then be appended.
    order : {"given", "bisection"}
        Of documents, for layout=inverted. *bisection*: documents with terms in common are near, so that gaps are small
        (Dhulipala et al., 2016); the codes then have the row of each.
    renumber : bool
        Number terms by falling document frequency before their ids are written, so that gaps are small. The state then
        has a number for each term of the vocabulary.
    nbytes : float or None
        A budget: the mean bytes of a document, its length included, that pruning is set to keep, as the documents of
        `fit` show. The rule's own parameter must then be null. Halving finds the setting: the largest whose bytes are
        no more than the budget.
    """

    weights: WeightCode
    ids: IdCode
    pruning: Pruning | None = None
    layout: Literal["forward", "inverted"] = "forward"
    order: Literal["given", "bisection"] = added_parameter("given")
    renumber: bool = False
    nbytes: float | None = None

    def _check_parameters(self) -> None:
        self._require_positive("nbytes")
        free = self.pruning is not None and self.pruning.setting is None
        if self.nbytes is not None:
            self._require(free, f"nbytes={self.nbytes} needs a pruning whose own parameter is null, for it to set")
        else:
            self._require(not free, "pruning has no parameter: give it one, or nbytes")
        self._require(
            self.layout == "inverted" or self.order == "given",
            "order=bisection is for layout=inverted: documents of their own bytes have no gaps between them",
        )
        if self.layout == "inverted":
            self._require(not self.renumber, "renumber=true is for layout=forward: postings hold no numbers of terms")
            self._require(not self.ids.adapts, f"ids={type(self.ids).__name__} are for layout=forward")

    @property
    def row_wise(self) -> bool:  # type: ignore[override]
        """Whether each document has its own bytes."""
        return self.layout == "forward"

    def _fit(self, docs: SparseVectors, queries: Any) -> None:
        if self.pruning is not None:
            self.pruning.fit(docs)
        if self.nbytes is not None:
            self._set_pruning(docs, self.nbytes)
        self._fit_parts(docs)

    def _set_pruning(self, docs: SparseVectors, nbytes: float) -> None:
        """Find the setting that keeps the budget on a sample of documents, and learn it from all."""
        assert self.pruning is not None
        sample = evenly_spaced(docs, TRIAL_DOCUMENTS)
        low, high = 0.0, self.pruning.full(sample)
        setting = high
        for _ in range(STEPS):
            self.pruning.settle(sample, setting)
            size = self._trial_bytes(sample)
            low, high = (setting, high) if size <= nbytes else (low, setting)
            if low == high or nbytes * (1 - MARGIN) <= size <= nbytes:
                break
            setting = (low + high) / 2
        self._require(
            low > 0, f"nbytes={nbytes} is not possible: the least that can be left takes {size:.1f} bytes a document"
        )
        self.pruning.settle(docs, low)

    def _trial_bytes(self, docs: SparseVectors) -> float:
        """Return the bytes of a document, with scales learned from these documents."""
        self._fit_parts(docs)
        self.dim_ = docs.width
        return self._encode(docs).nbytes / len(docs)

    def _fit_parts(self, docs: SparseVectors) -> None:
        """Learn, in the order of encoding, from what is left of the documents."""
        left = docs if self.pruning is None else self.pruning.kept(docs)
        self.weights.fit(left)
        left = self.weights.kept(left)
        if self.renumber:
            frequency = np.bincount(left.terms, minlength=docs.width)
            order = np.argsort(-frequency, kind="stable")
            self.order_ = order.astype(np.min_scalar_type(docs.width - 1))
        ids = docs.width if self.layout == "forward" else len(docs)
        self.ids.check(ids, self.weights.symbol_bits)
        symbols, _ = self.weights.symbols(left)
        moved, order = self._moved(left)
        self.ids.learn(moved, symbols[order], self.weights.symbol_bits)

    def _moved(self, docs: SparseVectors) -> tuple[SparseVectors, Int64]:
        """Return what is written: documents with their terms' new numbers, or postings; and where each weight was."""
        if self.layout == "inverted":
            return docs.transposed(), np.argsort(docs.terms, kind="stable")
        if not self.renumber:
            return docs, np.arange(docs.nnz)
        rank = np.empty(docs.width, np.uint32)
        rank[self.order_] = np.arange(docs.width, dtype=np.uint32)
        terms = rank[docs.terms]
        order = np.lexsort((terms, docs.rows))
        return dataclasses.replace(docs, terms=terms[order], weights=docs.weights[order]), order

    def _encode(self, docs: SparseVectors) -> Codes:
        left = docs if self.pruning is None else self.pruning.kept(docs)
        left = self.weights.kept(left)
        shared: dict[str, Array] = {}
        if self.order == "bisection":
            rows_in_order = near_each_other(left)
            left = left.take(rows_in_order)
            shared["rows"] = rows_in_order.astype(np.min_scalar_type(len(docs) - 1))
        symbols, stored = self.weights.symbols(left)
        moved, order = self._moved(left)
        rows = (moved.indptr, moved.terms.astype(np.int64), symbols[order])
        self.ids.check(moved.width, self.weights.symbol_bits)
        strings = self.ids.write(rows, moved.width, self.weights.symbol_bits)
        if self.layout == "forward":
            return Codes(n=len(docs), rows=stored, ragged={"documents": strings})
        return Codes(n=len(docs), rows=stored, shared=shared | {"postings": strings.values, "lengths": strings.lengths})

    def _decode(self, codes: Codes) -> SparseVectors:
        width = self._check_fitted()
        if self.layout == "inverted":
            strings = Ragged(codes.shared["postings"], codes.shared["lengths"])
            indptr, ids, symbols = self._read(strings, codes.n)
            if self.order == "bisection":
                ids = np.asarray(codes.shared["rows"], np.int64)[ids]
                self._require(len(ids) == 0 or ids.max() < codes.n, f"damaged codes (a row beyond {codes.n})")
            order = np.argsort(ids, kind="stable")
            rows, terms, symbols = ids[order], np.repeat(np.arange(width), np.diff(indptr))[order], symbols[order]
            indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=codes.n))]).astype(np.int64)
        else:
            indptr, terms, symbols = self._read(codes.ragged["documents"], width)
            rows = np.repeat(np.arange(codes.n), np.diff(indptr))
            if self.renumber:
                terms = np.asarray(self.order_).astype(np.int64)[terms]
                order = np.lexsort((terms, rows))
                terms, symbols = terms[order], symbols[order]
        weights = self.weights.weights(symbols, terms, rows, codes.rows)
        decoded = SparseVectors(indptr, terms.astype(np.uint32), weights, width)
        return decoded.kept(weights > 0)

    def _read(self, strings: Ragged, width: int) -> Rows:
        """Return (indptr, ids, symbols); damaged bytes are refused where they would lead beyond an array."""
        try:
            rows = self.ids.read(strings, width, self.weights.symbol_bits)
        except (IndexError, ValueError, MemoryError) as error:
            raise MethodError(f"{type(self).__name__}: damaged codes ({error})") from error
        ids = rows[1]
        self._require(len(ids) == 0 or (ids.min() >= 0 and ids.max() < width), f"damaged codes (an id beyond {width})")
        return rows

    @property
    def _parts(self) -> dict[str, Part]:
        parts: dict[str, Part | None] = {"pruning": self.pruning, "weights": self.weights, "ids": self.ids}
        return {name: part for name, part in parts.items() if part is not None}


@dataclass(kw_only=True, eq=False)
class LeastError(SparseCodec):
    """Of several codes set to one budget, the one that changes documents least.

    Parameters
    ----------
    candidates : list of TermWeights
        Codes that differ in the bits of weights, the code of ids or the rule of pruning, each with the same `nbytes`.
        One that cannot keep it is left out.

    Notes
    -----
    What is compared is the sum of squared differences between the weights of the documents of `fit` (a sample of them)
    and those decoded, where a term that was pruned counts with its square: for a query that asks for each term alike,
    that is the squared error of scores. Neither queries nor judgements are asked.
    """

    candidates: list[TermWeights]

    def _check_parameters(self) -> None:
        budgets = {candidate.nbytes for candidate in self.candidates}
        self._require(len(budgets) == 1 and None not in budgets, f"candidates need one nbytes, got {budgets or 'none'}")
        self._require(len({candidate.layout for candidate in self.candidates}) == 1, "candidates need one layout")

    @property
    def row_wise(self) -> bool:  # type: ignore[override]
        """Whether each document has its own bytes."""
        return self.candidates[0].row_wise

    def _fit(self, docs: SparseVectors, queries: Any) -> None:
        sample = evenly_spaced(docs, TRIAL_DOCUMENTS)
        errors, refusals = {}, []
        for number, candidate in enumerate(self.candidates):
            try:
                errors[number] = squared_error(sample, candidate.fit(sample))
            except MethodError as refusal:
                refusals.append(refusal)
        if not errors:
            raise refusals[0]
        self.choice_ = min(errors, key=lambda number: (errors[number], number))
        self._chosen.fit(docs)

    @property
    def _chosen(self) -> TermWeights:
        return self.candidates[self.choice_]

    def _encode(self, docs: SparseVectors) -> Codes:
        return self._chosen.encode(docs)

    def _decode(self, codes: Codes) -> SparseVectors:
        return self._chosen.decode(codes)

    def state(self) -> dict[str, Array]:
        """Return which candidate it is, and that one's state."""
        own = super().state()
        return own | {f"chosen.{name}": array for name, array in self._chosen.state().items()}

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand the chosen candidate its own arrays."""
        super().load_state({name: array for name, array in arrays.items() if "." not in name})
        self._chosen.load_state(arrays_under(arrays, "chosen."))
        return self


def squared_error(docs: SparseVectors, codec: TermWeights) -> float:
    """Return the sum of squared differences between documents' weights and those that are decoded."""
    difference = docs.to_csr() - codec.decode(codec.encode(docs)).to_csr()
    return float(np.square(difference.data.astype(np.float64)).sum())


def evenly_spaced(docs: SparseVectors, count: int) -> SparseVectors:
    """Return so many documents, or all if there are fewer."""
    return docs if len(docs) <= count else docs.take(np.linspace(0, len(docs) - 1, count).astype(np.int64))
