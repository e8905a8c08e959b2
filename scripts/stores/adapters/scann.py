"""ScaNN without a tree."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from scripts.stores.adapters.base import Answer, Float32, Setting, folder

CODES = ("hashed_dataset.npy", "int8_dataset.npy")


def answer(docs: Float32, queries: Float32, k: int, score: dict[str, Any] | None, reorder: int | None = None) -> Answer:
    """Score everything; the bytes are those in memory: LUT16 packs two codes into one, its file does not."""
    import scann

    builder = scann.scann_ops_pybind.builder(docs, k, "dot_product").set_n_training_threads(1)
    builder = builder.score_brute_force(quantize=True) if score is None else builder.score_ah(2, **score)
    searcher = (builder if reorder is None else builder.reorder(reorder)).build()
    ids, _ = searcher.search_batched(queries)
    with folder() as place:
        searcher.serialize(str(place))
        (codes,) = (np.load(place / name) for name in CODES if (place / name).exists())
    return Answer(np.asarray(ids).astype(np.int64), codes.shape[1] / (1 if score is None else 2))


AVQ = {"anisotropic_quantization_threshold": 0.2}
SETTINGS = [
    Setting(
        store="ScaNN",
        switch=switch,
        preset=preset,
        package="scann",
        tier=tier,
        drawn=score is not None,
        answer=partial(answer, score=score, reorder=reorder),
    )
    for switch, preset, tier, score, reorder in (
        ("score_ah(2)", "scann_ah", "first", {}, None),
        ("score_ah(2), reorder(100)", "scann_ah", "all", {}, 100),
        ("score_ah(2, T=0.2)", "scann_avq", "first", AVQ, None),
        ("score_ah(2, T=0.2), reorder(100)", "scann_avq", "all", AVQ, 100),
        ("brute force, quantize=True", None, "all", None, None),
    )
]
