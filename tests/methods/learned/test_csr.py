import numpy as np
import pytest

from methods.base import MethodError, unit_rows
from methods.learned.csr import CSR, asking_queries, strongest
from tests.conftest import clustered_vectors

N, D, K, WIDTH = 800, 32, 6, 128


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(N, D)


def small(**other: object) -> CSR:
    settings = {"k": K, "width": WIDTH, "steps": 150, "batch": 64, "rate": 3e-3, "scoring": "symmetric", **other}
    return CSR(**settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted(docs: np.ndarray) -> CSR:
    return small().fit(docs)


def by_hand(**other: object) -> CSR:
    """Features are the axes of the plane and their opposites."""
    made = CSR(**{"k": 1, "width": 4, **other})  # type: ignore[arg-type]
    return made.load_state(
        {
            "dim_": np.asarray(2),
            "weights_": np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32),
            "centre_": np.array([0.1, 0], np.float32),
            "offset_": np.array([0, 0, 0, 0.2], np.float32),
            "scale_": np.asarray(np.float32(2)),
        }
    )


def test_codes_by_hand() -> None:
    some = np.array([[0.9, 0.4], [0.2, -0.5]], np.float32)
    # features: (.8, .4, 0, 0) and (.1, 0, 0, .7)
    half = by_hand(value_bits=16)
    codes = half.encode(some)
    assert codes.nbytes == 2 * (1 + 2)
    assert np.allclose(half.decode(codes), [[0.9, 0], [0.1, -0.7]], atol=1e-3)
    symmetric = by_hand(value_bits=16, scoring="symmetric")
    assert np.allclose(symmetric.doc_matrix(codes), [[1, 0, 0, 0], [0, 0, 0, 1]], atol=1e-3)
    eight = by_hand(k=2)
    codes = eight.encode(some)
    assert codes.rows["values"].tolist() == [[102, 51], [13, 89]]
    assert np.allclose(eight.decode(codes), [[0.9, 0.4], [0.2, -0.7]], atol=0.01)


def test_strongest_by_hand() -> None:
    import torch

    features = torch.tensor([[3.0, -1.0, 2.0, 1.0], [-4.0, -3.0, 5.0, -2.0]], requires_grad=True)
    codes = strongest(features, 2)
    assert codes.tolist() == [[3, 0, 2, 0], [0, 0, 5, 0]]
    codes.sum().backward()
    # gradients go to what is kept and positive
    assert features.grad is not None and features.grad.tolist() == [[1, 0, 1, 0], [0, 0, 1, 0]]


def test_bytes_are_counted_with_their_places(docs: np.ndarray, fitted: CSR) -> None:
    # 6 places of 7 bits and 6 values
    assert fitted.encode(docs).nbytes == N * (6 + 6)
    assert small(value_bits=16).load_state(fitted.state()).encode(docs).nbytes == N * (6 + 12)


def test_symmetric_scores_are_cosines_of_sparse_codes(docs: np.ndarray, fitted: CSR) -> None:
    codes = fitted.encode(docs)
    matrix = fitted.doc_matrix(codes)
    assert matrix.shape == (N, WIDTH)
    assert ((matrix > 0).sum(axis=1) <= K).all() and (matrix >= 0).all()
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)
    assert np.array_equal(fitted.query_matrix(docs[:9]), matrix[:9])
    float_queries = small(scoring="asymmetric", renormalize=True).load_state(fitted.state())
    assert np.array_equal(float_queries.query_matrix(docs[:9]), docs[:9])
    assert float_queries.doc_matrix(codes).shape == (N, D)


def test_the_held_out_loss_falls(docs: np.ndarray, fitted: CSR) -> None:
    (entry,) = fitted.training()
    assert entry["data"] == f"{N} documents, 0 of them with a query that they answer"
    assert entry["loss"] < 0.7 * entry["loss_before"]
    untrained = small(rate=1e-12).fit(docs)
    left = [float(((docs - part.decode(part.encode(docs))) ** 2).sum() / N) for part in (untrained, fitted)]
    assert left[1] < 0.6 * left[0]


def test_annealing_ends_at_k(docs: np.ndarray) -> None:
    annealed = small(anneal_from=20)
    kept = []
    for annealed._step in (0, 52, 105, 150):
        kept.append(annealed._features_kept(training=True))
    assert kept == [20, 13, 6, 6] and annealed._features_kept(training=False) == K
    fitted = small(anneal_from=20).fit(docs)
    assert fitted.encode(docs).nbytes == N * (6 + 6)


def test_pairs_enter_by_document(docs: np.ndarray) -> None:
    pairs = np.array([[0, 5], [1, 9], [2, 9]])
    asking = asking_queries(np.array([2, 5, 9]), docs[:3], pairs, 0)
    assert asking[0] == -1 and asking[1] == 0 and asking[2] in (1, 2)
    rows = np.random.default_rng(0).integers(N, size=300)
    noise = 0.05 * np.random.default_rng(1).standard_normal((300, D))
    queries = unit_rows((docs[rows] + noise).astype(np.float32))
    (entry,) = small().fit(docs, queries, np.column_stack([np.arange(300), rows])).training()
    assert entry["data"] == f"{N} documents, {len(set(rows))} of them with a query that they answer"
    assert entry["loss"] < 0.8 * entry["loss_before"]


def test_state_is_the_features(fitted: CSR) -> None:
    assert set(fitted.state()) == {"dim_", "weights_", "centre_", "offset_", "scale_"}
    assert not any(name.startswith("_") and name != "_history" for name in vars(fitted))


def test_seeds(docs: np.ndarray) -> None:
    first, same, other = (small(seed=seed, steps=20).fit(docs).state()["weights_"] for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_impossible_parameters_are_named() -> None:
    with pytest.raises(MethodError, match="width=3"):
        CSR(k=4, width=3)
    with pytest.raises(MethodError, match="anneal_from=3"):
        CSR(k=4, anneal_from=3)
