"""What there is to choose from: the config groups, described by their own yamls."""

from __future__ import annotations

import dataclasses
import functools
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from harness.runs.plain_yaml import parsed

if TYPE_CHECKING:
    from rich.table import Table

NOT_PARAMETERS = ("about", "_target_", "defaults")
SHARED = ("renormalize", "scoring")
"""What every method takes, and so is no news in a table."""


@functools.cache
def members(group: str) -> dict[str, Traversable]:
    """Return the yaml files of a config group by name."""
    folder = files("configs").joinpath(group)
    found = {entry.name.removesuffix(".yaml"): entry for entry in folder.iterdir() if entry.name.endswith(".yaml")}
    return dict(sorted(found.items()))


def method_card(entry: Traversable) -> dict[str, Any]:
    """Return what a method's yaml says of itself: family, summary, source, bytes, and its parameters' defaults."""
    content = _parsed(entry.read_text(encoding="utf-8"))
    card: dict[str, Any] = dict(content.get("about", {}))
    card["parameters"] = {
        key: value for key, value in content.items() if key not in NOT_PARAMETERS and not isinstance(value, dict | list)
    }
    return card


def parameters(entry: Traversable) -> list[str]:
    """Return the names of a yaml's own settings."""
    return [key for key in _parsed(entry.read_text(encoding="utf-8")) if key not in NOT_PARAMETERS]


@functools.cache
def _parsed(text: str) -> dict[str, Any]:
    """Return a yaml's content as it stands, interpolations unresolved; callers do not change it."""
    content = parsed(text)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def options() -> list[str]:
    """Return the names of a run's top-level options."""
    from harness.runs.config import RunConfig

    return [item.name for item in dataclasses.fields(RunConfig)]


def first_comment(entry: Traversable) -> str:
    """Return the first comment line of a yaml: what it is."""
    lines = entry.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("#") and "@package" not in line), "")


COLUMNS = ("method", "family", "bytes per vector", "learns from", "parameters", "what it does", "source")
FAMILIES = (
    "cast",
    "scalar",
    "rotation",
    "spectrum",
    "binary",
    "product",
    "additive",
    "dimension",
    "two tiers",
    "sparse",
    "terms",
    "tokens",
    "hybrid",
    "learned",
    "table",
    "convention",
)
"""In the order of tables; vector stores' presets have a list of their own, `harness.runs.presets.listing`."""


def method_rows() -> list[tuple[str, ...]]:
    """Return the method table, a row for each yaml with an entry for each of `COLUMNS`, family by family.

    Presets of vector stores are left out.
    """
    cards = {name: method_card(entry) for name, entry in members("method").items()}
    cards = {name: card for name, card in cards.items() if "store" not in card}
    last = len(FAMILIES)

    def place(name: str) -> tuple[int, str]:
        family = cards[name].get("family", "")
        return (FAMILIES.index(family) if family in FAMILIES else last, name)

    return [
        (
            name,
            card.get("family", ""),
            card.get("bytes", ""),
            _teachers(card),
            " ".join(f"{key}={_plain(value)}" for key, value in card["parameters"].items() if key not in SHARED),
            card.get("summary", ""),
            card.get("source", ""),
        )
        for name in sorted(cards, key=place)
        for card in [cards[name]]
    ]


def _teachers(card: dict[str, Any]) -> str:
    return " and ".join(who for who, wanted in (("documents", "training"), ("queries", "queries")) if card.get(wanted))


def markdown_methods() -> str:
    """Return the method table in markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for name, *rest in method_rows():
        cells = [f"`{name}`", *(cell.replace("|", "\\|") for cell in rest)]
        cells[4] = " ".join(f"`{part}`" for part in rest[3].split())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def catalogue(group: str) -> str:
    """Return a table of a group's members, for a terminal."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    if group == "method":
        for column, ratio in (("method", None), ("bytes per vector", 3), ("parameters", 5), ("learns from", None)):
            table.add_column(column, overflow="fold", no_wrap=ratio is None, ratio=ratio)
        table.add_column("what it does (source)", overflow="fold", ratio=9)
        previous = ""
        for name, family, size, teachers, shown, summary, source in method_rows():
            if family != previous:
                table.add_row()
                table.add_row(f"-- {family}")
            table.add_row(name, size, shown, teachers, f"{summary} ({source})")
            previous = family
    else:
        table.add_column(group, no_wrap=True)
        table.add_column("what it is")
        for name, entry in members(group).items():
            table.add_row(name, first_comment(entry))
    text = printed(table)
    if group == "method":
        presets = len(members("method")) - len(method_rows())
        text += "\nEvery method also takes renormalize=true|false|auto and scoring=asymmetric|symmetric|raw_codes.\n"
        text += f"Vector stores' own switches, {presets} presets: vecbudget list databases\n"
    return text


def printed(table: Table) -> str:
    """Return a table as a terminal shows it."""
    import io
    import shutil

    from rich.console import Console

    width = max(120, shutil.get_terminal_size((160, 24)).columns)
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def _plain(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
