import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.datasets import Dataset
from harness.evaluation import retrieval_metrics
from methods import topk
from tests.harness.evaluation.scoring import retrieval


def collection(n: int, m: int, seed: int, grades: int = 3) -> Dataset:
    rng = np.random.default_rng(seed)
    doc_ids = [f"d{i}" for i in rng.permutation(n)]
    qrels: dict[str, dict[str, int]] = {}
    for query in range(m):
        judged = rng.choice(n, size=int(rng.integers(1, n + 1)), replace=False)
        # among them queries whose grades are all 0, and documents that the corpus lacks
        qrels[f"q{query}"] = {f"d{i}": int(rng.integers(0, grades + 1)) for i in judged}
        if rng.random() < 0.3:
            qrels[f"q{query}"]["gone"] = int(rng.integers(0, grades + 1))
    return Dataset.build(name="made", doc_ids=doc_ids, query_ids=list(qrels), qrels=qrels, count_unknown_docs=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 150), st.integers(1, 6), st.integers(0, 10**6), st.integers(1, 30))
def test_equal_to_trec_eval(n: int, m: int, seed: int, distinct: int) -> None:
    """Scores take few distinct values, so that trec_eval's order of ties decides."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    dataset = collection(n, m, seed)
    scores = np.random.default_rng(seed + 1).integers(0, distinct, size=(m, n)).astype(np.float32)
    rows = np.tile(np.arange(n), (m, 1))
    _, ranking = topk.ordered(scores, rows, min(100, n))
    judgements = retrieval_metrics.Judgements.of(dataset)
    assert judgements is not None and dataset.qrels is not None
    ours = retrieval(judgements, ranking)
    run = {
        query_id: {dataset.doc_ids[row]: float(scores[q, row]) for row in range(n)}
        for q, query_id in enumerate(dataset.query_ids)
    }
    wanted = {"ndcg_cut.1,10,100", "recall.1,10,100", "map_cut.100"}
    theirs = pytrec_eval.RelevanceEvaluator({q: dict(g) for q, g in dataset.qrels.items()}, wanted).evaluate(run)
    pairs = {f"ndcg_at_{k}": f"ndcg_cut_{k}" for k in (1, 10, 100)} | {
        f"recall_at_{k}": f"recall_{k}" for k in (1, 10, 100)
    }
    for our_name, their_name in {**pairs, "map_at_100": "map_cut_100"}.items():
        expected = [theirs[query_id][their_name] for query_id in dataset.query_ids]
        assert np.allclose(ours[our_name], expected, atol=1e-9), our_name


def test_by_hand() -> None:
    qrels = {"q": {"a": 2, "c": 1}, "r": {"b": 1}}
    dataset = Dataset.build(name="made", doc_ids=["a", "b", "c", "d"], query_ids=["q", "r"], qrels=qrels)
    assert dataset.doc_ids == ["d", "c", "b", "a"]
    judgements = retrieval_metrics.Judgements.of(dataset)
    assert judgements is not None
    ranking = np.array([[0, 3, 1, 2], [0, 1, 3, 2]])
    values = retrieval(judgements, ranking)
    best = 2 + 1 / math.log2(3)
    assert values["ndcg_at_10"][0] == pytest.approx((2 / math.log2(3) + 1 / math.log2(4)) / best)
    assert values["ndcg_at_10"][1] == pytest.approx(1 / math.log2(5))
    # gains of 3 and 1 where the grades are 2 and 1; the same where all are 0 or 1
    exponential = (3 / math.log2(3) + 1 / math.log2(4)) / (3 + 1 / math.log2(3))
    assert values["ndcg_exp_at_10"][0] == pytest.approx(exponential)
    assert values["ndcg_exp_at_10"][1] == values["ndcg_at_10"][1]
    assert values["mrr_at_10"].tolist() == [0.5, 0.25]
    assert values["map_at_100"].tolist() == [pytest.approx((1 / 2 + 2 / 3) / 2), 0.25]
    assert values["recall_at_1"].tolist() == [0, 0] and values["recall_at_10"].tolist() == [1, 1]


def test_an_empty_place_is_no_document() -> None:
    dataset = Dataset.build(name="made", doc_ids=["a", "b"], query_ids=["q", "r"], qrels={"q": {"a": 1}, "r": {"b": 1}})
    judgements = retrieval_metrics.Judgements.of(dataset)
    assert judgements is not None
    empty = np.full((2, 2), -1)
    assert retrieval(judgements, empty)["ndcg_at_10"].tolist() == [0, 0]


def test_gains_of_some_queries() -> None:
    judgements = retrieval_metrics.Judgements.of(collection(20, 5, seed=1))
    assert judgements is not None
    ranking = np.random.default_rng(0).permuted(np.tile(np.arange(20), (5, 1)), axis=1)
    some = np.array([4, 1])
    assert judgements.gains(ranking).any()
    assert np.array_equal(judgements.gains(ranking[some], some), judgements.gains(ranking)[some])
