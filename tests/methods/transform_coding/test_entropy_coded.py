import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.base import Codes, MethodError
from methods.composed.chain import Chain
from methods.transform_coding.entropy_coded import SLOPE, EntropyCoded, Model, gaussian_model, held_out, updated
from methods.transform_coding.rate_search import Quantiser, Search
from methods.transforms.linear import SVD, random_rotation
from tests.conftest import clustered_vectors

D = 48


def gaussian(n: int, deviations: np.ndarray, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((n, len(deviations))) * deviations
    return np.asarray(drawn, dtype=np.float32)


def bound(variances: np.ndarray, bits: float) -> float:
    """The least squared error at a rate: reverse water-filling (Cover and Thomas, 2006, theorem 10.3.3)."""
    low, high = 1e-12, float(variances.max())
    for _ in range(100):
        level = np.sqrt(low * high)
        spent = 0.5 * np.log2(np.maximum(variances / level, 1)).sum()
        low, high = (level, high) if spent > bits else (low, level)
    return float(np.minimum(variances, high).sum())


def distance(codec: EntropyCoded, docs: np.ndarray, variances: np.ndarray) -> float:
    """Decibels above the bound at the bytes really used."""
    codes = codec.encode(docs)
    error = float(np.mean(np.sum((docs - codec.decode(codes)) ** 2, axis=1)))
    return float(10 * np.log10(error / bound(variances, 8 * codes.nbytes / codes.n)))


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(600, D)


@pytest.fixture(scope="module")
def fitted(docs: np.ndarray) -> EntropyCoded:
    return EntropyCoded(nbytes=10, centres=16).fit(docs)


SPECTRA = {"decaying": np.exp(-np.arange(64) / 16), "flat": np.ones(64)}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("nbytes", [8, 24])
@pytest.mark.parametrize(("states", "most"), [(1, 1.6), (8, 1.0)])
def test_gaussians_come_within_the_loss_of_theory(spectrum: str, nbytes: int, states: int, most: float) -> None:
    # scalars lose 1.53 dB at high rate, and a trellis of 8 states 0.5 to 0.6 dB (Fischer and Wang, 1992)
    deviations = SPECTRA[spectrum]
    codec = EntropyCoded(nbytes=nbytes, budget="mean", states=states, centres=1).fit(gaussian(3000, deviations))
    assert 0.0 < distance(codec, gaussian(1000, deviations, seed=1), deviations**2) < most


@pytest.mark.parametrize("nbytes", [8, 24])
def test_a_trellis_wins_and_equal_bytes_cost_little(nbytes: int) -> None:
    deviations = SPECTRA["decaying"]
    train, test = gaussian(3000, deviations), gaussian(500, deviations, seed=1)

    def of(**settings: object) -> float:
        codec = EntropyCoded(nbytes=nbytes, centres=1, **settings).fit(train)  # type: ignore[arg-type]
        return distance(codec, test, deviations**2)

    mean, hard, scalar = of(budget="mean"), of(), of(states=1)
    assert mean < hard < scalar - 0.1
    # Gaussians of different lengths: the long ones would have more bits
    assert hard < mean + 0.8


def test_a_bit_more_is_six_decibels_less() -> None:
    docs, gaps = gaussian(2000, np.ones(32)), []
    for nbytes in (8, 12, 16):
        codec = EntropyCoded(nbytes=nbytes, budget="mean", centres=1).fit(docs)
        codes = codec.encode(docs)
        assert codes.nbytes / codes.n == pytest.approx(nbytes, rel=0.04)
        error = 10 * np.log10(np.mean((docs - codec.decode(codes)) ** 2))
        gaps.append(error + 20 * np.log10(2) * codes.nbytes / codes.n * 8 / 32)
    assert gaps == pytest.approx([gaps[0]] * 3, abs=0.2)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 9), st.integers(1, 60), st.sampled_from([1, 4, 16]), st.integers(0, 2**32 - 1)
)
def test_every_document_takes_its_bytes(d: int, nbytes: int, n: int, states: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    docs = (rng.standard_normal((n, d)) * rng.exponential(size=d) ** 3 + rng.standard_normal(d)).astype(np.float32)
    docs[:, rng.random(d) < 0.2] = 0.25
    # far outside of what was fitted, too
    others = np.concatenate([docs, 100 * docs[:1], np.zeros((1, d), np.float32)])
    codec = EntropyCoded(nbytes=nbytes, states=states, centres=4).fit(docs)
    codes = codec.encode(others)
    assert codes.array.shape == (len(others), nbytes)
    decoded = codec.decode(codes)
    assert np.isfinite(decoded).all()
    assert np.allclose(decoded[:, docs.std(axis=0) == 0], docs[0, docs.std(axis=0) == 0], rtol=1e-3)
    again = EntropyCoded(nbytes=nbytes, states=states, centres=4).load_state(codec.state())
    assert np.array_equal(again.decode(codes), decoded)


def test_encode_of_a_slice_is_a_slice_of_encode(docs: np.ndarray, fitted: EntropyCoded) -> None:
    whole = fitted.encode(docs[:200]).array
    for part in (slice(0, 1), slice(3, 50), slice(37, 200)):
        assert np.array_equal(fitted.encode(docs[part]).array, whole[part])


def test_one_stream_takes_the_mean(docs: np.ndarray) -> None:
    codec = EntropyCoded(nbytes=10, budget="mean", centres=16).fit(docs)
    assert not codec.row_wise
    codes = codec.encode(clustered_vectors(400, D, seed=5))
    assert 9.9 < codes.nbytes / codes.n <= 10.01
    # the stream, and its step's scale in two bytes
    assert Codes.from_arrays(codes.n, codes.to_arrays()).nbytes == codes.nbytes == len(codes.shared["stream"]) + 2


def test_documents_that_need_more_bits_get_them_from_the_others(docs: np.ndarray) -> None:
    mixed = np.concatenate([docs, clustered_vectors(200, D, seed=5)])
    mixed[:300] *= 0.1
    errors = {}
    for budget in ("hard", "mean"):
        codec = EntropyCoded(nbytes=10, budget=budget, centres=1).fit(mixed)  # type: ignore[arg-type]
        decoded = codec.decode(codec.encode(mixed))
        errors[budget] = np.mean((decoded - mixed) ** 2)
    assert errors["mean"] < 0.7 * errors["hard"]


def test_at_high_rates_documents_have_steps_of_their_own() -> None:
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(0, 0.4, size=(2000, 1)))
    docs = (gaussian(2000, np.ones(32)) * lengths).astype(np.float32)
    codec = EntropyCoded(nbytes=20, centres=1).fit(docs[:1500])
    assert len(codec.scale_frequencies_) > 1
    error = np.sum((codec.decode(codec.encode(docs[1500:])) - docs[1500:]) ** 2, axis=1)
    # each document's error is a share of its own power: 5 bits a number are 30 dB less, but for what coding loses
    shares = error / np.sum(docs[1500:] ** 2, axis=1)
    assert 10 * np.log10(np.median(shares)) < -27
    assert np.quantile(shares, 0.95) < 3 * np.median(shares)


def test_a_bit_tells_two_clusters_apart() -> None:
    # two far clusters and no noise: a bit says all, but for what shrinkage takes
    docs = np.repeat(np.array([[5.0, 0, 0, 1], [0, 5.0, 2, 0]], np.float32), 400, axis=0)
    codec = EntropyCoded(nbytes=1, centres=2).fit(docs)
    assert np.mean((codec.decode(codec.encode(docs)) - docs) ** 2) < 0.002 * docs.var()


def test_centres_pay_for_themselves_on_other_documents() -> None:
    train, test = clustered_vectors(2000, D), clustered_vectors(500, D, seed=1)
    errors = []
    for centres in (1, 32):
        codec = EntropyCoded(nbytes=6, centres=centres).fit(train)
        errors.append(np.sum((codec.decode(codec.encode(test)) - test) ** 2))
    assert errors[1] < 0.95 * errors[0]


def test_held_out_residuals_show_the_variances_of_other_documents() -> None:
    # 120 white documents in 60 dimensions: their own eigenvalues spread from 0.1 to 2.9, others' are all 1
    docs = gaussian(120, np.ones(60))
    rotated = SVD().fit(docs).transform_docs(docs)
    seen, honest = (rotated**2).mean(axis=0), (held_out(rotated, rotated) ** 2).mean(axis=0)
    assert seen.min() < 0.2 < 0.6 < honest.min()
    assert np.sum(honest) == pytest.approx(np.sum(seen), rel=1e-4)
    # nothing to undo where nothing was rotated
    assert held_out(docs, docs) is docs


def test_unrotated_and_rotated_vectors_decode_alike() -> None:
    deviations = np.exp(-np.arange(32) / 6)
    docs = gaussian(1500, deviations)
    turned = (docs @ random_rotation(32, np.random.default_rng(3))).astype(np.float32)
    codec = Chain(transforms=[SVD()], codec=EntropyCoded(nbytes=8, centres=1))
    errors = []
    for vectors in (docs, turned):
        scores = codec.fit(vectors).score(np.eye(32, dtype=np.float32), codec.encode(vectors))
        errors.append(np.mean((scores.T - vectors) ** 2))
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


def test_trellis_search_is_exact() -> None:
    # against every sequence of numbers, each priced by walking the states as the decoder does
    rng = np.random.default_rng(0)
    model = Model(np.array([[-2.0, -1, 0, 1, 2], [-1.5, -0.5, 0, 0.5, 1.5]]), rng.dirichlet(np.full(5, 3.0), size=2))
    search = Search(4, [Quantiser(*model)] * 5)
    columns = rng.standard_normal((5, 40)).astype(np.float32)
    chosen, _ = search.best(columns, np.full(40, 0.3, dtype=np.float32))
    best = np.full(40, np.inf)
    for sequence in np.ndindex(*(5,) * 5):
        state, cost = 0, np.zeros(40)
        for column, place in zip(columns, sequence, strict=True):
            q, after = search.transitions[state]
            cost += (column - model.levels[q, place]) ** 2 - 0.3 * np.log2(model.probabilities[q, place])
            state = after[place % 2]  # place 2 is the number 0
        best = np.minimum(best, cost)
    cost = np.sum((columns - chosen.levels) ** 2, axis=0) + 0.3 * chosen.bits
    assert np.allclose(cost, best, atol=1e-5)


@pytest.mark.parametrize("states", [1, 8])
def test_documents_stay_in_their_budget_and_use_it(states: int) -> None:
    search = Search(states, [Quantiser(*gaussian_model(2, min(states, 2)))] * 40)
    columns = np.random.default_rng(0).standard_normal((40, 60)).astype(np.float32) * np.float32(1.4)
    limits = np.linspace(search.cheapest(), 90, 60)
    chosen = search.within(columns, SLOPE, limits, 10, 8)
    assert (chosen.bits <= limits).all()
    assert np.mean(limits - chosen.bits) < 2
    looser = search.within(columns, SLOPE, limits + 20, 10, 8)
    errors = [np.sum((columns - part.levels) ** 2, axis=0) for part in (chosen, looser)]
    assert (errors[1] < errors[0]).all()


def test_training_counts_and_averages() -> None:
    model = Model(np.array([[-1.0, 0, 1]]), np.full((1, 3), 1 / 3))
    values = np.array([1.2] * 3000 + [-1.2] * 3000 + [0.1] * 6000, np.float32)
    numbers = np.rint(values).astype(np.int16)
    trained = updated(model, values, numbers, np.zeros(12000, np.uint8))
    # both signs share what they learn
    assert trained.levels[0] == pytest.approx([-1.2, 0, 1.2], abs=1e-3)
    assert trained.probabilities[0] == pytest.approx([0.25, 0.5, 0.25], abs=1e-3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"nbytes": 0}, "nbytes must be at least 1, got 0"), ({"states": 6}, "states must be 1, 4")],
)
def test_wrong_parameters_are_named(setting: dict[str, int], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        EntropyCoded(**{"nbytes": 8, **setting})  # type: ignore[arg-type]
