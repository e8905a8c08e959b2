"""Token vectors like a model's: a direction that all share, topics, repeated words, and texts of all lengths."""

import numpy as np

from methods.token_vectors import TokenVectors, offsets_of


def token_collection(n: int, width: int = 32, tokens: float = 12, seed: int = 0) -> TokenVectors:
    """Unit vectors, about `tokens` of them a document (n, width), at least one."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(777)
    words = shared.standard_normal((400, width)) * np.exp(-np.arange(width) / (width / 2)) + 0.4 * np.ones(width) / 4
    counts = np.clip(rng.lognormal(np.log(tokens), 0.5, n), 1, 6 * tokens).astype(np.int64)
    topics = shared.integers(0, 400, (40, 60))[rng.integers(0, 40, n)]
    owner = np.repeat(np.arange(n), counts)
    drawn = topics[owner, rng.integers(0, 60, len(owner))]
    values = words[drawn] + 0.15 * rng.standard_normal((len(owner), width))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenVectors(values.astype(np.float32), offsets_of(counts))
