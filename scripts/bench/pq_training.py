"""What training and encoding of product quantisers cost here and in FAISS, in turns in one process on one thread.

    OMP_NUM_THREADS=1 python scripts/bench/pq_training.py --vectors FILE [FILE ...] [--seeds 3]

FILE is safetensors with `docs`. Both start from the same documents. Prints CPU seconds, the mean squared error of the
documents, and how many of the codebooks' numbers are the same to five decimals.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from safetensors.numpy import load_file

from methods.product.faiss_codec import FaissCodec

WIDTHS_AND_BITS = ((8, 8), (4, 4), (16, 8))
"""Dimensions of a part, and bits of its code."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    # compiles the loops
    few = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    warm = FaissCodec(factory="PQ2x4np").fit(few)
    warm.encode(few)
    for path in options.vectors:
        docs = load_file(path)["docs"]
        for width, bits in WIDTHS_AND_BITS:
            m = docs.shape[1] // width
            rows = np.array([_both(docs, m, bits, seed) for seed in range(options.seeds)])
            theirs, ours, same = rows.mean(axis=0)[:3], rows.mean(axis=0)[3:6], rows[:, 6].mean()
            print(
                f"{path.parent.name} {path.stem}, {len(docs):,} x {docs.shape[1]}, m={m} bits={bits}: "
                f"training {theirs[0]:.2f} / {ours[0]:.2f} CPU s ({theirs[0] / ours[0]:.1f} times less), "
                f"encoding {theirs[1]:.3f} / {ours[1]:.3f} ({theirs[1] / ours[1]:.1f}), "
                f"error {theirs[2]:.5f} / {ours[2]:.5f}, {100 * same:.1f} % of the numbers are the same",
                flush=True,
            )


def _both(docs: np.ndarray, m: int, bits: int, seed: int) -> list[float]:
    """Return FAISS's seconds of training and encoding and its error, ours, and the share of equal numbers."""
    index: Any = faiss.index_factory(docs.shape[1], f"PQ{m}x{bits}np", faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.seed, index.pq.cp.min_points_per_centroid = seed, 1
    start = time.process_time()
    index.train(docs)
    trained = time.process_time()
    codes = index.sa_encode(docs)
    encoded = time.process_time()
    found = [trained - start, encoded - trained, _error(docs, index.sa_decode(codes))]
    codec = FaissCodec(factory="PQ{m}x{bits}np", m=m, bits=bits, seed=seed)
    start = time.process_time()
    codec.fit(docs)
    trained = time.process_time()
    own_codes = codec.encode(docs)
    encoded = time.process_time()
    found += [trained - start, encoded - trained, _error(docs, codec.decode(own_codes))]
    own: Any = faiss.deserialize_index(codec.state()["index_"])
    same = np.isclose(faiss.vector_to_array(index.pq.centroids), faiss.vector_to_array(own.pq.centroids), atol=1e-5)
    return [*found, float(same.mean())]


def _error(docs: np.ndarray, decoded: np.ndarray) -> float:
    return float(((docs - decoded) ** 2).sum(axis=1).mean())


if __name__ == "__main__":
    main()
