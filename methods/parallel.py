"""Compiled loops over rows on all the threads that the user allows."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

LIMITS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables whose least value caps the threads of `over_rows`."""


def allowed() -> int:
    """Return how many threads compiled loops may use: the process's cores, or fewer where `LIMITS` say so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [int(value) for name in LIMITS if (value := os.environ.get(name, "")).isdecimal() and int(value)]
    return min([cores, *limits])


def over_rows(work: Callable[[int, int], object], n: int, least: int = 1) -> None:
    """Call `work(start, stop)` for runs that together are all `n` rows, on all threads.

    `work` calls loops of `methods.compiling`, which let go of the interpreter. Each row is one thread's affair, so that
    the number of threads changes nothing.

    Parameters
    ----------
    work : callable
    n : int
    least : int
        Rows below which another thread is not worth its start.
    """
    count = min(allowed(), n // max(1, least))
    if count < 2:
        work(0, n)
        return
    edges = [n * part // count for part in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work, start, stop) for start, stop in itertools.pairwise(edges)]:
            done.result()
