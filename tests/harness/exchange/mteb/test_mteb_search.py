"""The same vectors through `mteb.evaluate` with a method inside, and through our own measuring."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.base.errors import ConfigError, DatasetError, ModelError, VecbudgetError
from harness.data import training_queries
from harness.data.datasets import Dataset
from harness.data.datasets.folder import Folder
from harness.data.embedding_cache import embed
from harness.data.models.vectors import VectorModel
from harness.evaluation.measure import Problem, measure
from harness.exchange.mteb.search import CompressedSearch, named_method
from tests.harness.exchange.mteb.mteb_folder_task import Precomputed, folder_task
from tests.lazy_packages import LazyPackage

mteb = LazyPackage("mteb")
pytestmark = mteb.mark

METHODS = ["float32", "int8", "binary", "pq m=8 bits=4 seed=1"]
SHARED = ["ndcg_at_1", "ndcg_at_10", "ndcg_at_100", "recall_at_10", "recall_at_100", "map_at_100", "mrr_at_10"]


def ours(problem: Problem, method: str | Callable[[], Any], **settings: Any) -> dict[str, float]:
    make = named_method(method).make if isinstance(method, str) else method
    per_query = measure(make, problem, **settings).per_query
    # a ranking of ten documents has no metric at 100
    return {name: float(per_query[name].mean()) for name in SHARED if name in per_query}


def theirs(search: Any, task: Any) -> dict[str, float]:
    result = mteb.evaluate(search, task, cache=None, overwrite_strategy="always", show_progress_bar=False)
    return dict(result.task_results[0].scores["test"][0])


def encoder(folder: Path, vectors: str, similarity: str = "cosine") -> Precomputed:
    arrays = load_file(folder / vectors)
    model = Precomputed(arrays["docs"], arrays["queries"])
    return compared_by(similarity, model)


def compared_by(similarity: str, model: Precomputed) -> Precomputed:
    from mteb.models.model_meta import ScoringFunction

    model.mteb_model_meta = model.mteb_model_meta.model_copy(update={"similarity_fn_name": ScoringFunction(similarity)})
    return model


def problem_of(folder: Path, vectors: str) -> Problem:
    dataset = Folder(path=str(folder)).load()
    docs, queries, _ = VectorModel(path=str(folder / vectors)).supply(dataset)
    return Problem.of(dataset, docs, queries, 100)


@pytest.fixture(scope="module")
def problem(small_collection: Path) -> Problem:
    return problem_of(small_collection, "vectors.safetensors")


@pytest.mark.parametrize("method", [*METHODS, "rescore_binary_int8", "svd dim=16", "mteb_int bits=4"])
def test_mteb_finds_our_scores(method: str, problem: Problem, small_collection: Path) -> None:
    """1000 documents are asked for, and 400 are there: even a short list that depends on the depth is ours."""
    # by the inner product, vectors stay as they are to the last bit, on which a floor (mteb_int) depends
    search = CompressedSearch(encoder(small_collection, "vectors.safetensors", "dot"), method)
    expected = ours(problem, method)
    found = theirs(search, folder_task(small_collection))
    for name in SHARED:
        assert found[name] == pytest.approx(expected[name], abs=1e-5), name
    storage = measure(named_method(method).make, problem).storage
    assert search.storage == storage


def test_ties_come_as_trec_eval_breaks_them(small_collection: Path, problem: Problem) -> None:
    """Four bits have sixteen values: ties decide who is among the ten that are asked for."""
    docs, queries = (np.sign(np.asarray(a)[:, :4]).astype(np.float32) for a in (problem.docs, problem.queries))
    dataset = Folder(path=str(small_collection)).load()
    tied = Problem.of(dataset, docs, queries, 100)
    assert tied.exact_metrics["tie_at_10"] > 0.9
    source = np.empty_like(docs)
    source[dataset.source_rows] = docs
    task = folder_task(small_collection, k_values=(1, 10))
    found = theirs(CompressedSearch(Precomputed(source, queries), "binary"), task)
    expected = ours(tied, "binary")
    for name in ("ndcg_at_1", "ndcg_at_10", "recall_at_10", "mrr_at_10"):
        assert found[name] == pytest.approx(expected[name], abs=1e-5), name


@pytest.fixture(scope="module")
def scifact(shared_data: Path) -> tuple[Path, Problem]:
    return shared_data / "scifact", problem_of(shared_data / "scifact", "minilm.safetensors")


SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in ("float32", "int8", "pq m=48", "rescore_pq_int8")]


@pytest.mark.parametrize("method", ["binary", *SLOW])
def test_mteb_finds_our_scores_on_scifact(method: str, scifact: tuple[Path, Problem]) -> None:
    folder, problem = scifact
    expected = ours(problem, method)
    found = theirs(
        CompressedSearch(encoder(folder, "minilm.safetensors"), method), folder_task(folder, k_values=(1, 10, 100))
    )
    for name in SHARED:
        assert found[name] == pytest.approx(expected[name], abs=1e-5), name
    if method == "float32":
        assert found["ndcg_at_10"] == pytest.approx(0.64508, abs=1e-5)


def test_a_codec_will_do_and_is_named_by_its_parameters(problem: Problem, small_collection: Path) -> None:
    make = named_method("int8 bits=2").make
    search = CompressedSearch(encoder(small_collection, "vectors.safetensors"), make)
    found = theirs(search, folder_task(small_collection))
    assert found["ndcg_at_10"] == pytest.approx(ours(problem, make)["ndcg_at_10"], abs=1e-5)
    kwargs = search.mteb_model_meta.experiment_kwargs
    assert kwargs["method"] == type(make()).__name__ and "bits=2" in kwargs["params"]
    other = CompressedSearch(encoder(small_collection, "vectors.safetensors"), named_method("int8 bits=3").make)
    assert other.mteb_model_meta.experiment_name != search.mteb_model_meta.experiment_name


def test_mteb_keeps_results_apart_by_compression(small_collection: Path, tmp_path: Path) -> None:
    model = encoder(small_collection, "vectors.safetensors")
    before = model.mteb_model_meta.experiment_kwargs
    cache, task = mteb.ResultCache(tmp_path), folder_task(small_collection)
    scores = {}
    for method in ("int8", "binary", "pq seed=3 bits=4 m=8"):
        search = CompressedSearch(model, method)
        result = mteb.evaluate(search, task, cache=cache, show_progress_bar=False).task_results[0]
        scores[search.mteb_model_meta.experiment_name] = result.main_score
        loaded = cache.load_task_result("FolderTask", search.mteb_model_meta)
        assert loaded is not None and loaded.main_score == pytest.approx(result.main_score, abs=1e-6)
    assert set(scores) == {
        "method_int8__scoring_asymmetric",
        "method_binary__scoring_asymmetric",
        "method_pq__params_bits=4 m=8__scoring_asymmetric__seed_3",
    }
    assert len(set(scores.values())) == 3
    assert model.mteb_model_meta.experiment_kwargs == before, "the wrapped model keeps its name"


def test_it_is_what_mteb_searches_with(small_collection: Path) -> None:
    from mteb.models import EncoderProtocol, SearchProtocol

    search = CompressedSearch(encoder(small_collection, "vectors.safetensors"), "int8")
    assert isinstance(search, SearchProtocol) and not isinstance(search, EncoderProtocol)
    assert search.storage is None


@dataclass(frozen=True)
class Lettered:
    """A model of the harness: counts of letter pairs, hashed; queries lie a little off."""

    name: str = "lettered"
    label: str = "lettered v=2"

    def identity(self, role: str, task: str | None) -> dict[str, Any]:
        return {"content": "0123456789abcdef"}

    def encode(self, texts: Sequence[str], role: str, task: str | None) -> np.ndarray:
        vectors = np.zeros((len(texts), 24))
        for row, text in enumerate(texts):
            for pair in itertools.pairwise(text):
                vectors[row, hashlib.sha256("".join(pair).encode()).digest()[0] % 24] += 1
        vectors += 0.3 if role == "query" else 0.0
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("fit_queries", ["auto", "sentences", "documents", "none"])
def test_a_method_that_learns_from_queries_gets_those_made_of_documents(
    fit_queries: str, small_collection: Path, tmp_path: Path
) -> None:
    method, seen = "leanvec_ood dim=16 steps=5", []
    make = named_method(method).make
    assert make().wants_queries
    dataset, model = Folder(path=str(small_collection)).load(), Lettered()
    vectors = embed(dataset, model, tmp_path)
    problem = Problem.of(dataset, vectors.docs, vectors.queries, 100)
    chosen = training_queries.choose(fit_queries, dataset, model, dataset)
    expected = ours(problem, method, fit_queries=chosen.vectors(vectors))

    def watched() -> Any:
        codec = make()
        fit = codec.fit

        def fit_and_note(docs: Any, queries: Any = None, pairs: Any = None) -> Any:
            seen.append(queries)
            return fit(docs, queries, pairs)

        codec.fit = fit_and_note
        return codec

    search = CompressedSearch(model, watched, fit_queries=fit_queries)
    found = theirs(search, folder_task(small_collection))
    taught = chosen.vectors(vectors)
    assert len(seen) == 1
    if taught is None:
        assert seen[0] is None
    else:
        np.testing.assert_array_equal(seen[0], taught)
        assert not (seen[0][:, None] == np.asarray(vectors.queries)[None]).all(axis=2).any(), "no test query"
    for name in SHARED:
        assert found[name] == pytest.approx(expected[name], abs=1e-5), name
    meta = search.mteb_model_meta
    assert meta.name == "local/lettered" and meta.revision == "content-0123456789ab"
    assert meta.experiment_kwargs["model_settings"] == "v=2"


def test_chunks_and_depth(problem: Problem, small_collection: Path) -> None:
    model, task = encoder(small_collection, "vectors.safetensors"), folder_task(small_collection)
    chunked = theirs(CompressedSearch(model, "int4", chunk_rows=64), task)
    assert chunked == theirs(CompressedSearch(model, "int4"), task)
    shallow = theirs(CompressedSearch(model, "rescore_binary_int8 factor=1", k=10), task)
    expected = ours(problem, "rescore_binary_int8 factor=1", k=10)
    assert shallow["ndcg_at_10"] == pytest.approx(expected["ndcg_at_10"], abs=1e-5)
    assert shallow["recall_at_1000"] == shallow["recall_at_10"], "a method of two tiers returns k documents"
    deep = theirs(CompressedSearch(model, "rescore_binary_int8 factor=1"), task)
    assert deep["ndcg_at_10"] != pytest.approx(shallow["ndcg_at_10"], abs=1e-5), "its short list depends on k"


def test_what_is_compared_by_cosine_is_stored_at_unit_length(problem: Problem, small_collection: Path) -> None:
    arrays = load_file(small_collection / "vectors.safetensors")
    lengths = np.random.default_rng(0).uniform(0.5, 2, (len(arrays["docs"]), 1)).astype(np.float32)
    model = Precomputed(arrays["docs"] * lengths, arrays["queries"])
    task = folder_task(small_collection)
    found = theirs(CompressedSearch(model, "float32"), task)["ndcg_at_10"]
    assert found == pytest.approx(problem.exact_metrics["ndcg_at_10"], abs=1e-5)
    by_product = theirs(CompressedSearch(compared_by("dot", model), "float32"), task)["ndcg_at_10"]
    assert by_product != pytest.approx(found, abs=1e-3)
    with pytest.raises(ModelError, match="compares vectors by euclidean"):
        CompressedSearch(compared_by("euclidean", model), "float32")


@pytest.mark.parametrize(
    "method, message",
    [
        ("binry", "there is no method 'binry'; did you mean 'binary'"),
        ("", "there is no method ''"),
        ("pq mm=3", "method 'pq mm=3': .*mm"),
        ("int8 bits=many", "bits"),
        (lambda: 3, "return a Codec, got int"),
    ],
)
def test_a_method_that_does_not_exist(method: Any, message: str, small_collection: Path) -> None:
    from methods.base import MethodError

    with pytest.raises((VecbudgetError, MethodError), match=message):
        CompressedSearch(encoder(small_collection, "vectors.safetensors"), method)


def test_what_is_refused(small_collection: Path) -> None:
    with pytest.raises(ModelError, match="takes a model that encodes"):
        CompressedSearch("all-MiniLM-L6-v2", "int8")
    model = encoder(small_collection, "vectors.safetensors")
    with pytest.raises(ConfigError, match="fit_queries must be"):
        CompressedSearch(model, "int8", fit_queries="test")
    with pytest.raises(ConfigError, match="has no train queries"):
        CompressedSearch(model, "leanvec_ood", fit_queries="train").index(
            folder_task(small_collection).dataset["default"]["test"]["corpus"],
            task_metadata=folder_task(small_collection).metadata,
            hf_split="test",
            hf_subset="default",
            encode_kwargs={},
        )
    task = folder_task(small_collection)
    data = task.dataset["default"]["test"]
    data["top_ranked"] = dict.fromkeys(data["queries"]["id"], data["corpus"]["id"][:3])
    with pytest.raises(DatasetError, match="ranks given candidates again"):
        theirs(CompressedSearch(model, "int8"), task)


def test_documents_with_one_id_are_refused(small_collection: Path) -> None:
    task = folder_task(small_collection)
    data = task.dataset["default"]["test"]
    data["corpus"] = data["corpus"].map(lambda row: {"id": "d000" if row["id"] == "d001" else row["id"]})
    with pytest.raises(DatasetError, match="1 documents have the id of another one"):
        theirs(CompressedSearch(encoder(small_collection, "vectors.safetensors"), "int8"), task)


def test_datasets_are_ours(small_collection: Path) -> None:
    """The pseudo queries' source has the documents of our loader, in its order."""
    from harness.exchange.mteb.search import as_dataset

    dataset: Dataset = Folder(path=str(small_collection)).load()
    made = as_dataset(folder_task(small_collection).dataset["default"]["test"]["corpus"], "tiny")
    assert (made.doc_ids, made.doc_texts, made.titles) == (dataset.doc_ids, dataset.doc_texts, dataset.titles)
