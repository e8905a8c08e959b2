import numpy as np
import pytest

from methods.base import MethodError, unit_rows
from methods.learned.examples import neighbours
from methods.learned.hash_heads import OrthoHash, SimilarityCalibration, calibration, class_codes, clusters, sign_loss
from tests.conftest import clustered_vectors

D = 32


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(800, D)


def sdc(**changes: object) -> SimilarityCalibration:
    settings: dict = {"nbits": 48, "steps": 300, "batch": 64, "patience": 20}
    return SimilarityCalibration(**settings | changes)


def ortho(**changes: object) -> OrthoHash:
    settings: dict = {"nbits": 64, "classes": 20, "steps": 200, "batch": 64, "patience": 20}
    return OrthoHash(**settings | changes)


def test_calibration_by_hand() -> None:
    import torch

    # Beta(1, 1) is uniform: two pairs should have similarities -1/2 and 1/2
    codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    # their similarities are 0 and 1; sorted as before, the second pair is the lower one
    assert np.isclose(float(calibration(torch.tensor([0.9, 0.1]), codes, 1.0)), (abs(1 + 0.5) + abs(0 - 0.5)) / 2)
    assert np.isclose(float(calibration(torch.tensor([0.1, 0.9]), codes, 1.0)), (abs(0 + 0.5) + abs(1 - 0.5)) / 2)


def test_signs_lose_nothing_of_signs() -> None:
    import torch

    assert np.isclose(float(sign_loss(torch.tensor([[2.0, -2.0, 2.0, 2.0]]))), 0, atol=1e-6)
    assert np.isclose(float(sign_loss(torch.tensor([[3.0, 4.0]]))), 1 - 7 / (5 * np.sqrt(2)))


def test_class_codes_are_orthogonal_where_they_can_be() -> None:
    codes = class_codes(20, 64, seed=0)
    assert np.array_equal(codes @ codes.T, 64 * np.eye(20))
    drawn = class_codes(70, 64, seed=0)
    assert drawn.shape == (70, 64) and set(drawn.ravel()) == {-1, 1}
    assert len(np.unique(drawn, axis=0)) == 70


def test_clusters_are_those_of_the_nearest_centre() -> None:
    points = np.repeat(np.eye(2, 5, dtype=np.float32), 10, axis=0)
    labels = clusters(points, 2, seed=0)
    assert set(labels[:10]) != set(labels[10:]) and len(set(labels)) == 2


@pytest.mark.parametrize("make", [sdc, ortho])
def test_numpy_applies_what_torch_trained(docs: np.ndarray, make: object) -> None:
    import torch

    head = make(steps=5)  # type: ignore[operator]
    modules: list = []
    train = head._train
    head._train = lambda module, *rest: (modules.append(module), train(module, *rest))
    head.fit(docs)
    with torch.no_grad():
        expected = modules[0](torch.from_numpy(docs)).numpy()
    assert np.allclose(head.transform_docs(docs), expected, atol=1e-4)
    assert np.allclose(head.transform_queries(3 * docs), expected, atol=1e-4), "lengths do not matter"


@pytest.mark.parametrize("make", [sdc, ortho])
def test_training_helps_and_repeats(docs: np.ndarray, make: object) -> None:
    head = make().fit(docs)  # type: ignore[operator]
    (entry,) = head.training()
    assert entry["loss"] < 0.8 * entry["loss_before"]
    assert np.abs(head.transform_docs(docs).mean(axis=0)).max() < 0.5, "bits are balanced"
    again = make().fit(docs)  # type: ignore[operator]
    assert {k: v.tobytes() for k, v in again.state().items()} == {k: v.tobytes() for k, v in head.state().items()}
    # two layers and their biases, batch norm folded in
    numbers = D * D + D + D * head.nbits + head.nbits
    assert sum(a.nbytes for name, a in head.state().items() if name != "dim_") == 4 * numbers


def test_similarities_are_calibrated(docs: np.ndarray) -> None:
    codes = unit_rows(sdc(near=0.0, quantization=0.0).fit(docs).transform_docs(clustered_vectors(400, D, seed=4)))
    after = (codes @ codes.T)[np.triu_indices(400, 1)]
    # Beta(5, 5) on [-1, 1] has variance 1 / 11
    assert abs(after.mean()) < 0.1 and abs(after.std() - np.sqrt(1 / 11)) < 0.06


def test_near_pairs_are_spread_instead(docs: np.ndarray) -> None:
    near = neighbours(docs, 5)

    def similarity(share: float) -> float:
        codes = unit_rows(sdc(near=share, neighbours=5).fit(docs).transform_docs(docs))
        return float(np.einsum("id,ijd->ij", codes, codes[near]).mean())

    # the scale is for all pairs, and near ones are at its upper end; or near ones have it for themselves
    assert similarity(0.0) > similarity(1.0) + 0.05


def test_codes_of_a_cluster_come_together(docs: np.ndarray) -> None:
    head = ortho().fit(docs)
    labels, codes = clusters(docs, 20, seed=0), np.sign(head.transform_docs(docs))
    same = labels[:, None] == labels[None, :]
    agreement = codes @ codes.T / 64
    assert agreement[same].mean() > 0.4 > 0.1 > abs(agreement[~same].mean())


def test_the_start_is_kept_where_training_cannot_help(docs: np.ndarray) -> None:
    (entry,) = sdc(steps=40, rate=1e-12, patience=1).fit(docs).training()
    assert entry["loss"] <= entry["loss_before"]


@pytest.mark.parametrize(
    "wrong", [{"near": 1.5}, {"alpha": 0.0}, {"nbits": 0}, {"hidden": 0}, {"quantization": -1.0}, {"neighbours": 0}]
)
def test_wrong_parameters(wrong: dict) -> None:
    with pytest.raises(MethodError, match=next(iter(wrong))):
        sdc(**wrong)


@pytest.mark.parametrize("wrong", [{"classes": 1}, {"scale": 0.0}, {"margin": -0.1}])
def test_wrong_parameters_of_ortho_hash(wrong: dict) -> None:
    with pytest.raises(MethodError, match=next(iter(wrong))):
        ortho(**wrong)


def test_three_documents_are_too_few(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="3 documents are too few"):
        sdc().fit(docs[:3])
