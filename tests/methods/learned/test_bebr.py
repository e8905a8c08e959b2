import numpy as np
import pytest

from methods.base import MethodError, unit_rows
from methods.learned import layers
from methods.learned.bebr import BEBR, binarised, levels, sign, turn
from tests.conftest import clustered_vectors

D = 32


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    return clustered_vectors(600, D)


def small(**changes: object) -> BEBR:
    settings: dict = {"dim": 48, "bits": 2, "hidden": 32, "steps": 60, "batch": 64, "patience": 20, "rate": 1e-3}
    return BEBR(**settings | {"scoring": "symmetric"} | changes)


def test_levels_by_hand() -> None:
    assert levels(np.array([[0, 1]], np.uint8), 1).tolist() == [[-1, 1]]
    assert levels(np.array([[0, 1, 2, 3]], np.uint8), 2).tolist() == [[-1.5, -0.5, 0.5, 1.5]]
    # +1 - 1/2 + 1/4
    assert levels(np.array([[0b101]], np.uint8), 3).tolist() == [[0.75]]


def test_signs_pass_gradients_where_they_are_not_clipped() -> None:
    import torch

    values = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    out = sign(values)
    assert out.tolist() == [-1, -1, -1, 1, 1]
    (out * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    # at the edge itself torch's clamp passes the gradient
    assert values.grad is not None and values.grad.tolist() == [0, 2, 3, 4, 0]


@pytest.mark.parametrize("start", ["rotation", "random"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_numpy_writes_what_torch_trained(docs: np.ndarray, bits: int, start: str) -> None:
    import torch

    codec = small(bits=bits, steps=10, start=start, rate=1e-2)
    heads: list = []
    codec._keep, keep = lambda side, head: (heads.append(head), keep(side, head)), codec._keep  # type: ignore
    codec.fit(docs)
    with torch.no_grad():
        expected = binarised(heads[0], torch.from_numpy(docs)).numpy()
    codes = codec.encode(docs)
    # a number next to 0 may fall on the other side
    assert np.mean(codec._levels(codes) == expected) > 0.999
    assert codes.nbytes == len(docs) * 48 * bits // 8
    found = codec.score(docs[:5], codes)
    assert np.allclose(found, unit_rows(expected[:5]) @ unit_rows(expected).T, atol=0.02)
    assert np.allclose(np.diag(found[:, :5]), 1, atol=1e-6)


def test_float_queries_are_the_clipped_outputs(docs: np.ndarray) -> None:
    codec = small(bits=1, steps=10, scoring="asymmetric").fit(docs)
    clipped = np.clip(layers.apply(codec, "doc_first", unit_rows(docs[:9])), -1, 1)
    assert np.allclose(codec.query_matrix(docs[:9]), unit_rows(clipped))
    # the signs of the outputs are the codes
    assert np.array_equal(np.sign(clipped) > 0, codec._levels(codec.encode(docs[:9])) > 0)


def test_training_helps_and_repeats(docs: np.ndarray) -> None:
    codec = small(start="random").fit(docs)
    (entry,) = codec.training()
    assert entry["loss"] < 0.8 * entry["loss_before"]
    again = small(start="random").fit(docs)
    assert {k: v.tobytes() for k, v in again.state().items()} == {k: v.tobytes() for k, v in codec.state().items()}


def test_the_start_is_kept_where_training_cannot_help(docs: np.ndarray) -> None:
    codec = small(steps=20, rate=1e-12, patience=1, neighbours=1).fit(docs)
    (entry,) = codec.training()
    assert entry["loss"] <= entry["loss_before"]


@pytest.mark.parametrize("dim", [16, D, 48])
@pytest.mark.parametrize("hidden", [0, 32])
def test_the_start_is_the_signs_of_rotated_vectors_and_of_what_they_missed(
    docs: np.ndarray, dim: int, hidden: int
) -> None:
    codec = small(dim=dim, hidden=hidden, bits=2, steps=1, rate=1e-12).fit(docs)
    matrix = layers.rotation_start(docs, dim, 0)
    assert np.allclose(matrix @ matrix.T if dim >= D else matrix.T @ matrix, dim * np.eye(min(dim, D)), atol=1e-3)
    f = unit_rows(docs)
    first = np.sign(f @ matrix)
    second = np.sign((f - unit_rows(first @ matrix.T)) @ matrix)
    assert np.mean(codec._levels(codec.encode(docs)) == first + second / 2) > 0.999


def test_each_bit_of_the_start_comes_closer(docs: np.ndarray) -> None:
    """Cosines of levels come closer to cosines of vectors, and to closer than as many bits of one sign each."""

    def error(dim: int, bits: int) -> float:
        codec = small(dim=dim, bits=bits, hidden=0, steps=1, rate=1e-12).fit(docs)
        return float(np.abs(codec.score(docs[:50], codec.encode(docs)) - docs[:50] @ docs.T).mean())

    assert error(D, 1) > error(D, 2) > error(D, 3) > error(D, 4)
    assert error(D, 2) < error(2 * D, 1)


@pytest.mark.parametrize("start", ["rotation", "random"])
@pytest.mark.parametrize("hidden", [0, 32])
def test_a_turned_head_writes_of_turned_vectors_what_it_wrote_before(docs: np.ndarray, hidden: int, start: str) -> None:
    import torch

    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((D, D)))[0]
    heads: list = []
    codec = small(bits=3, hidden=hidden, start=start, steps=10)
    codec._keep = lambda side, head: heads.append(head)  # type: ignore[method-assign]
    codec._fit_pairs(docs, None, None)
    with torch.no_grad():
        before = binarised(heads[0], torch.tensor(docs))
        turn(heads[0], rotation)
        after = binarised(heads[0], torch.tensor(docs @ rotation.T.astype(np.float32)))
    assert torch.mean((before == after).float()) > 0.995


def test_pairs_teach(docs: np.ndarray) -> None:
    """Queries in another frame than their documents: only pairs can say which document belongs to them."""
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((D, D)))[0].astype(np.float32)
    queries = docs @ rotation
    pairs = np.column_stack([np.arange(500), np.arange(500)])

    def rank(codec: BEBR) -> float:
        scores = codec.score(queries[500:], codec.encode(docs))
        own = scores[np.arange(100), np.arange(500, 600)]
        return float((scores > own[:, None]).mean())

    taught, untaught = small(steps=150, query_head="own"), small(steps=150, query_head="own")
    taught.fit(docs, queries, pairs)
    untaught.fit(docs)
    assert rank(taught) < 0.01 < 0.2 < rank(untaught)
    # the documents' side is the same: it has seen no query
    assert np.array_equal(taught.encode(docs).array, untaught.encode(docs).array)
    assert [entry["data"][:3] for entry in taught.training()] == ["600", "500"]


def test_a_stored_norm_is_two_bytes_that_change_nothing(docs: np.ndarray) -> None:
    plain, stored = small(steps=5).fit(docs), small(steps=5, stored_norm=True).fit(docs)
    assert stored.encode(docs).nbytes == plain.encode(docs).nbytes + 2 * len(docs)
    assert np.allclose(
        stored.score(docs[:5], stored.encode(docs)), plain.score(docs[:5], plain.encode(docs)), atol=2e-3
    )


def test_state_is_what_search_needs(docs: np.ndarray) -> None:
    codec = small(hidden=0, bits=2, steps=2).fit(docs)
    # W, R_0 and V_0 with their biases
    assert sum(a.nbytes for name, a in codec.state().items() if name != "dim_") == 4 * (3 * D * 48 + 48 + D + 48)


@pytest.mark.parametrize("wrong", [{"bits": 5}, {"dim": 0}, {"hidden": -1}, {"temperature": 0.0}, {"steps": 0}])
def test_wrong_parameters(wrong: dict) -> None:
    with pytest.raises(MethodError, match=next(iter(wrong))):
        small(**wrong)


def test_three_documents_are_too_few(docs: np.ndarray) -> None:
    with pytest.raises(MethodError, match="3 documents are too few"):
        small().fit(docs[:3])
