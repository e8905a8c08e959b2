import multiprocessing
import threading
import time

import numpy as np
import pytest

from methods import parallel


@pytest.fixture(params=[1, 2, 4])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(parallel, "allowed", lambda: request.param)
    return int(request.param)


def test_each_row_is_worked_on_once(threads: int) -> None:
    for n in (0, 1, 2, 3, 7, 100):
        done = np.zeros(n, int)

        def work(start: int, stop: int, done: np.ndarray = done) -> None:
            done[start:stop] += 1

        parallel.over_rows(work, n)
        assert (done == 1).all()


def test_another_thread_is_for_so_many_rows_at_least(threads: int) -> None:
    parts: list[tuple[int, int]] = []
    parallel.over_rows(lambda start, stop: parts.append((start, stop)), 30, least=10)
    assert len(parts) == min(threads, 3) and sum(stop - start for start, stop in parts) == 30


def test_work_that_deals_out_work_comes_to_an_end(threads: int) -> None:
    done = np.zeros((8, 50), int)

    def outer(first: int, last: int) -> None:
        for row in range(first, last):

            def inner(start: int, stop: int, row: int = row) -> None:
                done[row, start:stop] += 1

            parallel.over_rows(inner, 50)

    parallel.over_rows(outer, 8)
    assert (done == 1).all()


def test_an_error_comes_once_nobody_works_any_more(threads: int) -> None:
    ended: list[int] = []

    def work(start: int, stop: int) -> None:
        if start == 0:
            raise ValueError("the first part")
        time.sleep(0.1)
        ended.append(stop - start)

    with pytest.raises(ValueError, match="the first part"):
        parallel.over_rows(work, 8)
    assert sum(ended) == 8 - 8 // threads

    def other(start: int, stop: int) -> None:
        if stop == 8 and start > 0:
            raise ValueError("the last part")

    if threads > 1:
        with pytest.raises(ValueError, match="the last part"):
            parallel.over_rows(other, 8)
    parallel.over_rows(lambda start, stop: None, 8)


def _forked(queue: "multiprocessing.Queue[int]") -> None:
    done = np.zeros(100, int)

    def work(start: int, stop: int) -> None:
        done[start:stop] += 1

    parallel.over_rows(work, 100)
    queue.put(int(done.sum()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "allowed", lambda: 2)
    parallel.over_rows(lambda start, stop: None, 10)
    assert any(thread.name.startswith("over-rows") for thread in threading.enumerate())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_forked, args=(queue,), daemon=True)
    child.start()
    assert queue.get(timeout=60) == 100
    child.join(60)
    assert child.exitcode == 0
