"""Lists and graphs over codes beside FAISS's own: bytes, what is found, seconds, and how much memory a search takes.

    python scripts/bench/graph_walk.py --vectors FILE [--documents N] [--queries M] [--codes int8 pq ...] [--lists L]
    python scripts/bench/graph_walk.py --vectors FILE --memory [--documents N] [--codes int8 pq ...]

FILE is a safetensors file of docs and queries (`scripts/studies/index_structures.py --synthetic` writes one). One HNSW
graph is built over the documents, and one set of centroids with --lists; every code lies in both, and FAISS's indexes
are given the same graph, centroids and codebooks, and the same effort. Speed is of processor time on one thread in one
process, the median of turns that both take. Recall is of float32's ten best, and of those of an exhaustive search of
the same codes. Memory is told by a process of its own, which loads the two files and searches them: what it grew by,
and the most that it had meanwhile, over the bytes that the record counts. --memory tells that alone, of a graph whose
links are drawn at random, which takes as much memory and no time to build.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from harness.base.resources import status_bytes
from harness.evaluation.index_files import read_index, write_index
from methods import (
    HNSW,
    SVD,
    Cast,
    Chain,
    FaissCodec,
    InvertedLists,
    PerDimension,
    RandomRotation,
    ScaledLevels,
    TransformCode,
)
from methods.base import Codec, Codes

TOP, M, EF, TURNS = 10, 16, 64, 5
STRUCTURES = ("flat", "lists", "HNSW")
PROBED = 16
"""One in so many lists is read."""
RESIDUAL = {"rabitq"}
"""Codes that FAISS's lists hold of what is left of documents, and so do ours here."""
Float32 = NDArray[np.float32]


def codec(name: str, d: int) -> Codec:
    """Return a codec by its name here."""
    made: dict[str, Any] = {
        "float32": lambda: Cast(dtype="float32"),
        "int8": lambda: PerDimension(bits=8),
        "sq8": lambda: FaissCodec(factory="SQ8"),
        "sq4": lambda: FaissCodec(factory="SQ4"),
        "pq": lambda: FaissCodec(factory="PQ{m}x{bits}np", m=d // 8, bits=8, iterations=8),
        "pq_unit": lambda: FaissCodec(factory="PQ{m}x{bits}np", m=d // 8, bits=8, iterations=8, renormalize=True),
        "transform_coding": lambda: Chain(
            transforms=[SVD(dim=None)], codec=TransformCode(nbytes=d // 8, codebook="joint", renormalize=True)
        ),
        "rabitq": lambda: Chain(
            transforms=[RandomRotation()],
            codec=ScaledLevels(bits=1, levels="uniform", start="clip", scale="unbiased", centre="mean", offset=True),
        ),
    }
    return made[name]()  # type: ignore[no-any-return]


class KeptGraph(HNSW):
    """A graph that is built once for all codes."""

    built: Any = None

    def _built_by_faiss(self, docs: Float32) -> Any:
        if KeptGraph.built is None or KeptGraph.built.ntotal != len(docs):
            KeptGraph.built = super()._built_by_faiss(docs)
        return KeptGraph.built


class RandomGraph(HNSW):
    """Links drawn at random, on one level."""

    def _build(self, docs: Float32) -> dict[str, Any]:
        n, rng = len(docs), np.random.default_rng(0)
        return {
            "index.links": rng.integers(0, n, (n, 2 * self.M), dtype=np.int32),
            "index.upper_links": np.empty((0, self.M), np.int32),
            "index.upper_nodes": np.empty(0, np.min_scalar_type(n)),
            "index.upper_levels": np.empty(0, np.uint8),
            "index.entry": np.zeros(1, np.min_scalar_type(n)),
        }


@dataclass(frozen=True)
class Turned:
    """An index of FAISS that is filled and searched with vectors that a chain's rotation turned."""

    index: Any
    chain: Chain

    def turned(self, vectors: Float32) -> Float32:
        """Return vectors float32 (n, d) in the space of the codes."""
        return np.ascontiguousarray(self.chain.transforms[0].transform_docs(vectors), dtype=np.float32)

    def search(self, queries: Float32, k: int) -> Any:
        """Return scores and rows as FAISS does."""
        return self.index.search(self.turned(queries), k)


def is_rabitq(inner: Codec) -> TypeGuard[Chain]:
    """Return whether a codec is the one of a rotation and signs that FAISS has the like of."""
    return isinstance(inner, Chain) and isinstance(inner.codec, ScaledLevels)


def faiss_flat(inner: Codec, docs: Float32) -> Any:
    """Return FAISS's index of the like codes that compares all of them; None where it has none."""
    d, ip = docs.shape[1], faiss.METRIC_INNER_PRODUCT
    if isinstance(inner, FaissCodec) and inner.factory.startswith("PQ"):
        index = faiss.IndexPQ(d, inner.m, inner.bits, ip)
        faiss.copy_array_to_vector(faiss.vector_to_array(inner._index.pq.centroids), index.pq.centroids)
        index.is_trained = True
    elif isinstance(inner, FaissCodec | PerDimension):
        four = isinstance(inner, FaissCodec) and inner.factory == "SQ4"
        kind = faiss.ScalarQuantizer.QT_4bit if four else faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexScalarQuantizer(d, kind, ip)
        index.train(docs)
    elif is_rabitq(inner):
        index = faiss.IndexRaBitQ(d, ip)
        turned = Turned(index, inner)
        index.train(turned.turned(docs))
        index.add(turned.turned(docs))
        return turned
    else:
        return None
    index.add(docs)
    return index


def faiss_index(inner: Codec, codes: Codes, docs: Float32) -> Any:
    """Return FAISS's HNSW index of the like codes with the same links; None where it has none."""
    d, ip = docs.shape[1], faiss.METRIC_INNER_PRODUCT
    if isinstance(inner, Cast):
        KeptGraph.built.hnsw.efSearch = EF
        return KeptGraph.built
    if isinstance(inner, FaissCodec) and inner.factory.startswith("PQ"):
        index = faiss.IndexHNSWPQ(d, inner.m, M, inner.bits, ip)
        storage = faiss.downcast_index(index.storage)
        faiss.copy_array_to_vector(faiss.vector_to_array(inner._index.pq.centroids), storage.pq.centroids)
        storage.is_trained = True
        storage.add_sa_codes(np.ascontiguousarray(codes.rows["codec.codes"]))
    elif isinstance(inner, FaissCodec | PerDimension):
        four = isinstance(inner, FaissCodec) and inner.factory == "SQ4"
        index = faiss.IndexHNSWSQ(d, faiss.ScalarQuantizer.QT_4bit if four else faiss.ScalarQuantizer.QT_8bit, M, ip)
        storage = faiss.downcast_index(index.storage)
        storage.train(docs)
        storage.add(docs)
    elif is_rabitq(inner):
        # FAISS has it for distances only; of documents of length 1 these put the same first
        index = faiss.IndexHNSWRaBitQ(d, M, 1, faiss.METRIC_L2)
        storage, turned = faiss.downcast_index(index.storage), Turned(index, inner)
        storage.train(turned.turned(docs))
        storage.add(turned.turned(docs))
    else:
        return None
    index.hnsw, index.ntotal, index.is_trained = KeptGraph.built.hnsw, len(docs), True
    index.hnsw.efSearch = EF
    if is_rabitq(inner):
        index.hnsw.is_similarity = False
        return turned
    return index


def faiss_lists(inner: Codec, docs: Float32, centroids: Float32) -> Any:
    """Return FAISS's lists of the like codes with the same centroids; None where it has none."""
    d, ip = docs.shape[1], faiss.METRIC_INNER_PRODUCT
    quantizer = faiss.IndexFlatL2(d)
    quantizer.add(centroids)
    count = len(centroids)
    if isinstance(inner, FaissCodec) and inner.factory.startswith("PQ"):
        index = faiss.IndexIVFPQ(quantizer, d, count, inner.m, inner.bits, ip)
        index.by_residual = False
        faiss.copy_array_to_vector(faiss.vector_to_array(inner._index.pq.centroids), index.pq.centroids)
    elif isinstance(inner, FaissCodec | PerDimension):
        four = isinstance(inner, FaissCodec) and inner.factory == "SQ4"
        kind = faiss.ScalarQuantizer.QT_4bit if four else faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexIVFScalarQuantizer(quantizer, d, count, kind, ip, False)
        index.train(docs)
    elif is_rabitq(inner):
        quantizer.reset()
        index = faiss.IndexIVFRaBitQ(quantizer, d, count, ip)
        turned = Turned(index, inner)
        quantizer.add(turned.turned(centroids))
        index.is_trained = True
        index.nprobe = max(1, count // PROBED)
        index.add(turned.turned(docs))
        return turned
    else:
        return None
    index.is_trained = True
    index.nprobe = max(1, count // PROBED)
    index.add(docs)
    return index


def recall(rows: NDArray[np.int64], least: Float32, score: Callable[[NDArray[np.int64]], Float32]) -> float:
    """Return the mean share of the ten best that were found; what ties with the tenth, float32 (m,), counts."""
    return float(((score(rows) >= least[:, None] - 1e-6) & (rows >= 0)).mean())


def recall_of_codes(made: Codec, queries: Float32, codes: Codes) -> Callable[[NDArray[np.int64]], float]:
    """Return what tells how many of the ten best of an exhaustive search of some codes were found."""
    with made.searching_all() if isinstance(made, InvertedLists) else nullcontext():
        best = made.search(queries, codes, TOP)[0]
    score = partial(products, made.query_matrix(queries), made.doc_matrix(codes))
    return partial(recall, least=best[:, -1], score=score)


def products(asked: Float32, docs: Float32, rows: NDArray[np.int64]) -> Float32:
    """Return the scores of documents found, float32 (m, k)."""
    return np.einsum("qkd,qd->qk", docs[rows], asked)


def seconds(work: Any) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def growth(folder: Path, name: str, d: int, lists: int, queries: Path, codes_bytes: float) -> dict[str, float]:
    """Return what a process grew by that loaded an index and searched it, over the bytes counted, and its peak."""
    code = (
        "import sys; from pathlib import Path; sys.argv=['x']; import scripts.bench.graph_walk as own; "
        f"own.measure_growth(Path({str(folder)!r}), {name!r}, {d}, {lists}, Path({str(queries)!r}))"
    )
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=root)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {key: value / codes_bytes for key, value in found.items()}


def structure(name: str, d: int, lists: int) -> HNSW | InvertedLists:
    """Return a graph over a code, or lists of it if there are any."""
    if lists:
        probed: dict[str, Any] = {"lists": lists, "nprobe": max(1, lists // PROBED), "iterations": 5}
        if name in RESIDUAL:
            # around the centroid, and so around no mean
            signs = ScaledLevels(bits=1, levels="uniform", start="clip", scale="unbiased")
            rest = Chain(transforms=[RandomRotation()], codec=signs)
            return InvertedLists(codec=rest, residual=True, offset="float16", **probed)
        return InvertedLists(codec=codec(name, d), **probed)
    return KeptGraph(codec=codec(name, d), M=M, ef_search=EF, built_on="documents")


def measure_growth(folder: Path, name: str, d: int, lists: int, vectors: Path) -> None:
    """Print the growth of this process over loading and searching an index, as JSON."""
    queries = load_file(vectors)["queries"][:200]
    status = Path("/proc/self/status")
    # what is imported, compiled and read of libraries is no part of an index
    some = np.random.default_rng(0).standard_normal((2000, d)).astype(np.float32)
    small = structure(name, d, min(lists, 20)).fit(some)
    with TemporaryDirectory() as beside:
        write_index(Path(beside), small, small.encode(some))
        small, codes = read_index(Path(beside), structure(name, d, min(lists, 20)))
        small.search(some[:300], codes, TOP)
    del small, codes, some
    KeptGraph.built = None
    _trim()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status_bytes(status, "VmRSS")
    index, codes = read_index(folder, structure(name, d, lists))
    index.search(queries, codes, TOP)
    peak = status_bytes(status, "VmHWM")
    _trim()
    after = status_bytes(status, "VmRSS")
    print(json.dumps({"resident": after - before, "peak": peak - before}))


def _trim() -> None:
    """Let the C library give freed memory back, so that what is resident is in use."""
    import ctypes
    import gc

    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def shared_centroids(lists: InvertedLists, codes: Codec, centroids: Float32) -> InvertedLists:
    """Return lists with centroids that were found before, and a codec that was fitted."""
    state = {f"codec.{name}": array for name, array in codes.state().items()}
    return lists.load_state({**state, "centroids_": centroids, "dim_": np.asarray(centroids.shape[1])})


def print_memory(docs: Float32, options: argparse.Namespace) -> None:
    """Print what a process grows by in searches of graphs over codes."""
    print(f"{len(docs):,} documents of {docs.shape[1]} dimensions, M={M}")
    print("| code | bytes a vector | resident / counted | peak |")
    print("| --- | ---: | ---: | ---: |")
    for name in options.codes:
        made = RandomGraph(codec=codec(name, docs.shape[1]), M=M, built_on="documents").fit(docs[:20_000])
        with TemporaryDirectory() as folder:
            storage = write_index(Path(folder), made, made.encode(docs))
            counted = storage.codes_file_bytes + storage.state_file_bytes
            memory = growth(Path(folder), name, docs.shape[1], 0, options.vectors, counted)
        figures = f"{memory['resident']:.3f} | {memory['peak']:.3f}"
        print(f"| {name} | {counted / len(docs):.1f} | {figures} |", flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--lists", type=int, default=0)
    parser.add_argument("--codes", nargs="+", default=["int8", "sq4", "pq", "transform_coding", "rabitq"])
    parser.add_argument("--structures", nargs="+", choices=STRUCTURES, default=STRUCTURES)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    vectors = load_file(options.vectors)
    docs = np.ascontiguousarray(vectors["docs"][: options.documents])
    queries = np.ascontiguousarray(vectors["queries"][: options.queries])
    d = docs.shape[1]
    faiss.omp_set_num_threads(1)
    if options.memory:
        print_memory(docs, options)
        return
    flat = faiss.IndexFlatIP(d)
    flat.add(docs)
    least = flat.search(queries, TOP)[0][:, -1]
    del flat
    found = partial(recall, least=least, score=partial(products, queries, docs))
    print(f"{len(docs):,} documents of {d} dimensions, {len(queries):,} queries, M={M}, a list of {EF}")
    print(
        "| code | structure | scored as | bytes a vector | found | of the codes' | queries/s | FAISS | its bytes "
        "| it finds | its queries/s | time, ours / FAISS's | resident / counted | peak |"
    )
    print("| --- | --- | --- |" + " ---: |" * 4 + " --- |" + " ---: |" * 6)
    centroids: Float32 | None = None
    for name in options.codes:
        fitted = codec(name, d).fit(docs)
        plain = fitted.encode(docs)
        of_codes = recall_of_codes(fitted, queries, plain)
        chosen = {"flat": -1, "lists": options.lists, "HNSW": 0}
        for lists in [chosen[kind] for kind in options.structures if kind != "lists" or options.lists]:
            made: Codec = fitted if lists < 0 else structure(name, d, lists)
            if isinstance(made, InvertedLists):
                if centroids is None or made.residual:
                    centroids = made.fit(docs).centroids_
                else:
                    made = shared_centroids(made, fitted, centroids)
            elif lists == 0:
                made.fit(docs)
            codes = plain if lists < 0 else made.encode(docs)
            known = of_codes
            if isinstance(made, InvertedLists) and made.residual:
                known = recall_of_codes(made, queries, codes)
            if lists < 0:
                index = faiss_flat(fitted, docs)
            elif isinstance(made, InvertedLists):
                assert centroids is not None
                index = faiss_lists(made.codec, docs, centroids)
            else:
                index = faiss_index(fitted, codes, docs)
            rows = made.search(queries, codes, TOP)[1]
            own_search, their_search = partial(made.search, queries, codes, TOP), None
            if index is not None:
                their_search = partial(index.search, queries, TOP)
            turns = []
            for _ in range(1 if lists < 0 else TURNS):
                turns.append([seconds(own_search), np.nan if their_search is None else seconds(their_search)])
            own, other = len(queries) / np.median(turns, axis=0)
            ratio = np.median([one / two for one, two in turns])
            cells = [name, {-1: "flat", 0: "HNSW"}.get(lists, "lists")]
            cells += ["" if lists < 0 else made.scored_as]  # type: ignore[attr-defined]
            theirs = ["–"] * 5
            if index is not None:
                plain_index = index.index if isinstance(index, Turned) else index
                size = len(faiss.serialize_index(plain_index)) / len(docs)
                finds = found(index.search(queries, TOP)[1])
                theirs = [type(plain_index).__name__, f"{size:.1f}", f"{finds:.3f}", f"{other:,.0f}", f"{ratio:.2f}"]
            del index, their_search
            with TemporaryDirectory() as folder:
                storage = write_index(Path(folder), made, codes)
                counted = storage.codes_file_bytes + storage.state_file_bytes
                memory = growth(Path(folder), name, d, lists, options.vectors, counted) if lists >= 0 else {}
            cells += [f"{counted / len(docs):.1f}", f"{found(rows):.3f}", f"{known(rows):.3f}", f"{own:,.0f}"]
            cells += theirs + [f"{memory[key]:.3f}" if memory else "" for key in ("resident", "peak")]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
