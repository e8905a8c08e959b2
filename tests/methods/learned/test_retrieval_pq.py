"""Product quantisers trained for retrieval."""

from typing import Any

import numpy as np
import pytest
import torch

from methods.composed.chain import Chain
from methods.learned.losses import list_net
from methods.learned.retrieval_pq import (
    RetrievalPQ,
    assigned_codewords,
    balanced_codes,
    gathered_codewords,
    orthonormalize,
)
from methods.product.faiss_codec import FaissCodec
from methods.transforms.opq import OPQ
from tests.conftest import clustered_vectors

D = 32
DOCS = clustered_vectors(1500, D)
QUERIES = clustered_vectors(300, D, seed=1)
TESTED = clustered_vectors(200, D, seed=2)


def made(**changes: Any) -> RetrievalPQ:
    return RetrievalPQ(**{"m": 4, "bits": 4, "rounds": 2, "steps": 150, "batch": 32, "rate": 1e-3, **changes})


def found(codec: Any, k: int = 10) -> np.ndarray:
    return codec.search(TESTED, codec.encode(DOCS), k)[1]


def overlap(ranking: np.ndarray) -> float:
    exact = np.argsort(-(TESTED @ DOCS.T), axis=1, kind="stable")[:, : ranking.shape[1]]
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(ranking, exact, strict=True)]))


def opq() -> Chain:
    codec = FaissCodec(factory="PQ{m}x{bits}np", m=4, bits=4)
    return Chain(transforms=[OPQ(m=4, bits=4, rounds=2)], codec=codec).fit(DOCS)


@pytest.mark.parametrize("codes", ["nearest", "fixed"])
def test_untrained_it_is_opq(codes: Any) -> None:
    codec = made(codes=codes, steps=1, rate=1e-12).fit(DOCS, QUERIES)
    reference = opq()
    assert np.array_equal(codec.encode(DOCS).array, reference.encode(DOCS).array)
    assert overlap(found(codec)) == pytest.approx(overlap(found(reference)), abs=0.01)


def test_distillation_finds_more_of_the_float_ranking() -> None:
    codec = made(rotation="queries", temperature=0.1, steps=400).fit(DOCS, QUERIES)
    assert overlap(found(codec)) > overlap(found(opq())) + 0.02
    (entry,) = codec.training()
    assert entry["loss"] < entry["loss_before"] and entry["data"] == "300 queries with the 1 nearest documents"


def test_what_is_trained_is_what_search_scores() -> None:
    settings: dict[str, Any] = {"rotation": "queries", "temperature": 0.1, "steps": 300}
    trained = made(renormalize=True, **settings).fit(DOCS, QUERIES)
    otherwise = made(renormalize=True, **settings).load_state(made(**settings).fit(DOCS, QUERIES).state())

    def lost(codec: RetrievalPQ) -> float:
        scores = torch.tensor(codec.score(QUERIES, codec.encode(DOCS)))
        return float(list_net(scores, torch.tensor(QUERIES @ DOCS.T), 0.1))

    assert lost(trained) < lost(otherwise)


def test_fixed_codes_stay_and_their_centroids_move() -> None:
    codec = made(objective="contrastive", codes="fixed", hard=True).fit(DOCS, QUERIES)
    assert np.array_equal(codec.encode(DOCS).array, opq().encode(DOCS).array)
    assert not np.array_equal(codec.codebooks_, codec.start_codebooks_)
    assert set(codec.state()) == {"dim_", "rotation_", "codebooks_", "start_codebooks_"}


def test_a_learned_rotation_stays_one() -> None:
    codec = made(objective="contrastive", rotation="learned", reconstruction=1.0, rate=3e-3).fit(DOCS, QUERIES)
    np.testing.assert_allclose(codec.rotation_ @ codec.rotation_.T, np.eye(D), atol=1e-5)
    assert not np.allclose(codec.rotation_, OPQ(m=4, bits=4, rounds=2).fit(DOCS).rotation_, atol=1e-4)


def test_pairs_are_learned_from() -> None:
    pairs = np.column_stack([np.arange(300), np.random.default_rng(0).integers(1500, size=300)])
    codec = made(objective="contrastive", codes="soft").fit(DOCS, QUERIES, pairs)
    assert codec.training()[0]["data"] == "300 pairs of a query and its document"
    assert not np.array_equal(
        codec.codebooks_, made(objective="contrastive", codes="soft").fit(DOCS, QUERIES).codebooks_
    )


def test_without_queries_documents_teach() -> None:
    codec = made(steps=20).fit(DOCS)
    assert codec.training()[0]["data"] == "1500 documents with 1 neighbours each"


def test_search_is_the_dot_product_with_decoded_documents() -> None:
    codec = made(rotation="queries").fit(DOCS, QUERIES)
    codes = codec.encode(DOCS)
    scores, rows = codec.search(TESTED, codes, 5)
    exact = codec.query_matrix(TESTED) @ codec.decode(codes).T
    np.testing.assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-5)


def test_balanced_codes_use_every_codeword_alike() -> None:
    rng = np.random.default_rng(0)
    # all rows lie near the first codeword
    rows = torch.tensor(rng.standard_normal((64, 4)).astype(np.float32) * 0.1)
    words = torch.tensor(rng.standard_normal((1, 4, 4)).astype(np.float32))
    words[0, 0] = 0
    assert len(gathered_codewords(words, torch.zeros(64, 1, dtype=torch.long))) == 64
    nearest = torch.cdist(rows, words[0]).argmin(dim=1)
    assert (nearest == 0).all()
    counts = torch.bincount(balanced_codes(rows, words, 0.003, 200)[:, 0], minlength=4)
    assert counts.min() >= 12 and counts.max() <= 20


def test_a_soft_choice_is_the_nearest_codeword_with_another_gradient() -> None:
    rows = torch.tensor(DOCS[:50])
    words = torch.tensor(made(steps=1).fit(DOCS).codebooks_, requires_grad=True)
    hard, soft = assigned_codewords(rows, words, None), assigned_codewords(rows, words, 0.1)
    torch.testing.assert_close(hard, soft)
    slopes = [torch.autograd.grad(value.pow(2).sum(), words)[0] for value in (hard, soft)]
    assert not torch.allclose(*slopes)


def test_orthonormalize_finds_the_nearest_rotation() -> None:
    rng = np.random.default_rng(0)
    start = np.linalg.qr(rng.standard_normal((12, 12)))[0] + 0.02 * rng.standard_normal((12, 12))
    u, _, vt = np.linalg.svd(start)
    matrix = torch.tensor(start)
    orthonormalize(matrix)
    np.testing.assert_allclose(matrix.numpy(), u @ vt, atol=1e-6)
