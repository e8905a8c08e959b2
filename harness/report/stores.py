"""Your database's switches: what each setting of a vector store keeps and costs, and what else its bytes buy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import pareto
from harness.analysis.budgets import SPARE_BYTE
from harness.analysis.settings import setting_name, spread_over
from harness.base import formatting
from harness.evaluation.reference import REFERENCE
from harness.report.markdown import cell, table
from harness.report.page import provenance
from harness.runs.presets import DOCUMENTED

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page

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
                "ndcg_at_10": figures[REFERENCE.judged_metric],
                "overlap_at_10": figures[REFERENCE.unjudged_metric],
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


def share_measure(page: Page) -> str:
    """Return what a page's shares of float32 are shares of."""
    return page.quality_label


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
    page, settings, ram, disk = found.page, found.page.settings, found.memory, beside(found.page.settings)
    share = pareto.share_column(settings)
    header = ["store", "", "setting", "what the user sets", "bytes in memory", "bytes on disk", "× smaller in memory"]
    header += [f"% of {share_measure(page)} kept", "95 % interval", "overlap@10", "query", "read again", "made from"]
    rows, previous = [], ""
    for number, row in enumerate(found.rows):
        figures, preset = settings.iloc[row.place], row.match.preset
        best = found.best.get(preset.store) == number
        name = cell(row.match.name)
        rows.append(
            [
                cell(preset.store) if preset.store != previous else "",
                "●" if best else "",
                f"**{name}**" if best else name,
                cell(preset.switch),
                formatting.size(ram[row.place]),
                formatting.size(disk[row.place]),
                formatting.ratio(4 * figures["dim"] / ram[row.place]),
                formatting.number(100 * figures[share], 1),
                formatting.interval(figures, share, 1, 100) if f"{share}_low" in settings else formatting.UNKNOWN,
                formatting.number(figures[REFERENCE.unjudged_metric], 3),
                cell(row.recipe.query),
                cell(row.recipe.rescoring),
                cell(f"{preset.evidence}: {preset.version}"),
            ]
        )
        previous = preset.store
    return table(header, rows, right={4, 5, 6, 7, 9})


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
    share = pareto.share_column(settings)
    header = ["store", "best setting", "bytes in memory", "on disk", "% kept", "chosen as"]
    header += ["the project's best", "bytes in memory", "on disk", "% kept", "store less project, points"]
    header += ["95 % interval", "the store keeps"]
    no_loss, rows = lossless(found.page), []
    for store, number in found.best.items():
        place, rival = found.rows[number].place, found.rivals.get(store)
        cells = [cell(store), cell(found.rows[number].match.name), formatting.size(ram[place])]
        cells += [formatting.size(disk[place]), formatting.number(100 * settings[share].iloc[place], 1)]
        cells.append("smallest at no significant loss" if no_loss[place] else "keeps most")
        if rival is None:
            cells += ["nothing as small"] + [formatting.UNKNOWN] * 6
        else:
            cells += [cell(setting_name(settings.iloc[rival.place])), formatting.size(ram[rival.place])]
            cells += [formatting.size(disk[rival.place]), formatting.number(100 * settings[share].iloc[rival.place], 1)]
            cells += [f"{100 * rival.difference:+.1f}", f"{100 * rival.low:+.1f} to {100 * rival.high:+.1f}"]
            cells.append(verdict(rival))
        rows.append(cells)
    return table(header, rows, right={2, 3, 4, 7, 8, 9, 10})


def _rivals_note(found: Switches) -> str:
    return (
        "**the project's best**: the highest of all settings on record that are no presets and need at most as much "
        f"memory (to {SPARE_BYTE:.0f} byte of shared state). It is the highest of many on these queries, and so "
        f"flattered. Differences are paired over the queries, in points of float32's {share_measure(found.page)}; "
        "*at par*: the interval holds 0."
    )
