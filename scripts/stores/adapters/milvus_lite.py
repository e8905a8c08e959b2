"""Milvus Lite, which hands its indexes to FAISS."""

from __future__ import annotations

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting


def answer(docs: Float32, queries: Float32, k: int) -> Answer:
    """Search all lists of the index that IVF_SQ8 stands for."""
    from milvus_lite.index.faiss_ivf_sq8 import FaissIvfSq8Index

    index = FaissIvfSq8Index.build(docs, "COSINE", {"nlist": 1})
    ids, _ = index.search(queries, k, params={"nprobe": 1})
    return Answer(np.asarray(ids).astype(np.int64), float(docs.shape[1]))


SETTINGS = [
    Setting(store="Milvus Lite", switch="IVF_SQ8, nlist 1", preset="milvus_sq8", package="milvus-lite", answer=answer)
]
