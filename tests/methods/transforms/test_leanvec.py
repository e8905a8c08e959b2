import numpy as np
import pytest

from methods.transforms.leanvec import LeanVec, closed_form, eigen_search, frank_wolfe, loss, unit_trace
from methods.transforms.linear import SVD, eigenbasis, second_moment
from tests.conftest import clustered_vectors

D, R = 32, 8


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(1000, D)


@pytest.fixture(scope="module")
def queries(docs: np.ndarray) -> np.ndarray:
    """Out of the documents' distribution: much of their energy where the documents have little."""
    weak = eigenbasis(second_moment(docs))[1][:, R : 2 * R]
    rng = np.random.default_rng(5)
    shifted = clustered_vectors(400, D, seed=1) + 0.5 * rng.standard_normal((400, R)) @ weak.T
    return (shifted / np.linalg.norm(shifted, axis=1, keepdims=True)).astype(np.float32)


def test_loss_is_the_mean_squared_error_of_inner_products(docs: np.ndarray, queries: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, D, R)) / 6
    errors = queries.astype(np.float64) @ a @ b.T @ docs.T - queries.astype(np.float64) @ docs.T
    assert np.isclose(loss(second_moment(queries), second_moment(docs), a, b), np.mean(errors**2))


def test_each_solver_loses_less_than_the_one_before(docs: np.ndarray, queries: np.ndarray) -> None:
    of_queries, of_docs = unit_trace(second_moment(queries)), unit_trace(second_moment(docs))
    principal = eigenbasis(of_docs)[1][:, :R]
    pca = loss(of_queries, of_docs, principal, principal)
    shared = eigen_search(of_queries, of_docs, R)
    search = loss(of_queries, of_docs, shared, shared)
    a, b = frank_wolfe(of_queries, of_docs, shared, shared, 500)
    wolfe = loss(of_queries, of_docs, a, b)
    best = loss(of_queries, of_docs, *closed_form(of_queries, of_docs, R))
    assert best < wolfe < search < 0.95 * pca
    # the ball that Frank-Wolfe may not leave
    for matrix in (a, b):
        assert np.linalg.norm(matrix, 2) < 1 + 1e-9


def test_closed_form_is_the_best_of_its_rank(docs: np.ndarray, queries: np.ndarray) -> None:
    # Eckart and Young: what is lost are the squares of the singular values left out
    of_queries, of_docs = second_moment(queries), second_moment(docs)
    values = np.sqrt(np.maximum(np.linalg.eigvals(of_queries @ of_docs).real, 0))
    lost = np.sum(np.sort(values)[: D - R] ** 2)
    assert np.isclose(loss(of_queries, of_docs, *closed_form(of_queries, of_docs, R)), lost, rtol=1e-6)


@pytest.mark.parametrize("solver", ["frank_wolfe", "eigen_search", "closed_form"])
def test_without_queries_it_is_the_svd(docs: np.ndarray, solver: str) -> None:
    fitted = LeanVec(dim=R, solver=solver, ridge=0.0).fit(docs)  # type: ignore[arg-type]
    asked = clustered_vectors(20, D, seed=3)
    svd = SVD(dim=R).fit(docs)
    expected = svd.transform_queries(asked) @ svd.transform_docs(docs).T
    assert np.allclose(fitted.transform_queries(asked) @ fitted.transform_docs(docs).T, expected, atol=1e-3)


def test_inner_products_get_better_with_queries(docs: np.ndarray, queries: np.ndarray) -> None:
    learned, asked = queries[:300], queries[300:]
    exact = asked @ docs.T

    def error(examples: np.ndarray | None) -> float:
        fitted = LeanVec(dim=R).fit(docs, examples)
        return float(np.mean((fitted.transform_queries(asked) @ fitted.transform_docs(docs).T - exact) ** 2))

    assert LeanVec.wants_queries
    assert error(learned) < 0.9 * error(None)
