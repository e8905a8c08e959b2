from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.datasets import Dataset
from harness.evaluation import retrieval_metrics, ties
from harness.evaluation.measure import Problem, measure
from methods import topk
from methods.binary.sign import Sign
from tests.conftest import clustered_vectors
from tests.harness.evaluation.scoring import retrieval, tie_metrics
from tests.harness.evaluation.test_retrieval_metrics import collection as made


def judged(dataset: Dataset) -> retrieval_metrics.Judgements:
    judgements = retrieval_metrics.Judgements.of(dataset)
    assert judgements is not None
    return judgements


def scored(scores: np.ndarray, run_rows: int) -> ties.Collection:
    """A collection whose scores stand in a matrix (m, n)."""

    def best(which: np.ndarray, rows: slice, depth: int) -> tuple[np.ndarray, np.ndarray]:
        part = scores[which, rows]
        return topk.ordered(part, np.tile(np.arange(rows.start, rows.stop), (len(which), 1)), depth)

    n = scores.shape[1]
    return ties.Collection([slice(start, min(n, start + run_rows)) for start in range(0, n, run_rows)], best)


def ranked(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    return topk.ordered(scores, np.tile(np.arange(scores.shape[1]), (len(scores), 1)), k)


def test_by_hand() -> None:
    """Place 1 holds grade 2; places 2 to 4 tie with grades 0, 1, 0, and the cutoff is after place 3."""
    dataset = Dataset.build(name="made", doc_ids=list("abcde"), query_ids=["q"], qrels={"q": {"a": 2, "c": 1}})
    assert dataset.doc_ids == list("edcba")
    scores = np.array([[1, 7, 7, 7, 9]], dtype=np.float32)
    best, ranking = ranked(scores, 5)
    tie = ties.tie_at(best, ranking, 3, scored(scores, 5), judged(dataset))
    assert (tie.first.tolist(), tie.size.tolist(), tie.gain.tolist(), tie.cuts.tolist()) == ([1], [3], [1], [True])
    gains = judged(dataset).gains(ranking)
    assert tie.expected_dcg(gains, best)[0] == pytest.approx(2 + (1 / np.log2(3) + 1 / np.log2(4)) / 3)
    assert not ties.tie_at(best, ranking, 4, scored(scores, 5)).cuts[0], "the whole tie is above the cutoff"
    assert not ties.tie_at(best, ranking, 1, scored(scores, 5)).cuts[0]


def test_the_mean_over_all_orders() -> None:
    dataset = Dataset.build(name="made", doc_ids=list("abcdef"), query_ids=["q"], qrels={"q": {"a": 2, "b": 1}})
    scores = np.array([[3, 2, 2, 2, 2, 1]], dtype=np.float32)
    ranking = np.array([[1, 5, 4, 0, 2, 3]])
    values = tie_metrics(scores, ranking, scored(scores, 6), judged(dataset))
    plain = retrieval(judged(dataset), ranking)["ndcg_at_10"]
    every = [
        retrieval(judged(dataset), np.array([[1, *order, 3]]))["ndcg_at_10"][0]
        for order in permutations(ranking[0, 1:5])
    ]
    assert values["ndcg_at_10_ties"][0] == pytest.approx(np.mean(every))
    assert values["ndcg_at_10_ties"][0] != pytest.approx(plain[0])


@pytest.mark.parametrize("depth", [100, 12])
def test_the_mean_over_ten_thousand_shuffles_of_one_bit_codes(depth: int) -> None:
    """Symmetric scoring of 12 bits has 13 scores for 150 documents: ties go on beyond a ranking of 12."""
    n, m, shuffles, rng = 150, 40, 10_000, np.random.default_rng(0)
    docs, queries = clustered_vectors(n, 12, seed=1), clustered_vectors(m, 12, seed=2)
    dataset = made(n, m, seed=3)
    codec = Sign(scoring="symmetric").fit(docs)
    codes = codec.encode(docs)
    scores, ranking = codec.search(queries, codes, depth)
    found = ties.Collection.of_codes(codec, queries, codes)
    values = tie_metrics(scores, ranking, found, judged(dataset))
    every, rows = codec.search(queries, codes, n)
    gains = np.zeros((m, n))
    np.put_along_axis(gains, rows, judged(dataset).gains(rows), axis=1)
    level = np.zeros((m, n))
    np.put_along_axis(level, rows, every.astype(np.float64), axis=1)
    # scores are 1/6 apart: noise below that shuffles what ties, and nothing else
    total = np.zeros(m)
    for _ in range(shuffles // 100):
        noise = rng.random((100, m, n)) / 12
        top = np.argpartition(-(level + noise), 10, axis=2)[:, :, :10]
        inside = np.take_along_axis(level + noise, top, axis=2)
        top = np.take_along_axis(top, np.argsort(-inside, axis=2), axis=2)
        total += (gains[np.arange(m)[:, None], top] @ retrieval_metrics.discounts(10)).sum(axis=0)
    shuffled = total / shuffles / judged(dataset).best(10)
    assert np.abs(values["ndcg_at_10_ties"] - shuffled).max() < 0.01
    assert values["ndcg_at_10_ties"].mean() == pytest.approx(shuffled.mean(), abs=1e-3)
    assert values["tie_at_10"].mean() > 0.8
    if depth == 12:
        assert (scores[:, 9] == scores[:, -1]).any(), "else this shows nothing"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 130), st.integers(1, 40), st.integers(1, 12), st.integers(1, 130), st.integers(0, 10**6))
def test_ties_are_counted_to_their_end(n: int, depth: int, distinct: int, run_rows: int, seed: int) -> None:
    """In every depth and run length, with a row for some queries that is no result."""
    rng = np.random.default_rng(seed)
    m, cutoff = 4, 10
    scores = rng.integers(0, distinct, (m, n)).astype(np.float32)
    dataset = made(n, m, seed)
    own = rng.integers(-1, n, m)
    allowed = scores.copy()
    allowed[own >= 0, own[own >= 0]] = -np.inf
    best, ranking = ranked(allowed, min(depth, n))
    ranking = np.where(np.isfinite(best), ranking, -1)
    found = ties.tie_at(best, ranking, cutoff, scored(scores, run_rows), judged(dataset), own)
    place = min(cutoff, depth, n)
    level = best[:, place - 1]
    tied = (allowed == level[:, None]) & np.isfinite(allowed)
    gains = judged(dataset).gains(np.tile(np.arange(n), (m, 1)))
    assert found.size.tolist() == tied.sum(axis=1).tolist()
    assert found.gain == pytest.approx((gains * tied).sum(axis=1))
    assert found.first.tolist() == (allowed > level[:, None]).sum(axis=1).tolist()
    unjudged = ties.tie_at(best, ranking, cutoff, scored(scores, run_rows), None, own)
    assert unjudged.cuts.tolist() == found.cuts.tolist()


def test_blocks_change_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).integers(0, 2, (30, 500)).astype(np.float32)
    dataset = made(500, 30, 1)
    best, ranking = ranked(scores, 20)
    whole = ties.tie_at(best, ranking, 10, scored(scores, 500), judged(dataset))
    monkeypatch.setattr(ties, "PAIRS", 700)
    parts = ties.tie_at(best, ranking, 10, scored(scores, 64), judged(dataset))
    assert whole.size.min() > 200
    assert np.array_equal(whole.size, parts.size) and whole.gain == pytest.approx(parts.gain)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 10**6), st.integers(1, 60))
def test_without_ties_it_is_the_plain_figure(n: int, m: int, seed: int, depth: int) -> None:
    scores = np.random.default_rng(seed).permuted(np.tile(np.arange(n, dtype=np.float32), (m, 1)), axis=1)
    best, ranking = ranked(scores, min(depth, n))
    judgements = judged(made(n, m, seed))
    values = tie_metrics(best, ranking, scored(scores, n), judgements)
    assert values["ndcg_at_10_ties"] == pytest.approx(retrieval(judgements, ranking)["ndcg_at_10"])
    assert not values["tie_at_10"].any()


def test_only_what_is_open_is_searched_again() -> None:
    scores = np.tile(np.arange(300, 0, -1, dtype=np.float32), (3, 1))
    scores[1, 5:20] = 1000
    scores[2, 5:205] = 1000
    best, ranking = ranked(scores, 100)
    asked: list[tuple[list[int], int]] = []
    plain = scored(scores, 300)

    def best_of(which: np.ndarray, rows: slice, depth: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append((which.tolist(), depth))
        return plain.best(which, rows, depth)

    watched = ties.Collection(plain.runs, best_of)
    assert tie_metrics(best, ranking, watched)["tie_at_10"].tolist() == [0, 1, 1]
    assert not asked, "without judgements the size of a tie is nobody's concern"
    tie = ties.tie_at(best, ranking, 10, watched, judged(made(300, 3, 0)))
    assert tie.size.tolist() == [1, 15, 200] and {query for which, _ in asked for query in which} == {2}


def test_a_codec_whose_scores_depend_on_the_other_queries_keeps_what_is_listed() -> None:
    scores = np.ones((2, 50), dtype=np.float32)
    best, ranking = ranked(scores, 20)
    tie = ties.tie_at(best, ranking, 10, scored(scores + 0.5, 50), judged(made(50, 2, 0)))
    assert tie.size.tolist() == [20, 20] and tie.cuts.all()


@pytest.mark.parametrize("chunk_rows", [None, 60])
def test_the_depth_of_the_ranking_changes_no_expectation(chunk_rows: int | None, tmp_path: Path) -> None:
    docs, queries = clustered_vectors(200, 8, seed=1), clustered_vectors(20, 8, seed=2)
    dataset = made(200, 20, 5)

    def measured(k: int) -> retrieval_metrics.PerQuery:
        def make() -> Sign:
            return Sign(scoring="symmetric")

        return measure(make, Problem.of(dataset, docs, queries, k), k=k, chunk_rows=chunk_rows).per_query

    short, long = measured(10), measured(200)
    assert short["ndcg_at_10_ties"] == pytest.approx(long["ndcg_at_10_ties"])
    assert np.array_equal(short["tie_at_10"], long["tie_at_10"]) and short["tie_at_10"].any()


def test_the_float32_vectors_themselves_may_tie() -> None:
    """Forty equal documents, of which the ranking lists five."""
    docs = np.concatenate([np.tile(clustered_vectors(1, 8), (40, 1)), clustered_vectors(20, 8, seed=9)])
    dataset = made(60, 3, 2)
    problems = [Problem.of(dataset, docs, docs[:3], k) for k in (10, 60)]
    expected = [problem.exact_metrics["ndcg_at_10_ties"] for problem in problems]
    assert expected[0] == pytest.approx(expected[1]) and [p.exact_metrics["tie_at_10"] for p in problems] == [1, 1]
