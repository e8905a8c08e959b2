import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.data.datasets import Dataset
from harness.evaluation.measure import Problem, measure
from methods.base import Codec, Codes, MethodError
from methods.product.faiss_codec import FaissCodec
from methods.rotated.faiss_rabitq import FaissRaBitQ
from tests.conftest import clustered_vectors
from tests.harness.evaluation.scoring import retrieval

faiss: Any = pytest.importorskip("faiss")


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@pytest.fixture(scope="module")
def scifact(shared_data: Path) -> Problem:
    folder = shared_data / "scifact"
    docs = [json.loads(line)["_id"] for line in (folder / "corpus.jsonl").open()]
    queries = [json.loads(line)["_id"] for line in (folder / "queries.jsonl").open()]
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
        query, doc, grade = line.split("\t")
        qrels.setdefault(query, {})[doc] = int(grade)
    # the first hundred judged queries, which are the first vectors: FAISS takes long over RaBitQ's
    judged = [query for query in queries if query in qrels][:100]
    qrels = {query: qrels[query] for query in judged}
    # their answers, among the first documents
    answers = {doc for grades in qrels.values() for doc in grades}
    rows = [row for row, doc in enumerate(docs) if row < 1500 or doc in answers]
    dataset = Dataset.build(name="scifact", doc_ids=[docs[row] for row in rows], query_ids=queries, qrels=qrels)
    vectors = load_file(folder / "minilm.safetensors")
    own = vectors["docs"][rows][dataset.source_rows]
    return Problem.of(dataset, own, vectors["queries"][dataset.query_source_rows], 100)


def plain_index(factory: str, docs: np.ndarray, **settings: int) -> Any:
    """What a user of FAISS would build, with the parameters that differ from FAISS's defaults."""
    index = faiss.index_factory(docs.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    for name in ("pq", "rq"):
        if hasattr(index, name):
            quantizer = getattr(index, name)
            quantizer.cp.seed, quantizer.cp.niter = 7, settings["iterations"]
            quantizer.cp.min_points_per_centroid = 1
    if hasattr(index, "rq"):
        index.rq.max_beam_size, index.rq.train_type = settings["beam"], index.rq.Train_default
    if hasattr(index, "qb"):
        index.qb = settings.get("query_bits", 0)
    with threads(1):
        index.train(docs)
    index.add(docs)
    return index


PQ, RQ = {"iterations": 5}, {"iterations": 3, "beam": 2}


@pytest.mark.parametrize(
    ("factory", "codec", "settings"),
    [
        ("SQ8", FaissCodec(factory="SQ8"), {}),
        ("SQ4", FaissCodec(factory="SQ4"), {}),
        ("SQtqmse2", FaissCodec(factory="SQtqmse2"), {}),
        ("EDEN1", FaissCodec(factory="EDEN1"), {}),
        ("EDEN2", FaissCodec(factory="EDEN2"), {}),
        ("PQ48x4np", FaissCodec(factory="PQ{m}x{bits}np", m=48, bits=4, iterations=5, seed=7), PQ),
        ("RQ32x4", FaissCodec(factory="RQ{m}x{bits}", m=32, bits=4, iterations=3, beam=2, seed=7), RQ),
        ("RaBitQ1", FaissRaBitQ(bits=1), {}),
        ("RaBitQ1", FaissRaBitQ(bits=1, query_bits=4), {"query_bits": 4}),
        ("RaBitQ2", FaissRaBitQ(bits=2), {}),
        ("RaBitQ3", FaissRaBitQ(bits=3), {}),
        ("RaBitQ4", FaissRaBitQ(bits=4), {}),
    ],
)
def test_scores_what_the_plain_index_scores(
    scifact: Problem, factory: str, codec: Codec, settings: dict[str, int]
) -> None:
    index = plain_index(factory, scifact.docs, **settings)
    _, rows = index.search(scifact.queries, 100)
    assert scifact.judgements is not None
    expected = retrieval(scifact.judgements, rows)["ndcg_at_10"].mean()
    measured = measure(lambda: codec, scifact)
    assert measured.storage.code_bytes_per_vector == index.sa_code_size()
    # FAISS passes over what RaBitQ's error bound rules out, and an error bound is sometimes wrong; equal scores may
    # come in another order
    assert (measured.ranking[:, :10] == rows[:, :10]).mean() > 0.995
    assert abs(measured.per_query["ndcg_at_10"].mean() - expected) < (5e-4 if "RaBitQ" in factory else 1e-6)


@pytest.mark.parametrize(
    "codec",
    [
        FaissCodec(factory="PQ16x4np", iterations=4),
        FaissCodec(factory="RQ6x4", iterations=4, beam=2),
        FaissCodec(factory="PRQ4x2x4", beam=2),
        FaissCodec(factory="LSQ4x4", iterations=2, perturbations=2),
    ],
)
def test_codebooks_do_not_depend_on_threads(codec: FaissCodec) -> None:
    docs = clustered_vectors(1500, 64)
    states = []
    for count in (1, 2):
        with threads(count):
            states.append(codec.fit(docs).state()["index_"])
    assert np.array_equal(*states)


@pytest.mark.parametrize("n", [500, 9000])
def test_codebooks_of_pq_are_those_of_faiss_but_for_rounding(n: int) -> None:
    """Of 9,000 documents 8,192 are drawn, by FAISS's dice."""
    docs = clustered_vectors(n, 24, seed=3)
    codec = FaissCodec(factory="PQ{m}x{bits}np", m=3, bits=5, iterations=4, seed=7).fit(docs)
    # an index that nobody holds takes its numbers with it
    theirs, ours = plain_index("PQ3x5np", docs, iterations=4), faiss.deserialize_index(codec.state()["index_"])
    np.testing.assert_allclose(
        faiss.vector_to_array(ours.pq.centroids), faiss.vector_to_array(theirs.pq.centroids), atol=1e-5
    )


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_codes_of_pq_are_those_of_faiss(bits: int) -> None:
    docs = clustered_vectors(300, 24, seed=3)
    codec = FaissCodec(factory="PQ{m}x{bits}np", m=6, bits=bits, iterations=4).fit(docs)
    index = faiss.deserialize_index(codec.state()["index_"])
    np.testing.assert_array_equal(codec.encode(docs).array, index.sa_encode(docs))


@pytest.mark.parametrize("cores", ["2", "3"])
def test_parts_that_are_trained_side_by_side_are_those_of_one_thread(
    cores: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = clustered_vectors(500, 24, seed=3)
    codec = FaissCodec(factory="PQ{m}x{bits}np", m=3, bits=5, iterations=4, seed=7)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = codec.fit(docs).state()["index_"]
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    assert np.array_equal(codec.fit(docs).state()["index_"], alone)


@pytest.mark.parametrize("factory", ["PQ16x4np", "RQ4x4", "PRQ4x2x4", "LSQ4x4", "PLSQ4x2x4"])
def test_the_seed_reaches_every_quantiser(factory: str) -> None:
    docs = clustered_vectors(400, 64)
    first, again, other = (
        FaissCodec(factory=factory, iterations=2, perturbations=2, beam=1, seed=seed).fit(docs).encode(docs).array
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("splits", [2, 4])
def test_each_split_gets_its_own_codebooks(splits: int) -> None:
    docs = clustered_vectors(400, 64)
    codec = FaissCodec(factory="PRQ{splits}x{m}x{bits}", splits=splits, m=2, bits=4, beam=1).fit(docs)
    codes = codec.encode(docs)
    assert codes.array.shape == (400, splits)
    errors = ((codec.decode(codes) - docs) ** 2).reshape(400, splits, -1).sum(axis=(0, 2))
    assert (errors < (docs**2).reshape(400, splits, -1).sum(axis=(0, 2))).all()


def test_fast_scan_is_exact_up_to_its_tables() -> None:
    docs, queries = clustered_vectors(3000, 64), clustered_vectors(30, 64, seed=1)
    exact = FaissCodec(factory="PQ{m}x{bits}np", m=16, bits=4).fit(docs)
    fast = FaissCodec(factory="PQ{m}x{bits}np", m=16, bits=4, kernel="fast_scan").load_state(exact.state())
    codes = exact.encode(docs)
    assert np.array_equal(fast.encode(docs).array, codes.array)
    scores, rows = fast.search(queries, codes, 50)
    true = np.take_along_axis(exact.score(queries, codes), rows, axis=1)
    codebook = faiss.vector_to_array(exact._index.pq.centroids).reshape(16, 16, 4)
    tables = np.einsum("qjw,jkw->qjk", queries.reshape(30, 16, 4), codebook)
    # 255 steps over the widest table, and each of the 16 entries is off by half a step at most
    step = np.ptp(tables, axis=2).max(axis=1) / 255
    assert (np.abs(scores - true) <= (16 / 2 + 1) * step[:, None]).all()
    assert np.abs(scores - true).max() > 1e-6, "the tables were not rounded at all"
    best = -np.sort(-exact.score(queries, codes), axis=1)[:, 49]
    assert (true >= (best - 18 * step)[:, None]).all()


def test_a_zero_query_is_searched_fast_too() -> None:
    docs = clustered_vectors(100, 32)
    codec = FaissCodec(factory="PQ8x4np", kernel="fast_scan").fit(docs)
    queries = np.stack([docs[0], np.zeros(32, np.float32)])
    scores, rows = codec.search(queries, codec.encode(docs), 5)
    assert np.isfinite(scores).all() and rows[1].tolist() == [0, 1, 2, 3, 4] and (scores[1] == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factory": "PQ{m}x{bits}np", "m": 7, "bits": 4}, "m=7 does not divide"),
        ({"factory": "PRQ{splits}x{m}x{bits}", "splits": 7, "m": 2, "bits": 4}, "splits=7 does not divide"),
        ({"factory": "PQ{m}x{bits}np", "m": 8, "bits": 8}, "bits=8"),
        ({"factory": "RQ{m}x{bits}", "m": 2, "bits": 8}, "bits=8"),
        ({"factory": "LSQ{m}x{bits}", "m": 2, "bits": 8}, "bits=8"),
        ({"factory": "XYZ3"}, "XYZ3"),
    ],
)
def test_what_the_data_cannot_carry_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        FaissCodec(**settings).fit(clustered_vectors(100, 64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"m": 0}, "m must be at least 1"),
        ({"beam": 0}, "beam must be at least 1"),
        ({"factory": "PQ8x8np", "kernel": "fast_scan"}, "4-bit"),
        ({"factory": "SQ4", "kernel": "fast_scan"}, "4-bit"),
    ],
)
def test_parameters_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        FaissCodec(**{"factory": "PQ8x4np", **settings})


def test_lsq_is_not_row_wise_and_says_so() -> None:
    docs = np.repeat(clustered_vectors(200, 32), 2, axis=0)
    codec = FaissCodec(factory="LSQ4x4", iterations=2, perturbations=2).fit(docs)
    codes = codec.encode(docs).array
    assert not codec.row_wise and FaissCodec(factory="RQ4x4").row_wise
    # the reason: equal documents do not get equal codes
    assert (codes[::2] != codes[1::2]).any()


# State from anywhere

READ: dict[str, dict[str, Any]] = {
    "SQ8": {},
    "SQ4": {},
    "SQfp16": {},
    "SQtqmse2": {},
    "EDEN2": {},
    "PQ4x4np": {},
    "PQ2x8np": {"shared_codebook": True},
    "RQ3x4": {"beam": 2, "iterations": 3},
    "LSQ2x4": {"seed": 3, "iterations": 2, "perturbations": 3},
    "PRQ2x2x4": {},
    "PLSQ2x2x4": {"iterations": 2},
}


@pytest.mark.parametrize("factory", READ)
def test_no_byte_of_a_state_but_a_learned_number_can_change(factory: str) -> None:
    docs = clustered_vectors(300, 16)
    codec = FaissCodec(factory=factory, **READ[factory]).fit(docs)
    blob, codes, again = codec.index_, codec.encode(docs[:5]), FaissCodec(factory=factory, **READ[factory])
    assert np.array_equal(again.load_state(codec.state()).decode(codes), codec.decode(codes))
    rng, refused = np.random.default_rng(0), 0
    for place in {*range(min(120, len(blob))), *range(len(blob) - 60, len(blob)), *rng.integers(0, len(blob), 100)}:
        flipped = blob.copy()
        flipped[place] ^= 1 << int(rng.integers(8))
        try:
            assert again.load_state({"dim_": np.array(16), "index_": flipped}).decode(codes).shape == (5, 16)
        except MethodError as error:
            refused += 1
            assert "the array 'index_'" in str(error) and "\n" not in str(error)
    assert refused > 80
    for damaged in (blob[:-1], blob[:0], np.append(blob, blob[:1]), blob.astype(np.int8), blob[None]):
        with pytest.raises(MethodError, match="the array 'index_'"):
            again.load_state({"dim_": np.array(16), "index_": damaged})


@pytest.mark.parametrize(
    "settings, dim, message",
    [
        ({"factory": "PQ4x4np"}, 8, "in 8 dimensions"),
        ({"factory": "PQ4x4np"}, 1 << 40, "dimensions are 1 to"),
        ({"factory": "PQ4x4np"}, -1, "dimensions are 1 to"),
        ({"factory": "PQ1x24np"}, 16, "the codebooks alone take 1073741824"),
        ({"factory": "RQ999999x24"}, 16, "the codebooks alone take"),
        ({"factory": "PQ8x4np"}, 16, "expected"),
        ({"factory": "SQ8"}, 16, "bytes, expected 209"),
        ({"factory": "IVF65536,PQ4x4np"}, 16, "the state of 'IVF65536,PQ4x4np' is not read"),
        ({"factory": "Flat"}, 16, "the state of 'Flat' is not read"),
        ({"factory": "SQsomething"}, 16, "could not parse|not possible|SQsomething"),
    ],
)
def test_the_state_of_another_codec_is_refused(settings: dict[str, str], dim: int, message: str) -> None:
    state = FaissCodec(factory="PQ4x4np").fit(clustered_vectors(300, 16)).state()
    with pytest.raises(MethodError, match=message):
        FaissCodec(**settings).load_state({"dim_": np.array(dim), "index_": state["index_"]})


def test_documents_in_a_serialised_index_are_refused() -> None:
    import faiss

    docs = clustered_vectors(300, 16)
    codec = FaissCodec(factory="SQ8").fit(docs)
    index = faiss.deserialize_index(codec.index_)
    index.add(docs[:3])
    with pytest.raises(MethodError, match="the array 'index_'"):
        FaissCodec(factory="SQ8").load_state({"dim_": np.array(16), "index_": faiss.serialize_index(index)})


@pytest.mark.parametrize("wrong", [np.zeros((3, 7), np.uint8), np.zeros((3, 8), np.int16), np.zeros(3, np.uint8)])
def test_codes_of_another_width_are_refused(wrong: np.ndarray) -> None:
    codec = FaissCodec(factory="PQ8x8np").fit(clustered_vectors(300, 16))
    with pytest.raises(MethodError, match=r"codes of 'PQ8x8np' are uint8 \(n, 8\)"):
        codec.search(clustered_vectors(2, 16), Codes(n=3, rows={"codes": wrong}), 2)


@pytest.mark.parametrize(("m", "d"), [(16, 64), (8, 64), (4, 60)])
def test_fast_scan_does_not_depend_on_the_other_queries(m: int, d: int) -> None:
    """Parts of 4, 8 and 15 dimensions, whose tables FAISS makes for each query on its own."""
    codec = FaissCodec(factory="PQ{m}x{bits}np", m=m, bits=4, kernel="fast_scan").fit(clustered_vectors(500, d))
    codes, queries = codec.encode(clustered_vectors(900, d, seed=1)), clustered_vectors(40, d, seed=2)
    scores, rows = codec.search(queries, codes, 20)
    for pick in (slice(0, 1), slice(3, 10), slice(7, 40)):
        some_scores, some_rows = codec.search(queries[pick], codes, 20)
        assert np.array_equal(some_rows, rows[pick]) and np.array_equal(some_scores, scores[pick])
