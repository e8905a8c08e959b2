import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.base import Codec, MethodError
from methods.transform_coding.trellis import GENERATORS, Trellis, TrellisCoded, gaussian_books, subset_count
from tests.conftest import clustered_vectors


def gaussian(n: int, variances: np.ndarray, seed: int = 0) -> np.ndarray:
    white = np.random.default_rng(seed).standard_normal((n, len(variances)))
    return np.asarray(white * np.sqrt(variances), dtype=np.float32)


def error(codec: Codec, docs: np.ndarray) -> float:
    return float(((docs - codec.decode(codec.encode(docs))) ** 2).sum(axis=1).mean())


def bound(variances: np.ndarray, bits: int) -> float:
    """Gaussian rate-distortion function by reverse water-filling (Cover and Thomas, 2006, theorem 10.3.3)."""
    low, high = 0.0, float(variances.max())
    for _ in range(100):
        level = (low + high) / 2
        spent = 0.5 * np.log2(np.maximum(variances / level, 1)).sum()
        low, high = (level, high) if spent > bits else (low, level)
    return float(np.minimum(variances, high).sum())


def signal_to_noise(states: int, bits: float, half_bits: bool = False) -> float:
    """Decibels on white Gaussian documents that no level was fitted on."""
    fitted, unseen = (gaussian(400, np.ones(512), seed) for seed in (0, 1))
    codec = TrellisCoded(nbytes=int(64 * bits), states=states, half_bits=half_bits).fit(fitted)
    return float(10 * np.log10((unseen**2).sum(axis=1).mean() / error(codec, unseen)))


@pytest.mark.parametrize(
    ("states", "bits", "published"),
    [(4, 1, 4.99), (256, 1, 5.56), (4, 2, 10.6), (256, 2, 11.04), (4, 3, 16.2), (256, 3, 16.6)],
)
def test_published_signal_to_noise(states: int, bits: int, published: float) -> None:
    """Marcellin and Fischer (1990), optimised levels in four subsets, memoryless Gaussian source."""
    measured = signal_to_noise(states, bits)
    # more subsets help from two bits on
    assert published - 0.1 < measured < 20 * bits * np.log10(2)
    lloyd_max = {1: 4.40, 2: 9.30, 3: 14.62}[bits]
    assert measured > lloyd_max + 0.5
    assert states < 256 or measured > 20 * bits * np.log10(2) - 1


def test_more_states_lose_less() -> None:
    ratios = [signal_to_noise(states, 1) for states in (4, 8, 16, 32, 64, 128, 256)]
    assert all(after > before - 0.02 for before, after in itertools.pairwise(ratios))
    assert ratios[-1] > 6.02 - 1
    assert ratios[-1] > ratios[0] + 0.4


@pytest.mark.parametrize(("bits", "gap"), [(0.5, 0.4), (1.5, 0.8)])
def test_half_bits_are_no_compromise(bits: float, gap: float) -> None:
    bound_at = 20 * bits * np.log10(2)
    assert bound_at - gap < signal_to_noise(256, bits, half_bits=True) < bound_at
    # whole bits have to give one dimension more than the other
    assert signal_to_noise(256, bits) < bound_at - 1


@pytest.mark.parametrize("states", [4, 64])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), decay=st.floats(0.0, 2.0), nbytes=st.integers(1, 12))
def test_bound_holds_and_is_near(states: int, seed: int, decay: float, nbytes: int) -> None:
    variances = np.arange(1, 65.0) ** -decay
    fitted, unseen = gaussian(1500, variances, seed), gaussian(1500, variances, seed + 1)
    codec = TrellisCoded(nbytes=nbytes, states=states).fit(fitted)
    decibels = 10 * np.log10(error(codec, unseen) / bound(variances, 8 * nbytes))
    # 1500 documents leave a few hundredths of a decibel to chance; scalars are 4.35 dB away at high rates
    assert -0.25 < decibels < 2.0


def test_states_and_half_bits_pay_at_a_falling_spectrum() -> None:
    variances = np.exp(-np.arange(384) / 64)
    docs, unseen = gaussian(1000, variances), gaussian(1000, variances, 1)
    distances = [
        10 * np.log10(error(TrellisCoded(nbytes=24, **kw).fit(docs), unseen) / bound(variances, 192))  # type: ignore[arg-type]
        for kw in ({"states": 256}, {"states": 4}, {"states": 256, "half_bits": False})
    ]
    assert distances[0] < distances[1]
    assert distances[0] < distances[2] - 0.05
    assert 0 < distances[0] < 1


def test_subsets_that_a_path_walks_through() -> None:
    # four states: the register sees 001, 010, 100, 001, 011. A subset's bits are, from the high one, the parity of bits
    # 0 and 2 and bit 1 (Ungerboeck's generators 5 and 2), and bit 2
    trellis = Trellis(4, [np.array([dim]) for dim in range(5)], [np.arange(8, dtype=np.float32)] * 5)
    path = np.array([[1], [0], [0], [1], [1]], dtype=np.uint8)
    chosen = trellis.levels_chosen(path, np.zeros((5, 1), dtype=np.uint8))
    assert chosen[:, 0].tolist() == [4, 2, 5, 4, 6]
    # the same path with two levels in each subset, of which the second is chosen: eight levels on
    finer = Trellis(4, trellis.steps, [np.arange(16, dtype=np.float32)] * 5)
    assert finer.levels_chosen(path, np.ones((5, 1), dtype=np.uint8))[:, 0].tolist() == [12, 10, 13, 12, 14]


@pytest.mark.parametrize("states", GENERATORS)
def test_branches_of_a_state_lie_far_apart(states: int) -> None:
    """Ungerboeck's rule: of the four coarse subsets D0 D1 D2 D3, the two in which a level's neighbours are not."""
    count = subset_count(states)
    subsets = Trellis(states, [np.array([0])], [np.zeros(count, dtype=np.float32)]).subsets[0]
    coarse = subsets // (count // 4)
    leaving, entering = coarse.reshape(states, 2), coarse.reshape(2, states)
    assert (np.abs(leaving[:, 0] - leaving[:, 1]) == 2).all()
    assert (np.abs(entering[0] - entering[1]) == 2).all()


@pytest.mark.parametrize("states", [4, 8, 256])
def test_search_finds_the_nearest_of_all_codewords(states: int) -> None:
    variances = np.array([6.0, 3.0, 2.5, 1.0, 0.9, 0.7, 0.5, 0.4, 0.3])
    docs = gaussian(300, variances)
    codec = TrellisCoded(nbytes=1, states=states).fit(docs)
    assert (codec.rates_ % 2).any() and codec.rates_.max() >= 3
    every = codec.decode(type(codec.encode(docs)).packed(np.arange(256, dtype=np.uint8)[:, None]))
    distances = ((docs[:, None].astype(np.float64) - every) ** 2).sum(axis=2)
    found = ((docs.astype(np.float64) - codec.decode(codec.encode(docs))) ** 2).sum(axis=1)
    np.testing.assert_allclose(found, distances.min(axis=1), rtol=1e-5)


@pytest.mark.parametrize(("nbytes", "d"), [(1, 3), (5, 7), (12, 100), (48, 384), (96, 384), (50, 100)])
@pytest.mark.parametrize("half_bits", [True, False])
def test_takes_exactly_the_asked_bytes(nbytes: int, d: int, half_bits: bool) -> None:
    docs = clustered_vectors(200, d)
    codec = TrellisCoded(nbytes=nbytes, states=16, half_bits=half_bits).fit(docs)
    codes = codec.encode(docs)
    assert codes.array.shape == (200, nbytes)
    assert int(codec.rates_.sum()) == 16 * nbytes
    assert half_bits or not (codec.rates_ % 2).any()


@pytest.mark.parametrize("states", [4, 64])
def test_round_trip(states: int) -> None:
    docs = clustered_vectors(300, 40)
    codec = TrellisCoded(nbytes=11, states=states).fit(docs)
    decoded = codec.decode(codec.encode(docs))
    np.testing.assert_array_equal(codec.decode(codec.encode(decoded)), decoded)


def test_documents_are_encoded_one_by_one() -> None:
    docs = clustered_vectors(700, 48)
    codec = TrellisCoded(nbytes=9, states=256).fit(docs)
    whole = codec.encode(docs).array
    for part in (slice(0, 1), slice(3, 10), slice(100, 631)):
        np.testing.assert_array_equal(codec.encode(docs[part]).array, whole[part])


def test_bits_go_where_the_variance_is_and_the_rest_is_the_mean() -> None:
    docs = gaussian(3000, np.array([64.0, 16.0, 4.0, 1.0, 1e-4, 1e-6])) + np.float32(0.5)
    shuffle = [3, 5, 0, 4, 2, 1]
    codec = TrellisCoded(nbytes=1).fit(docs[:, shuffle])
    rates = codec.rates_.astype(int)[np.argsort(shuffle)]
    assert (np.diff(rates) <= 0).all()
    assert 1 <= rates[0] - rates[1] <= 3
    assert not rates[4:].any()
    np.testing.assert_allclose(codec.decode(codec.encode(docs[:, shuffle]))[:, [1, 3]], 0.5, atol=0.01)


def test_levels_are_trained_once_and_nearly_symmetric() -> None:
    books = gaussian_books(256, 4)
    assert gaussian_books(256, 4) is books
    assert (np.diff(books.levels) > 0).all()
    np.testing.assert_allclose(books.levels, -books.levels[:, ::-1], atol=0.1)
    assert 4.0**-2 < books.error < 4.0**-2 * 1.2


def test_constant_and_few_documents() -> None:
    docs = np.tile(clustered_vectors(1, 30), (2, 1))
    codec = TrellisCoded(nbytes=5, states=4).fit(docs)
    np.testing.assert_allclose(codec.decode(codec.encode(docs)), docs, atol=1e-6)


def test_errors_are_for_people() -> None:
    with pytest.raises(MethodError, match="nbytes must be at least 1, got 0"):
        TrellisCoded(nbytes=0)
    with pytest.raises(MethodError, match="states must be one of 4, 8, 16, .*, got 12"):
        TrellisCoded(nbytes=4, states=12)
    with pytest.raises(MethodError, match="cap must be 1 to 8 bits, got 9"):
        TrellisCoded(nbytes=4, cap=9)
    with pytest.raises(MethodError, match="nbytes=13 is more than 16 dimensions of 6 bits can hold"):
        TrellisCoded(nbytes=13).fit(clustered_vectors(50, 16))
