"""What the compiled coder writes and reads, against the package constriction."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from methods.base import Codes
from methods.kernels import entropy_codes
from methods.transform_coding.entropy_coded import MARGIN, EntropyCoded, reach
from tests.conftest import clustered_vectors
from tests.methods.kernels import range_coder


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.booleans(), st.integers(0, 10**6))
@example(200, False, 1147)
def test_probabilities_are_rounded_as_the_package_does(count: int, is_sum_one: bool, seed: int) -> None:
    masses = np.random.default_rng(seed).gamma(0.3, size=count) + 1e-6
    masses = (masses / masses.sum() if is_sum_one else masses).astype(np.float32)
    below, model = entropy_codes.cumulative(masses), range_coder.model(masses)
    assert (np.diff(below.astype(np.int64)) >= 1).all()
    try:
        range_coder.encoder().encode(max(count - 1, 1), model)
    except KeyError:
        # rounding left the package nothing for the last numbers, where probabilities are told in other units
        assert not is_sum_one
        return
    part = (2**64 - 1) >> entropy_codes.PRECISION
    for number in range(count):
        coder = range_coder.encoder()
        coder.encode(number, model)
        words, (low, width) = coder.pos()
        expected = part * int(below[number]), part * int(below[number + 1] - below[number])
        # a narrow interval was moved on by a word
        assert (low, width) == tuple(value << 32 * words & (2**64 - 1) for value in expected)


def by_the_package(codec: EntropyCoded, codes: Codes) -> np.ndarray:
    """What the package reads from codes: documents (n, d)."""
    _, walk, *_ = codec._coder
    probabilities = {}
    for number, fitted in codec._models.items():
        for q, mass in enumerate(fitted.probabilities):
            probabilities[number - walk.smallest, q] = range_coder.model(mass)
    index_model, scale_model = range_coder.model(codec.frequencies_), range_coder.model(codec.scale_frequencies_)
    is_stream, documents = codec.budget == "mean", []
    stream = range_coder.decoder(codes.shared["stream"]) if is_stream else None
    for row in range(codes.n):
        coder = range_coder.decoder(codes.array[row]) if stream is None else stream
        document = codec._predictions(np.array([coder.decode(index_model)]))[0]
        scale = int(codes.shared["scale"][0]) if is_stream else 0
        if len(codec.scale_frequencies_) > 1:
            scale = int(codec._scales[coder.decode(scale_model)])
        lowering, state = round(scale / 8), 0
        for dim, number in zip(codec._coded(lowering), codec._classes_at(lowering).tolist(), strict=True):
            kind = number - walk.smallest
            q = int(walk.quantisers[state]) if walk.coupled[kind] else 0
            place = coder.decode(probabilities[kind, q])
            document[dim] += codec._steps_of(np.array([scale]))[0] * codec.levels_[walk.levels[kind, q] + place]
            state = int(walk.after[state, (place - reach(number)) & 1]) if walk.coupled[kind] else state
        documents.append(document)
    return np.array(documents)


@pytest.mark.parametrize(
    ("settings", "own_steps"),
    [
        ({"nbytes": 3, "centres": 8}, False),
        ({"nbytes": 10, "states": 1, "centres": 8}, False),
        ({"nbytes": 20, "centres": 1}, True),
        ({"nbytes": 8, "budget": "mean", "centres": 8}, False),
    ],
)
def test_the_package_reads_the_same(settings: dict[str, object], own_steps: bool) -> None:
    docs = clustered_vectors(300, 32)
    if own_steps:
        rng = np.random.default_rng(0)
        docs = (rng.standard_normal((1500, 32)) * rng.lognormal(0, 0.4, (1500, 1))).astype(np.float32)
    codec = EntropyCoded(**settings).fit(docs)  # type: ignore[arg-type]
    assert (len(codec.scale_frequencies_) > 1) == own_steps
    codes = codec.encode(docs[:60])
    np.testing.assert_array_equal(codec.decode(codes), by_the_package(codec, codes))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = np.tile(clustered_vectors(100, 24), (8, 1))
    codec = EntropyCoded(nbytes=6, centres=4).fit(docs)
    monkeypatch.setattr("methods.parallel.allowed", lambda: 1)
    alone = codec.encode(docs)
    decoded = codec.decode(alone)
    monkeypatch.setattr("methods.parallel.allowed", lambda: 3)
    np.testing.assert_array_equal(codec.encode(docs).array, alone.array)
    np.testing.assert_array_equal(codec.decode(alone), decoded)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.floats(0.05, 3), st.integers(0, 10**6))
def test_points_are_the_packages(numbers: list[int], evenness: float, seed: int) -> None:
    """The shortest code, and the code of a given size, of numbers with one model each."""
    rng = np.random.default_rng(seed)
    masses = (rng.dirichlet(np.full(7, evenness), size=len(numbers)) + 1e-4).astype(np.float32)
    coder = range_coder.encoder()
    for number, mass in zip(numbers, masses, strict=True):
        coder.encode(number, range_coder.model(mass))
    shortest = range_coder.point(coder)
    assert shortest is not None
    models, count = entropy_codes.models_of(list(masses)), len(numbers) - 1
    # the first number is written as the centre's, the rest as coordinates of a class each
    walk = entropy_codes.Walk(
        dims=np.arange(count),
        classes=np.arange(count),
        smallest=0,
        models=np.stack([np.arange(1, count + 1)] * 2, axis=1),
        levels=np.zeros((count, 2), dtype=np.int64),
        reach=np.zeros(count, dtype=np.int64),
        coupled=np.zeros(count, dtype=np.bool_),
        quantisers=np.zeros(1, dtype=np.int64),
        after=np.zeros((1, 2), dtype=np.int64),
    )
    rest = np.array(numbers[1:], dtype=np.int16)[:, None]
    for size in {len(shortest), len(shortest) + 3, max(1, len(shortest) - 1)}:
        expected = range_coder.point(coder, size)
        packed, fits = np.zeros((1, size), dtype=np.uint8), np.zeros(1, dtype=np.bool_)
        centre = np.array(numbers[:1])
        entropy_codes.encode_rows(rest, 0, centre, centre, models, walk, 0, -1, packed, fits)
        assert fits[0] == (expected is not None)
        if expected is not None:
            np.testing.assert_array_equal(packed[0], expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 9))
def test_codes_are_as_short_as_their_probabilities_allow(seed: int, length: int, symbols: int) -> None:
    rng = np.random.default_rng(seed)
    masses = rng.dirichlet(np.full(symbols, 0.5), size=length) + 1e-3
    models = [range_coder.model(mass) for mass in masses]
    numbers = [int(rng.choice(symbols, p=mass / mass.sum())) for mass in masses]
    coder = range_coder.encoder()
    for number, model in zip(numbers, models, strict=True):
        coder.encode(number, model)
    ideal = -sum(np.log2(mass[number] / mass.sum()) for number, mass in zip(numbers, masses, strict=True))
    enough = int(np.ceil((ideal + MARGIN) / 8))
    for code in (range_coder.point(coder), range_coder.point(coder, enough), range_coder.point(coder, enough + 5)):
        assert code is not None
        decoder = range_coder.decoder(code)
        assert [decoder.decode(model) for model in models] == numbers
    shortest = range_coder.point(coder)
    assert shortest is not None and len(shortest) <= enough


def test_a_code_that_does_not_fit_is_none() -> None:
    coder = range_coder.encoder()
    for number in np.random.default_rng(0).integers(256, size=20).tolist():
        coder.encode(number, range_coder.model(np.ones(256)))
    assert range_coder.point(coder, 20) is not None
    assert range_coder.point(coder, 19) is None
