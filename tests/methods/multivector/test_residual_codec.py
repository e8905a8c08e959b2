import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import FaissCodec, PooledQuantiles, ResidualTokens
from methods.base import Codec, MethodError
from methods.kernels.id_runs import pack_runs, unpack_runs
from methods.multivector.centroids import Nearest, k_means
from methods.multivector.residual_codec import centroid_count
from methods.token_vectors import TokenVectors, offsets_of

SAMPLE = Path(__file__).parents[2] / "samples" / "fast_plaid.json"


def unit_tokens(counts: Any, d: int, seed: int = 0) -> TokenVectors:
    """Return unit vectors about 30 directions."""
    rng = np.random.default_rng(seed)
    offsets = offsets_of(counts)
    noise = 0.5 * rng.standard_normal((int(offsets[-1]), d))
    values = rng.standard_normal((30, d))[rng.integers(0, 30, offsets[-1])] + noise
    values /= np.linalg.norm(values, axis=1)[:, None]
    return TokenVectors(values.astype(np.float32), offsets)


def two_bits() -> PooledQuantiles:
    return PooledQuantiles(bits=2)


def bytes_of(codec: ResidualTokens, docs: TokenVectors) -> dict[str, bytes]:
    arrays = codec.encode(docs).to_arrays() | codec.state()
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_equals_fast_plaid(bits: int) -> None:
    """What fast-plaid 1.4.6 stored and decoded for these tokens and centroids (`compress_only`, d = 8)."""
    sample = json.loads(SAMPLE.read_text())
    own = sample[str(bits)]
    tokens = TokenVectors.of([np.float32(sample["tokens"])])
    codec = ResidualTokens(residual=PooledQuantiles(bits=bits), ids="int64")
    quantiles = {f"residual.{name}_": np.float32(own[name]) for name in ("cutoffs", "weights")}
    dim = np.asarray(8)
    codec.load_state(quantiles | {"residual.dim_": dim, "dim_": dim, "centroids_": np.float16(sample["centroids"])})
    codes = codec.encode(tokens)
    strings = codes.ragged["tokens"].values
    assert strings[:48].view("<i8").tolist() == own["codes"]
    assert strings.nbytes == 6 * (8 + bits)
    # the same buckets; within a byte its bits stand in the opposite order
    reversed_bits = np.packbits(np.unpackbits(strings[48:].reshape(6, bits), axis=1, bitorder="little"), axis=1)
    assert reversed_bits.tolist() == own["residuals"]
    # it decodes in float16
    assert np.abs(codec.decode(codes).values - np.float32(own["decoded"])).max() < 2e-3


def test_number_of_centroids() -> None:
    """The floor, not the nearest power: 16 sqrt(7386) = 1375 and 16 sqrt(5183 x 250) = 18213."""
    counts = [centroid_count(tokens) for tokens in (7386, 5183 * 250, 1, 0)]
    assert counts == [1024, 16384, 16, 1]
    docs = unit_tokens([5, 4], 16)
    codec = ResidualTokens(residual=two_bits()).fit(docs)
    assert codec.centroids_.shape == (9, 16)  # never more than there are tokens
    assert len(ResidualTokens(centroids=4).fit(docs).centroids_) == 4


@pytest.mark.parametrize("residual", [None, PooledQuantiles(bits=1), two_bits(), FaissCodec(factory="PQ3x4np")])
@pytest.mark.parametrize("ids", ["bits", "int32", "int64"])
@pytest.mark.parametrize("centroids", [1, 3, 200])
def test_what_is_stored_is_what_is_decoded(residual: Codec | None, ids: Any, centroids: int) -> None:
    """Documents of no token, of one, of 2,000; 15 dimensions, which fill no byte; bytes by hand."""
    counts = np.array([0, 1, 2000, 0, 7, 3])
    docs = unit_tokens(counts, 15)
    codec = ResidualTokens(residual=residual, ids=ids, centroids=centroids).fit(docs)
    codes = codec.encode(docs)
    decoded = codec.decode(codes)
    assert np.array_equal(decoded.counts, counts)
    assert np.allclose(np.linalg.norm(decoded.values, axis=1), 1, atol=1e-6)
    bits = {"int32": 32, "int64": 64}.get(ids) or {1: 1, 3: 2, 200: 8}[centroids]
    if residual is None and ids == "bits":
        bits = 8
    own = 0 if residual is None else codec.residual.encode(docs.values[:1]).array.shape[1]  # type: ignore[union-attr]
    assert codes.ragged["tokens"].lengths.tolist() == [-(-count * bits // 8) + count * own for count in counts]
    # by the definition: the nearest centroid, then the residual's code, then unit length
    wide = codec.centroids_.astype(np.float32)
    products = docs.values.astype(np.float64) @ wide.T.astype(np.float64)
    which = Nearest(wide).of(docs.values)[1]
    near = products[np.arange(len(which)), which]
    assert (near >= products.max(axis=1) - 2e-3).all()
    expected = wide[which]
    if codec.residual is not None:
        expected = expected + codec.residual.decode(codec.residual.encode(docs.values - expected))
    expected /= np.linalg.norm(expected, axis=1)[:, None]
    assert np.allclose(decoded.values, expected, atol=1e-6)
    # in another order, alone, and read from a file
    rows = np.array([4, 2, 0, 4])
    assert np.array_equal(codec.decode(codes.take(rows)).values, decoded.take(rows).values)
    fresh = ResidualTokens(residual=residual, ids=ids, centroids=centroids).load_state(codec.state())
    assert np.array_equal(fresh.decode(codes).values, decoded.values)


def test_more_bits_are_nearer_and_centroids_alone_farthest() -> None:
    docs = unit_tokens(np.full(60, 30), 32)
    codecs = [ResidualTokens(centroids=32)]
    codecs += [ResidualTokens(residual=PooledQuantiles(bits=bits), centroids=32) for bits in (1, 2, 4, 8)]
    cosines = []
    for codec in codecs:
        decoded = codec.fit(docs).decode(codec.encode(docs))
        cosines.append(float((decoded.values * docs.values).sum(axis=1).mean()))
    assert cosines == sorted(cosines)
    assert cosines[-1] > 0.999


def test_bytes_depend_on_neither_threads_nor_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = unit_tokens(np.random.default_rng(1).integers(0, 40, 300), 24)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    seen = []
    for threads in ("1", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        codec = ResidualTokens(residual=two_bits(), seed=3).fit(docs)
        seen.append(bytes_of(codec, docs))
        parts = [codec.encode(docs[start : start + 77]) for start in range(0, 300, 77)]
        assert type(parts[0]).concatenate(parts).ragged["tokens"].values.tobytes() == seen[-1]["ragged.tokens"]
    assert seen[0] == seen[1]
    assert bytes_of(ResidualTokens(residual=two_bits(), seed=4).fit(docs), docs) != seen[0]


def test_float16_and_views_are_encoded_alike() -> None:
    docs = unit_tokens(np.full(40, 12), 16)
    half = TokenVectors(docs.values.astype(np.float16), docs.offsets)
    codec = ResidualTokens(residual=two_bits()).fit(half)
    whole, part = codec.encode(half.float32()), codec.encode(half[10:20])
    assert np.array_equal(whole[10:20].ragged["tokens"].values, part.ragged["tokens"].values)


def test_search_is_max_sim_of_what_is_decoded() -> None:
    docs, queries = unit_tokens([3, 0, 9, 30, 1, 5], 16), unit_tokens([4, 1], 16, seed=1)
    codec = ResidualTokens(residual=two_bits(), centroids=16).fit(docs)
    codes = codec.encode(docs)
    decoded = codec.decode(codes).matrices()
    expected = np.zeros((2, 6))
    for row, query in enumerate(queries.matrices()):
        for place, doc in enumerate(decoded):
            if len(doc):
                expected[row, place] = (query.astype(np.float64) @ doc.T.astype(np.float64)).max(axis=1).sum()
    scores, rows = codec.search(queries, codes, 6)
    assert np.array_equal(np.take_along_axis(expected.astype(np.float32), rows, axis=1), scores)
    assert np.array_equal(codec.score(queries, codes), expected.astype(np.float32))


def test_warp_does_not_scale_its_sums() -> None:
    docs = unit_tokens([40, 40], 16)
    codec = ResidualTokens(residual=two_bits(), centroids=4, spherical=True, renormalize=False).fit(docs)
    lengths = np.linalg.norm(codec.decode(codec.encode(docs)).values, axis=1)
    assert np.abs(lengths - 1).max() > 0.01


def test_refusals() -> None:
    nothing = TokenVectors(np.empty((0, 8), np.float32), np.zeros(4, np.int64))
    with pytest.raises(MethodError, match="no vectors to learn"):
        ResidualTokens(residual=two_bits()).fit(nothing)
    with pytest.raises(MethodError, match="each vector on its own"):
        ResidualTokens(residual=FaissCodec(factory="LSQ2x4"))
    with pytest.raises(MethodError, match="for one vector"):
        ResidualTokens(residual=ResidualTokens())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(1, 31), st.integers(0, 10**6))
def test_runs_of_numbers_come_back(counts: list[int], bits: int, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 1 << bits, sum(counts))
    strings = pack_runs(numbers, np.array(counts), bits)
    assert len(strings) == sum(-(-count * bits // 8) for count in counts)
    assert np.array_equal(unpack_runs(strings, np.array(counts), bits), numbers)


def test_k_means_finds_clusters_and_fills_empty_ones() -> None:
    """Four points at the corners of a square, many times each: four centroids lie on them, whatever they begin with."""
    corners = np.float32([[0, 0], [0, 9], [9, 0], [9, 9]])
    points = np.repeat(corners, 50, axis=0)
    for seed in range(10):
        found = k_means(points, 4, 6, False, np.random.default_rng(seed))
        assert {tuple(centre) for centre in found.round(3).tolist()} == {tuple(corner) for corner in corners.tolist()}


def test_of_centroids_that_tie_the_first_is_taken() -> None:
    centroids = np.float32([[1, 0], [0, 1], [1, 0], [0, 1]])
    _, which = Nearest(centroids).of(np.float32([[0, 3], [2, 0], [1, 1], [0, 0]]))
    assert which.tolist() == [1, 0, 0, 0]
    # by distance, a long centroid is not preferred: 2 is nearer to 1.8 than 5 is, though 5 has the larger product
    _, which = Nearest(np.float32([[5, 0], [2, 0]]), 5.0).of(np.float32([[1.8, 0], [4, 0]]))
    assert which.tolist() == [1, 0]
