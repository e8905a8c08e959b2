import numpy as np
import pytest

from methods.base import MethodError
from methods.learned.autoencoder import Autoencoder
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors

N, D, R = 800, 32, 8


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(N, D)


def small(**other: object) -> Autoencoder:
    return Autoencoder(**{"dim": R, "steps": 100, "batch": 64, "hidden": [24, 16], **other})  # type: ignore[arg-type]


def test_the_principal_start_is_the_least_squared_error(docs: np.ndarray) -> None:
    # Eckart and Young: nothing but the held-out share is left to gain
    fitted = small(similarity=0.0, normalize=False, rate=1e-5).fit(docs)
    (entry,) = fitted.training()
    svd = SVD(dim=R).fit(docs)
    lost = 1 - (svd.transform_docs(docs) ** 2).sum(axis=1).mean()
    assert entry["loss_before"] == pytest.approx(lost, rel=0.15)
    assert entry["loss"] > 0.99 * entry["loss_before"]
    assert np.allclose(fitted.transform_docs(docs), svd.transform_docs(docs), atol=5e-3)


def test_a_random_start_finds_the_principal_subspace(docs: np.ndarray) -> None:
    fitted = small(similarity=0.0, normalize=False, start="random", rate=1e-2, steps=1000, patience=20).fit(docs)
    of_encoder = np.linalg.qr(fitted.encoder_w0_)[0]  # type: ignore[attr-defined]
    of_svd = SVD(dim=R).fit(docs).components_
    kept, best = (float(((docs @ axes) ** 2).sum()) / N for axes in (of_encoder, of_svd))
    assert 0.95 * best < kept <= best + 1e-4


@pytest.mark.parametrize(("mse", "cosine", "similarity"), [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("encoder", ["linear", "mlp"])
def test_each_loss_falls(docs: np.ndarray, encoder: str, mse: float, cosine: float, similarity: float) -> None:
    fitted = small(encoder=encoder, start="random", mse=mse, cosine=cosine, similarity=similarity).fit(docs)
    (entry,) = fitted.training()
    assert entry["loss"] < 0.9 * entry["loss_before"]
    assert set(fitted.state()) == {"dim_"} | {
        f"encoder_{kind}{number}_" for kind in "wb" for number in range(1 if encoder == "linear" else 3)
    }


def test_the_losses_by_hand() -> None:
    import torch
    from torch import nn

    module = nn.ModuleDict({"encoder": nn.Linear(2, 1, bias=False), "decoder": nn.Linear(1, 2, bias=False)})
    with torch.no_grad():
        module["encoder"].weight.copy_(torch.tensor([[1.0, 0.0]]))
        module["decoder"].weight.copy_(torch.tensor([[1.0], [1.0]]))
    given = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # rebuilt as (1, 1) and (0.6, 0.6); the bottleneck's cosine is 1 where it was 0.6
    for weights, expected in (
        ((1.0, 0.0, 0.0), (1 + 0.04) / 2),
        ((0.0, 1.0, 0.0), 1 - (2**-0.5 + 1.4 * 2**-0.5) / 2),
        ((0.0, 0.0, 1.0), 0.4 * 2 / 4),
    ):
        part = Autoencoder(dim=1, mse=weights[0], cosine=weights[1], similarity=weights[2])
        assert part._loss(given, module).item() == pytest.approx(expected, abs=1e-6)


def test_cosines_get_closer_to_what_they_were(docs: np.ndarray) -> None:
    near = np.argsort(-(docs @ docs.T), axis=1)[:, 1:6]

    def gap(fitted: Autoencoder) -> float:
        new = fitted.transform_docs(docs)
        rows = np.arange(N)[:, None]
        return float(np.abs((new @ new.T - docs @ docs.T)[rows, near]).mean())

    assert gap(small(mse=0.0, rate=1e-2).fit(docs)) < 0.97 * gap(small(rate=1e-12).fit(docs))


def test_seeds(docs: np.ndarray) -> None:
    first, same, other = (small(seed=seed).fit(docs).transform_docs(docs) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_impossible_parameters_are_named(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="no loss"):
        Autoencoder(dim=3, mse=0.0, cosine=0.0, similarity=0.0)
    with pytest.raises(MethodError, match="dim=33"):
        Autoencoder(dim=33).fit(docs)
