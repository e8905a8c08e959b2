"""Qdrant Edge: Qdrant's own storage and quantisation in this process (qdrant-client's local mode quantises nothing)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting, folder


def configuration(kind: str, option: str | None, query: str | None) -> Any:
    """Return the quantization_config."""
    import qdrant_edge as edge

    if kind == "scalar":
        quantile = float(option) if option else None
        return edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, quantile=quantile)
    if kind == "binary":
        encoding = getattr(edge.BinaryQuantizationEncoding, option or "OneBit")
        query_encoding = getattr(edge.BinaryQuantizationQueryEncoding, query or "Default")
        return edge.BinaryQuantizationConfig(encoding=encoding, query_encoding=query_encoding)
    if kind == "turbo":
        return edge.TurboQuantQuantizationConfig(bits=getattr(edge.TurboQuantBitSize, option or "Bits4"))
    return edge.ProductQuantizationConfig(compression=getattr(edge.CompressionRatio, option or "X16"))


def answer(
    docs: Float32,
    queries: Float32,
    k: int,
    kind: str,
    option: str | None = None,
    query_encoding: str | None = None,
    rescore: bool | None = None,
) -> Answer:
    """Let the optimiser make one quantised segment, and search it without its graph."""
    import qdrant_edge as edge

    with folder() as place:
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=docs.shape[1], distance=edge.Distance.Cosine),
            quantization_config=configuration(kind, option, query_encoding),
            # a segment below the full-scan threshold is scanned, one above the indexing threshold is quantised
            hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10**9),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1),
            max_search_threads=1,
        )
        shard = edge.EdgeShard.create(str(place), config)
        for start in range(0, len(docs), 1000):
            points = [edge.Point(id=start + i, vector=row.tolist()) for i, row in enumerate(docs[start : start + 1000])]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.flush()
        shard.optimize()
        params = edge.SearchParams(
            hnsw_ef=len(docs), quantization=edge.QuantizationSearchParams(rescore=rescore, oversampling=None)
        )
        ids = []
        for row in queries:
            nearest = edge.Query.Nearest(row.tolist())
            ids.append([hit.id for hit in shard.query(edge.QueryRequest(limit=k, query=nearest, params=params))])
        shard.close()
        size = max(file.stat().st_size for file in place.rglob("quantized.data"))
    return Answer(np.array(ids), size / len(docs))


def setting(
    switch: str,
    preset: str,
    kind: str,
    option: str | None = None,
    query: str | None = None,
    rescore: bool | None = None,
    drawn: bool = False,
) -> Setting:
    """Return the setting of one quantization_config."""
    run = partial(answer, kind=kind, option=option, query_encoding=query, rescore=rescore)
    tier = "first" if rescore is False else "all"
    return Setting(
        store="Qdrant", switch=switch, preset=preset, package="qdrant-edge-py", answer=run, tier=tier, drawn=drawn
    )


SETTINGS = [
    # the quantile is that of 5,000 documents drawn at random
    setting("scalar int8, quantile 0.99", "qdrant_int8", "scalar", "0.99", drawn=True),
    setting("binary one_bit", "qdrant_binary", "binary", "OneBit"),
    setting("binary one_bit, scalar8bits", "qdrant_binary_scalar8", "binary", "OneBit", "Scalar8Bits"),
    setting("binary one_and_half_bits", "qdrant_binary_1_5", "binary", "OneAndHalfBits"),
    setting(
        "binary one_and_half_bits, scalar8bits", "qdrant_binary_1_5_scalar8", "binary", "OneAndHalfBits", "Scalar8Bits"
    ),
    setting("binary two_bits", "qdrant_binary_2", "binary", "TwoBits"),
    setting("binary two_bits, scalar8bits", "qdrant_binary_2_scalar8", "binary", "TwoBits", "Scalar8Bits"),
    setting("turbo bits1", "qdrant_turbo1", "turbo", "Bits1", drawn=True),
    setting("turbo bits1_5", "qdrant_turbo1_5", "turbo", "Bits1_5", drawn=True),
    setting("turbo bits2", "qdrant_turbo2", "turbo", "Bits2", drawn=True),
    setting("turbo bits4", "qdrant_turbo4", "turbo", "Bits4", drawn=True),
    setting("product x16", "qdrant_product_x16", "product", "X16", drawn=True),
    setting("product x32", "qdrant_product_x32", "product", "X32", drawn=True),
    setting("product x64", "qdrant_product_x64", "product", "X64", drawn=True),
]
