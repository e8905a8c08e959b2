import numpy as np
import pytest

from methods.base import MethodError, unit_rows
from methods.learned.tldr import Tldr
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors

N, D, R = 800, 32, 8


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(N, D)


def small(**other: object) -> Tldr:
    return Tldr(**{"dim": R, "projector": 32, "steps": 60, "batch": 128, "hidden": 24, **other})  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", ["linear", "factorised", "mlp"])
def test_the_loss_of_held_out_documents_falls(docs: np.ndarray, encoder: str) -> None:
    fitted = small(encoder=encoder).fit(docs)
    (entry,) = fitted.training()
    assert entry["loss"] < 0.8 * entry["loss_before"]
    assert entry["data"] == f"{N} documents with 5 neighbours each"
    mapped = fitted.transform_docs(docs)
    assert mapped.shape == (N, R)
    assert np.allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)


def test_training_starts_at_the_principal_axes(docs: np.ndarray) -> None:
    still = small(rate=1e-12).fit(docs)
    assert np.allclose(still.transform_docs(docs), unit_rows(SVD(dim=R).fit(docs).transform_docs(docs)), atol=1e-5)


def test_a_factorised_encoder_is_one_matrix_in_the_end(docs: np.ndarray) -> None:
    fitted = small(encoder="factorised", depth=2, normalize=False).fit(docs)
    assert set(fitted.state()) == {"dim_", "encoder_w0_", "encoder_b0_"}
    assert fitted.encoder_w0_.shape == (D, R)  # type: ignore[attr-defined]
    # affine: the mean of the images is the image of the mean
    middle = fitted.transform_docs((docs[:1] + docs[1:2]) / 2)
    assert np.allclose(middle, fitted.transform_docs(docs[:2]).mean(axis=0), atol=1e-4)


def test_multiplying_out_changes_nothing(docs: np.ndarray) -> None:
    fitted = small(encoder="factorised", depth=1)
    rng = np.random.default_rng(0)
    arrays = {"w0": (D, 5), "b0": (5,), "w1": (5, R), "b1": (R,)}
    for name, shape in arrays.items():
        setattr(fitted, f"encoder_{name}_", rng.standard_normal(shape).astype(np.float32))
    held = vars(fitted)
    expected = (docs @ held["encoder_w0_"] + held["encoder_b0_"]) @ held["encoder_w1_"] + held["encoder_b1_"]
    fitted._multiply_out()
    assert np.allclose(docs @ held["encoder_w0_"] + held["encoder_b0_"], expected, atol=1e-4)


def test_the_projector_is_no_state(docs: np.ndarray) -> None:
    assert set(small().fit(docs).state()) == {"dim_", "encoder_w0_", "encoder_b0_"}
    mlp = small(encoder="mlp").fit(docs)
    again = small(encoder="mlp").load_state(mlp.state())
    assert np.array_equal(again.transform_queries(docs[:9]), mlp.transform_docs(docs)[:9])


def test_seeds(docs: np.ndarray) -> None:
    first, same, other = (small(seed=seed).fit(docs).transform_docs(docs) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_impossible_parameters_are_named(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="dim=33"):
        Tldr(dim=33).fit(docs)
    with pytest.raises(MethodError, match="neighbours"):
        Tldr(dim=3, neighbours=0)
