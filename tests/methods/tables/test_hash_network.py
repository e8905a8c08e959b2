import numpy as np
import pytest

from methods.tables.hash_network import HashNetwork, forward_pass, weight_gradients
from tests.conftest import clustered_vectors


def test_gradients_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    sizes = [(3, 4), (4, 4), (4, 2)]
    layers = [(rng.standard_normal(size), rng.standard_normal(size[1])) for size in sizes]
    inputs, targets = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))

    def loss() -> float:
        found = forward_pass(layers[:-1], inputs)[-1] @ layers[-1][0] + layers[-1][1]
        return float(((found - targets) ** 2).sum() / 5)

    flat = [array for layer in layers for array in layer]
    for array, gradient in zip(flat, weight_gradients(layers, inputs, targets), strict=True):
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + 1e-5
            above = loss()
            array[place] = kept - 1e-5
            slope = (above - loss()) / 2e-5
            array[place] = kept
            assert gradient[place] == pytest.approx(slope, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_budget_is_kept_and_used(depth: int) -> None:
    docs = clustered_vectors(500, 32)
    codes = HashNetwork(nbytes=40, hashes=16, depth=depth, epochs=1).fit(docs).encode(docs)
    assert 0.8 * 40 < codes.nbytes / 500 <= 40


def test_it_remembers_when_it_has_room() -> None:
    docs = clustered_vectors(60, 16)
    codec = HashNetwork(nbytes=400, hashes=16, epochs=5).fit(docs)
    assert ((codec.decode(codec.encode(docs)) - docs) ** 2).mean() < 0.02 * (docs**2).mean()


def test_it_forgets_when_it_has_not() -> None:
    # a row number tells nothing: with a tenth of the weights, most of what differs from the mean is lost
    docs = clustered_vectors(600, 32)
    codec = HashNetwork(nbytes=6, hashes=16, epochs=30).fit(docs)
    left = ((codec.decode(codec.encode(docs)) - docs) ** 2).sum()
    assert left > 0.7 * ((docs - docs.mean(axis=0)) ** 2).sum()
