"""Directions by any code, lengths by a byte."""

import numpy as np
import pytest

from methods import Cast, FaissCodec, NormsApart
from methods.base import Codec, MethodError
from tests.conftest import clustered_vectors


def test_lengths_and_directions_are_kept_apart() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.choice([0.5, 2.0, 10.0], size=300).astype(np.float32)
    docs = clustered_vectors(300, 16) * lengths[:, None]
    docs[0] = 0.0
    codec = NormsApart(codec=Cast(dtype="float32"), levels=256).fit(docs)
    codes = codec.encode(docs)
    assert codes.rows["length"].dtype == np.uint8 and codes.nbytes == 300 * (4 * 16 + 1)
    np.testing.assert_allclose(codec.decode(codes), docs, rtol=0.05, atol=0.06)


def test_short_vectors_keep_their_directions() -> None:
    docs = clustered_vectors(600, 16)
    docs[:300] *= 0.01
    plain = FaissCodec(factory="PQ4x6np", renormalize=False)
    apart = NormsApart(codec=FaissCodec(factory="PQ4x6np", renormalize=True))

    def kept(codec: Codec) -> float:
        decoded = codec.fit(docs).decode(codec.encode(docs))
        one, other = docs[:300], decoded[:300]
        norms = np.linalg.norm(one, axis=1) * np.maximum(np.linalg.norm(other, axis=1), 1e-12)
        return float((np.einsum("ij,ij->i", one, other) / norms).mean())

    assert 1 - kept(apart) < 0.6 * (1 - kept(plain))


def test_parameters_that_make_no_sense_are_refused() -> None:
    with pytest.raises(MethodError, match="levels must be 2 to 256"):
        NormsApart(codec=Cast(dtype="float16"), levels=1)
    with pytest.raises(MethodError, match="set scoring on the whole"):
        NormsApart(codec=Cast(dtype="float16", scoring="symmetric"))
