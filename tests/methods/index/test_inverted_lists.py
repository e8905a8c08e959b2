"""Laws of inverted lists, over codecs of several kinds, and FAISS's own indexes as the reference."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evaluation.index_files import read_index, write_index
from methods import (
    SVD,
    Chain,
    FaissCodec,
    FaissRaBitQ,
    InvertedLists,
    PerDimension,
    RandomRotation,
    Rescore,
    ScaledLevels,
    ShortList,
    Sign,
    TransformCode,
)
from methods.base import Codec, MethodError, VectorsError
from methods.index import inverted_lists
from tests.conftest import bytes_of, clustered_vectors

N, D, M, K, LISTS = 700, 32, 25, 10, 20
DOCS, QUERIES = clustered_vectors(N, D), clustered_vectors(M, D, seed=1)

CODECS = {
    "int8": lambda: PerDimension(bits=8),
    "renormalised": lambda: PerDimension(bits=4, renormalize="auto"),
    "signs": lambda: Sign(),
    "hamming": lambda: Sign(scoring="symmetric"),
    "pq": lambda: FaissCodec(factory="PQ{m}x{bits}np", m=8, bits=4),
    "chain": lambda: Chain(transforms=[SVD(dim=16)], codec=PerDimension(bits=8)),
    "centred": lambda: Chain(transforms=[SVD(dim=16)], codec=PerDimension(bits=8), centre="mean", renormalize="auto"),
    "transform_coding": lambda: TransformCode(nbytes=8),
}
RESIDUAL = ["int8", "signs", "pq", "chain", "transform_coding"]
every_codec = pytest.mark.parametrize(
    ("name", "residual"), [(name, False) for name in CODECS] + [(name, True) for name in RESIDUAL]
)


def fitted(codec: Codec, **parameters: Any) -> InvertedLists:
    return InvertedLists(codec=codec, **{"lists": LISTS, "nprobe": 3, **parameters}).fit(DOCS)


@every_codec
def test_all_lists_give_the_exhaustive_answer(name: str, residual: bool) -> None:
    index = fitted(CODECS[name](), residual=residual)
    codes = index.encode(DOCS)
    with index.searching_all():
        scores, rows = index.search(QUERIES, codes, K)
    index.set_effort(LISTS)
    found_scores, found = index.search(QUERIES, codes, K)
    assert np.array_equal(found, rows) and np.array_equal(found_scores, scores)
    assert (index.visited == N).all()
    best = -np.sort(-index.score(QUERIES, codes), axis=1)[:, :K]
    assert np.allclose(scores, best, atol=1e-5)


OFFSETS = {
    "rabitq": lambda: Chain(
        transforms=[RandomRotation()],
        codec=ScaledLevels(bits=1, levels="uniform", start="clip", scale="unbiased"),
    ),
    "offset": lambda: PerDimension(bits=4),
}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([(name, False) for name in CODECS] + [(name, True) for name in [*RESIDUAL, *OFFSETS]]),
    offset=st.sampled_from(["none", "float16", "float32"]),
    renormalize=st.booleans(),
    seed=st.integers(0, 2**16),
    copies=st.sampled_from([1, 3, 60]),
    k=st.sampled_from([1, 10, 90]),
)
def test_codes_as_they_lie_give_the_answer_of_decoded_lists(
    name: tuple[str, bool], offset: str, renormalize: bool, seed: int, copies: int, k: int
) -> None:
    kind, residual = name
    more: dict[str, Any] = {"residual": residual}
    if residual and renormalize:
        more["renormalize"] = True
    elif residual:
        more["offset"] = offset
    docs = np.repeat(clustered_vectors(360 // copies, 20, seed=seed), copies, axis=0)
    docs *= np.exp(0.3 * np.random.default_rng(seed).standard_normal((len(docs), 1))).astype(np.float32)
    queries = clustered_vectors(9, 20, seed=seed + 1)
    small = {"chain": lambda: Chain(transforms=[SVD(dim=8)], codec=PerDimension(bits=8))}
    made = {**CODECS, **OFFSETS, **small, "pq": lambda: FaissCodec(factory="PQ4x8np")}[kind]()
    index = InvertedLists(codec=made, lists=min(6, 360 // copies), nprobe=3, **more).fit(docs)
    codes = index.encode(docs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_lists, "SPARE", 20)  # more than so many ties, and a query is decided the other way
        found = index.search(queries, codes, min(k, len(docs)))
        as_they_lie = index.scored_as == "codes"
        patch.setattr(InvertedLists, "_form", lambda *_: None)
        expected = index.search(queries, codes, min(k, len(docs)))
    assert as_they_lie or (residual and renormalize) or kind not in ("int8", "signs", "pq", "chain", *OFFSETS)
    assert index.scored_as == "float32"
    for own, other in zip(found, expected, strict=True):
        assert own.dtype == other.dtype and np.array_equal(own, other)


@pytest.mark.parametrize("name", CODECS)
def test_the_exhaustive_answer_is_that_of_the_codec_alone(name: str) -> None:
    index, alone = fitted(CODECS[name]()), CODECS[name]().fit(DOCS)
    codes = index.encode(DOCS)
    with index.searching_all():
        scores, rows = index.search(QUERIES, codes, K)
    expected_scores, expected = alone.search(QUERIES, alone.encode(DOCS), K)
    assert np.array_equal(rows, expected) and np.allclose(scores, expected_scores, atol=1e-5)
    assert np.array_equal(index.decode(codes), alone.decode(alone.encode(DOCS)))


@every_codec
def test_a_search_scores_the_documents_of_its_lists_and_no_others(name: str, residual: bool) -> None:
    index = fitted(CODECS[name](), residual=residual)
    codes = index.encode(DOCS)
    scores, rows = index.search(QUERIES, codes, N)
    square = (index.centroids_**2).sum(axis=1)
    nearest = np.argsort(-(QUERIES @ index.centroids_.T) / np.sqrt(square), axis=1)[:, :3]
    list_of = (DOCS @ index.centroids_.T - square / 2).argmax(axis=1)
    for query in range(M):
        inside = np.flatnonzero(np.isin(list_of, nearest[query]))
        assert index.visited[query] == len(inside)
        assert set(rows[query, : len(inside)]) == set(inside)
        assert (rows[query, len(inside) :] == -1).all() and (scores[query, len(inside) :] == -np.inf).all()


@every_codec
def test_another_process_finds_the_same(name: str, residual: bool, tmp_path: Path) -> None:
    index = fitted(CODECS[name](), residual=residual, ids="elias_fano")
    codes = index.encode(DOCS)
    write_index(tmp_path, index, codes)
    again, read = read_index(
        tmp_path, InvertedLists(codec=CODECS[name](), lists=LISTS, nprobe=3, residual=residual, ids="elias_fano")
    )
    for one, other in zip(index.search(QUERIES, codes, K), again.search(QUERIES, read, K), strict=True):
        assert np.array_equal(one, other)


def test_a_query_finds_the_same_alone() -> None:
    index = fitted(PerDimension(bits=2))
    codes = index.encode(DOCS)
    scores, rows = index.search(QUERIES, codes, K)
    for pick in (slice(0, 1), slice(4, 9)):
        few_scores, few = index.search(QUERIES[pick], codes, K)
        assert np.array_equal(rows[pick], few) and np.array_equal(scores[pick], few_scores)


def test_equal_documents_are_found_in_the_order_of_rows() -> None:
    index = fitted(Sign(scoring="symmetric"), nprobe=LISTS)
    scores, rows = index.search(QUERIES, index.encode(np.concatenate([DOCS, DOCS])), 60)
    tied = np.diff(scores, axis=1) == 0
    assert tied.any() and (np.diff(rows, axis=1)[tied] > 0).all()


def test_storage_is_codes_ids_lengths_and_centroids(tmp_path: Path) -> None:
    for ids, expected in (("int64", 8 * N + LISTS), ("int32", 4 * N + LISTS)):
        index = fitted(PerDimension(bits=8), ids=ids)
        storage = write_index(tmp_path, index, index.encode(DOCS))
        assert storage.structure_bytes == expected  # no list has more than 255 documents
        assert storage.structure_state_bytes == 4 * LISTS * D
        assert storage.codes_file_bytes - storage.codes_header_bytes == D * N + expected
    index = fitted(PerDimension(bits=8), ids="packed")
    codes = index.encode(DOCS)
    bits = 10  # 700 documents
    lengths = np.bincount(index._lists(codes).list_of, minlength=LISTS)
    assert len(codes.shared["index.ids"]) == np.ceil(lengths * bits / 8).sum()


def test_layouts_of_ids_change_no_answer() -> None:
    plain = fitted(PerDimension(bits=8))
    expected = plain.search(QUERIES, plain.encode(DOCS), K)
    sizes = {}
    for ids in ("int64", "int32", "packed", "vbyte", "rice", "elias_delta", "elias_fano"):
        index = fitted(PerDimension(bits=8), ids=ids)
        codes = index.encode(DOCS)
        for one, other in zip(index.search(QUERIES, codes, K), expected, strict=True):
            assert np.array_equal(one, other)
        sizes[ids] = codes.shared["index.ids"].nbytes
    assert sizes["elias_fano"] < sizes["packed"] < sizes["int32"] < sizes["int64"]


def test_empty_lists_and_few_documents() -> None:
    index = fitted(PerDimension(bits=8))
    codes = index.encode(DOCS[:3])
    scores, rows = index.search(QUERIES, codes, 50)
    assert rows.shape == (M, 3) and ((rows >= 0) == np.isfinite(scores)).all()
    index.set_effort(LISTS)
    assert (np.sort(index.search(QUERIES, codes, 50)[1], axis=1) == np.arange(3)).all()
    one = index.encode(DOCS[:1])
    assert (index.search(QUERIES, one, 1)[1] == 0).all()


def test_a_list_of_one_and_equal_documents() -> None:
    single = InvertedLists(codec=PerDimension(bits=8), lists=1, nprobe=1).fit(DOCS[:1])
    assert (single.search(QUERIES, single.encode(DOCS[:1]), 5)[1] == 0).all()
    same = np.repeat(DOCS[:1], 60, axis=0)
    index = InvertedLists(codec=PerDimension(bits=8), lists=8, nprobe=8, residual=True).fit(same)
    assert (index.search(QUERIES, index.encode(same), 60)[1] == np.arange(60)).all()


@pytest.mark.parametrize("name", RESIDUAL)
def test_whole_documents_are_renormalised(name: str) -> None:
    """Of unit length once, and so they are again; where the centroid stands beside the rest, up to the code's error."""
    plain, scaled = (fitted(CODECS[name](), residual=True, renormalize=value) for value in (False, "auto"))
    before, after = (index.decode(index.encode(DOCS)) for index in (plain, scaled))
    factors = np.linalg.norm(after, axis=1) / np.linalg.norm(before, axis=1)
    assert np.allclose(after, before * factors[:, None], atol=1e-6)
    if after.shape[1] == D:
        assert np.allclose(np.linalg.norm(after, axis=1), 1, atol=1e-6)
        return
    # with the rest mapped back, whatever the space of the codec
    axes = plain.codec._query_matrix(np.eye(D, dtype=np.float32))
    documents = before[:, -D:] + before[:, :-D] @ axes.T
    assert np.allclose(factors, 1 / np.linalg.norm(documents, axis=1), rtol=0.05)


def test_residuals_are_coded_more_finely() -> None:
    """At the same bytes of codes: what is left of a document is smaller than the document."""
    errors = []
    for residual in (False, True):
        index = fitted(FaissCodec(factory="PQ{m}x{bits}np", m=8, bits=4), residual=residual)
        errors.append(((index.decode(index.encode(DOCS)) - DOCS) ** 2).sum())
    assert errors[1] < errors[0]


def test_a_residual_beside_its_centroid_scores_as_their_sum() -> None:
    """A rotation keeps inner products: with and without one, documents score the same but for the code's error."""
    turned = fitted(Chain(transforms=[SVD(dim=D)], codec=PerDimension(bits=8)), residual=True)
    plain = fitted(PerDimension(bits=8), residual=True)
    difference = turned.score(QUERIES, turned.encode(DOCS)) - plain.score(QUERIES, plain.encode(DOCS))
    assert np.abs(difference).max() < 0.02
    assert turned.decode(turned.encode(DOCS)).shape == (N, 2 * D)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("factory", ["SQ8", "SQ4", "PQ8x4np"])
def test_it_is_faiss_index(factory: str, residual: bool) -> None:
    index = fitted(FaissCodec(factory=factory), spherical=True, residual=residual)
    inner = index.codec._index
    coarse = faiss.IndexFlatIP(D)
    coarse.add(index.centroids_)
    ip = faiss.METRIC_INNER_PRODUCT
    if factory.startswith("SQ"):
        kind = faiss.ScalarQuantizer.QT_8bit if factory == "SQ8" else faiss.ScalarQuantizer.QT_4bit
        reference = faiss.IndexIVFScalarQuantizer(coarse, D, LISTS, kind, ip, residual)
        faiss.copy_array_to_vector(faiss.vector_to_array(inner.sq.trained), reference.sq.trained)
    else:
        reference = faiss.IndexIVFPQ(coarse, D, LISTS, 8, 4, ip)
        reference.by_residual = residual
        faiss.copy_array_to_vector(faiss.vector_to_array(inner.pq.centroids), reference.pq.centroids)
    reference.is_trained = True
    reference.add(DOCS)
    reference.nprobe = 3
    scores, rows = reference.search(QUERIES, K)
    found_scores, found = index.search(QUERIES, index.encode(DOCS), K)
    assert np.allclose(found_scores, scores, atol=1e-5)
    # documents that tie, or differ in the last bit of a sum, may stand in another order
    assert (found == rows).mean() > 0.9
    assert np.allclose(np.take_along_axis(index.score(QUERIES, index.encode(DOCS)), rows, 1), scores, atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_lists_of_rabitq_are_faiss_index(bits: int) -> None:
    """What is left of a document is coded around its centroid, which FAISS's code and the offset know exactly."""
    index = fitted(FaissRaBitQ(bits=bits), spherical=True, residual=True, offset="float32")
    # FAISS has the centroid alone as the centre of a list, and no mean of what is left
    index.codec.load_state({**index.codec.state(), "centre_": np.zeros(D, np.float32)})
    codes = index.encode(DOCS)
    coarse = faiss.IndexFlatIP(D)
    coarse.add(index.centroids_)
    reference = faiss.IndexIVFRaBitQ(coarse, D, LISTS, faiss.METRIC_INNER_PRODUCT, True, bits)
    reference.is_trained, reference.qb, reference.nprobe = True, 0, 3
    reference.add(DOCS)
    scores, rows = reference.search(QUERIES, K)
    found_scores, found = index.search(QUERIES, codes, K)
    # with more bits FAISS passes over what its error bound rules out, and the bound is sometimes wrong
    assert (found == rows).mean() > 0.9
    assert np.allclose(np.take_along_axis(index.score(QUERIES, codes), rows, 1), scores, atol=1e-5)
    assert bits > 1 or np.allclose(found_scores, scores, atol=1e-5)


@pytest.mark.parametrize("name", RESIDUAL)
def test_offsets_make_scores_exact_along_the_centroid(name: str) -> None:
    index = fitted(CODECS[name](), residual=True, offset="float32")
    codes = index.encode(DOCS)
    list_of = np.empty(N, np.int64)
    list_of[index._lists(codes).ids] = index._lists(codes).list_of
    scores = index.score(index.centroids_, codes)
    assert np.allclose(scores[list_of, np.arange(N)], (DOCS * index.centroids_[list_of]).sum(axis=1), atol=1e-5)


def test_offsets_are_counted_and_help_rabitq() -> None:
    """Two bytes a document; in its own list a query errs by what is left of it, and not by all of it."""
    exact = QUERIES @ DOCS.T
    errors, sizes = [], []
    for offset in ("none", "float16"):
        index = fitted(ScaledLevels(bits=1, levels="uniform", scale="unbiased"), residual=True, offset=offset)
        codes = index.encode(DOCS)
        own = index._nearest(DOCS) == index._nearest(QUERIES)[:, None]
        errors.append(np.abs(index.score(QUERIES, codes) - exact)[own].mean())
        sizes.append(codes.nbytes)
    assert sizes[1] - sizes[0] == 2 * N and errors[1] < errors[0]
    with pytest.raises(MethodError, match="offset=float16 is of what is left of a document"):
        InvertedLists(codec=Sign(), offset="float16")


def test_the_first_of_two_tiers() -> None:
    tiers = Rescore(
        first=InvertedLists(codec=Sign(), lists=LISTS, nprobe=LISTS),
        second=PerDimension(bits=8),
        policy=ShortList(factor=4),
    ).fit(DOCS)
    plain = Rescore(first=Sign(), second=PerDimension(bits=8), policy=ShortList(factor=4)).fit(DOCS)
    codes = tiers.encode(DOCS)
    for one, other in zip(tiers.search(QUERIES, codes, K), plain.search(QUERIES, plain.encode(DOCS), K), strict=True):
        assert np.array_equal(one, other)
    assert tiers.structure is tiers.first
    assert tiers.structure_codes(codes.to_arrays()) == {"shared.first.index.ids", "shared.first.index.lengths"}
    tiers.structure.set_effort(1)
    scores, rows = tiers.search(QUERIES, codes, N)
    assert ((rows >= 0) == np.isfinite(scores)).all() and (rows == -1).any()


def test_what_cannot_be_held_is_named() -> None:
    with pytest.raises(MethodError, match="lists=20 needs at least as many documents to fit on, got 9"):
        InvertedLists(codec=PerDimension(bits=8), lists=20).fit(DOCS[:9])
    with pytest.raises(MethodError, match="nprobe must be 1 to lists=20, got 21"):
        InvertedLists(codec=PerDimension(bits=8), lists=20, nprobe=21)
    with pytest.raises(MethodError, match="residual=true needs scores of float queries"):
        InvertedLists(codec=Sign(scoring="symmetric"), residual=True)
    with pytest.raises(MethodError, match="InvertedLists makes no such codes"):
        InvertedLists(codec=InvertedLists(codec=Sign()))
    with pytest.raises(MethodError, match="renormalize is set on its codec"):
        InvertedLists(codec=Sign(), renormalize=True)
    inner = Chain(transforms=[], codec=PerDimension(bits=8, renormalize="auto"))
    with pytest.raises(MethodError, match="PerDimension would scale what is left of documents to unit length"):
        InvertedLists(codec=inner, residual=True)
    index = fitted(PerDimension(bits=8))
    with pytest.raises(VectorsError, match="has 31 dimensions"):
        index.search(QUERIES[:, :31], index.encode(DOCS), K)
    with pytest.raises(MethodError, match="nprobe must be"):
        index.set_effort(0)


def test_damaged_lists_are_named() -> None:
    index = fitted(PerDimension(bits=8))
    codes = index.encode(DOCS)
    codes.shared["index.ids"][0] = codes.shared["index.ids"][1]  # type: ignore[index]
    with pytest.raises(MethodError, match="do not hold each of 700 documents once"):
        index.search(QUERIES, codes, K)


def test_the_same_seed_gives_the_same_bytes() -> None:
    codec = CODECS["pq"]
    assert bytes_of(fitted(codec()).encode(DOCS)) == bytes_of(fitted(codec()).encode(DOCS))
    assert bytes_of(fitted(codec()).encode(DOCS)) != bytes_of(fitted(codec(), seed=1).encode(DOCS))
