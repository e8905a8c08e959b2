"""MUVERA: the exact laws, the compiled loop against its definition, and fastembed's own numbers."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.base import MethodError
from methods.kernels import muvera as kernel
from methods.max_sim import pair_scores
from methods.multivector.muvera import MeanOfTokens, Muvera
from methods.token_vectors import TokenVectors
from tests.methods.multivector.collections import token_collection

GOOGLE = Path(__file__).parents[2] / "samples" / "google_muvera.json"

FASTEMBED_DOCS = [
    [0.315225, 2.65414, -0.772168, 2.130169, 3.464542, -2.156245],
    [2.236089, -0.118641, -0.843761, -0.348647, 2.236089, -0.118641],
    [-2.40478, 0.939126, 1.005159, -1.008797, -0.845388, 1.773094],
]
FASTEMBED_QUERIES = [
    [-2.251499, 3.037565, 2.994335, -2.781932, -0.760676, -2.025532],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [-1.839256, -5.736866, -2.331214, 1.775713, -12.177714, -6.357785],
]
FASTEMBED_SUMS = [
    [83.62085, 67.6309, 75.81436],
    [54.58487, 8.45386, 199.14947],
]

DOCS, QUERIES = token_collection(60, 16, 9), token_collection(8, 16, 5, seed=1)


def max_sim(queries: TokenVectors, docs: TokenVectors) -> np.ndarray:
    pairs = np.indices((len(queries), len(docs))).reshape(2, -1)
    return pair_scores(queries, docs, *pairs).reshape(len(queries), len(docs))


def estimate(part: Muvera, queries: TokenVectors, docs: TokenVectors) -> np.ndarray:
    part.fit(docs)
    return part.transform_queries(queries) @ part.transform_docs(docs).T / part.repetitions


seeds = st.integers(0, 10_000)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(0, 5), st.sampled_from(["token", "bucket"]))
def test_of_a_document_with_one_vector_the_estimate_is_exact(seed: int, k_sim: int, fill: str) -> None:
    single = TokenVectors(DOCS.values[:20], np.arange(21))
    part = Muvera(k_sim=k_sim, dim_proj=None, repetitions=3, fill=fill, seed=seed)
    assert np.allclose(estimate(part, QUERIES, single), max_sim(QUERIES, single), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(0, 5), st.sampled_from(["token", "bucket", "none"]))
def test_without_projection_the_estimate_is_never_above(seed: int, k_sim: int, fill: str) -> None:
    """A bucket's mean never beats its best vector; an empty bucket's 0 may, where all similarities are negative."""
    part = Muvera(k_sim=k_sim, dim_proj=None, repetitions=3, fill=fill, seed=seed)
    exact = max_sim(QUERIES, DOCS)
    if fill == "none":
        positive = np.array([[(q @ d.T).max(axis=1).min() >= 0 for d in DOCS.matrices()] for q in QUERIES.matrices()])
        assert (estimate(part, QUERIES, DOCS) <= exact + 1e-5)[positive].all()
    else:
        assert (estimate(part, QUERIES, DOCS) <= exact + 1e-5).all()


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_with_one_bucket_it_is_the_sum_and_the_mean(seed: int) -> None:
    part = Muvera(k_sim=0, dim_proj=None, repetitions=2, seed=seed).fit(DOCS)
    means = np.array([matrix.mean(axis=0) for matrix in DOCS.matrices()])
    sums = np.array([matrix.sum(axis=0) for matrix in QUERIES.matrices()])
    assert np.allclose(part.transform_docs(DOCS), np.hstack([means, means]), atol=1e-6)
    assert np.allclose(part.transform_queries(QUERIES), np.hstack([sums, sums]), atol=1e-5)


@given(seeds, st.sampled_from(["dense", "sketch"]))
@settings(max_examples=10, deadline=None)
def test_duplicates_change_nothing_in_documents_and_double_queries(seed: int, projection: str) -> None:
    part = Muvera(k_sim=3, dim_proj=4, repetitions=3, projection=projection, seed=seed).fit(DOCS)
    twice = TokenVectors.of([np.concatenate([matrix, matrix]) for matrix in DOCS.matrices()])
    assert np.allclose(part.transform_docs(twice), part.transform_docs(DOCS), atol=1e-5)
    assert np.allclose(part.transform_queries(twice), 2 * part.transform_queries(DOCS), atol=1e-4)


def test_a_query_fills_no_more_than_its_vectors_and_a_document_every_bucket() -> None:
    part = Muvera(k_sim=4, dim_proj=4, repetitions=5).fit(DOCS)
    filled = (part.transform_queries(QUERIES) != 0).sum(axis=1)
    assert (filled <= QUERIES.counts * 4 * 5).all()
    blocks = part.transform_docs(DOCS).reshape(len(DOCS), 5 * 16, 4)
    assert (blocks != 0).any(axis=2).all()
    empty = TokenVectors.of([np.empty((0, 16), np.float32)], 16)
    assert not part.transform_docs(empty).any() and not part.transform_queries(empty).any()


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 3), st.integers(0, 4), st.booleans(), st.sampled_from([0, 1, 2]), st.booleans())
def test_the_compiled_loop_is_its_definition(
    seed: int, repetitions: int, k_sim: int, means: bool, fill: int, shared: bool
) -> None:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 7, 5))]).astype(np.int64)
    values = rng.standard_normal((offsets[-1], 1 if shared else repetitions, 3)).astype(np.float32)
    buckets = rng.integers(0, 2**k_sim, (offsets[-1], repetitions))
    encodings = np.empty((5, repetitions * 2**k_sim * 3), np.float32)
    kernel.bucket_sums(values, buckets, offsets, 2**k_sim, means, fill, encodings)
    expected = kernel.bucket_sums_reference(values, buckets, offsets, 2**k_sim, means, fill)
    assert np.allclose(encodings, expected, atol=1e-6)


def test_encodings_are_those_of_fastembed() -> None:
    """Made with fastembed 0.9.1: Muvera(16, k_sim=3, dim_proj=4, r_reps=2, random_seed=42), of the same vectors."""
    rng = np.random.default_rng(5)
    docs = TokenVectors.of([rng.standard_normal((count, 16)).astype(np.float32) for count in (6, 1, 25)])
    part = Muvera(k_sim=3, dim_proj=4, repetitions=2, fill="bucket", seed=42).fit(docs)
    made = part.transform_docs(docs)
    asked = part.transform_queries(docs)
    assert np.allclose(made[:, :6], FASTEMBED_DOCS, atol=1e-5)
    assert np.allclose(asked[:, -6:], FASTEMBED_QUERIES, atol=1e-5)
    assert np.allclose(np.abs(made).sum(axis=1), FASTEMBED_SUMS[0], rtol=1e-5)
    assert np.allclose(np.abs(asked).sum(axis=1), FASTEMBED_SUMS[1], rtol=1e-5)


def test_encodings_are_those_of_googles_code() -> None:
    """Google's C++ as muvera-fde 0.1.0 carries it (seed 11), given its hyperplanes and projections, block for block.

    Built by hand with Eigen 3.4.1 and g++ 12, a few lines in Abseil's place. It does not hand its random numbers out:
    hyperplanes are those of the same lines (`SimHashMatrixFromSeed`) called from outside, projections what it makes of
    the unit vectors without hyperplanes.
    """
    google = {name: np.array(value) for name, value in json.loads(GOOGLE.read_text()).items()}
    rng = np.random.default_rng(5)
    docs = TokenVectors.of([rng.standard_normal((count, 8)).astype(np.float32) for count in (6, 1, 25)])
    part = Muvera(k_sim=3, dim_proj=4, repetitions=2, projection="sketch").fit(docs)
    side_by_side = (google[name].transpose(1, 0, 2).reshape(8, -1) for name in ("hyperplanes", "projections"))
    vars(part)["_drawn"] = tuple(side_by_side)
    # its block number is the Gray decoding of the sides, the first hyperplane's leading
    sides = np.arange(8) ^ (np.arange(8) >> 1)
    own = sum(((sides >> (2 - plane)) & 1) << plane for plane in range(3))
    for made, expected in ((part.transform_docs, "documents"), (part.transform_queries, "queries")):
        blocks = made(docs).reshape(3, 2, 8, 4)[:, :, own]
        assert np.allclose(blocks, google[expected].reshape(3, 2, 8, 4), atol=2e-5)


def test_estimates_come_near_as_repetitions_grow() -> None:
    exact = max_sim(QUERIES, DOCS)

    def agreement(repetitions: int) -> float:
        found = estimate(Muvera(k_sim=4, dim_proj=8, repetitions=repetitions), QUERIES, DOCS)
        return float(np.mean([np.corrcoef(one, two)[0, 1] for one, two in zip(found, exact, strict=True)]))

    assert agreement(40) > agreement(2) and agreement(40) > 0.7


def test_a_final_projection_keeps_inner_products_on_average() -> None:
    whole = Muvera(k_sim=3, dim_proj=8, repetitions=8).fit(DOCS)
    products = whole.transform_queries(QUERIES) @ whole.transform_docs(DOCS).T
    for kind in ("sketch", "dense"):
        few = Muvera(k_sim=3, dim_proj=8, repetitions=8, final_dim=400, final_projection=kind).fit(DOCS)
        found = few.transform_queries(QUERIES) @ few.transform_docs(DOCS).T
        assert few.transform_docs(DOCS).shape == (60, 400)
        assert np.corrcoef(found.ravel(), products.ravel())[0, 1] > 0.8


def test_centring_moves_all_scores_of_a_query_alike() -> None:
    part = Muvera(k_sim=0, dim_proj=None, repetitions=1, centre=True)
    plain = Muvera(k_sim=0, dim_proj=None, repetitions=1)
    gap = estimate(plain, QUERIES, DOCS) - estimate(part, QUERIES, DOCS)
    sums = np.array([matrix.sum(axis=0) for matrix in QUERIES.matrices()])
    assert np.allclose(gap, (sums @ DOCS.values.mean(axis=0))[:, None], atol=1e-4) and part.state().keys() == {
        "centre_",
        "check_",
        "dim_",
    }


def test_with_a_centre_too_the_estimate_of_one_vector_is_exact_but_for_what_is_left_out() -> None:
    single = TokenVectors(DOCS.values[:20], np.arange(21))
    part = Muvera(k_sim=4, dim_proj=None, repetitions=3, centre=True)
    found = estimate(part, QUERIES, single)
    sums = np.array([matrix.sum(axis=0) for matrix in QUERIES.matrices()])
    assert np.allclose(found + (sums @ part.centre_)[:, None], max_sim(QUERIES, single), atol=1e-5)


def test_buckets_lie_about_the_centre_on_both_sides() -> None:
    """Tokens moved by a vector that is far longer than they are: without a centre all would share a bucket."""
    moved = TokenVectors(DOCS.values + 1000, DOCS.offsets)
    part = Muvera(k_sim=3, dim_proj=None, repetitions=1, fill="none", centre=True).fit(moved)
    for made in (part.transform_docs(moved), part.transform_queries(moved)):
        assert ((made.reshape(len(moved), 8, 16) != 0).any(axis=2).sum(axis=1) > 1).mean() > 0.8


def test_hyperplanes_are_no_state_and_another_seed_has_others() -> None:
    one, other = (Muvera(seed=seed).fit(DOCS) for seed in (1, 2))
    assert one.state().keys() == {"dim_", "check_"} and sum(array.nbytes for array in one.state().values()) == 16
    again = Muvera(seed=1).load_state(one.state())
    assert np.array_equal(again.transform_docs(DOCS), one.transform_docs(DOCS))
    assert hashlib.sha256(other.transform_docs(DOCS)).digest() != hashlib.sha256(one.transform_docs(DOCS)).digest()


def test_other_hyperplanes_than_documents_were_encoded_with_are_refused() -> None:
    """As after a change of NumPy's generator; the wrong seed stands for it."""
    stranger = Muvera(seed=2).load_state(Muvera(seed=1).fit(DOCS).state())
    with pytest.raises(MethodError, match="draws other numbers from seed=2"):
        stranger.transform_queries(QUERIES)


def test_a_loaded_state_replaces_what_was_drawn_before() -> None:
    narrow = token_collection(30, 8, 4, seed=2)
    part = Muvera(k_sim=2, dim_proj=4, repetitions=2, final_dim=10)
    wide = part.fit(DOCS).state(), part.transform_docs(DOCS)
    part.fit(narrow).transform_docs(narrow)
    assert np.array_equal(part.load_state(wide[0]).transform_docs(DOCS), wide[1])


def test_documents_are_encoded_alike_in_chunks() -> None:
    part = Muvera(k_sim=4, dim_proj=8, repetitions=5, final_dim=100).fit(DOCS)
    chunks = [part.transform_docs(DOCS[start : start + 7]) for start in range(0, 60, 7)]
    assert np.array_equal(np.concatenate(chunks), part.transform_docs(DOCS))


DENSE = {"k_sim": 10, "dim_proj": None, "final_dim": 1000, "final_projection": "dense"}
"""A projection of 328 million numbers."""


@pytest.mark.parametrize("wrong", [{"k_sim": -1}, {"k_sim": 40}, {"repetitions": 0}, {"dim_proj": 17}, DENSE])
def test_settings_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(MethodError):
        Muvera(**wrong).fit(DOCS)


def test_the_mean_of_all_vectors() -> None:
    docs = TokenVectors.concatenate([TokenVectors.of([np.empty((0, 16), np.float32)], 16), DOCS])
    plain = MeanOfTokens(renormalize=False).fit(docs).transform_docs(docs)
    assert np.allclose(plain[1:], [matrix.mean(axis=0) for matrix in DOCS.matrices()], atol=1e-6)
    assert not plain[0].any()
    assert np.allclose(np.linalg.norm(MeanOfTokens().fit(docs).transform_docs(docs)[1:], axis=1), 1, atol=1e-6)
