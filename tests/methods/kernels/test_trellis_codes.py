import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.kernels import trellis_codes
from methods.transform_coding.trellis import GENERATORS, TrellisCoded


def fitted(states: int, d: int, nbytes: int, half_bits: bool, seed: int) -> tuple[TrellisCoded, np.ndarray]:
    rng = np.random.default_rng(seed)
    docs = (rng.standard_normal((80, d)) * rng.uniform(0.01, 3, d) + rng.uniform(-1, 1, d)).astype(np.float32)
    return TrellisCoded(nbytes=nbytes, states=states, half_bits=half_bits).fit(docs), docs


@settings(max_examples=40, deadline=None)
@given(
    states=st.sampled_from([4, 8, 16, 64, 256]),
    d=st.integers(2, 40),
    share=st.floats(0.02, 0.6),
    half_bits=st.booleans(),
    n=st.integers(1, 40),
    coarse=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_bytes_and_numbers_are_the_references(
    states: int, d: int, share: float, half_bits: bool, n: int, coarse: bool, seed: int
) -> None:
    """`coarse` documents lie half-way between levels more often than not: paths tie."""
    codec, docs = fitted(states, d, max(1, int(share * 6 * d / 8)), half_bits, seed)
    docs = np.round(docs[:n]) if coarse else docs[:n]
    trellis = codec._trellis()
    packed = np.zeros((n, codec.nbytes), dtype=np.uint8)
    trellis_codes.encode(docs, trellis.layout, packed)
    np.testing.assert_array_equal(packed, trellis.encode(docs, codec.nbytes))
    noise = np.random.default_rng(seed).integers(0, 256, packed.shape).astype(np.uint8)
    for codes in (packed, noise):
        decoded = np.zeros((n, d), dtype=np.float32)
        trellis_codes.decode(codes, trellis.layout, decoded)
        np.testing.assert_array_equal(decoded[:, trellis.coordinates].T, trellis.decode(codes))


@pytest.mark.parametrize("states", [512, max(GENERATORS)])
def test_many_states(states: int) -> None:
    codec, docs = fitted(256, 12, 3, True, 0)
    trellis = codec._trellis()
    # levels of 256 states serve: both have 16 subsets
    many = type(trellis)(states, trellis.steps, trellis.levels)
    packed = np.zeros((len(docs), codec.nbytes), dtype=np.uint8)
    trellis_codes.encode(docs, many.layout, packed)
    np.testing.assert_array_equal(packed, many.encode(docs, codec.nbytes))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, docs = fitted(64, 30, 9, True, 3)
    docs = np.tile(docs, (40, 1))
    monkeypatch.setattr("methods.parallel.allowed", lambda: 1)
    alone = codec.encode(docs).array
    monkeypatch.setattr("methods.parallel.allowed", lambda: 3)
    np.testing.assert_array_equal(codec.encode(docs).array, alone)
    np.testing.assert_array_equal(
        codec.decode(codec.encode(docs)), np.tile(codec.decode(codec.encode(docs[:80])), (40, 1))
    )
