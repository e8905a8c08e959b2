"""The leaderboard: all results as a static site, one folder that opens from the file system without a network."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis import pareto, statistics
from harness.analysis import settings as settings_module
from harness.analysis.budgets import ACROSS, BUDGET_RULE, BUDGETS, SAME_BUDGET, frontier_rule, least_budget
from harness.analysis.over_models import MethodsOverModels, methods_over_models
from harness.analysis.representations import DENSE, kind_of_page, kinds_of, unit_of_page
from harness.analysis.settings import setting_name
from harness.analysis.significance import with_intervals
from harness.base import formatting
from harness.base.errors import MissingExtraError
from harness.evaluation import metric_registry
from harness.evaluation.reference import REFERENCE
from harness.report.figures import style
from harness.report.figures.pareto import Point, visible_floor
from harness.report.figures.representations import kind_looks
from harness.report.page import UNSUCCESSFUL, provenance
from harness.report.site.choices import OWN, Collection, collections, moves, usual_budget
from harness.runs.portable_command import portable
from harness.runs.record import CHECKSUM, FILES, Record

if TYPE_CHECKING:
    import jinja2
    import pandas as pd

    from harness.analysis.settings import Page
    from harness.analysis.significance import PerQuery

log = logging.getLogger(__name__)

Records = Callable[[str], Record]

BUDGET = 64
"""That a page asks for first."""

COLUMNS = {
    "bytes": ("bytes/vector", "Codes, and a share of the codebooks and matrices"),
    "code": ("code bytes", "Bytes per vector of the codes alone"),
    "ratio": ("× smaller", "Than float32"),
    "ndcg": ("nDCG@10", "Quality against relevance judgements"),
    "kept": ("% of float32", "nDCG@10 over that of the float32 vectors"),
    "interval": ("95 % interval", "Of the share of float32 that is kept, over the choice of queries"),
    "verdict": ("against float32", "Significant differences, after correction for many rows"),
    "overlap": ("overlap@10", "Share of float32's ten best that are found"),
    "recall": ("recall@100", "Share of the relevant documents among the first hundred"),
    "index": ("index MB", "Codes and shared state of this collection, as they lie on disk"),
    "encode": ("encode s", "To encode the collection"),
    "search": ("search ms/query", "Exhaustive search"),
    "model": ("model MB", "The model's files as they would be shipped"),
    "docs": ("documents/s", "That the model encodes, measured when the vectors were made"),
}
"""Keys of a table's columns, their headings, and what they mean."""

WORDS = {"interval", "verdict"}
"""Columns that are not numbers."""

SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "p": "pentagon",
    "X": "x",
}
"""Plotly's names of `harness.report.figures.style.MARKERS`."""

FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "code_bytes_per_vector": ("code bytes/vector", formatting.size),
    "state_bytes": ("bytes of shared state", formatting.plain),
    "bytes_per_vector": ("bytes/vector", formatting.size),
    "index_bytes": ("bytes of the index", formatting.plain),
    "compression_ratio": ("× smaller", formatting.ratio),
    "ndcg_at_10": ("nDCG@10", partial(formatting.number, decimals=4)),
    "ndcg_at_10_ties": ("nDCG@10, mean over orders of ties", partial(formatting.number, decimals=4)),
    "retention": ("% of float32's nDCG@10", lambda share: formatting.number(100 * share, 1)),
    "overlap_at_10": ("overlap@10", partial(formatting.number, decimals=3)),
    "overlap_at_100": ("overlap@100", partial(formatting.number, decimals=3)),
    "recall_at_100": ("recall@100", partial(formatting.number, decimals=3)),
    "mrr_at_10": ("MRR@10", partial(formatting.number, decimals=3)),
    "map_at_100": ("MAP@100", partial(formatting.number, decimals=3)),
    "fit_seconds": ("fit s", formatting.digits),
    "encode_seconds": ("encode s", formatting.digits),
    "search_seconds": ("search s", formatting.digits),
}
"""Columns of a frame that the page of a run shows: labels, and how they are written. The record has all digits."""


def _metrics() -> dict[str, str]:
    """Return the labels of the metrics that a frontier can be drawn of, by their names."""
    return {entry.name: entry.label for entry in metric_registry.headlines()}


@dataclass(frozen=True, eq=False)
class Entry:
    """A configuration on one collection, as pages show it.

    Attributes
    ----------
    page : Page
    row : Series
        Of the page's settings.
    command : str
        Measures it again; empty where the records hold none.
    """

    page: Page
    row: pd.Series[Any]
    command: str

    @cached_property
    def name(self) -> str:
        """What the tables call it."""
        return setting_name(self.row)

    @property
    def run_ids(self) -> list[str]:
        """Its runs, one a seed."""
        return str(self.row["run_ids"]).split()

    @property
    def interval(self) -> str:
        """The interval of the share of float32 that is kept."""
        return self._between("retention", 1, 100) or "–"

    @cached_property
    def cells(self) -> dict[str, str]:
        """Text for each of `COLUMNS`, as in the Markdown tables."""
        row = self.row
        unjudged = self._between(REFERENCE.unjudged_metric, 3) if not self.page.judged else ""
        return {
            "bytes": formatting.size(row[pareto.COST]),
            "code": formatting.size(row["code_bytes_per_vector"]),
            "ratio": formatting.ratio(row["compression_ratio"]),
            "ndcg": formatting.spread(row, REFERENCE.judged_metric, 4),
            "kept": formatting.spread(row, "retention", 1, 100),
            "interval": f"overlap {unjudged}" if unjudged else self.interval,
            "verdict": row.get("verdict", "") or "–",
            "overlap": formatting.spread(row, REFERENCE.unjudged_metric, 3),
            "recall": formatting.number(row["recall_at_100"], 3),
            "index": formatting.digits(row["index_bytes"] / 1e6),
            "encode": formatting.digits(row["encode_seconds"]),
            "search": formatting.digits(self._search_ms),
            "model": formatting.digits(self._known("model_bytes") / 1e6),
            "docs": formatting.digits(self._known("model_docs_per_second")),
        }

    @cached_property
    def orders(self) -> dict[str, str]:
        """What each of the numeric `COLUMNS` is sorted by; empty where unknown."""
        row = self.row
        values = {
            "bytes": row[pareto.COST],
            "code": row["code_bytes_per_vector"],
            "ratio": row["compression_ratio"],
            "ndcg": row[REFERENCE.judged_metric],
            "kept": row["retention"],
            "overlap": row[REFERENCE.unjudged_metric],
            "recall": row["recall_at_100"],
            "index": row["index_bytes"],
            "encode": row["encode_seconds"],
            "search": self._search_ms,
            "model": self._known("model_bytes") / 1e6,
            "docs": self._known("model_docs_per_second"),
        }
        return {key: formatting.exact(value) for key, value in values.items()}

    def _known(self, column: str) -> float:
        return float(self.row.get(column, np.nan))

    @property
    def _search_ms(self) -> float:
        return float(1000 * self.row["search_seconds"] / self.row["n_queries"])

    @property
    def speed(self) -> float:
        """Queries a second of its run; NaN where that is not known."""
        return 1000 / self._search_ms if self._search_ms > 0 else float("nan")

    def said(self, metric: str) -> str:
        """Return a metric's value and how certain it is, in words."""
        row = self.row
        entry = metric_registry.metric(metric)
        text = f"{entry.label} {formatting.spread(row, metric, entry.decimals)}"
        if metric == "ndcg_at_10":
            if np.isfinite(row["retention"]):
                text += f", {self.cells['kept']} % of float32"
            between = self._between("retention", 1, 100)
            return text + (f" (95 % interval {between} %)" if between else "")
        between = self._between(metric, entry.decimals)
        return text + (f" (95 % interval {between})" if between else "")

    def short(self, metric: str) -> str:
        """Return its quality in a word or two: the share of float32's if that is known."""
        if metric != REFERENCE.judged_metric:
            return f"overlap {self.cells['overlap']}"
        return f"{self.cells['kept']} %" if np.isfinite(self.row["retention"]) else f"nDCG@10 {self.cells['ndcg']}"

    def verdict(self, metric: str) -> str:
        """Return in words how it compares with float32, as far as that is known; the verdict is on nDCG@10."""
        known = self.cells["verdict"]
        return f"Against float32: {known}" if metric == REFERENCE.judged_metric and known != "–" else ""

    def bar(self, metric: str) -> list[float] | None:
        """Return the ends of a metric's interval, or None. That of nDCG@10 is relative to float32's."""
        name, scale = ("retention", self.page.float32_score) if metric == REFERENCE.judged_metric else (metric, 1.0)
        ends = [scale * float(self.row.get(f"{name}_{end}", np.nan)) for end in ("low", "high")]
        return ends if np.isfinite(ends).all() else None

    def _between(self, measure: str, decimals: int, factor: float = 1) -> str:
        known = np.isfinite(self.row.get(f"{measure}_low", np.nan))
        return formatting.interval(self.row, measure, decimals, factor) if known else ""


@dataclass(frozen=True, eq=False)
class FirstAnswer:
    """What an explorer asks and answers first: a page, what its collection is called, the best entry, and its model."""

    page: Page
    title: str
    entry: Entry | None
    model: str = ""

    @property
    def name(self) -> str:
        """What the answer is called."""
        if self.entry is None:
            return "nothing measured"
        return f"{self.entry.name} · {self.model}" if self.model else self.entry.name


def write_site(
    frame: pd.DataFrame,
    out: Path,
    *,
    per_query: PerQuery | None = None,
    records: Records | None = None,
    pages: Sequence[Page] | None = None,
    command: str = "vecbudget report",
) -> list[Path]:
    """Write the leaderboard into the folder `out`; `index.html` leads to the rest.

    Parameters
    ----------
    frame : DataFrame
        One row a run, as `harness.runs.frame.load_runs` returns it.
    out : Path
        Made if need be. Files of an earlier site are replaced, and others left alone.
    per_query : callable or None
        Returns the queries' scores of a run id, as `harness.runs.store.Store.per_query` does; None leaves out
        intervals.
    records : callable or None
        Returns the record of a run id, as `harness.runs.store.Store.read` does; None leaves records out.
    pages : sequence of Page or None
        Those of the frame, with their intervals, where they are at hand; `per_query` is not needed then.
    command : str
        What the pages name as the command that wrote them.

    Returns
    -------
    list of Path
        The files, `index.html` first.

    Raises
    ------
    StoreError
        If there is no run, a column is missing, or a record cannot be read.
    MissingExtraError
        If a package is missing whose code the site needs.
    """
    settings_module.check(frame)
    assets = _assets()
    if pages is None:
        pages = settings_module.pages(frame)
        if per_query is not None:
            pages = [with_intervals(page, per_query) for page in pages]
    site = _Site(frame.drop_duplicates("run_id"), [_with_recall(page) for page in pages], out, records, command)
    site.write_pages()
    for name, text in assets.items():
        site.write(f"assets/{name}", text)
    site.write("assets/data.js", f"window.vecbudget = {_json(site.data())};\n")
    site.write("runs.csv", frame.to_csv(index=False))
    log.info("wrote %d files to %s", len(site.written), out)
    return site.written


class _Site:
    """What all pages of a site know."""

    def __init__(
        self, frame: pd.DataFrame, pages: Sequence[Page], out: Path, records: Records | None, command: str
    ) -> None:
        self.frame, self.pages, self.out, self.command = frame, pages, out, command
        self.measured = [page for page in pages if len(page.settings)]
        self.records = {run_id: records(run_id) for run_id in frame["run_id"]} if records is not None else {}
        self.collections = collections(self.measured)
        self.kinds = kinds_of(self.measured)
        self.entries = {page.stem: self._entries(page) for page in self.measured}
        self.all = [entry for page in self.measured for entry in self.entries[page.stem]]
        self.families = sorted({str(entry.row["family"]) for entry in self.all})
        self.links = {kind: _links(f"{kind}s", sorted(set(frame[kind]))) for kind in ("dataset", "model", "method")}
        self.links["run"] = _links("runs", frame["run_id"])
        self.environment = _environment(self)
        self.written: list[Path] = []
        self.found: dict[tuple[str, float], Entry | None] = {}

    def label(self, page: Page) -> str:
        """Return what a collection is called: its dataset alone, if that was measured once."""
        return self.labels[page.stem]

    @cached_property
    def labels(self) -> dict[str, str]:
        """What the collections of all pages are called, by the pages' stems."""
        datasets = {page.stem: str(page.settings["dataset"].iloc[0]) for page in self.measured}
        counts = Counter(datasets.values())
        return {
            page.stem: dataset if counts[dataset := datasets[page.stem]] == 1 else page.title for page in self.measured
        }

    def collection_of(self, page: Page) -> Collection | None:
        """Return the collection that a page is of, None where no two models were measured on one."""
        return next((own for own in self.collections if any(page is other for other in own.pages)), None)

    def model_of(self, page: Page) -> str:
        """Return what a page's model is called, on its collection."""
        own = self.collection_of(page)
        model = str(page.settings["model"].iloc[0])
        return model if own is None else own.labels[[other is page for other in own.pages].index(True)]

    @property
    def unit(self) -> str:
        """What bytes are of: a document, where some are not one vector each."""
        return "vector" if set(self.kinds) <= {DENSE} else "document"

    def size_text(self, entry: Entry) -> str:
        """Return a configuration's size in words."""
        ratio = entry.cells["ratio"]
        smaller = "" if ratio == formatting.UNKNOWN else f", {ratio} × smaller than float32"
        return f"{entry.cells['bytes']} bytes/{self.unit}{smaller}"

    def speed_text(self, entry: Entry) -> str:
        """Return in words how fast a configuration was searched; empty where that is not known."""
        return f"{formatting.digits(entry.speed)} queries/s" if np.isfinite(entry.speed) else ""

    def kind(self, page: Page) -> str:
        """Return what represents the documents of a page."""
        return kind_of_page(page)

    def choices(self, pages: Sequence[Page]) -> list[Collection]:
        """Return the collections of some pages, if there are several models among these to choose from."""
        found = [own for own in self.collections if any(page is other for page in pages for other in own.pages)]
        return found if len({str(page.settings["model"].iloc[0]) for page in pages}) > 1 else []

    def best_of_models(self, own: Collection, budget: float) -> Entry | None:
        """Return the best of a collection within a budget, whatever the model."""
        found = own.best(budget)
        return None if found is None else self._entry(*found)

    def first_answer(self, pages: Sequence[Page], budget: float) -> FirstAnswer:
        """Return what the explorer says before a script runs: of the largest collection, all its models together."""
        start = self.largest(pages)
        own = self.collection_of(start)
        if own is None or not self.choices(pages):
            return FirstAnswer(start, self.label(start), self.best(start, budget))
        if not own.comparable:
            return FirstAnswer(start, own.title, self.best(start, budget), self.model_of(start))
        best = self.best_of_models(own, budget)
        return FirstAnswer(start, own.title, best, self.model_of(best.page) if best else "")

    @cached_property
    def over_models(self) -> list[tuple[str, list[MethodsOverModels]]]:
        """What methods keep with each model: for each representation that has it, its name and a table a budget."""
        found = []
        for kind, name in self.kinds.items():
            own = [page for page in self.measured if kind_of_page(page) == kind]
            tables = [table for budget in ACROSS if (table := methods_over_models(own, budget)) is not None]
            if tables:
                found.append((name, tables))
        return found

    @staticmethod
    def largest(pages: Sequence[Page]) -> Page:
        """Return the page of the most documents, the first one to look at."""
        return max(pages, key=lambda page: int(page.settings["n_docs"].iloc[0]))

    def _entries(self, page: Page) -> list[Entry]:
        first = {}
        if "command" in page.runs:
            known = page.runs.sort_values("seed", kind="stable")
            first = dict(zip(known["run_id"], known["command"].fillna(""), strict=True))
        entries = []
        for _, row in page.settings.iterrows():
            ids = set(row["run_ids"].split())
            command = next((text for run_id, text in first.items() if run_id in ids), "")
            entries.append(Entry(page, row, portable(command, row["dataset"]) if command else ""))
        return entries

    def write(self, name: str, text: str) -> None:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        self.written.append(path)

    def render(self, template: str, path: str, **values: Any) -> None:
        root = "../" * path.count("/")
        self.write(path, self.environment.get_template(template).render(root=root, here=path, **values))

    def write_pages(self) -> None:
        self.render(
            "index.html",
            "index.html",
            entries=self.all,
            explored=self.measured,
            answers=self.answers(self.measured, ACROSS),
            budgets=ACROSS,
            failed=self.frame[self.frame["status"] != "ok"],
        )
        self.render(
            "faq.html", "faq.html", spread=settings_module.spread_over(self.settings) if self.all else "", budget=BUDGET
        )
        for dataset, link in self.links["dataset"].items():
            self._write_dataset(dataset, link)
        for model, link in self.links["model"].items():
            own = [page for page in self.measured if page.settings["model"].iloc[0] == model]
            runs = self.frame[self.frame["model"] == model]
            self.render(
                "model.html",
                link,
                model=model,
                explored=own,
                entries=[entry for page in own for entry in self.entries[page.stem]],
                answers=self.answers(own, ACROSS),
                budgets=ACROSS,
                about=self._about(runs, "model"),
                failed=runs[runs["status"] != "ok"],
            )
        methods_of = {page.stem: set(page.settings["method"]) for page in self.measured}
        for method, link in self.links["method"].items():
            own_entries = [entry for entry in self.all if entry.row["method"] == method]
            runs = self.frame[self.frame["method"] == method]
            self.render(
                "method.html",
                link,
                method=method,
                explored=[page for page in self.measured if method in methods_of[page.stem]],
                entries=own_entries,
                card=self._about(runs, "method").get("about") or {},
                failed=runs[runs["status"] != "ok"],
            )
        entry_of = {run_id: entry for entry in self.all for run_id in entry.run_ids}
        for run in self.frame.to_dict("records"):
            self._write_run({str(key): value for key, value in run.items()}, entry_of.get(run["run_id"]))

    def _write_dataset(self, dataset: str, link: str) -> None:
        pages = [page for page in self.pages if page.runs["dataset"].iloc[0] == dataset]
        measured = [page for page in pages if len(page.settings)]
        runs = self.frame[self.frame["dataset"] == dataset]
        record = next((self.records[run_id] for run_id in runs["run_id"] if run_id in self.records), None)
        self.render(
            "dataset.html",
            link,
            dataset=dataset,
            pages=measured,
            explored=measured,
            about={} if record is None else record.dataset.to_json(),
            entries=[entry for page in measured for entry in self.entries[page.stem]],
            best=[(page, [(str(budget), self.best(page, budget)) for budget in BUDGETS]) for page in measured],
            shares=[
                (
                    page,
                    [
                        (f"{100 * share:.0f} %", self._entry(page, pareto.smallest_keeping(page.settings, share)))
                        for share in settings_module.SHARES
                    ],
                )
                for page in measured
            ],
            failed=runs[runs["status"] != "ok"],
        )

    def _write_run(self, run: dict[str, Any], entry: Entry | None) -> None:
        recorded = run.get("command")
        recorded = recorded if isinstance(recorded, str) else ""
        record = self.records.get(run["run_id"])
        self.render(
            "run.html",
            self.links["run"][run["run_id"]],
            run=run,
            seed=None if run["seed"] != run["seed"] or run["seed"] is None else run["seed"],
            name=entry.name if entry else f"{run['method']} {run['params']}".strip(),
            entry=entry,
            recorded=recorded,
            command=portable(recorded, run["dataset"]) if recorded else "",
            figures=[
                (label, show(run[key]), exact)
                for key, (label, show) in FIGURES.items()
                if (exact := formatting.exact(run[key]))
            ],
            record=None if record is None else json.dumps(_as_written(record), indent=1, ensure_ascii=False),
        )

    @cached_property
    def settings(self) -> pd.DataFrame:
        import pandas as pd

        return pd.concat([page.settings for page in self.measured], ignore_index=True)

    def _about(self, runs: pd.DataFrame, part: str) -> dict[str, Any]:
        """Return what the first record of some runs says in its configuration of the model or method."""
        for run_id in runs["run_id"]:
            record = self.records.get(run_id)
            settings = None if record is None else record.config.get(part)
            if isinstance(settings, Mapping):
                return dict(settings)
        return {}

    def _entry(self, page: Page, row: pd.Series[Any] | None) -> Entry | None:
        return None if row is None else self.entries[page.stem][int(str(row.name))]

    def best(self, page: Page, budget: float) -> Entry | None:
        """Return the best of a page within a budget, or None; many pages of the site ask for the same."""
        key = (page.stem, float(budget))
        if key not in self.found:
            self.found[key] = self._entry(page, pareto.best_within(page.settings, budget))
        return self.found[key]

    def answers(self, pages: Iterable[Page], budgets: Sequence[int]) -> list[tuple[Page, list[Entry | None]]]:
        return [(page, [self.best(page, budget) for budget in budgets]) for page in pages]

    def data(self) -> dict[str, Any]:
        """Return what the plots are drawn from."""
        looks = style.family_looks(self.families)
        return {
            "metrics": _metrics(),
            "same_budget": SAME_BUDGET,
            "looks": {
                name: {"color": look["color"], "symbol": SYMBOLS[look["marker"]]} for name, look in looks.items()
            },
            "pages": [self._page_data(page) for page in self.measured],
            **self._choices_data(),
        }

    def _choices_data(self) -> dict[str, Any]:
        """Return what is drawn of several models: nothing if there is one a collection."""
        if not self.collections:
            return {}
        looks = kind_looks(self.kinds)
        models = sorted({label for own in self.collections for label in own.labels})
        return {
            "collections": [self._collection_data(own) for own in self.collections],
            "kinds": {
                kind: {"name": name, "color": looks[kind]["color"], "symbol": SYMBOLS[looks[kind]["marker"]]}
                for kind, name in self.kinds.items()
            },
            "models": {
                name: {"color": look["color"], "symbol": SYMBOLS[look["marker"]]}
                for name, look in style.family_looks(models).items()
            },
        }

    def _collection_data(self, own: Collection) -> dict[str, Any]:
        """Return a collection's pages, their models, and what is to be said of all models together."""
        data: dict[str, Any] = {
            "title": own.title,
            "pages": [next(place for place, other in enumerate(self.measured) if other is page) for page in own.pages],
            "models": own.labels,
            "kinds": [kind_of_page(page) for page in own.pages],
            "together": None,
        }
        if not own.comparable or len(own.pages) == 1:
            return data
        together = own.together
        best = pareto.best_of_budget(together.settings[pareto.COST], together.settings[together.quality])
        on = together.settings["on_frontier"].to_numpy(dtype=bool)
        names = [
            f"{entry.name} · {model}"
            for page, model in zip(own.pages, own.labels, strict=True)
            for entry in self.entries[page.stem]
        ]
        return data | {
            "together": {
                "quality": together.quality,
                "metrics": {
                    metric: {"base": None, "floor": _floor(together, metric)}
                    for metric in _metrics()
                    if metric not in OWN and np.isfinite(together.settings[metric].to_numpy(dtype=float)).any()
                },
                "beside": {
                    place: other for place, other in enumerate(best.tolist()) if on[place] and other not in (-1, place)
                },
                "pairs": _pairs(together, names),
            }
        }

    def _page_data(self, page: Page) -> dict[str, Any]:
        entries = self.entries[page.stem]
        best = pareto.best_of_budget(page.settings[pareto.COST], page.settings[page.quality])
        plain = page.settings[REFERENCE.marks(page.settings["method"])]
        metrics = {}
        for metric in _metrics():
            values = page.settings[metric].to_numpy(dtype=float)
            if np.isfinite(values).any():
                base = float(plain[metric].iloc[0]) if len(plain) else np.nan
                if metric == page.quality:
                    base = page.float32_score
                metrics[metric] = {"base": base if np.isfinite(base) else None, "floor": _floor(page, metric)}
        return {
            "title": self.label(page),
            "quality": page.quality,
            "metrics": metrics,
            "points": [
                # the best of its budget that a setting on the frontier is not told apart from
                self._point(entry)
                | ({"beside": other} if entry.row["on_frontier"] and other not in (-1, place) else {})
                for place, (entry, other) in enumerate(zip(entries, best.tolist(), strict=True))
            ],
            "pairs": _pairs(page, [entry.name for entry in entries]),
        }

    def _point(self, entry: Entry) -> dict[str, Any]:
        row = entry.row
        values = {metric: float(row[metric]) for metric in _metrics()}
        return {
            "name": entry.name,
            "method": row["method"],
            "family": row["family"],
            "bytes": float(row[pareto.COST]),
            "fits": float(least_budget(row[pareto.COST], row["code_bytes_per_vector"])),
            "values": {metric: value for metric, value in values.items() if np.isfinite(value)},
            "bars": {metric: bar for metric in _metrics() if (bar := entry.bar(metric))},
            "said": {metric: entry.said(metric) for metric, value in values.items() if np.isfinite(value)},
            "verdict": entry.verdict(REFERENCE.judged_metric),
            "size": self.size_text(entry),
            "speed": entry.speed if np.isfinite(entry.speed) else None,
            "pace": self.speed_text(entry),
            "url": self.links["run"][entry.run_ids[0]],
            "command": entry.command,
            **({"efforts": efforts} if (efforts := self._efforts(entry)) else {}),
        }

    def _efforts(self, entry: Entry) -> list[dict[str, Any]]:
        """Return what lists or a graph find by the effort of a search, and how fast: of the first of its runs."""
        record = self.records.get(entry.run_ids[0])
        curve = {} if record is None else record.efforts or {}
        found = []
        for point in curve.get("points", ()):
            values = {REFERENCE.unjudged_metric: point["recall_of_float32"]}
            if point.get("ndcg_at_10") is not None:
                values[REFERENCE.judged_metric] = point["ndcg_at_10"]
            known = {name: metric_registry.metric(name) for name in values}
            found.append(
                {
                    "effort": f"{curve['effort']} {point['effort']}",
                    "values": values,
                    "said": {
                        name: f"{one.label} {formatting.number(values[name], one.decimals)}"
                        for name, one in known.items()
                    },
                    "speed": point["queries_per_second"],
                    "pace": f"{formatting.digits(point['queries_per_second'])} queries/s of one thread",
                }
            )
        return found


def _floor(page: Page, metric: str) -> float:
    points = [
        Point(float(cost), float(value), 0, 0, "", "", bool(on))
        for cost, value, on in zip(
            page.settings[pareto.COST],
            page.settings[metric],
            pareto.frontier(page.settings[pareto.COST], page.settings[metric]),
            strict=True,
        )
        if np.isfinite(value)
    ]
    return visible_floor(points)


def _pairs(page: Page, names: Sequence[str]) -> dict[str, str]:
    """Return, for each two places that are best and second within some budget, how sure their order is."""
    if page.scores is None or not len(page.scores.known(page.quality)):
        return {}
    values = page.scores.values[page.quality]
    quality = page.settings[page.quality].to_numpy(dtype=float)
    cost = page.settings[pareto.COST].to_numpy(dtype=float)
    fits = least_budget(cost, page.settings["code_bytes_per_vector"].to_numpy(dtype=float))
    order = np.lexsort((np.arange(len(cost)), cost, -quality))
    order = order[np.isfinite(quality[order])]
    known = set(page.scores.known(page.quality).tolist())
    pairs = dict.fromkeys(
        (int(within[0]), int(within[1]))
        for budget in np.unique(fits[order])
        if len(within := order[fits[order] <= budget][:2]) == 2 and known.issuperset(within.tolist())
    )
    if not pairs:
        return {}
    first, second = (list(places) for places in zip(*pairs, strict=True))
    # the intervals alone are wanted, not the p-values
    found = statistics.compare(values[first], values[second], flips=1).difference
    measure = metric_registry.metric(page.quality).label
    texts = {}
    for (best, other), mean, low, high in zip(pairs, found.estimate, found.low, found.high, strict=True):
        order_text = "the order is more than the luck of the queries" if low > 0 else "the order may be luck"
        texts[f"{best},{other}"] = (
            f"Runner-up: {names[other]}, {mean:.4f} {measure} behind "
            f"(95 % interval of the lead {low:+.4f} to {high:+.4f}: {order_text})"
        )
    return texts


def _with_recall(page: Page) -> Page:
    """Return the page with intervals of recall@100, where the queries' values are among its scores."""
    metric = "recall_at_100"
    if page.scores is None or metric not in page.scores.values:
        return page
    known = page.scores.known(metric)
    if not len(known):
        return page
    from dataclasses import replace

    found, settings = statistics.mean_interval(page.scores.values[metric][known]), page.settings.copy()
    for end, values in (("low", found.low), ("high", found.high)):
        settings[f"{metric}_{end}"] = np.nan
        settings.loc[settings.index[known], f"{metric}_{end}"] = values
    return replace(page, settings=settings)


def _links(folder: str, names: Iterable[str]) -> dict[str, str]:
    taken: set[str] = set()
    return {name: f"{folder}/{settings_module.file_stem(name, taken)}.html" for name in names}


def _environment(site: _Site) -> jinja2.Environment:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise MissingExtraError("jinja2", "site", "the leaderboard page") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report.site", "files"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["label"] = site.label
    environment.globals |= {
        "unsuccessful": UNSUCCESSFUL,
        "site": site,
        "columns": COLUMNS,
        "words": WORDS,
        "metrics": _metrics(),
        "initial": BUDGET,
        "count": formatting.count,
        "provenance": _provenance(site),
        "machines": _machines(site.records.values()),
        "frontier_rule": frontier_rule("quality", "setting"),
        "same_budget": SAME_BUDGET,
        "budget_rule": BUDGET_RULE,
        "moves": moves,
        "usual_budget": usual_budget,
        "unit_of_page": unit_of_page,
        "unit": site.unit,
    }
    return environment


def _provenance(site: _Site) -> list[tuple[bool, str]]:
    """Return where the figures come from, in parts: whether each is code, and its text."""
    text = provenance(site.frame, site.command).replace("[runs.csv](runs.csv)", "runs.csv")
    return [(place % 2 == 1, part) for place, part in enumerate(text.split("`"))]


def _as_written(record: Record) -> dict[str, Any]:
    """Return a record with its checksums, as it lies in the results folder."""
    sums = {FILES: record.files, CHECKSUM: record.checksum} if record.checksum else {}
    return {**record.to_json(), **sums}


def _machines(records: Iterable[Record]) -> list[str]:
    found = set()
    for record in records:
        machine = record.machine
        if machine.get("cpu"):
            found.add(f"{machine['cpu']}, {machine.get('cores', '?')} cores, {machine.get('system', '')}".rstrip(", "))
    return sorted(found)


def _assets() -> dict[str, str]:
    """Return the files that pages load: the site's own, and the libraries as their packages bring them."""
    import base64

    own = files("harness.report.site") / "files"
    bundle = _packaged("itables", "html/dt_bundle.js").encode()
    # browsers refuse to load modules from files, but not from data: the bundle stays as it is
    module = f"data:text/javascript;base64,{base64.b64encode(bundle).decode()}"
    return {
        "site.css": (own / "site.css").read_text(encoding="utf-8"),
        "site.js": (own / "site.js").read_text(encoding="utf-8"),
        "plotly.js": _packaged("plotly", "package_data/plotly.min.js"),
        "datatables.css": _packaged("itables", "html/dt_bundle.css"),
        "datatables.js": f'window.datatables = import("{module}");\n',
    }


def _packaged(package: str, name: str) -> str:
    try:
        entry: Traversable = files(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(package, "site", "the leaderboard page") from error
    return entry.joinpath(name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
