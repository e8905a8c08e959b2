"""How many threads work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def cores() -> int:
    """Return how many threads may work: the processor's cores, or fewer where OMP_NUM_THREADS says so."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(there, int(asked))) if asked.isdigit() else there


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and OpenMP use one thread in the body.

    The order in which threads add up changes a sum's last bits, and k-means, residual codebooks and gradient descent
    turn these into other codebooks: with the same seed, SciFact's nDCG@10 under a residual quantiser was .628 on one
    thread and .631 on two.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield
