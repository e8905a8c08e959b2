"""Fusion of rankings, against answers by hand and against a dictionary's sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.errors import ConfigError
from harness.evaluation.fusion import RULES, Fusion


def test_reciprocal_ranks_by_hand() -> None:
    rows = [np.array([[4, 7, 2]]), np.array([[7, 9, -1]])]
    scores = [np.array([[3, 2, 1]], np.float32), np.array([[9, 8, -np.inf]], np.float32)]
    ranking, fused = Fusion("rrf", (1.0, 1.0), constant=60).fuse(rows, scores, 5)
    assert ranking.tolist() == [[7, 4, 9, 2, -1]]
    np.testing.assert_allclose(fused[0, :4], [1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63], rtol=1e-6)
    assert fused[0, 4] == -np.inf


def test_sums_by_hand() -> None:
    rows = [np.array([[0, 1, 2]]), np.array([[2, 3, 0]])]
    scores = [np.array([[10, 6, 2]], np.float32), np.array([[0.9, 0.5, 0.4]], np.float32)]
    ranking, fused = Fusion("minmax", (0.5, 0.5)).fuse(rows, scores, 4)
    # 0: (1 + 0) / 2, 1: .5 / 2, 2: (0 + 1) / 2, 3: .2 / 2
    assert ranking.tolist() == [[0, 2, 1, 3]]
    np.testing.assert_allclose(fused[0], [0.5, 0.5, 0.25, 0.1], rtol=1e-6)
    ranking, fused = Fusion("none", (1.0, 10.0)).fuse(rows, scores, 4)
    # a document that a list lacks has that list's lowest score: 1 gets 6 + 10 x .4, 3 gets 2 + 10 x .5
    assert ranking.tolist() == [[0, 2, 1, 3]]
    np.testing.assert_allclose(fused[0], [14, 11, 10, 7], rtol=1e-6)


@st.composite
def lists(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 12))
    count = draw(st.integers(0, n))
    rows = draw(st.permutations(range(n)))[:count]
    scores = sorted(draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count)), reverse=True)
    padded = np.full((1, 12), -1), np.full((1, 12), -np.inf, np.float32)
    padded[0][0, :count], padded[1][0, :count] = rows, scores
    return padded


@given(
    st.lists(lists(), min_size=1, max_size=3), st.sampled_from(sorted(RULES)), st.integers(1, 14), st.integers(1, 12)
)
def test_sums_are_those_of_a_dictionary(found: list, rule: str, k: int, depth: int) -> None:
    weights = tuple(float(place + 1) for place in range(len(found)))
    expected: dict[int, float] = {}
    everyone = sorted({int(row) for rows, _ in found for row in rows[0, :depth] if row >= 0})
    for row in everyone:
        for weight, (rows, scores) in zip(weights, found, strict=True):
            held = [(int(r), float(s)) for r, s in zip(rows[0, :depth], scores[0, :depth], strict=True) if r >= 0]
            values = np.array([score for _, score in held])
            place = next((i for i, (r, _) in enumerate(held) if r == row), None)
            if rule == "rrf":
                own = 0.0 if place is None else 1 / (60 + place + 1)
            elif not held:
                own = 0.0
            else:
                score = values.min() if place is None else values[place]
                if rule == "minmax":
                    width = values.max() - values.min()
                    own = (score - values.min()) / width if width else float(place is not None)
                elif rule == "zscore":
                    own = (score - values.mean()) / (values.std() or 1.0)
                else:
                    own = score
            expected[row] = expected.get(row, 0.0) + weight * own
    fusion = Fusion(rule, weights, depth=depth)  # type: ignore[arg-type]
    ranking, fused = fusion.fuse([rows for rows, _ in found], [scores for _, scores in found], k)
    kept = ranking[0][ranking[0] >= 0]
    assert len(kept) == min(k, len(everyone)) == len(set(kept.tolist()))
    np.testing.assert_allclose(fused[0, : len(kept)], [expected[row] for row in kept], rtol=1e-5, atol=1e-5)
    assert (np.diff(fused[0, : len(kept)]) <= 0).all()
    left = [expected[row] for row in everyone if row not in set(kept.tolist())]
    assert not left or max(left) <= fused[0, len(kept) - 1] + 1e-5


def test_one_list_alone_keeps_its_order() -> None:
    rng = np.random.default_rng(0)
    rows = np.argsort(rng.random((30, 40)), axis=1)
    scores = -np.sort(-rng.random((30, 40)).astype(np.float32), axis=1)
    for rule in RULES:
        ranking, _ = Fusion(rule, (1.0,)).fuse([rows], [scores], 40)  # type: ignore[arg-type]
        np.testing.assert_array_equal(ranking, rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "borda"}, "must be one of rrf, minmax, zscore, none"),
        ({"weights": (0.0, 0.0)}, "not all 0"),
        ({"weights": (0.5, float("nan"))}, "at least 0"),
        ({"depth": 0}, "depth of at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fusion(**options)


def test_lists_without_a_weight_or_of_other_queries_are_refused() -> None:
    rows, scores = np.zeros((3, 2), int), np.zeros((3, 2), np.float32)
    with pytest.raises(ConfigError, match="3 rankings are to be fused, with 2 weights"):
        Fusion().fuse([rows] * 3, [scores] * 3, 2)
    with pytest.raises(ConfigError, match="different queries"):
        Fusion().fuse([rows, rows[:2]], [scores, scores[:2]], 2)
