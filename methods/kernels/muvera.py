"""The compiled loop of fixed dimensional encodings: a document's vectors, put into buckets and averaged or summed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]

NONE, TOKEN, BUCKET = 0, 1, 2
"""What an empty bucket of a document gets: nothing, or the vector of the token, or of the bucket, with the nearest
number (by bits that differ; of equals the first token, or the bucket with the least number and its first token)."""


@compiled
def _differing(one: int, other: int) -> int:
    different, count = one ^ other, 0
    while different:
        count += different & 1
        different >>= 1
    return count


@compiled
def bucket_sums(
    values: Array, buckets: Array, offsets: Array, count: int, means: bool, fill: int, encodings: Array
) -> None:
    """Fill `encodings` (documents, repetitions x buckets x width).

    Parameters
    ----------
    values : float32 (tokens, repetitions or 1, width)
        Projected vectors; with 1, all repetitions have the same.
    buckets : int64 (tokens, repetitions)
    offsets : int64 (documents + 1,)
        Beginning with 0.
    count : int
        Buckets of a repetition.
    means : bool
        Of documents; sums are for queries.
    fill : int
        `NONE`, `TOKEN` or `BUCKET`.
    encodings : float32
    """
    repetitions, width = buckets.shape[1], values.shape[2]
    sums = np.empty((count, width), np.float64)
    sizes = np.empty(count, np.int64)
    first_token = np.empty(count, np.int64)
    for doc in range(len(offsets) - 1):
        start, stop = offsets[doc], offsets[doc + 1]
        if start == stop:
            encodings[doc] = 0
            continue
        for repetition in range(repetitions):
            own = repetition if values.shape[1] > 1 else 0
            sums[:] = 0
            sizes[:] = 0
            for token in range(start, stop):
                bucket = buckets[token, repetition]
                if sizes[bucket] == 0:
                    first_token[bucket] = token
                sizes[bucket] += 1
                for place in range(width):
                    sums[bucket, place] += values[token, own, place]
            for bucket in range(count):
                at = (repetition * count + bucket) * width
                if sizes[bucket]:
                    share = 1.0 / sizes[bucket] if means else 1.0
                    for place in range(width):
                        encodings[doc, at + place] = sums[bucket, place] * share
                    continue
                nearest, least = -1, 64
                # of a bucket's vectors all are as near, so that its first stands for them
                for other in range(count if fill != NONE else 0):
                    if sizes[other]:
                        distance, first = _differing(bucket, other), first_token[other]
                        if distance < least or (fill == TOKEN and distance == least and first < nearest):
                            nearest, least = first, distance
                for place in range(width):
                    encodings[doc, at + place] = values[nearest, own, place] if nearest >= 0 else 0.0


def bucket_sums_reference(
    values: Array, buckets: Array, offsets: Array, count: int, means: bool, fill: int
) -> NDArray[np.float32]:
    """Return what the compiled loop fills in: the definition, in NumPy."""
    repetitions, width = buckets.shape[1], values.shape[2]
    encodings = np.zeros((len(offsets) - 1, repetitions, count, width), np.float32)
    bits = np.array([[bin(one ^ other).count("1") for other in range(count)] for one in range(count)])
    for doc in range(len(offsets) - 1):
        rows = np.arange(offsets[doc], offsets[doc + 1])
        for repetition in range(repetitions) if len(rows) else ():
            vectors = values[rows, repetition if values.shape[1] > 1 else 0].astype(np.float64)
            numbers = buckets[rows, repetition]
            for bucket in range(count):
                own = vectors[numbers == bucket]
                if len(own):
                    encodings[doc, repetition, bucket] = own.mean(axis=0) if means else own.sum(axis=0)
                elif fill == TOKEN:
                    encodings[doc, repetition, bucket] = vectors[np.argmin(bits[bucket, numbers])]
                elif fill == BUCKET:
                    there = np.unique(numbers)
                    nearest = there[np.argmin(bits[bucket, there])]
                    encodings[doc, repetition, bucket] = vectors[np.argmax(numbers == nearest)]
    return encodings.reshape(len(encodings), -1)
