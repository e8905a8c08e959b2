import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard as matrix_of_hadamard

from methods.transforms.rotation import RandomRotation, hadamard


@pytest.mark.parametrize("d", [1, 2, 8, 64])
def test_the_fast_transform_is_the_matrix(d: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((5, d)).astype(np.float32)
    assert np.allclose(hadamard(vectors), vectors @ matrix_of_hadamard(d) / np.sqrt(d), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 70), st.sampled_from(["hadamard", "orthogonal", "none"]), st.integers(1, 5), st.integers(0, 10**6)
)
def test_inner_products_stay(d: int, kind: str, rounds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    docs, queries = rng.standard_normal((6, d)).astype(np.float32), rng.standard_normal((4, d)).astype(np.float32)
    rotation = RandomRotation(kind=kind, rounds=rounds, seed=seed).fit(docs)
    rotated = rotation.transform_queries(queries) @ rotation.transform_docs(docs).T
    assert np.allclose(rotated, queries @ docs.T, atol=1e-4)


@pytest.mark.parametrize("kind", ["hadamard", "orthogonal"])
@pytest.mark.parametrize("d", [128, 150, 192])
def test_a_lone_entry_is_spread_over_all(kind: str, d: int) -> None:
    """Standard vectors have the most uneven entries there are; rotated, they have those of a random unit vector."""
    rotated = RandomRotation(kind=kind).fit(np.eye(d)).transform_docs(np.eye(d)) * np.sqrt(d)
    assert (rotated**2).mean() == pytest.approx(1, abs=1e-5)
    assert (rotated**4).mean() == pytest.approx(3, rel=0.15)
    assert np.abs(rotated).max() < 6.5


def test_the_hadamard_state_is_one_bit_a_dimension_and_round() -> None:
    rotation = RandomRotation(rounds=3).fit(np.eye(100))
    assert rotation.signs_.nbytes == 3 * 13
    other = RandomRotation(rounds=3, seed=1).fit(np.eye(100))
    assert not np.array_equal(rotation.transform_docs(np.eye(100)), other.transform_docs(np.eye(100)))
    again = RandomRotation(rounds=3, seed=5).load_state(rotation.state())
    assert np.array_equal(rotation.transform_docs(np.eye(100)), again.transform_docs(np.eye(100)))
