"""Tables of a report: one page a collection and model, and the summary over all of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import amounts, pareto
from harness.errors import StoreError
from harness.report.significance import Step, at_equal_bytes, frontier_steps
from harness.stats import ALPHA, MARGIN
from harness.store import CORPORA, COST_COLUMNS, FIDELITY, LIMITS, PEAKS, QUERY_MS

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.significance import Equals, Scores

BUDGETS = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""Bytes per vector."""

SHARES = (0.99, 0.95, 0.90)

SPARE_BYTE = 1.0
"""Shared state may put a row this much over a budget: "48 bytes" means codes of 48 bytes."""

SIZES = ["dim", "n_docs", "n_queries"]
COLLECTION = ["dataset", "model", *SIZES]
SETTING = ["method", "params", "scoring"]
MEASURES = [
    "bytes_per_vector",
    "code_bytes_per_vector",
    "state_bytes",
    "index_bytes",
    "compression_ratio",
    "ndcg_at_10",
    "ndcg_at_10_ties",
    "retention",
    "overlap_at_10",
    "overlap_at_100",
    "recall_at_100",
    "mrr_at_10",
    "map_at_100",
    "fit_seconds",
    "encode_seconds",
    "search_seconds",
]
OPTIONAL_MEASURES = [
    "resident_bytes_per_vector",
    "disk_bytes_per_vector",
    *(name for name in (*FIDELITY, "tie_at_10") if name not in MEASURES),
    *(f"{part}_{name}" for part in ("vector", "score") for name in LIMITS),
    *COST_COLUMNS,
]
COLUMNS = ["run_id", "status", "error", *COLLECTION, *SETTING, "seed", *MEASURES, "git_commit", "created"]

ELSEWHERE = ("fit_dataset=", "fit_sample=", "fit_disjoint=")
"""What parameters begin with that say which documents a method was fitted on."""

SCORINGS = {
    "symmetric": "symmetric: the query was quantised too",
    "raw_codes": "raw codes: cosine between the integer codes, never mapped back",
}


@dataclass(frozen=True)
class Page:
    """What was measured with one model on one collection.

    Attributes
    ----------
    stem : str
        Name of the page's files without the suffix.
    title : str
    runs : DataFrame
        The single runs, failed ones included.
    settings : DataFrame
        One row a configuration, as `configurations` makes them; may be empty.
    scores : Scores or None
        The queries' scores of the settings, where the records were at hand.
    """

    stem: str
    title: str
    runs: pd.DataFrame
    settings: pd.DataFrame
    scores: Scores | None = None

    @property
    def quality(self) -> str:
        """The column of the quality."""
        return pareto.quality_column(self.settings)

    @property
    def failed(self) -> pd.DataFrame:
        """The failed runs."""
        return self.runs[self.runs["status"] != "ok"]

    @property
    def float32_score(self) -> float:
        """float32's quality, NaN if it was not measured and nothing compares itself with it."""
        if self.quality == "overlap_at_10":
            return 1.0
        plain = self.settings[self.settings["method"] == "float32"]
        if len(plain):
            return float(plain[self.quality].iloc[0])
        return float((self.settings[self.quality] / self.settings["retention"]).median())

    @property
    def size(self) -> str:
        """The collection in words."""
        return _size(self.settings) if len(self.settings) else "no successful run"


def check(frame: pd.DataFrame) -> None:
    """Refuse a frame that no report can be made of.

    Raises
    ------
    StoreError
        If there is no run, or a column is missing.
    """
    if frame.empty:
        raise StoreError("there are no runs to report: measure something first, e.g. 'vecbudget run method=int8'")
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise StoreError(f"the runs lack {', '.join(missing)}: they come from another version, measure them again")


def configurations(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each configuration that succeeded, its seeds averaged, smallest first.

    Columns: those that tell configurations apart; `family`; `runs`, how many were averaged, and their `run_ids`; each
    measure's mean, and its standard deviation as `<measure>_sd` (NaN of a single run); `on_frontier` within the
    collection and model.
    """
    import pandas as pd

    keys = [*COLLECTION, *SETTING]
    good = frame.assign(family=families(frame))[frame["status"] == "ok"]
    groups = good.groupby(keys, dropna=False, sort=True)
    present = [*MEASURES, *(name for name in OPTIONAL_MEASURES if name in good)]
    numbers = good[present].apply(pd.to_numeric, errors="coerce")
    measures = numbers.groupby([good[key] for key in keys], dropna=False, sort=True)
    columns = [
        groups["family"].first(),
        groups.size().rename("runs"),
        measures.mean(),
        measures.std().add_suffix("_sd"),
        groups["run_id"].agg(lambda ids: " ".join(sorted(ids))).rename("run_ids"),
    ]
    table = pd.concat(columns, axis="columns").reset_index()
    table["on_frontier"] = False
    for _, rows in table.groupby(COLLECTION, dropna=False):
        quality = rows[pareto.quality_column(rows)]
        table.loc[rows.index, "on_frontier"] = pareto.frontier(rows[pareto.COST], quality)
    ordered: pd.DataFrame = table.sort_values([*COLLECTION, pareto.COST, *SETTING], kind="stable", ignore_index=True)
    return ordered


def families(frame: pd.DataFrame) -> list[str]:
    """Return each row's family of methods, by which plots are coloured.

    It is in the column `family`; where that is missing or empty, it is the letters that the method's name begins with
    ("int4_absmax" is an "int").
    """
    known = frame["family"] if "family" in frame.columns else [None] * len(frame)
    found = []
    for name, method in zip(known, frame["method"], strict=True):
        letters = re.match(r"[^\W\d_]+", method)
        found.append(name if isinstance(name, str) and name else letters.group() if letters else method)
    return found


def pages(frame: pd.DataFrame) -> list[Page]:
    """Split runs into pages, sorted by dataset and model.

    A dataset and model whose number of documents, queries or dimensions varies gets a page for each: such
    scores are not comparable. A failed run is on every page of its dataset and model.
    """
    settings = configurations(frame)
    found: list[Page] = []
    taken: set[str] = set()
    for (dataset, model), runs in frame.groupby(["dataset", "model"], sort=True):
        same = settings[(settings["dataset"] == dataset) & (settings["model"] == model)]
        parts = [part for _, part in same.groupby(COLLECTION, dropna=False, sort=True)] or [same]
        for part in parts:
            title, members = f"{dataset} · {model}", runs
            if len(parts) > 1:
                title += f" ({_size(part)})"
                alike = (runs[SIZES] == part[SIZES].iloc[0]).all(axis="columns")
                members = runs[alike | (runs["status"] != "ok")]
            stem = file_stem(title, taken)
            found.append(Page(stem=stem, title=title, runs=members, settings=part.reset_index(drop=True)))
    return found


def file_stem(title: str, taken: set[str]) -> str:
    """Return a file name for a title, safe on any system, and note it in `taken` so that no other gets it."""
    plain = re.sub(r"[^\w.-]+", "_", title.replace(" · ", "--"), flags=re.ASCII).strip("._")
    if len(plain) > 100 or not plain or plain.lower() in taken:
        plain = f"{plain[:80]}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"
    taken.add(plain.lower())
    return plain


def _size(settings: pd.DataFrame) -> str:
    row = settings.iloc[0]
    return f"{row['n_docs']:,.0f} documents, {row['n_queries']:,.0f} queries, {row['dim']:.0f} dimensions"


def setting_name(row: pd.Series[Any]) -> str:
    """Return what a configuration is called: method and parameters, and its scoring if unusual."""
    name = f"{row['method']} {row['params']}".strip()
    if row["scoring"] in SCORINGS and "scoring=" not in row["params"]:
        name += f" ({row['scoring']})"
    return name


def page_markdown(
    page: Page,
    figure: str | None,
    command: str,
    distortion: str | None = None,
    more: Sequence[tuple[str, str]] = (),
    analysis: str | None = None,
) -> str:
    """Return the page of one collection and model.

    `figure` and `distortion` are the names of its plots, `more` the headings and names of others; `analysis` is the
    name of its Pareto analysis.
    """
    blocks = [f"# {cell(page.title)}"]
    if page.settings.empty:
        blocks.append("No run succeeded, so there is nothing to compare.")
    else:
        blocks += [_headline(page), *([f"![Quality against bytes per vector]({figure})"] if figure else [])]
        blocks += ["## Pareto table", _settings_table(page), _legend(page)]
        blocks += ["## The best for a budget", _budget_table(page), _budget_note()]
        blocks += ["## The smallest that keeps a share of float32", _share_table(page)]
        if analysis:
            blocks.append(
                f"[What is worth its bytes]({analysis}): how likely each setting is on the frontier, which one beats "
                "which, and the smallest that keeps a share with 95 % confidence."
            )
        steps = frontier_steps(page)
        if steps:
            blocks += ["## Steps of the frontier", _steps_table(page, steps), _steps_note()]
        if distortion:
            blocks += ["## Error and its bound", f"![Mean squared error against bytes per vector]({distortion})"]
        if has_costs(page):
            blocks += ["## Cost", _cost_table(page), "### On larger corpora", _corpora_table(page), _cost_note(page)]
        for heading, name in more:
            blocks += [f"## {heading}", f"![{heading}]({name})"]
    if len(page.failed):
        blocks += [f"## Failed runs: {len(page.failed)}", _failed_table(page.failed)]
    blocks.append(f"*{provenance(page.runs, command)}*")
    return "\n\n".join(blocks) + "\n"


def summary_markdown(
    found: Sequence[Page],
    frame: pd.DataFrame,
    figures: Iterable[str],
    command: str,
    overall: Sequence[tuple[str, str]] = (),
    analyses: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the page that leads to all others.

    `overall` are the headings and names of plots over several pages, `analyses` the titles and names of Pareto analyses
    over several collections.
    """
    drawn = set(figures)
    rows = []
    for page in found:
        links = [f"[CSV]({page.stem}.csv)"] if len(page.settings) else []
        links += [f"[plot]({page.stem}.png)"] if page.stem in drawn else []
        smallest = [pareto.smallest_keeping(page.settings, share) for share in SHARES]
        rows.append(
            [
                f"[{cell(page.title)}]({page.stem}.md)",
                page.size,
                str(len(page.settings)),
                str(len(page.failed)),
                _float32_cell(page),
                *(
                    "–" if row is None else f"{cell(setting_name(row))}, {amounts.size(row[pareto.COST])} B"
                    for row in smallest
                ),
                ", ".join(links) or "–",
            ]
        )
    header = ["collection · model", "size", "configurations", "failed runs", "float32 nDCG@10"]
    header += [f"smallest keeping {100 * share:.0f} %" for share in SHARES] + ["files"]
    blocks = ["# What each byte of an embedding buys", table(header, rows, right={2, 3, 4})]
    measured = [page for page in found if len(page.settings)]
    if len(measured) > 1:
        blocks += [f"## Over all {len(measured)} collections and models", _overall_table(measured)]
        blocks.append(
            "What was measured on at least two of them. Means are over all, and left out where one is missing. "
            "*worst*: the lowest share, and where."
        )
        for heading, name in overall:
            blocks += [f"### {heading}", f"![{heading}]({name})"]
        blocks += [f"[What is worth its bytes: {cell(title)}]({name})" for title, name in analyses]
        for equals in at_equal_bytes(measured):
            blocks += [f"## At {amounts.size(equals.size)} code bytes", _equals_table(equals), _equals_note(equals)]
    failed = frame[frame["status"] != "ok"]
    if len(failed):
        blocks += [f"## Failed runs: {len(failed)}", _failed_table(failed, where=True)]
    if len(measured):
        blocks.append("Tables for papers (Markdown, CSV, Parquet, LaTeX) are in [tables/](tables/).")
    blocks.append(f"All runs: [runs.csv](runs.csv). *{provenance(frame, command)}*")
    return "\n\n".join(blocks) + "\n"


def _float32_cell(page: Page) -> str:
    if page.settings.empty:
        return "–"
    return amounts.number(page.float32_score, 4) if page.quality == "ndcg_at_10" else "no judgements"


def provenance(runs: pd.DataFrame, command: str) -> str:
    """Return one sentence on where the figures come from."""
    commits = sorted({re.sub(r"(?<=^[0-9a-f]{12})[0-9a-f]+", "", commit) for commit in runs["git_commit"].dropna()})
    days = sorted({str(moment)[:10] for moment in runs["created"].dropna() if str(moment)})
    made = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "an unknown day"
    count = f"{len(runs):,} run" + ("s" if len(runs) != 1 else "")
    text = f"Written by `{command}` from {count} at commit {', '.join(commits) or 'unknown'}, measured {made}"
    if "command" not in runs.columns:
        return text + "."
    commands = sorted({made_by for made_by in runs["command"].dropna() if made_by})
    return text + (f" by `{commands[0]}`." if len(commands) == 1 else " by the commands in [runs.csv](runs.csv).")


def _headline(page: Page) -> str:
    if page.quality == "overlap_at_10":
        return (
            f"{page.size}, without relevance judgements: quality is the share of float32's ten best results "
            "that are found (overlap@10)."
        )
    score = page.float32_score
    known = f"float32 scores nDCG@10 {score:.4f}" if np.isfinite(score) else "float32 was not measured"
    return f"{page.size}. {known} at {4 * page.settings['dim'].iloc[0]:,.0f} bytes/vector."


def _settings_table(page: Page) -> str:
    judged = page.quality == "ndcg_at_10"
    tiers, limits = _has_two_tiers(page), _has_limits(page)
    header = ["", "method", "bytes/vector", "code bytes/vector", *(["in memory"] if tiers else []), "× smaller"]
    certain = "verdict" in page.settings
    header += ["nDCG@10", "% of float32"] if judged else []
    header += ["95 % interval", "against float32"] if certain else []
    header += ["overlap@10"] + (["recall@100"] if judged else ["95 % interval"] if _has_scores(page) else [])
    header += [] if judged else [name for name, _ in _UNJUDGED]
    header += ["dB over bound"] if limits else []
    elsewhere = fitted_elsewhere(page.settings)
    header += ["overlap@10 if fitted elsewhere"] if elsewhere else []
    header += ["encode s", "search ms/query"]
    rows = []
    for place, (_, row) in enumerate(page.settings.iterrows()):
        name = cell(setting_name(row))
        cells = ["●", f"**{name}**"] if row["on_frontier"] else ["", name]
        cells += [
            amounts.size(row[pareto.COST]),
            amounts.size(row["code_bytes_per_vector"]),
            *([amounts.size(row["resident_bytes_per_vector"])] if tiers else []),
            amounts.ratio(row["compression_ratio"]),
        ]
        cells += [amounts.spread(row, "ndcg_at_10", 4), amounts.spread(row, "retention", 1, 100)] if judged else []
        cells += [amounts.interval(row, "retention", 1, 100), row["verdict"] or "–"] if certain else []
        cells += [amounts.spread(row, "overlap_at_10", 3)] + (
            [amounts.number(row["recall_at_100"], 3)] if judged else []
        )
        cells += [amounts.interval(row, "overlap_at_10", 3)] if _has_scores(page) and not judged else []
        cells += [] if judged else [amounts.number(row.get(column, np.nan), 3) for _, column in _UNJUDGED]
        cells += [amounts.spread(row, "vector_db_over_bound", 2)] if limits else []
        cells += [_elsewhere_cell(page.settings, elsewhere.get(place, []))] if elsewhere else []
        cells += [
            amounts.digits(row["encode_seconds"]),
            amounts.digits(1000 * row["search_seconds"] / row["n_queries"]),
        ]
        rows.append(cells)
    words = {"method", "95 % interval", "against float32"}
    return table(header, rows, right={place for place in range(2, len(header)) if header[place] not in words})


def fitted_elsewhere(settings: pd.DataFrame) -> dict[int, list[int]]:
    """Return by place those settings that differ in nothing but the documents that they were fitted on."""
    parts = [params.split() for params in settings["params"]]
    plain = [" ".join(part for part in found if not part.startswith(ELSEWHERE)) for found in parts]
    keys = list(zip(settings["method"], plain, settings["scoring"], strict=True))
    usual = {key: place for place, key in enumerate(keys) if settings["params"].iloc[place] == key[1]}
    found: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        if settings["params"].iloc[place] != key[1] and key in usual:
            found.setdefault(usual[key], []).append(place)
    return found


def _elsewhere_cell(settings: pd.DataFrame, places: Sequence[int]) -> str:
    cells = []
    for place in places:
        row = settings.iloc[place]
        conditions = " ".join(part for part in row["params"].split() if part.startswith(ELSEWHERE))
        cells.append(f"{amounts.number(row['overlap_at_10'], 3)} ({cell(conditions)})")
    return ", ".join(cells) or "–"


def _has_two_tiers(page: Page) -> bool:
    return "disk_bytes_per_vector" in page.settings and bool((page.settings["disk_bytes_per_vector"] > 0).any())


_UNJUDGED = (("RBO", "rbo"), ("top 10 in 40", "top10_recall_at_40"), ("in 100", "top10_recall_at_100"))
"""Columns that stand in for the metrics that need judgements."""


def _has_scores(page: Page) -> bool:
    return "overlap_at_10_low" in page.settings


def _has_limits(page: Page) -> bool:
    return "vector_db_over_bound" in page.settings and bool(page.settings["vector_db_over_bound"].notna().any())


def _legend(page: Page) -> str:
    measure = "nDCG@10" if page.quality == "ndcg_at_10" else "overlap@10"
    notes = [
        f"**●** on the Pareto frontier: no other row has at least its {measure} for at most its bytes/vector.",
        f"**bytes/vector** are the measured bytes of the codes plus the shared state (codebooks, matrices) "
        f"{spread_over(page.settings)}; **× smaller** is against float32."
        + (" **in memory** is without what a search reads for a short list only." if _has_two_tiers(page) else ""),
        "**Scoring**: the float query against the decoded document, unless a row says otherwise"
        + "".join(f"; *{SCORINGS[name]}*" for name in sorted(set(page.settings["scoring"]) & set(SCORINGS)))
        + ".",
    ]
    if _has_limits(page):
        notes.append(
            "**dB over bound** is the mean squared error of the reconstructed vectors over the least that codes of as "
            "many bytes could reach for a Gaussian source with the documents' second moment (reverse water-filling; "
            "Cover and Thomas, 2006, section 10.3.3). 6.02 dB are a bit for each dimension that is coded. Real vectors "
            "are no Gaussian source and can lie below; shared state counts nothing. *–*: no more error than float32's "
            "rounding, or scores that are not linear in the query, so that there is no reconstruction. The CSV has the "
            "same for the scores of the test queries (`score_...`), whose bound knows those queries."
        )
    if fitted_elsewhere(page.settings):
        notes.append(
            "**fitted elsewhere**: the same setting, fitted on other documents than those searched or on a part of "
            "them. What is lost against overlap@10 was memorised."
        )
    if "verdict" in page.settings:
        notes.append(
            "**95 % interval** of the share of float32's nDCG@10, over the choice of queries (paired bootstrap, 10,000 "
            "resamples, BCa: Efron, 1987). **against float32**: *worse* and *better* are significant at "
            f"{100 * ALPHA:g} % (randomisation test, with Holm's correction over the rows here); *not worse than "
            f"{100 * MARGIN:g} %*: with 95 % confidence less than that share of the score is lost (the CSV's "
            "`loss_bound`); *undecided*: there are too few queries to say either, among so many rows."
        )
    elif page.quality == "ndcg_at_10":
        notes.append("**More than 100 %** is mostly luck: there are only so many queries.")
    elif _has_scores(page):
        notes.append("**95 % interval** over the choice of queries (bootstrap, 10,000 resamples, BCa: Efron, 1987).")
    if page.quality != "ndcg_at_10":
        notes.append(
            "**RBO**: rank-biased overlap with float32's ranking (Webber et al., 2010). **top 10 in 40, in 100**: the "
            "share of float32's ten best that is among the method's 40 or 100 best, which rescoring could still find."
        )
    if (page.settings["runs"] > 1).any():
        notes.append(
            "**±** is the standard deviation between the seeds of a configuration, other figures are their mean. "
            "It says nothing about the choice of queries" + (", as the interval does." if _has_scores(page) else ".")
        )
    tied = page.settings[(page.settings["ndcg_at_10"] - page.settings["ndcg_at_10_ties"]).abs() >= 0.001]
    if len(tied):
        listed = ", ".join(f"{cell(setting_name(row))} {row['ndcg_at_10_ties']:.4f}" for _, row in tied.iterrows())
        notes.append(f"**Ties** move these; their mean nDCG@10 over all orders of tied documents: {listed}.")
    return "\n".join(f"- {note}" for note in notes)


def spread_over(settings: pd.DataFrame) -> str:
    """Return in words what shared state is spread over in the headline bytes per vector."""
    # Read off the rows: whatever corpus size the records were made with, the sentence is true of them.
    extra = settings[pareto.COST] - settings["code_bytes_per_vector"]
    sizes = (settings["state_bytes"] / extra)[(settings["state_bytes"] > 0) & (extra > 0)]
    if sizes.empty:
        return "spread over the documents"
    return f"spread over {float(f'{sizes.median():.3g}'):,.0f} documents"


def _budget_table(page: Page) -> str:
    judged = page.quality == "ndcg_at_10"
    header = ["bytes/vector at most", "best", "bytes/vector", "× smaller"]
    header += ["nDCG@10", "% of float32"] if judged else ["overlap@10"]
    rows = []
    for budget in BUDGETS:
        row = pareto.best_within(page.settings, budget, spare=SPARE_BYTE)
        rows.append([str(budget), *_answer(row, judged)])
    return table(header, rows, right={0, *range(2, len(header))})


def _budget_note() -> str:
    return f"Codes that fit may cost up to {SPARE_BYTE:.0f} byte/vector more in shared state."


def _share_table(page: Page) -> str:
    judged = page.quality == "ndcg_at_10"
    header = ["keeps at least", "smallest", "bytes/vector", "× smaller"]
    header += ["nDCG@10", "% of float32"] if judged else ["overlap@10"]
    rows = [
        [f"{100 * share:.0f} %", *_answer(pareto.smallest_keeping(page.settings, share), judged)] for share in SHARES
    ]
    return table(header, rows, right={0, *range(2, len(header))})


def _answer(row: pd.Series[Any] | None, judged: bool) -> list[str]:
    if row is None:
        return ["nothing measured", *["–"] * (4 if judged else 3)]
    cells = [cell(setting_name(row)), amounts.size(row[pareto.COST]), amounts.ratio(row["compression_ratio"])]
    if judged:
        return [*cells, amounts.number(row["ndcg_at_10"], 4), amounts.number(100 * row["retention"], 1)]
    return [*cells, amounts.number(row["overlap_at_10"], 3)]


def _overall_table(found: Sequence[Page]) -> str:
    import pandas as pd

    parts = [page.settings.assign(page=page.title) for page in found]
    rows = []
    for key, group in pd.concat(parts).groupby(SETTING, sort=True):
        if len(group) < 2:
            continue
        complete = len(group) == len(found)
        kept, overlap = 100 * group["retention"], group["overlap_at_10"]
        worst = "–"
        if kept.notna().any():
            lowest = int(np.nanargmin(kept))
            worst = f"{amounts.number(kept.iloc[lowest], 1)} ({cell(group['page'].iloc[lowest])})"
        rows.append(
            (
                -group["compression_ratio"].mean(),
                [
                    cell(setting_name(pd.Series(dict(zip(SETTING, key, strict=True))))),
                    _range(group["compression_ratio"]),
                    f"{len(group)} of {len(found)}",
                    amounts.number(kept.mean(), 1) if complete else "–",
                    worst,
                    amounts.number(overlap.mean(), 3) if complete else "–",
                ],
            )
        )
    header = ["method", "× smaller", "measured on", "% of float32, mean", "worst", "overlap@10, mean"]
    return table(header, [cells for _, cells in sorted(rows)], right={1, 2, 3, 5})


def _steps_table(page: Page, steps: Sequence[Step]) -> str:
    measure = "nDCG@10" if page.quality == "ndcg_at_10" else "overlap@10"
    header = ["bytes/vector", "on the frontier", f"{measure} above the next smaller one", "95 % interval", "p", ""]
    rows = []
    for step in steps:
        row, below = page.settings.iloc[step.row], page.settings.iloc[step.below]
        rows.append(
            [
                f"{amounts.size(below[pareto.COST])} → {amounts.size(row[pareto.COST])}",
                f"{cell(setting_name(below))} → {cell(setting_name(row))}",
                f"{step.difference:+.4f}",
                f"{step.low:+.4f} to {step.high:+.4f}",
                p_value(step.p_holm).removeprefix("= "),
                "better" if step.p_holm < ALPHA else "undecided",
            ]
        )
    return table(header, rows, right={0, 2, 4})


def _steps_note() -> str:
    return (
        "Each setting on the frontier against the one before it, on the same queries. *undecided*: the larger one may "
        "be on the frontier by luck. p of the randomisation test, with Holm's correction over the steps."
    )


def _equals_table(equals: Equals) -> str:
    header = ["method", "% of float32, mean", "95 % interval", "lowest", "mean rank", "Borda", "group"]
    letters: list[str] = ["" for _ in equals.keys]
    for number, group in enumerate(equals.groups):
        for place in group:
            letters[place] += _letter(number)
    rows = []
    for place in np.argsort(equals.ranks, kind="stable").tolist():
        method, params, scoring = equals.keys[place]
        name = f"{method} {params}".strip() + (f" ({scoring})" if scoring in SCORINGS else "")
        low, high = 100 * equals.interval.low[place], 100 * equals.interval.high[place]
        rows.append(
            [
                cell(name),
                f"{100 * equals.interval.estimate[place]:.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{100 * equals.shares[place].min():.1f}",
                f"{equals.ranks[place]:.2f}",
                f"{equals.points[place]:g}",
                letters[place],
            ]
        )
    return table(header, rows, right={1, 3, 4, 5})


def _equals_note(equals: Equals) -> str:
    return (
        f"Settings measured on all {len(equals.pages)} collections with float32. The interval is over the choice of "
        "collections and of queries (hierarchical bootstrap, 10,000 resamples, percentile); with fewer than five "
        f"collections it is too narrow. Friedman's test that all are the same: p {p_value(equals.p)}. Mean ranks "
        f"that differ by less than {equals.critical_difference:.2f} share a letter (Nemenyi's test at 5 %; Demsar, "
        "2006). **Borda**: how many others a method beats, summed over the collections."
    )


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"


def p_value(p: float) -> str:
    """Return what follows the letter p."""
    return "unknown" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"= {p:.3f}"


def has_costs(page: Page) -> bool:
    """Whether a run of the page measured what it costs."""
    return "queries_per_second" in page.settings and bool(page.settings["queries_per_second"].notna().any())


def _with_costs(page: Page) -> pd.DataFrame:
    return page.settings[page.settings["queries_per_second"].notna()]


def _range_of(row: pd.Series[Any], measure: str, factor: float = 1) -> str:
    """Return a median and the range of its repeats."""
    ends = (amounts.digits(factor * row[f"{measure}{end}"]) for end in ("", "_low", "_high"))
    return "{} ({} to {})".format(*ends)


def _cost_table(page: Page) -> str:
    header = ["method", "bytes/vector", "fit s", "encode vectors/s", "queries/s, in batch"]
    header += ["one query at a time, ms: p50", "p95", "p99", "load ms", "peak MB: fit", "encode", "search", ""]
    rows = []
    for _, row in _with_costs(page).iterrows():
        peaks = [amounts.digits(row[name] / 1e6) for name in PEAKS if not name.startswith("load")]
        rows.append(
            [
                cell(setting_name(row)),
                amounts.size(row[pareto.COST]),
                _range_of(row, "cost_fit_seconds"),
                _range_of(row, "docs_per_second"),
                _range_of(row, "queries_per_second"),
                *(_range_of(row, name) for name in QUERY_MS),
                _range_of(row, "cost_load_seconds", 1000),
                *peaks,
                "disturbed" if row["cost_disturbed"] > 0 else "",
            ]
        )
    return table(header, rows, right=set(range(1, len(header) - 1)))


def _corpora_table(page: Page) -> str:
    header = ["method"]
    for name in CORPORA:
        header += [f"{name} documents: index GB", "encode h", "s/query"]
    rows = []
    for _, row in _with_costs(page).iterrows():
        cells = [cell(setting_name(row))]
        for name in CORPORA:
            cells += [
                amounts.digits(row[f"index_bytes_at_{name}"] / 1e9),
                _range_of(row, f"encode_seconds_at_{name}", 1 / 3600),
                _range_of(row, f"search_seconds_at_{name}"),
            ]
        rows.append(cells)
    return table(header, rows, right=set(range(1, len(header))))


def _cost_note(page: Page) -> str:
    busy = (_with_costs(page)["cost_disturbed"] > 0).any()
    text = (
        "Medians of repeats after a warm-up, in brackets the least and the greatest, of exhaustive search; runs that "
        "measure cost wait for each other. Peaks are the whole process's resident memory, with libraries and float32 "
        "vectors. **On larger corpora** is extrapolated, not measured: lines through the times at a quarter, a half "
        "and all of the documents, on one machine like this one that has the memory; in brackets the flattest and the "
        "steepest line that the repeats allow. From few documents the range is wide."
    )
    if busy:
        text += " *disturbed*: other processes used more than a tenth of a core meanwhile; measure again in quiet."
    return text


def _failed_table(failed: pd.DataFrame, *, where: bool = False) -> str:
    import pandas as pd

    rows = []
    for _, row in failed.sort_values(["dataset", "model", *SETTING, "run_id"]).iterrows():
        seed = "–" if pd.isna(row["seed"]) else str(int(row["seed"]))
        name = cell(f"{row['method']} {row['params']}".strip())
        error = "no message" if pd.isna(row["error"]) else cell(" ".join(str(row["error"]).split()))
        place = [cell(f"{row['dataset']} · {row['model']}")] if where else []
        rows.append([*place, name, seed, error])
    return table([*(["collection · model"] if where else []), "method", "seed", "error"], rows, right=set())


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: set[int]) -> str:
    """Return a Markdown table; the columns in `right` are aligned to the right."""
    rule = ["---:" if index in right else "---" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def cell(text: str) -> str:
    """Keep a name or message from being read as Markdown."""
    return re.sub(r"([\\|*_`<>\[\]])", r"\\\1", text)


def _range(values: pd.Series[float]) -> str:
    return "–".join(dict.fromkeys((amounts.ratio(values.min()), amounts.ratio(values.max()))))
