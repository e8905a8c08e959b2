import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import max_sim
from methods.token_vectors import TokenVectors, offsets_of


def brute_force(queries: TokenVectors, docs: TokenVectors) -> np.ndarray:
    """Return all scores, float32 (m, n), from the definition in float64."""
    scores = np.zeros((len(queries), len(docs)))
    for row, query in enumerate(queries.matrices()):
        for place, doc in enumerate(docs.matrices()):
            if len(query) and len(doc):
                scores[row, place] = (query.astype(np.float64) @ doc.astype(np.float64).T).max(axis=1).sum()
    return scores.astype(np.float32)


def best_of(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), scores.shape), -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


def some(rng: np.random.Generator, n: int, most: int, d: int, coarse: bool) -> TokenVectors:
    offsets = offsets_of(rng.integers(0, most + 1, n))
    shape = (int(offsets[-1]), d)
    values = rng.integers(-1, 2, shape) if coarse else rng.standard_normal(shape) * rng.uniform(0.01, 5, (shape[0], 1))
    return TokenVectors(values.astype(np.float32), offsets)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 60), st.integers(1, 20), st.integers(0, 9), st.integers(0, 10**6), st.booleans()
)
def test_equals_brute_force(m: int, n: int, d: int, most: int, seed: int, coarse: bool) -> None:
    """`coarse` vectors have entries in {-1, 0, 1}: nearly every score ties. Documents and queries may be empty."""
    rng = np.random.default_rng(seed)
    queries, docs = some(rng, m, 5, d, coarse), some(rng, n, most, d, coarse)
    k = int(rng.integers(1, n + 1))
    scores, rows = max_sim.exact_search(queries, docs, k)
    expected_scores, expected_rows = best_of(brute_force(queries, docs), k)
    assert np.array_equal(rows, expected_rows)
    assert np.array_equal(scores, expected_scores)


@pytest.mark.parametrize("threads", ["1", "2", "5"])
@pytest.mark.parametrize("block", [1, 37, 100_000])
def test_depends_on_neither_blocks_nor_threads(threads: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, docs = some(rng, 20, 6, 33, False), some(rng, 150, 20, 33, False)
    docs = docs.take(np.concatenate([np.arange(150), [3, 3]]))  # the same document in three places
    expected = best_of(brute_force(queries, docs), 10)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(max_sim, "TOKEN_BLOCK", block)
    monkeypatch.setattr(max_sim, "QUERY_TOKENS", block)
    monkeypatch.setattr(max_sim, "RUN_DOCS", 1 + block % 50)
    for found, wanted in zip(max_sim.exact_search(queries, docs, 10), expected, strict=True):
        assert np.array_equal(found, wanted)


def test_scores_closer_than_fixed_point_can_tell_are_in_the_right_order() -> None:
    """Documents differ from one another by a ten-millionth, far below a step of 16 bits, among long ones."""
    rng = np.random.default_rng(0)
    one = rng.standard_normal((4, 64))
    matrices = [one * (1 + 1e-7 * step) for step in rng.permutation(40)] + [100 * rng.standard_normal((1, 64)) - 50]
    docs, queries = TokenVectors.of(matrices), TokenVectors.of([one])
    docs = TokenVectors(docs.values.astype(np.float32), docs.offsets)
    scores, rows = max_sim.exact_search(queries.float32(), docs, 20)
    expected = best_of(brute_force(queries.float32(), docs), 20)
    assert np.array_equal(rows, expected[1]) and np.array_equal(scores, expected[0])


def test_pairs_score_as_a_search_does() -> None:
    rng = np.random.default_rng(3)
    queries, docs = some(rng, 7, 6, 24, False), some(rng, 30, 12, 24, False)
    scores, rows = max_sim.exact_search(queries, docs, 30)
    owner = np.repeat(np.arange(7), 30)
    assert np.array_equal(max_sim.pair_scores(queries, docs, owner, rows.ravel()), scores.ravel())


def test_numbers_whose_products_overflow_float32() -> None:
    """Their similarities are infinite in float32, and still the right token is the best one."""
    docs = TokenVectors.of([np.float32([[1e20, 0], [3e20, 1e18]]), np.float32([[2e20, 0]])])
    queries = TokenVectors.of([np.float32([[1e19, 0]])])
    scores = max_sim.pair_scores(queries, docs, np.array([0, 0]), np.array([0, 1]))
    assert np.isinf(scores).all()  # 3e39 and 2e39 are beyond float32, as the score is
    one = TokenVectors.of([np.float32([[3e38, 0], [1, 2]])])
    asked = TokenVectors.of([np.float32([[1e-1, 3], [0, -1e3]])])
    assert max_sim.pair_scores(asked, one, np.array([0]), np.array([0]))[0] == np.float32(3e37)
