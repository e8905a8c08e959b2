"""Your database's switches: what each setting of a vector store keeps and costs, and what else its bytes buy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis import pareto
from harness.analysis.budgets import SPARE_BYTE
from harness.analysis.settings import setting_name, spread_over
from harness.base import formatting
from harness.evaluation.reference import REFERENCE
from harness.report.markdown import cell
from harness.report.page import provenance
from harness.report.table import Table, bold, numbers, words
from harness.runs.presets import DOCUMENTED

if TYPE_CHECKING:
    import pandas as pd


from harness.analysis.store_settings import Rival, Switches, beside, lossless


def frame(found: Switches) -> pd.DataFrame:
    """Return the settings with all their figures, one row each."""
    import pandas as pd

    settings, ram, disk = found.page.settings, found.memory, beside(found.page.settings)
    share = pareto.share_column(settings)
    rows = []
    for number, row in enumerate(found.rows):
        figures, preset = settings.iloc[row.place], row.match.preset
        rows.append(
            {
                "store": preset.store,
                "setting": row.match.name,
                "switch": preset.switch,
                "memory_bytes_per_vector": ram[row.place],
                "disk_bytes_per_vector": disk[row.place],
                "times_smaller_in_memory": 4 * figures["dim"] / ram[row.place],
                "kept": figures[share],
                "kept_low": figures.get(f"{share}_low", np.nan),
                "kept_high": figures.get(f"{share}_high", np.nan),
                REFERENCE.judged_metric: figures[REFERENCE.judged_metric],
                REFERENCE.unjudged_metric: figures[REFERENCE.unjudged_metric],
                "query": row.recipe.query,
                "read_again": row.recipe.rescoring,
                "best_of_store": found.best.get(preset.store) == number,
                "evidence": preset.evidence,
                "version": preset.version,
                "source": preset.source,
                "summary": preset.summary,
                "configuration": preset.setting,
                "measured_as": setting_name(figures),
                "run_ids": figures["run_ids"],
            }
        )
    return pd.DataFrame(rows)


def markdown(found: Switches, figure: str | None, command: str) -> str:
    """Return the page of the stores' settings; `figure` is the name of its plot."""
    page = found.page
    blocks = [f"# Your database's switches: {cell(page.title)}", _headline(found)]
    blocks += [f"![What settings keep, against their memory]({figure})"] if figure else []
    blocks += ["## Store by store", _table(found), _legend(found)]
    blocks += ["## The best of each store, and the project's best for the same memory", _rivals_table(found)]
    blocks += [_rivals_note(found), f"*{provenance(page.runs, command)}*"]
    return "\n\n".join(blocks) + "\n"


def _headline(found: Switches) -> str:
    page = found.page
    stores = {row.match.preset.store for row in found.rows}
    behind = [store for store, rival in found.rivals.items() if rival.high < 0]
    level = [store for store, rival in found.rivals.items() if rival.low <= 0 <= rival.high]
    text = (
        f"{page.size}. {formatting.count(len(found.rows), 'setting')} of {formatting.count(len(stores), 'store')},"
        " with what each does to documents and queries and what it reads again, in an exhaustive search: the graph or "
        "the lists that a store searches by can only find less."
    )
    if found.rivals:
        text += (
            f" Of {len(found.rivals)} stores' best settings, {len(level)} are at par with the best of the project's "
            f"own methods that needs no more memory, {len(behind)} keep significantly less, and "
            f"{len(found.rivals) - len(level) - len(behind)} significantly more."
        )
    return text


def _table(found: Switches) -> str:
    settings, ram, disk = found.page.settings, found.memory, beside(found.page.settings)
    share = pareto.share_column(settings)
    stores = ["", *(row.match.preset.store for row in found.rows)]
    # of each: the row, its figures, whether it is its store's best, and the store unless it is that of the row above
    rows = [
        (row, settings.iloc[row.place], found.best.get(store) == number, store if store != stores[number] else "")
        for number, (row, store) in enumerate(zip(found.rows, stores[1:], strict=True))
    ]
    columns = [
        words("store", 3),
        words("", 2),
        words("setting", lambda row: bold(row[0].match.name, row[2])),
        words("what the user sets", lambda row: row[0].match.preset.switch),
        numbers("bytes in memory", lambda row: ram[row[0].place], formatting.size),
        numbers("bytes on disk", lambda row: disk[row[0].place], formatting.size),
        numbers("× smaller in memory", lambda row: 4 * row[1]["dim"] / ram[row[0].place], formatting.ratio),
        numbers(f"% of {found.page.quality_label} kept", lambda row: row[1][share], 1, 100),
        words("95 % interval", lambda row: formatting.interval(row[1], share, 1, 100)),
        numbers("overlap@10", lambda row: row[1][REFERENCE.unjudged_metric], 3),
        words("query", lambda row: row[0].recipe.query),
        words("read again", lambda row: row[0].recipe.rescoring),
        words("made from", lambda row: f"{row[0].match.preset.evidence}: {row[0].match.preset.version}"),
    ]
    return Table(columns, rows).markdown()


def _legend(found: Switches) -> str:
    used = [name for name in DOCUMENTED if any(row.match.preset.evidence == name for row in found.rows)]
    shared: dict[int, list[str]] = {}
    for row in found.rows:
        shared.setdefault(row.place, []).append(row.match.preset.name)
    same = "; ".join(" = ".join(dict.fromkeys(names)) for names in shared.values() if len(set(names)) > 1)
    notes = [
        "**●** the best of its store: of the settings whose interval reaches 100 %, the one with the least memory; if "
        "there is none, the one that keeps most. With few queries intervals are wide, and more reach it.",
        f"**bytes in memory**: what a search reads of every vector, with its share of shared state "
        f"({spread_over(found.page.settings)}) and with what the store adds to a row. **on disk**: what is read "
        "for the documents found only.",
        "**read again**: how many documents, where ten are asked for, and as what.",
        "**made from**: " + "; ".join(f"*{name}*: {DOCUMENTED[name]}" for name in used) + "; and the version followed.",
    ]
    if same:
        notes.append(f"The same parameters, and so the same figures: {cell(same)}.")
    return "\n".join(f"- {note}" for note in notes)


def verdict(rival: Rival) -> str:
    """Return how a store's best compares with the project's, in words."""
    if rival.low <= 0 <= rival.high:
        return "at par"
    return "less" if rival.difference < 0 else "more"


def _rivals_table(found: Switches) -> str:
    settings, ram, disk = found.page.settings, found.memory, beside(found.page.settings)
    share, no_loss = pareto.share_column(settings), lossless(found.page)

    def rival(show: Callable[[Rival], str], otherwise: str = formatting.UNKNOWN) -> Callable[[Any], str]:
        return lambda row: otherwise if row[2] is None else show(row[2])

    # of each: the store, its best row, and the project's best for the same memory
    rows = [(store, found.rows[number], found.rivals.get(store)) for store, number in found.best.items()]
    columns = [
        words("store", 0),
        words("best setting", lambda row: row[1].match.name),
        numbers("bytes in memory", lambda row: ram[row[1].place], formatting.size),
        numbers("on disk", lambda row: disk[row[1].place], formatting.size),
        numbers("% kept", lambda row: settings[share].iloc[row[1].place], 1, 100),
        words("chosen as", lambda row: "smallest at no significant loss" if no_loss[row[1].place] else "keeps most"),
        words("the project's best", rival(lambda own: setting_name(settings.iloc[own.place]), "nothing as small")),
        numbers("bytes in memory", rival(lambda own: formatting.size(ram[own.place]))),
        numbers("on disk", rival(lambda own: formatting.size(disk[own.place]))),
        numbers("% kept", rival(lambda own: formatting.number(100 * settings[share].iloc[own.place], 1))),
        numbers("store less project, points", rival(lambda own: f"{100 * own.difference:+.1f}")),
        words("95 % interval", rival(lambda own: formatting.signed_interval(own.low, own.high, 1, 100))),
        words("the store keeps", rival(verdict)),
    ]
    return Table(columns, rows).markdown()


def _rivals_note(found: Switches) -> str:
    return (
        "**the project's best**: the highest of all settings on record that are no presets and need at most as much "
        f"memory (to {SPARE_BYTE:.0f} byte of shared state). It is the highest of many on these queries, and so "
        f"flattered. Differences are paired over the queries, in points of float32's {found.page.quality_label}; "
        "*at par*: the interval holds 0."
    )
