import math

import numpy as np
import pytest

from methods.base import MethodError, unit_rows
from methods.learned.matryoshka_adaptor import MatryoshkaAdaptor, prefix_lengths, ranking
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors

N, D, R = 800, 64, 16


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(N, D)


def small(**other: object) -> MatryoshkaAdaptor:
    settings = {"dim": R, "prefixes": [8, 16, 32], "rebuild": 0.01, "steps": 100, "batch": 64, **other}
    return MatryoshkaAdaptor(**settings)  # type: ignore[arg-type]


def test_prefixes() -> None:
    assert prefix_lengths(384, 96) == [24, 48, 96, 192, 384]
    assert prefix_lengths(768, 100) == [24, 48, 96, 100, 192, 384, 768]
    assert prefix_lengths(30, 8) == [8, 30]


def test_ranking_by_hand() -> None:
    import torch

    asked = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    right = torch.eye(2, dtype=torch.bool)
    # cosines: first query .6 and 0, second .8 and 1
    expected = (math.log1p(math.exp(0 - 0.6)) + math.log1p(math.exp(0.8 - 1))) / 2
    assert float(ranking(asked, found, right, [2])) == pytest.approx(expected, abs=1e-6)
    # the first number alone: cosines 1 and 0, 0 and 0
    alone = (math.log1p(math.exp(-1)) + math.log1p(math.exp(0))) / 2
    assert float(ranking(asked, found, right, [1, 2])) == pytest.approx((expected + alone) / 2, abs=1e-6)
    # a document known to be right is not wrong
    right[1, 0] = True
    assert float(ranking(asked, found, right, [2])) == pytest.approx(math.log1p(math.exp(-0.6)), abs=1e-6)


def test_preserving_by_hand() -> None:
    import torch

    given = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.0, 1.0]])
    # of the first number alone: rows of 1, 0, 1, 0; neighbours are rows 2 and 3
    pairs = MatryoshkaAdaptor(dim=1, random_pairs=0.5)
    assert float(pairs._preserve(given, given, [1])) == pytest.approx((0.4 + 1) / 2 + 0.5 * 1 / 4, abs=1e-6)
    matrix = MatryoshkaAdaptor(dim=1, loss="similarity_matrix")
    gaps = [0, 0, 0.4, 0, 0, 1, 0.8, 1, 0.4, 0.8, 0, 0.8, 0, 1, 0.8, 1]
    assert float(matrix._preserve(given, given, [1])) == pytest.approx(np.mean(np.square(gaps)), abs=1e-6)
    assert float(matrix._preserve(given, given, [2])) == pytest.approx(0, abs=1e-6)


def test_it_starts_as_the_prefix(docs: np.ndarray) -> None:
    still = small(rate=1e-12).fit(docs)
    assert np.allclose(still.transform_docs(docs), unit_rows(docs[:, :R]), atol=1e-5)
    turned = small(rate=1e-12, basis="principal").fit(docs)
    assert np.allclose(turned.transform_docs(docs), unit_rows(SVD(dim=R).fit(docs).transform_docs(docs)), atol=1e-5)


@pytest.mark.parametrize("loss", ["pairs", "similarity_matrix"])
def test_neighbours_keep_their_cosines(docs: np.ndarray, loss: str) -> None:
    near = np.argsort(-(docs @ docs.T), axis=1)[:, 1:6]

    def gap(fitted: MatryoshkaAdaptor) -> float:
        new = fitted.transform_docs(docs)
        return float(np.abs((new @ new.T - docs @ docs.T)[np.arange(N)[:, None], near]).mean())

    fitted = small(loss=loss).fit(docs)
    (entry,) = fitted.training()
    assert entry["loss"] < 0.9 * entry["loss_before"]
    assert gap(fitted) < 0.9 * gap(small(rate=1e-12).fit(docs))


def test_a_penalty_too_dear_keeps_the_start(docs: np.ndarray) -> None:
    fitted = small(rebuild=100.0).fit(docs)
    (entry,) = fitted.training()
    assert entry["best_step"] == 0
    assert np.allclose(fitted.transform_docs(docs), unit_rows(docs[:, :R]), atol=1e-6)


def test_pairs_make_a_second_stage(docs: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    # queries ask with some axes flipped: nothing that documents alone could show
    flips = np.where(np.arange(D) < D // 4, -1.0, 1.0).astype(np.float32)
    rows = rng.integers(N, size=600)
    queries = unit_rows((docs[rows] * flips + 0.02 * rng.standard_normal((600, D))).astype(np.float32))
    pairs = np.column_stack([np.arange(500), rows[:500]])
    taught = small(rate=3e-3, steps=120).fit(docs, queries, pairs)
    alone = small(rate=3e-3, steps=120, supervised=False).fit(docs, queries, pairs)
    assert [entry["data"] for entry in taught.training()] == [
        f"{N} documents with 10 neighbours",
        "500 pairs of a query and its document",
    ]
    assert len(alone.training()) == len(small(steps=1).fit(docs, queries).training()) == 1

    def found(fitted: MatryoshkaAdaptor) -> float:
        scores = fitted.transform_queries(queries[500:]) @ fitted.transform_docs(docs).T
        return float(np.mean((scores > scores[np.arange(100), rows[500:]][:, None]).sum(axis=1) < 10))

    assert found(taught) > found(alone) + 0.1


def test_only_the_prefix_is_state(docs: np.ndarray) -> None:
    state = small(hidden=20).fit(docs).state()
    shapes = {name: array.shape for name, array in state.items()}
    assert shapes == {
        "dim_": (),
        "residual_w0_": (D, 20),
        "residual_b0_": (20,),
        "residual_w1_": (20, R),
        "residual_b1_": (R,),
    }


def test_seeds(docs: np.ndarray) -> None:
    first, same, other = (small(seed=seed, steps=20).fit(docs).transform_docs(docs) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_impossible_parameters_are_named(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="longest of prefixes=65 is wider"):
        small(prefixes=[65]).fit(docs)
    with pytest.raises(MethodError, match="prefixes"):
        small(prefixes=[0])
