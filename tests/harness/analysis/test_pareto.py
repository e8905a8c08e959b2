import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.pareto import (
    best_of_methods,
    best_within,
    frontier,
    hypervolume,
    quality_column,
    smallest_keeping,
)

UNTIMED = settings(deadline=None)

# Few distinct values, so that ties, duplicates, NaN and infinities are common.
COORDINATES = st.one_of(
    st.sampled_from([float("nan"), float("inf"), float("-inf"), -0.0, 0.0]),
    st.integers(-3, 6).map(float),
    st.floats(-10, 10),
)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), max_size=25)


def columns(points: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(points, dtype=float).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and (a[0] < b[0] or a[1] > b[1])


@UNTIMED
@given(POINTS)
def test_frontier_is_what_the_definition_says(points: list[tuple[float, float]]) -> None:
    known = [point for point in points if not np.isnan(point).any()]
    expected = [not np.isnan(point).any() and not any(dominates(other, point) for other in known) for point in points]
    assert frontier(*columns(points)).tolist() == expected


@UNTIMED
@given(POINTS)
def test_no_frontier_point_is_dominated_and_every_other_known_point_is(
    points: list[tuple[float, float]],
) -> None:
    on = frontier(*columns(points))
    chosen = [point for point, kept in zip(points, on, strict=True) if kept]
    assert not any(dominates(a, b) for a in chosen for b in chosen)
    for point, kept in zip(points, on, strict=True):
        if not kept and not np.isnan(point).any():
            assert any(dominates(other, point) for other in chosen)


@UNTIMED
@given(POINTS, st.randoms(use_true_random=False))
def test_frontier_does_not_depend_on_the_order(points: list[tuple[float, float]], random) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    shuffled = frontier(*columns([points[index] for index in order]))
    assert shuffled.tolist() == frontier(*columns(points))[order].tolist()


@UNTIMED
@given(POINTS)
def test_frontier_of_the_frontier_is_itself(points: list[tuple[float, float]]) -> None:
    cost, quality = columns(points)
    on = frontier(cost, quality)
    assert frontier(cost[on], quality[on]).all()


@UNTIMED
@given(POINTS)
def test_frontier_is_ascending_in_both(points: list[tuple[float, float]]) -> None:
    cost, quality = columns(points)
    on = frontier(cost, quality)
    order = np.argsort(cost[on], kind="stable")
    assert (quality[on][order][1:] >= quality[on][order][:-1]).all()


def test_copies_of_a_frontier_point_are_all_on_it() -> None:
    assert frontier([48, 48, 48, 96], [0.6, 0.6, 0.5, 0.6]).tolist() == [True, True, False, False]


def test_frontier_without_points() -> None:
    assert frontier([], []).tolist() == []
    assert frontier([np.nan], [1.0]).tolist() == [False]


@pytest.mark.parametrize(("cost", "quality"), [([1, 2], [1]), ([[1]], [[1]])])
def test_frontier_refuses_what_is_not_paired(cost: list, quality: list) -> None:
    with pytest.raises(ValueError, match="equally long"):
        frontier(cost, quality)


@UNTIMED
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_hypervolume_counts_the_dominated_cells(points: list[tuple[int, int]]) -> None:
    cells = sum(any(c <= x and q >= y + 1 for c, q in points) for x in range(8) for y in range(2, 9))
    assert hypervolume(*columns(points), worst_cost=8, worst_quality=2) == cells


def choices() -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("float32", 1536.0, 1536.0, 0.640, 1.0, 1.0),
            ("int8", 384.0, 384.0, 0.640, 1.0, 0.99),
            ("pq", 48.4, 48.0, 0.620, 0.969, 0.73),
            ("wide", 48.3, 48.3, 0.618, 0.965, 0.71),
            ("sign", 48.0, 48.0, 0.615, 0.961, 0.69),
            ("other", 48.0, 48.0, 0.615, 0.961, 0.68),
            ("broken", 12.0, 12.0, np.nan, np.nan, np.nan),
        ],
        columns=[
            "method",
            "bytes_per_vector",
            "code_bytes_per_vector",
            "ndcg_at_10",
            "retention",
            "overlap_at_10",
        ],
    )


@pytest.mark.parametrize(
    ("budget", "spare", "winner"),
    [
        (9999, 0, "int8"),  # as good as float32, and smaller
        (384, 0, "int8"),
        (383, 0, "pq"),
        (48, 0, "sign"),  # the earlier of two equals
        (48, 0.5, "pq"),  # 48 bytes of codes and 0.4 of state
        (48, 0.3, "sign"),  # what is over in "wide" is codes
        (47, 0, None),
    ],
)
def test_best_within(budget: float, spare: float, winner: str | None) -> None:
    best = best_within(choices(), budget, spare=spare)
    assert (best is None) == (winner is None)
    assert best is None or best["method"] == winner


@pytest.mark.parametrize(
    ("share", "winner"), [(1.0, "int8"), (0.97, "int8"), (0.968, "pq"), (0.965, "wide"), (0.9, "sign")]
)
def test_smallest_keeping(share: float, winner: str) -> None:
    row = smallest_keeping(choices(), share)
    assert row is not None and row["method"] == winner


def test_without_judgements_overlap_is_the_quality() -> None:
    frame = choices().assign(ndcg_at_10=np.nan, retention=np.nan)
    assert quality_column(frame) == "overlap_at_10"
    best, smallest = best_within(frame, 383), smallest_keeping(frame, 0.99)
    assert best is not None and best["method"] == "pq"
    assert smallest is not None and smallest["method"] == "int8"
    assert smallest_keeping(frame[frame["method"] == "pq"], 0.99) is None


@pytest.mark.parametrize("share", [0, -1, 99])
def test_a_share_is_a_fraction(share: float) -> None:
    with pytest.raises(ValueError, match=r"99 % is 0\.99"):
        smallest_keeping(choices(), share)


@UNTIMED
@given(POINTS, COORDINATES)
def test_the_best_within_a_budget_is_on_the_frontier(points: list[tuple[float, float]], budget: float) -> None:
    cost, quality = columns(points)
    frame = pd.DataFrame({"bytes_per_vector": cost, "ndcg_at_10": quality, "overlap_at_10": np.nan})
    best = best_within(frame, budget)
    if best is None:
        assert not ((cost <= budget) & ~np.isnan(quality)).any()
    else:
        assert frontier(cost, quality)[best.name]


def test_the_best_of_each_method_within_a_budget_by_hand() -> None:
    frame = pd.DataFrame(
        {
            "method": ["pq", "pq", "pq", "opq", "opq", "float32", "half", "large"],
            "code_bytes_per_vector": [48.0, 48.0, 48.0, 40.0, 44.0, 10.0, 24.0, 96.0],
            "bytes_per_vector": [48.5, 48.4, 48.4, 40.0, 44.0, 10.0, 24.0, 96.0],
            "ndcg_at_10": [0.6, 0.6, 0.6, 0.61, np.nan, 0.9, 0.7, 0.8],
        }
    )
    assert best_of_methods(frame, 48, spare=1.0).tolist() == [6, 3, 1]
    assert best_of_methods(frame, 48, spare=1.0, above=0.5).tolist() == [3, 1]
    assert best_of_methods(frame, 48).tolist() == [6, 3], "48.4 bytes are no 48 without a byte to spare"
    assert best_of_methods(frame, 8).tolist() == []
