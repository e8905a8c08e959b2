"""An old model's documents searched with a new model's queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.base.errors import ConfigError
from harness.data.datasets import Dataset
from harness.data.embedding_cache import embed
from harness.data.models.float16 import Rounded
from harness.data.models.query_model import TwoModels, two_models
from harness.data.models.vectors import VectorModel
from harness.data.training_queries import choose
from harness.evaluation.measure import Problem, measure
from methods.composed.chain import Chain
from methods.scalar.uniform import PerDimension
from methods.transforms.query_map import QueryMap

WORDS = [f"word{number}" for number in range(40)]


class Bag:
    """Counts words and turns the counts; a wider one has further numbers."""

    def __init__(self, seed: int, width: int) -> None:
        rng = np.random.default_rng(seed)
        self.matrix = np.linalg.qr(rng.standard_normal((width, width)))[0][: len(WORDS)].astype(np.float32)
        self.name = self.label = f"bag{seed}"

    def identity(self, role: str, task: str | None) -> dict[str, Any]:
        return {"model": self.name}

    def encode(self, texts: Sequence[str], role: str, task: str | None) -> np.ndarray:
        counts = np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=np.float32)
        vectors = counts @ self.matrix
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


OLD, NEW = Bag(1, 40), Bag(2, 48)


def collection() -> Dataset:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 12)) for _ in range(300)]
    asked = [" ".join(rng.permutation(text.split())[:7]) for text in texts[:40]]
    return Dataset.build(
        name="bags",
        doc_ids=[f"d{row:03}" for row in range(300)],
        doc_texts=texts,
        query_ids=[f"q{row}" for row in range(40)],
        query_texts=asked,
        qrels={f"q{row}": {f"d{row:03}": 1} for row in range(40)},
    )


def test_documents_are_the_old_models_and_queries_the_new_ones(tmp_path: Path) -> None:
    dataset = collection()
    vectors = embed(dataset, TwoModels(OLD, NEW), tmp_path)
    np.testing.assert_allclose(vectors.docs, OLD.encode(dataset.doc_texts or [], "document", None), atol=1e-6)
    np.testing.assert_allclose(vectors.queries, NEW.encode(dataset.query_texts or [], "query", None), atol=1e-6)
    assert vectors.old_queries is not None
    np.testing.assert_allclose(vectors.old_queries, OLD.encode(dataset.query_texts or [], "query", None), atol=1e-6)
    # the old model's vectors are those of its own runs
    files = len(list(tmp_path.glob("*.npy")))
    embed(dataset, OLD, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == files


@pytest.mark.parametrize("first", ["both", "alone"])
def test_rounded_vectors_of_both_are_those_of_each_alone(tmp_path: Path, first: str) -> None:
    dataset, old, new = collection(), Rounded(OLD), Rounded(NEW)
    encoders = {"both": TwoModels(old, new), "alone": new}
    made = {name: embed(dataset, encoders[name], tmp_path) for name in sorted(encoders, key=lambda name: name != first)}
    np.testing.assert_array_equal(made["both"].queries, made["alone"].queries)


def test_a_map_learned_from_documents_brings_back_the_old_ranking(tmp_path: Path) -> None:
    dataset, both = collection(), TwoModels(OLD, NEW)
    vectors = embed(dataset, both, tmp_path)
    chosen = choose("auto", dataset, both, dataset)
    assert chosen.source == "documents" and len(chosen.pairs) == 300
    problem = Problem.of(dataset, vectors.docs, vectors.queries, 20, vectors.old_queries)
    alone = embed(dataset, OLD, tmp_path)
    assert problem.exact_metrics == Problem.of(dataset, alone.docs, alone.queries, 20).exact_metrics

    def make() -> Chain:
        return Chain(transforms=[QueryMap(kind="linear", ridge=1e-6)], codec=PerDimension(bits=8))

    result = measure(make, problem, fit_queries=chosen.vectors(vectors), fit_pairs=chosen.pairs, k=20)
    assert result.per_query["overlap_at_10"].mean() > 0.95
    assert result.limits == {"vector": None, "score": None}
    assert choose("documents", dataset, OLD, dataset).texts is None


def test_vectors_without_a_model_cannot_be_one_of_two() -> None:
    assert two_models(OLD, None) is OLD
    with pytest.raises(ConfigError, match="two models that encode texts"):
        two_models(VectorModel(path="any"), NEW)
