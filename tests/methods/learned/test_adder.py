import numpy as np
import pytest

from methods.base import MethodError, unit_rows
from methods.learned.adder import Adder
from methods.learned.answers import Answers
from tests.conftest import clustered_vectors

N, M, D = 600, 500, 32


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(N, D)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(4).integers(N, size=M)


@pytest.fixture(scope="module")
def queries(docs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Documents with four axes mirrored: a correction of rank four undoes it."""
    rng = np.random.default_rng(5)
    axes = np.linalg.qr(rng.standard_normal((D, 4)))[0]
    mirrored = docs[rows] @ (np.eye(D) - 2 * axes @ axes.T) + 0.02 * rng.standard_normal((M, D))
    return unit_rows(mirrored.astype(np.float32))


def small(**other: object) -> Adder:
    return Adder(**{"rank": 4, "steps": 300, "batch": 64, "rate": 1e-2, **other})  # type: ignore[arg-type]


def first_place(fitted: Adder, queries: np.ndarray, docs: np.ndarray, rows: np.ndarray) -> float:
    scores = fitted.transform_queries(queries) @ fitted.transform_docs(docs).T
    return float(np.mean(scores.argmax(axis=1) == rows))


@pytest.mark.parametrize("sides", ["queries", "docs", "both"])
def test_a_low_rank_mistake_is_corrected(docs: np.ndarray, queries: np.ndarray, rows: np.ndarray, sides: str) -> None:
    pairs = np.column_stack([np.arange(400), rows[:400]])
    fitted = small(sides=sides).fit(docs, queries, pairs)
    (entry,) = fitted.training()
    assert entry["data"] == "400 pairs of a query and its document"
    assert entry["loss"] < 0.5 * entry["loss_before"]
    before = float(np.mean((queries[400:] @ docs.T).argmax(axis=1) == rows[400:]))
    assert first_place(fitted, queries[400:], docs, rows[400:]) > before + 0.2
    corrected = {"queries", "docs"} if sides == "both" else {sides}
    assert set(fitted.state()) == {"dim_"} | {f"{side}_{name}_" for side in corrected for name in ("down", "up")}


def test_the_other_side_stays(docs: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> None:
    fitted = small(sides="queries").fit(docs, queries, np.column_stack([np.arange(M), rows]))
    assert np.allclose(fitted.transform_docs(docs), docs, atol=1e-6)
    moved = fitted.transform_queries(queries).astype(np.float64)
    change = fitted.queries_down_ @ fitted.queries_up_  # type: ignore[attr-defined]
    assert np.linalg.matrix_rank(change, tol=1e-4) == 4
    expected = queries + queries @ change
    assert np.allclose(moved, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_training_that_cannot_help_keeps_the_start(docs: np.ndarray) -> None:
    # each query is its document, and a rotation away from it only loses
    same = unit_rows(np.random.default_rng(0).standard_normal((200, D)).astype(np.float32))
    pairs = np.column_stack([np.arange(200), np.arange(200)])
    fitted = small(temperature=0.001).fit(same, same, pairs)
    (entry,) = fitted.training()
    assert entry["best_step"] == 0 and entry["loss"] == entry["loss_before"]
    assert np.array_equal(fitted.transform_queries(same), unit_rows(same))


def test_pseudo_pairs_are_called_so(docs: np.ndarray, queries: np.ndarray) -> None:
    (of_queries,) = small(steps=5).fit(docs, queries).training()
    assert of_queries["data"] == f"pseudo pairs: {M} queries with the 1 nearest documents"
    (of_docs,) = small(steps=5).fit(docs).training()
    assert of_docs["data"] == f"pseudo pairs: {N} documents with 1 neighbours each"


def test_answers_by_hand(docs: np.ndarray) -> None:
    import torch

    # query 2 has two documents, query 0 has one of them, query 1 has none
    pairs = np.array([[2, 7], [0, 7], [2, 3]])
    answers = Answers(docs, docs[:3], pairs, 100, 0, "cpu")
    assert len(answers) == 3 and answers.words == "3 pairs of a query and its document"
    asked, found, right = answers.at(torch.tensor([1, 2]))
    assert np.array_equal(asked.numpy(), docs[[0, 2]]) and np.array_equal(found.numpy(), docs[[7, 3]])
    # the one's document answers the other query too
    assert right.tolist() == [[True, False], [True, True]]


def test_others_are_wrong_unless_known(docs: np.ndarray) -> None:
    import torch

    answers = Answers(docs, docs[:3], np.array([[0, 7], [1, 3]]), 100, 0, "cpu", others=N)
    _, found, right = answers.at(torch.tensor([0]))
    assert np.array_equal(found.numpy(), np.concatenate([docs[[7]], docs]))
    assert np.flatnonzero(right[0]).tolist() == [0, 1 + 7]


def test_pairs_are_held_out_with_all_that_share_their_query_or_document(docs: np.ndarray) -> None:
    pairs = np.array([[0, 8], [1, 8], [1, 2], [3, 5], [2, 2]])
    groups = Answers(docs, docs[:4], pairs, 100, 0, "cpu").groups
    assert len(set(groups[[0, 1, 2, 4]])) == 1 and groups[3] != groups[0]


def test_a_document_that_asks_is_no_negative_of_itself(docs: np.ndarray) -> None:
    import torch

    answers = Answers(docs, None, None, 100, 0, "cpu")
    asked, found, right = answers.at(torch.arange(len(answers)))
    same = (asked[:, None] == found[None, :]).all(dim=2)
    assert same.any() and right[same].all()


def test_seeds(docs: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> None:
    pairs = np.column_stack([np.arange(M), rows])
    first, same, other = (
        small(seed=seed, steps=20).fit(docs, queries, pairs).transform_queries(queries) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_impossible_parameters_are_named(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="rank=33"):
        Adder(rank=33).fit(docs)
    with pytest.raises(MethodError, match="temperature"):
        Adder(temperature=0.0)
