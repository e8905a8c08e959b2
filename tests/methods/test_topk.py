import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import selection, topk


def brute_force(queries: np.ndarray, docs: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = (queries.astype(np.float64) @ docs.T.astype(np.float64)).astype(np.float32)
    order = np.lexsort((np.broadcast_to(np.arange(len(docs)), scores.shape), -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


def blocks_of(docs: np.ndarray, size: int) -> list[tuple[int, np.ndarray]]:
    return [(start, docs[start : start + size]) for start in range(0, len(docs), size)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 90), st.integers(1, 12), st.integers(1, 100), st.integers(0, 10**6), st.booleans()
)
def test_equals_brute_force(m: int, n: int, d: int, block: int, seed: int, coarse: bool) -> None:
    """`coarse` vectors have entries in {-1, 0, 1}: nearly every score ties with another."""
    rng = np.random.default_rng(seed)
    queries, docs = (
        np.asarray(rng.integers(-1, 2, (rows, d)) if coarse else rng.standard_normal((rows, d)), dtype=np.float32)
        for rows in (m, n)
    )
    k = int(rng.integers(1, n + 1))
    scores, rows = topk.search(queries, blocks_of(docs, block), k)
    expected_scores, expected_rows = brute_force(queries, docs, k)
    assert np.array_equal(rows, expected_rows)
    assert np.array_equal(scores, expected_scores)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 90),
    st.integers(0, 12),
    st.integers(1, 60),
    st.sampled_from([0.0, 1e-25, 1e-6, 1.0, 1e4]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_a_tail_that_all_share_up_to_a_factor_changes_nothing(
    m: int, n: int, width: int, t: int, size: float, coarse: bool, seed: int
) -> None:
    """With `coarse`, most of the tail is 0, and documents are few different ones: nearly every score ties."""
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((m, width + t)).astype(np.float32)
    tail = (size * rng.standard_normal(t) * (rng.random(t) < (0.2 if coarse else 0.9))).astype(np.float32)
    factors = rng.integers(0, 3, (n, 1)) / 2 if coarse else rng.random((n, 1)) * 10.0 ** rng.integers(-4, 3, (n, 1))
    own = rng.integers(-1, 2, (n, width)) if coarse else rng.standard_normal((n, width))
    docs = np.hstack([own, tail * factors]).astype(np.float32)
    k = int(rng.integers(1, n + 1))
    scores, rows = topk.search(queries, blocks_of(docs, 40), k, tail)
    expected_scores, expected_rows = topk.search(queries, blocks_of(docs, 40), k)
    assert np.array_equal(rows, expected_rows)
    assert np.array_equal(scores, expected_scores)


def test_equal_documents_tie_in_any_block() -> None:
    """A plain float32 product gives equal rows scores that differ in the last bit, depending on where they stand."""
    rng = np.random.default_rng(0)
    one = rng.standard_normal((1, 384)).astype(np.float32)
    docs = np.concatenate([one, rng.standard_normal((1000, 384)).astype(np.float32), one, one])
    queries = (one + 0.1 * rng.standard_normal((50, 384))).astype(np.float32)
    for block in (7, 333, 2000):
        scores, rows = topk.search(queries, blocks_of(docs, block), 5)
        assert (rows[:, :3] == [0, 1001, 1002]).all()
        assert (scores[:, 0] == scores[:, 2]).all()


@pytest.mark.parametrize("m", [5, 60])
def test_large_blocks_are_multiplied_in_pieces(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, docs = (rng.standard_normal((rows, 40)).astype(np.float32) for rows in (m, 900))
    expected = topk.search(queries, blocks_of(docs, 400), 10)
    seen: list[int] = []
    longest = selection.longest
    monkeypatch.setattr(selection, "longest", lambda piece: (seen.append(len(piece)), longest(piece))[1])
    monkeypatch.setattr(topk, "PIECE_BYTES", 4 * 40 * 150 + 3)
    found = topk.search(queries, blocks_of(docs, 400), 10)
    assert seen == [150, 150, 100, 150, 150, 100, 100]
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_all_documents_equal() -> None:
    docs = np.ones((5000, 16), dtype=np.float32)
    scores, rows = topk.search(np.ones((40, 16), dtype=np.float32), blocks_of(docs, 2048), 10)
    assert (rows == np.arange(10)).all() and (scores == 16).all()


@given(st.integers(1, 5), st.integers(0, 20), st.integers(0, 20), st.integers(0, 10**6))
def test_merging_two_lists_is_searching_once(m: int, left: int, right: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = 1 + int(rng.integers(0, left + right)) if left + right else 1
    scores = rng.integers(0, 4, size=(m, left + right)).astype(np.float32)
    rows = np.tile(np.arange(left + right), (m, 1))
    merged = topk.merge(scores[:, :left], rows[:, :left], scores[:, left:], rows[:, left:], k)
    whole = topk.ordered(scores, rows, k)
    assert np.array_equal(merged[0], whole[0]) and np.array_equal(merged[1], whole[1])


def test_a_kernel_that_cuts_ties_is_made_exact() -> None:
    """The kernel keeps the *highest* rows of a tie, as a heap may; the answer must hold the lowest."""
    scores = np.array([[3.0] + [1.0] * 99, [5.0, 4.0, 3.0, 2.0] + [1.0] * 96], dtype=np.float32)

    def kernel(wanted: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.lexsort((-np.tile(np.arange(100), (2, 1)), -scores), axis=1)[:, :wanted]
        return np.take_along_axis(scores, order, axis=1), order

    asked: list[list[int]] = []

    def exhaustive(which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(which.tolist())
        return topk.ordered(scores[which], np.tile(np.arange(100), (len(which), 1)), 3)

    _, rows = topk.search_kernel(kernel, exhaustive, n=100, k=3)
    assert rows.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert asked == [[0]], "only the query whose tie is cut is searched again"
