"""Frozen, few-shot and fully fitted, side by side."""

import numpy as np
import pytest

from harness.analysis.feet import feet
from harness.analysis.settings import pages
from harness.analysis.significance import with_intervals
from harness.analysis.statistics import compare
from harness.report.feet_view import feet_views
from tests.harness.analysis.test_recommend import EXACT, Records, losing


def records() -> Records:
    found = Records().add("float32", 1536, EXACT)
    # of the two that learn nothing the better one is what frozen means; the third has other bytes
    found.add("eden bits=1", 48, losing(0.2)).add("binary", 48, losing(0.4)).add("eden bits=2", 96, losing(0.05))
    found.add("pq4 fit_sample=64 m=96", 48, losing(0.3)).add("pq4 fit_sample=256 m=96", 48, losing(0.1))
    return found.add("pq4 m=96", 48, losing(0.08)).add("itq dim=384", 48, losing(0.1))


def test_the_change_is_against_the_best_frozen_code_of_the_same_bytes() -> None:
    (found,) = feet(pages(records().frame()))
    assert found.shots == (64, 256) and found.table["setting"].tolist() == ["pq4 m=96"], "itq was fitted on all alone"
    row = found.table.iloc[0]
    assert row["frozen_setting"] == "eden bits=1"
    expected = {"shot_64": 0.7, "shot_256": 0.9, "full": 0.92}
    for key, kept in expected.items():
        assert row[key] == pytest.approx(kept * EXACT.mean())
        assert row[f"{key}_change"] == pytest.approx(kept / 0.8 - 1)


def test_changes_have_the_intervals_of_paired_queries() -> None:
    made = records()
    made.queries["scifact-pq4 fit_sample=64 m=96-".replace(" ", "-")]["ndcg_at_10"] = losing(0.3, 0.01)
    (page,) = (with_intervals(page, made.queries.__getitem__) for page in pages(made.frame()))
    (found,) = feet([page])
    row = found.table.iloc[0]
    ratio = compare([losing(0.3, 0.01)], losing(0.2)).ratio
    assert row["shot_64_change_low"] == pytest.approx(ratio.low[0] - 1)
    assert row["shot_64_change_high"] == pytest.approx(ratio.high[0] - 1)
    assert row["shot_64_change_low"] < row["shot_64_change"] < row["shot_64_change_high"]
    # a fixed share of every query's score has no spread
    assert row["full_change_low"] == pytest.approx(row["full_change"]) == pytest.approx(row["full_change_high"])
    assert "-12.5 (" in feet_views([page])[1].markdown()


def test_what_left_the_collection_or_came_from_another_is_another_question() -> None:
    other = records().add("pq4 fit_sample=64 fit_disjoint=true m=96", 48, losing(0.9))
    other.add("pq4 fit_dataset=x m=96", 48, losing(0.9))
    (found,) = feet(pages(other.frame()))
    assert found.table["shot_64"].iloc[0] == pytest.approx(0.7 * EXACT.mean())
    assert found.table["full"].iloc[0] == pytest.approx(0.92 * EXACT.mean())


def test_tables_and_their_deltas() -> None:
    table, delta = feet_views(pages(records().frame()))
    assert "64 documents" in table.markdown() and "-12.5" in delta.markdown() and "+15.0" in delta.markdown()
    assert feet_views(pages(Records().add("float32", 1536, EXACT).frame())) == []


def test_without_a_frozen_code_of_the_bytes_the_change_is_unknown() -> None:
    found = Records().add("float32", 1536, EXACT).add("pq4 fit_sample=64 m=96", 48, losing(0.3))
    (alone,) = feet(pages(found.frame()))
    assert np.isnan(alone.table["shot_64_change"].iloc[0]) and alone.table["frozen_setting"].iloc[0] == ""
