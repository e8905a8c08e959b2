from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.search_effort import FLAT, Searched, choices, searched, surface
from harness.analysis.settings import pages
from harness.report.figures.search_effort import classes
from harness.report.write import write_report
from harness.runs.frame import load_runs
from harness.runs.run import run
from harness.runs.store import Store
from tests.harness.runs.test_run import configuration

POINT = Searched(
    setting="pq", structure="lists", code_bytes=48, structure_bytes=8, shared_bytes=4, disk_bytes=0, effort="nprobe 1",
    found=0.5, found_error=0.01, of_codes=0.9, codes_find=0.6, quality=0.4, visited=100, queries_per_second=1000,
)  # fmt: skip


def test_the_surface_by_hand() -> None:
    slower = replace(POINT, queries_per_second=900.0)
    smaller = replace(POINT, structure_bytes=1.0, found=0.4)
    better = replace(POINT, code_bytes=96.0, found=0.7)
    points = [POINT, slower, smaller, better, POINT]
    assert list(surface(points)) == [True, False, True, True, True]


def test_choices_by_hand() -> None:
    fast = replace(POINT, found=0.485, queries_per_second=5000.0)
    large = replace(POINT, code_bytes=200.0, found=0.9)
    found = choices([POINT, fast, large], [50, 60, 1000])
    assert [choice.budget for choice in found] == [60, 1000]
    assert found[0].best == POINT and found[0].fastest == fast
    assert found[1].best == found[1].fastest == large


def test_classes_are_doublings() -> None:
    sizes = {size: [one.total_bytes for one in own] for size, own in classes([
        replace(POINT, code_bytes=float(code)) for code in (20, 20.5, 52, 53)
    ]).items()}  # fmt: skip
    assert sizes == {32: [32.0], 64: [32.5, 64.0], 128: [65.0]}


@pytest.fixture(scope="module")
def results(small_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexes")
    ivf = ["index=ivf", "index.lists=8", "index.nprobe=2", "measure.efforts=[1,8]"]
    for method, more in (
        ("float32", []),
        ("int4", []),
        ("int4", ivf),
        ("int4", [*ivf, "index.residual=true"]),
        ("rescore_binary_int8", ["index=vamana", "index.degree=8", "measure.efforts=[10,40]"]),
        ("rescore_binary_int8", []),
    ):
        overrides = [f"method={method}", *more]
        run(configuration(small_collection, folder, *overrides), method, overrides)
    return folder


def test_curves_and_flat_codes_come_from_the_records(results: Path) -> None:
    (page,) = pages(load_runs(results))
    store = Store(results)
    points = searched(page, store.read)
    by_structure = {
        name: [one for one in points if one.structure == name] for name in {one.structure for one in points}
    }
    assert {name: len(own) for name, own in by_structure.items()} == {
        FLAT: 2, "lists": 2, "lists of residuals": 2, "Vamana": 2,
    }  # fmt: skip
    for one in by_structure["lists"]:
        assert (one.code_bytes, one.structure_bytes) == (16, pytest.approx(8 + 8 / 400))
    records = [store.read(run_id) for run_id in page.runs["run_id"]]
    sizes = {record.method.setting: record.storage.index_bytes / 400 for record in records}
    for one in points:
        assert one.total_bytes == pytest.approx(sizes[one.setting])
        assert one.found <= one.codes_find + 0.05
    whole = next(one for one in by_structure["lists"] if one.effort == "nprobe 8")
    flat = next(one for one in by_structure[FLAT] if one.setting == "int4")
    assert whole.found == flat.found == flat.codes_find and flat.of_codes == 1
    assert {one.setting for one in by_structure[FLAT]} == {"int4", "rescore_binary_int8"}
    assert all(one.disk_bytes == 32 for one in by_structure["Vamana"])


def test_the_report_has_a_page_of_lists_and_graphs(results: Path, tmp_path: Path) -> None:
    store = Store(results)
    written = write_report(load_runs(results), tmp_path, records=store.read, site=False)
    names = {path.name for path in written if path.name.startswith("indexes--")}
    assert {name.rpartition(".")[2] for name in names} == {"md", "csv", "png", "svg"}
    (page,) = (path for path in written if path.name.startswith("indexes--") and path.suffix == ".md")
    text = page.read_text()
    assert "Under so many bytes in all, take this" in text and "search\\_list 40" in text and "nan" not in text
    assert f"({page.name})" in (tmp_path / "summary.md").read_text()
    import pandas as pd

    table = pd.read_csv(page.with_suffix(".csv"))
    assert np.allclose(table["total_bytes"], table["code_bytes"] + table["structure_bytes"] + table["shared_bytes"])


def test_without_structures_there_is_no_such_page(small_collection: Path, tmp_path: Path) -> None:
    run(configuration(small_collection, tmp_path, "method=int4"), "int4", ["method=int4"])
    written = write_report(load_runs(tmp_path), tmp_path / "report", records=Store(tmp_path).read, site=False)
    assert not [path for path in written if path.name.startswith("indexes")]
