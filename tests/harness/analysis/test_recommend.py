"""Answers that are known beforehand, from made-up records."""

import contextlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import cli
from harness.analysis import recommend, statistics
from harness.analysis.needs import Needs
from harness.analysis.recommend import Recommendation
from harness.base import formatting
from harness.base.errors import ConfigError, StoreError
from harness.report.recommendation import recommendation_text
from harness.runs import presets
from harness.runs.frame import load_runs
from harness.runs.portable_command import portable
from harness.runs.record import EMPTY, Identity, Record
from harness.runs.store import Store
from tests.harness.report.test_write import frame_of, run, unjudged

M = 200
PerQuery = Callable[[str], pd.DataFrame]
EXACT = np.random.default_rng(0).beta(2, 1, M)
BOTH_WAYS = np.where(np.arange(M) % 2, 1.0, -1.0)
"""Sums to zero: noise that moves no mean."""


def losing(share: float, noise: float = 0.0) -> np.ndarray:
    """Scores whose mean is float32's less this share, exactly; noise that is as often up as down."""
    return EXACT * (1 - share) + noise * BOTH_WAYS


class Records:
    """Runs and their queries' scores, made one by one."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.queries: dict[str, pd.DataFrame] = {}

    def add(self, name: str, size: float, scores: np.ndarray, **given: Any) -> "Records":
        method, _, params = name.partition(" ")
        run_id = f"{given.get('dataset', 'scifact')}-{name}-{given.get('seed', '')}".replace(" ", "-")
        ids = [f"q{number:04d}" for number in range(len(scores))]
        self.queries[run_id] = pd.DataFrame({"query_id": ids, "ndcg_at_10": scores, "overlap_at_10": scores})
        parts = {
            "dataset": "scifact",
            "method": method,
            "params": params,
            "code_bytes_per_vector": size,
            "resident_bytes_per_vector": size,
            "disk_bytes_per_vector": 0.0,
            "ndcg_at_10": float(np.mean(scores)),
            "overlap_at_10": float(np.mean(scores)),
            "n_queries": len(scores),
            "family": method,
            "fit_queries": "none",
            "command": f"vecbudget run method={name.replace(' ', ' method.')} results_dir=/tmp/x dataset=mteb",
        }
        self.rows.append(run(**{**parts, **given}) | {"run_id": run_id})
        return self

    def frame(self) -> pd.DataFrame:
        return frame_of(*self.rows).assign(run_id=[row["run_id"] for row in self.rows])

    def ask(self, **needs: Any) -> Recommendation:
        return recommend.recommend(self.frame(), Needs(**needs), self.queries.__getitem__)


def zoo() -> Records:
    """float32 and settings that lose 0.5, 5, 8 and 40 % of it: far apart, but for nothing else."""
    records = Records().add("float32", 1536, EXACT)
    records.add("int8", 384, losing(0.005, 0.01)).add("pq m=96", 96, losing(0.05, 0.02))
    return records.add("opq m=48", 48, losing(0.08, 0.02)).add("binary", 48, losing(0.4, 0.02))


def name(answer: Recommendation) -> str:
    assert answer.choice is not None, answer.why_none
    return answer.choice.name


def test_the_best_within_a_budget() -> None:
    answer = zoo().ask(max_bytes=64)
    assert name(answer) == "opq m=48" and answer.compared == 2 and answer.interchangeable == 1
    assert answer.choice and answer.choice.share and answer.runner_up
    assert answer.choice.quality.value == pytest.approx(0.92 * EXACT.mean())
    assert answer.choice.share.value == pytest.approx(0.92)
    assert answer.choice.share.low < 0.92 < answer.choice.share.high
    assert answer.runner_up.setting.name == "binary" and answer.runner_up.p < 0.001
    assert answer.runner_up.difference == pytest.approx(0.6 / 0.92 - 1)
    assert not answer.runner_up.interchangeable
    text = recommendation_text(answer)
    assert text.startswith("Recommended within 64 bytes of codes per vector: opq m=48\n")
    assert "92.0 % of float32's nDCG@10" in text and "48 bytes per vector, 32.0 times smaller" in text
    assert "binary (48 bytes) scores 34.78 % less, significantly (p < 0.001)" in text


@pytest.mark.parametrize("budget, expected", [(2000, "float32"), (400, "int8"), (100, "pq m=96"), (48, "opq m=48")])
def test_a_larger_budget_buys_what_is_significantly_better(budget: float, expected: str) -> None:
    # int8 scores less than float32 on every query but for noise
    records = zoo()
    records.queries["scifact-int8-"]["ndcg_at_10"] = losing(0.005)
    assert name(records.ask(max_bytes=budget)) == expected


def test_the_smaller_of_two_that_are_interchangeable() -> None:
    records = zoo().add("rq m=64", 64, losing(0.078, 0.05))
    answer = records.ask(max_bytes=64)
    assert name(answer) == "opq m=48" and answer.interchangeable == 2
    assert answer.runner_up and answer.runner_up.setting.name == "rq m=64"
    assert answer.runner_up.interchangeable and answer.runner_up.difference == pytest.approx(0.922 / 0.92 - 1)
    text = recommendation_text(answer)
    assert "rq m=64 (64 bytes) scores 0.22 % more, not significantly" in text
    assert "interchangeable, but takes 16 bytes more" in text
    assert "2 of 3 settings are interchangeable" in text


def test_one_percent_more_is_kept_even_if_queries_do_not_decide() -> None:
    records = zoo().add("rq m=64", 64, losing(0.06, 0.3))
    answer = records.ask(max_bytes=64)
    assert name(answer) == "rq m=64" and answer.interchangeable == 1
    assert answer.runner_up and answer.runner_up.setting.name == "opq m=48" and answer.runner_up.p > 0.05
    assert "too few queries to be sure" in recommendation_text(answer)


@pytest.mark.parametrize(
    "complication, said",
    [
        ({"seed": 0}, "random numbers"),
        ({"fit_queries": "807 train queries"}, "training queries"),
        ({"resident_bytes_per_vector": 16.0, "disk_bytes_per_vector": 32.0}, "a second tier"),
    ],
)
def test_the_simpler_of_two_that_are_interchangeable(complication: dict[str, Any], said: str) -> None:
    records = zoo().add("fancy", 48, losing(0.079, 0.04), **complication)
    answer = records.ask(max_bytes=64)
    assert name(answer) == "opq m=48"
    assert answer.runner_up and answer.runner_up.setting.name == "fancy"
    assert f"interchangeable, but needs {said}" in recommendation_text(answer)
    # plain, it is the higher score that decides
    assert name(zoo().add("fancy", 48, losing(0.079, 0.04)).ask(max_bytes=64)) == "fancy"


@given(st.permutations(range(5)))
@settings(deadline=None, max_examples=10)
def test_the_order_of_records_and_exact_ties_change_nothing(order: list[int]) -> None:
    records = Records().add("float32", 1536, EXACT).add("b", 48, losing(0.08)).add("a", 48, losing(0.08))
    records.add("a m=1", 48, losing(0.08)).add("c", 48, losing(0.08), state_bytes=500_000)
    records.rows = [records.rows[place] for place in order]
    answer = records.ask(max_bytes=64)
    assert name(answer) == "a" and answer.interchangeable == 4
    assert answer.runner_up and answer.runner_up.difference == 0 and answer.runner_up.setting.name == "b"
    assert "b (48 bytes) scores the same: interchangeable" in recommendation_text(answer)


def test_the_smallest_that_keeps_enough() -> None:
    answer = zoo().ask(min_retention=0.9)
    assert name(answer) == "opq m=48" and answer.choice and answer.choice.share
    assert 0.9 <= answer.choice.bound < answer.choice.share.value
    assert answer.runner_up and answer.runner_up.setting.name == "pq m=96"
    assert answer.near_miss is None
    text = recommendation_text(answer)
    assert "to keep 90 % of float32's nDCG@10 with 95 % confidence: opq m=48" in text
    assert "pq m=96 (96 bytes) keeps it too (at least 94." in text and "takes 48 bytes more" in text


def test_a_smaller_one_that_came_close() -> None:
    records = zoo().add("noisy", 24, losing(0.005, 0.5))
    answer = records.ask(min_retention=0.94)
    assert name(answer) == "pq m=96"
    assert answer.near_miss and answer.near_miss.name == "opq m=48"
    assert answer.near_miss.bound < 0.94
    assert "opq m=48 (48 bytes) keeps 92 % as measured, but only 91." in recommendation_text(answer)
    # measured, the noisy one keeps 99.5 %; its queries do not say so
    noisy = zoo().add("noisy", 60, losing(0.005, 0.8)).ask(min_retention=0.94, confidence=0.6)
    assert name(noisy) == "noisy"


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
def test_the_bound_is_one_sided_of_the_ratio(confidence: float) -> None:
    records = zoo()
    choice = records.ask(min_retention=0.9, confidence=confidence, max_bytes=48).choice
    assert choice is not None
    values = records.queries["scifact-opq-m=48-"]["ndcg_at_10"].to_numpy()
    if confidence == 0.95:
        assert choice.bound == pytest.approx(1 - statistics.compare(values[None], EXACT).loss_bound[0], abs=1e-6)
    # to first order, a normal quantile below the estimate
    from scipy.special import ndtri

    error = np.std(values - 0.92 * EXACT) / EXACT.mean() / np.sqrt(M)
    assert choice.bound == pytest.approx(0.92 - ndtri(confidence) * error, abs=0.15 * error)


def test_all_of_float32_is_kept_by_what_scores_the_same() -> None:
    assert name(zoo().ask(min_retention=1)) == "float32"
    assert name(zoo().add("float16", 768, EXACT).ask(min_retention=1)) == "float16"


def test_nothing_keeps_enough() -> None:
    answer = zoo().ask(min_retention=0.99, max_bytes=64)
    assert answer.choice is None and answer.reproduce == "" and answer.export == ""
    assert answer.near_miss and answer.near_miss.name == "opq m=48"
    text = recommendation_text(answer)
    assert text.startswith(
        "No recommendation: nothing on record within 64 bytes of codes per vector is sure to keep 99 % of"
    )
    assert "opq m=48 (48 bytes) keeps 92 % as measured, but only 91." in text


def test_what_misses_a_share_is_not_written_as_that_share() -> None:
    assert formatting.at_least(0.98999) == "98.99 %"
    assert formatting.at_least(0.99) == "99 %"


def test_sizes_within_a_byte_are_one_size() -> None:
    records = Records().add("float32", 1536, EXACT).add("a", 96, losing(0.03, 0.02), seed=0)
    records.add("b", 96, losing(0.01, 0.02), state_bytes=600_000).add("c", 98, losing(0.0))
    answer = records.ask(min_retention=0.95)
    assert name(answer) == "b" and answer.runner_up and answer.runner_up.setting.name == "a"
    assert "keeps it too" in recommendation_text(answer) and "needs random numbers" in recommendation_text(answer)


def several(datasets: Mapping[str, int] | None = None) -> Records:
    """Three settings on collections that keep more of them from one to the next."""
    records = Records()
    for place, (dataset, m) in enumerate((datasets or {"one": 150, "two": 200, "three": 250, "four": 120}).items()):
        rng = np.random.default_rng(place)
        exact = rng.beta(2, 1 + place, m)
        given = {"dataset": dataset, "n_docs": 1000 * (place + 1)}
        records.add("float32", 1536, exact, **given)
        records.add("opq m=48", 48, exact * (1 - 0.02 * place) + 0.02 * rng.standard_normal(m), **given)
        records.add("binary", 48, exact * (1 - 0.1 * place) + 0.02 * rng.standard_normal(m), **given)
    return records


def test_over_several_collections() -> None:
    records = several()
    answer = records.ask(max_bytes=64)
    assert name(answer) == "opq m=48" and answer.choice and answer.choice.share and answer.choice.lowest
    scores = {run_id: frame["ndcg_at_10"].to_numpy() for run_id, frame in records.queries.items()}
    names = ("four", "three", "two", "one")
    shares = [scores[f"{place}-opq-m=48-"].mean() / scores[f"{place}-float32-"].mean() for place in names]
    assert answer.choice.share.value == pytest.approx(np.mean(shares))
    assert answer.choice.lowest == (pytest.approx(min(shares)), "four")
    quality = statistics.macro_interval([scores[f"{place}-opq-m=48-"][None] for place in names])
    assert answer.choice.quality == pytest.approx((quality.estimate[0], quality.low[0], quality.high[0]))
    # the collections differ by more than their queries
    assert answer.choice.share.low < np.mean(shares) - 0.01
    assert answer.runner_up and answer.runner_up.p < 0.001
    assert [one.dataset for one in answer.collections] == ["four", "three", "two", "one"]
    text = recommendation_text(answer)
    assert "means over 4 collections" in text and "on four" in text and "too narrow" in text
    assert not answer.thin


def test_a_setting_must_be_measured_everywhere() -> None:
    records = several().add("best", 48, np.ones(150), dataset="one", n_docs=1000)
    answer = records.ask(max_bytes=64)
    assert name(answer) == "opq m=48"
    assert "1 setting not measured on all 4 collections left out" in recommendation_text(answer)
    assert name(records.ask(max_bytes=64, datasets=("one",))) == "best"
    lonely = Records().add("a", 48, EXACT, dataset="one").add("b", 48, EXACT, dataset="two")
    answer = lonely.ask(max_bytes=64)
    assert answer.choice is None and "no setting was measured on all collections" in answer.why_none


def test_the_bound_over_collections_is_of_the_same_bootstrap_as_the_interval() -> None:
    rng = np.random.default_rng(3)
    scores = [rng.random((2, m)) for m in (40, 60, 80)]
    low = np.quantile(statistics.macro_means(scores), 0.025, axis=1)
    assert low == pytest.approx(statistics.macro_interval(scores).low)
    records = several()
    kept = records.ask(min_retention=0.8, confidence=0.975).choice
    assert kept is not None and kept.share is not None and kept.name == "opq m=48"
    assert kept.bound == pytest.approx(kept.share.low, abs=1e-6)
    assert records.ask(min_retention=0.99, confidence=0.9, max_bytes=64).choice is None


def test_memory_is_for_what_must_be_resident() -> None:
    tiers = {"resident_bytes_per_vector": 48.0, "disk_bytes_per_vector": 384.0}
    records = zoo().add("rescore", 432, losing(0.001), **tiers)
    answer = records.ask(ram_bytes=8e9, corpus_size=40_000_000)
    assert name(answer) == "rescore" and answer.choice
    assert answer.choice.memory_bytes == 48 * 40e6 and answer.choice.index_bytes == 432 * 40e6
    text = recommendation_text(answer)
    assert "within 8 GB of memory for 40,000,000 vectors (200 bytes each)" in text
    assert "1.92 GB of 8 GB for 40,000,000 vectors, and 15.4 GB on disk" in text
    assert name(records.ask(ram_bytes=8e9, corpus_size=40_000_000, max_bytes=200)) == "pq m=96"
    # shared state must be resident once
    assert name(zoo().ask(ram_bytes=100e3, corpus_size=1000)) == "pq m=96"
    heavy = Records().add("float32", 1536, EXACT).add("a", 50, EXACT, state_bytes=60_000).add("b", 60, losing(0.01))
    assert name(heavy.ask(ram_bytes=100e3, corpus_size=1000)) == "b"
    assert name(heavy.ask(ram_bytes=115e3, corpus_size=1000)) == "a"


def test_the_state_is_spread_over_the_corpus_that_is_asked_for() -> None:
    records = Records().add("float32", 1536, EXACT).add("a", 48, losing(0.01), state_bytes=3_000_000)
    records.add("b", 48, losing(0.1))
    assert name(records.ask(max_bytes=49)) == "b"
    answer = records.ask(max_bytes=49, corpus_size=100_000_000)
    assert name(answer) == "a" and answer.choice and answer.choice.bytes_per_vector == pytest.approx(48.03)
    assert answer.choice.index_bytes == 48 * 100_000_000 + 3_000_000
    assert "4.8 GB for 100,000,000 vectors" in recommendation_text(answer)


def test_search_time_grows_with_the_corpus() -> None:
    records = Records().add("float32", 1536, EXACT, search_seconds=2.0, n_docs=5000)
    records.add("a", 64, losing(0.01), search_seconds=1.0, n_docs=5000)
    records.add("b", 64, losing(0.05), search_seconds=0.2, n_docs=5000)
    records.add("c", 64, EXACT, search_seconds=np.nan, n_docs=5000)
    assert name(records.ask(max_bytes=64, max_query_ms=5.1)) == "a"
    answer = records.ask(max_bytes=64, max_query_ms=5.1, corpus_size=10_000)
    assert name(answer) == "b" and answer.choice and answer.choice.query_ms == pytest.approx(2.0)
    assert "2 ms a query" in recommendation_text(answer)
    none = records.ask(max_bytes=64, max_query_ms=0.5)
    assert none.choice is None
    assert "nothing on record is within 0.5 ms a query: b, which needs least, needs 1 ms" in none.why_none


def test_nothing_fits() -> None:
    answer = zoo().ask(max_bytes=8)
    assert answer.choice is None and answer.compared == 0
    assert (
        answer.why_none
        == "nothing on record is within 8 bytes of codes per vector: binary, which needs least, needs 48 bytes"
    )
    at_once = Records().add("a", 48, EXACT, search_seconds=9.0).add("b", 96, EXACT, search_seconds=0.1)
    answer = at_once.ask(max_bytes=48, max_query_ms=1)
    assert answer.why_none == "nothing on record is within 48 bytes of codes per vector and within 1 ms a query at once"


def test_thin_evidence_is_called_thin() -> None:
    answer = zoo().ask(max_bytes=64, corpus_size=40_000_000)
    assert len(answer.thin) == 2
    assert "1 collection only" in answer.thin[0] and "at most 5,183 documents: 40,000,000" in answer.thin[1]
    assert zoo().ask(max_bytes=64, corpus_size=50_000).thin == answer.thin[:1]
    few = several({"one": 150, "two": 99, "three": 250}).ask(max_bytes=64)
    assert few.thin == ("fewer than 100 queries tell little: 99 on two",)
    text = recommendation_text(few)
    assert "  thin       fewer than 100 queries" in text


def test_the_number_of_settings_compared_is_said() -> None:
    records = zoo()
    for number in range(20):
        records.add(f"saq nbytes={number}", 60, losing(0.2 + number / 100, 0.01))
    answer = records.ask(max_bytes=64)
    assert answer.compared == 22
    assert "the highest of 22 settings on the same queries had some luck" in recommendation_text(answer)
    assert "corrected for 21" in recommendation_text(answer)
    kept = records.ask(min_retention=0.7)
    assert "25 settings were tested on the same queries" in recommendation_text(kept)


def test_seeds_are_averaged_and_one_seed_is_too_few() -> None:
    records = Records().add("float32", 1536, EXACT)
    for seed, loss in enumerate((0.01, 0.02, 0.06)):
        records.add("pq m=48", 48, losing(loss), seed=seed)
    answer = records.ask(max_bytes=64)
    assert answer.choice and answer.choice.runs == 3 and answer.choice.share
    assert answer.choice.share.value == pytest.approx(0.97)
    assert not any("one seed" in note for note in answer.notes)
    records.rows = records.rows[:2]
    assert any("one seed" in note for note in records.ask(max_bytes=64).notes)


def test_unknown_figures_are_left_out() -> None:
    records = zoo().add("best", 48, np.full(M, np.nan)).add("sizeless", np.nan, EXACT)
    records.add("other queries", 48, np.ones(M - 1), n_queries=M).add("gone", 48, np.ones(M))
    del records.queries["scifact-gone-"]
    records.rows[-1]["retention"] = np.nan
    frame = pd.concat([records.frame(), records.frame()], ignore_index=True)  # the same runs in two folders
    failed = frame.iloc[[0]].assign(run_id="bad", status="failed", method="failed", error="MemoryError")
    frame = pd.concat([frame, failed], ignore_index=True)

    def per_query(run_id: str) -> pd.DataFrame:
        if run_id not in records.queries:
            raise FileNotFoundError(run_id)
        return records.queries[run_id]

    answer = recommend.recommend(frame, Needs(max_bytes=64), per_query)
    assert name(answer) == "opq m=48" and answer.compared == 2
    assert "3 settings without these queries' scores on record left out" in answer.notes
    with pytest.raises(StoreError, match="measure them again"):
        recommend.recommend(frame[frame["method"] == "gone"], Needs(max_bytes=64), per_query)


def test_what_is_not_to_be_used_is_not_recommended() -> None:
    records = zoo().add("corect_bins", 48, EXACT, family="convention")
    records.add("pq fit_sample=100 m=48", 48, EXACT).add("rq fit_dataset=nq m=48", 48, EXACT)
    assert name(records.ask(max_bytes=64)) == "opq m=48"
    only = Records().add("pq fit_sample=100 m=48", 48, EXACT)
    with pytest.raises(StoreError, match="fitted elsewhere"):
        only.ask(max_bytes=64)


def test_collections_without_judgements() -> None:
    records = zoo()
    for frame in records.queries.values():
        frame["ndcg_at_10"] = np.nan
    answer = recommend.recommend(unjudged(records.frame()), Needs(min_retention=0.5), records.queries.__getitem__)
    overlap = {row["method"]: row["overlap_at_10"] for row in records.rows}
    assert answer.choice and answer.choice.name == "opq m=48" and answer.measure == "overlap@10"
    assert answer.choice.quality.value == pytest.approx(overlap["opq"])
    assert "to keep 50 % of overlap@10 with 95 % confidence" in recommendation_text(answer)
    # where others have judgements, they count alone
    other = unjudged(records.frame()).assign(dataset="gloss", n_docs=9000, run_id=lambda rows: "x-" + rows["run_id"])
    mixed = pd.concat([other, zoo().frame()], ignore_index=True)
    answer = recommend.recommend(mixed, Needs(max_bytes=64), zoo().queries.__getitem__)
    assert [one.dataset for one in answer.collections] == ["scifact"]
    assert any("no relevance judgements" in note for note in answer.notes)


def test_without_float32_there_is_no_share() -> None:
    records = zoo()
    records.rows = records.rows[1:]
    answer = records.ask(max_bytes=64)
    assert name(answer) == "opq m=48" and answer.choice and answer.choice.share is None
    text = recommendation_text(answer)
    assert "of float32's nDCG" not in text and "float32 was not measured" in text
    with pytest.raises(ConfigError, match="needs float32's scores on scifact"):
        records.ask(min_retention=0.9)
    some = several()
    some.rows = [row for row in some.rows if (row["dataset"], row["method"]) != ("two", "float32")]
    with pytest.raises(ConfigError, match="needs float32's scores on two: measure"):
        some.ask(min_retention=0.9)


@pytest.mark.parametrize(
    ("representation", "plain"),
    [("vectors", "float32"), ("terms", "sparse_float32"), ("tokens", "tokens_float32"), ("hybrid", "float32")],
)
def test_what_was_not_measured_is_named_by_what_the_model_gives(representation: str, plain: str) -> None:
    records = Records().add("one", 48, losing(0.1), representation=representation)
    records.add("another", 96, losing(0.05), representation=representation)
    (note,) = [note for note in records.ask(max_bytes=128).notes if "was not measured" in note]
    assert note.startswith(f"{plain} was not measured") and note.endswith(f"vecbudget run method={plain}")
    with pytest.raises(ConfigError, match=f"needs {plain}'s scores on scifact: .*method={plain}'"):
        records.ask(min_retention=0.5)


def test_one_setting_alone_has_no_runner_up() -> None:
    answer = Records().add("float32", 1536, EXACT).ask(max_bytes=2000)
    assert name(answer) == "float32" and answer.runner_up is None
    assert "none: nothing else on record will do" in recommendation_text(answer)


def test_all_scores_zero() -> None:
    nothing = np.zeros(M)
    answer = Records().add("float32", 1536, nothing).add("a", 48, nothing).add("b", 96, nothing).ask(max_bytes=100)
    assert name(answer) == "a" and "scores the same" in recommendation_text(answer)


def test_several_models_must_be_told_apart() -> None:
    frame = pd.concat([zoo().frame(), zoo().frame().assign(model="e5")], ignore_index=True)
    frame["run_id"] = [f"{model}-{run_id}" for model, run_id in zip(frame["model"], frame["run_id"], strict=True)]
    per_query = {f"{model}-{key}": value for model in ("e5", "minilm") for key, value in zoo().queries.items()}
    with pytest.raises(ConfigError, match="choose one by --model: e5, minilm"):
        recommend.recommend(frame, Needs(max_bytes=64), per_query.__getitem__)
    answer = recommend.recommend(frame, Needs(max_bytes=64, model="e5"), per_query.__getitem__)
    assert answer.collections[0].model == "e5"


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"--dataset: nothing was measured on 'scifat'; did you mean 'scifact'\?"):
        zoo().ask(max_bytes=64, datasets=("scifat",))
    with pytest.raises(ConfigError, match="--model: nothing was measured on 'x'; on record are: minilm"):
        zoo().ask(max_bytes=64, model="x")


@pytest.mark.parametrize(
    "typed, message",
    [
        ({}, "say what is needed: --max-bytes 64, --min-retention 0.99, or --ram 8GB with --corpus-size 40e6"),
        ({"max_bytes": "x"}, "--max-bytes must be a number of bytes per vector such as 64, got 'x'"),
        ({"max_bytes": "nan"}, "--max-bytes must be a number of bytes per vector such as 64, got 'nan'"),
        ({"max_bytes": "-1"}, "--max-bytes must be above 0, such as 64, got -1"),
        ({"max_bytes": "inf"}, "--max-bytes must be above 0, such as 64, got inf"),
        ({"min_retention": "99"}, "--min-retention must be above 0 and at most 1 (99 % is 0.99), got 99"),
        ({"min_retention": "0.9", "confidence": "95"}, "--confidence must be 0.5 to 0.999 (95 % is 0.95), got 95"),
        ({"max_bytes": "9", "confidence": "0.9"}, "--confidence goes with --min-retention"),
        ({"ram": "x", "corpus_size": "1e6"}, "--ram must be like 8GB or 512MB, got 'x'"),
        ({"ram": "8", "corpus_size": "1e6"}, "--ram must be like 8GB or 512MB, got '8'"),
        ({"ram": "8iB", "corpus_size": "1e6"}, "--ram must be like 8GB or 512MB, got '8iB'"),
        ({"ram": "0GB", "corpus_size": "1e6"}, "--ram must be above 0, such as 8GB, got 0"),
        ({"ram": "8GB"}, "--ram needs --corpus-size"),
        (
            {"max_bytes": "9", "corpus_size": "many"},
            "--corpus-size must be a number of vectors such as 40e6, got 'many'",
        ),
        (
            {"max_bytes": "9", "corpus_size": "0.5"},
            "--corpus-size must be at least 1 and finite, such as 40e6, got 0.5",
        ),
        ({"max_bytes": "9", "corpus_size": "inf"}, "--corpus-size must be at least 1 and finite"),
        ({"max_bytes": "9", "max_query_ms": "0"}, "--max-query-ms must be above 0, such as 5, got 0"),
    ],
)
def test_values_without_meaning_are_refused_in_one_line(typed: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Needs.parse(**typed)  # type: ignore[arg-type]
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "typed, expected",
    [("8GB", 8e9), ("512MB", 512e6), ("1.5 tb", 1.5e12), ("8GiB", 8 * 2**30), ("100b", 100), (".5kB", 500)],
)
def test_amounts_of_memory(typed: str, expected: float) -> None:
    assert Needs.parse(ram=typed, corpus_size="40e6").ram_bytes == expected


def test_what_is_typed_is_what_is_needed() -> None:
    needs = Needs.parse(min_retention="0.99", corpus_size="40e6", datasets=["a", "b", "a"], max_query_ms="5")
    assert needs == Needs(min_retention=0.99, corpus_size=40_000_000, datasets=("a", "b"), max_query_ms=5.0)
    assert needs.level == 0.95 and Needs(max_bytes=1).size == 1_000_000


@pytest.mark.parametrize(
    "command, expected",
    [
        ("vecbudget run method=pq method.m=48 results_dir=/tmp/x cache_dir=~/c", "vecbudget run method=pq method.m=48"),
        ("vecbudget run seed=1 experiment=quick keep_index=true overwrite=true", "vecbudget run seed=1"),
        (
            "vecbudget run method=pq experiment=zoo dataset=folder dataset.path=/home/me/data/nq",
            "vecbudget run method=pq dataset=folder dataset.path=PATH/nq",
        ),
        (r"""vecbudget run '+model.path="C:\data\v.npy"'""", "vecbudget run +model.path=PATH/v.npy"),
        ("vecbudget run dataset=folder dataset.path=data/nq", "vecbudget run dataset=folder dataset.path=data/nq"),
        ("vecbudget run 'dataset.name=my data'", "vecbudget run 'dataset.name=my data'"),
        ("vecbudget run --config-dir /home/me/tuned method=t", "vecbudget run --config-dir PATH/tuned method=t"),
    ],
)
def test_a_command_is_free_of_the_machine(command: str, expected: str) -> None:
    assert portable(command, "stdlib") == expected


def test_an_experiment_stays_where_it_alone_names_the_collection() -> None:
    assert portable("vecbudget run method=pq experiment=zoo", "nq") == "vecbudget run method=pq experiment=zoo"
    answer = zoo().ask(max_bytes=64)
    assert answer.reproduce == "vecbudget run method=opq method.m=48 dataset=mteb"
    assert answer.export == answer.reproduce + " keep_index=true overwrite=true"


def vecbudget(*arguments: str, cwd: Path) -> None:
    with contextlib.chdir(cwd):
        assert cli.main(arguments) == 0


def measure(collection: Path, vectors: Path, methods: str, results: Path, cwd: Path) -> None:
    own = ["dataset=folder", f"dataset.path={collection}", "model=vectors", f"model.path={vectors}"]
    folders = [f"cache_dir={cwd / 'cache'}", f"results_dir={results}"]
    vecbudget("sweep", f"method={methods}", *own, *folders, cwd=cwd)


def test_the_command_and_what_it_says_to_run(
    small_collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = small_collection / "vectors.safetensors"
    measure(small_collection, vectors, "float32,int8", tmp_path / "a", tmp_path)
    measure(small_collection, vectors, "int4", tmp_path / "b", tmp_path)
    capsys.readouterr()
    folders = ["--results", str(tmp_path / "a"), str(tmp_path / "b")]
    assert cli.main(["recommend", "--max-bytes", "32", *folders]) == 0
    said = dict(line.strip().split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert "fewer than 100 queries" in said["thin"] or "PATH is where" in said["note"]
    export = said["export"].replace(f"PATH/{small_collection.name}", str(small_collection))
    export = export.replace(f"PATH/{vectors.name}", str(vectors))
    assert "PATH" not in export
    # a record that exists does not keep the command from leaving its index
    vecbudget(
        *shlex.split(export)[1:], f"results_dir={tmp_path / 'a'}", f"cache_dir={tmp_path / 'cache'}", cwd=tmp_path
    )
    capsys.readouterr()
    assert len(list((tmp_path / "a").glob("runs/*/index/codes.safetensors"))) == 1
    assert cli.main(["recommend", "--max-bytes", "1", *folders]) == 1
    assert "No recommendation" in capsys.readouterr().out
    assert cli.main(["recommend", "--max-bytes", "1", "--results", str(tmp_path / "none")]) == 1
    assert "no runs are on record in" in capsys.readouterr().err


def test_on_real_records_of_scifact(shared_data: Path, tmp_path: Path) -> None:
    collection = shared_data / "scifact"
    vectors = collection / "minilm.safetensors"
    if not vectors.is_file():
        pytest.skip("the vectors of SciFact are not here")
    measure(collection, vectors, "float32,float16,int8,int4,binary,truncate192_int8", tmp_path, tmp_path)
    frame, per_query = load_runs(tmp_path), Store(tmp_path).per_query
    smallest = recommend.recommend(frame, Needs(max_bytes=48), per_query)
    assert name(smallest) == "binary" and smallest.runner_up is None
    kept = recommend.recommend(frame, Needs(min_retention=0.95), per_query)
    assert kept.choice and kept.choice.share and kept.near_miss
    assert kept.choice.name == "int4" and kept.choice.bound >= 0.95
    exact, int4 = (
        per_query(frame.set_index("method").loc[method, "run_id"]).set_index("query_id")["ndcg_at_10"]
        for method in ("float32", "int4")
    )
    expected = statistics.compare(int4[exact.index].to_numpy()[None], exact.to_numpy())
    assert kept.choice.share.value == pytest.approx(int4.mean() / exact.mean())
    assert kept.choice.bound == pytest.approx(1 - expected.loss_bound[0], abs=2e-3)
    assert recommendation_text(kept).count("\n") < 20


def of_store(**needs: Any) -> Recommendation:
    """A recommendation among a made-up store's settings; the project has pq and float32."""
    records = Records().add("float32", 1536, EXACT).add("pq m=48", 48, losing(0.08, 0.02))
    records.add("qdrant_int8", 388, losing(0.001, 0.02)).add("qdrant_turbo4", 200, losing(0.05, 0.02))
    # with what is read again on disk
    records.add("qdrant_binary", 48, losing(0.3, 0.02), code_bytes_per_vector=1584.0, disk_bytes_per_vector=1536.0)
    records.add("usearch_i8", 384, losing(0.01, 0.02)).add("weaviate_sq", 392, losing(0.0, 0.0))
    rows = {row["run_id"]: row for row in records.rows}

    def record(run_id: str) -> Record:
        row = rows[run_id]
        identity = {**presets.preset_identity(row["method"]), **({"made up": row["params"]} if row["params"] else {})}
        method = replace(EMPTY.method, name=row["method"], params=row["params"])
        return replace(EMPTY, identity=Identity(method=identity), method=method)

    return recommend.recommend(records.frame(), Needs.parse(**needs), records.queries.__getitem__, record)


def test_a_database_limits_the_choice_to_its_presets() -> None:
    answer = of_store(database="qdrant", ram="14GB", corpus_size="40e6")
    assert name(answer) == "qdrant_turbo4" and answer.compared == 2, "qdrant_int8 needs more than 350 bytes"
    assert answer.runner_up is not None and answer.runner_up.setting.name == "qdrant_binary"
    assert name(of_store(database="Qdrant", ram="22GB", corpus_size="40e6")) == "qdrant_int8"


def test_memory_for_a_database_counts_its_graph() -> None:
    """By hand: 32 links on the lowest level and 16/15 above it, 4 bytes each, and 5 bytes for one document in 16."""
    graph = 4 * (32 + 16 / 15) + 5 / 16
    answer = of_store(database="qdrant", ram="8GB", corpus_size="40e6")
    assert name(answer) == "qdrant_binary", "200 bytes for qdrant_turbo4 leave none for links"
    assert answer.choice is not None and answer.choice.structure_bytes == pytest.approx(graph)
    assert answer.choice.memory_bytes == pytest.approx((48 + graph) * 40e6)
    text = recommendation_text(answer)
    assert "132.6 bytes a vector for Qdrant's index as it ships (HNSW, M=16), 180.6 bytes in all" in text
    assert "index=qdrant" in text
    assert of_store(database="qdrant", ram="7GB", corpus_size="40e6").choice is None, "codes alone would fit"


def test_for_a_database_bytes_are_those_in_memory() -> None:
    answer = of_store(database="qdrant", max_bytes="50")
    assert name(answer) == "qdrant_binary" and answer.choice is not None
    assert (answer.choice.bytes_per_vector, answer.choice.disk_bytes) == (48, 1536)
    assert answer.choice.compression == 32


def test_a_database_answer_says_what_the_project_would_keep_in_the_same_memory() -> None:
    answer = of_store(database="qdrant", max_bytes="50")
    assert answer.own is not None and answer.own.setting.name == "pq m=48"
    assert answer.own.difference == pytest.approx(0.92 / 0.7 - 1) and answer.own.p < 0.05
    text = recommendation_text(answer)
    assert "pq m=48 (48 bytes in memory), would keep 92.0 % of float32's nDCG@10" in text
    assert all(line in text for line in presets.presets()["qdrant_binary"].setting.splitlines())
    assert "documentation only" not in text, "its source was read"


def test_a_record_under_another_name_is_the_stores_own() -> None:
    answer = of_store(database="clickhouse", max_bytes="400")
    assert name(answer) == "clickhouse_i8" and "method=clickhouse_i8" in answer.reproduce
    assert answer.runner_up is None
    text = recommendation_text(answer)
    assert "documentation only" in text and "vector_similarity('hnsw'" in text
    exact = of_store(database="duckdb", max_bytes="1536")
    assert name(exact) == "duckdb_vss" and "method=duckdb_vss" in exact.reproduce
    assert exact.own is not None and exact.own.difference == 0


def test_a_database_and_a_share_to_keep() -> None:
    answer = of_store(database="qdrant", min_retention="0.9")
    assert name(answer) == "qdrant_turbo4", "the smallest in memory that keeps it"
    assert name(of_store(database="weaviate", min_retention="0.9")) == "weaviate_sq"


def test_an_unknown_database_and_one_without_records() -> None:
    with pytest.raises(ConfigError, match="there is no store 'pinecone'.*vecbudget list databases"):
        of_store(database="pinecone", max_bytes="50")
    with pytest.raises(StoreError, match="nothing of Elasticsearch is on record.*method=elasticsearch_"):
        of_store(database="elasticsearch", max_bytes="50")


def test_where_the_mean_document_is_long_the_switches_to_avoid_are_named() -> None:
    records = zoo().add("qdrant_binary", 48, losing(0.49, 0.02)).add("elasticsearch_bbq", 62, losing(0.002, 0.01))
    for row in records.rows:
        row["retention"] = row["ndcg_at_10"] / EXACT.mean()

    def ask(length: float | None) -> Recommendation:
        geometry = None if length is None else {"mean_length": length, "norm_spread": 0.0, "outlier_dimensions": 0}
        needs = Needs(max_bytes=64)
        return recommend.recommend(
            records.frame(), needs, records.queries.__getitem__, lambda _: replace(EMPTY, geometry=geometry)
        )

    text = recommendation_text(ask(0.9))
    assert "  vectors    the mean document of " in text
    assert "avoid qdrant_binary (keeps 51.0 % here)" in text and "elasticsearch_bbq (keeps 99.8 % here)" in text
    for length in (0.3, None):
        assert ask(length).geometry == () and "vectors  " not in recommendation_text(ask(length))
