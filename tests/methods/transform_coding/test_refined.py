"""Axes and codebooks refined in turns."""

import numpy as np
import pytest

from methods import SVD, Cast, Chain, PerDimension, RefinedTransformCode, TransformCode
from methods.base import MethodError
from tests.conftest import clustered_vectors

DOCS = clustered_vectors(1500, 32)


def refined(rounds: int, nbytes: int = 4, **options: object) -> RefinedTransformCode:
    codec = TransformCode(nbytes=nbytes, codebook="joint", tail=65536, shrinkage=0.0)
    return RefinedTransformCode(transforms=[SVD(centre="axes")], codec=codec, rounds=rounds, **options)  # type: ignore[arg-type]


def error(codec: Chain) -> float:
    codes = codec.fit(DOCS).encode(DOCS)
    return float(np.mean(np.sum((codec._transform_docs(DOCS) - codec.decode(codes)) ** 2, axis=1)))


def test_every_round_lowers_the_error() -> None:
    errors = [error(refined(rounds)) for rounds in (0, 1, 3, 8)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.98 * errors[0]


def test_no_rounds_are_transform_coding() -> None:
    plain = Chain(transforms=[SVD(centre="axes")], codec=refined(0).codec)
    for name, array in plain.fit(DOCS).state().items():
        assert np.array_equal(array, refined(0).fit(DOCS).state()[name]), name


def test_the_axes_stay_a_rotation() -> None:
    axes = refined(8).fit(DOCS).state()["0.components_"]
    assert np.allclose(axes.T @ axes, np.eye(32), atol=1e-5)


def test_the_mean_is_kept_by_axes_of_the_covariance() -> None:
    moved = DOCS + np.float32(2)
    kept = Chain(transforms=[SVD(centre="axes")], codec=Cast(dtype="float32")).fit(moved)
    assert "0.mean_" not in kept.state()
    assert kept.score(DOCS[:5], kept.encode(moved)) == pytest.approx(DOCS[:5] @ moved.T, abs=1e-4)
    assert np.allclose(
        kept.state()["0.components_"],
        Chain(transforms=[SVD(centre="docs")], codec=Cast(dtype="float32")).fit(moved).state()["0.components_"],
    )


def test_a_stream_of_bits_has_no_codebooks_to_follow() -> None:
    codec = refined(4, nbytes=28).fit(DOCS)
    assert not codec.codec.has_joint_codebooks  # type: ignore[attr-defined]
    with pytest.raises(MethodError, match="only joint codebooks follow"):
        codec.codec.follow(DOCS)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("transforms", "codec", "message"),
    [
        ([], TransformCode(nbytes=4, codebook="joint"), "must be an SVD"),
        ([SVD(dim=8)], TransformCode(nbytes=4, codebook="joint"), "dim=null"),
        ([SVD(centre="docs")], TransformCode(nbytes=4, codebook="joint"), "centre=axes"),
        ([SVD()], TransformCode(nbytes=4), "codebook=joint"),
        ([SVD()], PerDimension(bits=4), "must be a TransformCode"),
    ],
)
def test_what_cannot_be_refined(transforms: list[SVD], codec: TransformCode, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        RefinedTransformCode(transforms=transforms, codec=codec)  # type: ignore[arg-type]
