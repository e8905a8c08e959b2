import numpy as np
import pytest

from methods.base import MethodError
from methods.scalar.lvq import LVQ
from tests.conftest import clustered_vectors


def error(codec: LVQ, docs: np.ndarray) -> np.ndarray:
    return np.abs(codec.decode(codec.fit(docs).encode(docs)) - docs)


def test_by_hand() -> None:
    """Range -1 to 2 in four levels, a step of 1."""
    docs = np.array([[-1.0, 0.4, 0.6, 2.0]])
    codec = LVQ(bits=2, centre="none").fit(docs)
    codes = codec.encode(docs)
    assert codec._levels(codes).tolist() == [[0, 1, 2, 3]]
    assert codec.decode(codes).tolist() == [[-1, 0, 1, 2]]
    assert codes.rows["range"].tolist() == [[-1, 2]]
    assert codes.nbytes == 1 + 4
    # the second level divides each step, from half a step below to half a step above, in 2**2 - 1 parts
    both = LVQ(bits=2, residual_bits=2, centre="none").fit(docs)
    assert np.allclose(both.decode(both.encode(docs)), [[-1 + 1 / 6, 1 / 2, 0.5, 2 + 1 / 6]], atol=1e-6)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("residual_bits", [0, 4, 8])
def test_error_is_within_half_a_step(bits: int, residual_bits: int) -> None:
    docs = clustered_vectors(200, 48)
    centred = docs - docs.mean(axis=0)
    widths = centred.max(axis=1) - centred.min(axis=1)
    half = widths / (2**bits - 1) / 2 / max(1, 2**residual_bits - 1)
    # the ends of the range are rounded to float16
    rounding = np.abs(centred).max(axis=1) * 2**-11
    assert (error(LVQ(bits=bits, residual_bits=residual_bits), docs) <= (half + 1.01 * rounding + 1e-6)[:, None]).all()


def test_score_is_the_sum_of_its_parts() -> None:
    docs, queries = clustered_vectors(100, 48), clustered_vectors(7, 48, seed=1)
    codec = LVQ(bits=4).fit(docs)
    codes = codec.encode(docs)
    low, high = codes.rows["range"].astype(np.float64).T
    expected = (
        (queries @ docs.mean(axis=0))[:, None]
        + low * queries.sum(axis=1)[:, None]
        + (high - low) / 15 * (queries @ codec._levels(codes).T)
    )
    assert np.allclose(codec.score(queries, codes), expected, atol=1e-5)


def test_a_constant_document_is_exact() -> None:
    docs = np.vstack([np.full((1, 16), 0.25), clustered_vectors(5, 16)])
    for codec in (
        LVQ(centre="none"),
        LVQ(bits=2, residual_bits=4, centre="none"),
        LVQ(bits=2, centre="none", clip=True),
    ):
        assert np.allclose(codec.decode(codec.fit(docs).encode(docs))[0], 0.25, atol=1e-6)


def test_clipping_helps_where_there_are_outliers() -> None:
    docs = np.random.default_rng(0).standard_normal((100, 384)).astype(np.float32)
    for bits in (2, 4):
        clipped, plain = (
            error(LVQ(bits=bits, centre="none", clip=True), docs),
            error(LVQ(bits=bits, centre="none"), docs),
        )
        # chosen by cosine and stretched to least squares: no document is worse off
        assert ((clipped**2).sum(axis=1) <= (plain**2).sum(axis=1) * 1.001).all()
        assert (clipped**2).sum() < 0.85 * (plain**2).sum()


def test_contradictions_are_named() -> None:
    for wrong in ({"bits": 0}, {"residual_bits": 9}, {"clip": True, "residual_bits": 4}):
        with pytest.raises(MethodError, match="bits"):
            LVQ(**wrong)
    docs = 1e6 * clustered_vectors(5, 16)
    with pytest.raises(MethodError, match="float16"):
        LVQ().fit(docs).encode(docs)
