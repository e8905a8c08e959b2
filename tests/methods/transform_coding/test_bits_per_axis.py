import numpy as np
import pytest
from hydra import compose, initialize_config_module

from harness.runs.config import MethodSpec
from methods.base import Codec
from tests.conftest import clustered_vectors

N, D = 600, 96
DOCS = clustered_vectors(N, D)
QUERIES = clustered_vectors(100, D, seed=1)


def made(*overrides: str) -> Codec:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=["~model", "~dataset", *overrides])
    codec: Codec = MethodSpec(cfg.method).make()
    return codec


def fitted(*overrides: str) -> Codec:
    return made(*overrides).fit(DOCS, QUERIES)


def bits_of(codec: Codec) -> np.ndarray:
    bits = codec.bits_per_axis()
    assert bits is not None and bits.shape == (D,) and bits.dtype == np.float64 and (bits >= 0).all()
    return bits


@pytest.mark.parametrize("name", ["transform_coding", "transform_trellis", "transform_e8", "score_aware"])
def test_codes_without_factors_are_the_bits_of_the_axes_and_the_strongest_have_the_most(name: str) -> None:
    codec = fitted(f"method={name}", "method.nbytes=24")
    bits = bits_of(codec)
    assert bits.sum() == pytest.approx(8 * codec.encode(DOCS).nbytes / N)
    # a coordinate alone in a byte, or a step of the trellis, may have a bit more than its neighbours
    assert bits[:8].mean() > bits[8:40].mean() > bits[-32:].mean()


def test_an_entropy_code_takes_about_the_entropy_of_its_numbers() -> None:
    bits = bits_of(fitted("method=transform_entropy", "method.nbytes=24", "method.codec.budget=mean"))
    # the number of the centre takes up to 8 bits, here 7
    assert 0.85 * 8 * 24 < bits.sum() <= 8 * 24


def test_segments_have_their_planned_bits_and_factors_belong_to_no_axis() -> None:
    codec = fitted("method=saq", "method.nbytes=null", "method.plan=[[32,4],[16,1]]")
    assert bits_of(codec).tolist() == [4.0] * 32 + [1.0] * 16 + [0.0] * 48
    assert codec.encode(DOCS).nbytes == N * (32 * 4 // 8 + 16 // 8 + 2 * 2)


def test_axes_that_a_projection_drops_have_none() -> None:
    bits = bits_of(fitted("method=svd192_int8", "method.dim=40", "method.bits=4"))
    assert bits.tolist() == [4.0] * 40 + [0.0] * 56


@pytest.mark.parametrize("name", ["int8", "binary", "truncate192_int8", "svd_binary", "pq"])
def test_without_principal_axes_there_is_no_answer(name: str) -> None:
    settings = {"truncate192_int8": ["method.dim=32"], "svd_binary": ["method.dim=32"], "pq": ["method.m=12"]}
    assert fitted(f"method={name}", *settings.get(name, [])).bits_per_axis() is None


@pytest.mark.parametrize("name", ["transform_entropy", "transform_leech", "saq", "svd192_int8"])
def test_the_answer_comes_from_the_state(name: str) -> None:
    settings = [f"method={name}", "method.dim=40" if name == "svd192_int8" else "method.nbytes=24"]
    codec = fitted(*settings)
    again = made(*settings).load_state(codec.state())
    assert np.array_equal(bits_of(again), bits_of(codec))
