"""Which diagnostics of an embedding set predict how well methods compress it: over collections, and over queries.

    python scripts/studies/predictors.py --runs results/reference-runs/frontier --out results/reference

Reads results folders, one a collection and model, and the cached vectors behind them (`VECBUDGET_CACHE`); writes
`predictors.md`, `predictors.csv` and `predictors.png`. Run it from the repository root: records name data by path.

Of a method's settings those count that every compared collection has; a collection with fewer than half of them is
left out. Several seeds are averaged.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from scipy import stats as scipy_stats

from harness.analysis import diagnostics
from harness.analysis.inspection import LABELS
from harness.analysis.statistics import holm
from harness.base.sampling import sampled
from harness.report.figures import style
from harness.report.table import Table, by_place, code, numbers, words
from harness.runs.config import shared
from harness.runs.frame import load_runs
from harness.runs.inputs import load_dataset, load_vectors
from harness.runs.store import Store

LEAST = 4
"""Collections, for a correlation over them."""
SAMPLE = 20_000
SHOWN = 6
MEASURES = {"overlap_at_10": "overlap@10", "retention": "nDCG@10 kept"}
QUERY_LABELS = {
    "gap": "gap between the scores at rank 10 and 11",
    "drop_to_100": "fall of the scores from rank 10 to 100",
    "top_similarity": "mean score of the top 10",
    "distance_to_mean": "distance from the query to the documents' mean",
    "hub_share": "mean 10-occurrence (among documents) of the top 10",
}


@dataclass(frozen=True, eq=False)
class Collection:
    """A dataset under a model, what it is like, and how methods did.

    Attributes
    ----------
    figures : dict of str to float
    queries : DataFrame
        One row a query, a column for each of `QUERY_LABELS`.
    overlap : DataFrame
        overlap@10: a row for each method and setting, a column for each query.
    means : DataFrame
        A row for each method and setting, a column for each of `MEASURES`.
    """

    name: str
    figures: dict[str, float]
    queries: pd.DataFrame
    overlap: pd.DataFrame
    means: pd.DataFrame


def collections(folder: Path, cache: Path) -> Iterable[Collection]:
    """Yield the collections of a results folder; one without a float32 run cannot be used."""
    store, frame = Store(folder), load_runs(folder)
    frame = frame[frame["status"] == "ok"]
    for (dataset, model), runs in frame.groupby(["dataset", "model"]):
        exact = runs[runs["method"] == "float32"]
        if not len(exact):
            continue
        name = f"{dataset} · {model}"
        figures, queries = diagnosed(store, str(exact["run_id"].iloc[0]), cache)
        settings = runs[runs["method"] != "float32"].groupby(["method", "params"])
        overlap = {
            setting: np.mean([store.per_query(run)["overlap_at_10"] for run in some["run_id"]], axis=0)
            for setting, some in settings
        }
        yield Collection(
            name, figures, queries, pd.DataFrame.from_dict(overlap, "index"), settings[list(MEASURES)].mean()
        )


def diagnosed(store: Store, run: str, cache: Path) -> tuple[dict[str, float], pd.DataFrame]:
    """Return a collection's figures and its queries', of the vectors behind a float32 run."""
    record = store.read(run)
    config = OmegaConf.create(record.config)
    dataset = load_dataset("dataset", config.dataset)
    if dataset.fingerprint != record.dataset.fingerprint:
        raise SystemExit(f"{dataset.name}: the data here are not those of {store.path(run)}")
    vectors = load_vectors(dataset, shared("model", config.model), str(cache))
    docs, queries = np.asarray(vectors.docs), np.asarray(vectors.queries)
    some = np.ascontiguousarray(docs[sampled(len(docs), SAMPLE)])
    asked = np.ascontiguousarray(queries[sampled(len(queries), SAMPLE)])
    of_docs, of_queries = diagnostics.diagnose(some), diagnostics.diagnose(asked, some)
    per_query = query_figures(docs, queries, store.ranking(run))
    figures = {
        "documents": float(len(docs)),
        **{f"documents: {label.strip()}": of_docs.figures[name] for name, (label, _) in LABELS.items()},
        "documents: Gaussian bound on the error at 48 bytes": of_docs.distortion_share(48),
        "queries: effective rank (RankMe)": of_queries.figures["rankme"],
        "queries: hubness of documents": of_queries.figures["hubness"],
        "distance between the means of both": float(np.linalg.norm(docs.mean(axis=0) - queries.mean(axis=0))),
        **{f"mean over queries: {QUERY_LABELS[name]}": float(per_query[name].mean()) for name in per_query},
    }
    return figures, per_query


def query_figures(docs: np.ndarray, queries: np.ndarray, ranking: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return what each query is like, from the vectors and the float32 ranking."""
    scores, top = ranking["scores"].astype(np.float64), ranking["rows"][:, :10]
    lists = sampled(len(docs), SAMPLE)
    rows = diagnostics.topk_rows(np.ascontiguousarray(docs[lists]), docs, diagnostics.HUB_NEIGHBOURS + 1)
    occurrences = diagnostics.k_occurrence(rows, len(docs))
    occurrences[lists] -= 1  # each is its own best
    return pd.DataFrame(
        {
            "gap": scores[:, 9] - scores[:, 10],
            "drop_to_100": scores[:, 9] - scores[:, 99],
            "top_similarity": scores[:, :10].mean(axis=1),
            "distance_to_mean": np.linalg.norm(queries - docs.mean(axis=0, dtype=np.float64), axis=1),
            "hub_share": occurrences[top].mean(axis=1),
        }
    )


def over_collections(found: list[Collection]) -> pd.DataFrame:
    """Return a row for each method, measure and diagnostic: Spearman's rho over collections and its exact p.

    The method "(all)" is the mean over the methods that were measured on every collection that most methods have.
    """
    figures = pd.DataFrame({one.name: one.figures for one in found}).T
    rows = []
    for measure in MEASURES:
        per_method = {}
        for method in sorted({name for one in found for name in one.means.index.get_level_values("method")}):
            has = {one.name: one.means.loc[method, measure] for one in found if method in one.means.index}
            most = max(len(values) for values in has.values())
            has = {name: values for name, values in has.items() if 2 * len(values) >= most}
            both = pd.DataFrame(has).dropna()
            if len(has) >= LEAST and len(both):
                per_method[method] = both.mean()
        every = pd.DataFrame(per_method)
        # first without collections that most methods lack, then without methods that lack one of the rest
        every = every[every.notna().mean(axis=1) > 0.5].dropna(axis=1)
        if len(every) >= LEAST and len(every.columns):
            per_method = {"(all)": every.mean(axis=1), **per_method}
        for method, scores in per_method.items():
            here = figures.loc[scores.index]
            # what is the same everywhere but for rounding predicts nothing
            here = here.loc[:, here.notna().all() & (here.round(6).nunique() > 1)]
            rho, p, p_any = exact_spearman(here.to_numpy(), scores.to_numpy())
            rows += [
                {
                    "measure": measure,
                    "method": method,
                    "diagnostic": name,
                    "collections": len(scores),
                    "rho": rho[place],
                    "p": p[place],
                    "p_any_diagnostic": p_any[place],
                }
                for place, name in enumerate(here.columns)
            ]
    return pd.DataFrame(rows)


def exact_spearman(diagnostic: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rho of each column of (n, f) with (n,), its two-sided p over all n! pairings, and the p of any column.

    The last is the share of pairings in which some column reaches as high an |rho|: correction for having tried many.
    """
    x = scipy_stats.zscore(scipy_stats.rankdata(diagnostic, axis=0), axis=0)
    y = scipy_stats.zscore(scipy_stats.rankdata(score))
    n = len(y)
    rho = x.T @ y / n
    shuffled = np.abs(np.array([y[list(order)] for order in permutations(range(n))]) @ x / n)
    reached = np.abs(rho) - 1e-9
    return rho, (shuffled >= reached).mean(axis=0), (shuffled.max(axis=1)[:, None] >= reached).mean(axis=0)


def over_queries(found: list[Collection]) -> pd.DataFrame:
    """Return a row for each collection, method, setting and query diagnostic; the mean of all settings is "(all)"."""
    rows = []
    for one in found:
        values = [
            (("(all)", ""), one.overlap.mean().to_numpy()),
            *zip(one.overlap.index, one.overlap.to_numpy(), strict=True),
        ]
        for (method, params), overlap in values:
            if np.ptp(overlap) == 0:
                continue
            for name in one.queries:
                rho, p = scipy_stats.spearmanr(one.queries[name], overlap)
                rows.append(
                    {
                        "collection": one.name,
                        "method": method,
                        "params": params,
                        "diagnostic": name,
                        "queries": len(overlap),
                        "rho": float(rho),
                        "p": float(p),
                    }
                )
    frame = pd.DataFrame(rows)
    frame["p_holm"] = holm(frame["p"].to_numpy())
    return frame


def explained(found: list[Collection]) -> list[list[str]]:
    """Return for each collection how much of its queries' mean overlap a linear model of ranks explains."""
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import KFold, cross_val_predict

    ranks = {
        one.name: (
            (one.queries.rank() / len(one.queries)).to_numpy(),
            (one.overlap.mean().rank() / one.overlap.shape[1]).to_numpy(),
        )
        for one in found
    }
    rows = []
    for name, (x, y) in ranks.items():
        inside = cross_val_predict(LinearRegression(), x, y, cv=KFold(10, shuffle=True, random_state=0))
        cells = [name, str(len(y)), f"{r_squared(y, inside):.2f}"]
        others = [pair for key, pair in ranks.items() if key != name]
        if others:
            learnt = LinearRegression().fit(np.vstack([a for a, _ in others]), np.concatenate([b for _, b in others]))
            cells.append(f"{r_squared(y, learnt.predict(x)):.2f}")
        else:
            cells.append("–")
        rows.append(cells)
    return rows


def r_squared(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(1 - np.square(truth - predicted).sum() / np.square(truth - truth.mean()).sum())


def interval(rho: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of Spearman's rho (Bonett and Wright, 2000)."""
    half = 1.96 * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return float(np.tanh(np.arctanh(rho) - half)), float(np.tanh(np.arctanh(rho) + half))


def collections_part(across: pd.DataFrame) -> list[str]:
    parts = ["## Over collections: weak evidence"]
    if not len(across):
        return [*parts, f"No method was measured on {LEAST} collections."]
    for measure, title in MEASURES.items():
        here = across[across["measure"] == measure]
        every = here[here["method"] == "(all)"].set_index("diagnostic")
        methods = here[here["method"] != "(all)"]
        if not len(every):
            continue
        n = int(every["collections"].iloc[0])
        order = every["rho"].abs().sort_values(ascending=False, kind="stable").index
        rows = []
        for name in order:
            rho = methods[methods["diagnostic"] == name]["rho"]
            row = every.loc[name]
            rows.append(
                [
                    name,
                    f"{row['rho']:+.2f}",
                    f"{row['p']:.3f}",
                    f"{row['p_any_diagnostic']:.2f}",
                    f"{rho.median():+.2f} ({rho.min():+.2f} to {rho.max():+.2f})",
                ]
            )
        header = ["diagnostic", "rho", "exact p", "p of any", "methods: median rho (range)"]
        parts += [
            f"### {title}, mean over methods, {n} collections",
            Table(by_place(header, range(1, 5)), rows).markdown(),
            f"### {title}, each method: rho (exact p) with the first {SHOWN} of these",
            method_table(methods, list(order[:SHOWN])),
        ]
    return parts


def method_table(methods: pd.DataFrame, names: list[str]) -> str:
    rows = []
    for method, some in methods.groupby("method"):
        by_name = some.set_index("diagnostic")
        cells = [
            f"{by_name.loc[name, 'rho']:+.2f} ({by_name.loc[name, 'p']:.3f})" if name in by_name.index else "–"
            for name in names
        ]
        rows.append([code(method), str(some["collections"].iloc[0]), *cells])
    return Table(by_place(["method", "collections", *names], range(1, len(names) + 2)), rows).markdown()


def queries_part(found: list[Collection], within: pd.DataFrame) -> list[str]:
    every = within[within["method"] == "(all)"].set_index(["diagnostic", "collection"])
    rows = []
    for name, label in QUERY_LABELS.items():
        cells = []
        for one in found:
            row = every.loc[(name, one.name)]
            low, high = interval(row["rho"], row["queries"])
            cells.append(f"{row['rho']:+.2f} [{low:+.2f}, {high:+.2f}]")
        rows.append([label, *cells])
    header = ["over queries, rho with their mean overlap@10", *(one.name.split(" · ")[0] for one in found)]
    sizes = ["queries; settings", *(f"{one.overlap.shape[1]:,}; {len(one.overlap)}" for one in found)]
    settings = within[within["method"] != "(all)"]
    by_method = []
    for method, some in settings.groupby("method"):
        cells = []
        for name in QUERY_LABELS:
            here = some[some["diagnostic"] == name]
            certain = (here["p_holm"] < 0.05) & (np.sign(here["rho"]) == np.sign(here["rho"].median()))
            cells.append(f"{here['rho'].median():+.2f} ({certain.sum()}/{len(here)})")
        by_method.append([code(method), *cells])
    columns = by_place(["collection", "queries", "R² within", "R² from the others"], {1, 2, 3})
    return [
        "## Over queries: strong evidence",
        Table(by_place(header, range(1, len(header))), [sizes, *rows]).markdown(),
        "In brackets 95 % intervals (Bonett and Wright, 2000). Figure: the same.",
        "![rho over queries](predictors.png)",
        "### Each method: median rho over settings and collections (settings of that sign and p < 0.05 after Holm)",
        Table(by_place(["method", *QUERY_LABELS.values()], range(1, len(QUERY_LABELS) + 1)), by_method).markdown(),
        "### All of them together",
        "R² of a linear model of ranks for the rank of a query's mean overlap@10: tenfold cross-validation within the "
        "collection, and learnt on the other collections only. Ranks are within a collection.",
        Table(columns, explained(found)).markdown(),
    ]


def draw(found: list[Collection], within: pd.DataFrame, stem: Path) -> None:
    from matplotlib.figure import Figure

    every = within[within["method"] == "(all)"].set_index(["diagnostic", "collection"])
    with style.style():
        figure = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
        axes = figure.subplots()
        for place, one in enumerate(found):
            offset = 0.1 * (place - (len(found) - 1) / 2)
            for row, name in enumerate(QUERY_LABELS):
                rho = every.loc[(name, one.name), "rho"]
                low, high = interval(rho, one.overlap.shape[1])
                axes.errorbar(
                    rho,
                    row + offset,
                    xerr=[[rho - low], [high - rho]],
                    fmt=style.MARKERS[place % len(style.MARKERS)],
                    color=style.COLOURS[place % len(style.COLOURS)],
                    ms=5,
                    lw=1.2,
                    label=one.name.split(" · ")[0] if row == 0 else None,
                )
        axes.axvline(0, color=style.QUIET, lw=0.8)
        axes.set_yticks(range(len(QUERY_LABELS)), list(QUERY_LABELS.values()))
        axes.invert_yaxis()
        axes.set_xlabel("Spearman's rho with the query's overlap@10, mean over all settings; 95 % interval")
        figure.legend(loc="outside lower center", ncols=len(found))
        figure.savefig(stem.with_suffix(".png"), dpi=style.DPI, metadata={"Software": None})


def answer(across: pd.DataFrame, within: pd.DataFrame) -> str:
    """Return the findings in two sentences."""
    every = within[within["method"] == "(all)"].groupby("diagnostic")["rho"]
    best = str(every.median().abs().idxmax())
    lines = [
        f"**Over queries** the best of {len(QUERY_LABELS)} is the {QUERY_LABELS[best]}: rho is "
        f"{every.min()[best]:+.2f} to {every.max()[best]:+.2f} on {every.size()[best]} collections."
    ]
    overlap = across[(across["measure"] == "overlap_at_10") & (across["method"] == "(all)")] if len(across) else across
    if len(overlap):
        row = overlap.loc[overlap["rho"].abs().idxmax()]
        lines.append(
            f"**Over collections** the highest |rho| with overlap@10 is {abs(row['rho']):.2f} "
            f"({row['diagnostic']}; n = {row['collections']}, exact p {row['p']:.3f}); that one of "
            f"{len(overlap)} diagnostics comes so high has p {row['p_any_diagnostic']:.2f} if none predicts anything."
        )
    return " ".join(lines)


def page(found: list[Collection], across: pd.DataFrame, within: pd.DataFrame) -> str:
    figures = pd.DataFrame({one.name.split(" · ")[0]: one.figures for one in found})
    collections = [numbers(name, name, "{:.4g}".format) for name in figures.columns]
    n = int(across["collections"].max()) if len(across) else 0
    least = 2 / float(np.prod(np.arange(1, n + 1))) if n else 1.0
    parts = [
        "# Which diagnostics predict how well methods compress?",
        "Spearman's rank correlation between diagnostics (`vecbudget inspect`) and what methods keep. Written by "
        "`scripts/studies/predictors.py`.",
        answer(across, within),
        *queries_part(found, within),
        *collections_part(across),
        f"How to read these two: with {n} collections there are few orders they can stand in, and the least p that a "
        f"perfect correlation can have is {least:.3f}. *exact p* is over all pairings of diagnostic and score. *p of "
        "any* is the chance that any of the diagnostics tried here would correlate so highly with a score that has "
        "nothing to do with them. All methods do well or badly on the same collections, so that they agree with each "
        "other is no further evidence. All collections were embedded by one model, and they differ in size, which "
        "moves intrinsic dimension and hubness by itself. A diagnostic that is the same everywhere is left out.",
        "## The diagnostics",
        Table([words("", "name"), *collections], figures.rename_axis("name").reset_index()).markdown(),
        "What each is: `harness/analysis/diagnostics.py`. All correlations over collections, and those over queries "
        "with the mean of all settings: [predictors.csv](predictors.csv).",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="results folders, or folders of them")
    parser.add_argument("--cache", type=Path, help="embedding cache (VECBUDGET_CACHE, else that of a user)")
    parser.add_argument("--out", type=Path, default=Path("results/reference"))
    options = parser.parse_args()
    cache = options.cache or Path(os.environ.get("VECBUDGET_CACHE", "~/.cache/vecbudget")).expanduser()
    folders = [
        folder
        for given in options.runs
        for folder in ([given] if (given / "runs").is_dir() else sorted(path.parent for path in given.glob("*/runs")))
    ]
    found = [one for folder in folders for one in collections(folder, cache)]
    if not found:
        raise SystemExit("no collection with a float32 run and another one")
    across, within = over_collections(found), over_queries(found)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "predictors.md").write_text(page(found, across, within), encoding="utf-8")
    every = within[within["method"] == "(all)"].assign(view="queries", measure="overlap_at_10")
    figures = pd.concat([across.assign(view="collections"), every])
    figures.to_csv(options.out / "predictors.csv", index=False, float_format="%.4g")
    draw(found, within, options.out / "predictors")


if __name__ == "__main__":
    main()
