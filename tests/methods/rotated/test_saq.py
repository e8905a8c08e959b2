import itertools
from pathlib import Path

import numpy as np
import pytest

from methods.base import MethodError
from methods.kernels.packing import packed_size
from methods.rotated.saq import SAQ, plan_segments
from methods.transforms.linear import eigenbasis, second_moment
from tests.conftest import clustered_vectors

D = 64


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(600, D)


def cost(variances: np.ndarray, plan: list[tuple[int, int]], objective: str) -> float:
    total, start = 0.0, 0
    for size, bits in plan:
        total += variances[start : start + size].sum() * (2.0 if objective == "ip" else 4.0) ** -bits
        start += size
    return total + variances[start:].sum()


def every_plan(blocks: int, sizes: list[int]) -> list[list[tuple[int, int]]]:
    plans: list[list[tuple[int, int]]] = [[]]
    for count in range(1, blocks + 1):
        for cuts in itertools.combinations(range(1, blocks + 1), count):
            edges = (0, *cuts)
            widths = [sum(sizes[a:b]) for a, b in itertools.pairwise(edges)]
            for bits in itertools.product(range(1, 9), repeat=count):
                plans.append(list(zip(widths, bits, strict=True)))
    return plans


@pytest.mark.parametrize("objective", ["ip", "mse"])
@pytest.mark.parametrize("nbytes", [4, 9, 16, 30])
def test_plan_is_the_best_of_all(objective: str, nbytes: int) -> None:
    # the last block is a short one
    variances = np.sort(np.random.default_rng(nbytes).exponential(size=28) ** 3)[::-1]
    plan = plan_segments(variances, nbytes, 8, 2, objective)  # type: ignore[arg-type]
    allowed = [p for p in every_plan(4, [8, 8, 8, 4]) if sum(packed_size(s, b) + 2 for s, b in p) <= nbytes]
    best = min(cost(variances, p, objective) for p in allowed)
    assert sum(packed_size(size, bits) + 2 for size, bits in plan) <= nbytes
    # each segment more must win 1 %: at most so much is left
    assert best <= cost(variances, plan, objective) * (1 + 1e-12) <= best * 1.01**4


def test_equal_variances_get_one_segment() -> None:
    assert plan_segments(np.ones(32), 18, 8, 2, "ip") == [(32, 4)]


def test_budget_that_holds_nothing_is_refused(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="nbytes=5 does not hold one segment, which takes 6 bytes"):
        SAQ(nbytes=5).fit(docs)


@pytest.mark.parametrize(("nbytes", "block", "written"), [(12, 32, 10), (12, 16, 12), (14, 32, 14), (48, 32, 48)])
def test_whole_blocks_may_leave_bytes_over_as_the_card_says(nbytes: int, block: int, written: int) -> None:
    docs = np.random.default_rng(0).standard_normal((400, 384)).astype(np.float32) * np.geomspace(1, 0.05, 384)
    docs = docs.astype(np.float32)
    assert SAQ(nbytes=nbytes, block=block).fit(docs).encode(docs).nbytes == 400 * written
    card = (Path(__file__).resolve().parents[3] / "configs" / "method" / "saq.yaml").read_text()
    assert "nbytes=12 writes 10 (12 with block=16)" in card


@pytest.mark.parametrize("factors", ["float16", "float32", "two_float32"])
@pytest.mark.parametrize("nbytes", [12, 40])
def test_bytes_stay_in_the_budget(docs: np.ndarray, factors: str, nbytes: int) -> None:
    codes = SAQ(nbytes=nbytes, block=16, factors=factors).fit(docs).encode(docs)  # type: ignore[arg-type]
    assert nbytes - 4 <= codes.nbytes / len(docs) <= nbytes


def test_all_that_is_stored_of_a_factor_is_used_but_the_norm(docs: np.ndarray) -> None:
    decoded = []
    for factors in ("float32", "two_float32"):
        codec = SAQ(plan=[[16, 4], [32, 2]], factors=factors).fit(docs)  # type: ignore[arg-type]
        decoded.append(codec.decode(codec.encode(docs)))
    assert np.array_equal(*decoded)


def test_eight_bits_everywhere_are_nearly_exact(docs: np.ndarray) -> None:
    queries = clustered_vectors(20, D, seed=1)
    codec = SAQ(plan=[[32, 8], [32, 8]]).fit(docs)
    assert np.abs(codec.score(queries, codec.encode(docs)) - queries @ docs.T).max() < 0.005


def test_decoded_documents_are_unit_vectors_but_for_what_is_lost(docs: np.ndarray) -> None:
    # the mean is kept even where no bits are spent: least-squares codes are the nearest points, never longer
    codec = SAQ(plan=[[16, 4]], scale="least_squares").fit(docs)
    decoded = codec.decode(codec.encode(docs))
    variances = eigenbasis(np.cov(docs.T, bias=True))[0]
    error = np.mean(1 - np.einsum("ij,ij->i", decoded, decoded))
    assert variances[16:].sum() * 0.9 < error < variances[16:].sum() * 1.1 + 0.02


def test_more_bytes_lose_less(docs: np.ndarray) -> None:
    queries = clustered_vectors(20, D, seed=1)
    errors = []
    for nbytes in (6, 12, 24, 48):
        codec = SAQ(nbytes=nbytes, block=8).fit(docs)
        scores = codec.score(queries, codec.encode(docs))
        errors.append(np.mean((scores - queries @ docs.T) ** 2))
    assert all(after < 0.7 * before for before, after in itertools.pairwise(errors))


def test_one_segment_at_one_bit_is_rabitq(docs: np.ndarray) -> None:
    codec = SAQ(plan=[[D, 1]], factors="float32").fit(docs)
    rotated = (docs - docs.mean(axis=0)) @ codec.basis_[:, :D]
    points = np.where(rotated > 0, 1.0, -1.0)
    factor = (rotated**2).sum(axis=1) / np.abs(rotated).sum(axis=1)
    expected = codec.centre_[:D] + factor[:, None] * points
    assert np.allclose(codec.decode(codec.encode(docs))[:, :D], expected, atol=1e-4)


def test_rotation_is_within_the_segments(docs: np.ndarray) -> None:
    axes = eigenbasis(second_moment(docs) - np.outer(docs.mean(0), docs.mean(0)))[1]
    codec = SAQ(plan=[[16, 4], [32, 2]]).fit(docs)
    across = axes[:, 16:].T @ codec.basis_[:, :16]
    assert np.abs(across).max() < 1e-4
    plain = SAQ(plan=[[16, 4], [32, 2]], rotate=False).fit(docs)
    assert np.allclose(plain.basis_[:, :48], axes[:, :48], atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "either nbytes or plan"),
        ({"nbytes": 8, "plan": [[8, 1]]}, "either nbytes or plan"),
        ({"plan": [[8, 9]]}, "bits from 1 to 8"),
        ({"plan": []}, "no segments"),
        ({"nbytes": 0}, "nbytes"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        SAQ(**parameters)  # type: ignore[arg-type]


def test_plan_wider_than_the_vectors_is_refused(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="plan must have at most the 64 dimensions of the vectors, got 65"):
        SAQ(plan=[[65, 1]]).fit(docs)
