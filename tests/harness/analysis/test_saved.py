import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis import saved
from harness.analysis.settings import COLUMNS
from harness.base.errors import StoreError
from harness.report.write import write_report
from tests.conftest import ROOT
from tests.harness.analysis.test_significance import records
from tests.harness.report.test_write import failed

REFERENCE = ROOT / "results" / "reference"
SPECTRUM = re.compile(r"## Where the power is, and where the bits go\n\n.*\n\n")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    frame, per_query = records(("a", "b"))
    frame.loc[len(frame)] = pd.Series(failed(error="ValueError: no"))
    saved.save(frame, per_query, tmp_path)
    again, queries = saved.load(tmp_path)
    both = [one[COLUMNS].assign(scoring=one["scoring"].fillna("")) for one in (again, frame)]
    pd.testing.assert_frame_equal(*both, check_dtype=False)
    for run_id in frame["run_id"][:3]:
        assert queries(run_id).set_index("query_id").equals(per_query(run_id).set_index("query_id"))
    with pytest.raises(KeyError):
        queries("bad")


def test_no_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no report that can be read"):
        saved.load(tmp_path)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda text: "", "holds no report that can be read"),
        (lambda text: text.replace("run_id", "run-id", 1), r"runs\.csv: not every row has a run_id"),
        (lambda text: text.replace("ok", "", 1), r"runs\.csv: not every row has a status"),
        (lambda text: text.replace("384", "3x4", 1), r"runs\.csv: 'dim' has something else than numbers"),
        (lambda text: text + "9" * 9 + "," * 999 + "\n", "holds no report that can be read"),
    ],
)
def test_damaged_runs_are_named(tmp_path: Path, damage: Callable[[str], str], message: str) -> None:
    frame, per_query = records(("a",))
    saved.save(frame.assign(dim=384), per_query, tmp_path)
    path = tmp_path / saved.RUNS
    path.write_text(damage(path.read_text()))
    with pytest.raises(StoreError, match=message) as caught:
        saved.load(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_damaged_scores_are_named(tmp_path: Path) -> None:
    saved.save(*records(("a",)), tmp_path)
    path = tmp_path / saved.SCORES
    table = pd.read_parquet(path)
    for wrong in (table.drop(columns="run_id"), table.drop(columns="query_id"), table.assign(ndcg_at_10="high")):
        wrong.to_parquet(path)
        with pytest.raises(StoreError, match=r"scores\.parquet: not run_id, query_id and numbers"):
            saved.load(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StoreError, match="holds no report that can be read") as caught:
        saved.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_names_that_look_like_numbers_stay_names(tmp_path: Path) -> None:
    frame, per_query = records(("a",))
    saved.save(frame.assign(dataset="2024", model="007"), per_query, tmp_path)
    again, _ = saved.load(tmp_path)
    assert set(again["dataset"]) == {"2024"} and set(again["model"]) == {"007"}


@pytest.mark.usefixtures("empty_figures")
def test_a_report_of_a_report_is_the_same(tmp_path: Path) -> None:
    frame, per_query = records(("a", "b"))
    first = write_report(frame, tmp_path / "first", per_query=per_query)
    again, queries = saved.load(tmp_path / "first")
    second = write_report(again, tmp_path / "second", per_query=queries)
    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second, strict=True):
        if one.suffix in (".md", ".tex"):
            assert one.read_text() == other.read_text()


@pytest.mark.parametrize("name", ["quick"])
@pytest.mark.usefixtures("empty_figures")
def test_reference_tables_come_from_the_stored_scores(name: str, tmp_path: Path) -> None:
    frame, queries = saved.load(REFERENCE / name)
    write_report(frame, tmp_path, per_query=queries)
    texts = sorted(path.relative_to(REFERENCE / name) for path in (REFERENCE / name).rglob("*.md"))
    assert len(texts) > 3
    for path in texts:
        # the spectrum is drawn from the records, of which the scores are a part only
        stored, made = SPECTRUM.sub("", (REFERENCE / name / path).read_text()), (tmp_path / path).read_text()
        assert NUMBER.sub("#", stored) == NUMBER.sub("#", made), path
        for one, other in zip(NUMBER.findall(stored), NUMBER.findall(made), strict=True):
            # another processor sums in another order: a unit in the last place
            digits = len(one.partition(".")[2])
            assert abs(float(one.replace(",", "")) - float(other.replace(",", ""))) < 1.5 * 10**-digits, (
                path,
                one,
                other,
            )
