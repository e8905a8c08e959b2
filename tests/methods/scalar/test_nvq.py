import numpy as np
import pytest

from methods.base import MethodError
from methods.scalar.lvq import LVQ
from methods.scalar.nvq import NVQ, log_of_two, power_of_two
from tests.conftest import clustered_vectors


def squared_error(codec: NVQ | LVQ, docs: np.ndarray) -> np.ndarray:
    return ((codec.decode(codec.fit(docs).encode(docs)) - docs) ** 2).sum(axis=1)


def test_base_two_curve() -> None:
    """Exact at integers, linear between: (1 + (y - p) / 2) 2^p with p the integer above y."""
    y = np.array([-3, -2.5, 0, 0.25, 1, 1.5], dtype=np.float32)
    assert power_of_two(y).tolist() == [0.125, 0.1875, 1, 1.25, 2, 3]
    many = np.linspace(-20, 20, 4001).astype(np.float32)
    p = np.ceil(many)
    assert np.allclose(power_of_two(many), (1 + (many - p) / 2) * 2.0**p, rtol=1e-4)
    assert np.allclose(log_of_two(power_of_two(many)), many, atol=2e-5)
    assert (np.abs(np.log2(power_of_two(many)) - many) < 0.0861).all()


@pytest.mark.parametrize("curve", ["base2", "logistic"])
def test_codes_by_the_definition(curve: str) -> None:
    docs = np.random.default_rng(0).standard_normal((20, 64)).astype(np.float32)
    codec = NVQ(bits=4, curve=curve, centre="none").fit(docs)
    codes = codec.encode(docs)

    def squash(y: np.ndarray) -> np.ndarray:
        odds = power_of_two(y.astype(np.float32)).astype(np.float64) if curve == "base2" else np.exp(y)
        return odds / (1 + odds)

    low, high = codes.rows["range"].astype(np.float64).T[:, :, None]
    growth = codes.rows["growth"].astype(np.float64) / 10
    assert (growth > 0).all(), "Gaussian entries are better off with a curve"
    scale = growth / (high - low)
    g = squash(np.clip(docs, low, high) * scale)
    numbers = np.rint(15 * (g - squash(low * scale)) / (squash(high * scale) - squash(low * scale)))
    differing = numbers != codec._levels(codes)
    assert differing.mean() < 0.002, "only numbers on the border of two cells may differ"


@pytest.mark.parametrize("curve", ["base2", "logistic"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_never_worse_than_equal_steps(curve: str, bits: int) -> None:
    for docs in (clustered_vectors(100, 96), np.random.default_rng(0).uniform(-1, 1, (100, 96)).astype(np.float32)):
        curved, straight = squared_error(NVQ(bits=bits, curve=curve), docs), squared_error(LVQ(bits=bits), docs)
        assert (curved <= straight * 1.0001 + 1e-9).all()


def test_better_the_heavier_the_tails() -> None:
    rng = np.random.default_rng(0)
    gains = []
    for docs in (rng.uniform(-1, 1, (50, 384)), rng.standard_normal((50, 384)), rng.laplace(size=(50, 384))):
        vectors = docs.astype(np.float32)
        gains.append(squared_error(LVQ(bits=8), vectors).sum() / squared_error(NVQ(bits=8), vectors).sum())
    assert gains[0] < gains[1] < gains[2]
    assert gains[1] > 1.2 and gains[2] > 2


def test_parts_have_ranges_of_their_own() -> None:
    docs = np.random.default_rng(0).standard_normal((50, 64)).astype(np.float32)
    docs[:, :16] *= 0.01
    whole, parts = NVQ(bits=4, centre="none"), NVQ(bits=4, parts=4, centre="none")
    narrow = [((c.decode(c.fit(docs).encode(docs)) - docs)[:, :16] ** 2).sum() for c in (whole, parts)]
    assert narrow[1] < 0.05 * narrow[0]
    assert parts.encode(docs).nbytes == 50 * (32 + 5 * 4)


def test_far_from_zero_and_constant_documents() -> None:
    docs = np.vstack(
        [np.full((1, 16), 3.0), 1000 + clustered_vectors(3, 16), np.zeros((1, 16)), 1e-7 * clustered_vectors(2, 16)]
    )
    for curve in ("base2", "logistic"):
        codec = NVQ(curve=curve, centre="none").fit(docs)
        decoded = codec.decode(codec.encode(docs))
        assert np.isfinite(decoded).all()
        assert np.allclose(decoded[0], 3) and np.allclose(decoded[1:4], docs[1:4], atol=1) and (decoded[4] == 0).all()


def test_wrong_parameters() -> None:
    for wrong in ({"bits": 9}, {"parts": 0}):
        with pytest.raises(MethodError, match=next(iter(wrong))):
            NVQ(**wrong)
    with pytest.raises(MethodError, match="parts=5 does not divide the 16"):
        NVQ(parts=5).fit(clustered_vectors(5, 16))
