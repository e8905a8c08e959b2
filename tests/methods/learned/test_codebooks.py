import numpy as np
import pytest

from methods.base import Codes, MethodError
from methods.kernels.packing import pack
from methods.learned.codebooks import FactoredPQ, LowRankVQ, SimVQ, nearest_error
from methods.product.faiss_codec import FaissCodec
from tests.conftest import clustered_vectors

D, M = 32, 8


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(3000, D)


def make(cls: type[FactoredPQ], **changes: object) -> FactoredPQ:
    settings: dict = {"m": M, "bits": 6, "steps": 60, "batch": 256, "rate": 3e-3, "patience": 20}
    if cls is LowRankVQ:
        settings["rank"] = 3
    return cls(**settings | changes)


both = pytest.mark.parametrize("cls", [SimVQ, LowRankVQ])


def error(codec: FactoredPQ | FaissCodec, docs: np.ndarray) -> float:
    return float(((codec.decode(codec.encode(docs)) - docs) ** 2).sum(axis=1).mean())


def test_nearest_error_by_hand() -> None:
    import torch

    books = torch.tensor([[[0.0], [1.0]], [[0.0], [10.0]]], requires_grad=True)
    parts = torch.tensor([[[0.2], [0.9]], [[4.0], [7.0]]])
    loss = nearest_error(parts, books)
    assert np.isclose(loss.item(), (0.04 + 0.01 + 16 + 9) / 4)
    loss.backward()
    # the derivative of the mean of (x - c)^2 with respect to the codeword that was chosen
    assert books.grad is not None
    assert np.allclose(books.grad.ravel(), np.array([-0.4, 0.2, -8.0, 6.0]) / 4, atol=1e-6)


@both
def test_held_out_loss_falls_and_repeats(docs: np.ndarray, cls: type[FactoredPQ]) -> None:
    codec = make(cls).fit(docs)
    (entry,) = codec.training()
    assert entry["loss"] < entry["loss_before"]
    again = make(cls).fit(docs)
    assert {k: v.tobytes() for k, v in again.state().items()} == {k: v.tobytes() for k, v in codec.state().items()}
    other = make(cls, seed=1).fit(docs)
    assert other.encode(docs).array.tobytes() != codec.encode(docs).array.tobytes()


@both
def test_codes_name_the_nearest_codeword(docs: np.ndarray, cls: type[FactoredPQ]) -> None:
    codec = make(cls, steps=5).fit(docs)
    books, some = codec.codebooks(), docs[:50].reshape(50, M, D // M)
    assert books.shape == (M, 64, D // M)
    chosen = ((some[:, :, None, :] - books[None]) ** 2).sum(axis=3).argmin(axis=2)
    codes = codec.encode(docs[:50])
    assert np.array_equal(codes.array, pack(chosen, 6))
    assert np.allclose(codec.decode(codes), books[np.arange(M), chosen].reshape(50, D), atol=1e-6)


@both
def test_nearly_every_codeword_is_used(docs: np.ndarray, cls: type[FactoredPQ]) -> None:
    codec = make(cls).fit(docs)
    assert codec.usage(codec.encode(docs)).mean() > 0.97


def test_usage_by_hand(docs: np.ndarray) -> None:
    codec = make(SimVQ, bits=2, steps=1).fit(docs)
    numbers = np.zeros((3, M), dtype=np.uint8)
    numbers[:, 0] = [0, 1, 3]
    assert codec.usage(Codes.packed(pack(numbers, 2))).tolist() == [0.75] + [0.25] * (M - 1)


def test_a_normal_source_is_where_the_start_is_good() -> None:
    """Normal documents, normal codewords with their covariance: the map that is solved for is hardly improved."""
    rng = np.random.default_rng(0)
    scales = np.linspace(0.2, 3, 8)
    docs = (rng.standard_normal((4000, 8)) * scales + 5).astype(np.float32)
    codec = SimVQ(m=1, bits=8, steps=1, rate=1e-12).fit(docs)
    words = codec.codebooks()[0]
    assert np.allclose(words.mean(axis=0), 5, atol=0.5)
    assert np.allclose(words.std(axis=0), scales, rtol=0.15)


def test_the_wider_the_freer(docs: np.ndarray) -> None:
    narrow, wide = make(SimVQ, steps=150).fit(docs), make(SimVQ, steps=150, width=32).fit(docs)
    assert error(wide, docs) < 0.97 * error(narrow, docs)
    assert wide.codebooks().shape == narrow.codebooks().shape


def test_low_rank_is_low_rank(docs: np.ndarray) -> None:
    codec = make(LowRankVQ, rank=2).fit(docs)
    for book in codec.codebooks():
        assert np.linalg.matrix_rank(book - book[0], tol=1e-4) == 2


def test_full_rank_is_k_means_or_better(docs: np.ndarray) -> None:
    plain = FaissCodec(factory="PQ{m}x{bits}np", m=M, bits=6).fit(docs)
    assert error(make(LowRankVQ, rank=4).fit(docs), docs) < 1.02 * error(plain, docs)


def test_state_is_the_factors(docs: np.ndarray) -> None:
    size = D // M
    simvq, low = make(SimVQ, steps=1).fit(docs), make(LowRankVQ, steps=1).fit(docs)

    def numbers(codec: FactoredPQ) -> int:
        return sum(array.size for name, array in codec.state().items() if name != "dim_")

    assert numbers(simvq) == M * (size * size + size)
    assert numbers(low) == M * (64 * 3 + 3 * size + size)


@both
def test_the_start_is_kept_where_training_cannot_help(docs: np.ndarray, cls: type[FactoredPQ]) -> None:
    # a rate this high throws the codewords far away from the documents
    codec = make(cls, steps=20, rate=100.0, patience=3).fit(docs)
    (entry,) = codec.training()
    assert entry["best_step"] == 0 and entry["loss"] == entry["loss_before"] < 1
    assert error(codec, docs) < 1


@both
@pytest.mark.parametrize("changes", [{"m": 5}, {"bits": 9}, {"m": 0}])
def test_wrong_parameters(docs: np.ndarray, cls: type[FactoredPQ], changes: dict) -> None:
    with pytest.raises(MethodError, match=next(iter(changes))):
        make(cls, **changes).fit(docs)


def test_widths_and_ranks_that_do_not_fit(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="width=2 is less than the 4"):
        make(SimVQ, width=2).fit(docs)
    with pytest.raises(MethodError, match="rank=5 is more than the 4"):
        make(LowRankVQ, rank=5).fit(docs)


@both
def test_too_few_documents(docs: np.ndarray, cls: type[FactoredPQ]) -> None:
    with pytest.raises(MethodError, match="64 documents are not more than the 64 codewords"):
        make(cls).fit(docs[:64])
