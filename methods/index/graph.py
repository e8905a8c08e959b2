"""Graphs over codes: each document linked with some that are near it, and searches that walk along the links."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import SEARCHED_BYTES, Array, Codes, Float32, MethodError, Ragged, row_blocks, row_lengths
from methods.index.id_lists import Layout, read_lists, write_lists
from methods.index.structure import OWN, IndexStructure, held, put_in
from methods.parallel import over_rows

Int64 = NDArray[np.int64]

QUERIES_PER_THREAD = 8
"""Queries for which a thread of its own is worth its start."""

LinkLayout = Literal["slots", "int32", "packed", "vbyte", "rice", "elias_delta", "elias_fano"]
"""*slots*: the most links that a document may have as int32, used or not, as FAISS and hnswlib lay them out. Others:
those that there are, with their number, see `methods.index.id_lists.Layout`."""


class Links(NamedTuple):
    """Links of some rows: indptr int64 (rows + 1,), neighbours ascending within a row, int64."""

    indptr: Int64
    neighbours: Int64

    @classmethod
    def of_slots(cls, slots: Array) -> Links:
        """Return the links in a table (rows, most), in which -1 is no link."""
        table = np.sort(slots.astype(np.int64), axis=1)
        there = table >= 0
        return cls(np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64), table[there])

    def stored(self, name: str, n: int, most: int, layout: LinkLayout) -> dict[str, Array]:
        """Return the arrays that are written."""
        if layout == "slots":
            table = self.table()
            slots = np.full((len(table), most), -1, np.int32)
            slots[:, : min(most, table.shape[1])] = table[:, :most]
            return {OWN + name: slots}
        lists = write_lists(self.indptr, self.neighbours, n, layout)
        arrays = {"ids": lists.values, "lengths": lists.lengths} if isinstance(lists, Ragged) else lists
        return {f"{OWN}{name}.{key}": array for key, array in arrays.items()}

    def table(self) -> Array:
        """Return the links as int32 (rows, the most that a row has), in which -1 ends a shorter row."""
        degrees = np.diff(self.indptr)
        slots = np.full((len(degrees), max(1, int(degrees.max(initial=0)))), -1, np.int32)
        column = np.arange(len(self.neighbours)) - np.repeat(self.indptr[:-1], degrees)
        slots[np.repeat(np.arange(len(degrees)), degrees), column] = self.neighbours
        return slots

    @classmethod
    def read(cls, shared: dict[str, Array], name: str, n: int, layout: LinkLayout) -> Array:
        """Return the links that were written as int32 (rows, r), in which -1 ends a shorter row.

        Slots are as they lie in the file; other layouts are written out. Raises `MethodError` for links that lead
        nowhere.
        """
        if layout == "slots":
            table = np.ascontiguousarray(shared[OWN + name], dtype=np.int32)
        else:
            ids, lengths = shared[f"{OWN}{name}.ids"], shared[f"{OWN}{name}.lengths"]
            plain: Layout = layout
            stored = {"ids": ids, "lengths": lengths} if layout == "int32" else Ragged(ids, lengths)
            table = cls(*read_lists(stored, n, plain)).table()
        if table.size and not -1 <= table.min() <= table.max() < n:
            raise MethodError(f"a graph of {n} documents has links to others")
        return table


class Walkable(NamedTuple):
    """What a walk reads: documents in a form that `methods.code_scores` scores, and their links."""

    docs: Any
    graph: Any


@dataclass(kw_only=True, eq=False)
class Graph(IndexStructure, ABC):
    """Codes in the order of documents, and links between documents that a search walks along.

    A document is scored by its code. A search reads the best of `ef` documents that it has not read, scores its
    neighbours, and ends when all `ef` are read; it finds no more than these. (FAISS and hnswlib raise ef to the number
    of documents that are asked for; pgvector does not.)

    A walk scores documents one by one, in no order. Codes that say what their bytes stand for (`Codec.stored_rows`) are
    scored as they lie, roughly, and the documents that may be among the best are decoded in the end; so memory holds
    codes and links. Of other codes the documents are decoded once and kept as float32 while the same codes are
    searched, which is more than what is measured as storage: see `scored_as`.

    Parameters
    ----------
    codec : Codec
    links : see `LinkLayout`
    built_on : {"codes", "documents"}
        Whether links join documents that are near each other as their codes stand for them, which is what FAISS does,
        or as they are.
    """

    walks: ClassVar[bool] = True

    links: LinkLayout = "slots"
    built_on: Literal["codes", "documents"] = "codes"

    def _check_effort(self, effort: int) -> None:
        self._require(effort >= 1, f"{self.effort_name} must be at least 1, got {effort}")

    @abstractmethod
    def _build(self, docs: Float32) -> dict[str, Array]:
        """Return the graph of documents (n, d') as arrays for `Codes.shared`."""

    @abstractmethod
    def _read_graph(self, shared: dict[str, Array], n: int) -> Any:
        """Return the graph that `_build` returned as `methods.kernels.graph_walk.LinkTables`."""

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        self.codec.fit(docs, queries, pairs)

    def _encode(self, docs: Float32) -> Codes:
        chunks = [self.codec.encode(docs[start:stop]) for start, stop in row_blocks(len(docs), 4 * docs.shape[1])]
        codes = Codes.concatenate(chunks)
        rows, strings = put_in(codes)
        joined = self.codec._doc_matrix(codes) if self.built_on == "codes" else docs
        shared = self._build(np.ascontiguousarray(joined, dtype=np.float32))
        return Codes(n=len(docs), rows=rows, ragged=strings, shared=shared)

    def decode(self, codes: Codes) -> Float32:
        """Return the documents that the bytes stand for, float32 (n, d')."""
        self._check_fitted()
        return self._decode(codes)

    def _decode(self, codes: Codes) -> Float32:
        return self.codec.decode(held(codes))

    def _doc_matrix(self, codes: Codes) -> Float32:
        return self.codec._doc_matrix(held(codes))

    def _blocks(self, codes: Codes) -> Iterator[tuple[int, Float32]]:
        inner = held(codes)
        width = self._query_matrix(np.zeros((1, self._query_width()), np.float32)).shape[1]
        for start, stop in row_blocks(codes.n, 4 * width, SEARCHED_BYTES):
            yield start, self.codec._doc_matrix(inner[start:stop])

    def _walkable(self, codes: Codes) -> Walkable:
        """Return what a walk needs; that of the last codes is kept."""
        from methods.code_scores import form_of

        kept = vars(self).get("_searched")
        if kept is None or kept[0]() is not codes:
            rows = self.codec.stored_rows(held(codes))
            docs = self._decoded(codes) if rows is None else form_of(rows)
            kept = weakref.ref(codes), Walkable(docs, self._read_graph(dict(codes.shared), codes.n))
            self._searched = kept
        return kept[1]

    def _decoded(self, codes: Codes) -> Any:
        """Return the documents in float32, as `methods.code_scores.Decoded`: the codes, if these are that."""
        from methods import selection
        from methods.code_scores import Decoded

        inner = held(codes)
        one = self.codec._doc_matrix(inner[:1])
        if any(np.shares_memory(one, array) for array in inner.rows.values()):
            docs = np.ascontiguousarray(self.codec._doc_matrix(inner))
        else:
            docs = np.concatenate([block for _, block in self._blocks(codes)])
        return Decoded(docs.ravel(), docs.shape[1], selection.longest(docs))

    def _find(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, Int64, Int64]:
        from methods.code_scores import Decoded
        from methods.kernels import graph_walk

        docs, graph = self._walkable(codes)
        self._scored_codes = not isinstance(docs, Decoded)
        asked = np.ascontiguousarray(self._query_matrix(queries))
        scores, rows = np.empty((len(asked), k), np.float32), np.empty((len(asked), k), np.int64)
        scored = np.empty(len(asked), np.int64)
        ef = min(self.effort, codes.n)
        inner = held(codes)

        def matrix(wanted: Int64) -> Float32:
            return self.codec._doc_matrix(inner.take(wanted))

        for first, last in row_blocks(len(asked), 8 * ef):
            block = slice(first, last)
            listed = np.empty((last - first, ef), np.int64)
            found = np.empty(last - first, np.int64)
            outputs = asked[block], listed, found, scored[block]

            def work(start: int, stop: int, outputs: tuple[Array, ...] = outputs) -> None:
                vectors, *rest = (array[start:stop] for array in outputs)
                graph_walk.search(docs, vectors, graph, ef, k, *rest)

            over_rows(work, last - first, QUERIES_PER_THREAD)
            scores[block], rows[block] = topk.decided(matrix, asked[block], listed, found, k)
        return scores, rows, scored


@dataclass(kw_only=True, eq=False)
class HNSW(Graph):
    """A hierarchy of graphs (Malkov and Yashunin, 2020), which FAISS makes.

    FAISS makes it on one thread: on several it would be another one each time.

    Parameters
    ----------
    M : int
        Links of a document on each level; twice as many on the lowest.
    ef_construction : int
        Documents that are looked at for the links of each.
    ef_search : int
        Length of the list of a search. No part of what is stored.
    """

    M: int = 16
    ef_construction: int = 100
    ef_search: int = 64

    effort_name: ClassVar[str] = "ef_search"

    def _check_parameters(self) -> None:
        self._require_at_least(2, "M")
        self._require_at_least(1, "ef_construction")
        super()._check_parameters()

    def expected_bytes(self, n: int, d: int) -> tuple[float, int]:
        """Return the bytes of slots: a document is above level l with probability M^-(l + 1)."""
        slots = 2 * self.M + self.M / (self.M - 1)
        return 4 * slots + (np.min_scalar_type(n).itemsize + 1) / self.M, 0

    def _built_by_faiss(self, docs: Float32) -> Any:
        """Return FAISS's index of documents (n, d), with its graph."""
        import faiss as untyped

        faiss: Any = untyped
        index = faiss.IndexHNSWFlat(docs.shape[1], self.M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = self.ef_construction
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            index.add(docs)
        finally:
            faiss.omp_set_num_threads(threads)
        return index

    def _build(self, docs: Float32) -> dict[str, Array]:
        import faiss as untyped

        faiss: Any = untyped
        index = self._built_by_faiss(docs)
        hnsw = index.hnsw
        # of each document, one more than its highest level
        heights = faiss.vector_to_array(hnsw.levels).astype(np.int64)
        offsets = faiss.vector_to_array(hnsw.offsets).astype(np.int64)
        neighbours = faiss.vector_to_array(hnsw.neighbors)
        lowest = neighbours[offsets[:-1, None] + np.arange(2 * self.M)]
        nodes = np.flatnonzero(heights > 1)
        above = heights[nodes] - 1
        owner = np.repeat(nodes, above)
        level = np.arange(len(owner)) - np.repeat(np.cumsum(above) - above, above)
        upper = neighbours[(offsets[owner] + 2 * self.M + level * self.M)[:, None] + np.arange(self.M)]
        n = len(docs)
        return {
            **Links.of_slots(lowest).stored("links", n, 2 * self.M, self.links),
            **Links.of_slots(upper).stored("upper_links", n, self.M, self.links),
            OWN + "upper_nodes": nodes.astype(np.min_scalar_type(n)),
            OWN + "upper_levels": above.astype(np.uint8),
            OWN + "entry": np.array([hnsw.entry_point], np.min_scalar_type(n)),
        }

    def _read_graph(self, shared: dict[str, Array], n: int) -> Any:
        from methods.kernels.graph_walk import LinkTables

        lowest, upper = (Links.read(shared, name, n, self.links) for name in ("links", "upper_links"))
        nodes, levels = shared[OWN + "upper_nodes"], shared[OWN + "upper_levels"].astype(np.int64)
        entry = int(shared[OWN + "entry"][0])
        sound = len(nodes) == len(levels) and len(upper) == levels.sum() and len(lowest) == n
        sound = sound and bool(np.all(nodes < n) and np.all(nodes[1:] > nodes[:-1]) and np.all(levels > 0))
        if not (sound and 0 <= entry < n):
            raise MethodError(f"{type(self).__name__}: its levels are not those of {n} documents")
        heights = np.zeros(n, np.uint8)
        heights[nodes] = levels
        level = np.arange(len(upper)) - np.repeat(np.cumsum(levels) - levels, levels) + 1
        # a walk would look for the links of others beyond the arrays
        if np.any((upper >= 0) & (heights[upper] < level[:, None])):
            raise MethodError(f"{type(self).__name__}: links to documents that are not on their level")
        first = (np.cumsum(levels) - levels).astype(np.int32)
        return LinkTables(lowest, nodes.astype(np.int32), first, upper, entry, int(heights[entry]))


@dataclass(kw_only=True, eq=False)
class Vamana(Graph):
    """The graph of DiskANN (Subramanya et al., 2019, algorithms 1 to 3), for Euclidean distances between documents.

    Two passes, the first with alpha = 1, over documents in a random order. The same on every machine. Where documents
    lie in clusters that are far apart, all links of a document are soon to its own, and a walk never leaves the one in
    which it begins; so documents that no walk reaches are then linked from the nearest that one does, as NSG does (Fu,
    Xiang, Wang and Cai, 2019, algorithm 2). DiskANN itself does not: connected=false.

    Parameters
    ----------
    degree : int
        Most links of a document (R).
    alpha : float
        At least 1: how much nearer a kept neighbour must be to make another one superfluous.
    search_list_construction : int
        Length of the list of the searches by which documents are linked (L).
    search_list : int
        Length of the list of a search. No part of what is stored.
    connected : bool
        Keep one link of each document for that.
    links_on_disk : bool
        Whether links are read from disk as a walk meets them, as DiskANN does, and not kept in memory.
    seed : int
    """

    degree: int = 32
    alpha: float = 1.2
    search_list_construction: int = 100
    search_list: int = 64
    connected: bool = True
    links_on_disk: bool = False
    seed: int = 0

    effort_name: ClassVar[str] = "search_list"

    def _check_parameters(self) -> None:
        self._require_at_least(2, "degree")
        self._require_at_least(1, "alpha", "search_list_construction")
        super()._check_parameters()

    def expected_bytes(self, n: int, d: int) -> tuple[float, int]:
        """Return the bytes of slots."""
        return 4.0 * self.degree, 0

    def on_disk(self, names: Iterable[str]) -> set[str]:
        """Return the array names that are read while a search walks, or for a short list, only."""
        names = list(names)
        links = {name for name in names if name.removeprefix("shared.").startswith(OWN + "links")}
        return super().on_disk(names) | (links if self.links_on_disk else set())

    def _build(self, docs: Float32) -> dict[str, Array]:
        from methods.kernels import graph_walk

        n, rng = len(docs), np.random.default_rng(self.seed)
        most = min(self.degree - self.connected, max(1, n - 1))
        squares = row_lengths(docs) ** 2
        middle = docs.mean(axis=0, dtype=np.float64)
        start = int((squares - 2 * (docs @ middle.astype(np.float32))).argmin())
        links, degrees = np.zeros((n, self.degree), np.int32), np.full(n, 0 if n == 1 else most)
        # random links of each, itself left out
        for row in range(n if n > 1 else 0):
            drawn = rng.choice(n - 1, most, replace=False)
            links[row, :most] = drawn + (drawn >= row)
        ef = min(self.search_list_construction, n)
        for alpha in (1.0, self.alpha):
            graph_walk.build_vamana(docs, squares, rng.permutation(n), start, alpha, ef, most, links, degrees)
        if self.connected:
            graph_walk.connect(docs, squares, start, ef, links, degrees)
        table = np.where(np.arange(self.degree) < degrees[:, None], links, -1)
        entry = np.array([start], np.min_scalar_type(n))
        return {**Links.of_slots(table).stored("links", n, self.degree, self.links), OWN + "entry": entry}

    def _read_graph(self, shared: dict[str, Array], n: int) -> Any:
        from methods.kernels.graph_walk import LinkTables

        lowest, entry = Links.read(shared, "links", n, self.links), int(shared[OWN + "entry"][0])
        if len(lowest) != n or not 0 <= entry < n:
            raise MethodError(f"{type(self).__name__}: its links are not those of {n} documents")
        none = np.empty(0, np.int32)
        return LinkTables(lowest, none, none, np.empty((0, 1), np.int32), entry, 0)
