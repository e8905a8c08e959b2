import math
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from harness.evaluation.fidelity import PERSISTENCE, Comparison, score_error, score_loss, true_scores
from harness.evaluation.metric_registry import names as metric_names
from harness.report.write import write_report
from harness.runs.frame import load_runs
from harness.runs.run import run
from harness.runs.store import Store
from methods import topk
from tests.conftest import clustered_vectors
from tests.harness.evaluation.scoring import fidelity

FIDELITY = metric_names("float32 ranking")
PERFECT = {name: 0.0 if name.startswith("score_") else 1.0 for name in FIDELITY}


def lists(n: int, m: int, k: int, seed: int, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A ranking and a reference with their scores, of few distinct values."""
    rng = np.random.default_rng(seed)
    every, rows = rng.integers(0, levels, (2, m, n)).astype(np.float32), np.tile(np.arange(n), (m, 1))
    (scores, ranking), (reference_scores, reference) = (topk.ordered(one, rows, min(n, k)) for one in every)
    return ranking, scores, reference, reference_scores


def by_definition(ranking: list[int], reference: list[int], p: float) -> float:
    """(1 - p) sum_{d=1}^inf p^(d-1) A_d, with the agreement of the whole lists at every depth beyond them."""
    k = len(ranking)
    agreements = [len(set(ranking[:d]) & set(reference[:d])) / d for d in range(1, k + 1)]
    return (1 - p) * sum(p ** (d - 1) * a for d, a in enumerate(agreements, start=1)) + p**k * agreements[-1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 50), st.integers(0, 10**6), st.floats(0.05, 0.99))
def test_rank_biased_overlap_by_its_definition(n: int, k: int, seed: int, p: float) -> None:
    ranking, _, reference, _ = lists(n, 3, k, seed, levels=n)
    values = Comparison.of(ranking, reference).rank_biased_overlap(p)
    expected = [by_definition(a.tolist(), b.tolist(), p) for a, b in zip(ranking, reference, strict=True)]
    assert values == pytest.approx(expected)


def test_rank_biased_overlap_of_known_lists() -> None:
    reference = np.arange(1, 6)[None]

    def of(*rows: int) -> float:
        return float(Comparison.of(np.array([rows]), reference).rank_biased_overlap(0.9)[0])

    assert of(1, 2, 3, 4, 5) == pytest.approx(1)
    assert of(6, 7, 8, 9, 10) == 0
    # agreements 0, 1/2, 2/3, 1, 1
    assert of(2, 3, 4, 1, 5) == pytest.approx(0.828, abs=5e-7)


def test_the_first_ten_places_weigh_86_percent() -> None:
    """Webber, Moffat and Zobel (2010), equation 21."""
    p, d = PERSISTENCE, 10
    tail = math.log(1 / (1 - p)) - sum(p**i / i for i in range(1, d))
    assert 1 - p ** (d - 1) + (1 - p) / p * d * tail == pytest.approx(0.86, abs=0.005)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(2, 30), st.integers(1, 30), st.integers(0, 10**6))
def test_kendall_tau_is_scipys(n: int, k: int, levels: int, seed: int) -> None:
    ranking, scores, reference, reference_scores = lists(n, 4, k, seed, levels)
    top = 12
    values = Comparison.of(ranking, reference).kendall_tau(scores, reference_scores, top)
    for query in range(4):
        ours = dict(zip(ranking[query].tolist(), scores[query].tolist(), strict=True))
        known = [ours.get(row, -1.0) for row in reference[query, :top].tolist()]
        theirs = reference_scores[query, :top].tolist()
        if len(set(known)) > 1 and len(set(theirs)) > 1:
            assert values[query] == pytest.approx(kendalltau(known, theirs, variant="b").statistic)
        else:
            assert values[query] == float(len(set(known)) == len(set(theirs)) == 1)


def test_kendall_tau_by_hand() -> None:
    """Six pairs: document 3 is not found, 0 and 1 tie; one pair is the other way round, four agree."""
    reference, ranking = np.array([[0, 1, 2, 3]]), np.array([[2, 0, 1, 9]])
    reference_scores = np.array([[4, 3, 2, 1]], dtype=np.float32)
    scores = np.array([[9, 5, 5, 2]], dtype=np.float32)
    agree, against, untied = 3, 2, 5
    tau = Comparison.of(ranking, reference).kendall_tau(scores, reference_scores, 100)
    assert tau[0] == pytest.approx((agree - against) / math.sqrt(untied * 6))
    reverse = Comparison.of(reference[:, ::-1].copy(), reference).kendall_tau(reference_scores, reference_scores, 100)
    assert reverse[0] == -1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 150), st.integers(1, 120), st.integers(0, 10**6))
def test_recall_of_the_reference_by_sets(n: int, k: int, seed: int) -> None:
    ranking, _, reference, _ = lists(n, 3, k, seed, levels=n)
    compared = Comparison.of(ranking, reference)
    for top, depth in ((10, 10), (100, 100), (10, 20), (10, 40), (10, 100)):
        wanted = [set(row[:top].tolist()) for row in reference]
        held = [set(row[:depth].tolist()) for row in ranking]
        expected = [len(a & b) / len(a) for a, b in zip(wanted, held, strict=True)]
        assert compared.recall(top, depth) == pytest.approx(expected)


def test_overlap_counts_documents_not_places() -> None:
    reference = np.array([[0, 1, 2, 3], [9, 8, 7, 6]])
    ranking = np.array([[3, 2, 1, 5], [6, 7, 8, 9]])
    compared = Comparison.of(ranking, reference)
    assert compared.recall(4, 4).tolist() == [0.75, 1.0] and compared.recall(1, 1).tolist() == [0.0, 0.0]
    assert compared.recall(1, 4).tolist() == [0.0, 1.0], "the best is the fourth of the second"


def test_an_empty_place_is_no_document() -> None:
    compared = Comparison.of(np.array([[0, 1], [-1, -1]]), np.array([[0, 1], [1, 0]]))
    assert compared.recall(2, 2).tolist() == [1.0, 0.0] and compared.rank_biased_overlap(0.9).tolist() == [1.0, 0.0]
    # the last row of the first query and the empty place of the second must not be taken for each other
    compared = Comparison.of(np.array([[0, 4], [4, -1]]), np.array([[0, 1], [4, -1]]))
    assert compared.recall(2, 2).tolist() == [0.5, 1.0] and compared.place[0].tolist() == [0, 2]


def test_the_reference_is_perfect_also_where_documents_run_out() -> None:
    docs, queries = clustered_vectors(12, 8, seed=1), clustered_vectors(5, 8, seed=2)
    scores, rows = topk.search(queries, [(0, docs)], 12)
    rows[2, -1], scores[2, -1] = -1, -np.inf
    values = fidelity(rows, scores, queries, docs)
    assert list(values) == list(PERFECT)
    assert all(values[name] == pytest.approx(value, abs=1e-12) for name, value in PERFECT.items())


def test_what_is_deeper_than_the_ranking_is_left_out() -> None:
    docs, queries = clustered_vectors(60, 8, seed=1), clustered_vectors(5, 8, seed=2)

    def names(k: int) -> set[str]:
        scores, rows = topk.search(queries, [(0, docs)], k)
        return set(fidelity(rows, scores, queries, docs))

    deep = {"overlap_at_100", "top10_recall_at_100"}
    assert names(60) == names(59) == set(FIDELITY)
    assert names(40) == set(FIDELITY) - deep
    assert names(5) == {"rbo", "kendall_tau"}, "nothing @10 of five documents"


def test_score_error_by_hand() -> None:
    truth = np.array([[4, 3], [2, 0]], dtype=np.float32)
    everywhere = np.ones((2, 2), dtype=bool)
    assert score_error(7 * truth, truth, everywhere) == pytest.approx([0, 0], abs=1e-7), "units do not matter"
    # the best factor for scores (1, 1), (1, 1) is the mean, 9/4
    error = score_error(np.ones((2, 2), np.float32), truth, everywhere)
    assert error == pytest.approx([math.sqrt((1.75**2 + 0.75**2) / 25), math.sqrt((0.25**2 + 2.25**2) / 4)])
    assert score_error(np.zeros((2, 2), np.float32), truth, everywhere).tolist() == [1, 1]
    missing = np.array([[True, True], [True, False]])
    found = np.where(missing, truth, -np.inf).astype(np.float32)
    assert score_error(found, truth, missing).tolist() == [0, 0]


def test_score_loss_by_hand() -> None:
    best = np.array([[4, 3, 3], [-1, -2, -3]], dtype=np.float32)
    found = np.array([[3, 4, 2], [-2, -3, -4]], dtype=np.float32)
    assert score_loss(found, best) == pytest.approx([0.1, 0.5])
    assert score_loss(best[:, ::-1], best).tolist() == [0, 0]


def test_true_scores_are_those_of_the_search() -> None:
    docs, queries = clustered_vectors(3000, 40, seed=1), clustered_vectors(700, 40, seed=2)
    scores, rows = topk.search(queries, [(0, docs)], 10)
    rows[3, 9], scores[3, 9] = -1, 0
    assert np.array_equal(true_scores(queries, docs, rows), scores)


def test_fidelity_falls_as_bytes_do(small_collection: Path, tmp_path: Path) -> None:
    """And the record of a judged collection has every metric there is."""

    def means(*overrides: str) -> dict[str, float]:
        vectors = [f"dataset.path={small_collection}", f"model.path={small_collection / 'vectors.safetensors'}"]
        places = [f"results_dir={tmp_path}", f"cache_dir={tmp_path / 'cache'}"]
        with initialize_config_module("configs", version_base="1.3"):
            cfg = compose("config", overrides=["dataset=folder", "model=vectors", *vectors, *places, *overrides])
        return Store(tmp_path).read(run(cfg, "x")).metrics

    exact, fine, coarse = means("method=float32"), means("method=int8"), means("method=binary")
    assert set(exact) == set(metric_names())
    assert {name: exact[name] for name in FIDELITY} == pytest.approx(PERFECT)
    for name in FIDELITY:
        assert abs(fine[name] - PERFECT[name]) <= abs(coarse[name] - PERFECT[name]), name
    assert coarse["overlap_at_10"] < coarse["top10_recall_at_20"] < coarse["top10_recall_at_40"]
    assert coarse["rbo"] < 0.9 and coarse["kendall_tau"] < 0.8 and coarse["score_loss_at_10"] > 0.001


@pytest.mark.usefixtures("empty_figures")
def test_vectors_without_judgements_or_a_model(tmp_path: Path) -> None:
    """One file of vectors is all it takes, from the command to the report."""
    np.save(tmp_path / "mine.npy", clustered_vectors(400, 16))
    overrides = ["dataset=vectors", f"dataset.docs={tmp_path / 'mine.npy'}", "dataset.held_out=50"]
    places = [f"results_dir={tmp_path}", f"cache_dir={tmp_path / 'cache'}"]
    for method in ("float32", "int8", "binary_hamming"):
        with initialize_config_module("configs", version_base="1.3"):
            cfg = compose("config", overrides=[f"method={method}", *overrides, *places])
        run(cfg, method, overrides)
    runs = load_runs(tmp_path).set_index("method")
    assert runs["model"].unique().tolist() == ["vectors"] and runs["n_docs"].unique().tolist() == [350]
    assert runs[["ndcg_at_10", "ndcg_at_10_ties", "retention"]].isna().all(axis=None)
    assert runs.loc["float32", list(FIDELITY)].to_dict() == pytest.approx(PERFECT)
    assert runs[list(FIDELITY)].notna().all(axis=None) and runs.loc["binary_hamming", "tie_at_10"] > 0.5
    written = {path.name: path for path in write_report(load_runs(tmp_path), tmp_path / "report")}
    assert "without relevance judgements" in written["mine-heldout50--vectors.md"].read_text()
    assert "top10_recall_at_40" in written["mine-heldout50--vectors.csv"].read_text().splitlines()[0]


def test_an_explicit_model_is_kept() -> None:
    def model(*overrides: str) -> object:
        with initialize_config_module("configs", version_base="1.3"):
            return compose("config", overrides=list(overrides)).model

    vectors = ("dataset=vectors", "dataset.docs=x.npy")
    assert model(*vectors) == model("model=vectors") != model("model=minilm") == model("model=minilm", *vectors)
