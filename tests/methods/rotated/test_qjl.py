import numpy as np
import pytest

from methods.base import Codes, MethodError, unit_rows
from methods.binary.sign import Sign
from methods.composed.chain import Chain
from methods.composed.residual import ExactAlongFirst, Residual
from methods.product.faiss_codec import UnitCentroids
from methods.rotated.qjl import QJL
from methods.rotated.scaled_levels import ScaledLevels
from methods.scalar.uniform import PerDimension
from methods.transforms.linear import Truncate
from methods.transforms.rotation import RandomRotation
from tests.conftest import clustered_vectors


def test_the_estimate_is_the_papers_formula() -> None:
    rng = np.random.default_rng(0)
    docs, queries = 2 * rng.standard_normal((20, 24)), rng.standard_normal((5, 24))
    codec = QJL(dim=40, seed=3).fit(docs)
    projections = codec.projections_.T.astype(np.float64)
    signs = np.sign(projections @ docs.T)
    norms = np.linalg.norm(docs, axis=1)
    expected = np.sqrt(np.pi / 2) / 40 * norms * ((projections @ queries.T).T @ signs)
    codes = codec.encode(docs)
    assert np.allclose(codec.score(queries, codes), expected, rtol=2e-3, atol=1e-2)
    assert codes.nbytes == 20 * (5 + 2)
    assert QJL(dim=40, store_norm=False).fit(docs).encode(docs).nbytes == 20 * 5


@pytest.mark.parametrize("mse_bits", [0, 1])
def test_right_on_average_over_projections(mse_bits: int) -> None:
    docs = clustered_vectors(1, 64)
    queries = unit_rows(docs + clustered_vectors(1, 64, seed=1))
    scores = []
    for seed in range(400):
        codec = QJL(seed=seed)
        if mse_bits:
            codec = Residual(first=ScaledLevels(bits=1, scale="constant"), second=codec)
        codec.fit(docs)
        scores.append(float(codec.score(queries, codec.encode(docs))[0, 0]))
    exact = float(queries[0] @ docs[0])
    assert abs(np.mean(scores) - exact) < 4 * np.std(scores) / np.sqrt(400)
    if mse_bits:
        biased = ScaledLevels(bits=1, scale="constant").fit(docs)
        assert abs(float(biased.score(queries, biased.encode(docs))[0, 0]) - exact) > 4 * np.std(scores) / 20


def test_gaussian_projections_lose_to_a_rotation_and_prod_to_mse() -> None:
    docs, queries = clustered_vectors(1500, 128), clustered_vectors(60, 128, seed=1)
    exact = np.argsort(-(queries @ docs.T), axis=1)[:, :10]

    def overlap(codec: object) -> float:
        _, rows = codec.fit(docs).search(queries, codec.encode(docs), 10)  # type: ignore[attr-defined]
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, rows, strict=True)]))

    def turboquant(bits: int) -> ScaledLevels:
        return ScaledLevels(bits=bits, levels="sphere", scale="constant")

    def rotated(codec: object) -> Chain:
        return Chain(transforms=[RandomRotation()], codec=codec)  # type: ignore[arg-type]

    assert overlap(QJL(store_norm=False)) < overlap(rotated(Sign()))
    assert overlap(rotated(Residual(first=turboquant(1), second=QJL()))) < overlap(rotated(turboquant(2)))


def test_two_codecs_are_better_than_one() -> None:
    docs = clustered_vectors(200, 32)
    first, both = PerDimension(bits=4), Residual(first=PerDimension(bits=4), second=PerDimension(bits=4))
    first.fit(docs), both.fit(docs)
    one = np.abs(first.decode(first.encode(docs)) - docs).max()
    codes = both.encode(docs)
    # sixteen levels over one step of sixteen levels
    assert np.abs(both.decode(codes) - docs).max() <= one / 14
    assert codes.nbytes == 200 * 32


def test_parts_that_do_not_fit_together() -> None:
    docs = clustered_vectors(50, 16)
    narrowing = Chain(transforms=[Truncate(dim=8)], codec=PerDimension())
    with pytest.raises(MethodError, match="16 dimensions into 8"):
        Residual(first=narrowing, second=QJL()).fit(docs)
    with pytest.raises(MethodError, match="first"):
        Residual(first=PerDimension(scoring="symmetric"), second=QJL())
    with pytest.raises(MethodError, match="dim"):
        QJL(dim=0)


def test_what_is_kept_along_the_first_makes_scores_exact_there() -> None:
    docs = clustered_vectors(400, 32)
    codec = ExactAlongFirst(first=UnitCentroids(bits=3), second=ScaledLevels(bits=1, scale="unbiased")).fit(docs)
    codes = codec.encode(docs)
    first = codec.first.decode(Codes(n=400, rows={"codes": codes.rows["first.codes"]}))
    assert np.allclose(np.linalg.norm(np.unique(first, axis=0), axis=1), 1, atol=1e-5)
    scores = np.einsum("ij,ij->i", codec.decode(codes), np.column_stack([first, np.ones(400, np.float32)]))
    assert np.allclose(scores, np.einsum("ij,ij->i", docs, first), atol=1e-5)
    with pytest.raises(MethodError, match="scoring"):
        ExactAlongFirst(first=UnitCentroids(bits=3), second=PerDimension(), scoring="symmetric")
