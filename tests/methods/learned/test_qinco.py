import numpy as np
import pytest

from methods.base import MethodError
from methods.learned.qinco import QINCo, nearest_words, residual_codebooks, step_errors
from tests.conftest import clustered_vectors

D = 32


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(2000, D)


def small(**changes: object) -> QINCo:
    settings: dict = {"m": 4, "bits": 4, "width": 16, "hidden": 32, "candidates": 8, "steps": 150, "batch": 128}
    return QINCo(**settings | {"rate": 3e-3, "patience": 20} | changes)


def error(codec: QINCo, vectors: np.ndarray) -> float:
    return float(((codec.decode(codec.encode(vectors)) - vectors) ** 2).sum(axis=1).mean())


@pytest.fixture(scope="module")
def trained(docs: np.ndarray) -> QINCo:
    return small().fit(docs)


def test_nearest_words_by_hand() -> None:
    book = np.array([[0, 0], [1, 0], [0, 3]], np.float32)
    assert nearest_words(np.array([[0.9, 0.1], [0.1, 2]], np.float32), book, 2).tolist() == [[0, 1], [0, 2]]
    assert nearest_words(np.zeros((1, 2), np.float32), book, 3).tolist() == [[0, 1, 2]]


def test_residual_codebooks_leave_nothing_of_two_steps() -> None:
    # every vector is one of two coarse words plus one of two fine ones
    coarse, fine = np.array([[8, 0], [-8, 0]], np.float32), np.array([[0, 1], [0, -1]], np.float32)
    vectors = np.tile((coarse[:, None] + fine[None]).reshape(4, 2), (20, 1))
    books = residual_codebooks(vectors, 2, 2, seed=0)
    sums = (books[0][:, None] + books[1][None]).reshape(4, 2)
    assert np.allclose(sorted(map(tuple, sums.tolist())), sorted(map(tuple, vectors[:4].tolist())), atol=1e-5)


def test_the_start_is_a_residual_quantiser(docs: np.ndarray) -> None:
    codec = small(steps=1, rate=1e-12, candidates=16).fit(docs)
    left = docs.copy()
    for step in range(4):
        distances = ((left[:, None, :] - codec.books_[step][None]) ** 2).sum(axis=2)
        left -= codec.books_[step][distances.argmin(axis=1)]
    assert np.isclose(error(codec, docs), (left**2).sum(axis=1).mean(), rtol=1e-4)
    assert not codec.out_.any()


def test_numpy_writes_what_torch_trained(docs: np.ndarray) -> None:
    import torch

    codec = small(steps=30, bits=3)
    nets: list = []
    keep = codec._keep
    codec._keep = lambda net, scale: (nets.append((net, scale)), keep(net, scale))  # type: ignore[method-assign, func-returns-value]
    codec.fit(docs)
    net, scale = nets[0]
    with torch.no_grad():
        errors = step_errors(net, torch.from_numpy(docs / np.float32(scale)), 8).numpy()
    assert np.isclose(error(codec, docs), errors[-1] * scale**2 * D, rtol=1e-3)
    assert (np.diff(errors) < 0).all(), "each step comes closer"


def test_training_helps_on_unseen_documents(docs: np.ndarray, trained: QINCo) -> None:
    (entry,) = trained.training()
    assert entry["loss"] < entry["loss_before"]
    unseen = clustered_vectors(1000, D, seed=8)
    assert error(trained, unseen) < 0.99 * error(small(steps=1, rate=1e-12).fit(docs), unseen)


def test_the_same_seed_gives_the_same_state(docs: np.ndarray) -> None:
    one, two, other = (small(steps=10, seed=seed).fit(docs) for seed in (0, 0, 1))
    assert {k: v.tobytes() for k, v in one.state().items()} == {k: v.tobytes() for k, v in two.state().items()}
    assert other.encode(docs).array.tobytes() != one.encode(docs).array.tobytes()


def test_the_start_is_kept_where_training_cannot_help(docs: np.ndarray) -> None:
    codec = small(steps=20, rate=30.0, patience=2).fit(docs)
    (entry,) = codec.training()
    assert entry["best_step"] == 0 and not codec.out_.any()


def test_more_candidates_are_no_worse(trained: QINCo) -> None:
    few, all_of_them = small(candidates=1).load_state(trained.state()), small(candidates=16)
    all_of_them.load_state(trained.state())
    unseen = clustered_vectors(1000, D, seed=8)
    assert error(all_of_them, unseen) < error(few, unseen)


def test_bytes_and_state(docs: np.ndarray, trained: QINCo) -> None:
    assert trained.encode(docs).nbytes == len(docs) * 2
    network = 16 * 16 + D * 16 + 2 * (16 * 32 + 32 * 16) + 16 * D
    numbers = sum(array.size for name, array in trained.state().items() if name != "dim_")
    assert numbers == 4 * (16 * D + network)


@pytest.mark.parametrize("wrong", [{"m": 0}, {"bits": 9}, {"width": 0}, {"hidden": 0}, {"depth": 0}, {"candidates": 0}])
def test_wrong_parameters(wrong: dict) -> None:
    with pytest.raises(MethodError, match=next(iter(wrong))):
        small(**wrong)


def test_too_few_documents(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="9 documents to learn from are fewer than the 16 codewords"):
        small().fit(docs[:10])
