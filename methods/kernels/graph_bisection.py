"""The order of documents in which postings have small gaps: recursive bisection of the graph of documents and terms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]


@compiled
def bisected(indptr: Array, terms: Array, width: int, rounds: int, leaf: int) -> Array:
    """Return rows (n, V) in an order in which those with terms in common are near, int64 (n,).

    A run of rows is halved, and pairs of rows change sides as long as that makes the logarithms of gaps smaller, in at
    most so many rounds; then each half likewise, down to runs of `leaf` rows.
    """
    n = len(indptr) - 1
    order = np.arange(n)
    logs = np.zeros(n + 2)
    for value in range(1, n + 2):
        logs[value] = np.log2(value)
    held = np.zeros((2, width), np.int64)
    gains = np.zeros(n)
    pending = [(0, n)]
    while len(pending) > 0:
        start, stop = pending.pop()
        if stop - start <= leaf:
            continue
        middle = (start + stop) // 2
        for _ in range(rounds):
            for place in range(start, stop):
                side = 0 if place < middle else 1
                for at in range(indptr[order[place]], indptr[order[place] + 1]):
                    held[side, terms[at]] += 1
            for place in range(start, stop):
                side = 0 if place < middle else 1
                own, other = logs[middle - start], logs[stop - middle]
                if side == 1:
                    own, other = other, own
                gain = 0.0
                for at in range(indptr[order[place]], indptr[order[place] + 1]):
                    here, there = held[side, terms[at]], held[1 - side, terms[at]]
                    gain += here * (own - logs[here + 1]) + there * (other - logs[there + 1])
                    gain -= (here - 1) * (own - logs[here]) + (there + 1) * (other - logs[there + 2])
                gains[place] = gain
            for place in range(start, stop):
                for at in range(indptr[order[place]], indptr[order[place] + 1]):
                    held[0, terms[at]] = 0
                    held[1, terms[at]] = 0
            left = start + np.argsort(-gains[start:middle], kind="mergesort")
            right = middle + np.argsort(-gains[middle:stop], kind="mergesort")
            swapped = 0
            while swapped < min(len(left), len(right)) and gains[left[swapped]] + gains[right[swapped]] > 0:
                one, two = left[swapped], right[swapped]
                order[one], order[two] = order[two], order[one]
                swapped += 1
            if swapped == 0:
                break
        pending.append((start, middle))
        pending.append((middle, stop))
    return order
