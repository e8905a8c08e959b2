"""One thread for training, and several for work that is dealt out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from methods.parallel import allowed

Result = TypeVar("Result")

WAITING = 2
"""Tasks that are ready before a core is free for them."""


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
