"""FAISS, which Milvus and OpenSearch's older engine compress with."""

from __future__ import annotations

from functools import partial

from scripts.stores.adapters.base import Answer, Float32, Setting, slope


def answer(docs: Float32, queries: Float32, k: int, factory: str) -> Answer:
    """Scan the index, all lists of it."""
    import faiss

    def made(rows: Float32) -> faiss.Index:
        index = faiss.index_factory(docs.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(docs)
        index.add(rows)
        if "IVF" in factory:
            lists = faiss.downcast_index(faiss.extract_index_ivf(index))
            lists.nprobe = lists.nlist
            if isinstance(lists, faiss.IndexIVFRaBitQ):
                lists.qb = 0  # a float query, as in Milvus; FAISS's own default rounds it
        return index

    index = made(docs)
    ids = 8 if "IVF" in factory else 0
    return Answer(index.search(queries, k)[1], slope(lambda rows: len(faiss.serialize_index(made(rows))), docs) - ids)


def setting(store: str, switch: str, preset: str, factory: str, drawn: bool = False) -> Setting:
    """Return the setting of one factory string."""
    run = partial(answer, factory=factory)
    return Setting(
        store=store, switch=f"{switch}: {factory}", preset=preset, package="faiss-cpu", answer=run, drawn=drawn
    )


SETTINGS = [
    setting("FAISS (Milvus)", "HNSW_SQ SQ8", "milvus_sq8", "SQ8"),
    setting("FAISS (Milvus)", "HNSW_SQ SQ6", "milvus_sq6", "SQ6"),
    setting("FAISS (Milvus)", "HNSW_SQ BF16", "milvus_bf16", "SQbf16"),
    setting("FAISS (OpenSearch)", "fp16", "opensearch_fp16", "SQfp16"),
    setting("FAISS (Milvus)", "IVF_RABITQ", "milvus_ivf_rabitq", "RR,IVF128,RaBitQ", drawn=True),
]
