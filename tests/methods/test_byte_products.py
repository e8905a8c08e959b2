import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import byte_products, topk
from methods.byte_scores import ByteScores

pytestmark = pytest.mark.skipif(not byte_products.supported(), reason="this processor multiplies no bytes (VNNI)")


def vectors(rng: np.random.Generator, rows: int, width: int, shape: str) -> np.ndarray:
    """Vectors about the origin, far from it, with a few large dimensions, of other lengths, equal, tiny, or zero."""
    made = rng.standard_normal((rows, width))
    if shape == "far":
        made = made + 5
    elif shape == "uneven":
        made *= 10.0 ** rng.integers(-4, 3, width)
    elif shape == "lengths":
        made *= 10.0 ** rng.integers(-3, 4, (rows, 1))
    elif shape == "equal":
        made[:] = made[0]
    elif shape == "tiny":
        made *= 1e-35
    elif shape == "zero":
        made[rng.random(rows) < 0.5] = 0
    return made.astype(np.float32)


SHAPES = st.sampled_from(["plain", "far", "uneven", "lengths", "equal", "zero"])
SEARCHED = SHAPES | st.just("tiny")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 120), st.integers(1, 70), SHAPES, st.integers(0, 10**6))
def test_tiles_hold_what_numpy_computes_of_the_same_numbers(m: int, n: int, width: int, shape: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    docs = vectors(rng, n, width, shape)
    padded, groups = -(-n // byte_products.DOCS) * byte_products.DOCS, -(-width // 4)
    laid, own = np.zeros(padded * groups, np.int32), np.zeros((3, padded), np.float32)
    centre = docs.mean(axis=0)
    byte_products.to_bytes(docs, centre, 0, n, laid, own)
    whole = laid.view(np.uint8).reshape(-1, groups, byte_products.DOCS, 4).transpose(0, 2, 1, 3).reshape(padded, -1)
    codes = np.zeros((m + byte_products.QUERIES, groups * 4), np.int8)
    codes[:m, :width] = rng.integers(-127, 128, (m, width))
    shifts = codes.sum(axis=1, dtype=np.int32) * np.int32(byte_products.MIDDLE)
    numbers = rng.standard_normal((len(codes), 4)).astype(np.float32)
    for start in range(0, m, byte_products.ENTERED):
        stop = min(m, start + byte_products.ENTERED)
        found = np.empty((byte_products.ENTERED, padded), np.float32)
        byte_products.score_tiles(laid, own, codes.view(np.int32), shifts, numbers, start, stop, found)
        sums = codes[start:stop].astype(np.int32) @ whole.T.astype(np.int32) - shifts[start:stop, None]
        scale, base, along, length = (numbers[start:stop, place, None] for place in range(4))
        expected = sums.astype(np.float32) * own[0] * scale + base + (own[1] * along + own[2] * length)
        np.testing.assert_array_equal(found[: stop - start, :n], expected[:, :n])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(1, 120), st.integers(1, 70), SHAPES, SHAPES, st.integers(0, 10**6))
def test_no_rough_score_is_further_off_than_it_says(
    m: int, n: int, width: int, shape: str, asked: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    docs, queries = vectors(rng, n, width, shape), vectors(rng, m, width, asked)
    heard: list[np.ndarray] = []

    def hear(*given: np.ndarray) -> int:
        laid, own, codes, shifts, numbers, above, below = given[2:9]
        rough = np.empty((m, own.shape[1]), np.float32)
        for start in range(0, m, byte_products.ENTERED):
            stop = min(m, start + byte_products.ENTERED)
            part = np.empty((byte_products.ENTERED, own.shape[1]), np.float32)
            byte_products.score_tiles(laid, own, codes, shifts, numbers, start, stop, part)
            rough[start:stop] = part[: stop - start]
        heard.extend([rough[:, :n].astype(np.float64), above[:, None], below[:, None]])
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_products, "enter_by_bytes", hear)
        patch.setattr("methods.byte_scores.QUERIES_PER_THREAD", 10**6)
        ByteScores(queries, queries, 1).enter(
            docs, 0, np.zeros(m), np.full((m, 1), -np.inf, np.float32), np.zeros((m, 1), np.int64)
        )
    rough, above, below = heard
    exact = queries.astype(np.float64) @ docs.T.astype(np.float64)
    assert (rough - exact <= above).all()
    assert (exact - rough <= below).all()
    # and not by much more: what was rounded is a small part of each vector
    sizes = np.linalg.norm(queries, axis=1).astype(np.float64)[:, None] * np.linalg.norm(docs, axis=1).max()
    assert (above <= 0.03 * np.sqrt(width) * sizes + 1e-30).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(1, 200),
    SEARCHED,
    SEARCHED,
    st.sampled_from([0, 0, 20]),
    st.integers(0, 99),
)
def test_the_best_are_those_of_a_product_of_floats(
    m: int, n: int, width: int, block: int, shape: str, asked: str, ending: int, seed: int
) -> None:
    """`ending`: so many last dimensions of documents are the same up to a factor, and multiplied as one."""
    rng = np.random.default_rng(seed)
    docs, queries = vectors(rng, n, width, shape), vectors(rng, m, width + ending, asked)
    tail = rng.standard_normal(ending).astype(np.float32) if ending else None
    if tail is not None:
        docs = np.hstack([docs, tail * rng.random((n, 1), dtype=np.float32)])
    k = int(rng.integers(1, n + 1))
    blocks = [(start, docs[start : start + block]) for start in range(0, n, block)]
    expected = topk.search(queries, blocks, k)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LEAST_QUERIES", "LEAST_WIDTH", "LEAST_SEEN"):
            patch.setattr(f"methods.byte_scores.{name}", 1 if name != "LEAST_SEEN" else 0)
        patch.setattr("methods.byte_scores.MOST_PRODUCTS", 1.0 if seed % 2 else 0.05)
        found = topk.search(queries, blocks, k, tail)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def test_blocks_that_take_too_many_products_are_followed_by_ever_more_without() -> None:
    """All documents are nearly equally good, so that bytes leave all of them open."""
    rng = np.random.default_rng(0)
    docs = (1 + 1e-5 * rng.standard_normal((4000, 40))).astype(np.float32)
    queries = rng.standard_normal((50, 40)).astype(np.float32)
    blocks = [(start, docs[start : start + 200]) for start in range(0, 4000, 200)]
    tried: list[int] = []
    enter = ByteScores.enter

    def noted(self: ByteScores, block: np.ndarray, first: int, *rest: np.ndarray) -> None:
        tried.append(first // 200)
        enter(self, block, first, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ByteScores, "enter", noted)
        patch.setattr("methods.byte_scores.MOST_PRODUCTS", 0.0)
        _, rows = topk.search(queries, blocks, 5)
    assert tried == [0, 2, 6, 14]
    exact = (queries.astype(np.float64) @ docs.T.astype(np.float64)).astype(np.float32)
    assert np.array_equal(rows, np.lexsort((np.broadcast_to(np.arange(4000), exact.shape), -exact), axis=1)[:, :5])
