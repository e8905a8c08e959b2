"""Whether the presets for token vectors rank and score as the stores that they are named for, and their bytes.

    pip install -r scripts/stores/requirements.txt
    python scripts/stores/check_multivector.py [--data data/cranfield] [--queries 50] [--only qdrant] [--out FILE]

The token vectors of a collection under `model=minilm_tokens` go into the store and into the preset; both are asked for
the best 10 documents of each query. They agree if overlap@10 is at least 0.99, a document that ties with the preset's
last counting as found, or, where a store draws at random or searches approximately, if both find the same share of the
exact best 10, within 0.015; and if the bytes of a document differ by 2 % at most, where the store's own can be
measured. Of presets that read a short list again, it is the first tier that is compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_module
from numpy.typing import NDArray

from harness.data.datasets.folder import Folder
from harness.data.embedding_cache import embed
from harness.data.models.float16 import cached_as
from harness.data.models.minilm_tokens import MinilmTokens
from harness.runs.config import MethodSpec
from methods.composed.rescore import Rescore
from methods.max_sim import exact_search
from methods.token_vectors import TokenVectors
from scripts.stores.adapters.lancedb import width

K = 10
RANKING, FOUND, BYTES = 0.99, 0.015, 0.02
HEAD = f"""# The presets for token vectors beside the stores

A collection's token vectors in the store and in the preset, both asked for the best {K} of each query. *with ties*:
overlap@{K}, a document that ties with the preset's last counting as found. *found*: the share of the exact best {K}
that the store and the preset find; it is what must agree where a store draws rotations, samples or centroids at random,
or searches approximately. *scores*: the largest relative difference between the two scores of a document that both
found. Bytes a document, ids and lengths aside. Of presets that read a short list again, the first tier.
`scripts/stores/check_multivector.py` makes it.
"""

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """What a store answers.

    Attributes
    ----------
    ids : int64 (m, K)
        -1 where it returned fewer documents.
    scores : float64 (m, K)
        NaN where it says none that can be compared.
    nbytes : float or None
        Of a document.
    note : str
        What else was compared.
    """

    ids: Int64
    scores: NDArray[np.float64]
    nbytes: float | None = None
    note: str = ""


Ask = Callable[[TokenVectors, TokenVectors, Any], Found]


def found(answers: Sequence[Sequence[tuple[int, float]]], nbytes: float | None = None, note: str = "") -> Found:
    """Return lists of (document, score) as arrays."""
    ids, scores = np.full((len(answers), K), -1), np.full((len(answers), K), np.nan)
    for row, answer in enumerate(answers):
        for place, (document, score) in enumerate(answer[:K]):
            ids[row, place], scores[row, place] = document, score
    return Found(ids, scores, nbytes, note)


def qdrant_local(docs: TokenVectors, queries: TokenVectors, codec: Any) -> Found:
    """Ask the client's local mode, which quantises nothing: MaxSim's own semantics."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    config = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    params = models.VectorParams(size=docs.width, distance=models.Distance.COSINE, multivector_config=config)
    client.create_collection("docs", vectors_config=params)
    points = [
        models.PointStruct(id=row, vector=matrix.tolist()) for row, matrix in enumerate(docs.matrices()) if len(matrix)
    ]
    for start in range(0, len(points), 100):
        client.upsert("docs", points[start : start + 100])
    asked = [client.query_points("docs", query=matrix.tolist(), limit=K).points for matrix in queries.matrices()]
    return found([[(point.id, point.score) for point in points] for points in asked])


def qdrant_edge(docs: TokenVectors, queries: TokenVectors, codec: Any, quantization: Callable[[Any], Any]) -> Found:
    """Let Qdrant's own optimiser make one quantised segment, and scan it."""
    import qdrant_edge as edge

    with tempfile.TemporaryDirectory() as name:
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(
                size=docs.width,
                distance=edge.Distance.Cosine,
                multivector_config=edge.MultiVectorConfig(comparator=edge.MultiVectorComparator.MaxSim),
            ),
            quantization_config=quantization(edge),
            # no graph: each of its distances would be a MaxSim of two documents
            hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10**9),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1),
            max_search_threads=1,
        )
        shard = edge.EdgeShard.create(name, config)
        matrices = docs.matrices()
        for start in range(0, len(matrices), 100):
            points = [
                edge.Point(id=start + row, vector=matrix.tolist())
                for row, matrix in enumerate(matrices[start : start + 100])
                if len(matrix)
            ]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.flush()
        shard.optimize()
        params = edge.SearchParams(
            hnsw_ef=len(docs), quantization=edge.QuantizationSearchParams(rescore=False, oversampling=None)
        )
        answers = []
        for matrix in queries.matrices():
            request = edge.QueryRequest(limit=K, query=edge.Query.Nearest(matrix.tolist()), params=params)
            answers.append([(hit.id, hit.score) for hit in shard.query(request)])
        shard.close()
        size = max(file.stat().st_size for file in Path(name).rglob("quantized.data"))
    return found(answers, size / len(docs))


def lancedb(docs: TokenVectors, queries: TokenVectors, codec: Any, sub_vectors: int | None = None) -> Found:
    """Scan a column of lists of vectors, or search an IVF_PQ index of one partition.

    Its distance of a document is the number of the query's vectors less their sum of cosines.
    """
    import lancedb as store
    import lancedb.index
    import pyarrow as pa

    with tempfile.TemporaryDirectory() as name:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(docs.flat().astype(np.float32).ravel()), docs.width)
        lists = pa.ListArray.from_arrays(pa.array((docs.offsets - docs.offsets[0]).astype(np.int32)), flat)
        items = pa.table({"id": np.arange(len(docs)), "tokens": lists})
        table = store.connect(name).create_table("t", items)
        if sub_vectors is not None:
            config = lancedb.index.IvfPq(distance_type="cosine", num_partitions=1, num_sub_vectors=sub_vectors)
            table.create_index("tokens", config=config)
        answers = []
        for matrix in queries.matrices():
            search = table.search(matrix, vector_column_name="tokens").distance_type("cosine")
            # with an index only so many tokens nearest to each of the query's have a say in a document's score
            rows = search.nprobes(1).limit(len(docs)).select(["id", "_distance"]).to_arrow()
            pairs = zip(rows["id"].to_pylist(), rows["_distance"].to_pylist(), strict=True)
            answers.append([(document, len(matrix) - distance) for document, distance in pairs])
        indexes = list(Path(name).rglob("auxiliary.idx"))
        size = width(indexes[0]) if indexes else None
    return found(answers, None if size is None else size * docs.tokens / len(docs))


def milvus(docs: TokenVectors, queries: TokenVectors, codec: Any) -> Found:
    """Ask Milvus Lite for embedding lists: an array of structs with one vector each."""
    from pymilvus import DataType, MilvusClient
    from pymilvus.client.embedding_list import EmbeddingList

    with tempfile.TemporaryDirectory() as name:
        client = MilvusClient(f"{name}/milvus.db")
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        struct = client.create_struct_field_schema()
        struct.add_field("vector", DataType.FLOAT_VECTOR, dim=docs.width)
        schema.add_field(
            "tokens",
            DataType.ARRAY,
            element_type=DataType.STRUCT,
            struct_schema=struct,
            max_capacity=int(docs.counts.max()),
        )
        index = client.prepare_index_params()
        params = {"sq_type": "SQ8"}
        index.add_index("tokens[vector]", index_type="HNSW_SQ", metric_type="MAX_SIM_IP", params=params)
        client.create_collection("docs", schema=schema, index_params=index)
        for row, matrix in enumerate(docs.matrices()):
            client.insert("docs", [{"id": row, "tokens": [{"vector": vector.tolist()} for vector in matrix]}])
        asked = [EmbeddingList(matrix) for matrix in queries.matrices()]
        got = client.search("docs", data=asked, limit=K, anns_field="tokens[vector]")
        client.close()
    return found([[(hit["id"], hit["distance"]) for hit in hits] for hits in got])


def fast_plaid(docs: TokenVectors, queries: TokenVectors, codec: Any) -> Found:
    """Build an index, compare what it decodes with what the preset does by the same codebooks, and search it."""
    import torch
    from fast_plaid.search import FastPlaid

    with tempfile.TemporaryDirectory() as name:
        store = FastPlaid(index=name, device="cpu")
        matrices = [torch.from_numpy(matrix.astype(np.float32)) for matrix in docs.matrices() if len(matrix)]
        store.create(documents_embeddings=matrices, nbits=codec.residual.bits)
        decoded = np.concatenate(
            [tokens.float().numpy() for tokens in store.get_embeddings(list(range(len(matrices))))]
        )
        taught = {
            "centroids_": "centroids",
            "residual.cutoffs_": "bucket_cutoffs",
            "residual.weights_": "bucket_weights",
        }
        state = codec.state()
        for ours, theirs in taught.items():
            state[ours] = np.load(Path(name) / f"{theirs}.npy").astype(state[ours].dtype)
        size = sum(np.load(Path(name) / f"merged_{part}.npy", mmap_mode="r").nbytes for part in ("codes", "residuals"))
        own = codec.load_state(state).decode(codec.encode(docs)).values
        cosine = np.einsum("ij,ij->i", own, decoded) / np.linalg.norm(decoded, axis=1)
        ids = [row for row, count in enumerate(docs.counts) if count]
        asked = [torch.from_numpy(matrix.astype(np.float32)) for matrix in queries.matrices()]
        got = [store.search(queries_embeddings=matrix[None], top_k=K)[0] for matrix in asked]
    near = (cosine > 0.999).mean()
    note = f"by its codebooks {near:.4f} of tokens decode as the preset's (cosine over .999; mean {cosine.mean():.6f})"
    return found([[(ids[document], score) for document, score in answer] for answer in got], size / len(docs), note)


def fastembed(docs: TokenVectors, queries: TokenVectors, codec: Any) -> Found:
    """Rank by the cosine of fastembed's own encodings."""
    from fastembed.postprocess import Muvera

    encoding = codec.transforms[0]
    theirs = Muvera(
        dim=docs.width,
        k_sim=encoding.k_sim,
        dim_proj=encoding.dim_proj,
        r_reps=encoding.repetitions,
        random_seed=encoding.seed,
    )
    # it refuses a document without vectors, whose encoding is nothing here
    stored = np.stack(
        [
            theirs.process_document(matrix.astype(np.float64)) if len(matrix) else np.zeros(theirs.embedding_size)
            for matrix in docs.matrices()
        ]
    )
    asked = np.stack([theirs.process_query(matrix.astype(np.float64)) for matrix in queries.matrices()])
    apart = np.abs(encoding.transform_docs(docs) - stored).max() / np.abs(stored).max()
    unit = stored / np.maximum(np.linalg.norm(stored, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    scores = asked @ unit.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    note = f"encodings differ by at most {apart:.0e} of the largest number"
    return Found(best, np.take_along_axis(scores, best, axis=1), None, note)


@dataclass(frozen=True)
class Row:
    """A preset, what it is compared with, and how near scores must be (relative; None: they are not compared).

    `drawn`: the store draws rotations or centroids, or searches approximately.
    """

    preset: str
    package: str
    ask: Ask
    within: float | None
    note: str
    drawn: bool = False


def scalar(edge: Any) -> Any:
    """Return the configuration of qdrant_multivector_int8."""
    return edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, quantile=0.99)


def binary(edge: Any) -> Any:
    """Return the configuration of qdrant_multivector_binary."""
    return edge.BinaryQuantizationConfig(encoding=edge.BinaryQuantizationEncoding.OneBit)


def turbo(edge: Any) -> Any:
    """Return the configuration of qdrant_multivector_turbo4."""
    return edge.TurboQuantQuantizationConfig(bits=edge.TurboQuantBitSize.Bits4)


def edge_row(preset: str, quantization: Callable[[Any], Any], within: float | None, drawn: bool) -> Row:
    """Return the row of one quantization_config."""

    def ask(docs: TokenVectors, queries: TokenVectors, codec: Any) -> Found:
        return qdrant_edge(docs, queries, codec, quantization)

    return Row(preset, "qdrant-edge-py", ask, within, "", drawn)


def lancedb_pq(docs: TokenVectors, queries: TokenVectors, codec: Any) -> Found:
    """Search LanceDB's index with as many sub-vectors as the preset has."""
    return lancedb(docs, queries, codec, sub_vectors=codec.codec.codec.m)


ROWS = [
    Row("tokens_float32", "qdrant-client", qdrant_local, 1e-4, "local mode: semantics alone"),
    Row("tokens_float32", "lancedb", lancedb, 1e-4, "a scan, without an index"),
    edge_row("qdrant_multivector_int8", scalar, None, drawn=True),
    edge_row("qdrant_multivector_binary", binary, None, drawn=False),
    edge_row("qdrant_multivector_turbo4", turbo, None, drawn=True),
    Row("lancedb_multivector_pq", "lancedb", lancedb_pq, None, "one partition", drawn=True),
    Row("milvus_multivector_sq8", "milvus-lite", milvus, None, ""),
    Row("fast_plaid", "fast-plaid", fast_plaid, None, "its search skips documents", drawn=True),
    Row("qdrant_muvera", "fastembed", fastembed, 1e-4, "the encoding and its cosine"),
]


def made(name: str) -> Any:
    """Return the preset's codec, or its first tier."""
    with initialize_config_module("configs", version_base="1.3"):
        codec = MethodSpec(compose("config", overrides=["~model", "~dataset", f"method={name}"]).method).make()
    return codec.first if isinstance(codec, Rescore) else codec


def line(row: Row, docs: TokenVectors, queries: TokenVectors, exact: Int64) -> list[str]:
    """Ask both, and return the table's row."""
    try:
        installed = version(row.package)
    except PackageNotFoundError:
        return [row.preset, row.package, *[""] * 7, "not installed"]
    codec = made(row.preset)
    codes = codec.fit(docs).encode(docs)
    own = codec.score(queries, codes).astype(np.float64)
    ours = sum(array.nbytes for array in codes.rows.values()) + sum(own.values.nbytes for own in codes.ragged.values())
    try:
        answer = row.ask(docs, queries, codec)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:150].replace("|", "/")
        return [row.preset, row.package, installed, *[""] * 6, f"failed: {reason}"]
    there = answer.ids >= 0
    scores = np.take_along_axis(own, np.where(there, answer.ids, 0), axis=1)
    last = -np.sort(-own, axis=1)[:, K - 1 : K]
    ties = float((there & (scores >= last - 1e-6 * np.abs(last))).sum() / there.size)
    best = np.argsort(-own, axis=1, kind="stable")[:, :K]
    store_found, preset_found = (
        float(np.mean([len({*mine} & {*right}) / K for mine, right in zip(rows, exact, strict=True)]))
        for rows in (answer.ids, best)
    )
    ratio = np.where(there, answer.scores / np.where(scores != 0, scores, np.nan), np.nan)
    apart = float(np.nanmax(np.abs(ratio - 1))) if np.isfinite(ratio).any() else np.nan
    same = ties >= RANKING or (row.drawn and abs(store_found - preset_found) <= FOUND)
    verdict = "as the store" if same and (row.within is None or apart <= row.within) else "differs"
    if answer.nbytes is not None and abs(ours / len(docs) / answer.nbytes - 1) > BYTES:
        verdict = "differs: bytes"
    return [
        row.preset,
        row.package,
        installed,
        f"{ties:.4f}",
        f"{store_found:.3f}",
        f"{preset_found:.3f}",
        f"{apart:.1e}" if row.within is not None else "",
        "" if answer.nbytes is None else f"{answer.nbytes:.1f}",
        f"{ours / len(docs):.1f}",
        "; ".join(part for part in (verdict, answer.note, row.note) if part),
    ]


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="data/cranfield", help="a folder in BEIR's layout")
    parser.add_argument("--queries", type=int, default=50, help="how many of the collection's queries are asked")
    parser.add_argument("--only", help="comma-separated presets or packages")
    parser.add_argument("--cache", default="~/.cache/vecbudget", help="where token vectors are kept")
    parser.add_argument("--out", type=Path, help="a file for the table (stdout)")
    options = parser.parse_args()
    dataset, model = Folder(path=options.data).load(), cached_as(MinilmTokens(), "float16")
    vectors = embed(dataset, model, Path(options.cache).expanduser())
    docs, queries = vectors.docs.float32(), vectors.queries[: options.queries].float32()
    _, exact = exact_search(queries, docs, K)
    names = ["preset", "package", "version", "with ties", "store found", "preset found", "scores"]
    names += ["store: bytes", "preset: bytes", "verdict"]
    lines = [names, ["---"] * 3 + ["---:"] * 6 + ["---"]]
    wanted = options.only.split(",") if options.only else None
    rows = [row for row in ROWS if wanted is None or {row.preset, row.package} & {*wanted}]
    for row in rows:
        lines.append(line(row, docs, queries, exact))
        # an index of a large collection takes minutes
        sys.stderr.write(" | ".join(lines[-1]) + "\n")
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    about = f"{dataset.name}: {len(docs):,} documents, {docs.tokens:,} vectors of {docs.width}, {len(queries)} queries."
    if options.out:
        options.out.write_text(f"{HEAD}\n{about}\n\n{table}\n", encoding="utf-8")
    else:
        sys.stdout.write(f"{about}\n\n{table}\n")


if __name__ == "__main__":
    main()
