import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.budgets import least_budget, one_budget, within
from harness.analysis.pareto import (
    best_of_methods,
    best_within,
    frontier,
    hypervolume,
    quality_column,
    smallest,
    smallest_keeping,
    undominated,
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
def test_undominated_is_what_the_definition_says(points: list[tuple[float, float]]) -> None:
    known = [point for point in points if not np.isnan(point).any()]
    expected = [not np.isnan(point).any() and not any(dominates(other, point) for other in known) for point in points]
    assert undominated(*columns(points)).tolist() == expected


@UNTIMED
@given(POINTS)
def test_no_undominated_point_is_dominated_and_every_other_known_point_is(
    points: list[tuple[float, float]],
) -> None:
    on = undominated(*columns(points))
    chosen = [point for point, kept in zip(points, on, strict=True) if kept]
    assert not any(dominates(a, b) for a in chosen for b in chosen)
    for point, kept in zip(points, on, strict=True):
        if not kept and not np.isnan(point).any():
            assert any(dominates(other, point) for other in chosen)


@UNTIMED
@given(POINTS, st.randoms(use_true_random=False))
def test_undominated_does_not_depend_on_the_order(points: list[tuple[float, float]], random) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    shuffled = undominated(*columns([points[index] for index in order]))
    assert shuffled.tolist() == undominated(*columns(points))[order].tolist()


@UNTIMED
@given(POINTS)
def test_undominated_of_the_frontier_is_itself(points: list[tuple[float, float]]) -> None:
    cost, quality = columns(points)
    on = undominated(cost, quality)
    assert undominated(cost[on], quality[on]).all()


@UNTIMED
@given(POINTS)
def test_undominated_is_ascending_in_both(points: list[tuple[float, float]]) -> None:
    cost, quality = columns(points)
    on = undominated(cost, quality)
    order = np.argsort(cost[on], kind="stable")
    assert (quality[on][order][1:] >= quality[on][order][:-1]).all()


def test_copies_of_an_undominated_point_are_all_on_it() -> None:
    assert undominated([48, 48, 48, 96], [0.6, 0.6, 0.5, 0.6]).tolist() == [True, True, False, False]


# Sizes around which budgets overlap: a tenth of a per cent to three apart, and far apart.
SIZES = st.one_of(
    st.sampled_from([0.0, 24.0, 24.2, 24.4, 24.48, 24.8, 25.0, 48.0, 48.9, 48.96, 1536.0]),
    st.integers(0, 80).map(lambda step: 24 * 1.004**step),
    st.floats(1, 2000),
)
SETTINGS = st.lists(st.tuples(SIZES, st.one_of(st.integers(0, 6).map(float), st.floats(0, 1))), max_size=25)


def same(a: float, b: float) -> bool:
    return a == b or max(a, b) < 1.02 * min(a, b)


@pytest.mark.parametrize(
    ("size", "other", "expected"),
    [(24.4, 24.8, True), (24.2, 24.8, False), (50, 51, False), (48, 48, True), (0, 0, True), (0, 1, False)],
)
def test_less_than_two_per_cent_is_one_budget(size: float, other: float, expected: bool) -> None:
    assert one_budget(size, other) == one_budget(other, size) == expected
    assert not one_budget(np.nan, size)


def test_of_one_budget_only_the_best_is_on_the_frontier() -> None:
    cost = [24.4, 24.44, 24.79, 48.0, 48.4, 48.87]
    assert frontier(cost, [0.441, 0.463, 0.489, 0.491, 0.497, 0.516]).tolist() == [False, False, True] * 2
    assert undominated(cost, [0.441, 0.463, 0.489, 0.491, 0.497, 0.516]).all()


def test_a_fine_sweep_does_not_fall_to_its_last_setting() -> None:
    cost = np.arange(100, 200)  # each within 1 % of the next, and each better
    on = frontier(cost, cost)
    assert on.sum() >= 30 and cost[on][-1] == 199
    assert (cost[on][1:] >= 1.02 * cost[on][:-1]).all()


@UNTIMED
@given(SETTINGS)
def test_a_frontier_never_has_two_settings_of_one_budget_and_what_fell_has_a_better_one(
    points: list[tuple[float, float]],
) -> None:
    on = frontier(*columns(points))
    chosen = [point for point, kept in zip(points, on, strict=True) if kept]
    assert not any(same(a[0], b[0]) for a in chosen for b in chosen if a != b)
    assert not any(dominates(a, b) for a in points for b in chosen)
    for point, kept in zip(points, on, strict=True):
        if not kept:
            better = [other for other in chosen if other[0] <= point[0] or same(other[0], point[0])]
            assert any(other[1] > point[1] or dominates(other, point) for other in better)


@UNTIMED
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5)), max_size=25))
def test_well_separated_sizes_have_the_frontier_that_they_always_had(points: list[tuple[int, int]]) -> None:
    cost, quality = columns([(1.02**step * 1.000001**step, level) for step, level in points])
    assert frontier(cost, quality).tolist() == undominated(cost, quality).tolist()


@UNTIMED
@given(SETTINGS, st.randoms(use_true_random=False))
def test_the_frontier_does_not_depend_on_the_order_and_is_its_own(points: list[tuple[float, float]], random) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    cost, quality = columns(points)
    on = frontier(cost, quality)
    assert frontier(cost[order], quality[order]).tolist() == on[order].tolist()
    assert frontier(cost[on], quality[on]).all()


@UNTIMED
@given(SETTINGS, st.integers(0, 2**32 - 1))
def test_what_is_not_told_apart_stands_beside_the_best_of_its_budget(
    points: list[tuple[float, float]], seed: int
) -> None:
    cost, quality = columns(points)
    best = frontier(cost, quality)
    apart = np.random.default_rng(seed).random(len(points)) < 0.5
    asked: dict[int, int] = {}

    def told_apart(place: int, others: np.ndarray) -> np.ndarray:
        assert len(others) and place not in others
        assert all(same(cost[place], cost[other]) and quality[place] >= quality[other] for other in others)
        if best[place]:
            assert not best[others].any()
            asked.update(dict.fromkeys(others.tolist(), place))
        return apart[others]

    on = frontier(cost, quality, told_apart)
    assert on[best & ~apart].all(), "the best of a budget falls only where it is told apart from what is better"
    assert (on & ~best <= np.isin(np.arange(len(on)), list(asked))).all()
    for place in np.flatnonzero(on & apart):
        rivals = [other for other in np.flatnonzero(on) if same(cost[place], cost[other])]
        assert not any(quality[other] > quality[place] for other in rivals), (
            "told apart, and of one budget with a better"
        )
    for place in np.flatnonzero(on & ~best):  # a smaller budget is never as good
        smaller = (cost < cost[place]) & [not same(cost[place], other) for other in cost]
        assert (quality[smaller] < quality[place]).all()


def test_what_stands_beside_the_best_takes_a_smaller_best_with_it() -> None:
    """opq, transform coding and signs at 25.0, 24.77 and 24.44 bytes: the third is not of one budget with the first."""
    cost, quality = [25.0, 24.77, 24.44], [0.492, 0.489, 0.474]
    assert frontier(cost, quality).tolist() == [True, False, True]

    def third_apart(place: int, others: np.ndarray) -> np.ndarray:
        return others == 2

    assert frontier(cost, quality, third_apart).tolist() == [True, True, False]


def test_copies_and_rounding_of_a_size() -> None:
    assert frontier([48, 48, 48, 96], [0.6, 0.6, 0.5, 0.6]).tolist() == [True, True, False, False]
    assert frontier([48, 48 + 1e-9, 48 + 2e-9], [0.5, 0.6, 0.6]).tolist() == [False, True, False]


@UNTIMED
@given(SETTINGS)
def test_the_smallest_is_the_best_of_the_smallest_budget(points: list[tuple[float, float]]) -> None:
    if points:
        cost, quality = columns(points)
        place = smallest(cost, quality)
        assert frontier(cost, quality)[place] and same(cost[place], cost.min())


def test_frontier_without_points() -> None:
    for found in (frontier, undominated):
        assert found([], []).tolist() == []
        assert found([np.nan], [1.0]).tolist() == [False]


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
    ("budget", "winner"),
    [
        (9999, "int8"),  # as good as float32, and smaller
        (384, "int8"),
        (383, "pq"),
        (48.3, "pq"),
        (48, "pq"),  # 48 bytes of codes and 0.4 of state
        (47, None),
    ],
)
def test_best_within(budget: float, winner: str | None) -> None:
    best = best_within(choices(), budget)
    assert (best is None) == (winner is None)
    assert best is None or best["method"] == winner


@pytest.mark.parametrize(
    ("share", "winner"), [(1.0, "int8"), (0.97, "int8"), (0.968, "pq"), (0.965, "pq"), (0.9, "pq")]
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


AMOUNTS = st.integers(0, 8000).map(lambda number: number / 4)


@UNTIMED
@given(code=AMOUNTS, state=AMOUNTS, budget=AMOUNTS)
def test_a_budget_bounds_the_codes_to_which_state_adds_a_byte_at_most(code: float, state: float, budget: float) -> None:
    assert within([code + state], [code], budget)[0] == (code <= budget and code + state <= budget + 1)
    assert within([code + state], [code], least_budget([code + state], [code])[0]).all()
    assert not within([code], [code], code - 0.25).any(), "codes of 48.25 bytes are not within 48"


@UNTIMED
@given(POINTS, COORDINATES)
def test_nothing_as_small_surpasses_the_best_within_a_budget(points: list[tuple[float, float]], budget: float) -> None:
    cost, quality = columns(points)
    frame = pd.DataFrame(
        {"bytes_per_vector": cost, "code_bytes_per_vector": cost, "ndcg_at_10": quality, "overlap_at_10": np.nan}
    )
    best = best_within(frame, budget)
    if best is None:
        assert not ((cost <= budget) & ~np.isnan(quality)).any()
    else:
        assert undominated(cost, quality)[best.name]


def test_the_best_of_each_method_within_a_budget_by_hand() -> None:
    frame = pd.DataFrame(
        {
            "method": ["pq", "pq", "pq", "opq", "opq", "float32", "half", "large"],
            "code_bytes_per_vector": [48.0, 48.0, 48.0, 40.0, 44.0, 10.0, 24.0, 96.0],
            "bytes_per_vector": [48.5, 48.4, 48.4, 40.0, 44.0, 10.0, 24.0, 96.0],
            "ndcg_at_10": [0.6, 0.6, 0.6, 0.61, np.nan, 0.9, 0.7, 0.8],
        }
    )
    assert best_of_methods(frame, 48).tolist() == [6, 3, 1]
    assert best_of_methods(frame, 48, above=0.5).tolist() == [3, 1]
    assert best_of_methods(frame, 8).tolist() == []
