"""A metric is one entry: everything that shows metrics reads the registry."""

from pathlib import Path

import numpy as np
import pytest

from harness.analysis.settings import pages
from harness.evaluation import metric_registry
from harness.evaluation.metric_registry import REGISTRY, Metric, computed, metric, names
from harness.evaluation.rankings import Rankings
from harness.report.views import TableOptions, collection_view
from harness.runs.frame import load_runs
from harness.runs.store import Store
from tests.harness.runs.test_run import configuration, run


def even_rows(rankings: Rankings) -> np.ndarray:
    return (rankings.ranking[:, :5] % 2 == 0).mean(axis=1)


def test_a_new_metric_is_one_entry(small_collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Metric("even_at_5", "even@5", even_rows, (), 5)
    monkeypatch.setattr(metric_registry, "REGISTRY", [*REGISTRY, toy])
    cfg = configuration(small_collection, tmp_path, "method=int8")
    run_id = run(cfg, "int8")
    store = Store(Path(cfg.results_dir))
    per_query = store.per_query(run_id)["even_at_5"]
    assert set(per_query.unique()) <= {share / 5 for share in range(6)}
    frame = load_runs(cfg.results_dir)
    assert frame["even_at_5"].iloc[0] == pytest.approx(per_query.mean())
    (page,) = pages(frame)
    view = collection_view(page, TableOptions(columns=("setting", "even_at_5")))
    assert "| even@5 |" in view.markdown() and f"{per_query.mean():.3f}" in view.markdown()
    assert "even_at_5" in view.marks, "its best value is marked where there are several"


def test_names_and_labels_are_their_own() -> None:
    assert len(set(names())) == len(REGISTRY) == len({entry.label for entry in REGISTRY})
    assert {entry.headline for entry in metric_registry.headlines()} == {1, 2, 3}
    with pytest.raises(KeyError, match="no metric 'ndcg'; there are ndcg_at_1"):
        metric("ndcg")


@pytest.mark.parametrize("k", [1, 3, 10, 50])
def test_what_is_deeper_than_the_ranking_is_left_out(k: int) -> None:
    ranking = np.tile(np.arange(k), (4, 1))
    rankings = Rankings(ranking, -ranking.astype(np.float32), 1000)
    toys = [Metric(f"m{depth}", "", lambda rankings: rankings.scores[:, 0], (), depth) for depth in (1, 3, 10, 100)]
    assert set(computed(rankings, toys)) == {f"m{depth}" for depth in (1, 3, 10, 100) if depth <= k}
    everything = Rankings(ranking, -ranking.astype(np.float32), k)
    assert len(computed(everything, toys)) == 4, "all of a corpus is as deep as it gets"
