"""The page of quality against corpus size, from runs."""

from pathlib import Path

import pandas as pd
import pytest

from harness.runs.frame import load_runs
from tests.conftest import Vecbudget


def test_from_runs_to_the_page(small_collection: Path, tmp_path: Path, vecbudget: Vecbudget) -> None:
    given = ["dataset=folder", f"dataset.path={small_collection}", "model=vectors", "cache_dir=cache"]
    given += [f"model.path={small_collection / 'vectors.safetensors'}", "method=float32,binary"]
    vecbudget("sweep", *given, "corpus_share=0.3,0.6,1", "corpus_seed=0,1", cwd=tmp_path, check=True)
    runs = load_runs(tmp_path / "results", subsets=True)
    # of the whole there is nothing to draw
    assert len(runs) == 10 and sorted(set(runs["n_docs"])) == [120, 240, 400]
    assert list(load_runs(tmp_path / "results")["n_docs"]) == [400, 400], "a subset is no collection of its own"
    done = vecbudget("report", "--no-site", cwd=tmp_path, check=True)
    name = next(line for line in done.stdout.splitlines() if "corpus-size--" in line and line.endswith(".md"))
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert "| 120 | 240 | 400 | ≈ 4,000 | ≈ 40,000 |" in text and "*extrapolated*" in text
    table = pd.read_csv((tmp_path / name).with_suffix(".csv"))
    assert list(table["extrapolated"]) == [False, False, False, True, True] * 2
    found = table[(table["setting"] == "binary") & (table["documents"] == 400)].iloc[0]
    expected = runs[(runs["method"] == "binary") & (runs["n_docs"] == 400)].iloc[0]
    assert found["score"] == pytest.approx(expected["ndcg_at_10"]) and found["score_low"] < found["score"]
    assert (tmp_path / name).with_suffix(".png").is_file()
    pages = [path.name for path in (tmp_path / "results" / "report").glob("*.md")]
    assert not [page for page in pages if "seed" in page], "subsets have no pages of their own"
