import numpy as np
import pytest

from methods.base import MethodError
from methods.product.faiss_codec import FaissCodec
from methods.transforms.opq import OPQ, balanced_eigenbasis
from tests.conftest import clustered_vectors


def error_behind(transform: OPQ | None, docs: np.ndarray) -> float:
    seen = docs if transform is None else transform.fit(docs).transform_docs(docs)
    pq = FaissCodec(factory="PQ8x4np").fit(seen)
    return float(((pq.decode(pq.encode(seen)) - seen) ** 2).sum())


def test_it_is_a_rotation() -> None:
    docs = clustered_vectors(500, 32)
    opq = OPQ(m=8, bits=4, rounds=3).fit(docs)
    assert np.allclose(opq.rotation_ @ opq.rotation_.T, np.eye(32), atol=1e-5)
    queries = clustered_vectors(5, 32, seed=1)
    before, after = queries @ docs.T, opq.transform_queries(queries) @ opq.transform_docs(docs).T
    assert np.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("cores", ["2", "3"])
def test_the_rotation_does_not_depend_on_threads(cores: str, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = clustered_vectors(300, 24)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = OPQ(m=4, bits=4, rounds=3).fit(docs).rotation_
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    np.testing.assert_array_equal(OPQ(m=4, bits=4, rounds=3).fit(docs).rotation_, alone)


def test_every_step_is_worth_something() -> None:
    docs = clustered_vectors(2000, 32)
    plain, parametric, learned = (error_behind(t, docs) for t in (None, OPQ(m=8, bits=4, rounds=0), OPQ(m=8, bits=4)))
    assert learned < parametric < plain


def test_eigenvectors_are_dealt_so_that_products_balance() -> None:
    # largest first to the part with the smaller product: 16 | 8, 4 joins 8 (8 < 16), and 2 fills the first
    dealt = balanced_eigenbasis(np.diag([2.0, 16.0, 4.0, 8.0]), 2)
    assert np.abs(dealt).argmax(axis=0).tolist() == [1, 0, 3, 2]


def test_degenerate_documents_still_get_a_rotation() -> None:
    same = np.repeat(clustered_vectors(1, 16), 40, axis=0)
    rotation = OPQ(m=4, bits=2, rounds=2).fit(same).rotation_
    assert np.allclose(rotation @ rotation.T, np.eye(16), atol=1e-5)


@pytest.mark.parametrize(("settings", "message"), [({"m": 5}, "m=5 does not divide"), ({"m": 4, "bits": 8}, "bits=8")])
def test_what_the_data_cannot_carry_is_named(settings: dict[str, int], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        OPQ(**settings).fit(clustered_vectors(100, 32))
