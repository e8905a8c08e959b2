"""One thread for training, and several for work that is dealt out: those that the user allows."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")

_HELPING = threading.local()

WAITING = 2
"""Tasks that are ready before a core is free for them."""

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
    if count < 2 or getattr(_HELPING, "now", False):
        work(0, n)
        return
    edges = [n * part // count for part in range(count + 1)]
    (start, stop), *others = itertools.pairwise(edges)
    waiting = [_helpers(os.getpid(), count - 1).submit(_help, work, *other) for other in others]
    try:
        work(start, stop)
    finally:
        # what others do with the caller's arrays must have ended
        wait(waiting)
    for done in waiting:
        done.result()


def _help(work: Callable[[int, int], object], start: int, stop: int) -> None:
    """Do a part of another thread's work; what that deals out in turn, this thread does alone."""
    _HELPING.now = True
    try:
        work(start, stop)
    finally:
        _HELPING.now = False


@functools.lru_cache(maxsize=1)
def _helpers(process: int, count: int) -> ThreadPoolExecutor:
    """Return threads that stay: starting one takes as long as some thousand documents. A forked process has none."""
    return ThreadPoolExecutor(count, thread_name_prefix="over-rows")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and OpenMP use one thread in the body.

    The order in which threads add up changes a sum's last bits, and k-means, residual codebooks and gradient descent
    turn these into other codebooks: with the same seed, SciFact's nDCG@10 under a residual quantiser was .628 on one
    thread and .631 on two.
    """
    with _libraries(len(sys.modules)).limit(limits=1):
        yield


@functools.lru_cache(maxsize=1)
def _libraries(modules: int) -> Any:
    """Return what sets the threads of libraries; looked for anew once more modules, and libraries with them, are there.

    Looking takes as long as a small fit.
    """
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


def on_cores(work: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
    """Yield what `work` returns for each task's arguments, in order, with several at a time on the processor's cores.

    Tasks are made by the caller's thread, a few before a core is free for them.
    """
    workers = allowed()
    if workers == 1:
        for task in tasks:
            yield work(*task)
        return
    with one_thread(), ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            waiting.append(pool.submit(work, *task))
            if len(waiting) > workers + WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
