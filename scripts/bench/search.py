"""Queries per second of every method, side by side with FAISS on the same codes where FAISS can search them.

    python scripts/bench/search.py [--docs 100000] [--dim 384] [--queries 300] [--methods int8,pq,...] [--threads 1]

Vectors are made (clusters, decaying spectrum). Methods are fitted on a sample; what is timed is the search for the top
100 over all codes, best of three, after one warm-up. FAISS's index is of the kind that ours searches (IndexPQFastScan
for kernel=fast_scan; IndexRaBitQ for signs) and holds its codes beforehand; ours takes them anew in each call, as every
search does. The last column is ours over FAISS's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from hydra import compose, initialize_config_module
from threadpoolctl import threadpool_limits

from harness.evaluation.index_build import encode
from harness.runs.catalogue import members, method_card
from harness.runs.config import MethodSpec
from methods.base import Codec, Codes
from methods.binary.sign import Sign
from methods.composed.chain import Chain
from methods.product.faiss_codec import FaissCodec
from methods.scalar.cast import Cast
from methods.transform_coding.transform_code import TransformCode
from vecbudget.faiss_pq import arrange, index_pq

CHUNK = 100_000


def vectors(n: int, d: int, seed: int | tuple[int, int]) -> np.ndarray:
    rng, shared = np.random.default_rng(seed), np.random.default_rng(12345)
    spectrum = np.exp(-np.arange(d) / (d / 3))
    centres = shared.standard_normal((2000, d)) * spectrum
    made = centres[rng.integers(2000, size=n)] + 0.8 * rng.standard_normal((n, d)) * spectrum
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def best_of(run: Callable[[], Any], repeats: int = 3) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def faiss_twin(codec: Codec, codes: Codes, docs: np.ndarray) -> Callable[[np.ndarray], Any] | None:
    """Return the search of the plain FAISS index over the same codes (or the same float32 vectors), if there is one."""
    if isinstance(codec, FaissCodec):
        index = faiss.deserialize_index(codec.state()["index_"])
        index.add_sa_codes(np.ascontiguousarray(codes.array))
        if codec.kernel == "fast_scan":
            # the same codes, laid out for the other kernel
            index = faiss.IndexPQFastScan(index)
        return lambda queries: index.search(queries, 100)
    if isinstance(codec, Chain) and isinstance(codec.codec, TransformCode):
        # the same codes as a product quantizer, whose ranking leaves the documents' lengths in
        index, columns = index_pq(codec.codec, codes)
        transform = codec.transforms[0]
        return lambda queries: index.search(arrange(transform.transform_queries(queries), columns), 100)
    if isinstance(codec, Sign) and codec.scoring == "asymmetric":
        # as many bits, and the two numbers of each document that RaBitQ has beside them; queries of 4 bits, its default
        signs = faiss.IndexRaBitQ(docs.shape[1], faiss.METRIC_INNER_PRODUCT)
        signs.train(docs[:10_000])
        signs.add(docs)
        return lambda queries: signs.search(queries, 100)
    if isinstance(codec, Cast) and codec.dtype == "float32":
        index = faiss.IndexFlatIP(docs.shape[1])
        index.add(docs)
        return lambda queries: index.search(queries, 100)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--sample", type=int, default=5_000, help="documents that methods are fitted on")
    parser.add_argument("--methods", help="comma-separated names (all)")
    parser.add_argument("--threads", type=int, help="of FAISS and of BLAS (all cores)")
    options = parser.parse_args()
    if options.threads:
        faiss.omp_set_num_threads(options.threads)
        threadpool_limits(options.threads)
    every = [name for name, entry in members("method").items() if "takes" not in method_card(entry)]
    names = options.methods.split(",") if options.methods else every
    chunks = range(0, options.docs, CHUNK)
    docs = np.concatenate([vectors(min(CHUNK, options.docs - at), options.dim, (0, at)) for at in chunks])
    queries = vectors(options.queries, options.dim, 1)
    print(f"{options.docs} documents, {options.dim} dimensions, {options.queries} queries, top 100")
    print(f"{'method':24s} {'B/vector':>9s} {'encode/s':>10s} {'queries/s':>10s} {'FAISS':>10s} {'ratio':>6s}")
    for name in names:
        with initialize_config_module("configs", version_base="1.3"):
            cfg = compose("config", overrides=["~model", "~dataset", f"method={name}"])
        spec = MethodSpec(cfg.method)
        try:
            codec = spec.make().fit(docs[: options.sample], queries)
            if not codec.row_wise:
                print(f"{name:24s} encodes a corpus as a whole: left out")
                continue
            start = time.perf_counter()
            codes = encode(codec, docs, 16384)
            encoding = time.perf_counter() - start
            ours = best_of(lambda codec=codec, codes=codes: codec.search(queries, codes, 100))
        except (ValueError, RuntimeError) as error:
            print(f"{name:24s} {error}")
            continue
        line = f"{name:24s} {codes.nbytes / len(docs):9.1f} {len(docs) / encoding:10.0f} {len(queries) / ours:10.0f}"
        twin = faiss_twin(codec, codes, docs)
        if twin is not None:
            theirs = best_of(lambda twin=twin: twin(queries))
            line += f" {len(queries) / theirs:10.0f} {theirs / ours:6.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
