"""Every yaml in configs/method, on vectors that it was not made for: it works, or says what was set that does not fit.

Never does it end in another library's assertion, or in an error that names a class in place of a setting.
"""

import functools
import re

import numpy as np
import pytest

from harness.data.datasets import Dataset
from harness.evaluation.measure import Problem, measure
from harness.runs.catalogue import members, parameters
from harness.runs.config import MethodSpec
from harness.runs.named_settings import named_settings
from methods import HOMES
from methods.base import MethodError
from tests.conftest import method_node, methods_for

SHAPES = [(20, 100), (20, 5), (3, 384), (1, 1)]

QUICK = ("steps", "batch", "rounds", "epochs", "iterations", "perturbations")
"""Of `about.test`, what makes a method quick and leaves its shape alone."""

WIDTHS = ("m", "dim", "nbits", "nbytes", "bits", "num_sub_vectors", "splits", "k", "width", "rank")

CLASSES = re.compile(rf"\b({'|'.join(HOMES)})\b")


def unit_vectors(n: int, d: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def problem(n: int, d: int) -> Problem:
    dataset = Dataset.build(
        name="awkward",
        doc_ids=[f"{row:03d}" for row in range(n)],
        query_ids=list("abcd"),
        qrels=None,
        doc_vectors=unit_vectors(n, d, 0),
        query_vectors=unit_vectors(4, d, 1),
    )
    assert dataset.doc_vectors is not None and dataset.query_vectors is not None
    return Problem.of(dataset, dataset.doc_vectors, dataset.query_vectors, 10)


def outcome(name: str, shape: tuple[int, int], **parameters: object) -> str:
    """What a person sees of a method on so many documents and dimensions: "" where it works."""
    n, d = shape
    node = method_node(name, only=QUICK)
    for key, value in parameters.items():
        node[key] = value
    try:
        with named_settings(node, name, [f"method.{key}={value}" for key, value in parameters.items()]):
            spec = MethodSpec(node)
            pairs = np.array([[row, row % n] for row in range(6)]) if spec.make().wants_pairs else None
            measure(spec.make, problem(n, d), fit_queries=unit_vectors(6, d, 2), fit_pairs=pairs, k=10)
    except MethodError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("name", methods_for("vectors"))
def test_it_works_or_names_what_was_set(name: str, shape: tuple[int, int]) -> None:
    said = outcome(name, shape)
    assert not said or said.startswith(f"method={name}: "), said
    assert not CLASSES.search(said), said
    assert "faiss::" not in said and "\n" not in said, said


@pytest.mark.parametrize(
    "name", [name for name in methods_for("vectors") if {*WIDTHS} & {*parameters(members("method")[name])}]
)
def test_a_value_without_meaning_is_named_as_it_was_typed(name: str) -> None:
    for key in parameters(members("method")[name]):
        if key in WIDTHS:
            for value in (0, -1, 97, "x"):
                said = outcome(name, (24, 96), **{key: value})
                assert not CLASSES.search(said) and "faiss::" not in said and "\n" not in said, said
                if value in (0, -1, "x"):
                    start = f"method={name} method.{key}={value}: "
                    assert said.startswith(start) and f"method.{key}" in said.removeprefix(start), said
