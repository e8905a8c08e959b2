"""Time exact search of token vectors and of codes, beside a plain path in the same process.

The plain path multiplies a block of documents by all queries in float32 and takes the largest of each document with
`numpy.maximum.reduceat`. CPU seconds of all threads are given too: on a busy machine they say more than the clock.

    python scripts/bench/token_search.py --docs 500 --tokens 250 --queries 300
    python scripts/bench/token_search.py --cache FILE.safetensors --bits 2
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from methods import max_sim
from methods.multivector.residual_codec import ResidualTokens
from methods.scalar.pooled_quantiles import PooledQuantiles
from methods.token_vectors import TokenVectors, offsets_of


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Run and print seconds by the clock and of the processor."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds, busy = time.perf_counter() - clock, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(f"{name:28s} {seconds:8.2f} s  {busy:8.2f} s of the processor  {peak:5.2f} GiB at most so far")
    return result


def made_up(rng: np.random.Generator, counts: Any, width: int) -> TokenVectors:
    """Return unit vectors that share a direction, as tokens do."""
    offsets = offsets_of(counts)
    values = rng.standard_normal((offsets[-1], width), dtype=np.float32)
    values[:, 0] += 8
    # without a second copy, which would be the peak of all that follows
    values /= np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
    return TokenVectors(values, offsets)


def plain(queries: TokenVectors, docs: TokenVectors, k: int) -> Any:
    """Return the best k documents of each query by float32 products."""
    scores = np.empty((len(docs), len(queries)), np.float32)
    for first, block in docs.blocks():
        own = block.float32()
        largest = np.maximum.reduceat(own.values @ queries.values.T, own.offsets[:-1], axis=0)
        scores[first : first + len(own)] = np.add.reduceat(largest, queries.offsets[:-1], axis=1)
    return np.argsort(-scores, axis=0, kind="stable")[:k].T


def main() -> None:
    """Time one collection."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", help="a file of cached token vectors, instead of made-up ones")
    parser.add_argument("--docs", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=250)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--query-tokens", type=int, default=20)
    parser.add_argument("--bits", type=int, default=2)
    parser.add_argument("--skip-plain", action="store_true")
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    queries = made_up(rng, np.full(asked.queries, asked.query_tokens), asked.width)
    if asked.cache:
        arrays = load_file(asked.cache)
        docs = TokenVectors(arrays["values"], arrays["offsets"].astype(np.int64))
    else:
        docs = made_up(rng, np.full(asked.docs, asked.tokens), asked.width)
    print(f"{len(docs)} documents, {docs.tokens} tokens; {len(queries)} queries, {queries.tokens} tokens")
    max_sim.exact_search(queries, docs[:2], 1)  # compiles
    if not asked.skip_plain:
        timed("plain float32", lambda: plain(queries, docs, 100))
    timed("exact search", lambda: max_sim.exact_search(queries, docs, 100))
    codec = ResidualTokens(residual=PooledQuantiles(bits=asked.bits))
    timed("fit", lambda: codec.fit(docs))
    codes = timed("encode", lambda: codec.encode(docs))
    # what is decoded is not kept: it would be the peak
    timed("decode", lambda: sum(len(codec.decode(codes[i : i + 16])) for i in range(0, len(docs), 16)))
    timed("exact search of codes", lambda: codec.search(queries, codes, 100))


if __name__ == "__main__":
    main()
