"""The numbers of the leaderboard, the CSV, the LaTeX and the Markdown are those of the records, at the digits shown."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.evaluation.spectrum_record import Steps
from harness.report.latex import escape
from harness.report.write import write_report
from harness.runs.frame import CORPUS_SIZE, load_runs
from harness.runs.run import run
from harness.runs.store import RECORD, Store
from tests.harness.report.test_site import rows
from tests.harness.report.test_write import table_rows
from tests.harness.runs.test_run import configuration

pytest.importorskip("plotly")
pytest.importorskip("itables")

RUNS = [
    ("float32", []),
    ("float16", []),
    ("int8", []),
    ("int8", ["method.bits=3"]),
    ("binary", []),
    ("binary_hamming", []),
    ("svd192_int8", ["method.dim=13", "method.bits=5"]),
    ("transform_coding", ["method.nbytes=6", "method.codec.codebook=product"]),
    ("rabitq", ["method.bits=2", "seed=0"]),
    ("rabitq", ["method.bits=2", "seed=1"]),
    ("rabitq", ["method.bits=2", "seed=2"]),
]
FIGURES = ("bytes", "ndcg", "kept")


@dataclass
class Report:
    """A report and, read from the records themselves, what it has to say."""

    folder: Path
    known: dict[str, dict[str, float]]
    """By setting: the mean of each of `FIGURES` over its seeds, and the standard deviations as `<figure>_sd`."""
    runs: dict[str, dict[str, float]]
    """By run id: each of `FIGURES`."""
    setting_of: dict[str, str]
    """By run id."""


@pytest.fixture(scope="module")
def report(small_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("agreement")
    for method, overrides in RUNS:
        own = [f"method={method}", *overrides]
        run(configuration(small_collection, folder, *own), method, own)
    store = Store(folder)
    write_report(load_runs(folder), folder / "report", per_query=store.per_query, records=store.read)
    runs, setting_of = {}, {}
    for path in sorted((folder / "runs").glob(f"*/{RECORD}")):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        storage, name = record["storage"], f"{record['method']['name']} {record['method']['params']}".strip()
        setting_of[record["run_id"]] = {"binary_hamming": "binary_hamming (symmetric)"}.get(name, name)
        runs[record["run_id"]] = {
            "bytes": storage["code_bytes_per_vector"] + storage["state_bytes"] / CORPUS_SIZE,
            "ndcg": record["metrics"]["ndcg_at_10"],
            "kept": record["metrics"]["ndcg_at_10"] / record["float32"]["ndcg_at_10"],
        }
    known = {}
    for name in set(setting_of.values()):
        members = [runs[run_id] for run_id, setting in setting_of.items() if setting == name]
        known[name] = {figure: float(np.mean([own[figure] for own in members])) for figure in FIGURES}
        if len(members) > 1:
            known[name] |= {
                f"{figure}_sd": float(np.std([own[figure] for own in members], ddof=1)) for figure in FIGURES
            }
    assert len(runs) == len(RUNS) and len(known) == len(RUNS) - 2
    return Report(folder / "report", known, runs, setting_of)


def printed(own: dict[str, float], figure: str, decimals: int, factor: float = 1) -> str:
    """A figure at its digits, with the spread between seeds if there is one."""
    text = f"{factor * own[figure]:.{decimals}f}"
    spread = factor * own.get(f"{figure}_sd", 0.0)
    return f"{text} ± {spread:.{decimals}f}" if spread > 0 else text


def _page(report: Report, suffix: str) -> list[Path]:
    """The files of the collection's page that end so."""
    return [path for path in report.folder.glob(f"*--*{suffix}") if "pareto" not in path.name]


def short(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def test_the_seeds_differ_so_that_means_are_means(report: Report) -> None:
    assert report.known["rabitq bits=2"]["ndcg_sd"] > 0
    assert len({round(own["ndcg"], 4) for own in report.known.values()}) > 5


def test_the_table_on_the_leaderboard(report: Report) -> None:
    found = rows(report.folder / "site" / "index.html")
    assert sorted(report.setting_of[row["data-run"]] for row in found) == sorted(report.known)
    for row in found:
        own = report.known[report.setting_of[row["data-run"]]]
        assert row["bytes"] == short(own["bytes"])
        assert row["ndcg"] == printed(own, "ndcg", 4)
        assert row["kept"] == printed(own, "kept", 1, 100)
        for figure in FIGURES:
            assert float(row[f"{figure} order"]) == pytest.approx(own[figure], rel=1e-9)


def test_the_data_that_the_leaderboard_draws(report: Report) -> None:
    text = (report.folder / "site" / "assets" / "data.js").read_text(encoding="utf-8")
    data = json.loads(text.removeprefix("window.vecbudget = ").removesuffix(";\n"))
    (page,) = data["pages"]
    assert sorted(point["name"] for point in page["points"]) == sorted(report.known)
    assert page["metrics"]["ndcg_at_10"]["base"] == pytest.approx(report.known["float32"]["ndcg"], rel=1e-12)
    for point in page["points"]:
        own = report.known[point["name"]]
        assert point["bytes"] == pytest.approx(own["bytes"], rel=1e-12)
        assert point["values"]["ndcg_at_10"] == pytest.approx(own["ndcg"], rel=1e-12)
        said = f"nDCG@10 {printed(own, 'ndcg', 4)}, {printed(own, 'kept', 1, 100)} % of float32"
        assert point["said"]["ndcg_at_10"].startswith(said)
        assert point["size"].startswith(f"{short(own['bytes'])} bytes/vector")


def test_the_markdown_page(report: Report) -> None:
    (path,) = _page(report, ".md")
    header, *found = table_rows(path.read_text(encoding="utf-8"), "Pareto table")
    assert len(found) == len(report.known)
    for cells in found:
        row = dict(zip(header, cells, strict=True))
        own = report.known[row["method"].strip("*").replace("\\", "")]
        assert row["bytes/vector"] == short(own["bytes"])
        assert row["nDCG@10"] == printed(own, "ndcg", 4)
        assert row["% of float32"] == printed(own, "kept", 1, 100)


def test_the_csv_files(report: Report) -> None:
    (page,), (table,) = _page(report, ".csv"), (report.folder / "tables").glob("*-settings.csv")
    for path, digits in ((page, 1e-9), (table, 1e-12)):
        with path.open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
        assert len(found) == len(report.known)
        for row in found:
            name = row["setting"] if "setting" in row else report.setting_of[row["run_ids"].split()[0]]
            own = report.known[name]
            assert float(row["bytes_per_vector"]) == pytest.approx(own["bytes"], rel=digits)
            assert float(row["ndcg_at_10"]) == pytest.approx(own["ndcg"], rel=digits)
            assert float(row["retention"]) == pytest.approx(own["kept"], rel=digits)
    for path in (report.folder / "runs.csv", report.folder / "site" / "runs.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
        assert sorted(row["run_id"] for row in found) == sorted(report.runs)
        for row in found:
            own = report.runs[row["run_id"]]
            assert float(row["bytes_per_vector"]) == pytest.approx(own["bytes"], rel=1e-12)
            assert float(row["ndcg_at_10"]) == pytest.approx(own["ndcg"], rel=1e-12)
            assert float(row["retention"]) == pytest.approx(own["kept"], rel=1e-12)


def latex_rows(path: Path) -> Iterator[list[str]]:
    """The cells of a table's rows as they are set, without rules and marks."""
    lines = path.read_text(encoding="utf-8").split(r"\midrule", 1)[1].split(r"\bottomrule")[0].splitlines()
    for line in lines:
        if line.endswith(r" \\"):
            cells = [cell.strip() for cell in line.removesuffix(r"\\").split(" & ")]
            yield [re.sub(r"\{\\vb.*$", "", cell.removeprefix(r"\bfseries ")) for cell in cells]


def test_the_latex_table(report: Report) -> None:
    (path,) = (report.folder / "tables").glob("*-settings.tex")
    text = path.read_text(encoding="utf-8")
    heading = next(line for line in text.splitlines() if line.startswith("setting &"))
    columns = [re.sub(r"[{}\s]|\\shortstack|\\\\", "", cell) for cell in heading.split(" & ")]
    size, ndcg, kept = (columns.index(name) for name in ("bytes/vector", "nDCG@10", r"\%offloat32"))
    found = list(latex_rows(path))
    names = {escape(name): name for name in report.known}
    assert sorted(names[cells[0]] for cells in found) == sorted(report.known)
    for cells in found:
        own = report.known[names[cells[0]]]
        assert cells[size] == f"{own['bytes']:.1f}"
        assert cells[ndcg] == f"{own['ndcg']:.3f}"
        assert cells[kept] == f"{100 * own['kept']:.1f}"


def test_the_spectrum_is_drawn_from_the_records(report: Report, small_collection: Path) -> None:
    from safetensors.numpy import load_file

    assert len(_page(report, "-spectrum.png")) == 1
    docs = load_file(small_collection / "vectors.safetensors")["docs"].astype(float)
    exact = np.linalg.eigvalsh(np.cov(docs.T, bias=True))[::-1] / np.sum(docs.var(axis=0))
    bits = {}
    for run_id, name in report.setting_of.items():
        part = Store(report.folder.parent).read(run_id).spectrum
        assert part is not None
        assert Steps.read(part["power"]).each == pytest.approx(exact, rel=2e-3)
        bits[name] = None if part["bits"] is None else Steps.read(part["bits"]).each.tolist()
    assert bits["int8"] is None and bits["rabitq bits=2"] is None
    assert bits["svd192_int8 bits=5 dim=13"] == [5.0] * 13 + [0.0] * 19
    spent = bits["transform_coding codec.codebook=product nbytes=6"]
    assert spent is not None and sum(spent) == 48
