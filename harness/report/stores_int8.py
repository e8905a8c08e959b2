"""What int8 really means: the 8-bit settings of vector stores side by side, over all collections of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis import pareto
from harness.analysis.describe_setting import SPANS, Recipe
from harness.analysis.store_settings import Records, Switches, beside
from harness.base import formatting
from harness.evaluation.reference import REFERENCE
from harness.report.markdown import cell
from harness.report.page import provenance
from harness.report.table import Column, Table, numbers, words
from harness.runs.presets import DOCUMENTED, Match, Preset

if TYPE_CHECKING:
    import pandas as pd


BITS = (7, 8)
"""Of each number, in what stores call int8: some use seven of the eight."""


@dataclass(frozen=True)
class Int8:
    """A store's 8-bit setting: what it does, and its places in the settings of the pages where it was measured."""

    match: Match
    recipe: Recipe
    places: dict[int, int]

    @property
    def preset(self) -> Preset:
        """Whose setting it is."""
        return self.match.preset


def int8_settings(found: Sequence[Switches]) -> list[Int8]:
    """Return the presets that keep 7 or 8 bits of each number, the highest overlap@10 (mean of the pages) first."""
    rows: dict[str, Int8] = {}
    for number, own in enumerate(found):
        for row in own.rows:
            scalar = row.recipe.span is not None and row.recipe.bits in BITS
            if scalar and not row.match.params:
                entry = rows.setdefault(row.match.name, Int8(row.match, row.recipe, {}))
                entry.places[number] = row.place
    return sorted(rows.values(), key=lambda row: (-_overlap(row, found), row.match.name))


def _overlap(row: Int8, found: Sequence[Switches]) -> float:
    return float(
        np.mean(
            [found[page].page.settings[REFERENCE.unjudged_metric].iloc[place] for page, place in row.places.items()]
        )
    )


def frame(rows: Sequence[Int8], found: Sequence[Switches]) -> pd.DataFrame:
    """Return one row a setting and collection."""
    import pandas as pd

    lines = []
    for row in rows:
        for number, place in row.places.items():
            page = found[number].page
            figures, share = page.settings.iloc[place], pareto.share_column(page.settings)
            lines.append(
                {
                    "collection": page.title,
                    "store": row.preset.store,
                    "setting": row.match.name,
                    "range": row.recipe.span_in_words,
                    "steps": row.recipe.steps,
                    "rounding": row.recipe.rounding,
                    "query": row.recipe.query,
                    "read_again": row.recipe.rescoring,
                    "memory_bytes_per_vector": found[number].memory[place],
                    "disk_bytes_per_vector": beside(page.settings)[place],
                    REFERENCE.unjudged_metric: figures[REFERENCE.unjudged_metric],
                    "kept": figures[share],
                    "kept_low": figures.get(f"{share}_low", np.nan),
                    "kept_high": figures.get(f"{share}_high", np.nan),
                    "evidence": row.preset.evidence,
                    "version": row.preset.version,
                    "run_ids": figures["run_ids"],
                }
            )
    return pd.DataFrame(lines)


def markdown(rows: Sequence[Int8], found: Sequence[Switches], records: Records, command: str) -> str:
    """Return the page; its first paragraphs are made from the figures.

    Parameters
    ----------
    rows : sequence of Int8
        At least two, see `int8_settings`.
    found : sequence of Switches
        The same.
    records : callable
        Returns the record of a run id.
    command : str
        What wrote it.
    """
    import pandas as pd

    stores = len({row.preset.store for row in rows})
    blocks = [f"# What int8 really means in {_in_words(stores)} stores", _spread(rows, found)]
    blocks.append(_differences(rows, found, records))
    blocks += ["## What it keeps", _kept_table(rows, found), _kept_note()]
    blocks += ["## What it does", _means_table(rows), _means_note(rows)]
    pages = sorted({number for row in rows for number in row.places})
    runs = pd.concat([found[number].page.runs for number in pages])
    blocks.append(f"*{provenance(runs, command)}*")
    return "\n\n".join(blocks) + "\n"


def _in_words(number: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    return words[number] if number < len(words) else str(number)


def _name(row: Int8, rows: Sequence[Int8]) -> str:
    """Return the store, and which of its settings where it has several."""
    store = cell(row.preset.store.partition(" (")[0])
    several = sum(other.preset.store == row.preset.store for other in rows) > 1
    return f"{store} `{row.match.name}`" if several else store


def _stores(rows: Sequence[Int8]) -> str:
    return ", ".join(dict.fromkeys(cell(row.preset.store.partition(" (")[0]) for row in rows))


def _spread(rows: Sequence[Int8], found: Sequence[Switches]) -> str:
    """Say what the settings have in common, and how far apart they are."""
    ram = [found[number].memory[place] for row in rows for number, place in row.places.items()]
    disk = [beside(found[number].page.settings)[place] for row in rows for number, place in row.places.items()]
    seven = sum(row.recipe.bits == BITS[0] for row in rows)
    again = sum(row.recipe.rescored for row in rows)
    sentences = [
        f"The {len(rows)} settings below all store one byte for each number of a vector, and most go by the name of "
        f"int8, SQ8 or scalar quantisation: {_from_to(ram, 'bytes')} a vector in memory"
        + (
            f", and up to {formatting.size(max(disk))} more on disk in the {again} that read documents again"
            if again
            else ""
        )
        + (f"; {seven} of them use seven of the eight bits" if seven else "")
        + ". They are not the same."
    ]
    found_again, kept_words = [], []
    for number, own in enumerate(found):
        settings, here = own.page.settings, [row for row in rows if number in row.places]
        once = [row for row in here if not row.recipe.rescored]
        where = cell(_title(number, found))
        if len(once) > 1:
            overlaps = {row.match.name: settings[REFERENCE.unjudged_metric].iloc[row.places[number]] for row in once}
            low, high = (pick(once, key=lambda row: overlaps[row.match.name]) for pick in (min, max))
            found_again.append(
                f"{100 * overlaps[low.match.name]:.1f} % ({_name(low, rows)}) to "
                f"{100 * overlaps[high.match.name]:.1f} % ({_name(high, rows)}) on {where}"
            )
        if len(here) > 1 and own.page.judged:
            kept = {row.match.name: settings.iloc[row.places[number]] for row in here}
            low, high = (pick(here, key=lambda row: kept[row.match.name]["retention"]) for pick in (min, max))
            losing = [
                row for row in here if kept[row.match.name].get("retention_high", np.nan) < 1 - formatting.TOLERANCE
            ]
            kept_words.append(
                f"{100 * kept[low.match.name]['retention']:.1f} % ({_name(low, rows)}) to "
                f"{100 * kept[high.match.name]['retention']:.1f} % ({_name(high, rows)}) on {where}, where "
                + (f"{len(losing)} of {len(here)} lose significantly" if losing else "none loses significantly")
            )
    if found_again:
        sentences.append(
            "Of the ten documents that float32 ranks highest, those that read nothing again find "
            + "; ".join(found_again)
            + "."
        )
    if kept_words:
        sentences.append("Of float32's nDCG@10 all of them keep " + "; ".join(kept_words) + ".")
    return " ".join(sentences)


def _title(number: int, found: Sequence[Switches]) -> str:
    """Return a collection's name, with the model where there are several."""
    models = {str(own.page.settings["model"].iloc[0]) for own in found}
    page = found[number].page
    return str(page.settings["dataset"].iloc[0]) if len(models) == 1 else page.title


def _from_to(values: Sequence[float], unit: str) -> str:
    low, high = formatting.size(min(values)), formatting.size(max(values))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _differences(rows: Sequence[Int8], found: Sequence[Switches], records: Records) -> str:
    """Say which of the differences go with which figures."""
    once = [row for row in rows if not row.recipe.rescored and not row.recipe.raw]
    again = [row for row in rows if row.recipe.rescored]
    raw = [row for row in rows if row.recipe.raw and not row.recipe.rescored]
    groups = []
    for span, description in SPANS.items():
        members = [row for row in once if row.recipe.span == span]
        if members:
            values = [_overlap(row, found) for row in members]
            groups.append((float(np.mean(values)), f"{description}: {_shares(members, found)} ({_stores(members)})"))
    text = ""
    if groups:
        ordered = "; ".join(part for _, part in sorted(groups, reverse=True))
        text = (
            "They differ first in the range that the steps divide. By whose it is, and overlap@10 where nothing is "
            f"read again: {ordered}."
        )
    text += _fixed(rows, found, records)
    if raw:
        text += (
            f" {_stores(raw)} {'compare' if len(raw) > 1 else 'compares'} the bin numbers themselves, without undoing "
            f"the scale: {_shares(raw, found)}."
        )
    if again:
        text += (
            f" {_stores(again)} {'read' if len(again) > 1 else 'reads'} some documents again, and so "
            f"{'find' if len(again) > 1 else 'finds'} {_shares(again, found)}, for more bytes on disk."
        )
    rounded = [row for row in rows if row.recipe.query != "float"]
    return text + f" {len(rounded)} of {len(rows)} round the query as well as the documents."


def _shares(rows: Sequence[Int8], found: Sequence[Switches]) -> str:
    values = [_overlap(row, found) for row in rows]
    return " to ".join(dict.fromkeys(f"{value:.3f}" for value in (min(values), max(values))))


def _fixed(rows: Sequence[Int8], found: Sequence[Switches], records: Records) -> str:
    """Say how few steps of a fixed range the numbers of a unit vector use: their root mean square is 1 / sqrt(d)."""
    for row in rows:
        if row.recipe.fixed is None or not row.recipe.steps:
            continue
        number, place = next(iter(row.places.items()))
        figures = found[number].page.settings.iloc[place]
        encoder = records(figures["run_ids"].split()[0]).identity.model
        if encoder.get("document", {}).get("normalize") is not True:
            continue
        low, high = row.recipe.fixed
        size = 1 / np.sqrt(figures["dim"])
        steps = size * row.recipe.steps / (high - low)
        return (
            f" A range of {low:g} to {high:g} holds every unit vector and fits none: in {figures['dim']:.0f} "
            f"dimensions its numbers are {size:.3f} in size (root mean square), {steps:.1f} of "
            f"{row.recipe.steps} steps."
        )
    return ""


def _kept_table(rows: Sequence[Int8], found: Sequence[Switches]) -> str:
    def on_disk(row: Int8) -> str:
        disk = [beside(found[number].page.settings)[place] for number, place in row.places.items()]
        return _from_to(disk, "").strip()

    def in_memory(row: Int8) -> str:
        return _from_to([found[number].memory[place] for number, place in row.places.items()], "").strip()

    columns = [words("store", lambda row: row.preset.store), words("setting", lambda row: row.match.name)]
    columns += [numbers("bytes in memory", in_memory), numbers("on disk", on_disk)]
    for number in sorted({number for row in rows for number in row.places}):
        columns += _kept_columns(number, found)
    return Table(columns, rows).markdown()


def _kept_columns(number: int, found: Sequence[Switches]) -> list[Column]:
    """Return what settings keep on one of the pages."""
    page = found[number].page
    share = pareto.share_column(page.settings)

    def figure(show: Callable[[pd.Series[Any]], str]) -> Callable[[Int8], str]:
        def text(row: Int8) -> str:
            place = row.places.get(number)
            return formatting.UNKNOWN if place is None else show(page.settings.iloc[place])

        return text

    return [
        numbers(
            f"{_title(number, found)}: overlap@10",
            figure(lambda own: formatting.number(own[REFERENCE.unjudged_metric], 3)),
        ),
        numbers(f"% of {page.quality_label} kept", figure(lambda own: formatting.number(100 * own[share], 1))),
        words("95 % interval", figure(lambda own: formatting.interval(own, share, 1, 100))),
    ]


def _kept_note() -> str:
    return (
        "**overlap@10**: the share of float32's ten best documents that are among the setting's ten, which tells "
        "settings apart that nDCG@10 cannot. **95 % interval** over the choice of queries (paired bootstrap, BCa). "
        "The highest overlap@10 comes first. What a store's graph or lists miss comes on top."
    )


def _means_table(rows: Sequence[Int8]) -> str:
    columns = [
        words("store", lambda row: row.preset.store),
        words("setting", lambda row: row.match.name),
        words("what the user sets", lambda row: row.preset.switch),
        numbers("bits", lambda row: row.recipe.bits, "{:g}".format),
        numbers("steps", lambda row: row.recipe.steps, str),
        words("range that they divide", lambda row: row.recipe.span_in_words),
        words("rounding", lambda row: row.recipe.rounding),
        words("query", lambda row: row.recipe.query),
        words("read again", lambda row: row.recipe.rescoring),
        words("made from", lambda row: f"{row.preset.evidence}: {row.preset.version}"),
    ]
    return Table(columns, rows).markdown()


def _means_note(rows: Sequence[Int8]) -> str:
    used = [name for name in DOCUMENTED if any(row.preset.evidence == name for row in rows)]
    return (
        "**read again**: how many documents, where ten are asked for, and as what. **made from**: "
        + "; ".join(f"*{name}*: {DOCUMENTED[name]}" for name in used)
        + "; and the version followed. What is known of vendors' own ranges for their own models is not in here."
    )
