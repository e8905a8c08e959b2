import itertools

import numpy as np
import pytest

from methods.base import MethodError
from methods.product.anisotropic import AnisotropicPQ, assign, parallel_weight, updated
from methods.product.faiss_codec import FaissCodec
from tests.conftest import clustered_vectors


def loss(docs: np.ndarray, codes: np.ndarray, codebook: np.ndarray, eta: float) -> np.ndarray:
    """eta |r_par|^2 + |r_orth|^2, written as in the paper."""
    decoded = codebook[np.arange(len(codebook)), codes].reshape(docs.shape)
    residual = docs.astype(np.float64) - decoded
    units = docs / np.linalg.norm(docs, axis=1, keepdims=True)
    parallel = (residual * units).sum(axis=1, keepdims=True) * units
    return eta * (parallel**2).sum(axis=1) + ((residual - parallel) ** 2).sum(axis=1)


@pytest.mark.parametrize(("d", "eta"), [(100, 4.1), (768, 32.0), (1024, 42.6)])
def test_what_the_documented_threshold_means(d: int, eta: float) -> None:
    assert parallel_weight(0.2, d) == pytest.approx(eta, abs=0.05)
    # the inverse: the threshold that a weight stands for
    assert np.sqrt(eta / (d - 1 + eta)) == pytest.approx(0.2, abs=0.002)


def test_assignment_is_a_local_optimum_and_mostly_the_best() -> None:
    rng = np.random.default_rng(0)
    docs, codebook = clustered_vectors(60, 6), 0.4 * rng.standard_normal((3, 4, 2))
    codes = assign(docs, codebook, 5.0)
    found = loss(docs, codes, codebook, 5.0)
    every = np.array(list(itertools.product(range(4), repeat=3)))
    best = np.min([loss(docs, np.repeat(row[None], 60, axis=0), codebook, 5.0) for row in every], axis=0)
    assert np.isclose(found, best).mean() > 0.7
    for part, word in itertools.product(range(3), range(4)):
        moved = codes.copy()
        moved[:, part] = word
        assert (loss(docs, moved, codebook, 5.0) >= found - 1e-9).all()


def test_one_part_is_solved_by_the_paper_formula() -> None:
    # Guo et al., theorem 4.2, for vector quantisation of unit vectors: (h_o I + (h_p - h_o) / n sum u u^T)^-1 h_p mean
    docs, eta = clustered_vectors(50, 5), 7.0
    codebook = np.zeros((1, 2, 5))
    codes = (np.arange(50) % 2)[:, None]
    new = updated(docs, codes, codebook, eta)
    for word in (0, 1):
        own = docs[codes[:, 0] == word].astype(np.float64)
        left = np.eye(5) + (eta - 1) / len(own) * own.T @ own
        assert np.allclose(new[0, word], np.linalg.solve(left, eta * own.mean(axis=0)), atol=1e-6)


def test_the_loss_falls_with_every_update() -> None:
    docs, eta = clustered_vectors(800, 32), 6.0
    codebook = AnisotropicPQ(m=8, bits=4, eta=eta, rounds=0).fit(docs).codebook_.astype(np.float64)
    codes = assign(docs, codebook, eta)
    seen = [loss(docs, codes, codebook, eta).sum()]
    for _ in range(3):
        codebook = updated(docs, codes, codebook, eta)
        seen.append(loss(docs, codes, codebook, eta).sum())
        better = assign(docs, codebook, eta)
        # coordinate descent starts from the nearest centroids again, so that only the sum over documents must fall
        assert loss(docs, better, codebook, eta).sum() < seen[-1] * 1.01
        codes = better
        seen.append(loss(docs, codes, codebook, eta).sum())
    assert seen[-1] < 0.97 * seen[0]


def test_without_anisotropy_it_is_plain_pq() -> None:
    docs = clustered_vectors(600, 32)
    ours = AnisotropicPQ(m=8, bits=4, eta=1.0, rounds=0, iterations=6, seed=3).fit(docs)
    theirs = FaissCodec(factory="PQ8x4np", iterations=6, seed=3).fit(docs)
    assert np.array_equal(ours.decode(ours.encode(docs)), theirs.decode(theirs.encode(docs)))


def test_scores_of_near_queries_are_better_than_plain_pq() -> None:
    docs = clustered_vectors(1500, 64)
    rng = np.random.default_rng(1)
    queries = docs[:200] + 0.05 * rng.standard_normal((200, 64)).astype(np.float32)
    true = (queries * docs[:200]).sum(axis=1)
    errors = []
    for eta in (1.0, 4.0):
        codec = AnisotropicPQ(m=16, bits=4, eta=eta).fit(docs)
        errors.append(np.mean((np.diag(codec.score(queries, codec.encode(docs[:200]))) - true) ** 2))
    assert errors[1] < 0.7 * errors[0]


def test_packed_to_the_bit() -> None:
    docs = clustered_vectors(100, 24)
    assert AnisotropicPQ(m=6, bits=3, rounds=1).fit(docs).encode(docs).array.shape == (100, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"m": 0}, "m must"), ({"m": 4, "threshold": 1.0}, "threshold"), ({"m": 4, "eta": 0.0}, "eta")],
)
def test_parameters_that_make_no_sense(settings: dict[str, float], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        AnisotropicPQ(**settings)
