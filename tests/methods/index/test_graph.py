"""Laws of graphs over codes, and FAISS's own indexes as the reference."""

from pathlib import Path
from typing import Any, get_args

import faiss
import numpy as np
import pytest

from harness.evaluation.index_files import read_index, write_index
from methods import (
    HNSW,
    SVD,
    Chain,
    FaissCodec,
    FaissRaBitQ,
    PerDimension,
    Rescore,
    ShortList,
    Sign,
    Vamana,
)
from methods.base import Codec, Codes, MethodError, VectorsError
from methods.index.graph import Graph, LinkLayout
from tests.conftest import bytes_of, clustered_vectors

N, D, M, K = 600, 32, 25, 10
DOCS, QUERIES = clustered_vectors(N, D), clustered_vectors(M, D, seed=1)

CODECS = {
    "int8": lambda: PerDimension(bits=8),
    "hamming": lambda: Sign(scoring="symmetric"),
    "pq": lambda: FaissCodec(factory="PQ{m}x{bits}np", m=8, bits=4),
    "centred": lambda: Chain(transforms=[SVD(dim=16)], codec=PerDimension(bits=8), centre="mean", renormalize="auto"),
}
GRAPHS = {"hnsw": HNSW, "vamana": Vamana}
every_codec = pytest.mark.parametrize("name", CODECS)
every_graph = pytest.mark.parametrize("kind", GRAPHS)


def made(kind: str, codec: Codec, **parameters: Any) -> tuple[Graph, Codes]:
    sizes = {"M": 8} if kind == "hnsw" else {"degree": 16}
    graph = GRAPHS[kind](codec=codec, **{**sizes, **parameters}).fit(DOCS)
    return graph, graph.encode(DOCS)


@every_graph
@every_codec
def test_a_list_of_all_documents_gives_the_exhaustive_answer(name: str, kind: str) -> None:
    """Both graphs are connected here; FAISS's and DiskANN's constructions make no promise that they are."""
    graph, codes = made(kind, CODECS[name]())
    alone = CODECS[name]().fit(DOCS)
    with graph.searching_all():
        scores, rows = graph.search(QUERIES, codes, K)
    expected_scores, expected = alone.search(QUERIES, alone.encode(DOCS), K)
    assert np.array_equal(rows, expected) and np.allclose(scores, expected_scores, atol=1e-5)
    graph.set_effort(N)
    found_scores, found = graph.search(QUERIES, codes, N)
    assert (np.sort(found, axis=1) == np.arange(N)).all(), "not connected"
    assert np.array_equal(found[:, :K], rows) and np.array_equal(found_scores[:, :K], scores)
    assert np.array_equal(graph.decode(codes), alone.decode(alone.encode(DOCS)))


@every_graph
def test_more_effort_scores_more_and_finds_more(kind: str) -> None:
    graph, codes = made(kind, PerDimension(bits=8))
    with graph.searching_all():
        _, best = graph.search(QUERIES, codes, K)
    recalls, visited = [], []
    for effort in (K, 20, 80):
        graph.set_effort(effort)
        _, rows = graph.search(QUERIES, codes, K)
        recalls.append(np.mean([len(set(a) & set(b)) for a, b in zip(rows, best, strict=True)]))
        visited.append(graph.visited.mean())
    assert sorted(recalls) == recalls and recalls[-1] > 9.8
    assert visited[0] < visited[1] < visited[2] < N


@every_graph
def test_a_search_finds_no_more_than_its_list(kind: str) -> None:
    graph, codes = made(kind, PerDimension(bits=8))
    graph.set_effort(7)
    scores, rows = graph.search(QUERIES, codes, K)
    assert rows.shape == (M, K) and (rows[:, :7] >= 0).all()
    assert (rows[:, 7:] == -1).all() and (scores[:, 7:] == -np.inf).all()


@every_graph
@every_codec
def test_another_process_finds_the_same(name: str, kind: str, tmp_path: Path) -> None:
    graph, codes = made(kind, CODECS[name](), links="elias_fano")
    write_index(tmp_path, graph, codes)
    again, read = read_index(tmp_path, type(graph)(**{**graph.parameters(), "codec": CODECS[name]()}))
    for one, other in zip(graph.search(QUERIES, codes, K), again.search(QUERIES, read, K), strict=True):
        assert np.array_equal(one, other)


@every_graph
def test_a_query_finds_the_same_alone_and_on_two_threads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, codes = made(kind, PerDimension(bits=4))
    scores, rows = graph.search(QUERIES, codes, K)
    visited = graph.visited
    for pick in (slice(0, 1), slice(4, 9)):
        few_scores, few = graph.search(QUERIES[pick], codes, K)
        assert np.array_equal(rows[pick], few) and np.array_equal(scores[pick], few_scores)
        assert np.array_equal(graph.visited, visited[pick])
    monkeypatch.setattr("methods.parallel.allowed", lambda: 2)
    assert np.array_equal(graph.search(QUERIES, codes, K)[1], rows)


@every_graph
def test_layouts_of_links_change_no_answer(kind: str) -> None:
    expected, sizes = None, {}
    for links in get_args(LinkLayout):
        graph, codes = made(kind, PerDimension(bits=8), links=links)
        found = graph.search(QUERIES, codes, K)
        expected = found if expected is None else expected
        assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
        sizes[links] = sum(codes.shared[name].nbytes for name in codes.shared if name.startswith("index.links"))
    assert sizes["elias_fano"] < sizes["packed"] < min(sizes["int32"], sizes["slots"])


def test_storage_by_hand(tmp_path: Path) -> None:
    graph, codes = made("hnsw", PerDimension(bits=8))
    storage = write_index(tmp_path, graph, codes)
    heights = faiss.IndexHNSWFlat(D, 8)
    heights.add(DOCS)
    above = faiss.vector_to_array(heights.hnsw.levels) - 1
    slots = 4 * (N * 16 + above.sum() * 8)
    # numbers of documents in 2 bytes, and levels in one; the entry
    assert storage.structure_bytes == slots + 3 * np.count_nonzero(above) + 2
    assert storage.structure_state_bytes == 0 and storage.short_list_bytes == 0
    graph, codes = made("vamana", PerDimension(bits=8), links_on_disk=True)
    storage = write_index(tmp_path, graph, codes)
    assert storage.structure_bytes == 4 * N * 16 + 2
    assert storage.short_list_bytes == 4 * N * 16


@every_graph
def test_few_and_equal_documents(kind: str) -> None:
    for docs in (DOCS[:1], DOCS[:2], np.repeat(DOCS[:1], 40, axis=0)):
        graph = GRAPHS[kind](codec=PerDimension(bits=8)).fit(docs)
        scores, rows = graph.search(QUERIES, graph.encode(docs), 100)
        assert rows.shape == (M, len(docs)) and ((rows >= 0) == np.isfinite(scores)).all()
        assert (rows[:, 0] >= 0).all()
        tied = (scores[:, 1:] == scores[:, :-1]) & (rows[:, 1:] >= 0)
        assert (np.diff(rows, axis=1)[tied] > 0).all()


@every_graph
def test_same_documents_give_the_same_bytes(kind: str) -> None:
    assert bytes_of(made(kind, CODECS["pq"]())[1]) == bytes_of(made(kind, CODECS["pq"]())[1])
    if kind == "vamana":
        assert bytes_of(made(kind, CODECS["pq"](), seed=1)[1]) != bytes_of(made(kind, CODECS["pq"]())[1])


def test_links_may_join_documents_as_they_were() -> None:
    codes = [made("hnsw", Sign(), built_on=what)[1] for what in ("codes", "documents")]
    reference = faiss.IndexHNSWFlat(D, 8, faiss.METRIC_INNER_PRODUCT)
    reference.hnsw.efConstruction = 100
    faiss.omp_set_num_threads(1)
    reference.add(DOCS)
    slots = faiss.vector_to_array(reference.hnsw.neighbors)[
        faiss.vector_to_array(reference.hnsw.offsets).astype(np.int64)[:-1, None] + np.arange(16)
    ]
    links = np.sort(slots, axis=1)
    assert np.array_equal(np.sort(codes[1].shared["index.links"], axis=1), links)
    assert not np.array_equal(np.sort(codes[0].shared["index.links"], axis=1), links)


@pytest.mark.parametrize("factory", ["SQ8", "SQ4", "PQ8x4np"])
def test_it_is_faiss_index(factory: str) -> None:
    """FAISS's index of the same codes, with the graph that FAISS makes of what these decode to."""
    graph, codes = made("hnsw", FaissCodec(factory=factory), ef_search=20)
    inner, ip = graph.codec._index, faiss.METRIC_INNER_PRODUCT
    if factory.startswith("SQ"):
        kind = faiss.ScalarQuantizer.QT_8bit if factory == "SQ8" else faiss.ScalarQuantizer.QT_4bit
        reference = faiss.IndexHNSWSQ(D, kind, 8, ip)
        storage = faiss.downcast_index(reference.storage)
        faiss.copy_array_to_vector(faiss.vector_to_array(inner.sq.trained), storage.sq.trained)
    else:
        reference = faiss.IndexHNSWPQ(D, 8, 8, 4, ip)
        storage = faiss.downcast_index(reference.storage)
        faiss.copy_array_to_vector(faiss.vector_to_array(inner.pq.centroids), storage.pq.centroids)
        storage.is_trained = True
        storage.pq.compute_sdc_table()
    storage.is_trained = reference.is_trained = True
    faiss.omp_set_num_threads(1)
    reference.add(DOCS)
    same = faiss.IndexHNSWFlat(D, 8, ip)
    same.hnsw.efConstruction = 100
    same.add(graph.decode(codes))
    faiss.copy_array_to_vector(faiss.vector_to_array(same.hnsw.neighbors), reference.hnsw.neighbors)
    reference.hnsw.efSearch = 20
    scores, rows = reference.search(QUERIES, K)
    found_scores, found = graph.search(QUERIES, codes, K)
    assert np.allclose(found_scores, scores, atol=1e-5)
    # documents that tie, or differ in the last bit of a sum, may stand in another order
    assert (found == rows).mean() > 0.9
    assert np.allclose(np.take_along_axis(graph.score(QUERIES, codes), rows, 1), scores, atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2])
def test_rabitq_in_a_graph_is_faiss_index(bits: int) -> None:
    """FAISS has it for distances alone: of documents and queries of length 1 these are 2 - 2 <q, x>."""
    graph, codes = made("hnsw", FaissRaBitQ(bits=bits), ef_search=20, built_on="documents")
    reference = faiss.IndexHNSWRaBitQ(D, 8, bits, faiss.METRIC_L2)
    storage = faiss.downcast_index(reference.storage)
    storage.train(DOCS)
    storage.add(DOCS)
    storage.qb = 0
    same = faiss.IndexHNSWFlat(D, 8, faiss.METRIC_INNER_PRODUCT)
    same.hnsw.efConstruction = 100
    faiss.omp_set_num_threads(1)
    same.add(DOCS)
    reference.hnsw, reference.ntotal, reference.is_trained = same.hnsw, N, True
    reference.hnsw.is_similarity, reference.hnsw.efSearch = False, 20
    distances, rows = reference.search(QUERIES, K)
    found_scores, found = graph.search(QUERIES, codes, K)
    # no estimate of a distance is below 0 there
    assert np.allclose(np.minimum(found_scores, 1), 1 - distances / 2, atol=1e-5)
    assert (found == rows).mean() > 0.9


def test_vamana_keeps_a_neighbour_unless_a_nearer_one_leads_there() -> None:
    """RobustPrune by hand: on a line, alpha = 1 keeps the nearest on each side; 2 keeps one at twice the distance."""
    from methods.kernels.graph_walk import prune

    docs = np.array([[0], [1], [2.5], [-1.5], [4]], np.float32)
    squares = (docs[:, 0] ** 2).astype(np.float64)
    for alpha, expected in ((1.0, [1, 3]), (1.9, [1, 3, 2])):
        out = np.empty(4, np.int32)
        kept = prune(docs, squares, 0, np.arange(1, 5), 4, alpha, out)
        assert list(out[:kept]) == expected


def test_walks_leave_a_cluster_that_is_far_from_the_others() -> None:
    """Fifty documents in each of four corners: without links between corners a walk sees one of them only."""
    rng = np.random.default_rng(0)
    docs = np.repeat(np.eye(4, D, dtype=np.float32), 50, axis=0) + 0.02 * rng.standard_normal((200, D), np.float32)
    found = {}
    for connected in (False, True):
        graph = Vamana(codec=PerDimension(bits=8), degree=6, search_list=200, connected=connected).fit(docs)
        _, rows = graph.search(docs, graph.encode(docs), 1)
        found[connected] = (rows[:, 0] // 50 == np.arange(200) // 50).mean()
    assert found == {False: 0.25, True: 1.0}


def test_the_first_of_two_tiers() -> None:
    tiers = Rescore(
        first=Vamana(codec=Sign(), degree=16, links_on_disk=True),
        second=PerDimension(bits=8),
        policy=ShortList(factor=3),
    ).fit(DOCS)
    codes = tiers.encode(DOCS)
    scores, rows = tiers.search(QUERIES, codes, K)
    assert np.allclose(np.take_along_axis(tiers.score(QUERIES, codes), rows, 1), scores, atol=1e-6)
    names = codes.to_arrays()
    assert tiers.on_disk(names) == {"second.codes", "shared.first.index.links"}
    assert tiers.structure_codes(names) == {"shared.first.index.links", "shared.first.index.entry"}


@every_graph
def test_what_cannot_be_held_is_named(kind: str) -> None:
    graph, codes = made(kind, PerDimension(bits=8))
    with pytest.raises(MethodError, match=f"{graph.effort_name} must be at least 1, got 0"):
        graph.set_effort(0)
    with pytest.raises(VectorsError, match="has 31 dimensions"):
        graph.search(QUERIES[:, :31], codes, K)
    with pytest.raises(MethodError, match="must be at least 2"):
        GRAPHS[kind](codec=Sign(), **({"M": 1} if kind == "hnsw" else {"degree": 1}))
    links = codes.shared["index.links"].copy()
    links[5, 0] = N
    damaged = Codes(n=N, rows=codes.rows, shared={**codes.shared, "index.links": links})
    with pytest.raises(MethodError, match=f"a graph of {N} documents has links to others"):
        graph.search(QUERIES, damaged, K)


def test_links_to_a_document_below_their_level_are_refused() -> None:
    graph, codes = made("hnsw", PerDimension(bits=8))
    upper = codes.shared["index.upper_links"].copy()
    upper[0, 0] = next(row for row in range(N) if row not in codes.shared["index.upper_nodes"])
    damaged = Codes(n=N, rows=codes.rows, shared={**codes.shared, "index.upper_links": upper})
    with pytest.raises(MethodError, match="not on their level"):
        graph.search(QUERIES, damaged, K)
