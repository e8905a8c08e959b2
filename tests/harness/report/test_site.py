import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest

from harness.analysis import pareto, settings, significance
from harness.analysis.budgets import ACROSS, BUDGETS
from harness.analysis.over_models import methods_over_models
from harness.base.errors import StoreError
from harness.evaluation.metric_registry import headlines
from harness.report.page import page_markdown
from harness.report.site.pages import write_site
from harness.runs.frame import load_runs
from harness.runs.record import Record
from harness.runs.store import Store

pytest.importorskip("plotly")
pytest.importorskip("itables")

HOSTILE = "n=<b>1</b><img/src=x/onerror=document.title='stolen'>&\"'</script><script>document.title='stolen'</script>"
ERROR = "ValueError: <b>bold</b> & <script>document.title='stolen'</script>"

# method, params, family, code bytes, state bytes, mean of nDCG@10
SETTINGS = [
    ("float32", "", "cast", 1536, 0, 0.64),
    ("int8", "", "scalar", 384, 3000, 0.641),
    ("int8", "bits=4", "scalar", 192, 3000, 0.632),
    ("pq", "m=64", "product", 64, 400_000, 0.629),
    ("pq", "m=48", "product", 48, 400_000, 0.622),
    ("opq", "m=48", "product", 48, 990_000, 0.628),
    ("binary", "", "binary", 48, 0, 0.58),
    ("binary", HOSTILE, "binary", 24, 0, 0.5),
    ("truncate", "n=16", "dimension", 64, 0, 0.3),
]


def record(run_id: str, dataset: str, method: str, params: str, family: str, seed: int, **more: Any) -> Record:
    content = {
        "run_id": run_id,
        "status": "ok",
        "created": "2026-11-20T10:00:00+00:00",
        "command": f"vecbudget run method={method} seed={seed} dataset={dataset} results_dir=/somewhere/results",
        "git_commit": "0123456789ab",
        "model": {"name": "minilm"},
        "dataset": {"name": dataset, "n_docs": 5183, "n_queries": 40, "fingerprint": "49c531732ef5a533"},
        "method": {"name": method, "params": params, "seed": seed, "family": family, "scoring": "asymmetric"},
        "config": {"method": {"about": {"family": family, "summary": "A summary <i>", "source": "Someone, 2020"}}},
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux"},
        "dim": 384,
        **more,
    }
    return Record.from_json(content, run_id)


@dataclass
class Results:
    frame: pd.DataFrame
    store: Store


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Records of nine settings and two seeds on two collections, one without judgements, and of two failed runs."""
    folder = tmp_path_factory.mktemp("results")
    store, rng = Store(folder), np.random.default_rng(5)
    queries = [f"q{number}" for number in range(40)]
    base = rng.uniform(size=40)
    for dataset in ("scifact", "unjudged"):
        for place, (method, params, family, code, state, mean) in enumerate(SETTINGS):
            for seed in (0, 1):
                run_id = f"{dataset[:2]}{place}{seed}"
                values = np.clip(base + mean - 0.5 + 0.08 * rng.standard_normal(40), 0, 1)
                overlap = np.ones(40) if method == "float32" else np.clip(mean + 0.1 * rng.standard_normal(40), 0, 1)
                columns = {"overlap_at_10": overlap, "overlap_at_100": overlap, "recall_at_100": np.sqrt(values)}
                if dataset == "scifact":
                    columns |= {"ndcg_at_10": values, "ndcg_at_10_ties": values}
                means = {name: float(column.mean()) for name, column in columns.items()}
                made = record(
                    run_id,
                    dataset,
                    method,
                    params,
                    family,
                    seed,
                    metrics=means,
                    retention=means.get("ndcg_at_10", np.nan) / 0.64 if dataset == "scifact" else None,
                    storage={
                        "code_bytes_per_vector": float(code),
                        "state_bytes": state,
                        "index_bytes": 5183 * code + state,
                    },
                    seconds={"fit": 0.5, "encode": 0.0123, "search": 0.1 + 0.2 * (2 * place % 5)},
                )
                store.commit(run_id, store.draft(run_id), made, queries, columns)
    for number, dataset in enumerate(("scifact", "broken")):
        run_id = f"failed{number}"
        made = record(run_id, dataset, "mine", HOSTILE, "mine", 0, status="failed", error=ERROR)
        store.commit(run_id, store.draft(run_id), made)
    return Results(load_runs(folder), store)


# model, representation, and by how much it is better than others
MODELS = [("e5", "vectors", 0.0), ("mpnet", "vectors", 0.03), ("bm25", "terms", 0.01), ("e5 + bm25", "tokens", 0.04)]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Records of two collections under four models of three representations, one of which has no name of its own.

    The second collection has no judgements, and two models.
    """
    folder = tmp_path_factory.mktemp("several")
    store, rng = Store(folder), np.random.default_rng(7)
    base = rng.uniform(size=40)
    dense = [entry for entry in SETTINGS if entry[1] != HOSTILE]
    terms = [("sparse_float32", "", "terms", 800, 9000, 0.66), ("sparse_int4", "", "terms", 100, 9000, 0.65)]
    both = [("hybrid", "minmax", "hybrid", 70, 9000, 0.66), ("hybrid", "rrf", "hybrid", 200, 9000, 0.67)]
    number = 0
    for dataset in ("scifact", "unjudged"):
        for place, (model, kind, better) in enumerate(MODELS[: 2 if dataset == "unjudged" else None]):
            for method, params, family, code, state, mean in {"vectors": dense, "terms": terms}.get(kind, both):
                number += 1
                run_id = f"run{number:03d}"
                turn = 0.05 * place if method == "int8" else 0.0  # what changes places
                values = np.clip(base + mean - 0.5 + better - turn + 0.05 * rng.standard_normal(40), 0, 1)
                overlap = np.ones(40) if "float32" in method else np.clip(values + 0.1, 0, 1)
                columns = {"overlap_at_10": overlap, "overlap_at_100": overlap, "recall_at_100": np.sqrt(values)}
                if dataset == "scifact":
                    columns |= {"ndcg_at_10": values, "ndcg_at_10_ties": values}
                made = record(
                    run_id,
                    dataset,
                    method,
                    params,
                    family,
                    0,
                    model={"name": model},
                    representation=kind,
                    metrics={name: float(column.mean()) for name, column in columns.items()},
                    retention=float(values.mean()) / 0.64 if dataset == "scifact" and kind != "tokens" else None,
                    storage={"code_bytes_per_vector": float(code), "state_bytes": state, "index_bytes": 5183 * code},
                    seconds={"fit": 0.5, "encode": 0.0123, "search": 0.3},
                )
                store.commit(run_id, store.draft(run_id), made, [f"q{query}" for query in range(40)], columns)
    return Results(load_runs(folder), store)


@pytest.fixture(scope="module")
def several_out(several: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several_site")
    write_site(several.frame, folder, per_query=several.store.per_query, records=several.store.read)
    return folder


def measured_pages(results: Results) -> list[settings.Page]:
    """The pages as the site shows them."""
    pages = [page for page in settings.pages(results.frame) if len(page.settings)]
    return [significance.with_intervals(page, results.store.per_query) for page in pages]


@pytest.fixture(scope="module")
def out(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    written = write_site(results.frame, folder, per_query=results.store.per_query, records=results.store.read)
    assert written[0] == folder / "index.html"
    assert sorted(written) == sorted(path for path in folder.rglob("*") if path.is_file())
    return folder


class Document(HTMLParser):
    """Elements in order, each with its tag, attributes and text; the void ones closed."""

    VOID = frozenset(("meta", "link", "br", "input", "img"))

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in self.VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element[2].append(data)

    def find(self, tag: str, **attributes: str) -> list[tuple[dict[str, str | None], str]]:
        wanted = attributes.items()
        return [
            (found, "".join(text).strip())
            for name, found, text in self.elements
            if name == tag and all(found.get(key) == value for key, value in wanted)
        ]


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of the table of all settings: texts by column, and the row's own attributes."""
    found: list[dict[str, str]] = []
    for tag, attributes, text in Document(path).elements:
        if tag == "tr" and "data-run" in attributes:
            found.append({key: value or "" for key, value in attributes.items()})
        elif tag == "td" and "data-key" in attributes:
            found[-1][str(attributes["data-key"])] = "".join(text).strip()
            found[-1][f"{attributes['data-key']} order"] = attributes.get("data-order") or ""
    return found


def test_rows_are_those_of_the_frame_and_of_the_markdown_table(results: Results, out: Path) -> None:
    found = {(row["data-page"], row["data-run"]): row for row in rows(out / "index.html")}
    pages = measured_pages(results)
    assert len(found) == 2 * len(SETTINGS) == sum(len(page.settings) for page in pages)
    for page in pages:
        lines = page_markdown(page, None, "vecbudget report").split("## Pareto table")[1].split("\n\n")[1]
        header, _, *markdown = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines.splitlines()]
        for (_, setting), cells in zip(page.settings.iterrows(), markdown, strict=True):
            row = found[page.settings["dataset"].iloc[0], setting["run_ids"].split()[0]]
            shown = dict(zip(header, cells, strict=True))
            assert row["bytes"] == shown["bytes/vector"]
            assert row["code"] == shown["code bytes/vector"]
            assert row["ratio"] == shown["× smaller"]
            assert row["overlap"] == shown["overlap@10"]
            assert row["encode"] == shown["encode s"]
            assert row["search"] == shown["search ms/query"]
            assert ("frontier" in row.get("class", "")) == bool(setting["on_frontier"]) == (shown[""] == "●")
            if page.quality == "ndcg_at_10":
                assert row["ndcg"] == shown["nDCG@10"]
                assert row["kept"] == shown["% of float32"]
                assert row["interval"] == shown["95 % interval"]
                assert row["verdict"] == shown["against float32"]
                assert row["recall"] == shown["recall@100"]
            else:
                assert row["ndcg"] == row["kept"] == row["verdict"] == "–"
                assert row["interval"] == f"overlap {shown['95 % interval']}"
            for key, column in (("bytes", "bytes_per_vector"), ("ndcg", "ndcg_at_10"), ("index", "index_bytes")):
                order = row[f"{key} order"]
                value = setting[column]
                assert float(order) == pytest.approx(value, rel=1e-9) if order else np.isnan(value)


def test_pages_of_runs_hold_their_records_figures(results: Results, out: Path) -> None:
    for _, run in results.frame.iterrows():
        made = results.store.read(run["run_id"])
        document = Document(out / "runs" / f"{run['run_id']}.html")
        ((_, text),) = document.find("pre", **{"class": "record"})
        assert json.loads(text) == {**made.to_json(), "files": made.files, "checksum": made.checksum}
        commands = [text for _, text in document.find("code", role="region")]
        assert commands == [
            made.command.removesuffix(" results_dir=/somewhere/results"),
            made.command,
        ]
        labels = [text for _, text in document.find("th", scope="row")]
        cells = document.find("td")
        shown = {label: str(attributes["data-exact"]) for label, (attributes, _) in zip(labels, cells, strict=True)}
        if run["status"] != "ok":
            assert not shown
            assert ERROR in "".join(text for _, text in document.find("p", **{"class": "error"}))
            continue
        assert float(shown["bytes/vector"]) == pytest.approx(run["bytes_per_vector"], rel=1e-9)
        assert float(shown["bytes of the index"]) == made.storage.index_bytes
        assert float(shown["overlap@10"]) == pytest.approx(made.metrics["overlap_at_10"], rel=1e-9)
        assert ("nDCG@10" in shown) == ("ndcg_at_10" in made.metrics)
        if "nDCG@10" in shown:
            assert float(shown["nDCG@10"]) == pytest.approx(made.metrics["ndcg_at_10"], rel=1e-9)
        written = {label: text for label, (_, text) in zip(labels, cells, strict=True)}
        assert written["bytes of the index"] == f"{made.storage.index_bytes:,}"
        assert written["overlap@10"] == f"{made.metrics['overlap_at_10']:.3f}"
        assert all(re.fullmatch(r"\d{1,3}(,\d{3})*(\.\d{1,6})?", text) for text in written.values())
        assert all(len(text.replace(",", "").partition(".")[2].lstrip("0")) <= 4 for text in written.values())


def test_sentences_are_apart(out: Path) -> None:
    for path in out.rglob("*.html"):
        for _, text in Document(path).find("p"):
            assert not re.search(r"[a-z%][.;:,](?=[A-Z][a-z])", text), f"{path.name}: {text}"


def test_best_within_budgets_is_what_the_frame_says(results: Results, out: Path) -> None:
    (page,) = (page for page in settings.pages(results.frame) if page.runs["dataset"].iloc[0] == "scifact")
    text = (out / "datasets" / "scifact.html").read_text(encoding="utf-8")
    part = text.split("Best within a budget on scifact</caption>")[1].split("</table>")[0]
    shown = re.findall(r'<tr><th scope="row" class="number">(\d+)</th>(.*?)</tr>', part)
    assert [int(budget) for budget, _ in shown] == list(BUDGETS)
    for budget, cells in shown:
        best = pareto.best_within(page.settings, int(budget))
        if best is None:
            assert "nothing measured" in cells
        else:
            assert f"runs/{best['run_ids'].split()[0]}.html" in cells
            assert f"nDCG@10 {best['ndcg_at_10']:.4f} ± {best['ndcg_at_10_sd']:.4f}" in cells
    winner = pareto.best_within(page.settings, 64)
    assert winner is not None
    assert winner["method"] != "float32"


def test_first_answer_names_the_winner_its_interval_and_its_command_without_a_script(
    results: Results, out: Path
) -> None:
    document = Document(out / "datasets" / "scifact.html")
    said = document.find("p", **{"data-slot": "said"})[0][1]
    page = next(page for page in settings.pages(results.frame) if page.runs["dataset"].iloc[0] == "scifact")
    page = significance.with_intervals(page, results.store.per_query)
    best = pareto.best_within(page.settings, 64)
    assert best is not None
    assert document.find("a", **{"data-slot": "link"})[0][1] == settings.setting_name(best)
    assert f"(95 % interval {100 * best['retention_low']:.1f} to {100 * best['retention_high']:.1f} %)" in said
    command = document.find("code", **{"data-slot": "command"})[0][1]
    assert command == f"vecbudget run method={best['method']} seed=0 dataset=scifact"


def test_all_links_lead_somewhere_within_the_folder(out: Path) -> None:
    pages = list(out.rglob("*.html"))
    assert {path.parent.name for path in pages} >= {"datasets", "models", "methods", "runs"}
    for path in pages:
        ids: dict[Path, set[str | None]] = {}
        for tag, attributes, _ in Document(path).elements:
            address = attributes.get("href") or attributes.get("src")
            if address is None or address == "data:,":
                continue
            parts = urlsplit(address)
            assert not parts.scheme and not parts.netloc, f"{path.name}: <{tag}> leads to {address}"
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.name}: {address}"
            if parts.fragment:
                if target not in ids:
                    ids[target] = {found.get("id") for _, found, _ in Document(target).elements}
                assert parts.fragment in ids[target], f"{path.name}: {address}"


def test_text_of_users_stays_text(out: Path) -> None:
    for path in out.rglob("*.html"):
        document = Document(path)
        assert not document.find("img")
        for attributes, text in document.find("script"):
            assert "stolen" not in text
            assert "stolen" not in (attributes.get("src") or "")
    assert any("<img/src=x" in text for _, text in Document(out / "index.html").find("a"))


def test_pages_have_one_heading_of_the_first_level_and_name_their_language(out: Path) -> None:
    for path in out.rglob("*.html"):
        document = Document(path)
        assert len(document.find("h1")) == 1
        assert document.find("html")[0][0]["lang"] == "en"
        assert len({found.get("id") for _, found, _ in document.elements if "id" in found}) == sum(
            "id" in found for _, found, _ in document.elements
        )


def test_without_records_queries_or_successful_runs(results: Results, tmp_path: Path) -> None:
    write_site(results.frame, tmp_path / "plain")
    row = next(row for row in rows(tmp_path / "plain" / "index.html") if row["data-run"] == "sc30")
    assert row["interval"] == row["verdict"] == "–"
    assert "95 % interval" not in Document(tmp_path / "plain" / "runs" / "sc30.html").find("p")[1][1]
    failed = results.frame[results.frame["status"] != "ok"]
    write_site(failed, tmp_path / "failed", records=results.store.read)
    assert "No run succeeded" in (tmp_path / "failed" / "index.html").read_text(encoding="utf-8")
    with pytest.raises(StoreError, match="no runs to report"):
        write_site(results.frame.iloc[:0], tmp_path / "none")


def test_pages_that_are_at_hand_give_the_same_site(results: Results, tmp_path: Path) -> None:
    pages = [significance.with_intervals(page, results.store.per_query) for page in settings.pages(results.frame)]
    for name, given_pages in (("a", pages), ("b", None)):
        write_site(results.frame, tmp_path / name, pages=given_pages, per_query=results.store.per_query)
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_one_model_leaves_no_trace_of_a_choice(several: Results, out: Path, tmp_path: Path) -> None:
    for path in (path for path in out.rglob("*.html") if path.parent.name != "runs"):
        text = path.read_text(encoding="utf-8")
        assert not re.search('name="(model|kind|colours|within)"|over-models|/document', text), path.name
    data = json.loads((out / "assets" / "data.js").read_text(encoding="utf-8").split(" = ", 1)[1].rstrip(";\n"))
    assert set(data) == {"metrics", "same_budget", "looks", "pages"}
    assert not {"model", "kind"} & {key for page in data["pages"] for key in (*page, *page["points"][0])}
    # records of before there was a choice of representations
    one = several.frame[several.frame["model"] == "e5"]
    for name, frame in (("with", one), ("without", one.drop(columns=["representation", "parts"]))):
        write_site(frame, tmp_path / name, per_query=several.store.per_query, command="same")
    for path in (path for path in (tmp_path / "with").rglob("*") if path.is_file() and path.name != "runs.csv"):
        assert path.read_bytes() == (tmp_path / "without" / path.relative_to(tmp_path / "with")).read_bytes()


def together(results: Results, dataset: str = "scifact") -> pd.DataFrame:
    """The settings of all models on a collection, with what represents a document."""
    parts = [page for page in measured_pages(results) if page.runs["dataset"].iloc[0] == dataset]
    kinds = [page.runs["representation"].iloc[0] for page in parts]
    return pd.concat([page.settings.assign(kind=kind) for page, kind in zip(parts, kinds, strict=True)])


def named(row: Any) -> str:
    return f"{settings.setting_name(row)} · {row['model']}"


def test_first_answer_is_the_best_of_all_models(several: Results, several_out: Path) -> None:
    best = pareto.best_within(together(several), 64)
    assert best is not None
    document = Document(several_out / "index.html")
    assert document.find("a", **{"data-slot": "link"})[0][1] == named(best)


def test_what_holds_with_every_model_is_in_the_tables(several: Results, several_out: Path) -> None:
    dense = [page for page in measured_pages(several) if page.runs["representation"].iloc[0] == "vectors"]
    text = (several_out / "index.html").read_text(encoding="utf-8")
    for budget in ACROSS:
        found = methods_over_models(dense, budget)
        part = text.partition(f'data-within="{budget}"')[2].partition("</div>\n</div>\n</div>")[0]
        assert (found is None) == (not part)
        if found is None:
            continue
        assert found.models == ["e5", "mpnet"] and found.collections == ["scifact"]
        heat, places = (
            re.findall(r"<tr.*?</tr>", table) for table in re.findall("<tbody>.*?</tbody>", part, re.DOTALL)[:2]
        )
        for row, rank, shown, place in zip(
            found.shares.to_dict("records"), found.ranks.to_dict("records"), heat, places, strict=True
        ):
            cells = [re.sub("<.*?>", "", cell) for cell in re.findall("<t[hd].*?</t[hd]>", shown)]
            assert cells == [row["method"], *(f"{100 * row[key]:.1f}" for key in ("e5", "mpnet", "mean", "worst"))]
            cells = [re.sub("<.*?>", "", cell) for cell in re.findall("<t[hd].*?</t[hd]>", place)]
            assert cells == [row["method"], *(str(rank[key]) for key in ("e5", "mpnet", "moved"))]


# ---------------------------------------------------------------------------------------------------------------------
# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, which no package of Python's brings: Debian's, or that of VECBUDGET_CHROMIUM."""
    import os

    sync_api = pytest.importorskip("playwright.sync_api", reason="pages are tried in a browser with playwright")
    names = (os.environ.get("VECBUDGET_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


Open = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, out: Path) -> Iterator[Open]:
    """Opens a page of the site from its file, without a network; at the end, nothing may have gone wrong on any."""
    yield from opener(browser, out)


@pytest.fixture
def visit_several(browser: Any, several_out: Path) -> Iterator[Open]:
    """Likewise of the site of several models."""
    yield from opener(browser, several_out)


def opener(browser: Any, out: Path) -> Iterator[Open]:
    contexts, wrong = [], []

    def opened(name: str, **options: Any) -> Any:
        context = browser.new_context(offline=True, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request", lambda sent: None if sent.url.startswith(("file:", "data:")) else wrong.append(sent.url[:200])
        )
        page.goto((out / name.partition("#")[0]).as_uri() + "".join(name.partition("#")[1:]))
        page.wait_for_function(
            """() => (!document.querySelector('.explorer') || document.documentElement.dataset.explorer === 'ready')
            && (!document.querySelector('table.settings') || document.documentElement.dataset.tables === 'ready')"""
        )
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


ONE_OF_EACH = (
    "index.html",
    "faq.html",
    "datasets/scifact.html",
    "datasets/unjudged.html",
    "datasets/broken.html",
    "models/minilm.html",
    "methods/pq.html",
    "methods/mine.html",
    "runs/sc30.html",
    "runs/failed0.html",
)


def check_accessible(visit: Open, name: str, scheme: str, width: int) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-core comes with axe-playwright-python")
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page = visit(name, color_scheme=scheme, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than its window"
    page.evaluate(axe)
    # without preload: axe would fetch style sheets, which browsers refuse for files
    found = page.evaluate("axe.run(document, {preload: false})")
    assert len(found["passes"]) > 20
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == [], name


def test_first_page_is_accessible_and_fits_a_phone(visit: Open) -> None:
    check_accessible(visit, "index.html", "dark", 375)


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 375), ("dark", 375)])
def test_all_kinds_of_pages_are_accessible_and_fit(visit: Open, scheme: str, width: int) -> None:
    for name in ONE_OF_EACH:
        check_accessible(visit, name, scheme, width)


def shown_settings(page: Any) -> list[str]:
    return list(page.eval_on_selector_all("table.settings tbody tr", "rows => rows.map((row) => row.dataset.run)"))


@pytest.mark.parametrize("width", [375, 1280])
def test_tables_wider_than_the_page_say_so_and_scroll_by_keys(visit: Open, width: int) -> None:
    page = visit("index.html", viewport={"width": width, "height": 800})
    boxes = page.locator(".scroll")
    wide = 0
    for place in range(boxes.count()):
        box = boxes.nth(place)
        if not box.is_visible():
            continue
        said = box.evaluate("(box) => getComputedStyle(box, '::before').content")
        too_wide = box.evaluate("(box) => box.scrollWidth > box.clientWidth + 1")
        assert ("scroll sideways" in said) == too_wide
        if too_wide:
            wide += 1
            box.focus()
            page.keyboard.press("ArrowRight")
            page.wait_for_function("document.activeElement.scrollLeft > 0")
            assert box.evaluate("(box) => getComputedStyle(box).outlineStyle") == "solid"
    assert wide or width > 375


def test_table_sorts_searches_and_filters(visit: Open, results: Results) -> None:
    page = visit("index.html")
    everything = {row["run_ids"].split()[0]: row for one in measured_pages(results) for row in rows_of(one)}
    assert len(shown_settings(page)) == len(everything)
    heading = page.get_by_role("columnheader", name="nDCG@10")
    heading.get_by_role("button").click()
    page.wait_for_selector("th[aria-sort=descending]")
    scores = [everything[run]["ndcg_at_10"] for run in shown_settings(page)]
    judged = [score for score in scores if np.isfinite(score)]
    assert judged == sorted(judged, reverse=True) == scores[: len(judged)]
    page.locator("form.filters select[name=page]").select_option("scifact")
    page.locator("form.filters input[name=bytes]").fill("64.5")
    expected = {
        run for run, row in everything.items() if row["dataset"] == "scifact" and row["bytes_per_vector"] <= 64.5
    }
    assert set(shown_settings(page)) == expected
    page.locator("form.filters input[name=frontier]").check()
    assert set(shown_settings(page)) == {run for run in expected if everything[run]["on_frontier"]}
    page.locator("form.filters input[name=frontier]").uncheck()
    page.get_by_role("searchbox").fill("opq")
    page.wait_for_function("document.querySelectorAll('table.settings tbody tr').length === 1")  # it waits for typing
    assert {everything[run]["method"] for run in shown_settings(page)} == {"opq"}


def test_the_drawn_frontier_is_that_of_the_tables_whatever_is_selected(visit: Open, results: Results) -> None:
    one = next(page for page in measured_pages(results) if page.runs["dataset"].iloc[0] == "scifact")
    page = visit("datasets/scifact.html")
    drawn = """() => {
      const data = document.querySelector('.plot').data;
      return [data[0].x.slice(0, -1), data.filter((trace) => trace.marker?.size === 11 && trace.customdata)
        .flatMap((trace) => trace.customdata)];
    }"""
    unchosen: list[str] = []
    for method in ("", "opq", "int8"):
        if method:
            page.evaluate("document.querySelector('details.methods').open = true")
            page.get_by_label(method, exact=True).uncheck()
            unchosen.append(method)
        kept = one.settings[~one.settings["method"].isin(unchosen)]
        for metric in ("ndcg_at_10", "overlap_at_10"):
            page.locator("select[name=metric]").select_option(metric)
            best = kept[pareto.frontier(kept["bytes_per_vector"], kept[metric])]
            line, large = page.evaluate(drawn)
            assert line == sorted(best["bytes_per_vector"])
            marked = {name.removeprefix("runs/").removesuffix(".html") for name in large}
            assert marked >= {ids.split()[0] for ids in best["run_ids"]}
            if not unchosen and metric == one.quality:
                assert marked == {ids.split()[0] for ids in kept.loc[kept["on_frontier"], "run_ids"]}


def rows_of(page: settings.Page) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in page.settings.to_dict("records")]


@pytest.mark.parametrize("dataset", ["scifact", pytest.param("unjudged", marks=pytest.mark.slow)])
def test_slider_names_the_winner(visit: Open, results: Results, dataset: str) -> None:
    one = next(page for page in settings.pages(results.frame) if page.runs["dataset"].iloc[0] == dataset)
    page = visit(f"datasets/{dataset}.html")
    slider, number = page.locator("input[name=slider]"), page.locator("input[name=budget]")
    assert page.locator("select[name=metric]").input_value() == one.quality
    slider.focus()
    page.keyboard.press("Home")
    budgets = []
    for _ in range(int(slider.get_attribute("max")) + 1):
        budgets.append(float(number.input_value()))
        best = pareto.best_within(one.settings, budgets[-1])
        expected = "nothing measured" if best is None else settings.setting_name(best)
        assert page.locator("[data-slot=link]").inner_text() == expected
        assert page.locator(".plot").get_attribute("data-winner") == ("" if best is None else expected)
        page.keyboard.press("ArrowRight")
    assert budgets == sorted(set(budgets))
    assert budgets[0] <= 1 and budgets[-1] >= 1536 and 64 in budgets
    number.fill("48.99")
    best = pareto.best_within(one.settings, 48.99)
    assert best is not None
    assert page.locator("[data-slot=link]").inner_text() == settings.setting_name(best)


def test_speed_slider_leaves_out_what_is_slower(visit: Open, results: Results) -> None:
    one = next(page for page in settings.pages(results.frame) if page.runs["dataset"].iloc[0] == "scifact")
    speeds = one.settings["n_queries"] / one.settings["search_seconds"]
    page = visit("datasets/scifact.html#budget=48")
    pacer, number, link = (page.locator(name) for name in ("[name=pacer]", "[name=speed]", "[data-slot=link]"))
    assert number.input_value() == "" and "queries/s or more" not in page.locator(".question").inner_text()
    pacer.focus()
    asked, winners = [], []
    for _ in range(int(pacer.get_attribute("max"))):
        page.keyboard.press("ArrowRight")
        asked.append(float(number.input_value()))
        best = pareto.best_within(one.settings[speeds >= asked[-1]], 48)
        winners.append("nothing measured" if best is None else settings.setting_name(best))
        assert link.inner_text() == winners[-1]
        assert f"at {number.input_value()} queries/s or more" in page.locator(".question").inner_text()
    assert asked == sorted(set(asked)) and min(speeds) < asked[0] and asked[-1] <= max(speeds)
    assert len(set(winners)) > 1, "or the slider was not tried"
    assert f"speed={number.input_value()}" in page.url
    page.keyboard.press("Home")
    assert number.input_value() == "" and pacer.get_attribute("aria-valuetext") == "any speed"


def of_effort(effort: int, found: float, speed: float) -> dict[str, Any]:
    return {"effort": effort, "recall_of_float32": found, "ndcg_at_10": found / 2, "queries_per_second": speed}


EFFORTS = [of_effort(1, 0.4, 900.0), of_effort(4, 0.7, 300.0), of_effort(16, 0.9, 80.0), of_effort(64, 0.97, 20.0)]


@pytest.fixture(scope="module")
def with_lists(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Records of a code that is scanned, and of the same one in lists, without judgements."""
    folder = tmp_path_factory.mktemp("lists")
    store = Store(folder)
    queries, curve = [f"q{number}" for number in range(40)], {"effort": "nprobe", "points": EFFORTS}
    # params, bytes, overlap, seconds of 40 queries, efforts
    kinds = [("", 64, 0.95, 4.0, None), ("index=ivf", 70, 0.9, 0.5, curve)]
    for place, (params, size, found, seconds, efforts) in enumerate(kinds):
        columns = {"overlap_at_10": np.full(40, found)}
        made = record(
            f"run{place}",
            "glosses",
            "pq",
            params,
            "product",
            0,
            metrics={"overlap_at_10": found},
            storage={"code_bytes_per_vector": float(size), "state_bytes": 0, "index_bytes": 5183 * size},
            seconds={"fit": 0.5, "encode": 0.1, "search": seconds},
            efforts=efforts,
        )
        store.commit(made.run_id, store.draft(made.run_id), made, queries, columns)
    return Results(load_runs(folder), store)


@pytest.fixture(scope="module")
def lists_out(with_lists: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists-site")
    write_site(with_lists.frame, folder, per_query=with_lists.store.per_query, records=with_lists.store.read)
    return folder


def test_points_have_what_their_searches_find_by_effort(lists_out: Path) -> None:
    text = (lists_out / "assets" / "data.js").read_text(encoding="utf-8")
    (page,) = json.loads(text.removeprefix("window.vecbudget = ").strip().removesuffix(";"))["pages"]
    flat, lists = sorted(page["points"], key=lambda point: point["bytes"])
    assert "efforts" not in flat and [one["effort"] for one in lists["efforts"]] == [
        "nprobe 1",
        "nprobe 4",
        "nprobe 16",
        "nprobe 64",
    ]
    for own, point in zip(lists["efforts"], EFFORTS, strict=True):
        assert own["values"] == {"overlap_at_10": point["recall_of_float32"], "ndcg_at_10": point["ndcg_at_10"]}
        assert own["speed"] == point["queries_per_second"] and own["pace"].endswith("queries/s of one thread")
    assert lists["efforts"][2]["said"]["overlap_at_10"] == "overlap@10 0.900"


def test_a_speed_is_met_by_less_effort(browser: Any, lists_out: Path) -> None:
    opened = opener(browser, lists_out)
    page = next(opened)("index.html#budget=128")
    number, link = page.locator("[name=speed]"), page.locator("[data-slot=link]")
    assert link.inner_text() == "pq", "at any speed a run counts as it was"
    plain = "pq index=ivf"
    for speed, expected in [("15", f"{plain}, nprobe 64"), ("50", plain), ("90", f"{plain}, nprobe 4")]:
        number.fill(speed)
        assert link.inner_text() == expected
        assert page.locator(".plot").get_attribute("data-winner") == expected
    number.fill("901")
    assert link.inner_text() == "nothing measured"
    number.fill("")
    curve = page.evaluate(
        """() => document.querySelector('.plot').data.filter((trace) => trace.meta === 'efforts')
        .map((trace) => [trace.x, trace.y, trace.hovertext[3]])"""
    )
    assert [[*map(list, curve[0][:2])]] == [[[70.0] * 4, [point["recall_of_float32"] for point in EFFORTS]]]
    assert f"{plain}, nprobe 64" in curve[0][2] and "20.0 queries/s of one thread" in curve[0][2]
    assert int(page.locator("[name=pacer]").get_attribute("max")) >= 5, "efforts have speeds of their own"
    next(opened, None)


def test_metric_and_methods_are_for_the_reader_to_choose(visit: Open, results: Results) -> None:
    one = next(page for page in settings.pages(results.frame) if page.runs["dataset"].iloc[0] == "scifact")
    page = visit("index.html#collection=scifact&budget=64&metric=overlap_at_10")
    link, said = page.locator("[data-slot=link]"), page.locator(".said")
    for metric, name, decimals in ((entry.name, entry.label, entry.decimals) for entry in headlines()):
        page.locator("select[name=metric]").select_option(metric)
        kept = one.settings[one.settings["bytes_per_vector"] <= 64.5]
        best = kept.sort_values([metric, "bytes_per_vector"], ascending=[False, True]).iloc[0]
        assert link.inner_text() == settings.setting_name(best)
        assert said.inner_text().startswith(f"{name} {best[metric]:.{decimals}f}")
        assert "95 % interval" in said.inner_text()
    assert "budget=64" in page.url and "metric=recall_at_100" in page.url
    page.locator("details.methods summary").click()
    page.locator("[data-choose=none]").click()
    assert link.inner_text() == "nothing measured"
    page.get_by_label("binary", exact=True).check()
    assert link.inner_text().startswith("binary")
    assert "among 1 of 6 methods" in page.locator(".question").inner_text()
    assert page.title() != "stolen"


def test_hovering_names_the_configuration_and_a_click_leads_to_its_run(visit: Open) -> None:
    page = visit("datasets/scifact.html", viewport={"width": 1280, "height": 1000})
    page.locator("input[name=budget]").fill("30")  # its only setting has a hostile name
    assert page.title() != "stolen"
    where = page.evaluate(
        """() => {
          const plot = document.querySelector('.plot'), box = plot.getBoundingClientRect(), layout = plot._fullLayout;
          const x = box.x + layout._size.l + layout.xaxis.d2p(24), y = box.y + layout._size.t;
          const ring = plot.data.at(-1);
          return [x, y + layout.yaxis.d2p(ring.y[0])];
        }"""
    )
    page.mouse.move(*where)
    page.wait_for_selector(".hoverlayer .hovertext")
    text = page.locator(".hoverlayer .hovertext").text_content()
    assert "n=<b>1</b><img/src=x" in text
    assert "24 bytes/vector, 64.0 × smaller than float32" in text
    assert page.title() != "stolen"
    assert not page.locator(".plot img").count()
    page.mouse.click(*where)
    page.wait_for_url("**/runs/sc70.html*")


def test_theme_follows_the_system_until_a_reader_chooses(visit: Open) -> None:
    for scheme, ground, other in (
        ("light", "rgb(255, 255, 255)", "rgb(20, 23, 26)"),
        ("dark", "rgb(20, 23, 26)", "rgb(255, 255, 255)"),
    ):
        page = visit("faq.html", color_scheme=scheme)
        background = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(background) == ground
        page.locator("#theme").click()
        assert page.evaluate(background) == other
        page.reload()
        assert page.evaluate(background) == other


def test_commands_can_be_copied(visit: Open) -> None:
    page = visit("runs/sc30.html", permissions=["clipboard-read", "clipboard-write"])
    page.locator("button.copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "vecbudget run method=pq seed=0 dataset=scifact"


def test_keyboard_reaches_every_control(visit: Open) -> None:
    page = visit("datasets/scifact.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.name || document.activeElement.tagName"))
    controls = {"metric", "slider", "budget", "pacer", "speed", "family", "bytes", "frontier"}
    assert reached >= controls | {"SUMMARY", "CODE", "BUTTON"}


@pytest.mark.parametrize(("scheme", "width"), [("dark", 375), pytest.param("light", 1280, marks=pytest.mark.slow)])
def test_pages_of_several_models_are_accessible_and_fit(visit_several: Open, scheme: str, width: int) -> None:
    for name in ("index.html", "datasets/scifact.html", "methods/int8.html"):
        check_accessible(visit_several, name, scheme, width)


LARGE = """() => {
  const data = document.querySelector('.plot').data;
  const large = data.filter((trace) => trace.marker?.size === 11 && trace.customdata);
  return [data[0].x.slice(0, -1), large.flatMap((trace) => trace.customdata), large.map((trace) => trace.name)];
}"""


def test_frontier_and_answer_are_those_of_the_chosen_models_and_representations(
    visit_several: Open, several: Results
) -> None:
    everything = together(several)
    page = visit_several("index.html")
    link, models = page.locator("[data-slot=link]"), page.locator(".explorer select[name=model]")
    box = page.locator("input[name=kind]")
    # the last is none that the code knows: the list is that of the records
    assert box.evaluate_all("boxes => boxes.map((one) => one.value)") == ["vectors", "terms", "tokens"]

    def check(chosen: pd.DataFrame, name: Callable[[Any], str]) -> None:
        line, large, _ = page.evaluate(LARGE)
        best = chosen[pareto.frontier(chosen["bytes_per_vector"], chosen["ndcg_at_10"])]
        assert line == sorted(best["bytes_per_vector"])
        marked = {name.removeprefix("runs/").removesuffix(".html") for name in large}
        assert marked >= set(best["run_ids"])
        for budget in (16, 48, 70, 128, 2000):
            page.locator("input[name=budget]").fill(str(budget))
            winner = pareto.best_within(chosen, budget)
            assert link.inner_text() == ("nothing measured" if winner is None else name(winner))

    check(everything, named)
    assert set(page.evaluate(LARGE)[2]) <= {"one vector", "terms with weights", "a vector for each token"}
    box.nth(2).uncheck()
    check(everything[everything["kind"] != "tokens"], named)
    assert "a document being one vector or terms with weights" in page.locator(".question").inner_text()
    box.nth(2).check()
    for model in ("mpnet", "bm25"):
        models.select_option(model)
        assert f"model={model}" in page.url and model in page.locator("[data-slot=collection]").inner_text()
        check(everything[everything["model"] == model], settings.setting_name)
        assert not page.locator("fieldset.kinds").is_visible(), "there is one representation to choose from"
    models.select_option("")
    check(everything, named)


def test_colours_are_of_the_readers_choice_and_legends_choose(visit_several: Open) -> None:
    page = visit_several("index.html")
    names = "document.querySelector('.plot').data.filter((trace) => trace.x[0] === null).map((trace) => trace.name)"
    assert set(page.evaluate(names)) == {"one vector", "terms with weights", "a vector for each token"}
    page.locator("select[name=colours]").select_option("model")
    assert set(page.evaluate(names)) == {name for name, _, _ in MODELS}
    page.locator("select[name=colours]").select_option("family")
    assert {"binary", "scalar", "hybrid"} < set(page.evaluate(names))
    page.locator("select[name=colours]").select_option("kind")
    page.locator(".legendtoggle").first.click()
    page.wait_for_function("document.querySelectorAll('input[name=kind]:checked').length === 1")


def test_without_judgements_models_are_looked_at_one_by_one(visit_several: Open, several: Results) -> None:
    page = visit_several("index.html#collection=unjudged&budget=50")
    models = page.locator(".explorer select[name=model]")
    assert models.input_value() == "e5", "overlap with a model's own ranking says nothing between models"
    disabled = "(one) => [...one.options].filter((option) => option.disabled).map((option) => option.text)"
    assert models.evaluate(disabled) == ["all", "bm25", "e5 + bm25"]
    own = next(one for one in measured_pages(several) if one.title == "unjudged · e5")
    best = pareto.best_within(own.settings, 50)
    assert best is not None and page.locator("[data-slot=link]").inner_text() == settings.setting_name(best)
    page.locator(".explorer select[name=page]").select_option(label="scifact")
    models.select_option("")
    metrics = page.locator("select[name=metric]")
    assert metrics.evaluate(disabled) == ["overlap@10"]


def test_one_budget_of_the_tables_over_models_is_shown(visit_several: Open) -> None:
    page = visit_several("index.html")
    shown = "[...document.querySelectorAll('.within')].filter((one) => !one.hidden).map((one) => one.dataset.within)"
    assert page.evaluate(shown) == ["64"]
    page.locator("select[name=within]").select_option("256")
    assert page.evaluate(shown) == ["256"]


def test_table_filters_by_model_and_representation(visit_several: Open, several: Results) -> None:
    page = visit_several("index.html")
    form = page.locator("form.filters")
    form.locator("select[name=page]").select_option("scifact")
    everything = together(several)
    form.locator("select[name=model]").select_option("mpnet")
    page.locator("select.dt-input").select_option("-1")
    assert set(shown_settings(page)) == set(everything.loc[everything["model"] == "mpnet", "run_ids"])
    form.locator("select[name=model]").select_option("")
    form.locator("select[name=kind]").select_option("tokens")
    assert set(shown_settings(page)) == set(everything.loc[everything["kind"] == "tokens", "run_ids"])
