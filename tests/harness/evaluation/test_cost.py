import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import settings
from harness.evaluation import cost
from harness.evaluation import measure as measuring
from harness.evaluation.cost import (
    Costs,
    Line,
    Memory,
    Spread,
    exclusive,
    measure_cost,
    peak_memory,
    repeated,
    single_queries,
    watched,
)
from harness.report import cost_tables
from harness.report.page import page_markdown
from harness.runs.frame import COST_COLUMNS, load_runs
from harness.runs.run import run
from harness.runs.store import Store
from methods import HNSW
from methods.scalar.uniform import PerDimension
from methods.token_vectors import TokenVectors
from tests.conftest import clustered_vectors
from tests.harness.runs.test_run import configuration


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: list[float]) -> object:
        pending = iter(seconds)

        def one() -> str:
            self.now += next(pending)
            return "done"

        return one


def test_a_warm_up_is_not_counted_and_the_spread_is_that_of_the_repeats() -> None:
    clock = Clock()
    spread, result = repeated(clock.work([9, 1, 3, 2]), 3, clock)  # type: ignore[arg-type]
    assert spread == Spread(2, 1, 3, 3)
    assert result == "done"


def test_slow_work_is_done_once() -> None:
    clock = Clock()
    spread, _ = repeated(clock.work([100.0]), 5, clock)  # type: ignore[arg-type]
    assert spread == Spread(100, 100, 100, 1)
    # 25 s to warm up, then two repeats, and no patience for a third
    spread, _ = repeated(clock.work([25, 20, 21, 22]), 5, clock)  # type: ignore[arg-type]
    assert spread == Spread(20.5, 20, 21, 2)


def test_rates_and_agreement() -> None:
    assert Spread(2, 1, 4, 3).per(100) == Spread(50, 25, 100, 3)
    assert Spread(2, 1, 4, 3).over(2) == Spread(1, 0.5, 2, 3)
    assert Spread(2, 1, 3, 3).agrees(Spread(4, 3, 5, 3))
    assert not Spread(2, 1, 3, 3).agrees(Spread(4, 3.5, 5, 3))


def test_a_line_by_hand() -> None:
    line = Line.through([100, 200, 400], [1.2, 2.2, 4.2])
    assert (line.fixed, line.slope) == pytest.approx((0.2, 0.01))
    assert line.at(1_000_000) == pytest.approx(10_000.2)
    # time that falls with size has no negative slope
    assert Line.through([1, 2, 4], [3.0, 2.0, 1.0]).slope == 0


@given(st.floats(1e-6, 1), st.floats(1e-9, 1e-3))
def test_lines_are_found(fixed: float, slope: float) -> None:
    sizes = np.array([1000, 2000, 4000])
    line = Line.through(sizes, fixed + slope * sizes)
    assert line.at(8000) == pytest.approx(fixed + slope * 8000, rel=1e-6)


def test_extrapolation_has_room_for_every_line_through_the_repeats() -> None:
    # medians 2 + n; the flattest line is 2.6 + 0.6 n, the steepest 1.4 + 1.4 n
    sizes = {1: Spread(3, 2.8, 3.2, 5), 2: Spread(4, 3.8, 4.2, 5)}
    found = Costs(by_size={"search": sizes}).extrapolated("search", 100)
    assert (found.median, found.low, found.high) == pytest.approx((102, 62.6, 141.4))
    # a corpus of one document has one size, and a cost that may as well grow with it as not
    alone = Costs(by_size={"search": {4: Spread(2, 1, 3, 5)}}).extrapolated("search", 4)
    assert (alone.median, alone.low, alone.high) == pytest.approx((2, 1, 3))


def test_lists_and_graphs_cost_what_they_score() -> None:
    """By hand: 10 s a document scored; a graph scores 100 more each time there are ten times as many documents."""
    corpora, counts = (100, 1000, 10_000), (200, 300, 400)
    sizes = {n: Spread(10.0 * count, 10.0 * count, 10.0 * count, 3) for n, count in zip(corpora, counts, strict=True)}
    graph = Costs(
        by_size={"search": sizes, "encode": sizes},
        scored=dict(zip(corpora, counts, strict=True)),
        scored_by_logarithm=True,
    )
    assert graph.scored_of(1_000_000) == pytest.approx(600)
    assert graph.extrapolated("search", 1_000_000).median == pytest.approx(6000)
    assert graph.extrapolated("encode", 1_000_000).median > 6000, "all documents are encoded"
    sixteenths = {n: n / 16 for n in corpora}
    lists = Costs(by_size={"search": {n: Spread(n, n, n, 3) for n in corpora}}, scored=sixteenths)
    assert lists.scored_of(1_000_000) == pytest.approx(62_500)
    assert lists.extrapolated("search", 1_000_000).median == pytest.approx(1_000_000)


def test_what_a_graph_scores_is_counted_at_every_size() -> None:
    docs = clustered_vectors(400, 32)
    found = measure_cost(
        lambda: HNSW(codec=PerDimension(bits=8), M=4, ef_search=10), docs, docs[:20], fit_docs=docs, repeats=1, k=10
    )
    assert list(found.scored) == [400, 100, 200] and all(10 <= found.scored[n] < n for n in found.scored)
    record = found.as_record(400, 20, 32.0, 256)["extrapolated"]
    assert "a search scores" in record["from"] and "exhaustive" not in record["from"]
    assert record["sizes"]["100000000"]["scored_per_query"] < 400


def test_extrapolation_is_less_sure_where_times_lie_on_no_line() -> None:
    # the line through the origin and (2, 2) is 2/3 too high at 1 and right at 2: least squares of relative errors give
    # a slope of (1/0.6 + 1) / (1/0.36 + 1), and nothing fixed as the times grow faster than the sizes
    sizes = {1: Spread(0.6, 0.6, 0.6, 1), 2: Spread(2, 2, 2, 1)}
    slope = (1 / 0.6 + 1) / (1 / 0.36 + 1)
    found = Costs(by_size={"search": sizes}).extrapolated("search", 100)
    assert found.median == pytest.approx(100 * slope)
    off = max(abs(slope / 0.6 - 1), abs(2 * slope / 2 - 1))
    assert (found.low, found.high) == pytest.approx((100 * slope * (1 - off), 100 * slope * (1 + off)))


def test_percentiles_of_single_queries_have_the_spread_of_the_passes() -> None:
    clock, queries = Clock(), np.zeros((2, 4), np.float32)
    # the first is a warm-up; then three passes over two queries
    work = clock.work([9, 1, 1, 3, 3, 2, 2])
    found, asked = single_queries(lambda row: work(), queries, 3, clock)  # type: ignore[operator]
    assert asked == 2
    assert found == {name: Spread(2000, 1000, 3000, 3) for name in ("p50", "p95", "p99")}


def test_queries_of_many_vectors_are_asked_one_at_a_time() -> None:
    queries, asked = TokenVectors.of([np.full((count, 2), count, np.float32) for count in (3, 1, 2)]), []

    def find(query: TokenVectors) -> None:
        asked.append((len(query), query.tokens))

    single_queries(find, queries, 1)  # type: ignore[arg-type]
    assert asked == [(1, 3), (1, 3), (1, 1), (1, 2)], "the first is a warm-up"


def test_slow_single_queries_are_cut_short() -> None:
    clock, queries = Clock(), np.zeros((200, 4), np.float32)
    work = clock.work([25.0] * 5)
    found, asked = single_queries(lambda row: work(), queries, 5, clock)  # type: ignore[operator]
    assert asked == 3
    assert found["p99"] == Spread(25_000, 25_000, 25_000, 1)


@pytest.mark.parametrize(("others", "disturbed"), [(0.0, False), (0.05, False), (0.15, True), (1.0, True)])
def test_what_other_processes_do_marks_the_figures(
    monkeypatch: pytest.MonkeyPatch, others: float, disturbed: bool
) -> None:
    clock = Clock()
    monkeypatch.setattr("harness.evaluation.cost.time.perf_counter", clock)
    monkeypatch.setattr("harness.evaluation.cost._own_seconds", lambda: 2 * clock())
    monkeypatch.setattr("harness.evaluation.cost._busy_seconds", lambda: (2 + others) * clock())
    costs = Costs()
    with watched(costs, "search"):
        clock.now += 10
    assert costs.load["search"].others == pytest.approx(others)
    assert costs.disturbed == disturbed
    # in so short a time nobody can tell
    with watched(costs, "search"):
        clock.now += 0.1
    assert costs.load["search"].others is None


def test_results_of_repeats_do_not_add_up_in_memory() -> None:
    memory = Memory()
    with peak_memory(memory):
        repeated(lambda: np.ones(200_000_000 // 8), 3)
    assert memory.peak - memory.before == pytest.approx(200e6, rel=0.2)


def test_the_peak_of_a_stage_is_its_own() -> None:
    first, second = Memory(), Memory()
    with peak_memory(first):
        block = np.ones(200_000_000 // 8)
        block += 1
        del block
    with peak_memory(second):
        pass
    assert first.peak - first.before == pytest.approx(200e6, rel=0.2)
    assert second.peak - second.before < 20e6
    assert first.method == second.method != ""


def test_looking_every_few_milliseconds_finds_the_peak_too() -> None:
    memory = Memory()
    with cost.peak_while(memory):
        block = np.ones(200_000_000 // 8)
        time.sleep(0.05)
        del block
    assert memory.peak - memory.before == pytest.approx(200e6, rel=0.2)


def test_only_one_process_measures_at_a_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = f"""
import time
from pathlib import Path
from harness.evaluation.cost import exclusive
with exclusive(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(1.0)
    Path({str(tmp_path / "released")!r}).touch()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with caplog.at_level("INFO"), exclusive(tmp_path):
            assert (tmp_path / "released").exists()
    assert "waiting for it" in caplog.text


def test_a_run_does_nothing_while_another_measures(
    small_collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []

    @contextlib.contextmanager
    def lock(folder: Path) -> Iterator[None]:
        held.append("held")
        yield
        held.append("released")

    def noted(*args: object, **kwargs: object) -> object:
        held.append("quality")
        return measure(*args, **kwargs)  # type: ignore[arg-type]

    measure = measuring.measure
    monkeypatch.setattr("harness.evaluation.cost.exclusive", lock)
    monkeypatch.setattr("harness.evaluation.measure.measure", noted)
    run(configuration(small_collection, tmp_path, "method=int8", "measure.cost=true", "measure.repeats=1"), "int8")
    assert held == ["held", "quality", "released"]
    run(configuration(small_collection, tmp_path, "method=binary"), "binary")
    assert held[3:] == ["quality"], "a run that measures no cost waits for nobody"


def test_every_stage_is_measured() -> None:
    docs = clustered_vectors(400, 32)
    found = measure_cost(lambda: PerDimension(bits=8), docs, docs[:20], fit_docs=docs, repeats=2, k=10)
    assert set(found.seconds) == set(found.memory) == {"fit", "encode", "load", "search"}
    assert set(found.load) == {"fit", "encode", "load", "search", "single", "sizes", "all"}
    assert all(0 < spread.low <= spread.median <= spread.high for spread in found.seconds.values())
    assert list(found.by_size["search"]) == [100, 200, 400]
    assert found.by_size["encode"][400] == found.seconds["encode"]
    assert found.loadavg is not None and len(found.loadavg) == 3
    assert found.single_queries == 20 and found.single_ms["p50"].repeats == 2
    assert found.single_ms["p50"].median <= found.single_ms["p95"].median <= found.single_ms["p99"].median
    record = found.as_record(400, 20, 32.0, 256)
    assert record["extrapolated"]["sizes"]["1000000"]["index_bytes"] == 32e6 + 256
    assert record["docs_per_second"]["median"] == pytest.approx(400 / found.seconds["encode"].median)


def test_a_run_that_did_not_measure_cost_is_due_again(small_collection: Path, tmp_path: Path) -> None:
    plain = run(configuration(small_collection, tmp_path, "method=int8"), "int8")
    assert Store(tmp_path).read(plain).cost is None
    frame = load_runs(tmp_path)
    assert frame[list(COST_COLUMNS)].isna().all(axis=None)
    (page,) = settings.pages(frame)
    assert not cost_tables.has_costs(page)
    asked = configuration(small_collection, tmp_path, "method=int8", "measure.cost=true", "measure.repeats=2")
    assert run(asked, "int8") == plain
    record = Store(tmp_path).read(plain)
    assert record.cost is not None and record.cost["seconds"]["search"]["repeats"] == 2
    again = configuration(small_collection, tmp_path, "method=int8")
    run(again, "int8")
    assert Store(tmp_path).read(plain).created == record.created, "what has cost serves those who do not ask"
    frame = load_runs(tmp_path)
    assert frame["queries_per_second_low"][0] <= frame["queries_per_second"][0] <= frame["queries_per_second_high"][0]
    assert frame["query_ms_p99_low"][0] <= frame["query_ms_p99"][0] <= frame["query_ms_p99_high"][0]
    assert record.cost["single_query_ms"]["p50"]["repeats"] == 2
    (page,) = settings.pages(frame)
    text = page_markdown(page, None, "vecbudget report")
    assert "## Cost" in text and "| int8 |" in text.partition("### On larger corpora")[2]
    assert "extrapolated, not measured" in text


@pytest.mark.slow
def test_two_measurements_on_a_quiet_machine_agree() -> None:
    docs = clustered_vectors(20_000, 128)
    first, second = (
        measure_cost(lambda: PerDimension(bits=8), docs, docs[:200], fit_docs=docs, repeats=9) for _ in range(2)
    )
    if first.disturbed or second.disturbed:
        pytest.skip("other processes are busy on this machine")
    assert all(first.seconds[stage].agrees(second.seconds[stage]) for stage in cost.STAGES)
    assert all(first.single_ms[name].agrees(second.single_ms[name]) for name in ("p50", "p95"))
    assert first.extrapolated("search", 1_000_000).agrees(second.extrapolated("search", 1_000_000))
