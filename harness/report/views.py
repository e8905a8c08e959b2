"""Views of the records as tables for papers: the same cells as raw values, as text, as Markdown and as LaTeX.

A view is computed from `Page`s, which come from the records alone. What is best, second best and not significantly
worse is decided once, here, and every format shows it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis import pareto
from harness.analysis.budgets import ACROSS, BUDGET_RULE, frontier_rule
from harness.analysis.filters import selected
from harness.analysis.settings import setting_name
from harness.base.errors import ConfigError
from harness.evaluation import metric_registry
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.frontier_uncertainty import Shares
    from harness.analysis.settings import Page

from harness.report.encoders_view import encoder_views
from harness.report.feet_view import feet_views
from harness.report.layers_view import layer_views
from harness.report.marks import Significance, marks_legend, ranks
from harness.report.models_view import model_views
from harness.report.representations_view import representation_views
from harness.report.table import Column
from harness.report.view import BASELINE_BEST, TableOptions, View, setting_names


def save(view: View, folder: Path) -> list[Path]:
    """Write a view as .md, .csv, .parquet and .tex into a folder, and return the files' paths.

    CSV and Parquet hold the values as on record, with all their digits; the others what people read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("md", view.markdown()), ("csv", view.csv()), ("tex", view.latex())):
        (folder / f"{view.stem}.{suffix}").write_text(text, encoding="utf-8", newline="\n")
    view.parquet(folder / f"{view.stem}.parquet")
    return [folder / f"{view.stem}.{suffix}" for suffix in ("md", "csv", "parquet", "tex")]


_LABELS = {
    "setting": "setting",
    "bytes_per_vector": "bytes/vector",
    "code_bytes_per_vector": "code bytes",
    "resident_bytes_per_vector": "bytes in memory",
    "disk_bytes_per_vector": "bytes on disk",
    "compression_ratio": "× smaller",
    "retention": "% of float32",
    "retention_low": "from",
    "retention_high": "to",
    "loss_bound": "% lost at most",
    "on_frontier": "frontier",
    "frontier_probability": "on it, %",
    "verdict": "against float32",
    "encode_seconds": "encode s",
    "fit_seconds": "fit s",
    "search_seconds": "search s",
}

_PERCENT = {"retention", "retention_low", "retention_high", "loss_bound", "frontier_probability"}

_COUNTS = {"index_bytes", "state_bytes", "runs", "dim", "n_docs", "n_queries", "queries_better", "queries_worse"}


def _column(key: str, values: pd.Series[Any], decimals: int) -> Column:
    metric = metric_registry.find(key)
    label = metric.label if metric else _LABELS.get(key, key.replace("_at_", "@").replace("_", " "))
    if values.dtype == bool or values.dtype == object or str(values.dtype).startswith("str"):
        return Column(key, label)
    if key in _PERCENT:
        digits = 0 if key == "frontier_probability" else max(decimals - 2, 0)
        return Column(key, label, digits, 100.0, ranked=key == "retention")
    if key in _COUNTS:
        return Column(key, label, 0)
    if "bytes" in key or key == "compression_ratio":
        return Column(key, label, 1)
    return Column(key, label, decimals, ranked=metric is not None and metric.ranked)


def collection_view(page: Page, options: TableOptions | None = None) -> View:
    """Return the table of all settings on one page.

    Parameters
    ----------
    page : Page
    options : TableOptions or None

    Raises
    ------
    ConfigError
        If a column or the baseline is unknown, or the filter is not understood or leaves nothing.
    """
    options = options or TableOptions()
    _check_baseline([page], options)
    return _collection_view(page, options, Significance([page], options), 0)


def _collection_view(page: Page, options: TableOptions, significance: Significance, place: int) -> View:
    settings, rows = _filtered([page], options)[0]
    view = _settings_view(page, settings, rows, options, f"{page.stem}-settings", page.title)
    compared = [key for key in (page.quality, pareto.share_column(page.settings)) if key in view.marks]
    if compared:
        (found,) = significance.marks(place, [rows[_last(settings)]], [np.array(view.reference, dtype=bool)])
        for key in dict.fromkeys(compared):
            view.marks[key] = [(*own, *more) for own, more in zip(view.marks[key], found, strict=True)]
    view.notes.extend(marks_legend(view.marks, options))
    return view


def frontier_view(page: Page, options: TableOptions | None = None, shares: Shares | None = None) -> View:
    """Return the table of the settings on a page's frontier.

    Parameters
    ----------
    page : Page
    options : TableOptions or None
    shares : Shares or None
        The page's, see `harness.analysis.frontier_uncertainty.sample`: then there is a column `frontier_probability`.

    Raises
    ------
    ConfigError
        As `collection_view`.
    """
    options = options or TableOptions()
    settings, rows = _filtered([page], options)[0]
    if shares is not None:
        known = dict(zip(shares.names, shares.frontier_probability.tolist(), strict=True))
        settings = settings.assign(frontier_probability=[known.get(name, np.nan) for name in settings["setting"]])
    on = settings["on_frontier"].to_numpy(dtype=bool)
    title = f"{page.title}: the Pareto frontier"
    view = _settings_view(page, settings[on], rows[on], options, f"{page.stem}-frontier", title)
    view.marks.clear()  # each is the best of its budget
    view.notes.append(f"On the frontier: {frontier_rule('quality', 'setting')}.")
    if "frontier_probability" in view.raw:
        view.notes.append(
            "On it: in how many of 100 resamples of the queries the setting is the best of its budget there."
        )
    return view


def _settings_view(
    page: Page, settings: pd.DataFrame, rows: NDArray[np.int64], options: TableOptions, stem: str, title: str
) -> View:
    judged = page.judged
    usual = ["setting", "bytes_per_vector", "compression_ratio"]
    usual += [REFERENCE.judged_metric, "retention"] if judged else []
    usual += [name for name in ("retention_low", "retention_high") if judged and name in settings]
    usual += ["frontier_probability"] if "frontier_probability" in settings else []
    if not judged or "frontier_probability" not in settings:
        usual += [REFERENCE.unjudged_metric, *(["recall_at_100"] if judged else [])]
    keys = list(options.columns) or usual
    _known_columns(keys, settings)
    settings = settings.iloc[_last(settings)]
    plain = REFERENCE.marks(settings["method"]).to_numpy()
    columns = [_column(key, settings[key], options.decimals) for key in keys]
    raw = settings[keys].reset_index(drop=True)
    marks = {column.key: ranks(column, raw[column.key], plain) for column in columns if column.ranked}
    notes = [page.size + ("." if judged else ", without relevance judgements.")]
    return View(columns, raw, marks, stem, title, notes, plain.tolist())


def _last(settings: pd.DataFrame) -> NDArray[np.int64]:
    """Return the order of settings that puts float32 last."""
    order: NDArray[np.int64] = np.argsort(REFERENCE.marks(settings["method"]).to_numpy(), kind="stable")
    return order


@dataclass(frozen=True)
class Best:
    """The best setting of each method within a budget on a page.

    Attributes
    ----------
    rows : int64 (methods,)
        Places in the page's settings.
    marks : list of tuple of str
        Significance, as in `View.marks`.
    """

    rows: NDArray[np.int64]
    marks: list[tuple[str, ...]]


def best_of_methods(
    pages: Sequence[Page], budgets: Sequence[float] = ACROSS, options: TableOptions | None = None
) -> list[dict[float, Best]]:
    """Return for each page and budget the best setting of each method that fits.

    The best is chosen by the quality on the test queries. Several views need it: compute it once.

    Parameters
    ----------
    pages : sequence of Page
    budgets : sequence of float
        See `harness.analysis.budgets.within`.
    options : TableOptions or None

    Raises
    ------
    ConfigError
        As `collection_view`.
    """
    options = options or TableOptions()
    _check_baseline(pages, options)
    return _best_of_methods(pages, budgets, options, Significance(pages, options))


def _best_of_methods(
    pages: Sequence[Page],
    budgets: Sequence[float],
    options: TableOptions,
    significance: Significance,
    *,
    whole: bool = False,
) -> list[dict[float, Best]]:
    found: list[dict[float, Best]] = []
    for place, (settings, rows) in enumerate(_filtered(pages, options)):
        chosen = [rows[pareto.best_of_methods(settings, budget)] for budget in budgets]
        nothing = [np.zeros(len(own), dtype=bool) for own in chosen]
        # the signs of the test are the same for any number of settings: other views' tests come with them
        plain = REFERENCE.marks(settings["method"]).to_numpy()
        marks = (
            significance.marks(place, [*chosen, rows], [*nothing, plain])
            if whole
            else (significance.marks(place, chosen, nothing))
        )
        found.append(
            {budget: Best(own, own_marks) for budget, own, own_marks in zip(budgets, chosen, marks, strict=False)}
        )
    return found


def budget_view(
    pages: Sequence[Page],
    budget: float,
    options: TableOptions | None = None,
    *,
    kept: bool = False,
    best: Sequence[dict[float, Best]] | None = None,
) -> View:
    """Return the table of methods by collections: the best setting of each within a budget of bytes per vector.

    The raw values also say which settings they are (`<collection> setting`), and on how many collections a method was
    measured. Means are of complete rows only.

    Parameters
    ----------
    pages : sequence of Page
    budget : float
    options : TableOptions or None
    kept : bool
        Show the share of float32's quality that is kept, rather than the quality.
    best : sequence of dict or None
        What `best_of_methods` returned for the same pages and options; None computes it.

    Raises
    ------
    ConfigError
        As `collection_view`.
    """
    options = options or TableOptions()
    best = best or best_of_methods(pages, [budget], options)
    names = _page_names(pages)
    cells: dict[str, dict[str, tuple[float, str, tuple[str, ...]]]] = {}
    for page, name, found in zip(pages, names, best, strict=True):
        shown = pareto.share_column(page.settings) if kept else page.quality
        for row, marks in zip(found[budget].rows, found[budget].marks, strict=True):
            setting = page.settings.iloc[row]
            cells.setdefault(setting["method"], {})[name] = (setting[shown], setting_name(setting), marks)
        plain = page.settings[REFERENCE.marks(page.settings["method"])]
        if len(plain):
            method = plain["method"].iloc[0]
            cells.setdefault(method, {})[name] = (plain[shown].iloc[0], method, ())
    what = "% of float32 kept" if kept else _quality_name(pages)
    decimals = max(options.decimals - 2, 0) if kept else options.decimals
    columns = [Column(name, name, decimals, 100.0 if kept else 1.0, ranked=True) for name in names]
    return _matrix_view(
        f"{'kept' if kept else 'quality'}-at-{budget:g}-bytes",
        f"{what} at {budget:g} bytes/vector",
        cells,
        columns,
        [
            f"The best setting of each method within the budget, chosen on these queries. {BUDGET_RULE}.",
            "Mean: of methods measured on all collections.",
        ],
        options,
        mean=True,
    )


def budgets_view(
    page: Page,
    budgets: Sequence[float] = ACROSS,
    options: TableOptions | None = None,
    *,
    kept: bool = False,
    best: dict[float, Best] | None = None,
) -> View:
    """Return the table of methods by budgets on one page: the best setting of each within each budget.

    Parameters
    ----------
    page : Page
    budgets : sequence of float
    options : TableOptions or None
    kept : bool
        Show the share of float32's quality that is kept.
    best : dict or None
        The page's part of what `best_of_methods` returned.

    Raises
    ------
    ConfigError
        As `collection_view`.
    """
    options = options or TableOptions()
    best = best or best_of_methods([page], budgets, options)[0]
    shown = pareto.share_column(page.settings) if kept else page.quality
    cells: dict[str, dict[str, tuple[float, str, tuple[str, ...]]]] = {}
    for budget in budgets:
        for row, marks in zip(best[budget].rows, best[budget].marks, strict=True):
            setting = page.settings.iloc[row]
            cell = (setting[shown], setting_name(setting), marks)
            cells.setdefault(setting["method"], {})[f"{budget:g}"] = cell
    what = "% of float32 kept" if kept else _quality_name([page])
    decimals = max(options.decimals - 2, 0) if kept else options.decimals
    columns = [
        Column(f"{budget:g}", f"{budget:g} B", decimals, 100.0 if kept else 1.0, ranked=True) for budget in budgets
    ]
    notes = [f"The best setting of each method within a budget, chosen on these queries. {BUDGET_RULE}."]
    if page.judged and np.isfinite(page.float32_score) and not kept:
        notes.append(f"float32: {page.float32_score:.{options.decimals}f}.")
    stem = f"{page.stem}-{'kept-' if kept else ''}budgets"
    return _matrix_view(stem, f"{page.title}: {what} within a budget", cells, columns, notes, options, mean=False)


def kept_view(pages: Sequence[Page], options: TableOptions | None = None) -> View:
    """Return the table of settings by collections: how much of float32's quality each keeps.

    Bytes are the mean over collections; the mean and the lowest share are of complete rows only.

    Parameters
    ----------
    pages : sequence of Page
    options : TableOptions or None

    Raises
    ------
    ConfigError
        As `collection_view`.
    """
    options = options or TableOptions()
    _check_baseline(pages, options)
    return _kept_view(pages, options, Significance(pages, options))


def _kept_view(pages: Sequence[Page], options: TableOptions, significance: Significance) -> View:
    import pandas as pd

    names = _page_names(pages)
    parts, found_marks = [], []
    for place, ((settings, rows), name) in enumerate(zip(_filtered(pages, options), names, strict=True)):
        share = pareto.share_column(pages[place].settings)
        parts.append(
            settings.set_index("setting")[[pareto.COST, share, "method"]].set_axis(["bytes", name, "m"], axis=1)
        )
        plain = REFERENCE.marks(settings["method"]).to_numpy()
        found_marks.append(dict(zip(settings["setting"], significance.marks(place, [rows], [plain])[0], strict=True)))
    table = pd.concat([part[[name]] for part, name in zip(parts, names, strict=True)], axis=1)
    size = pd.concat([part["bytes"] for part in parts]).groupby(level=0).mean()
    methods = pd.concat([part["m"] for part in parts]).groupby(level=0).first()
    complete = table.notna().all(axis=1)
    raw = table.assign(
        bytes_per_vector=size,
        method=methods,
        mean=table.mean(axis=1).where(complete),
        lowest=table.min(axis=1).where(complete),
    )
    raw = raw.rename_axis("setting").reset_index()
    raw["plain"] = REFERENCE.marks(raw["method"])
    raw = raw.sort_values(["plain", pareto.COST, "setting"], kind="stable", ignore_index=True)
    plain = raw["plain"].to_numpy(dtype=bool)
    decimals = max(options.decimals - 2, 0)
    shown = [Column(name, name, decimals, 100.0, ranked=True) for name in (*names, "mean", "lowest")]
    columns = [Column("setting", "setting"), Column(pareto.COST, "bytes/vector", 1), *shown]
    marks = {column.key: ranks(column, raw[column.key], plain) for column in shown}
    for name, own in zip(names, found_marks, strict=True):
        marks[name] = [(*ranks, *own.get(key, ())) for ranks, key in zip(marks[name], raw["setting"], strict=True)]
    notes = ["Share of float32's quality; mean and lowest: of settings measured on all collections."]
    raw = raw[[column.key for column in columns]]
    return View(
        columns, raw, marks, "kept", "% of float32 kept", [*notes, *marks_legend(marks, options)], plain.tolist()
    )


def all_views(
    pages: Sequence[Page],
    options: TableOptions | None = None,
    budgets: Sequence[float] = ACROSS,
    shares: Iterable[Shares] = (),
) -> list[View]:
    """Return every view that the pages have: of each page, then over all of them if there are several.

    Parameters
    ----------
    pages : sequence of Page
        Those without a successful run are left out.
    options : TableOptions or None
    budgets : sequence of float
    shares : iterable of Shares
        Of pages, by their titles, for the frontiers' probabilities.

    Raises
    ------
    ConfigError
        As `collection_view`.
    """
    options = options or TableOptions()
    pages = [page for page in pages if len(page.settings)]
    _check_baseline(pages, options)
    pages = [page for page, (_, rows) in zip(pages, _filtered(pages, options), strict=True) if len(rows)]
    significance = Significance(pages, options)
    best = _best_of_methods(pages, budgets, options, significance, whole=True)
    sampled = {own.title: own for own in shares}
    found = []
    for place, (page, own) in enumerate(zip(pages, best, strict=True)):
        found.append(_collection_view(page, options, significance, place))
        found.append(frontier_view(page, options, sampled.get(page.title)))
        found.append(budgets_view(page, budgets, options, best=own))
    if len(pages) > 1:
        for budget in (size for size in budgets if any(len(own[size].rows) for own in best)):
            found += [budget_view(pages, budget, options, kept=kept, best=best) for kept in (False, True)]
        found.append(_kept_view(pages, options, significance))
        found += model_views(pages, options, budgets)
        found += representation_views(pages, options)
    found += [*encoder_views(pages, options), *layer_views(pages, options), *feet_views(pages, options)]
    return [view for view in found if len(view.raw)]


def _matrix_view(
    stem: str,
    title: str,
    cells: dict[str, dict[str, tuple[float, str, tuple[str, ...]]]],
    columns: list[Column],
    notes: list[str],
    options: TableOptions,
    *,
    mean: bool,
) -> View:
    """Return a table with one row a method, the best complete row first; `cells` are value, setting and marks."""
    import pandas as pd

    keys = [column.key for column in columns]
    rows = []
    for method, own in cells.items():
        values = [own[key][0] if key in own else np.nan for key in keys]
        known = [value for value in values if np.isfinite(value)]
        average = float(np.mean(values)) if len(known) == len(keys) else np.nan
        sort = (method in REFERENCE.methods, -len(known), -float(np.mean(known)) if known else 0.0, method)
        rows.append(
            (sort, {"method": method, **dict(zip(keys, values, strict=True)), "mean": average, "n": len(known)})
        )
    rows.sort(key=lambda row: row[0])
    methods: list[str] = [sort[-1] for sort, _ in rows]
    raw = pd.DataFrame([row for _, row in rows], columns=["method", *keys, "mean", "n"])
    for key in keys:
        raw[f"{key} setting"] = [cells[method][key][1] if key in cells[method] else "" for method in methods]
    shown = [*columns, *([Column("mean", "mean", columns[0].decimals, columns[0].factor, ranked=True)] if mean else [])]
    if not mean:
        raw = raw.drop(columns="mean")
    plain = REFERENCE.marks(raw["method"]).to_numpy(dtype=bool)
    marks = {column.key: ranks(column, raw[column.key], plain) for column in shown}
    for key in keys:
        more = [cells[method][key][2] if key in cells[method] else () for method in methods]
        marks[key] = [(*ranks, *own) for ranks, own in zip(marks[key], more, strict=True)]
    all_columns = [Column("method", "method"), *shown]
    return View(all_columns, raw, marks, stem, title, [*notes, *marks_legend(marks, options)], plain.tolist())


def _check_baseline(pages: Sequence[Page], options: TableOptions) -> None:
    if options.baseline in (BASELINE_BEST, "none") or not pages:
        return
    known = sorted({name for page in pages for name in setting_names(page.settings)})
    if options.baseline not in known:
        near = difflib.get_close_matches(options.baseline, known, n=3, cutoff=0.3)
        hint = " or ".join(map(repr, near or known[:5]))
        raise ConfigError(f"the baseline '{options.baseline}' was not measured; did you mean {hint}?")


def _filtered(pages: Sequence[Page], options: TableOptions) -> list[tuple[pd.DataFrame, NDArray[np.int64]]]:
    """Return each page's settings that pass the filter, with their names, and their places on the page."""
    found = []
    for page in pages:
        settings = page.settings.assign(setting=setting_names(page.settings))
        rows = np.flatnonzero(selected(settings, options.filter))
        found.append((settings.iloc[rows], rows))
    if pages and not any(len(rows) for _, rows in found):
        families = sorted({name for page in pages for name in page.settings["family"]})
        raise ConfigError(f"no setting passes the filter '{options.filter}'; families are {', '.join(families)}")
    return found


def _known_columns(keys: Sequence[str], settings: pd.DataFrame) -> None:
    for key in keys:
        if key not in settings.columns:
            near = difflib.get_close_matches(key, list(settings.columns), n=3, cutoff=0.4)
            raise ConfigError(f"there is no column '{key}'; did you mean {' or '.join(near or ['setting'])}?")


_RESERVED = {"method", "setting", "mean", "lowest", "n", "plain", pareto.COST}


def _page_names(pages: Sequence[Page]) -> list[str]:
    """Return a short name for each page that no other one has."""
    datasets = [str(page.settings["dataset"].iloc[0]) for page in pages]
    short = len(set(datasets)) == len(datasets) and not set(datasets) & _RESERVED
    return datasets if short else [page.title for page in pages]


def _quality_name(pages: Sequence[Page]) -> str:
    names = {REFERENCE.judged_metric: "nDCG@10", REFERENCE.unjudged_metric: "overlap@10"}
    return " or ".join(dict.fromkeys(names[page.quality] for page in pages))
