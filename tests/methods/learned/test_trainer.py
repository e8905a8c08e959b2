"""The training loop that learned methods share, their losses and their layers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from methods.base import Float32, MethodError, Transform, VectorsError
from methods.composed.chain import Chain
from methods.learned import examples, layers, losses
from methods.learned.trainer import Learned
from methods.scalar.uniform import PerDimension
from tests.conftest import clustered_vectors


@dataclass(kw_only=True, eq=False)
class Shift(Learned, Transform):
    """Learns the documents' mean, or anything that `aim` makes of it."""

    aim: float = 1.0
    trap: bool = False

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        module = torch.nn.Module()
        module.place = torch.nn.Parameter(torch.zeros(docs.shape[1]))
        seen: list[bool] = []

        def loss(rows: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
            seen.append(module.training)
            error = (module.place - self.aim * torch.tensor(docs)[rows]).pow(2).sum(dim=1).mean()
            # on held-out examples every move is for the worse
            return error if module.training or not self.trap else module.place.pow(2).sum()

        with self._learning():
            self._train(module, loss, len(docs), f"{len(docs)} documents")
        self.modes = seen
        self.place_ = module.place.detach().numpy()

    def _transform_docs(self, docs: Float32) -> Float32:
        return docs - self.place_


DOCS = clustered_vectors(400, 16)


def test_finds_the_minimum_and_says_what_it_did() -> None:
    part = Shift(steps=400, rate=0.05, batch=64).fit(DOCS)
    np.testing.assert_allclose(part.place_, DOCS.mean(axis=0), atol=0.02)
    (entry,) = part.training()
    assert entry["data"] == "400 documents" and entry["part"] == "Shift" and entry["device"] in ("cpu", "cuda")
    assert entry["held_out"] == 40 and 0 < entry["best_step"] <= entry["steps"] <= 400
    assert entry["loss"] < entry["loss_before"]
    assert True in part.modes and False in part.modes


def test_training_that_does_not_help_leaves_the_start() -> None:
    part = Shift(steps=400, rate=0.05, trap=True, patience=2).fit(DOCS)
    (entry,) = part.training()
    assert entry["best_step"] == 0 and entry["steps"] == 2 * (400 // 20) and entry["loss"] == entry["loss_before"]
    assert not part.place_.any()


def test_the_same_seed_gives_the_same_bytes_and_leaves_torch_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    one, other = (Shift(steps=30, seed=3).fit(DOCS).place_ for _ in range(2))
    assert one.tobytes() == other.tobytes()
    assert one.tobytes() != Shift(steps=30, seed=4).fit(DOCS).place_.tobytes()
    assert torch.get_num_threads() == threads and torch.equal(torch.rand(3), expected)


def test_what_was_learned_last_is_no_state() -> None:
    part = Shift(steps=30).fit(DOCS)
    assert set(part.state()) == {"dim_", "place_"}
    assert Shift(steps=30).load_state(part.state()).training() == []
    chain = Chain(transforms=[Shift(steps=30)], codec=PerDimension(bits=8)).fit(DOCS)
    assert [entry["part"] for entry in chain.training()] == ["Shift"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch": 1}, "batch must be at least 2"),
        ({"held_out": 1.0}, "held_out must be between 0 and 1"),
        ({"rate": 0.0}, "rate must be positive"),
    ],
)
def test_a_budget_without_sense_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(MethodError, match=said):
        Shift(**wrong)


def test_one_document_is_too_few() -> None:
    with pytest.raises(MethodError, match="too few"):
        Shift().fit(DOCS[:1])


def test_contrast_by_hand() -> None:
    scores = torch.tensor([[1.0, 0.0, 0.5], [0.2, 1.0, 0.0], [0.0, 0.0, 1.0]])
    first = -np.log(np.e / (np.e + 1 + np.e**0.5))
    second = -np.log(np.e / (np.e + np.e**0.2 + 1))
    third = -np.log(np.e / (np.e + 2))
    assert float(losses.info_nce(scores, 1.0)) == pytest.approx((first + second + third) / 3, rel=1e-6)
    hard = [-np.log(np.e / (np.e + np.e**other)) for other in (0.5, 0.2, 0.0)]
    assert float(losses.info_nce(scores, 1.0, hardest=1)) == pytest.approx(np.mean(hard), rel=1e-6)
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[0, 2] = True
    masked = [-np.log(np.e / (np.e + 1)), second, third]
    assert float(losses.info_nce(scores, 1.0, same)) == pytest.approx(np.mean(masked), rel=1e-6)


def test_list_net_is_least_where_the_lists_agree() -> None:
    teacher = torch.tensor([[0.3, 0.1, -0.2]])
    p = np.exp(np.array([0.3, 0.1, -0.2]) / 0.1)
    p /= p.sum()
    assert float(losses.list_net(teacher, teacher, 0.1)) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)
    # a constant added to all scores of a query changes nothing
    assert float(losses.list_net(teacher + 7, teacher, 0.1)) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-4)
    assert losses.list_net(torch.flip(teacher, [1]), teacher, 0.1) > losses.list_net(teacher, teacher, 0.1)


def test_barlow_twins_by_hand() -> None:
    view = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    # all four correlations are 1: the diagonal costs nothing, each of two others 1
    assert float(losses.barlow_twins(view, view, 0.5, 2.0)) == pytest.approx(2.0)
    assert float(losses.barlow_twins(view, -view, 0.5, 1.0)) == pytest.approx(2 * 4 + 0.5 * 2)


@pytest.mark.parametrize(("activation", "norm"), [("relu", True), ("gelu", False), ("relu", False), ("gelu", True)])
def test_a_kept_network_is_the_trained_one(activation: layers.Activation, norm: bool) -> None:
    torch.manual_seed(0)
    module = layers.perceptron([16, 24, 24, 5], activation, norm)
    module.train()
    for _ in range(5):
        module(torch.tensor(DOCS))
    module.eval()
    part = Shift()
    layers.keep(part, "net", module)
    with torch.no_grad():
        expected = module(torch.tensor(DOCS)).numpy()
    found = layers.apply(part, "net", DOCS, activation)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.array_equal(layers.apply(part, "net", DOCS[7:8], activation)[0], found[7])


def test_neighbours_leave_out_the_document_itself_even_among_duplicates() -> None:
    docs = np.repeat(clustered_vectors(6, 8), 2, axis=0)
    found = examples.neighbours(docs, 3)
    assert found.shape == (12, 3)
    assert not (found == np.arange(12)[:, None]).any()
    # the twin is the nearest
    assert np.array_equal(found[:, 0], np.arange(12) ^ 1)


def test_pairs_follow_a_sample_of_the_documents() -> None:
    pairs = np.array([[0, 3], [1, 10], [2, 399]])
    kept, moved = examples.sampled(DOCS, pairs, 50, seed=0)
    rows = examples.drawn(400, 50, seed=0)
    assert len(kept) == 50 and np.array_equal(kept, DOCS[rows])
    assert moved is not None
    assert {(q, int(rows[d])) for q, d in moved.tolist()} == {(q, d) for q, d in pairs.tolist() if d in rows}
    assert examples.sampled(DOCS, pairs, 400, seed=0)[1] is pairs


def test_a_pair_that_names_nothing_is_refused() -> None:
    with pytest.raises(VectorsError, match="row 400 of docs, which have 400 rows"):
        Shift().fit(DOCS, DOCS[:3], np.array([[0, 400]]))
    with pytest.raises(VectorsError, match=r"integers \(p, 2\)"):
        Shift().fit(DOCS, DOCS[:3], np.array([[0.5, 4]]))


def test_pairs_that_know_of_each_other_are_held_out_together() -> None:
    # a chain through a shared query and a shared document, and two alone
    pairs = np.array([[0, 5], [0, 6], [1, 6], [2, 7], [3, 8]])
    groups = examples.connected(pairs, 4, 10)
    assert groups[0] == groups[1] == groups[2] and len({*groups.tolist()}) == 3
    for seed in range(20):
        held, seen = Shift(held_out=0.34, seed=seed)._split(5, groups=groups)
        assert sorted([*held.tolist(), *seen.tolist()]) == [0, 1, 2, 3, 4] and len(held)
        assert not {*groups[held.numpy()].tolist()} & {*groups[seen.numpy()].tolist()}


def test_groups_of_one_change_nothing() -> None:
    part = Shift(seed=3)
    alone = part._split(50)
    named = part._split(50, groups=np.arange(50) * 7)
    assert all(torch.equal(one, other) for one, other in zip(alone, named, strict=True))


@pytest.mark.parametrize("count", [0, 1])
def test_no_example_is_held_out_of_too_few(count: int) -> None:
    held, seen = Shift()._split(count)
    assert len(held) == 0 and len(seen) == count
