"""Intel's SVS, which Redis compresses with. The wheel keeps LVQ and LeanVec for Intel's processors."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from scripts.stores.adapters.base import Answer, CannotRunError, Float32, Setting, folder


def answer(docs: Float32, queries: Float32, k: int, primary: int, residual: int) -> Answer:
    """Scan a flat index where there is one for these bits, else walk a graph over them."""
    import svs

    # the library ends the process elsewhere, so that nothing can be caught
    if "GenuineIntel" not in Path("/proc/cpuinfo").read_text():
        raise CannotRunError("LVQ and LeanVec of the wheel run on Intel processors only")
    with folder() as place:
        svs.write_vecs(docs, str(place / "docs.fvecs"))
        svs.convert_vecs_to_svs(str(place / "docs.fvecs"), str(place / "docs.svs"))
        data = svs.VectorDataLoader(str(place / "docs.svs"), svs.DataType.float32, dims=docs.shape[1])
        loader = svs.LVQLoader(data, primary=primary, residual=residual)
        build = svs.VamanaBuildParameters(graph_max_degree=64, window_size=200, alpha=0.95)
        index = svs.Vamana.build(build, loader, svs.DistanceType.MIP)
        index.search_window_size = len(docs)
        ids, _ = index.search(queries, k)
        index.save(str(place / "config"), str(place / "graph"), str(place / "data"))
        size = max(file.stat().st_size for file in (place / "data").rglob("*") if file.is_file())
    return Answer(np.asarray(ids).astype(np.int64), size / len(docs))


SETTINGS = [
    Setting(
        store="SVS (Redis)",
        switch=switch,
        preset=preset,
        package="scalable-vs",
        answer=partial(answer, primary=primary, residual=residual),
    )
    for switch, preset, primary, residual in (
        ("LVQ8", "redis_svs_lvq8", 8, 0),
        ("LVQ4", "redis_svs_lvq4", 4, 0),
        ("LVQ4x8", "redis_svs_lvq4x8", 4, 8),
    )
]
