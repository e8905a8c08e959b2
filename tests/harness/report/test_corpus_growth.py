"""The page of quality against corpus size, from runs."""

from pathlib import Path

import pandas as pd
import pytest

from harness.analysis.corpus_growth import growth_pages
from harness.report.figures.corpus_growth import draw_corpus_growth
from harness.runs.frame import load_runs
from harness.runs.store import Store
from tests.conftest import Vecbudget


@pytest.mark.usefixtures("empty_figures")
def test_from_runs_to_the_page(
    small_collection: Path, tmp_path: Path, vecbudget: Vecbudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["dataset=folder", f"dataset.path={small_collection}", "model=vectors", "cache_dir=cache"]
    given += [f"model.path={small_collection / 'vectors.safetensors'}", "method=float32,binary"]
    vecbudget("sweep", *given, "corpus_share=0.3,0.6,1", cwd=tmp_path, check=True)
    runs = load_runs(tmp_path / "results", subsets=True)
    assert len(runs) == 6 and sorted(set(runs["n_docs"])) == [120, 240, 400]
    assert list(load_runs(tmp_path / "results")["n_docs"]) == [400, 400], "a subset is no collection of its own"
    reported: list[pd.DataFrame] = []
    monkeypatch.setattr("harness.report.write.write_report", lambda frame, *_, **__: reported.append(frame) or [])
    done = vecbudget("report", cwd=tmp_path, check=True)
    assert list(reported[0]["n_docs"]) == [400, 400], "subsets have no pages of their own"
    name = next(line for line in done.stdout.splitlines() if "corpus-size--" in line and line.endswith(".md"))
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert "| 120 | 240 | 400 | ≈ 4,000 | ≈ 40,000 |" in text and "*extrapolated*" in text
    table = pd.read_csv((tmp_path / name).with_suffix(".csv"))
    assert list(table["extrapolated"]) == [False, False, False, True, True] * 2
    found = table[(table["setting"] == "binary") & (table["documents"] == 400)].iloc[0]
    expected = runs[(runs["method"] == "binary") & (runs["n_docs"] == 400)].iloc[0]
    assert found["score"] == pytest.approx(expected["ndcg_at_10"]) and found["score_low"] < found["score"]
    assert (tmp_path / name).with_suffix(".png").is_file()
    (page,) = growth_pages(runs, Store(tmp_path / "results").per_query)
    score, lost = draw_corpus_growth(page).axes
    assert [line.get_linestyle() for line in score.lines] == ["-", ":"] * 2, "what was not searched is dotted"
    assert "extrapolated" in score.get_xlabel() and len(lost.lines) == 2
    assert list(score.lines[0].get_xdata()) == [120, 240, 400]
