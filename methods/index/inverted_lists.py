"""Inverted lists: documents by the nearest of some centroids; a search reads the lists nearest to the query."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import (
    SEARCHED_BYTES,
    SPARE,
    Array,
    Codec,
    Codes,
    Float32,
    MethodError,
    Ragged,
    row_blocks,
    row_lengths,
    unit_rows,
)
from methods.index.id_lists import Layout, read_lists, write_lists
from methods.index.structure import OWN, IndexStructure, held, put_in
from methods.parallel import over_rows

if TYPE_CHECKING:
    from methods.code_scan import Scored

Int64 = NDArray[np.int64]

POINTS_PER_CENTROID = 256
"""Documents that k-means looks at for each centroid, as FAISS has it."""


class _Lists(NamedTuple):
    """Lists as a search uses them: indptr int64 (lists + 1,), and the documents in their order, int64 (n,)."""

    indptr: Int64
    ids: Int64

    @property
    def list_of(self) -> Int64:
        """The list of each stored place, int64 (n,)."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))


@dataclass(kw_only=True, eq=False)
class InvertedLists(IndexStructure):
    """Codes in lists by the nearest centroid (IVF; Jégou, Douze and Schmid, 2011, section 4).

    Codes are stored list after list, with the number of the document that each is of. A document is in the list of the
    centroid at the least distance. A search scores the documents of the `nprobe` lists whose centroids are nearest to
    the query in direction, and finds no others. Codes that say what their bytes stand for (`Codec.stored_rows`) are
    scored as they lie, roughly, and the documents that may be among the best are decoded in the end; others are decoded
    list by list.

    Parameters
    ----------
    codec : Codec
    lists : int
        Centroids, which k-means finds.
    nprobe : int
        Lists that a search reads. No part of what is stored.
    residual : bool
        The codec encodes the document less its list's centroid, and a score is <q, centroid> and what the codec says
        of <q, rest>. Where the codec has no space of its own, a document decodes to the sum; where it has one (a
        rotation, fewer dimensions), the centroid is written beside what it decodes to. `renormalize` is then the
        lists' own, and acts on the whole document; the codec's is false.
    offset : {"none", "float16", "float32"}
        One number a document, with `residual`: <centroid, rest> less what the codec says of it. A score is then exact
        along the centroid, and the code errs in <q - centroid, rest> only, which is what FAISS's lists of RaBitQ do
        (Gao and Long, 2024, section 3.1.2: documents and queries are centred).
    ids : see `methods.index.id_lists.Layout`
        How the documents' numbers are stored.
    spherical : bool
        Centroids of unit length, as FAISS has them under inner products. Otherwise they are means.
    iterations : int
        Of k-means.
    seed : int

    Raises
    ------
    MethodError
        If it is fitted on fewer documents than there are lists.
    """

    lists: int = 128
    nprobe: int = 8
    residual: bool = False
    offset: Literal["none", "float16", "float32"] = "none"
    ids: Layout = "int64"
    spherical: bool = False
    iterations: int = 10
    seed: int = 0

    effort_name: ClassVar[str] = "nprobe"
    walks: ClassVar[bool] = False

    def _check_parameters(self) -> None:
        self._require_at_least(1, "lists", "iterations")
        super()._check_parameters()
        self._require(
            not self.residual or self.codec.scoring == "asymmetric",
            f"residual=true needs scores of float queries, but its codec has scoring={self.codec.scoring}",
        )
        self._require(
            self.offset == "none" or (self.residual and self.renormalize is False),
            f"offset={self.offset} is of what is left of a document (residual=true) that is not scaled "
            "(renormalize=false)",
        )
        part = self.codec if self.residual else None
        while isinstance(part, Codec):
            self._require(
                part.renormalize is False,
                f"residual=true: {type(part).__name__} would scale what is left of documents to unit length; set "
                "renormalize on the lists",
            )
            part = getattr(part, "codec", None)

    def _check_effort(self, effort: int) -> None:
        self._require(1 <= effort <= self.lists, f"nprobe must be 1 to lists={self.lists}, got {effort}")

    @property
    def codebook_size(self) -> int:
        """Centroids of the largest codebook, its own included."""
        return max(self.lists, self.codec.codebook_size)

    @property
    def _holds_parts_of_documents(self) -> bool:
        return self.residual

    def expected_bytes(self, n: int, d: int) -> tuple[float, int]:
        """Return the bytes of ids as whole numbers (int32, or int64), and of centroids."""
        return 4.0 if self.ids == "int32" else 8.0, 4 * self.lists * d

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        from methods.multivector.centroids import k_means

        n = len(docs)
        self._require(n >= self.lists, f"lists={self.lists} needs at least as many documents to fit on, got {n}")
        self._forget()
        rng = np.random.default_rng(self.seed)
        count = min(n, POINTS_PER_CENTROID * self.lists)
        some = docs if count == n else docs[np.sort(rng.choice(n, count, replace=False))]
        centroids = k_means(some, self.lists, self.iterations, self.spherical, rng)
        self.centroids_ = unit_rows(centroids) if self.spherical else centroids
        self.codec.fit(docs - self.centroids_[self._nearest(docs)] if self.residual else docs, queries, pairs)

    def _nearest(self, docs: Float32) -> Int64:
        """Return the nearest centroid of each document, int64 (n,); of two at one distance the first."""
        # |x - c|^2 = |x|^2 - 2 (<x, c> - |c|^2 / 2)
        half = row_lengths(self.centroids_) ** 2 / 2
        matrix = self.centroids_.T.astype(np.float64)
        found = np.empty(len(docs), np.int64)
        for start, stop in row_blocks(len(docs), 8 * (self.lists + docs.shape[1])):
            found[start:stop] = (docs[start:stop].astype(np.float64) @ matrix - half).argmax(axis=1)
        return found

    def _encode(self, docs: Float32) -> Codes:
        list_of = self._nearest(docs)
        chunks, offsets = [], np.empty(len(docs), self.offset if self.offset != "none" else np.float32)
        for start, stop in row_blocks(len(docs), 4 * docs.shape[1]):
            block, centroids = docs[start:stop], self.centroids_[list_of[start:stop]]
            chunks.append(self.codec.encode(block - centroids if self.residual else block))
            if self.offset != "none":
                along = np.einsum("ij,ij->i", centroids, block - centroids, dtype=np.float64)
                offsets[start:stop] = along - self._along(centroids, self.codec.decode(chunks[-1]))
        order = np.argsort(list_of, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(list_of, minlength=self.lists))])
        ids = write_lists(indptr, order, len(docs), self.ids)
        if isinstance(ids, Ragged):
            ids = {"ids": ids.values, "lengths": ids.lengths}
        rows, strings = put_in(Codes.concatenate(chunks).take(order))
        if self.offset != "none":
            rows[OWN + "offset"] = offsets[order]
        shared = {OWN + name: array for name, array in ids.items()}
        return Codes(n=len(docs), rows=rows, ragged=strings, shared=shared)

    def _lists(self, codes: Codes) -> _Lists:
        """Return the lists of some codes; those of the last ones are kept."""
        kept = vars(self).get("_searched")
        if kept is None or kept[0]() is not codes:
            ids, lengths = codes.shared[OWN + "ids"], codes.shared[OWN + "lengths"]
            plain = self.ids in ("int64", "int32")
            found = _Lists(
                *read_lists({"ids": ids, "lengths": lengths} if plain else Ragged(ids, lengths), codes.n, self.ids)
            )
            if len(found.indptr) != self.lists + 1 or not np.array_equal(np.sort(found.ids), np.arange(codes.n)):
                raise MethodError(f"{type(self).__name__}: its lists do not hold each of {codes.n} documents once")
            kept = (weakref.ref(codes), found)
            self._searched = kept
        return kept[1]

    def _concatenates(self) -> bool:
        """Whether centroids are written beside what the codec decodes to, since it has a space of its own."""
        if "_beside" not in vars(self):
            asked = self.codec._query_matrix(self.centroids_)
            self._beside = not np.array_equal(asked, self.centroids_)
        return bool(self._beside)

    def _along(self, centroids: Float32, rest: Float32) -> NDArray[np.float64]:
        """Return <centroid, rest> as the query side of the codec's space has it, float64 (n,)."""
        product: NDArray[np.float64]
        product = np.einsum("ij,ij->i", self.codec._query_matrix(centroids), rest, dtype=np.float64)
        return product

    def _stored_matrix(self, codes: Codes, list_of: Int64) -> Float32:
        """Return documents of stored codes and their lists as they enter the dot product, float32 (n, d')."""
        if not self.residual:
            return self.codec._doc_matrix(held(codes))
        rest, centroids = self.codec.decode(held(codes)), self.centroids_[list_of]
        if not self._concatenates():
            docs = centroids + rest
            if self.offset != "none":
                return np.hstack([docs, self._offsets(codes)])
            return unit_rows(docs) if self.renormalizes else docs
        if self.offset != "none":
            return np.hstack([rest, centroids, self._offsets(codes)])
        docs = np.hstack([rest, centroids])
        if not self.renormalizes:
            return docs
        squares = row_lengths(centroids) ** 2 + 2 * self._along(centroids, rest) + row_lengths(rest) ** 2
        return unit_rows(docs, np.sqrt(np.maximum(squares, 0.0)))

    def _project_queries(self, queries: Float32) -> Float32:
        parts = [super()._project_queries(queries)]
        if self.residual and self._concatenates():
            parts.append(queries)
        if self.offset != "none":
            parts.append(np.ones((len(queries), 1), np.float32))
        return np.hstack(parts) if len(parts) > 1 else parts[0]

    @staticmethod
    def _offsets(codes: Codes) -> Float32:
        """Return the numbers of `offset` as a column, float32 (n, 1)."""
        return codes.rows[OWN + "offset"].astype(np.float32)[:, None]

    def _decode(self, codes: Codes) -> Float32:
        lists = self._lists(codes)
        stored = self._stored_matrix(codes, lists.list_of) if self.residual else self.codec.decode(held(codes))
        docs = np.empty_like(stored)
        docs[lists.ids] = stored
        return docs

    def decode(self, codes: Codes) -> Float32:
        """Return the documents that the bytes stand for, float32 (n, d')."""
        self._check_fitted()
        return self._decode(codes)

    def _doc_matrix(self, codes: Codes) -> Float32:
        if self.residual:
            return self._decode(codes)
        lists = self._lists(codes)
        stored = self.codec._doc_matrix(held(codes))
        docs = np.empty_like(stored)
        docs[lists.ids] = stored
        return docs

    def _blocks(self, codes: Codes) -> Iterator[tuple[int, Float32]]:
        lists = self._lists(codes)
        place, list_of = np.argsort(lists.ids), lists.list_of
        width = self._query_matrix(np.zeros((1, self._query_width()), np.float32)).shape[1]
        for start, stop in row_blocks(codes.n, 4 * width, SEARCHED_BYTES):
            where = place[start:stop]
            yield start, self._stored_matrix(codes.take(where), list_of[where])

    def _find(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, Int64, Int64]:
        indptr = self._lists(codes).indptr
        asked = np.ascontiguousarray(self._query_matrix(queries))
        # by direction: a list whose documents are close together has a longer mean, but no better documents
        _, probed = topk.search(queries, [(0, self._directions())], self.nprobe)
        visited = np.diff(indptr)[probed].sum(axis=1)
        form = self._form(codes)
        self._scored_codes = form is not None
        if form is None:
            return *self._scan_decoded(queries, asked, probed, codes, k), visited
        scores, rows = np.empty((len(asked), k), np.float32), np.empty((len(asked), k), np.int64)
        whole = np.empty(len(asked), np.bool_)
        for start, stop in row_blocks(len(asked), 8 * (k + SPARE)):
            part = slice(start, stop)
            answer = self._scan_lists(form, queries[part], asked[part], probed[part], codes, k)
            scores[part], rows[part], whole[part] = answer
        left = np.flatnonzero(~whole)
        if len(left):
            scores[left], rows[left] = self._scan_decoded(queries[left], asked[left], probed[left], codes, k)
        return scores, rows, visited

    def _directions(self) -> Float32:
        """Return the centroids, scaled to unit length."""
        if "_scaled" not in vars(self):
            self._scaled = unit_rows(self.centroids_)
        scaled: Float32 = self._scaled
        return scaled

    def _form(self, codes: Codes) -> Scored | None:
        """Return how documents are scored by their codes; None where bytes do not say it. That of the last is kept."""
        kept = vars(self).get("_kept_form")
        if kept is None or kept[0]() is not codes:
            rows = None
            if not self.residual:
                rows = self.codec.stored_rows(held(codes))
            elif not self.renormalizes:
                rows = self.codec._decoded_rows(held(codes))
            from methods import code_scan

            scored = None if rows is None else code_scan.Scored.of(rows, codes.rows.get(OWN + "offset"))
            kept = (weakref.ref(codes), scored)
            self._kept_form = kept
        form: Scored | None = kept[1]
        return form

    def _scan_lists(
        self, scored: Scored, queries: Float32, asked: Float32, probed: Int64, codes: Codes, k: int
    ) -> tuple[Float32, Int64, NDArray[np.bool_]]:
        """Return scores and rows (m, k) of what queries find in lists, by codes; and whether it is all, (m,)."""
        from methods import code_scan

        indptr, ids = self._lists(codes)
        centroids = self.centroids_ if self.residual else self.centroids_[:0]
        parts = np.ascontiguousarray(asked[:, : len(scored.form.point)])
        listed, found = code_scan.scan(scored, parts, probed, indptr, queries, centroids, k, SPARE)

        def matrix(places: Int64) -> Float32:
            return self._stored_matrix(codes.take(places), np.searchsorted(indptr, places, side="right") - 1)

        return *topk.decided(matrix, asked, listed, np.maximum(found, 0), k, ids), found >= 0

    def _scan_decoded(
        self, queries: Float32, asked: Float32, probed: Int64, codes: Codes, k: int
    ) -> tuple[Float32, Int64]:
        """Return scores and rows (m, k) of what queries find in lists, each decoded once for all that ask for it."""
        from methods import code_scan, selection

        indptr, ids = self._lists(codes)
        owners = np.repeat(np.arange(len(queries)), probed.shape[1])[np.argsort(probed.ravel(), kind="stable")]
        ends = np.concatenate([[0], np.cumsum(np.bincount(probed.ravel(), minlength=self.lists))])
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), topk.NO_ROW, np.int64)
        # the centroid is the same in a whole list: what it adds to scores is computed once
        apart = self.residual and self._concatenates() and not self.renormalizes
        nothing = np.empty(0, np.float32)
        step = max(1, SEARCHED_BYTES // (4 * asked.shape[1]))
        for number in range(self.lists):
            askers = owners[ends[number] : ends[number + 1]]
            if not len(askers):
                continue
            same = self.centroids_[number] if apart else nothing
            along = queries[askers].astype(np.float64) @ same.astype(np.float64) if apart else None
            for start in range(indptr[number], indptr[number + 1], step):
                stop = min(indptr[number + 1], start + step)
                part, own = codes[start:stop], np.empty((stop - start, 0), np.float32)
                if apart:
                    docs = np.ascontiguousarray(self.codec.decode(held(part)))
                    own = self._offsets(part) if self.offset != "none" else own
                else:
                    docs = np.ascontiguousarray(self._stored_matrix(part, np.full(stop - start, number)))
                rough = asked[askers, : docs.shape[1]] @ docs.T
                longest = selection.longest(docs)
                if along is not None:
                    rough += along[:, None].astype(np.float32)
                    rough += own.sum(axis=1)
                    beside = float(row_lengths(same[None])[0]) ** 2 + float(np.square(own).max(initial=0))
                    longest = np.sqrt(longest**2 + beside)
                margin = topk.rounding_margin(asked[askers], longest)
                _enter(
                    code_scan.enter_some, asked, askers, docs, same, own, ids[start:stop], rough, margin, scores, rows
                )
        scores, rows = topk.ordered(scores, rows, k)
        return scores, np.where(rows == topk.NO_ROW, -1, rows)

    def _forget(self) -> None:
        """Forget what was derived from state and codes."""
        for derived in ("_searched", "_beside", "_scaled", "_kept_form"):
            vars(self).pop(derived, None)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over the state that an object with the same parameters returned from `state`."""
        self._forget()
        return super().load_state(arrays)


def _enter(
    loop: Any,
    asked: Float32,
    askers: Int64,
    docs: Float32,
    same: Float32,
    own: Float32,
    ids: Int64,
    rough: Float32,
    margin: NDArray[np.float64],
    scores: Float32,
    rows: Int64,
) -> None:
    """Let documents enter the heaps of queries, on all threads."""
    over_rows(
        lambda start, stop: loop(
            asked, askers[start:stop], docs, same, own, ids, rough[start:stop], margin[start:stop], scores, rows
        ),
        len(askers),
        topk.QUERIES_PER_THREAD,
    )
