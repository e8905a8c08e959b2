from pathlib import Path

import numpy as np
import pytest

from harness.analysis import settings
from harness.analysis.significance import with_intervals
from harness.report.figures import overview, style
from harness.report.write import write_report
from tests.harness.analysis.test_significance import M, records
from tests.harness.report.test_write import measured


def pages_of(*datasets: str) -> list[settings.Page]:
    frame, per_query = records(datasets)
    return [with_intervals(page, per_query) for page in settings.pages(frame)]


def test_the_best_of_each_method_within_a_budget() -> None:
    pages = pages_of("a", "b")
    table = overview.kept_within(pages, 48)
    assert list(table.index) == ["opq", "pq", "binary"]
    kept = pages[1].settings.set_index("method").loc["pq", "retention"]
    assert table.loc["pq", 1] == pytest.approx(kept)
    # int8 has 384 bytes, and what fits 384 and takes 48 competes elsewhere
    assert list(overview.kept_within(pages, 384).index) == ["int8"]
    assert overview.heat_map_budgets(pages) == []
    assert overview.heat_map_budgets(pages[:1]) == []


def test_a_method_that_lacks_a_collection_comes_last() -> None:
    frame, per_query = records(("a", "b"))
    frame = frame[~((frame["dataset"] == "b") & (frame["method"] == "opq"))]
    pages = [with_intervals(page, per_query) for page in settings.pages(frame)]
    table = overview.kept_within(pages, 48)
    assert list(table.index) == ["pq", "binary", "opq"]
    assert np.isnan(table.loc["opq", 1])


def test_every_query_is_counted_once() -> None:
    change = np.array([-0.9, -0.5, -0.1, 0.0, 0.0, 0.2, 0.5, 1.0])
    assert overview.shares_by_change(change) == pytest.approx([2 / 8, 1 / 8, 2 / 8, 1 / 8, 2 / 8])


def test_bars_are_the_shares_of_the_queries() -> None:
    (page,) = pages_of("a")
    axes = overview.draw_lost(page).axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert len(axes.patches) == 5 * len(rows)
    assert page.scores is not None and page.scores.reference is not None
    values = page.scores.values["ndcg_at_10"]
    row = next(place for place, name in enumerate(rows) if name.startswith("opq"))
    place = int(np.flatnonzero(page.settings["method"] == "opq")[0])
    change = values[place] - values[page.scores.reference]
    widths = [patch.get_width() for patch in axes.patches[5 * row : 5 * row + 5]]
    assert sum(widths) == pytest.approx(1)
    assert widths[0] + widths[1] == pytest.approx(np.sum(change < 0) / M)


def test_without_scores_there_is_no_plot_of_queries() -> None:
    frame, _ = records()
    (page,) = settings.pages(frame)
    assert not overview.can_draw_lost(page)


def test_all_figures_are_written_and_linked(tmp_path: Path) -> None:
    frame, per_query = records(("a", "b", "c", "d"))
    written = {path.name for path in write_report(frame, tmp_path, per_query=per_query)}
    assert {"collections.png", "a--minilm-queries.svg", "d--minilm-speed.png"} <= written
    assert "![Collections side by side](collections.png)" in (tmp_path / "summary.md").read_text()
    assert "](a--minilm-queries.png)" in (tmp_path / "a--minilm.md").read_text()


def test_side_by_side_draws_the_frontier_of_each_family() -> None:
    pages = settings.pages(measured())
    looks = style.family_looks(pages[0].settings["family"])
    axes = overview.draw_side_by_side(pages, looks).axes[0]
    families = {line.get_color() for line in axes.lines}
    assert len(axes.lines) == len(set(pages[0].settings["family"])) + 2, "all methods, and float32's line"
    assert len(families) > 3
    for line in axes.lines[:-2]:
        assert (np.diff(np.asarray(line.get_ydata(), dtype=float)) > 0).all()
