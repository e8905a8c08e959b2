"""Walks over codes beside FAISS's own graphs: seconds of each, and how much memory a search takes.

    python scripts/bench/graph_walk.py --vectors FILE [--documents N] [--queries M] [--codes int8 pq ...]

FILE is a safetensors file of docs and queries (`scripts/studies/index_structures.py --synthetic` writes one). For each
code an HNSW graph is built once, in the codes' own decoded form, and handed to FAISS's HNSW index of the like codes;
both search it with the same list. Speed is a ratio in one process on one thread, of processor time, the median of some
turns in which both take part; recall is of the ten best of an exhaustive search of the same codes. Memory is told by a
process of its own, which loads the two files and searches them: what it grew by, over the bytes that the record counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from harness.evaluation.index_files import read_index, write_index
from harness.evaluation.resources import status_bytes
from methods import HNSW, SVD, Cast, Chain, FaissCodec, PerDimension, RandomRotation, ScaledLevels, TransformCode
from methods.base import Codec, Codes

TOP, M, EF, TURNS = 10, 16, 64, 5
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


def faiss_index(graph: HNSW, codes: Codes, docs: Float32) -> Any:
    """Return FAISS's HNSW index of the like codes with the same links; None where it has none."""
    d, inner, ip = docs.shape[1], graph.codec, faiss.METRIC_INNER_PRODUCT
    if isinstance(inner, FaissCodec) and inner.factory.startswith("PQ"):
        index = faiss.IndexHNSWPQ(d, inner.m, M, inner.bits, ip)
    elif isinstance(inner, FaissCodec | PerDimension):
        four = isinstance(inner, FaissCodec) and inner.factory == "SQ4"
        kind = faiss.ScalarQuantizer.QT_4bit if four else faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexHNSWSQ(d, kind, M, ip)
    elif isinstance(inner, Cast):
        index = faiss.IndexHNSWFlat(d, M, ip)
    else:
        return None
    index.hnsw.efConstruction = 100
    if isinstance(inner, Cast):
        index.add(docs)
    else:
        storage = faiss.downcast_index(index.storage)
        storage.train(docs)
        storage.add(docs)
        if isinstance(inner, FaissCodec) and inner.factory.startswith("PQ"):
            faiss.copy_array_to_vector(faiss.vector_to_array(inner._index.pq.centroids), storage.pq.centroids)
            storage.codes.clear()
            storage.ntotal = 0
            storage.add_sa_codes(np.ascontiguousarray(codes.rows["codec.codes"]))
        built = faiss.IndexHNSWFlat(d, M, ip)
        built.hnsw.efConstruction = 100
        built.add(graph.decode(codes))
        index.hnsw = built.hnsw
        index.ntotal = len(docs)
    index.is_trained = True
    index.hnsw.efSearch = EF
    return index


def recall(rows: NDArray[np.int64], best: NDArray[np.int64]) -> float:
    """Return the mean share of the best rows that were found."""
    return float(np.mean([len(np.intersect1d(one, other)) / TOP for one, other in zip(rows, best, strict=True)]))


def seconds(work: Any) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def growth(folder: Path, name: str, d: int, queries: Path, codes_bytes: float) -> dict[str, float]:
    """Return what a process grew by that loaded an index and searched it, over the bytes counted, and its peak."""
    code = (
        "import sys; from pathlib import Path; sys.argv=['x']; import scripts.bench.graph_walk as own; "
        f"own.measure_growth(Path({str(folder)!r}), {name!r}, {d}, Path({str(queries)!r}))"
    )
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=root)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {key: value / codes_bytes for key, value in found.items()}


def measure_growth(folder: Path, name: str, d: int, vectors: Path) -> None:
    """Print the growth of this process over loading and searching an index, as JSON."""
    queries = load_file(vectors)["queries"][:200]
    status = Path("/proc/self/status")
    # what is imported and compiled is no part of an index
    some = np.random.default_rng(0).standard_normal((2000, d)).astype(np.float32)
    small = HNSW(codec=codec(name, d), M=M).fit(some)
    small.search(some[:300], small.encode(some), TOP)
    del small, some
    _trim()
    before = status_bytes(status, "VmRSS")
    index, codes = read_index(folder, HNSW(codec=codec(name, d), M=M, ef_search=EF))
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


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--codes", nargs="+", default=["float32", "int8", "sq8", "sq4", "pq", "transform_coding", "rabitq"])
    options = parser.parse_args()
    vectors = load_file(options.vectors)
    docs, queries = vectors["docs"][: options.documents], vectors["queries"][: options.queries]
    faiss.omp_set_num_threads(1)
    print(f"{len(docs):,} documents of {docs.shape[1]} dimensions, {len(queries):,} queries, M={M}, a list of {EF}")
    print("| code | scored as | recall | FAISS's | microseconds | FAISS's | ours / FAISS's | resident / counted | peak |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in options.codes:
        graph = HNSW(codec=codec(name, docs.shape[1]), M=M, ef_search=EF).fit(docs)
        codes = graph.encode(docs)
        with graph.searching_all():
            _, best = graph.search(queries, codes, TOP)
        _, rows = graph.search(queries, codes, TOP)
        index = faiss_index(graph, codes, docs)
        turns = []
        for _ in range(TURNS):
            own = seconds(lambda: graph.search(queries, codes, TOP))
            turns.append([own, np.nan if index is None else seconds(lambda: index.search(queries, TOP))])
        own, other = np.median(turns, axis=0) / len(queries) * 1e6
        ratio = np.median([one / two for one, two in turns])
        theirs = np.nan if index is None else recall(index.search(queries, TOP)[1], best)
        with TemporaryDirectory() as folder:
            storage = write_index(Path(folder), graph, codes)
            memory = growth(Path(folder), name, docs.shape[1], options.vectors, storage.codes_file_bytes + storage.state_file_bytes)
        cells = [name, graph.scored_as]
        cells += [f"{recall(rows, best):.3f}", f"{theirs:.3f}", f"{own:.0f}", f"{other:.0f}", f"{ratio:.2f}"]
        cells += [f"{memory['resident']:.3f}", f"{memory['peak']:.3f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
