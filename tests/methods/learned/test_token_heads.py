"""Heads over frozen token vectors: where they start, that training sees what is stored, and that it helps."""

import numpy as np
import pytest

from methods.base import MethodError
from methods.learned.token_heads import LearnedTokens
from methods.max_sim import exact_search, pair_scores
from methods.multivector.pooling import TokenPooling
from methods.token_vectors import TokenVectors
from tests.methods.multivector.collections import token_collection

torch = pytest.importorskip("torch")
from methods.learned import token_heads  # noqa: E402

DOCS = token_collection(150, 16, 14)
ROWS = np.flatnonzero(DOCS.counts > 5)
QUERIES = TokenVectors.of([DOCS.matrices()[row][::2] for row in ROWS])
PAIRS = np.column_stack([np.arange(len(ROWS)), ROWS])
HEADS = ("clusters", "attention", "positions")


def test_without_queries_they_are_what_needs_no_training() -> None:
    clusters = LearnedTokens(head="clusters", count=3).fit(DOCS)
    pooled = TokenPooling(grouping="kmeans", count=3).fit(DOCS).transform_docs(DOCS)
    assert np.allclose(clusters.transform_docs(DOCS).values, pooled.values, atol=1e-6)
    assert np.allclose(clusters.transform_queries(QUERIES).values, QUERIES.values, atol=1e-6)
    long = TokenVectors.of([token_collection(1, 16, 400, seed=3).values[:200]])
    positions = LearnedTokens(head="positions", count=4, longest=200).fit(long)
    neighbours = TokenPooling(grouping="sequential", count=4).fit(long).transform_docs(long)
    assert np.allclose(positions.transform_docs(long).values, neighbours.values, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_training_compares_what_is_stored(head: str) -> None:
    """The scores that the loss sees are those of a search, but for the mean over the query's vectors."""
    part = LearnedTokens(head=head, count=3, steps=3, longest=20).fit(DOCS, QUERIES, PAIRS)
    stored, asked = part.transform_docs(DOCS), part.transform_queries(QUERIES)
    pairs = np.indices((5, 9)).reshape(2, -1)
    expected = pair_scores(asked[:5], stored[:9], *pairs).reshape(5, 9) / asked.counts[:5, None]
    module = torch.nn.ParameterDict(
        {name: torch.nn.Parameter(torch.tensor(vars(part)[f"{name}_"])) for name in part._weights}
    )
    given = part._pooled(DOCS[:9], 3) if head == "clusters" else DOCS[:9]
    seen = token_heads.scores(part._asked(QUERIES[:5], module), part._answers(given, module))
    assert np.allclose(seen.detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_the_held_out_loss_falls_and_the_ranking_is_no_worse(head: str) -> None:
    start = LearnedTokens(head=head, count=4, longest=20).fit(DOCS)
    part = LearnedTokens(head=head, count=4, longest=20, steps=120, rate=1e-3 if head == "clusters" else 1e-2).fit(
        DOCS, QUERIES, PAIRS
    )
    (run,) = part.training()
    assert run["loss"] < run["loss_before"]

    def found(own: LearnedTokens) -> float:
        rows = exact_search(own.transform_queries(QUERIES), own.transform_docs(DOCS), 10)[1]
        exact = exact_search(QUERIES, DOCS, 10)[1]
        return float(np.mean([len(set(mine) & set(theirs)) for mine, theirs in zip(rows, exact, strict=True)]))

    assert found(part) >= found(start) - 0.2


def test_queries_are_clustered_where_asked() -> None:
    part = LearnedTokens(count=3, query_count=2, steps=2).fit(DOCS, QUERIES, PAIRS)
    assert part.transform_queries(QUERIES).counts.max() == 2 and part.transform_docs(DOCS).counts.max() == 3
    with pytest.raises(MethodError, match="query_count is for head=clusters"):
        LearnedTokens(head="attention", query_count=2)
