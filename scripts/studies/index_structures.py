"""Lists and graphs beside FAISS's own, and what their ids and links take in each layout: two tables.

    vecbudget sweep experiment=index dataset=folder dataset.path=DIR model=vectors model.path=FILE results_dir=RUNS
    python scripts/studies/index_structures.py --vectors FILE --runs RUNS --out results/reference/index

FILE is a safetensors file of docs and queries, as `model=vectors` reads it; `--synthetic N FILE` writes one: N
documents of --dimensions in clusters, and 1,000 queries. Ours are the records of the sweep, at the same effort as
FAISS's. FAISS's indexes are trained, filled and searched here, on one thread; bytes are those of the serialised index,
speed is all queries at once in seconds of processor time, the median of three searches.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from harness.analysis.search_effort import FLAT, Searched, searched
from harness.analysis.settings import pages
from harness.runs.frame import load_runs
from harness.runs.store import Store
from methods import HNSW, Cast, InvertedLists
from methods.base import Ragged
from methods.index.graph import Links
from methods.index.id_lists import least_bits, write_lists

TOP = 10
LISTS, NPROBE, M, EF = 128, 8, 16, 64
CODES = {"float32": "Flat", "int8": "SQ8", "pq": "PQ{m}np", "rabitq": "RaBitQ", "transform_coding": None}
"""Ours, and what FAISS calls the like of it."""
RESIDUALS = "lists of residuals"
STRUCTURES = {
    FLAT: ("all", "{code}"),
    "lists": (f"nprobe {NPROBE}", f"IVF{LISTS},{{code}}"),
    RESIDUALS: (f"nprobe {NPROBE}", f"IVF{LISTS},{{code}}"),
    "HNSW": (f"ef_search {EF}", f"HNSW{M},{{code}}"),
}
"""The effort of each, and FAISS's factory string."""
LACKING = {("float32", RESIDUALS), ("rabitq", "lists"), ("rabitq", "HNSW")}
"""What FAISS's factory does not make."""
Int64 = NDArray[np.int64]


def synthetic(n: int, path: Path, d: int = 384) -> None:
    """Write unit vectors in n / 100 clusters, with a decaying spectrum, and 1,000 queries of the same clusters."""
    rng = np.random.default_rng(0)
    spectrum = np.exp(-np.arange(d) / (d / 3))
    centres = rng.standard_normal((max(1, n // 100), d)) * spectrum + 0.3 * spectrum
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]

    def drawn(count: int) -> NDArray[np.float32]:
        rows = (centres[rng.integers(len(centres), size=count)] + rng.standard_normal((count, d)) * spectrum) @ rotation
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    save_file({"docs": drawn(n), "queries": drawn(1000)}, path)


def faiss_figures(
    factory: str, residual: bool, docs: NDArray[np.float32], queries: NDArray[np.float32], least: NDArray[np.float32]
) -> list[float]:
    """Return bytes a document, recall of float32's ten best, and queries a second.

    A document that ties with the tenth best counts as found: FAISS keeps any of those.
    """
    index = faiss.index_factory(docs.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    if hasattr(index, "hnsw"):
        index.hnsw.efConstruction, index.hnsw.efSearch = 100, EF
    if hasattr(index, "by_residual") and not factory.endswith("RaBitQ"):
        index.by_residual = residual
    index.train(docs)
    index.add(docs)
    if hasattr(index, "nprobe"):
        index.nprobe = NPROBE
    _, rows = index.search(queries, TOP)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        index.search(queries, TOP)
        seconds.append(time.process_time() - start)
    true = np.einsum("qkd,qd->qk", docs[rows], queries)
    recall = ((true >= least[:, None] - 1e-6) & (rows >= 0)).mean()
    return [len(faiss.serialize_index(index)) / len(docs), float(recall), len(queries) / float(np.median(seconds))]


def ours(points: list[Searched], code: str, structure: str) -> Searched | None:
    """Return the point of a code in a structure as it comes, at the effort of the table."""
    plain = [
        one
        for one in points
        if one.setting.split()[0] == code
        and one.structure == structure
        and one.effort == STRUCTURES[structure][0]
        and "elias_fano" not in one.setting
    ]
    return min(plain, key=lambda one: one.total_bytes) if plain else None


def side_by_side(points: list[Searched], vectors: dict[str, NDArray[np.float32]]) -> str:
    """Return the table of ours beside FAISS's."""
    docs, queries = vectors["docs"], vectors["queries"]
    flat = faiss.IndexFlatIP(docs.shape[1])
    flat.add(docs)
    least = flat.search(queries, TOP)[0][:, -1]
    lines = [
        "| code | structure | bytes | found, % | queries/s | FAISS | bytes | found, % | queries/s |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for code, named in CODES.items():
        for structure, (_, factory) in STRUCTURES.items():
            own = ours(points, code, structure)
            cells = ["–"] * 3
            if own is not None:
                cells = [f"{own.total_bytes:.1f}", f"{100 * own.found:.1f}", f"{own.queries_per_second:,.0f}"]
            theirs = ["none", *["–"] * 3]
            if own is None and structure == RESIDUALS:
                continue
            if named is not None and (code, structure) not in LACKING:
                name = factory.format(code=named).format(m=docs.shape[1] // 8)
                size, found, speed = faiss_figures(name, structure == RESIDUALS, docs, queries, least)
                theirs = [f"`{name}`", f"{size:.1f}", f"{100 * found:.1f}", f"{speed:,.0f}"]
            lines.append(f"| {' | '.join([code, structure, *cells, *theirs])} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def layouts(docs: NDArray[np.float32]) -> str:
    """Return the table of the bits of an id in lists, and of a link in graphs, in each layout."""
    n = len(docs)
    names = ("int64", "int32", "packed", "vbyte", "elias_delta", "rice", "elias_fano")
    header = f"| what | {' | '.join(names)} | least |"
    lines = [header, "| --- |" + " ---: |" * (len(names) + 1)]

    def row(what: str, indptr: Int64, ids: Int64, least: str, plain: tuple[str, ...]) -> None:
        cells = []
        for name in names:
            if name not in plain and name.startswith("int"):
                cells.append("–")
                continue
            stored = write_lists(indptr, ids, n, name)
            size = stored.nbytes if isinstance(stored, Ragged) else sum(part.nbytes for part in stored.values())
            cells.append(f"{8 * size / len(ids):.2f}")
        lines.append(f"| {what} | {' | '.join(cells)} | {least} |")
        print(lines[-1], flush=True)

    for count in (128, 512, 2048):
        if n < 4 * count:
            continue
        lists = InvertedLists(codec=Cast(dtype="float16"), lists=count, nprobe=1, iterations=4).fit(docs)
        found = lists._lists(lists.encode(docs))
        least = f"{least_bits(np.diff(found.indptr)) / n:.2f}"
        row(f"ids in {count} lists", found.indptr, found.ids, least, ("int64", "int32"))
    graph = HNSW(codec=Cast(dtype="float16"), M=M).fit(docs)
    shared = dict(graph.encode(docs).shared)
    links = Links.read(shared, "links", n, "slots")
    row(f"links of HNSW, M={M}", links.indptr, links.neighbours, "–", ("int32",))
    slots = 8 * shared["index.links"].nbytes / len(links.neighbours)
    lines.append(f"\nIn slots, as FAISS and hnswlib have them, a link of the lowest level takes {slots:.2f} bits.")
    return "\n".join(lines)


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", nargs=2, metavar=("N", "FILE"))
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--name", default="")
    parser.add_argument("--out", type=Path, default=Path("results/reference/index"))
    options = parser.parse_args()
    if options.synthetic:
        synthetic(int(options.synthetic[0]), Path(options.synthetic[1]), options.dimensions)
        return
    vectors = load_file(options.vectors)
    store = Store(options.runs)
    (page,) = pages(load_runs(options.runs))
    faiss.omp_set_num_threads(1)
    n, d = vectors["docs"].shape
    blocks = [
        f"# Lists and graphs beside FAISS's: {options.name or page.title}",
        f"{n:,} documents of {d} dimensions, {len(vectors['queries']):,} queries. Bytes of the whole index, for each "
        f"document of this corpus; found: float32's ten best; {LISTS} lists of which {NPROBE} are read, HNSW with "
        f"M={M} and a list of {EF}; one thread, all queries at once, processor time.",
        side_by_side(searched(page, store.read), vectors),
        "## Bits of an id, and of a link",
        "Lengths of lists counted. Least: log2 of the number of ways to put the documents into lists of these lengths, "
        "which is what random order coding and wavelet trees come near to; no library that is installed here has them.",
        layouts(vectors["docs"]),
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"faiss--{options.name or page.stem}.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
