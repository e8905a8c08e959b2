"""Models weighed with their bytes: the frontier over them, the tables, and the recommendation."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.encoders import encoders, frontier
from harness.analysis.needs import Needs
from harness.analysis.recommend_models import recommend_over_models
from harness.analysis.settings import pages
from harness.base.errors import ConfigError
from harness.report.encoders_view import encoder_views
from harness.report.figures.encoders import can_draw_encoders, draw_encoders
from harness.report.recommendation import models_text
from tests.harness.analysis.test_recommend import EXACT, Records, losing

LARGE: dict[str, Any] = {"model": "large", "model_bytes": 90e6, "model_doc_cpu_ms": 30.0, "model_docs_per_second": 33.0}
SMALL: dict[str, Any] = {"model": "small", "model_bytes": 8e6, "model_doc_cpu_ms": 0.1, "model_docs_per_second": 9000.0}


def add(records: Records, name: str, size: float, scores: np.ndarray, **given: Any) -> None:
    records.add(name, size, scores, **given)
    # `Records` knows one model: its run ids do not say which
    run_id = records.rows[-1]["run_id"]
    records.queries[f"{given['model']}-{run_id}"] = records.queries.pop(run_id)
    records.rows[-1]["run_id"] = f"{given['model']}-{run_id}"
    for end in ("low", "high"):
        for column in ("model_docs_per_second", "model_queries_per_second", "model_query_ms", "model_doc_cpu_ms"):
            records.rows[-1][f"{column}_{end}"] = given.get(column, np.nan)
    for column in ("model_queries_per_second", "model_query_ms", "model_peak_bytes", "query_model_bytes"):
        records.rows[-1].setdefault(column, np.nan)


def two_models(loss: float) -> Records:
    records = Records()
    for model, lost in ((LARGE, 0.0), (SMALL, loss)):
        add(records, "float32", 1536, losing(lost) if lost else EXACT, **model)
        add(records, "pq m=48", 48, losing(0.05 + lost, 0.001), **model)
    return records


def asked(records: Records, **needs: Any) -> Any:
    return recommend_over_models(records.frame(), Needs(**needs), records.queries.__getitem__)


def test_a_frontier_of_three_axes_by_hand() -> None:
    costs = [[48, 90], [48, 8], [96, 8], [48.5, 90], [np.nan, 8]]
    quality = [0.9, 0.7, 0.7, 0.9, 1.0]
    # the third has no more quality than the second; the fourth is the first but for a hundredth of its bytes
    assert frontier(costs, quality).tolist() == [True, True, False, False, False]


@given(st.lists(st.tuples(*[st.integers(1, 5)] * 3), min_size=1, max_size=12))
def test_whatever_is_not_on_the_frontier_is_beaten_by_something_on_it(rows: list[tuple[int, ...]]) -> None:
    costs, quality = np.array(rows)[:, :2], np.array(rows)[:, 2]
    on = frontier(costs, quality)
    for row in np.flatnonzero(~on):
        assert ((costs[on] <= costs[row]).all(axis=1) & (quality[on] >= quality[row])).any()
    for row in np.flatnonzero(on):
        better = (costs <= costs[row]).all(axis=1) & (quality >= quality[row])
        assert not (better & ((costs < costs[row]).any(axis=1) | (quality > quality[row]))).any()


def test_models_stand_side_by_side_and_older_records_are_left_out() -> None:
    records = two_models(0.2)
    add(records, "float32", 1536, EXACT, model="old", model_bytes=np.nan)
    (found,) = encoders(pages(records.frame()))
    assert found.models["model"].tolist() == ["small", "large"]
    assert found.models["setting_48"].tolist() == ["pq m=48"] * 2
    assert (
        found.frontier[["model", "setting"]].to_numpy().tolist()
        == [
            ["small", "pq m=48"],
            ["large", "pq m=48"],
            ["small", "float32"],
            ["large", "float32"],
        ]
        or len(found.frontier) >= 3
    )
    models, on = encoder_views(pages(records.frame()))
    assert "8.0 |" in models.markdown() and "9,000 (9,000–9,000)" in models.markdown()
    assert "large" in on.markdown()
    assert encoder_views(pages(frame_without_bytes(records))) == []


def test_models_are_drawn_by_their_bytes() -> None:
    (found,) = encoders(pages(two_models(0.2).frame()))
    assert can_draw_encoders(found)
    axes = draw_encoders(found).axes[0]
    names = [text.get_text() for text in axes.texts]
    assert names == ["small", "large"] and axes.get_xscale() == "log"
    whole = axes.lines[0]
    assert whole.get_xdata().tolist() == [8.0, 90.0] and np.allclose(whole.get_ydata(), found.models["whole"])
    ticks = [tick.get_text() for tick in axes.get_xticklabels(which="both")]
    assert "16" in ticks and not any("$" in tick for tick in ticks), "numbers, not the source of a formula"
    alone = two_models(0.2)
    alone.rows = [row for row in alone.rows if row["model"] == "small"]
    assert not can_draw_encoders(encoders(pages(alone.frame()))[0])


def frame_without_bytes(records: Records) -> Any:
    return records.frame().drop(columns="model_bytes")


def test_the_smaller_of_models_that_are_not_told_apart() -> None:
    choices, _ = asked(two_models(0.004), max_bytes=64, model_bytes=100e6)
    assert [choice.model for choice in choices] == ["large", "small"], "it loses on every query"
    noisy = two_models(0.0)
    rng = np.random.default_rng(1)
    table = noisy.queries["small-scifact-pq-m=48-"]
    table["ndcg_at_10"] = noisy.queries["large-scifact-pq-m=48-"]["ndcg_at_10"] + rng.normal(0, 0.01, len(table))
    choices, _ = asked(noisy, max_bytes=64, model_bytes=100e6)
    assert choices[0].model == "small" and choices[1].model == "large"
    text = models_text(choices, ["x: why"])
    assert text.startswith("Recommended model: small\n") and "8 MB, 9,000 documents/s" in text and "x: why" in text
    assert "pq m=48" in text


def test_a_limit_leaves_large_models_out() -> None:
    choices, notes = asked(two_models(0.3), max_bytes=64, model_bytes=50e6)
    assert [choice.model for choice in choices] == ["small"] and not notes
    with pytest.raises(ConfigError, match="the smallest, small, takes 8 MB"):
        asked(two_models(0.3), max_bytes=64, model_bytes=5e6)
    with pytest.raises(ConfigError, match="no record knows its model's bytes"):
        recommend_over_models(
            frame_without_bytes(two_models(0.3)), Needs(max_bytes=64, model_bytes=5e6), {}.__getitem__
        )


def test_model_bytes_do_not_go_with_a_share_of_one_models_score() -> None:
    with pytest.raises(ConfigError, match="--model-mb chooses among models"):
        Needs(min_retention=0.9, model_bytes=1e6)
    with pytest.raises(ConfigError, match="model-mb must be a number of megabytes"):
        Needs.parse(max_bytes="64", model_mb="small")
    with pytest.raises(ConfigError, match="model-mb must be above 0"):
        Needs.parse(max_bytes="64", model_mb="0")
    assert Needs.parse(max_bytes="64", model_mb="50").model_bytes == 50e6
