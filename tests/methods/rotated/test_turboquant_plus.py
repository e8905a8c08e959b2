import math
from pathlib import Path

import numpy as np
import pytest

from methods.base import MethodError
from methods.composed.chain import Chain
from methods.rotated.turboquant_plus import TurboQuantPlus
from methods.transforms.padding import Pad
from methods.transforms.rotation import RandomRotation
from tests.conftest import clustered_vectors
from tests.methods.binary.test_thermometer import recall_at_10, titles_and_claims

LEVELS = {
    1: [0.7979],
    2: [0.4528, 1.510],
    4: [0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733],
}
"""As Qdrant has them."""


def share_below(z: float) -> float:
    return (1 + math.erf(z / math.sqrt(2))) / 2


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_levels_are_qdrants(bits: int) -> None:
    levels = TurboQuantPlus(bits=bits).fit(clustered_vectors(10, 8)).levels_
    half = np.array(LEVELS[bits])
    assert np.allclose(levels, np.concatenate([-half[::-1], half]), atol=5e-4)


def test_by_hand() -> None:
    """Four dimensions, of which one differs: z is (1, 1, 1, 1) and (-1, 1, 1, 1)."""
    docs = np.array([[3, 3, 3, 3], [-0.5, 0.5, 0.5, 0.5]], dtype=np.float32)
    codec = TurboQuantPlus(bits=1).fit(docs)
    level = math.sqrt(2 / math.pi)
    high = -1 + 2 * share_below(level)
    assert np.allclose(codec.shift_, [0, -1, -1, -1], atol=1e-6)
    assert np.allclose(codec.step_, [2 * high / (2 * level), 0, 0, 0], atol=1e-6)
    codes = codec.encode(docs)
    assert codes.array.tolist() == [[0b0001], [0b0000]]
    # the level undone is the quantile: z^ is (high, 1, 1, 1) and (-high, 1, 1, 1)
    long = math.sqrt(high**2 + 3)
    assert np.allclose(codes.rows["factor"], [6 / long, 1 / long])
    expected = [(high + 2 + 3 + 4) * 6 / long, (-high + 2 + 3 + 4) / long]
    assert np.allclose(codec.score([[1, 2, 3, 4]], codes), [expected])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_score_is_the_formula(bits: int) -> None:
    docs, queries = 3 * clustered_vectors(200, 24), clustered_vectors(5, 24, seed=1)
    codec = TurboQuantPlus(bits=bits).fit(docs)
    codes = codec.encode(docs)
    lengths = np.linalg.norm(docs.astype(np.float64), axis=1)
    z = math.sqrt(24) * docs / lengths[:, None]
    levels = codec.levels_.astype(np.float64)
    outer = share_below(levels[-1])
    low, high = np.quantile(z, 1 - outer, axis=0), np.quantile(z, outer, axis=0)
    shift, scale = -(low + high) / 2, 2 * levels[-1] / (high - low)
    nearest = levels[np.abs(((z + shift) * scale)[:, :, None] - levels).argmin(axis=2)]
    back = nearest / scale - shift
    plus = (queries / scale) @ nearest.T - (queries @ shift)[:, None]
    expected = plus * lengths / np.linalg.norm(back, axis=1)
    assert np.allclose(codec.score(queries, codes), expected, atol=1e-4)
    assert np.allclose(np.linalg.norm(codec.decode(codes), axis=1), lengths, rtol=1e-5)


def test_the_outer_quantiles_fall_on_the_outer_levels() -> None:
    docs = clustered_vectors(2001, 16)
    codec = TurboQuantPlus(bits=2, sample=500).fit(docs)
    part = docs[::5].astype(np.float64)
    fitted = (4 * part / np.linalg.norm(part, axis=1, keepdims=True) + codec.shift_) / codec.step_
    outer = float(codec.levels_[-1])
    assert np.allclose(np.quantile(fitted, share_below(outer), axis=0), outer, atol=1e-4)
    assert np.allclose(np.quantile(fitted, share_below(-outer), axis=0), -outer, atol=1e-4)


def test_unit_length_needs_no_factor() -> None:
    docs = clustered_vectors(200, 24)
    stored = TurboQuantPlus(bits=2).fit(docs)
    derived = TurboQuantPlus(bits=2, stored="none").fit(docs)
    assert np.allclose(stored.decode(stored.encode(docs)), derived.decode(derived.encode(docs)), atol=1e-6)


def test_symmetric_score_is_exact_along_the_shift() -> None:
    docs = clustered_vectors(200, 24) + np.float32(0.1)
    codec = TurboQuantPlus(bits=2, stored="both", scoring="symmetric").fit(docs)
    codes = codec.encode(docs)
    levels = codec._levels(codes).astype(np.float64) * codec.step_
    z = math.sqrt(24) * docs / np.linalg.norm(docs, axis=1, keepdims=True)
    factor, along = codes.rows["factor"].astype(np.float64), -z @ codec.shift_
    expected = levels @ levels.T + along + along[:, None] - codec.shift_ @ codec.shift_
    expected *= factor * factor[:, None]
    assert np.allclose(codec.score(docs, codes), expected, atol=1e-4)
    plain = TurboQuantPlus(bits=2, scoring="symmetric").fit(docs)
    decoded = plain.decode(plain.encode(docs))
    assert np.allclose(plain.score(docs, plain.encode(docs)), decoded @ decoded.T, atol=1e-4)
    assert np.abs(decoded @ decoded.T - expected).max() > 1e-3


def test_bytes() -> None:
    docs = clustered_vectors(10, 24)
    for options, size in (({}, 16), ({"bits": 1}, 7), ({"stored": "none"}, 12), ({"stored": "both"}, 20)):
        assert TurboQuantPlus(**options).fit(docs).encode(docs).nbytes == 10 * size
    half = Chain(transforms=[Pad(times=1.5), RandomRotation()], codec=TurboQuantPlus(bits=1)).fit(docs)
    assert half.encode(docs).nbytes == 10 * math.ceil(1.5 * 24 / 8 + 4)


def test_contradictions_are_named() -> None:
    both = {"renormalize": True, "stored": "both", "scoring": "symmetric"}
    for options in ({"bits": 0}, {"bits": 9}, {"sample": 0}, both):
        with pytest.raises(MethodError, match=next(iter(options))):
            TurboQuantPlus(**options)


@pytest.mark.slow
def test_recall_is_that_of_another_implementation(shared_data: Path) -> None:
    """Recall@10 of exact cosine, as somebody else found it with what Qdrant's source says; another rotation."""
    docs, queries = titles_and_claims(shared_data)
    for bits, recall in ((1, 0.728), (2, 0.865), (4, 0.957)):
        codec = Chain(transforms=[RandomRotation()], codec=TurboQuantPlus(bits=bits, sample=2048 * bits))
        assert recall_at_10(codec, docs, queries) == pytest.approx(recall, abs=0.008)
