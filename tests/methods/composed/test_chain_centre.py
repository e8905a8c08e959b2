"""What is taken from documents is given back: to their scores, and to the lengths by which they are renormalised."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import (
    SVD,
    Cast,
    Chain,
    Euclidean,
    FaissRaBitQ,
    Hyperplanes,
    KernelPCA,
    LatticeCoded,
    LeanVec,
    PerDimension,
    RandomProjection,
    RandomRotation,
    RetrievalPQ,
    ScaledLevels,
    ScoreAware,
    Sign,
    TransformCode,
    TrellisCoded,
    Truncate,
    topk,
)
from methods.base import MethodError, Transform, unit_rows
from tests.conftest import clustered_vectors

D = 32


def crowded(mean_length: float, n: int = 300, seed: int = 0) -> np.ndarray:
    """Return unit vectors, (n, D), whose mean has about that length."""
    around = clustered_vectors(n, D, seed=seed)
    direction = np.random.default_rng(9).standard_normal(D)
    direction /= np.linalg.norm(direction)
    spread = np.sqrt(1 - mean_length**2)
    return unit_rows((mean_length * direction + spread * around).astype(np.float32))


FULL = [[], [RandomRotation()], [SVD()], [SVD(centre="docs")], [ScoreAware()], [RandomRotation(), SVD(centre="docs")]]
NARROW = [
    [SVD(dim=8)],
    [SVD(dim=8, centre="docs")],
    [RandomRotation(), SVD(dim=8, centre="docs"), RandomRotation(seed=1)],
    [RandomProjection(dim=12)],
    [LeanVec(dim=8)],
    [Truncate(dim=8, normalize=False)],
    [Hyperplanes(nbits=64)],
]


def mapped_both_ways(transforms: list[Transform], docs: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the scores, float64 (m, n), of documents that went through the maps as they are, their centre as well."""
    for transform in transforms:
        docs = transform._map_linearly(docs)
        queries = transform.transform_queries(queries)
    return queries.astype(np.float64) @ docs.T.astype(np.float64)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FULL + NARROW),
    st.sampled_from(["none", "mean", "median", "auto"]),
    st.floats(0.0, 0.95),
    st.booleans(),
)
def test_a_centre_changes_no_score_of_a_lossless_code(transforms, centre, mean_length, renormalize):
    docs, queries = crowded(mean_length), crowded(mean_length, 20, seed=1)
    chain = Chain(transforms=transforms, codec=Cast(dtype="float32"), centre=centre, renormalize=renormalize)
    chain.fit(docs, queries)
    taken = chain.state().get("centre_", np.zeros(D)).astype(np.float64)
    # <q, c> exactly, and the rest through the maps, where SVD may take off more and give it back
    scores = chain.score(queries, chain.encode(docs))
    if transforms in FULL:
        expected = queries.astype(np.float64) @ docs.T.astype(np.float64)
        assert scores == pytest.approx(expected, abs=1e-4)
    elif not any(transform._taken() is not None for transform in transforms) and not renormalize:
        about = mapped_both_ways(transforms, (docs - taken).astype(np.float32), queries)
        assert scores == pytest.approx(about + (queries @ taken)[:, None], abs=1e-4)
    if renormalize and not isinstance(transforms[-1] if transforms else None, ScoreAware):
        assert np.linalg.norm(chain.decode(chain.encode(docs)), axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("transforms", NARROW[:3], ids=["second moment", "covariance", "between rotations"])
def test_lengths_are_those_of_documents_mapped_back(transforms):
    """An orthonormal map to a subspace: a decoded document is as long as its centre and its coordinates together."""
    docs, queries = crowded(0.9), crowded(0.9, 20, seed=1)
    plain = Chain(transforms=transforms, codec=Cast(dtype="float32"), centre="mean").fit(docs)
    unit = Chain(transforms=transforms, codec=Cast(dtype="float32"), centre="mean", renormalize=True).fit(docs)
    centre = docs.mean(axis=0, dtype=np.float64)
    axes = np.linalg.eigh(np.cov(docs.T.astype(np.float64), bias=True))[1][:, -8:]
    back = centre + (docs - centre) @ axes @ axes.T
    assert np.linalg.norm(plain.decode(plain.encode(docs)), axis=1) == pytest.approx(
        np.linalg.norm(back, axis=1), abs=1e-4
    )
    expected = queries @ (back / np.linalg.norm(back, axis=1, keepdims=True)).T
    assert unit.score(queries, unit.encode(docs)) == pytest.approx(expected, abs=1e-4)


def overlap(codec, docs: np.ndarray, queries: np.ndarray, k: int = 10) -> float:
    best = np.argsort(-(queries @ docs.T), axis=1)[:, :k]
    codec.fit(docs)
    found = codec.search(queries, codec.encode(docs), k)[1]
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(best, found, strict=True)]))


@pytest.mark.parametrize(
    "codec",
    [
        TrellisCoded(nbytes=12, states=16, renormalize=True),
        TransformCode(nbytes=12, renormalize=True),
        PerDimension(bits=3, renormalize=True),
    ],
    ids=["trellis", "bytes", "scalars"],
)
def test_a_codec_that_renormalises_behind_a_centred_basis(codec):
    """Renormalised by the lengths of what is left of documents without their mean, rankings were wrong silently."""
    docs, queries = crowded(0.9, 600), crowded(0.9, 100, seed=1)
    centred = overlap(Chain(transforms=[SVD(centre="docs")], codec=codec), docs, queries)
    plain = overlap(Chain(transforms=[SVD()], codec=codec), docs, queries)
    assert centred > plain - 0.02


@pytest.mark.parametrize(
    ("with_centre", "without"),
    [
        (Sign(centre="mean", scale="mean", renormalize=True), Sign()),
        (Sign(centre="median", scale="mean", renormalize=True), Sign(threshold="median")),
        (Sign(centre="mean", scale="mean", scoring="symmetric"), Sign(scoring="symmetric")),
        (
            Chain(
                transforms=[SVD(dim=16), RandomRotation()], codec=Sign(scale="mean"), centre="mean", renormalize=True
            ),
            Chain(transforms=[SVD(dim=16), RandomRotation()], codec=Sign()),
        ),
        (
            Chain(transforms=[RandomRotation()], codec=ScaledLevels(bits=2), centre="mean", renormalize=True),
            Chain(transforms=[RandomRotation()], codec=ScaledLevels(bits=2)),
        ),
    ],
    ids=["signs", "median", "Hamming", "subspace", "rotated levels"],
)
def test_codes_about_the_mean_find_more_where_cosines_are_crowded(with_centre, without):
    docs, queries = crowded(0.9, 600), crowded(0.9, 100, seed=1)
    assert overlap(with_centre, docs, queries) > overlap(without, docs, queries) + 0.05


def test_codes_against_codes_are_compared_about_the_centre():
    """A chain's queries are centred too where both sides are codes: its scores are 1 - 2 Hamming / d."""
    docs, queries = crowded(0.9), crowded(0.9, 20, seed=1)
    codec = Sign(scale="mean", scoring="symmetric")
    chain = Chain(transforms=[RandomRotation()], codec=codec, centre="mean").fit(docs)
    rotation = chain.transforms[0]
    bits, asked = (rotation.transform_docs(v - chain.centre_) > 0 for v in (docs, queries))
    distances = (bits[None] != asked[:, None]).sum(axis=2)
    codes = chain.encode(docs)
    assert chain.score(queries, codes) == pytest.approx(1 - 2 * distances / D, abs=1e-5)
    assert chain.search(queries, codes, 300)[0] == pytest.approx(np.sort(1 - 2 * distances / D)[:, ::-1], abs=1e-5)


@pytest.mark.parametrize(
    "make",
    [lambda: Sign(centre="auto", scale="mean"), lambda: Chain(transforms=[], codec=Sign(scale="mean"), centre="auto")],
)
def test_fitting_again_forgets_the_centre(make):
    codec = make().fit(crowded(0.9))
    assert "centre_" in codec.state()
    assert "centre_" not in codec.fit(crowded(0.0)).state()
    again = make().load_state(codec.state())
    docs = crowded(0.0)
    assert (again.decode(again.encode(docs)) == codec.decode(codec.encode(docs))).all()


def test_a_map_that_is_not_linear_takes_no_centre():
    with pytest.raises(MethodError, match="centre=mean needs transforms that are linear, which KernelPCA is not"):
        Chain(transforms=[KernelPCA(dim=4)], codec=Sign(scale="mean"), centre="mean")


@pytest.mark.parametrize("codec", [Sign(), ScaledLevels(scale="unit")])
def test_codes_without_a_size_take_no_centre(codec):
    with pytest.raises(MethodError, match="scale=unit does not"):
        Chain(transforms=[], codec=codec, centre="mean")


def test_renormalising_by_rule():
    """auto: where the fitted documents have unit length, and not where lengths mean something."""
    docs = crowded(0.3)
    longer = docs * np.linspace(0.5, 2, len(docs), dtype=np.float32)[:, None]
    for codec in (
        PerDimension(bits=2, renormalize="auto"),
        Chain(transforms=[SVD()], codec=PerDimension(bits=2), renormalize="auto"),
    ):
        assert np.linalg.norm(codec.fit(docs).decode(codec.encode(docs)), axis=1) == pytest.approx(1, abs=1e-5)
        assert np.linalg.norm(codec.fit(longer).decode(codec.encode(longer)), axis=1).std() > 0.1


@pytest.mark.parametrize("lengths", ["unit", "others"])
def test_the_rule_is_one_of_the_two_choices(lengths):
    """auto is true or false, for parts that ask in fit, too, and for those that keep an exact score's last digit."""
    docs = crowded(0.3)
    if lengths == "others":
        docs = docs * np.linspace(0.5, 2, len(docs), dtype=np.float32)[:, None]
    for make in (
        lambda choice: FaissRaBitQ(renormalize=choice),
        lambda choice: RetrievalPQ(m=4, bits=2, rounds=0, steps=3, batch=8, renormalize=choice),
    ):
        by_rule, given = make("auto").fit(docs), make(lengths == "unit").fit(docs)
        assert np.array_equal(by_rule.decode(by_rule.encode(docs)), given.decode(given.encode(docs)))


def test_parameters_that_came_later_are_no_part_of_an_identity_at_their_default():
    assert "centre" not in Chain(transforms=[], codec=Sign()).parameters()
    assert set(Sign().parameters()) == {"renormalize", "scoring", "threshold"}
    assert Sign(centre="mean", scale="mean").parameters()["centre"] == "mean"


ENDING = [
    TrellisCoded(nbytes=1, states=4),
    LatticeCoded(nbytes=1),
    TransformCode(nbytes=1),
    TransformCode(nbytes=1, codebook="joint", tail=2),
]
"""Codecs that have no bits for the last dimensions, once these are in the order of their variance."""


@pytest.mark.parametrize("codec", ENDING, ids=lambda codec: type(codec).__name__)
@pytest.mark.parametrize("transform", [SVD(), SVD(centre="docs"), ScoreAware()])
def test_codes_are_of_the_dimensions_that_codecs_say_they_look_at(codec, transform):
    docs, queries = crowded(0.5), crowded(0.5, n=20, seed=1)
    chain = Chain(transforms=[transform], codec=codec).fit(docs, queries)
    whole = transform.transform_docs(docs)
    leading = codec._leading()
    assert 0 < leading < D
    others = whole.copy()
    others[:, leading:] = 1e3
    short = transform.transform_docs(docs, leading)
    assert not short[:, leading:].any()
    np.testing.assert_allclose(short[:, :leading], whole[:, :leading], rtol=1e-6)
    expected = codec.encode(whole).array
    for same in (codec.encode(others), codec.encode(short), chain.encode(docs)):
        np.testing.assert_array_equal(same.array, expected)


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize(
    "transforms", [[], [SVD()], [SVD(dim=24, centre="docs")], [ScoreAware()]], ids=lambda parts: str(len(parts))
)
@pytest.mark.parametrize("codec", ENDING, ids=lambda codec: type(codec).__name__)
def test_documents_end_in_the_tail_that_a_search_is_told_of(codec, transforms, renormalize):
    docs, queries = crowded(0.5), crowded(0.5, n=20, seed=1)
    for chain in (
        Chain(transforms=transforms, codec=codec, centre="mean", renormalize=renormalize),
        Chain(transforms=transforms, codec=dataclasses.replace(codec, renormalize=renormalize)),
        Euclidean(transforms=transforms, codec=codec),
    ):
        codes = chain.fit(docs, queries).encode(docs)
        ends = chain.doc_matrix(codes)
        tail = chain._tail()
        assert (tail is None) == isinstance(chain, Euclidean)
        if tail is not None and len(tail):
            ends = ends[:, ends.shape[1] - len(tail) :].astype(np.float64)
            np.testing.assert_allclose(ends, np.outer(ends @ tail / (tail @ tail), tail), atol=1e-6)
        # without axes in the order of their variance there may be none
        assert tail is None or len(tail) >= topk.LEAST_TAIL or not transforms
        scores = (chain.query_matrix(queries).astype(np.float64) @ chain.doc_matrix(codes).T).astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :30]
        np.testing.assert_array_equal(chain.search(queries, codes, 30)[1], order)


@pytest.mark.parametrize("alike", [0, 5, D])
def test_lengths_of_documents_mapped_back_by_fewer_products(alike):
    transform = ScoreAware().fit(crowded(0.5), crowded(0.3, n=40))
    mapped = transform.transform_docs(crowded(0.5, n=20))
    mapped[:, D - alike :] = mapped[:1, D - alike :]
    back = mapped.astype(np.float64) @ transform.backward_.T.astype(np.float64)
    np.testing.assert_allclose(transform._lengths(mapped, alike), np.linalg.norm(back, axis=1), rtol=1e-12)
