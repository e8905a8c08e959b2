"""Training on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


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
