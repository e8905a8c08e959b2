from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from methods.base import MethodError
from methods.scalar.lloyd import GAUSSIAN_HALF_WIDTH
from methods.scalar.osq import OSQ, intervals
from tests.conftest import clustered_vectors

HALF_WIDTHS = (0.798, 1.493, 2.051, 2.514, 2.916, 3.278, 3.611, 3.922)
"""As Lucene has them."""


def loss(u: np.ndarray, a: float, b: float, bits: int, weight: float) -> float:
    top = 2**bits - 1
    steps = np.rint((np.clip(u, a, b) - a) * top / (b - a))
    left = u - (a + (b - a) * steps / top)
    return (1 - weight) * (u @ left) ** 2 / (u @ u) + weight * (left @ left)


def one_interval(u: np.ndarray, bits: int, weight: float, iterations: int) -> tuple[float, float]:
    """The same in plain sequence, for one vector."""
    top = 2**bits - 1
    reach = GAUSSIAN_HALF_WIDTH[bits - 1] * u.std()
    a, b = np.clip([u.mean() - reach, u.mean() + reach], u.min(), u.max())
    lost = loss(u, a, b, bits, weight)
    for _ in range(iterations):
        s = np.rint((np.clip(u, a, b) - a) * top / (b - a)) / top
        basis = np.stack([1 - s, s])
        kappa = (1 - weight) / (u @ u)
        matrix = kappa * np.outer(basis @ u, basis @ u) + weight * basis @ basis.T
        if np.linalg.det(matrix) == 0:
            break
        new_a, new_b = np.linalg.solve(matrix, basis @ u)
        if max(abs(new_a - a), abs(new_b - b)) < 1e-8:
            break
        now = loss(u, new_a, new_b, bits, weight)
        if now > lost:
            break
        a, b, lost = new_a, new_b, now
    return a, b


def test_starting_intervals_are_lucenes() -> None:
    assert np.allclose(GAUSSIAN_HALF_WIDTH, HALF_WIDTHS, atol=6e-4)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_intervals_are_those_of_one_vector_at_a_time(bits: int, weight: float) -> None:
    rng = np.random.default_rng(0)
    u = np.concatenate([rng.standard_normal((60, 48)), rng.exponential(size=(60, 48))])
    found = intervals(u, bits, weight, 5)
    assert np.allclose(found, [one_interval(row, bits, weight, 5) for row in u], atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_every_turn_lowers_the_loss(bits: int) -> None:
    u = np.random.default_rng(0).standard_normal((80, 64))
    previous = None
    for iterations in (0, 1, 2, 5, 20):
        ends = intervals(u, bits, 0.1, iterations)
        now = np.array([loss(row, a, b, bits, 0.1) for row, (a, b) in zip(u, ends, strict=True)])
        if previous is not None:
            assert (now <= previous + 1e-12).all()
        previous = now


def test_a_symmetric_vector_at_one_bit_is_least_squares_of_its_signs() -> None:
    half = np.abs(np.random.default_rng(0).standard_normal(32)) + 0.1
    u = np.concatenate([half, -half])[None]
    (a, b) = intervals(u, 1, 1.0, 50)[0]
    assert np.allclose([a, b], [-half.mean(), half.mean()])


def test_score_is_the_integer_formula() -> None:
    """What Lucene computes: two intervals, two sums of codes, and the dot product of the codes."""
    docs, queries = clustered_vectors(100, 64), clustered_vectors(9, 64, seed=1)
    for bits, query_bits in ((1, 4), (4, 4), (8, 8)):
        codec = OSQ(bits=bits, query_bits=query_bits).fit(docs)
        codes = codec.encode(docs)
        centre = codec.mean_.astype(np.float64)
        k_x = codec._levels(codes).astype(np.float64)
        a_x, b_x = codes.rows["interval"].astype(np.float64).T
        v = queries - centre
        a_q, b_q = intervals(v, query_bits, 0.1, 5).T
        l_x, l_q = (b_x - a_x) / (2**bits - 1), (b_q - a_q) / (2**query_bits - 1)
        k_q = np.rint((np.clip(v, a_q[:, None], b_q[:, None]) - a_q[:, None]) / l_q[:, None])
        expected = (
            64 * np.outer(a_q, a_x)
            + np.outer(a_q, l_x * k_x.sum(axis=1))
            + np.outer(l_q * k_q.sum(axis=1), a_x)
            + np.outer(l_q, l_x) * (k_q @ k_x.T)
            + docs @ centre
            + (queries @ centre)[:, None]
            - centre @ centre
        )
        assert np.allclose(codec.score(queries, codes), expected, atol=1e-4)


def test_the_correction_makes_scores_along_the_centre_exact() -> None:
    docs = clustered_vectors(100, 64)
    mean = docs.mean(axis=0, keepdims=True)
    codec = OSQ(bits=1, query_bits=0).fit(docs)
    assert np.allclose(codec.score(mean, codec.encode(docs)), mean @ docs.T, atol=1e-5)
    plain = OSQ(bits=1, query_bits=0, corrected=False).fit(docs)
    assert np.abs(plain.score(mean, plain.encode(docs)) - mean @ docs.T).max() > 1e-3


def test_bytes() -> None:
    docs = clustered_vectors(10, 64)
    for options, extra in (
        ({}, 12),
        ({"corrections": "float16"}, 6),
        ({"corrected": False}, 8),
        ({"corrected": False, "corrections": "float16"}, 4),
    ):
        assert OSQ(**options).fit(docs).encode(docs).nbytes == 10 * (8 + extra)


def test_a_query_encoded_as_a_document_scores_alike_both_ways() -> None:
    docs = clustered_vectors(50, 64)
    codec = OSQ(bits=4, scoring="symmetric").fit(docs)
    scores = codec.score(docs, codec.encode(docs))
    assert np.allclose(scores, scores.T, atol=1e-4)
    same_bits = OSQ(bits=4, query_bits=4).fit(docs)
    assert np.allclose(scores, same_bits.score(docs, same_bits.encode(docs)), atol=1e-6)


def test_vectors_equal_to_the_centre() -> None:
    docs = np.repeat(clustered_vectors(1, 32), 4, axis=0)
    for options in ({}, {"centre": "none"}, {"centre": "unit_mean"}, {"corrected": False, "renormalize": True}):
        codec = OSQ(**options).fit(docs)
        assert np.allclose(codec.score(docs, codec.encode(docs)), 1, atol=0.2)


def test_contradictions_are_named() -> None:
    wrong = ({"bits": 0}, {"query_bits": 9}, {"orthogonal": 1.5}, {"iterations": -1}, {"renormalize": True})
    for options in wrong:
        with pytest.raises(MethodError, match=next(iter(options))):
            OSQ(**options)


def test_findings_on_real_embeddings(shared_data: Path) -> None:
    """Plain mean beats unit mean, anisotropic beats squared error, and four bits are enough for the query."""
    vectors = load_file(shared_data / "scifact" / "minilm.safetensors")
    docs, queries = vectors["docs"], vectors["queries"]
    exact = np.argsort(-(queries @ docs.T), axis=1)[:, :10]

    def recall(**options: object) -> float:
        codec = OSQ(**options).fit(docs)  # type: ignore[arg-type]
        _, rows = codec.search(queries, codec.encode(docs), 10)
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, rows, strict=True)]))

    default = recall()
    assert default > recall(centre="unit_mean") + 0.04
    assert recall(query_bits=0) > recall(query_bits=0, orthogonal=1.0) + 0.02
    assert recall(query_bits=0) == pytest.approx(default, abs=0.01)
    assert default < recall(bits=2) - 0.08 < recall(bits=4) - 0.15


def test_one_bit_by_hand() -> None:
    # u = (3, 1, -1, -3) gets the levels -b and b. With the weight .1 of the error across it, the loss
    # .9 (20 - 8 b)^2 / 20 + .1 (20 - 16 b + 4 b^2) is least where 6.56 b = 16
    docs = np.array([[3, 1, -1, -3]], dtype=np.float32)
    codec = OSQ(bits=1, query_bits=0, centre="none").fit(docs)
    codes = codec.encode(docs)
    assert codes.rows["interval"][0].tolist() == pytest.approx([-16 / 6.56, 16 / 6.56], rel=1e-6)
    query = np.array([[1, 0.5, 0, -1]], dtype=np.float32)
    assert codec.score(query, codes)[0, 0] == pytest.approx(2.5 * 16 / 6.56, rel=1e-6)


def test_around_a_centre_by_hand() -> None:
    # documents c +- (3, 1, -1, -3) around c = (1, 1, 1, 1): <x, c> = 4, <q, c> = .5 and <c, c> = 4
    away = np.array([3, 1, -1, -3], dtype=np.float32)
    docs = np.stack([1 + away, 1 - away])
    codec = OSQ(bits=1, query_bits=0, centre="mean").fit(docs)
    query = np.array([[1, 0.5, 0, -1]], dtype=np.float32)
    estimate = ((query - 1) @ (16 / 6.56 * np.sign(away)))[0] + 4 + 0.5 - 4
    assert codec.score(query, codec.encode(docs))[0, 0] == pytest.approx(estimate, rel=1e-5)
