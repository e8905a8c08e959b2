"""Codes that drop lengths are refused where lengths count, and only there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.base.errors import ConfigError
from harness.evaluation.kept_lengths import LEAST_SLOPE, refuse_lost_lengths, slope_of_lengths
from methods import PerDimension, PerVector, Sign
from methods.base import Codec
from tests.conftest import clustered_vectors
from tests.test_contract import NAMES, spec_of


@settings(max_examples=40, deadline=None)
@given(spread=st.floats(0.05, 1.0), seed=st.integers(0, 1000), bits=st.sampled_from([4, 8]))
def test_lengths_of_any_spread(spread: float, seed: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    docs = clustered_vectors(300, 32, seed) * np.exp(spread * rng.standard_normal((300, 1))).astype(np.float32)
    for codec in (PerDimension(bits=bits), PerDimension(bits=bits, renormalize=True), Sign(), PerVector(bits=bits)):
        codec.fit(docs)
        drops = codec.renormalize or not isinstance(codec, PerDimension)
        assert (slope_of_lengths(codec, docs) < LEAST_SLOPE) == drops
        if drops:
            with pytest.raises(ConfigError, match=r"lengths differ \(.*dataset\.metric=cosine"):
                refuse_lost_lengths(codec, docs)
        else:
            refuse_lost_lengths(codec, docs)


def test_unit_length_is_nobody_s_loss() -> None:
    docs = clustered_vectors(300, 32)
    for codec in (Sign(), PerVector(bits=8)):
        refuse_lost_lengths(codec.fit(docs), docs)
        refuse_lost_lengths(codec, docs.astype(np.float16))


def fitted_on_lengths(name: str, docs: np.ndarray) -> Codec:
    return spec_of(name).make().fit(docs, clustered_vectors(100, 384, seed=2))


@pytest.mark.parametrize("name", ["lancedb_sq", "lancedb_pq", "lancedb_pq_refine"])
def test_what_ranks_by_distance_is_refused_where_lengths_differ(name: str) -> None:
    docs = clustered_vectors(600, 384)
    refuse_lost_lengths(fitted_on_lengths(name, docs), docs)
    longer = docs * np.exp(0.5 * np.random.default_rng(3).standard_normal((600, 1))).astype(np.float32)
    with pytest.raises(ConfigError, match=r"ranks by Euclidean distance.*lengths differ \(.*dataset\.metric=cosine"):
        refuse_lost_lengths(fitted_on_lengths(name, longer), longer)


@pytest.mark.slow
def test_every_method_keeps_lengths_or_clearly_does_not() -> None:
    rng = np.random.default_rng(3)
    docs = clustered_vectors(600, 384) * np.exp(0.5 * rng.standard_normal((600, 1))).astype(np.float32)
    slopes = {name: slope_of_lengths(fitted_on_lengths(name, docs), docs) for name in NAMES}
    unclear = {name: slope for name, slope in slopes.items() if 0.03 < slope < 0.05}
    assert not unclear, "a method whose slope is near the bound"
    print(sorted((round(slope, 2), name) for name, slope in slopes.items()))
