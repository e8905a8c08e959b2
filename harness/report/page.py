"""Tables of a report: one page a collection and model, and the summary over all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis import memory, pareto
from harness.analysis.budgets import BUDGET_RULE, BUDGETS, frontier_rule
from harness.analysis.representations import LARGE_BUDGETS, unit_of_page
from harness.analysis.significance import Step, frontier_steps
from harness.analysis.statistics import ALPHA, MARGIN
from harness.base import formatting
from harness.evaluation.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd


from harness.analysis.settings import (
    ELSEWHERE,
    SCORINGS,
    SETTING,
    SHARES,
    Page,
    fitted_elsewhere,
    setting_name,
    spread_over,
)
from harness.report.cost_tables import corpora_table, cost_note, cost_table, has_costs
from harness.report.markdown import cell, p_value
from harness.report.table import Column, Table, bold, numbers, words
from harness.runs.distinct_names import marks
from harness.runs.record import LEAST_POINTS, LEAST_VALUES, SUSPICIOUS


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
        blocks += [
            _headline(page),
            *marks(page.runs),
            *([f"![Quality against bytes per vector]({figure})"] if figure else []),
        ]
        if _shares_documents(page):
            blocks += ["## Recall@2, over the choice of documents", _shared_table(page), SHARED_NOTE]
        blocks += ["## Pareto table", _settings_table(page), _legend(page)]
        if _has_tokens(page):
            blocks += ["## How the bytes divide", _tokens_table(page), TOKENS_NOTE]
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
            blocks += ["## Cost", cost_table(page), "### On larger corpora", corpora_table(page), cost_note(page)]
        for heading, name in more:
            blocks += [f"## {heading}", f"![{heading}]({name})"]
    blocks += unsuccessful(page.runs)
    blocks.append(f"*{provenance(page.runs, command)}*")
    return "\n\n".join(blocks) + "\n"


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


def _few_points(page: Page) -> str:
    """Say which settings were fitted on too few documents for their codebooks."""
    few = page.settings[memory.knows_by_heart(page.settings)]
    if few.empty:
        return ""
    names = ", ".join(cell(setting_name(row)) for _, row in few.iterrows())
    kinds = {
        "points_per_centroid": f"{LEAST_POINTS} documents a centroid",
        "points_per_parameter": f"{LEAST_VALUES} numbers a parameter",
    }
    least = " or ".join(
        words for column, words in kinds.items() if column in few and (few[column] < memory.LEAST[column]).any()
    )
    return (
        f" **Few training points** (fewer than {least}): {names}. Part of what they keep is memory of these documents, "
        "and they will keep less of a larger collection; `fit_sample` measures how much."
    )


def _headline(page: Page) -> str:
    if not page.judged and page.settings[REFERENCE.unjudged_metric].isna().all():
        return f"{page.size}. The rankings end above the tenth document, so that no quality at 10 is known."
    if not page.judged:
        return (
            f"{page.size}, without relevance judgements: quality is the share of float32's ten best results "
            "that are found (overlap@10)."
        )
    score = page.float32_score
    known = f"float32 scores nDCG@10 {score:.4f}" if np.isfinite(score) else "float32 was not measured"
    text = f"{page.size}. {known} at {page.float32_bytes:,.0f} {unit_of_page(page)}."
    text += _few_points(page)
    above = page.settings[page.settings["retention"] > SUSPICIOUS]
    if len(above):
        names = ", ".join(cell(setting_name(row)) for _, row in above.iterrows())
        text += (
            f" **More than {100 * SUSPICIOUS:.0f} % of float32**: {names}. A code seldom knows better than what it was "
            "made from; look whether vectors are compared by the metric that they are meant for."
        )
    return text


def _settings_table(page: Page) -> str:
    settings, judged, certain = page.settings, page.judged, "verdict" in page.settings
    size, elsewhere = formatting.size, fitted_elsewhere(page.settings)
    columns = [
        words("", lambda row: "●" if row["on_frontier"] else ""),
        words("method", lambda row: bold(setting_name(row), bool(row["on_frontier"]))),
        numbers(unit_of_page(page), pareto.COST, size),
        numbers(f"code {unit_of_page(page)}", "code_bytes_per_vector", size),
    ]
    columns += [numbers("in memory", "resident_bytes_per_vector", size)] if _has_two_tiers(page) else []
    columns.append(numbers("× smaller", "compression_ratio", formatting.ratio))
    columns += (
        [_spread("nDCG@10", REFERENCE.judged_metric, 4), _spread("% of float32", "retention", 1, 100)] if judged else []
    )
    if certain:
        columns.append(words("95 % interval", lambda row: formatting.interval(row, "retention", 1, 100)))
        columns.append(words("against float32", lambda row: row["verdict"] or "–"))
    columns.append(_spread("overlap@10", REFERENCE.unjudged_metric, 3))
    if judged:
        columns.append(numbers("recall@100", "recall_at_100", 3))
    elif _has_scores(page):
        columns.append(words("95 % interval", lambda row: formatting.interval(row, REFERENCE.unjudged_metric, 3)))
    if not judged:
        settings = settings.assign(**{key: np.nan for _, key in _UNJUDGED if key not in settings})
        columns += [numbers(label, key, 3) for label, key in _UNJUDGED]
    columns += [_spread("dB over bound", "vector_db_over_bound", 2)] if _has_limits(page) else []
    if elsewhere:
        texts = [_elsewhere_text(settings, elsewhere.get(place, [])) for place in range(len(settings))]
        settings = settings.assign(elsewhere=texts)
        columns.append(words("overlap@10 if fitted elsewhere", "elsewhere", right=True))
    columns.append(numbers("encode s", "encode_seconds", formatting.digits))
    columns.append(
        numbers("search ms/query", lambda row: 1000 * row["search_seconds"] / row["n_queries"], formatting.digits)
    )
    return Table(columns, settings).markdown()


def _has_tokens(page: Page) -> bool:
    return "token_vectors_per_doc" in page.settings and bool(_of_tokens(page.settings).any())


def _of_tokens(settings: pd.DataFrame) -> pd.Series[bool]:
    """Return which settings store several vectors a document, and nothing of another representation beside them."""
    return settings["token_vectors_per_doc"].notna() & settings["uncompressed_bytes"].notna()


def _tokens_table(page: Page) -> str:
    """Return how many vectors a document has, and what each takes."""
    settings = page.settings[_of_tokens(page.settings)]
    width = 4 * settings["dim"]
    settings = settings.assign(
        left=100 * settings["token_vectors_per_doc"] * width / settings["uncompressed_bytes"],
        each=(settings["code_bytes_per_vector"] - settings["length_bytes_per_doc"]) / settings["token_vectors_per_doc"],
    )
    columns = [
        words("method", lambda row: bold(setting_name(row), bool(row["on_frontier"]))),
        numbers("vectors a document", "token_vectors_per_doc", 1),
        numbers("% of the model's", "left", 0),
        numbers("bytes a vector", "each", 1),
        numbers("bytes of lengths", "length_bytes_per_doc", 1),
        numbers("code bytes/document", "code_bytes_per_vector", formatting.size),
    ]
    return Table(columns, settings).markdown()


TOKENS_NOTE = (
    "Vectors a document × bytes a vector + the bytes that say how many a document has = its code bytes. Settings that "
    "make one vector of them are not listed; of two tiers, **bytes a vector** is what both store for the vectors that "
    "are kept."
)


def _spread(label: str, measure: str, decimals: int, factor: float = 1) -> Column:
    """Return a column of a measure with its deviation between seeds."""
    return numbers(label, lambda row: formatting.spread(row, measure, decimals, factor))


def _elsewhere_text(settings: pd.DataFrame, places: Sequence[int]) -> str:
    texts = []
    for place in places:
        row = settings.iloc[place]
        conditions = " ".join(part for part in row["params"].split() if part.startswith(ELSEWHERE))
        texts.append(f"{formatting.number(row['overlap_at_10'], 3)} ({conditions})")
    return ", ".join(texts) or "–"


def _has_two_tiers(page: Page) -> bool:
    return "disk_bytes_per_vector" in page.settings and bool((page.settings["disk_bytes_per_vector"] > 0).any())


_UNJUDGED = (("RBO", "rbo"), ("top 10 in 40", "top10_recall_at_40"), ("in 100", "top10_recall_at_100"))
"""Columns that stand in for the metrics that need judgements."""


def _has_scores(page: Page) -> bool:
    return "overlap_at_10_low" in page.settings


def _has_limits(page: Page) -> bool:
    return "vector_db_over_bound" in page.settings and bool(page.settings["vector_db_over_bound"].notna().any())


def _legend(page: Page) -> str:
    measure = page.quality_label
    notes = [
        f"**●** on the Pareto frontier: {frontier_rule(measure)}.",
        f"**{unit_of_page(page)}** are the measured bytes of the codes plus the shared state (codebooks, matrices) "
        f"{spread_over(page.settings)}; **× smaller** is against float32."
        + (" **in memory** is without what a search reads for a short list only." if _has_two_tiers(page) else ""),
        "**Scoring**: the float query against the decoded document, unless a row says otherwise"
        + "".join(f"; *{SCORINGS[name]}*" for name in sorted(set(page.settings["scoring"]) & set(SCORINGS)))
        + ".",
    ]
    if _has_limits(page):
        notes.append(
            "**dB over bound** is the mean squared error of the reconstructed vectors over the least that codes of as "
            "many bytes could reach for a Gaussian source with the documents' covariance (reverse water-filling; "
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
    elif page.judged:
        notes.append("**More than 100 %** is mostly luck: there are only so many queries.")
    elif _has_scores(page):
        notes.append("**95 % interval** over the choice of queries (bootstrap, 10,000 resamples, BCa: Efron, 1987).")
    if not page.judged:
        notes.append(
            "**RBO**: rank-biased overlap with float32's ranking (Webber et al., 2010). **top 10 in 40, in 100**: the "
            "share of float32's ten best that is among the method's 40 or 100 best, which rescoring could still find."
        )
    if (page.settings["runs"] > 1).any():
        notes.append(
            "**±** is the standard deviation between the seeds of a configuration, other figures are their mean. "
            "It says nothing about the choice of queries" + (", as the interval does." if _has_scores(page) else ".")
        )
    tied = page.settings[(page.settings[REFERENCE.judged_metric] - page.settings["ndcg_at_10_ties"]).abs() >= 0.001]
    if len(tied):
        listed = ", ".join(f"{cell(setting_name(row))} {row['ndcg_at_10_ties']:.4f}" for _, row in tied.iterrows())
        notes.append(f"**Ties** move these; their mean nDCG@10 over all orders of tied documents: {listed}.")
    return "\n".join(f"- {note}" for note in notes)


SHARED_NOTE = (
    "The queries share their relevant documents, as LIMIT's do, and are no independent draws: these intervals are over "
    "the choice of documents (vertex bootstrap, 2,000 resamples, percentile). Intervals and p-values below are over "
    "queries, and too narrow here; and a share of a float32 near chance means little."
)


def _shares_documents(page: Page) -> bool:
    column = "recall_at_2_documents_low"
    return column in page.settings and bool(page.settings[column].notna().any())


def _shared_table(page: Page) -> str:
    def between(name: str) -> Callable[[pd.Series[Any]], str]:
        return lambda row: formatting.interval(row, f"{name}_documents", 3)

    rows = page.settings.sort_values("recall_at_2", ascending=False, kind="stable")
    columns = [
        words("method", setting_name),
        numbers(unit_of_page(page), pareto.COST, formatting.size),
        numbers("recall@2", "recall_at_2", 4),
        words("95 % interval", between("recall_at_2")),
        numbers("nDCG@10", REFERENCE.judged_metric, 4),
        words("its 95 % interval", between("ndcg_at_10")),
    ]
    return Table(columns, rows).markdown()


def _budget_table(page: Page) -> str:
    budgets = [*BUDGETS, *LARGE_BUDGETS] if _has_tokens(page) else BUDGETS
    rows = [(formatting.plain(budget), pareto.best_within(page.settings, budget)) for budget in budgets]
    if _has_tokens(page):
        rows = [row for row in rows if row[1] is not None]
    return _answers(f"code {unit_of_page(page)} at most", "best", page, rows)


def _budget_note() -> str:
    return f"{BUDGET_RULE}."


def _share_table(page: Page) -> str:
    rows = [(f"{100 * share:.0f} %", pareto.smallest_keeping(page.settings, share)) for share in SHARES]
    return _answers("keeps at least", "smallest", page, rows)


def _answers(asked: str, best: str, page: Page, rows: Sequence[tuple[str, pd.Series[Any] | None]]) -> str:
    """Return a table of what was asked and the setting that answers it, None if there is none."""

    def figure(label: str, key: str, show: Callable[[float], str]) -> Column:
        return numbers(label, lambda row: "–" if row[1] is None else show(row[1][key]))

    columns = [
        numbers(asked, 0),
        words(best, lambda row: "nothing measured" if row[1] is None else setting_name(row[1])),
        figure(unit_of_page(page), pareto.COST, formatting.size),
        figure("× smaller", "compression_ratio", formatting.ratio),
    ]
    if page.judged:
        columns.append(figure("nDCG@10", REFERENCE.judged_metric, lambda value: formatting.number(value, 4)))
        columns.append(figure("% of float32", "retention", lambda value: formatting.number(100 * value, 1)))
    else:
        columns.append(figure("overlap@10", REFERENCE.unjudged_metric, lambda value: formatting.number(value, 3)))
    return Table(columns, rows).markdown()


def _steps_table(page: Page, steps: Sequence[Step]) -> str:
    measure = page.quality_label

    def both(step: Step, text: Callable[[pd.Series[Any]], str]) -> str:
        return f"{text(page.settings.iloc[step.below])} → {text(page.settings.iloc[step.row])}"

    columns = [
        numbers(unit_of_page(page), lambda step: both(step, lambda row: formatting.size(row[pareto.COST]))),
        words("on the frontier", lambda step: both(step, setting_name)),
        numbers(f"{measure} above the next smaller one", lambda step: step.difference, "{:+.4f}".format),
        words("95 % interval", lambda step: formatting.signed_interval(step.low, step.high, 4)),
        numbers("p", lambda step: p_value(step.p_holm).removeprefix("= ")),
        words("", lambda step: "better" if step.p_holm < ALPHA else "undecided"),
    ]
    return Table(columns, steps).markdown()


def _steps_note() -> str:
    return (
        "The best of each budget on the frontier against the one before it, on the same queries. *undecided*: the "
        "larger one may be on the frontier by luck. p of the randomisation test, with Holm's correction over the steps."
    )


def unsuccessful(runs: pd.DataFrame, *, where: bool = False) -> list[str]:
    """Return the runs that failed and the settings that were skipped, with why, as blocks of Markdown."""
    blocks = []
    for status, heading in UNSUCCESSFUL.items():
        found = runs[runs["status"] == status]
        if len(found):
            blocks += [f"## {heading}: {len(found)}", failed_table(found, where=where)]
    return blocks


UNSUCCESSFUL = {"failed": "Failed runs", "skipped": "Skipped, as the vectors cannot carry them"}
"""What reports call runs without a result, by their status."""


def failed_table(failed: pd.DataFrame, *, where: bool = False) -> str:
    """Return the runs that failed and why, as Markdown; `where` says on which collection and model."""
    import pandas as pd

    columns = [words("collection · model", lambda row: f"{row['dataset']} · {row['model']}")] if where else []
    columns += [
        words("method", lambda row: f"{row['method']} {row['params']}".strip()),
        words("seed", lambda row: "–" if pd.isna(row["seed"]) else str(int(row["seed"]))),
        words("error", lambda row: "no message" if pd.isna(row["error"]) else " ".join(str(row["error"]).split())),
    ]
    return Table(columns, failed.sort_values(["dataset", "model", *SETTING, "run_id"])).markdown()
